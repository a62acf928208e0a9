"""The tables of a cost estimate."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ohmformer.costs.component import Level
from ohmformer.costs.counts import Counts
from ohmformer.costs.settling import Cycle
from ohmformer.specs import Source
from ohmformer.units import MM2, TERA

__all__ = ["BufferUse", "ChipsUse", "CostReport", "KindCost", "StepCost", "Term", "by_component", "sum_of"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One line of a breakdown: total = count x unit_value.

    component:  who costs it
    quantity:   what is counted
    unit_value: area, energy or time of one, SI
    formula:    how the count and the unit value come about
    fields:     dotted paths of the chip description the term depends on
    """

    component: str
    quantity: str
    count: float
    unit_value: float
    formula: str
    fields: tuple[str, ...]
    source: Source

    @property
    def total(self) -> float:
        """count x unit_value."""
        return self.count * self.unit_value

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "component": self.component,
            "quantity": self.quantity,
            "count": self.count,
            "unit_value": self.unit_value,
            "total": self.total,
            "formula": self.formula,
            "fields": list(self.fields),
            "source": dataclasses.asdict(self.source),
        }


def sum_of(terms: tuple[Term, ...]) -> float:
    """The exactly rounded sum of the totals."""
    return math.fsum(term.total for term in terms)


def by_component(terms: tuple[Term, ...]) -> dict[str, float]:
    """Totals by component, largest first."""
    names = dict.fromkeys(term.component for term in terms)
    sums = {name: math.fsum(term.total for term in terms if term.component == name) for name in names}
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One kind of step: how often, how long, bound by what, resources' busy times."""

    operation: str
    resident: str | None
    shape: tuple[int, int, int, int] | None
    functions: tuple[tuple[str, int], ...]
    times: int
    time_s: float
    bound_by: str
    busy_s: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class KindCost:
    """What one kind of operation takes of a run.

    energy_J: dynamic energy; leakage belongs to no kind
    time_s:   by how much its steps moved the end of the run on
    """

    kind: str
    macs: int
    conversions: int
    evaluations: int
    energy_J: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class BufferUse:
    """Where intermediates were.

    peak_bytes:      most that was kept at once (in the buffer and in dense cells together, the cache too)
    buffer_bytes:    most that was kept in the buffer
    head_groups:     attention was done for so many groups of heads, one after the other
    cache_bytes:     keys and values of earlier tokens; cache_home: ``sram`` or ``dense``
    spilled_numbers: numbers written to dense cells because the buffer was full, and read back
    read_back_numbers: numbers read back
    """

    capacity_bytes: int
    peak_bytes: float
    buffer_bytes: float
    head_groups: int
    cache_bytes: float
    cache_home: str
    spilled_numbers: int
    read_back_numbers: int


