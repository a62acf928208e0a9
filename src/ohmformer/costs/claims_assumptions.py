"""The assumptions under which a claim would hold: one at a time, solved for over its allowed range."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ohmformer.costs.claims import Claim
from ohmformer.costs.claims_implied import Implied
from ohmformer.costs.claims_solving import crossing, first_that_meets
from ohmformer.costs.claims_values import Totals, compared, other_hardware, others_totals, totals_of
from ohmformer.costs.component import Level
from ohmformer.costs.estimate import estimate
from ohmformer.costs.nodes import NODES_NM
from ohmformer.costs.report import CostReport, by_component
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, names, preset

__all__ = ["Assumption", "Question", "assumptions", "implied_assumptions"]


class _Met:
    """A figure as a function of one assumption, and the best value it took."""

    def __init__(self, question: Question, figure: Callable[[float], float]) -> None:
        self._question, self._figure = question, figure
        self.best: float | None = None

    def __call__(self, value: float) -> float:
        try:
            found = self._figure(value)
        except UserError:  # the chip or the model does not allow it
            return math.nan
        if math.isfinite(found):
            kept = found if self.best is None else self.best
            self.best = max(kept, found) if self._question.upward else min(kept, found)
        return found

    def holds(self, value: float) -> bool:
        """Whether the claim holds at ``value``."""
        return self._question.holds(self(value))


Programs = Callable[[int, int], Program]

TOKENS = (8, 16, 32, 64, 128, 256, 512)
BATCHES = (1, 2, 8, 32, 128)
TILES = tuple(1 << power for power in range(0, 19, 2))
PRICES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
OTHER_PRICES = (1.0, 2.0, 5.0, 10.0, 20.0)
SHARING = (128, 64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One thing that would have to be otherwise, everything else as given.

    given, allowed: its value here, and the values that were looked at
    value:          the one nearest to ``given`` at which the claim holds; None if there is none
    best:           the figure nearest to the claim that was met on the way; None where none was looked at
    stated:         what the paper says about it, where it says something
    then:           the chip's totals with it: area, time and energy of one sequence; None for other hardware
    """

    name: str
    unit: str
    given: str
    allowed: str
    value: float | str | None
    best: float | None = None
    stated: str = ""
    then: Totals | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """A claim, the program and chip it is asked of, and where other programs come from.

    programs: the model's program at (tokens, batch)
    found:    totals that were computed already, shared by questions about the same programs; it holds the
              programs, so that an address names one program only
    """

    claim: Claim
    programs: Programs
    chip: ChipSpec
    tokens: int
    batch: int
    found: dict[tuple[object, ...], tuple[Program, Totals]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def program(self) -> Program:
        """The program as given."""
        return self.programs(self.tokens, self.batch)

    @property
    def upward(self) -> bool:
        """Whether a larger figure is as good as the claimed one."""
        return self.claim.kind != "area_delay"

    def holds(self, figure: float) -> bool:
        """Whether ``figure`` is what is claimed, or better."""
        return figure >= self.claim.value if self.upward else figure <= self.claim.value

    def totals(self, program: Program, chip: ChipSpec) -> Totals:
        """What the chip takes, at typical unit values; several sequences one by one where that is faster."""

        def own(run: Program) -> Totals:
            return self._once(("chip",), run, chip, lambda: totals_of(estimate(run, chip), run.batch))

        together, count = own(program), program.batch
        if count == 1:
            return together
        one = own(self.programs(program.tokens, 1))
        in_turn = Totals(
            area_m2=one.area_m2,
            latency_s=count * one.latency_s,
            energy_J=count * one.energy_J,
            sequences=count,
        )
        return min(together, in_turn, key=lambda totals: totals.latency_s)

    def other_totals(self, program: Program, chip: ChipSpec) -> Totals:
        """What the hardware takes that the claim compares with."""
        return self._once(
            ("other", self.claim.subject), program, chip, lambda: others_totals(self.claim, program, chip)
        )

    def _once(
        self, what: tuple[object, ...], program: Program, chip: ChipSpec, compute: Callable[[], Totals]
    ) -> Totals:
        key = (*what, id(program), chip)
        if key not in self.found:
            self.found[key] = (program, compute())
        return self.found[key][1]

    def figure(self, program: Program, chip: ChipSpec) -> float:
        """Our number at typical unit values."""
        return compared(self.claim, self.totals(program, chip), self.other_totals(program, chip))


def assumptions(question: Question) -> tuple[Assumption, ...]:
    """Every assumption about the unit values, the chip, the workload and the other hardware, solved for."""
    return (
        _level(question),
        _workload(question, "tokens of a sequence", TOKENS, by_tokens=True),
        _workload(question, "sequences at once", BATCHES, by_tokens=False),
        _tiles(question),
        _node(question),
        _sharing(question),
        _reading(question),
        *_prices(question),
        *_other_prices(question),
    )


def _level(question: Question) -> Assumption:
    program, chip = question.program, question.chip

    def totals(level: Level) -> Totals:
        return totals_of(estimate(program, chip, level=level), program.batch)

    others: tuple[Level, ...] = ("low", "high")
    other = question.other_totals(program, chip)
    figures = {level: compared(question.claim, totals(level), other) for level in others}
    found = next((level for level in others if question.holds(figures[level])), None)
    return Assumption(
        name="unit values of the chip",
        unit="",
        given="typical",
        allowed=", ".join(others),
        value=found,
        best=(max if question.upward else min)(figures.values()),
        then=None if found is None else totals(found),
    )


def _workload(question: Question, name: str, points: tuple[int, ...], *, by_tokens: bool) -> Assumption:
    def program(value: float) -> Program:
        count = int(value)
        return (
            question.programs(count, question.batch)
            if by_tokens
            else question.programs(question.tokens, count)
        )

    met = _Met(question, lambda value: question.figure(program(value), question.chip))
    given = question.tokens if by_tokens else question.batch
    found = crossing(met, question.claim.value, points, given, whole=True)
    return Assumption(
        name=name,
        unit="",
        given=str(given),
        allowed=f"{points[0]} … {points[-1]}",
        value=None if found is None else int(found),
        best=met.best,
        then=None if found is None else question.totals(program(found), question.chip),
    )


def _tiles(question: Question) -> Assumption:
    def chip(value: float) -> ChipSpec:
        return dataclasses.replace(question.chip, tile_count=round(value))

    program = question.program
    met = _Met(question, lambda value: question.figure(program, chip(value)))
    found = crossing(met, question.claim.value, TILES, question.chip.tile_count)
    return Assumption(
        name="computation tiles",
        unit="",
        given=str(question.chip.tile_count),
        allowed=f"{TILES[0]} … {TILES[-1]}",
        value=None if found is None else round(found),
        best=met.best,
        then=None if found is None else question.totals(program, chip(found)),
    )


def _node(question: Question) -> Assumption:
    def chip(value: float) -> ChipSpec:
        return dataclasses.replace(question.chip, node_nm=value)

    program = question.program
    ordered = sorted(NODES_NM, key=lambda node: abs(math.log(node / question.chip.node_nm)))
    met = _Met(question, lambda node: question.figure(program, chip(node)))
    found = first_that_meets(met.holds, ordered)
    return Assumption(
        name="process node",
        unit="nm",
        given=f"{question.chip.node_nm:g}",
        allowed=", ".join(f"{node:g}" for node in NODES_NM),
        value=found,
        best=met.best,
        stated="32 nm",
        then=None if found is None else question.totals(program, chip(found)),
    )


def _sharing(question: Question) -> Assumption:
    def chip(value: float) -> ChipSpec:
        adc = dataclasses.replace(question.chip.tile.adc, bitlines_per_adc=int(value))
        return dataclasses.replace(question.chip, tile=dataclasses.replace(question.chip.tile, adc=adc))

    program = question.program
    ordered = [float(count) for count in SHARING if count <= question.chip.tile.bitlines]
    met = _Met(question, lambda count: question.figure(program, chip(count)))
    found = first_that_meets(met.holds, ordered)
    return Assumption(
        name="bitlines that share a converter",
        unit="",
        given=str(question.chip.tile.adc.bitlines_per_adc),
        allowed=", ".join(f"{count:g}" for count in ordered),
        value=None if found is None else int(found),
        best=met.best,
        stated="128",
        then=None if found is None else question.totals(program, chip(found)),
    )


def _reading(question: Question) -> Assumption:
    others = [name for name in names() if name != question.chip.name]
    program = question.program
    met = _Met(question, lambda index: question.figure(program, preset(others[int(index)])))
    index = first_that_meets(met.holds, [float(at) for at in range(len(others))])
    found = None if index is None else others[int(index)]
    return Assumption(
        name="another reading of the machine",
        unit="",
        given=question.chip.name,
        allowed=", ".join(others),
        value=found,
        best=met.best,
        then=None if found is None else question.totals(program, preset(found)),
    )


def _scaled(report: CostReport, component: str, factor: float, sequences: int) -> Totals:
    """The totals with area and energy of one component times ``factor``."""
    area = math.fsum(term.total for term in report.area if term.component == component)
    energy = math.fsum(term.total for term in report.energy if term.component == component)
    return Totals(
        area_m2=report.area_m2 + (factor - 1) * area,
        latency_s=report.latency_s,
        energy_J=report.energy_J + (factor - 1) * energy,
        sequences=sequences,
    )


def _prices(question: Question) -> Iterator[Assumption]:
    """The two components that weigh most, cheaper."""
    program = question.program
    report = estimate(program, question.chip)
    other = question.other_totals(program, question.chip)
    by_area = question.claim.kind in ("area_ratio", "area_delay", "area_delay_ratio")
    parts = by_component(report.area if by_area else report.energy)
    what = "area" if by_area else "energy"
    for component in list(parts)[:2]:

        def figure(factor: float, component: str = component) -> float:
            return compared(question.claim, _scaled(report, component, factor, program.batch), other)

        met = _Met(question, figure)
        found = crossing(met, question.claim.value, PRICES, 1.0)
        yield Assumption(
            name=f"{what} of the {component}, over ours",
            unit="×",
            given="1",
            allowed=f"{PRICES[0]:g} … 1",
            value=found,
            best=met.best,
            then=None if found is None else _scaled(report, component, found, program.batch),
        )


def _other_prices(question: Question) -> Iterator[Assumption]:
    """Converters of the other crossbars dearer; their attention operands written."""
    claim, program, chip = question.claim, question.program, question.chip
    if claim.kind not in ("area_ratio", "energy_ratio"):
        return
    own = question.totals(program, chip)
    other = other_hardware(claim.subject, program, chip)
    terms = other.area if claim.kind == "area_ratio" else other.energy
    converters = math.fsum(term.total for term in terms if term.component == "converters")

    def dearer(factor: float) -> float:
        more = (factor - 1) * converters
        by_area = claim.kind == "area_ratio"
        return compared(
            claim,
            own,
            Totals(
                area_m2=other.area_m2 + (more if by_area else 0.0),
                latency_s=other.latency_s,
                energy_J=other.energy_J + (0.0 if by_area else more),
                sequences=program.batch,
            ),
        )

    what = "area" if claim.kind == "area_ratio" else "energy"
    met = _Met(question, dearer)
    found = crossing(met, claim.value, OTHER_PRICES, 1.0)
    yield Assumption(
        name=f"{what} of the converters of the other crossbars, over ISAAC's",
        unit="×",
        given="1",
        allowed=f"1 … {OTHER_PRICES[-1]:g}",
        value=found,
        best=met.best,
        then=None if found is None else own,
    )
    written = compared(
        claim,
        own,
        totals_of(other_hardware(claim.subject, program, chip, attention_written=True), program.batch),
    )
    yield Assumption(
        name="attention operands of the other crossbars",
        unit="",
        given="multiplied digitally",
        allowed="written into memristors",
        value="written into memristors" if question.holds(written) else None,
        best=written,
        then=own if question.holds(written) else None,
    )


def implied_assumptions(found: Implied, tokens: int) -> tuple[Assumption, ...]:
    """What a processor's area-delay product implies, as assumptions: length, batch, share of the peak."""
    rows = [
        Assumption(
            name=f"tokens of a sequence, alone, {arithmetic}",
            unit="",
            given=str(tokens),
            allowed="128 … 384" if "peak" not in arithmetic else "1 … 512",
            value=None if value is None else round(value),
        )
        for arithmetic, value in found.tokens.items()
    ]
    rows += [
        Assumption(
            name=f"sequences of {length} tokens at once, int8",
            unit="",
            given="1",
            allowed="1 … 128",
            value=None if value is None else round(value, 1),
        )
        for length, value in found.batch_at.items()
        if any("peak" not in arithmetic for arithmetic in found.tokens)
    ]
    rows += [
        Assumption(
            name=f"share of the {arithmetic} peak at {length} tokens",
            unit="",
            given="as published",
            allowed="0 … 1",
            value=round(share, 4) if share <= 1 else None,
        )
        for length, shares in found.share_at.items()
        for arithmetic, share in shares.items()
    ]
    return tuple(rows)
