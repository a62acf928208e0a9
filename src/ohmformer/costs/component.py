"""A unit value with its interval and its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ohmformer.specs import Source, SpecError

__all__ = ["LEVELS", "Component", "Interval", "Level", "require_level"]

Level = Literal["low", "typical", "high"]
LEVELS: tuple[Level, ...] = ("low", "typical", "high")


def require_level(level: str) -> None:
    """Refuse a level that is not low, typical or high."""
    if level not in LEVELS:
        raise SpecError(f"The cost level is {level!r}: allowed are low, typical and high.")


@dataclass(frozen=True)
class Interval:
    """A value with the range it is known to: low <= typical <= high, none negative."""

    low: float
    typical: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.typical <= self.high < math.inf:
            raise SpecError(
                f"Interval({self.low!r}, {self.typical!r}, {self.high!r}): "
                "low, typical and high must not be negative and must not fall."
            )

    @classmethod
    def of(cls, value: float) -> Interval:
        """A value without a range."""
        return cls(value, value, value)

    def at(self, level: Level) -> float:
        """The value at one end or the typical one."""
        require_level(level)
        value: float = getattr(self, level)
        return value

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.typical * factor, self.high * factor)

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.typical + other.typical, self.high + other.high)


ZERO = Interval.of(0.0)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One block of hardware: its area, the energy of one action, where both come from.

    unit:   what one of it is (one converter, one bit, one square metre, ...)
    action: what costs ``energy_J`` once
    """

    name: str
    unit: str
    action: str
    area_m2: Interval = ZERO
    energy_J: Interval = ZERO
    source: Source
