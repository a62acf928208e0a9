"""SRAM and embedded DRAM at 32 nm by capacity, interpolated from CACTI 7.

The points are in ``memory_table.json``, written by ``scripts/cost_tables.py``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ohmformer.costs.component import Interval
from ohmformer.errors import UserError
from ohmformer.specs import Source
from ohmformer.units import MM2, PICO

__all__ = [
    "BANK_BYTES",
    "EDRAM_SOURCE",
    "PORT_BITS",
    "SRAM_SOURCE",
    "Memory",
    "edram",
    "memory_table",
    "sram",
]

BANK_BYTES = 32 * 1024
EDRAM_BANK_BYTES = 64 * 1024


@lru_cache(maxsize=1)
def memory_table() -> dict[str, Any]:
    """The frozen points: SI values by kind and capacity, and where they come from."""
    text = (files("ohmformer.costs") / "memory_table.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


PORT_BITS: int = memory_table()["port_bits"]
SRAM_SOURCE = Source(
    "other work",
    f"{memory_table()['source']}; banks of 32 KiB, mean of a read and a write: low operating power is "
    "typical, low standby power the other end; log-log between its capacities",
)
EDRAM_SOURCE = Source(
    "other work",
    f"{memory_table()['source']}; banks of 64 KiB; low: a read; typical: ISAAC (ISCA 2016), 20.45 pJ for 256 "
    "bits of 64 KB, .083 mm²; high: mean of a read and a write that restores the whole row",
)
SRAM_KINDS = ("sram, low operating power", "sram, low standby power", "sram, high performance")
EDRAM_KIND = "edram, low power"
# ISAAC, Table I: the 64 KB buffer
ISAAC_EDRAM_PJ = 20.45
ISAAC_EDRAM_MM2 = 0.083


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A buffer of ``banks`` equal banks with one ``PORT_BITS`` port each.

    area_m2:          of the whole buffer
    energy_per_bit_J: of a bit read or written
    leakage_W:        of the whole buffer, at the table's temperature
    cycle_s:          between two accesses of a bank
    """

    capacity_bytes: int
    banks: int
    area_m2: Interval
    energy_per_bit_J: Interval
    leakage_W: Interval
    cycle_s: Interval

    def bits_per_s(self, clock_Hz: float) -> float:
        """Bits read or written per second, all banks at work, one access a clock."""
        return self.banks * PORT_BITS * clock_Hz


@lru_cache(maxsize=1024)
def sram(capacity_bytes: int) -> Memory:
    """The buffer of ``capacity_bytes``: ceil(capacity / 32 KiB) banks.

    Error: the network between the banks is not in it (see the component ``network``).
    """
    banks, each = _banks(capacity_bytes, BANK_BYTES)
    points = [_at(kind, each) for kind in SRAM_KINDS]
    operating, standby, fast = points

    def energy(point: dict[str, float]) -> float:
        return (point["read_J"] + point["write_J"]) / 2 / PORT_BITS

    area = sorted((operating["area_m2"], standby["area_m2"]))
    return Memory(
        capacity_bytes=capacity_bytes,
        banks=banks,
        area_m2=Interval(area[0], operating["area_m2"], area[1]) * banks,
        energy_per_bit_J=_around(energy(operating), energy(standby)),
        leakage_W=Interval(*sorted(point["leakage_W"] for point in (standby, operating, fast))) * banks,
        cycle_s=_around(operating["cycle_s"], fast["cycle_s"], standby["cycle_s"]),
    )


@lru_cache(maxsize=1024)
def edram(capacity_bytes: int) -> Memory:
    """Embedded DRAM of ``capacity_bytes``: ceil(capacity / 64 KiB) banks.

    Error: refresh is not in it; CACTI's write restores a whole row, hence the wide interval.
    """
    banks, each = _banks(capacity_bytes, EDRAM_BANK_BYTES)
    point, reference = _at(EDRAM_KIND, each), _at(EDRAM_KIND, EDRAM_BANK_BYTES)
    scale = point["read_J"] / reference["read_J"]
    typical = ISAAC_EDRAM_PJ * PICO * scale / 256
    published = ISAAC_EDRAM_MM2 * MM2 * point["area_m2"] / reference["area_m2"]
    read, both = point["read_J"] / PORT_BITS, (point["read_J"] + point["write_J"]) / 2 / PORT_BITS
    return Memory(
        capacity_bytes=capacity_bytes,
        banks=banks,
        area_m2=_around(published, point["area_m2"]) * banks,
        energy_per_bit_J=Interval(min(read, typical), typical, max(both, typical)),
        leakage_W=Interval.of(point["leakage_W"]) * banks,
        cycle_s=Interval.of(point["cycle_s"]),
    )


def _around(typical: float, *others: float) -> Interval:
    return Interval(min(typical, *others), typical, max(typical, *others))


def _banks(capacity_bytes: int, bank_bytes: int) -> tuple[int, float]:
    if capacity_bytes < 1:
        raise UserError(f"A memory of {capacity_bytes} bytes: it must have at least 1.")
    banks = -(-capacity_bytes // bank_bytes)
    return banks, capacity_bytes / banks


def _at(kind: str, size: float) -> dict[str, float]:
    """The point at ``size`` bytes: straight in log-log, the end segments extended."""
    points = memory_table()["rows"][kind]
    sizes = sorted(int(key) for key in points)
    index = next((i for i in range(1, len(sizes)) if size <= sizes[i]), len(sizes) - 1)
    small, large = sizes[index - 1], sizes[index]
    share = math.log(size / small) / math.log(large / small)
    low, high = points[str(small)], points[str(large)]
    return {name: low[name] * (high[name] / low[name]) ** share for name in low}
