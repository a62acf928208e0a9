"""Analog-to-digital converters at 32 nm, 1 to 16 bits, by resolution and rate.

4 to 9 bits: a table of published converters at 1.28 GS/s. Above 9 bits: every further bit doubles area and
energy (a constant figure of merit per conversion step). The high end is a model fitted to the survey of
published converters (points in ``converter_table.json``, from ``scripts/cost_tables.py``), and so is the rule
for other rates.

Below 4 bits there is no such converter to cite: the survey of published ones (Murmann, 2025-06-09, 724
rows) has none of 1 to 3 effective bits at 100 MS/s or more, and the survey-based model refuses: "Bits must be
>= 4". Hence a wide interval, a swept input:
  low      the 8-bit converter of ISAAC divided by 2 for each bit less
  typical  a flash converter: 2^bits - 1 comparators, each a fifteenth of a published 4-bit one (FORMS)
  high     the 4-bit converter of the survey-based model: nothing smaller is known to exist
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ohmformer.costs.component import Component, Interval
from ohmformer.specs import Source, SpecError
from ohmformer.units import GIGA, PICO, UM2

__all__ = [
    "MAX_BITS",
    "SURVEY_MIN_BITS",
    "TABLE_RATE_HZ",
    "converter",
    "converter_table",
    "polarity_comparator",
]

MAX_BITS = 16
TABLE_RATE_HZ = 1.28 * GIGA

FORMS_4BIT = (0.226, 284.0)  # pJ, µm²: 15 comparators
SURVEY_MIN_BITS = 4

# bits: energy (low, typical) in pJ, area (low, typical) in µm², at TABLE_RATE_HZ
_TABLE = {
    4: ((0.226, 0.79), (284.0, 361.0)),
    5: ((0.452, 0.99), (477.0, 477.0)),
    6: ((0.78, 1.20), (580.0, 627.0)),
    7: ((0.89, 1.42), (845.0, 845.0)),
    8: ((1.11, 1.67), (1200.0, 1200.0)),
    9: ((2.22, 2.583), (1500.0, 1500.0)),
}


@lru_cache(maxsize=1)
def converter_table() -> dict[str, Any]:
    """The frozen points of the survey-based model, its origin, and its refusal below 4 bits."""
    text = (files("ohmformer.costs") / "converter_table.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


_TABLE_SOURCE = Source(
    "other work",
    "typical: ISAAC (ISCA 2016) 8-bit 1.28 GS/s converter, scaled to 4-7 bits in hwcomponents-library, and "
    "Newton's 9-bit one; low: FORMS' 4-bit and the best energies of the Murmann survey by resolution; high "
    f"and other rates: {converter_table()['source']}",
)
_SMALL_SOURCE = Source(
    "ours",
    "no published converter of 1-3 bits at 100 MS/s or more: low = ISAAC's 8-bit one halved per bit, typical "
    "= 2^bits - 1 comparators of FORMS' 4-bit one, high = the survey-based model's smallest, 4 bits",
)
_LARGE_SOURCE = Source(
    "ours",
    "above 9 bits area and energy double per bit from Newton's 9-bit one; high: the survey-based model",
)


def converter(bits: int, rate_Hz: float = TABLE_RATE_HZ) -> Component:
    """A converter of ``bits`` bits that makes ``rate_Hz`` conversions a second.

    above 1.28 GS/s: ceil(rate / 1.28 GS/s) interleaved ones, each at an equal share of the rate
    area   = table area x (rate / 1.28 GS/s)^s, s = .18 as in the survey-based model; high: the model itself
    energy = table energy per conversion, at any rate; high: the model, which rises with the rate above 8 bits
    Error:  the interval below 4 bits spans a factor 30; below 10 MS/s nothing gets smaller.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_BITS:
        raise SpecError(f"A converter of {bits!r} bits: allowed are 1 to {MAX_BITS}.")
    if not 0 < rate_Hz < math.inf:
        raise SpecError(f"A converter at {rate_Hz!r} conversions a second: the rate must be positive.")
    return _converter(bits, rate_Hz)


@lru_cache(maxsize=4096)
def _converter(bits: int, rate_Hz: float) -> Component:
    interleaved = math.ceil(rate_Hz / TABLE_RATE_HZ)
    each_Hz = rate_Hz / interleaved
    energy, area, source = _at(bits)
    high_energy, high_area = _survey(max(bits, SURVEY_MIN_BITS), each_Hz)
    slower: float = (max(each_Hz, _SLOWEST_HZ) / TABLE_RATE_HZ) ** _AREA_EXPONENT
    low_area, typical_area = (value * UM2 * slower for value in area)
    low_energy, typical_energy = (value * PICO for value in energy)
    return Component(
        name=f"{bits}-bit converter",
        unit="converter",
        action="conversion",
        area_m2=Interval(low_area, typical_area, max(typical_area, high_area)) * interleaved,
        energy_J=Interval(low_energy, typical_energy, max(typical_energy, high_energy)),
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


def _at(bits: int) -> tuple[tuple[float, float], tuple[float, float], Source]:
    """Low and typical energy in pJ and area in µm² at TABLE_RATE_HZ."""
    if bits < SURVEY_MIN_BITS:
        comparators = (1 << bits) - 1
        shrink = 1 / (1 << (8 - bits))
        return (
            (1.67 * shrink, FORMS_4BIT[0] / 15 * comparators),
            (1200.0 * shrink, FORMS_4BIT[1] / 15 * comparators),
            _SMALL_SOURCE,
        )
    energy, area = _TABLE[min(bits, 9)]
    if bits <= 9:
        return energy, area, _TABLE_SOURCE
    times = float(1 << (bits - 9))
    return (energy[0] * times, energy[1] * times), (area[0] * times, area[1] * times), _LARGE_SOURCE


def _points(bits: int) -> list[dict[str, float]]:
    return [row for row in converter_table()["rows"] if row["bits"] == bits]


def _survey(bits: int, rate_Hz: float) -> tuple[float, float]:
    """Energy (J) and area (m²) of the survey-based model, straight in log-log between its rates."""
    points = _points(bits)
    rate = min(max(rate_Hz, points[0]["rate_Hz"]), points[-1]["rate_Hz"])
    index = next(i for i in range(1, len(points)) if rate <= points[i]["rate_Hz"])
    small, large = points[index - 1], points[index]
    share = math.log(rate / small["rate_Hz"]) / math.log(large["rate_Hz"] / small["rate_Hz"])

    def between(name: str) -> float:
        return small[name] * math.exp(share * math.log(large[name] / small[name]))

    return between("energy_J"), between("area_m2")


def _area_exponent() -> float:
    """Slope of the area with the rate at 4 bits, where the energy does not depend on it."""
    first, last = _points(SURVEY_MIN_BITS)[0], _points(SURVEY_MIN_BITS)[-2]
    return math.log(last["area_m2"] / first["area_m2"]) / math.log(last["rate_Hz"] / first["rate_Hz"])


_SLOWEST_HZ: float = _points(SURVEY_MIN_BITS)[0]["rate_Hz"]
_AREA_EXPONENT = _area_exponent()