@dataclass(frozen=True, kw_only=True)
class ChipsUse:
    """A model on several chips, one layer after the other.

    chips:      in use; allowed: most that may be
    link_bits:  moved from chip to chip in a run
    interval_s: between two results when runs follow each other: the time of the slowest chip
    """

    chips: int
    allowed: int
    link: str
    link_bits: int
    link_s: float
    interval_s: float


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """What a program costs on a chip, term by term.

    area, energy, latency: breakdowns, in m², J, s; each sums to its total exactly
    steps:                 the kinds of steps behind the latency
    counts:                all actions
    utilisation:           busy time over latency, by resource; for ``converters`` done over possible
                           conversions
    banks, banks_needed:   dense banks on the chip, and those the stored cells fill
    lifetime_s:            of the dense cells under back-to-back runs and perfect wear levelling; None if
                           nothing is written
    latency_sequential_s:  Σ of the longest resource of each step: one step after the other, everything
                           within a step side by side from its start to its end
    latency_alone_s:       Σ of the steps' times on an idle chip by the rules of the schedule: what overlap
                           between steps and reading ahead saves is the difference to the latency. No bound:
                           where results go to dense cells, the next step's weights may be ahead of them there
    latency_unoverlapped_s: Σ of what every resource works on every step, nothing beside anything else: above
                           the latency of any order of steps
    latency_bound_s:       busy time of the busiest resource (several chips: their mean), below which no order
                           of steps can get
    kinds:                 by kind of operation
    buffer:                homes of intermediates; None where the program does not tell its data flow
    chips:                 where the number of chips is limited
    cycle:                 of a tile: settling, as stated and as its circuit needs, and conversions
    lifetime_dense_s:      were all intermediates kept in dense cells, at the same time per run (they make it
                           longer, so this is a lower bound); equal to lifetime_s where they are
    """

    program: str
    chip: str
    level: Level
    batch: int
    tokens: int
    area: tuple[Term, ...]
    energy: tuple[Term, ...]
    latency: tuple[Term, ...]
    steps: tuple[StepCost, ...]
    counts: Counts
    utilisation: dict[str, float]
    banks: int
    banks_needed: int
    dense_cells_used: int
    dense_cells: int
    lifetime_s: float | None
    lifetime_note: str
    notes: tuple[str, ...]
    latency_sequential_s: float = 0.0
    latency_alone_s: float = 0.0
    latency_unoverlapped_s: float = 0.0
    latency_bound_s: float = 0.0
    kinds: tuple[KindCost, ...] = ()
    buffer: BufferUse | None = None
    chips: ChipsUse | None = None
    lifetime_dense_s: float | None = None
    cycle: Cycle | None = None

    @property
    def area_m2(self) -> float:
        """Area of the chip."""
        return sum_of(self.area)

    @property
    def energy_J(self) -> float:
        """Energy of one run."""
        return sum_of(self.energy)

    @property
    def latency_s(self) -> float:
        """Time of one run."""
        return sum_of(self.latency)

    @property
    def interval_s(self) -> float:
        """Time between results of runs that follow each other; on several chips, that of the slowest."""
        return self.latency_s if self.chips is None else self.chips.interval_s

    @property
    def power_W(self) -> float:
        """Mean power over back-to-back runs."""
        return self.energy_J / self.latency_s

    @property
    def power_density_W_per_mm2(self) -> float:
        """Mean power over the area."""
        return self.power_W / (self.area_m2 / MM2)

    @property
    def area_delay_mm2_s(self) -> float:
        """Area-delay product."""
        return self.area_m2 / MM2 * self.latency_s

    @property
    def tops(self) -> float:
        """Achieved tera-operations per second, two per multiply-accumulate."""
        return 2 * self.counts.macs / self.latency_s / TERA

    @property
    def tops_per_W(self) -> float:
        """Tera-operations per joule."""
        return 2 * self.counts.macs / self.energy_J / TERA

    @property
    def tops_per_mm2(self) -> float:
        """Achieved compute density."""
        return self.tops / (self.area_m2 / MM2)

    @property
    def conversions_per_mac(self) -> float:
        """Conversions of the computation tiles per multiply-accumulate."""
        return self.counts.conversions / self.counts.macs if self.counts.macs else 0.0

    @property
    def bottleneck(self) -> str:
        """The resource that bounds the largest part of the latency."""
        return next(iter(by_component(self.latency)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; totals and derived figures included."""
        return {
            "program": self.program,
            "chip": self.chip,
            "level": self.level,
            "batch": self.batch,
            "tokens": self.tokens,
            "area_m2": self.area_m2,
            "energy_J": self.energy_J,
            "latency_s": self.latency_s,
            "latency_sequential_s": self.latency_sequential_s,
            "latency_alone_s": self.latency_alone_s,
            "latency_unoverlapped_s": self.latency_unoverlapped_s,
            "latency_bound_s": self.latency_bound_s,
            "interval_s": self.interval_s,
            "power_W": self.power_W,
            "power_density_W_per_mm2": self.power_density_W_per_mm2,
            "area_delay_mm2_s": self.area_delay_mm2_s,
            "tops": self.tops,
            "tops_per_W": self.tops_per_W,
            "tops_per_mm2": self.tops_per_mm2,
            "conversions_per_mac": self.conversions_per_mac,
            "bottleneck": self.bottleneck,
            "utilisation": self.utilisation,
            "banks": self.banks,
            "banks_needed": self.banks_needed,
            "dense_cells_used": self.dense_cells_used,
            "dense_cells": self.dense_cells,
            "lifetime_s": self.lifetime_s,
            "lifetime_note": self.lifetime_note,
            "lifetime_dense_s": self.lifetime_dense_s,
            "kinds": [dataclasses.asdict(kind) for kind in self.kinds],
            "buffer": None if self.buffer is None else dataclasses.asdict(self.buffer),
            "chips": None if self.chips is None else dataclasses.asdict(self.chips),
            "cycle": None if self.cycle is None else self.cycle.to_dict(),
            "notes": list(self.notes),
            "counts": dataclasses.asdict(self.counts),
            "area": [term.to_dict() for term in self.area],
            "energy": [term.to_dict() for term in self.energy],
            "latency": [term.to_dict() for term in self.latency],
            "steps": [dataclasses.asdict(step) for step in self.steps],
        }
