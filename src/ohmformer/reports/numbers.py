"""Numbers as text: three significant digits, SI prefixes, a real minus sign."""

from __future__ import annotations

import math

from ohmformer.units import FEMTO, GIGA, KILO, MEGA, MICRO, MILLI, MM2, NANO, PICO, TERA, UM2

__all__ = [
    "MINUS",
    "area",
    "count",
    "duration",
    "integer",
    "interval",
    "percent",
    "points",
    "quantity",
    "significant",
    "tick",
]

MINUS = "\N{MINUS SIGN}"
PREFIXES = (
    (TERA, "T"),
    (GIGA, "G"),
    (MEGA, "M"),
    (KILO, "k"),
    (1.0, ""),
    (MILLI, "m"),
    (MICRO, "µ"),
    (NANO, "n"),
    (PICO, "p"),
    (FEMTO, "f"),
)
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
MINUTE_s, HOUR_s, DAY_s, YEAR_s = 60.0, 3600.0, 86400.0, 365.25 * 86400.0


def significant(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits; powers of ten below 1e-4 and from 1e6 on."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    magnitude = abs(float(f"{abs(value):.{digits - 1}e}"))
    sign = MINUS if value < 0 else ""
    if not 1e-4 <= magnitude < 1e6:
        mantissa, exponent = f"{magnitude:.{digits - 1}e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}".replace("e-", f"e{MINUS}")
    places = max(0, digits - 1 - math.floor(math.log10(magnitude)))
    return f"{sign}{magnitude:,.{places}f}"


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """``value`` of an SI unit with the prefix that leaves 1 to 999 before the point."""
    if value is None or not math.isfinite(value):
        return f"{significant(value)} {unit}"
    if value == 0:
        return f"0 {unit}"
    magnitude = float(f"{abs(value):.{digits - 1}e}")
    factor, prefix = next(((f, p) for f, p in PREFIXES if magnitude >= f), PREFIXES[-1])
    return f"{significant(value / factor, digits)} {prefix}{unit}"


def area(value_m2: float, digits: int = 3) -> str:
    """Square millimetres, or square micrometres below 0.001 mm²."""
    if value_m2 and abs(value_m2) < MM2 / 1000:
        return f"{significant(value_m2 / UM2, digits)} µm²"
    return f"{significant(value_m2 / MM2, digits)} mm²"


def tick(value: float) -> str:
    """A round number on an axis: plain up to 10,000, else as a power of ten."""
    if value and not 0.001 <= abs(value) < 100_000:
        mantissa, exponent = f"{value:.0e}".split("e")
        power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
        return power if mantissa == "1" else f"{mantissa.replace('-', MINUS)}·{power}"
    return f"{value:,.6g}".replace("-", MINUS)


def percent(share: float, places: int = 1) -> str:
    """A share as a percentage."""
    return f"{_signed(100 * share, places)} %"


def points(share: float, places: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    return _signed(100 * share, places, plus=True)


def _signed(value: float, places: int, *, plus: bool = False) -> str:
    rounded = round(value, places)
    sign = MINUS if rounded < 0 else ("+" if plus and rounded > 0 else "")
    return f"{sign}{abs(rounded):.{places}f}"


def interval(low: str, high: str) -> str:
    """The two ends of an interval."""
    return f"{low} … {high}"


def integer(value: float) -> str:
    """A whole number with thousands separated."""
    return f"{int(value):,}"


def count(value: float) -> str:
    """A count: whole below a million, three digits beyond."""
    return integer(value) if abs(value) < 1e6 and float(value).is_integer() else significant(value)


def duration(seconds: float) -> str:
    """A time in the unit one would say it in."""
    for unit, name in ((YEAR_s, "years"), (DAY_s, "days"), (HOUR_s, "hours"), (MINUTE_s, "minutes")):
        if seconds >= 2 * unit:
            return f"{significant(seconds / unit)} {name}"
    return quantity(seconds, "s")
