"""A chip beside the alternatives and beside what was published about it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ohmformer.compiler.lower_stored import for_chip
from ohmformer.costs.baselines import (
    Baseline,
    a100,
    a100_peak,
    digital_mac,
    digital_mac_dense,
    digital_mac_sram,
    isaac,
    multi_bit_crossbar,
    pipelayer,
    prime,
    single_bit_crossbar,
    tpu_v4,
    tpu_v4_peak,
    vesti,
)
from ohmformer.costs.baselines.roofline import is_bert_large
from ohmformer.costs.claims import CLAIMS, Claim
from ohmformer.costs.component import LEVELS, Level
from ohmformer.costs.estimate import estimate
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.report import CostReport, by_component
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec
from ohmformer.units import MILLI, MM2

__all__ = ["ClaimRow", "Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """A claim beside our number.

    low, ours, high: our value over the chip's unit values (low, typical, high); other hardware typical
    within:          the claim lies between low and high
    comparable:      the program does BERT-Large's work, for which the claims were made
    reason:          one sentence, computed from the breakdowns
    """

    claim: Claim
    low: float
    ours: float
    high: float
    within: bool
    comparable: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The chip at low, typical, high unit values; the alternatives; the claims."""

    chip: dict[Level, CostReport]
    baselines: tuple[Baseline, ...]
    claims: tuple[ClaimRow, ...]

    def baseline(self, name: str) -> Baseline:
        """The alternative called ``name``."""
        return next(baseline for baseline in self.baselines if baseline.name == name)

    def rows(self) -> list[dict[str, Any]]:
        """One row for the chip and each alternative: SI totals, and their ratio to the chip's."""
        own = self.chip["typical"]
        rows: list[dict[str, Any]] = []
        items: list[tuple[str, str, str, CostReport | Baseline]] = [("chip", own.chip, "model", own)]
        items += [(b.name, b.title, b.basis, b) for b in self.baselines]
        for name, title, basis, item in items:
            rows.append(
                {
                    "name": name,
                    "title": title,
                    "basis": basis,
                    "area_m2": item.area_m2,
                    "latency_s": item.latency_s,
                    "energy_J": item.energy_J,
                    "power_density_W_per_mm2": item.power_density_W_per_mm2,
                    "area_delay_mm2_s": item.area_delay_mm2_s,
                    "area_ratio": item.area_m2 / own.area_m2,
                    "latency_ratio": item.latency_s / own.latency_s,
                    "energy_ratio": item.energy_J / own.energy_J,
                    "area_delay_ratio": item.area_delay_mm2_s / own.area_delay_mm2_s,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rows": self.rows(),
            "chip": {level: report.to_dict() for level, report in self.chip.items()},
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            "claims": [
                {**dataclasses.asdict(row), "source": dataclasses.asdict(row.claim.source)}
                for row in self.claims
            ],
        }


def compare(program: Program, chip: ChipSpec, *, library: Library = LIBRARY) -> Comparison:
    """Cost ``program`` on ``chip`` and on every alternative, and set the published claims beside.

    Crossbars and digital units use the same unit values, functions and buffer; digital units fill the area
    of the chip's computation tiles; processors have their own die and published or peak rates.
    """
    program = for_chip(program, chip)
    reports = {level: estimate(program, chip, level=level, library=library) for level in LEVELS}
    own = reports["typical"]
    baselines = (
        multi_bit_crossbar(program, chip, library=library),
        multi_bit_crossbar(program, chip, attention="written", library=library),
        single_bit_crossbar(program, chip, library=library),
        single_bit_crossbar(program, chip, attention="written", library=library),
        isaac(program, chip, library=library),
        isaac(program, chip, attention="written", library=library),
        prime(program, chip, library=library),
        prime(program, chip, attention="written", library=library),
        pipelayer(program, chip, library=library),
        pipelayer(program, chip, attention="written", library=library),
        vesti(program, chip, library=library, report=own),
        tpu_v4(program),
        tpu_v4_peak(program),
        a100(program),
        a100_peak(program),
        digital_mac(program, chip, library=library, report=own),
        digital_mac_dense(program, chip, library=library, report=own),
        digital_mac_sram(program, chip, library=library, report=own),
    )
    found = {baseline.name: baseline for baseline in baselines}
    comparable = any(is_bert_large(program, tokens) for tokens in (128, 384, 512))
    claims = tuple(_claim_row(claim, reports, found, comparable) for claim in CLAIMS)
    return Comparison(chip=reports, baselines=baselines, claims=claims)


def _value(claim: Claim, report: CostReport, found: dict[str, Baseline]) -> float:
    if claim.kind == "area_delay":
        subject: CostReport | Baseline = report if claim.subject == "chip" else found[claim.subject]
        return subject.area_delay_mm2_s
    other = found[claim.subject]
    if claim.kind == "area_ratio":
        return other.area_m2 / report.area_m2
    if claim.kind == "energy_ratio":
        return other.energy_J / report.energy_J
    return 1 - report.energy_J / other.energy_J


def _claim_row(
    claim: Claim, reports: dict[Level, CostReport], found: dict[str, Baseline], comparable: bool
) -> ClaimRow:
    values = [_value(claim, reports[level], found) for level in LEVELS]
    ours = values[1]
    within = min(values) <= claim.value <= max(values)
    return ClaimRow(
        claim=claim,
        low=min(values),
        ours=ours,
        high=max(values),
        within=within,
        comparable=comparable,
        reason=_reason(claim, reports["typical"], found, within),
    )


def _largest(parts: dict[str, float]) -> tuple[str, float]:
    """The largest part and its share."""
    name = next(iter(parts))
    return name, parts[name] / sum(parts.values())


def _reason(claim: Claim, report: CostReport, found: dict[str, Baseline], within: bool) -> str:
    area, area_share = _largest(by_component(report.area))
    energy, energy_share = _largest(by_component(report.energy))
    time, time_share = _largest(by_component(report.latency))
    start = "Inside our interval; " if within else ""
    if claim.kind == "area_delay" and claim.subject == "chip":
        tile_converters = sum(t.total for t in report.area if t.component == "tile converters") / MM2
        floor = tile_converters * report.utilisation["conversions"] * report.latency_s
        return (
            f"{start}{area}: {area_share:.0%} of {report.area_m2 / MM2:.0f} mm²; {time} bound "
            f"{time_share:.0%} of {report.latency_s / MILLI:.3g} ms; the tile converters alone, times the "
            f"time of the conversions, make {floor:.3g} mm²·s."
        )
    if claim.kind == "area_delay":
        other = found[claim.subject]
        implied = claim.value / (other.area_m2 / MM2)
        return (
            f"{start}{claim.value:g} mm²·s on {other.area_m2 / MM2:.0f} mm² implies "
            f"{implied / MILLI:.3g} ms; here it is {other.latency_s / MILLI:.3g} ms ({other.basis}). "
            f"{other.notes[0]}"
        )
    other = found[claim.subject]
    if claim.kind == "area_ratio":
        name, share = _largest(by_component(other.area))
        return (
            f"{start}on the chip {area}: {area_share:.0%} of {report.area_m2 / MM2:.0f} mm²; there "
            f"{name}: {share:.0%} of {other.area_m2 / MM2:.0f} mm²."
        )
    there = ""
    if other.energy:
        name, share = _largest(by_component(other.energy))
        there = f" ({name} {share:.0%})"
    return (
        f"{start}on the chip {energy}: {energy_share:.0%} of {report.energy_J / MILLI:.3g} mJ; "
        f"there it is {other.energy_J / MILLI:.3g} mJ{there}."
    )
