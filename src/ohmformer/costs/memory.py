"""SRAM at 32 nm, interpolated from CACTI 7."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.costs.component import Interval
from ohmformer.specs import Source
from ohmformer.units import MM2, PICO

__all__ = ["BANK_BYTES", "PORT_BITS", "SRAM_SOURCE", "Sram", "sram"]

BANK_BYTES = 32 * 1024
PORT_BITS = 256

SRAM_SOURCE = Source(
    "other work",
    "CACTI 7 at 32 nm, banks of 32 KiB with a 256-bit port (8.1 pJ, .059 mm²): ITRS low operating power is "
    "typical, low standby power the other end; log-log interpolation between its points",
)

# bytes: energy per bit accessed in pJ, area in mm²
_OPERATING_POWER = {2048: (0.97 / 128, 0.0048), 4096: (1.75 / 128, 0.0093), 32768: (8.1 / 256, 0.059)}
_STANDBY_POWER = {2048: (5.1 / 256, 0.0068), 65536: (29.6 / 256, 0.101)}


@dataclass(frozen=True, kw_only=True)
class Sram:
    """A buffer of ``banks`` equal banks with one ``PORT_BITS`` port each.

    area_m2:          of the whole buffer
    energy_per_bit_J: of a bit read or written
    """

    capacity_bytes: int
    banks: int
    area_m2: Interval
    energy_per_bit_J: Interval

    def bits_per_s(self, clock_Hz: float) -> float:
        """Bits read or written per second, all banks at work, one access a clock."""
        return self.banks * PORT_BITS * clock_Hz


def sram(capacity_bytes: int) -> Sram:
    """The buffer of ``capacity_bytes``: ceil(capacity / 32 KiB) banks.

    Error: the network between the banks is not in it (see the component ``network``).
    """
    banks = -(-capacity_bytes // BANK_BYTES)
    each = capacity_bytes / banks
    typical, other = _interpolate(_OPERATING_POWER, each), _interpolate(_STANDBY_POWER, each)
    energy, area = (Interval(min(a, b), a, max(a, b)) for a, b in zip(typical, other, strict=True))
    return Sram(
        capacity_bytes=capacity_bytes,
        banks=banks,
        area_m2=area * (banks * MM2),
        energy_per_bit_J=energy * PICO,
    )


def _interpolate(points: dict[int, tuple[float, float]], size: float) -> tuple[float, float]:
    """Energy and area at ``size`` bytes: straight in log-log, the end segments extended."""
    sizes = sorted(points)
    index = next((i for i in range(1, len(sizes)) if size <= sizes[i]), len(sizes) - 1)
    small, large = sizes[index - 1], sizes[index]
    share = math.log(size / small) / math.log(large / small)
    (energy_small, area_small), (energy_large, area_large) = points[small], points[large]
    return (
        energy_small * (energy_large / energy_small) ** share,
        area_small * (area_large / area_small) ** share,
    )
