"""One program on many chips: area, energy and time of each, without the tables behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ohmformer.costs.component import Level, require_level
from ohmformer.costs.energy import energy_units, leakage_J, priced
from ohmformer.costs.inventory import area_pairs, cmos_m2
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.running import at_level, link_of, run_of
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec
from ohmformer.units import MM2

__all__ = ["Sweep", "sweep"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Totals of one program on many chips, in the order of the chips.

    area_m2, energy_J, latency_s: what ``estimate`` gives, to the last bit
    interval_s:                   between results of runs that follow each other
    dense_writes:                 dense cells written in a run
    """

    level: Level
    macs: int
    area_m2: Values
    energy_J: Values
    latency_s: Values
    interval_s: Values
    dense_writes: Values

    @property
    def power_density_W_per_mm2(self) -> Values:
        """Mean power over the area."""
        return np.asarray(self.energy_J / self.latency_s / (self.area_m2 / MM2))

    @property
    def area_delay_mm2_s(self) -> Values:
        """Area-delay product."""
        return np.asarray(self.area_m2 / MM2 * self.latency_s)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "level": self.level,
            "macs": self.macs,
            "area_m2": self.area_m2.tolist(),
            "energy_J": self.energy_J.tolist(),
            "latency_s": self.latency_s.tolist(),
            "interval_s": self.interval_s.tolist(),
            "dense_writes": self.dense_writes.tolist(),
        }


def sweep(
    program: Program,
    chips: Iterable[ChipSpec],
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Sweep:
    """Cost ``program`` on every chip of ``chips``; the numbers are those of ``estimate``, to the last bit.

    The steps of the program are found once; homes of intermediates are planned once for each size of the
    buffer.
    """
    require_level(level)
    rows = [_row(program, chip, level, library) for chip in chips]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
    return Sweep(
        level=level,
        macs=program.macs,
        area_m2=table[:, 0],
        energy_J=table[:, 1],
        latency_s=table[:, 2],
        interval_s=table[:, 3],
        dense_writes=table[:, 4],
    )


def _row(
    program: Program, chip: ChipSpec, level: Level, library: Library
) -> tuple[float, float, float, float, float]:
    chip = at_level(chip, library, level)
    run = run_of(program, chip, library, level)
    latency_s, count = run.schedule.makespan_s, run.chip_count
    areas = [amount * count * each for amount, each in area_pairs(chip, run.banks, library, level)]
    cmos = cmos_m2(areas)
    energies = priced(run.counts, energy_units(chip, library, level))
    interval_s = latency_s
    if count > 1:
        link = link_of(chip, library)
        ends = 2 * chip.package.links * (count - 1) * link.area_m2.at(level)
        areas.append(ends)
        cmos += ends
        energies.append(run.link_bits * link.energy_J.at(level))
        times = zip(run.schedule.starts_s, run.schedule.ends_s, strict=True)
        interval_s = max(end - start for start, end in times)
    energies.append(leakage_J(cmos, latency_s, library, level))
    return math.fsum(areas), math.fsum(energies), latency_s, interval_s, float(run.counts[13])
