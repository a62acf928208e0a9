"""Analog-to-digital converters at 32 nm, 1 to 16 bits.

4 to 9 bits: a table. Above 9 bits: every further bit doubles area and energy (a constant figure of merit
per conversion step); at ``high`` energy it grows four times (noise-limited).

Below 4 bits there is no such converter to cite: the survey of published ones (Murmann, 2025-06-09, 724
rows) has none of 1 to 3 effective bits at 100 MS/s or more, and the survey-based models refuse below
4 bits. Hence a wide interval:
  low      the 8-bit converter of ISAAC divided by 2 for each bit less
  typical  a flash converter: 2^bits - 1 comparators, each a fifteenth of a published 4-bit one (FORMS)
  high     the 4-bit converter of the survey-based model: nothing smaller is known to exist
"""

from __future__ import annotations

import math

from ohmformer.costs.component import Component, Interval
from ohmformer.specs import Source, SpecError
from ohmformer.units import GIGA, PICO, UM2

__all__ = ["MAX_BITS", "TABLE_RATE_HZ", "converter", "polarity_comparator"]

MAX_BITS = 16
TABLE_RATE_HZ = 1.28 * GIGA

FORMS_4BIT = (0.226, 284.0)  # pJ, µm²: 15 comparators
SURVEY_4BIT = (0.924, 5190.0)

# bits: energy (low, typical, high) in pJ, area (low, typical, high) in µm²
_TABLE = {
    4: ((0.226, 0.79, 0.924), (284.0, 361.0, 5190.0)),
    5: ((0.452, 0.99, 0.995), (477.0, 477.0, 5303.0)),
    6: ((0.78, 1.20, 1.20), (580.0, 627.0, 5416.0)),
    7: ((0.89, 1.42, 1.497), (845.0, 845.0, 5943.0)),
    8: ((1.11, 1.67, 1.929), (1200.0, 1200.0, 6469.0)),
    9: ((2.22, 2.583, 3.858), (1500.0, 1500.0, 12938.0)),
}
_TABLE_SOURCE = Source(
    "other work",
    "typical: ISAAC (ISCA 2016) 8-bit 1.28 GS/s converter, scaled to 4-7 bits in hwcomponents-library, and "
    "Newton's 9-bit one; low: FORMS' 4-bit and the best energies of the Murmann survey by resolution; high: "
    "survey-based CiMLoop model at 32 nm and 1.28 GS/s (5 and 7 bits between its points, 9 bits twice 8)",
)
_SMALL_SOURCE = Source(
    "ours",
    "no published converter of 1-3 bits at 100 MS/s or more: low = ISAAC's 8-bit one halved per bit, typical "
    "= 2^bits - 1 comparators of FORMS' 4-bit one, high = the survey-based model's smallest, 4 bits",
)
_LARGE_SOURCE = Source(
    "ours",
    "above 9 bits area and energy double per bit from Newton's 9-bit one (energy at high: times 4, noise)",
)


def converter(bits: int, rate_Hz: float = TABLE_RATE_HZ) -> Component:
    """A converter of ``bits`` bits.

    area   = table area x ceil(rate / 1.28 GS/s)   (faster ones are interleaved)
    energy = table energy per conversion, at any rate
    Error:  the interval below 4 bits spans a factor 30; a slower converter may be smaller than stated.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
        raise SpecError(f"A converter of {bits!r} bits: allowed are 1 to {MAX_BITS}.")
    energy, area, source = _at(bits)
    return Component(
        name=f"{bits}-bit converter",
        unit="converter",
        action="conversion",
        area_m2=area * (UM2 * math.ceil(rate_Hz / TABLE_RATE_HZ)),
        energy_J=energy * PICO,
        source=source,
    )


def polarity_comparator(bits: int, rate_Hz: float = TABLE_RATE_HZ) -> Component:
    """The comparator that finds the sign before a magnitude of ``bits`` bits is converted.

    low, typical: a 1-bit converter; high: what one bit more of the converter would cost.
    """
    one, here, more = (
        converter(1, rate_Hz),
        converter(bits, rate_Hz),
        converter(min(bits + 1, MAX_BITS), rate_Hz),
    )

    def interval(unit: Interval, lower: Interval, upper: Interval) -> Interval:
        return Interval(unit.low, unit.typical, max(unit.typical, upper.typical - lower.typical))

    return Component(
        name="polarity comparator",
        unit="comparator",
        action="conversion",
        area_m2=interval(one.area_m2, here.area_m2, more.area_m2),
        energy_J=interval(one.energy_J, here.energy_J, more.energy_J),
        source=Source(
            "ours", "a 1-bit converter; at high, the price of one more bit of the magnitude converter"
        ),
    )


def _at(bits: int) -> tuple[Interval, Interval, Source]:
    if bits < 4:
        comparators = (1 << bits) - 1
        shrink = 2.0 ** (bits - 8)
        return (
            Interval(1.67 * shrink, FORMS_4BIT[0] / 15 * comparators, SURVEY_4BIT[0]),
            Interval(1200.0 * shrink, FORMS_4BIT[1] / 15 * comparators, SURVEY_4BIT[1]),
            _SMALL_SOURCE,
        )
    energy, area = (Interval(*values) for values in _TABLE[min(bits, 9)])
    if bits <= 9:
        return energy, area, _TABLE_SOURCE
    more = bits - 9
    return (
        Interval(energy.low * 2**more, energy.typical * 2**more, energy.high * 4**more),
        area * 2**more,
        _LARGE_SOURCE,
    )
