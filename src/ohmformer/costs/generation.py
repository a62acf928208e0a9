"""Generation of several tokens: the prompt, then one decode step after the other behind a growing cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ohmformer.costs.component import Level
from ohmformer.costs.estimate import estimate, lifetime_s
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.report import CostReport
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["GenerationReport", "generation"]

TOLERANCE = 0.005


@dataclass(frozen=True, kw_only=True)
class GenerationReport:
    """What generating ``tokens`` tokens takes.

    prefill:        the prompt, which gives the first token
    first, last:    the decode steps of the second and of the last token; None where there is none
    latency_s, energy_J, macs: of everything, interpolated alike
    area_m2:        of the chip that the last step needs
    time_to_first_token_s: latency of the prompt
    tokens_per_s:   over the decode steps; None without one
    lifetime_s:     of the dense cells when such generations follow each other; None if nothing is written
    evaluated:      decode steps costed by themselves, of tokens − 1; between them every total is taken as a
                    straight line
    interpolation_error: largest deviation of a line from a step costed in its middle, relative; 0 if every
                    step was costed
    """

    tokens: int
    prefill: CostReport
    first: CostReport | None
    last: CostReport | None
    latency_s: float
    energy_J: float
    macs: int
    area_m2: float
    tokens_per_s: float | None
    lifetime_s: float | None
    evaluated: int
    interpolation_error: float

    @property
    def time_to_first_token_s(self) -> float:
        """Latency of the prompt."""
        return self.prefill.latency_s

    @property
    def energy_per_token_J(self) -> float:
        """Energy of everything over the tokens."""
        return self.energy_J / self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "tokens": self.tokens,
            "latency_s": self.latency_s,
            "time_to_first_token_s": self.time_to_first_token_s,
            "tokens_per_s": self.tokens_per_s,
            "energy_J": self.energy_J,
            "energy_per_token_J": self.energy_per_token_J,
            "macs": self.macs,
            "area_m2": self.area_m2,
            "lifetime_s": self.lifetime_s,
            "evaluated": self.evaluated,
            "interpolation_error": self.interpolation_error,
            "prefill": self.prefill.to_dict(),
            "first": None if self.first is None else self.first.to_dict(),
            "last": None if self.last is None else self.last.to_dict(),
        }


def _totals(report: CostReport) -> tuple[float, ...]:
    return (report.latency_s, report.energy_J, float(report.counts.dense_writes), float(report.counts.macs))


def generation(
    prefill: Program,
    decode: Callable[[int], Program],
    tokens: int,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    tolerance: float = TOLERANCE,
    start: int | None = None,
) -> GenerationReport:
    """Cost the generation of ``tokens`` tokens behind the prompt ``prefill``.

    decode: the program of one decode step behind a context of that many tokens
    start:  tokens in the cache behind ``prefill``; by default those of the prompt (an encoder-decoder model
            keeps its prompt apart, and its decoder's cache begins with one token)
    total = prefill + Σ decode(context), context = start … start + tokens − 2
    A stretch of contexts is halved until the step in its middle lies within ``tolerance`` of the straight
    line between its ends, in time and in energy.
    Error: ``interpolation_error``; 0 with ``tolerance`` 0, where every step is costed.
    """
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise UserError(f"{tokens!r} tokens are to be generated: it must be a whole number of at least 1.")
    first = estimate(prefill, chip, level=level, library=library)
    start = prefill.tokens if start is None else start
    end = start + tokens - 2
    known: dict[int, CostReport] = {}

    def at(context: int) -> CostReport:
        if context not in known:
            known[context] = estimate(decode(context), chip, level=level, library=library)
        return known[context]

    sums = list(_totals(first))
    worst = 0.0
    if tokens > 1:
        open_stretches = [(start, end)]
        for value, total in enumerate(_totals(at(start))):
            sums[value] += total
        while open_stretches:
            low, high = open_stretches.pop()
            if low == high:
                continue
            left, right = _totals(at(low)), _totals(at(high))
            middle = (low + high) // 2
            if middle == low:
                sums = [total + value for total, value in zip(sums, right, strict=True)]
                continue
            share = (middle - low) / (high - low)
            line = [a + share * (b - a) for a, b in zip(left, right, strict=True)]
            true = _totals(at(middle))
            off = max(abs(true[place] - line[place]) / true[place] for place in (0, 1))
            if off <= tolerance and tolerance > 0:
                worst = max(worst, off)
                count = high - low  # contexts low + 1 … high, in two straight lines that meet in the middle
                for place in range(len(sums)):
                    sums[place] += _line(left[place], true[place], middle - low)
                    sums[place] += _line(true[place], right[place], count - (middle - low))
            else:
                open_stretches += [(low, middle), (middle, high)]
    latency, energy, writes, macs = sums
    decoding = latency - first.latency_s
    last = at(end) if tokens > 1 else first
    return GenerationReport(
        tokens=tokens,
        prefill=first,
        first=at(start) if tokens > 1 else None,
        last=last if tokens > 1 else None,
        latency_s=latency,
        energy_J=energy,
        macs=round(macs),
        area_m2=max(first.area_m2, last.area_m2),
        tokens_per_s=(tokens - 1) / decoding if tokens > 1 else None,
        lifetime_s=lifetime_s(last.dense_cells, round(writes), chip.dense.cell.endurance_writes, latency),
        evaluated=len(known),
        interpolation_error=worst,
    )


def _line(left: float, right: float, count: int) -> float:
    """Σ over ``count`` equal steps from ``left`` (excluded) to ``right`` (included)."""
    return count * left + (right - left) * (count + 1) / 2
