"""Axes: from values to positions, and which values get a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Linear", "Log", "Scale", "linear_around", "log_around"]


@dataclass(frozen=True)
class Linear:
    """position = (value - low) / (high - low)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"axis from {self.low} to {self.high}: low must be below high")

    def position(self, value: float) -> float:
        """0 at ``low``, 1 at ``high``; values beyond an end stay at it."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self, most: int = 6) -> list[float]:
        """At most ``most`` multiples of 1, 2 or 5 times a power of ten, ends included."""
        step = _step((self.high - self.low) / max(1, most - 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True)
class Log:
    """position = log(value / low) / log(high / low)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"logarithmic axis from {self.low} to {self.high}: needs 0 < low < high")

    def position(self, value: float) -> float:
        """0 at ``low``, 1 at ``high``; values beyond an end stay at it."""
        if value <= self.low:
            return 0.0
        return min(1.0, math.log(value / self.low) / math.log(self.high / self.low))

    def ticks(self, most: int = 6) -> list[float]:
        """Powers of ten, every k-th where they are many; 1, 2, 5 steps where they are few."""
        first = math.ceil(math.log10(self.low) - 1e-9)
        last = math.floor(math.log10(self.high) + 1e-9)
        if last - first < 1:
            steps = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
            return [value for value in steps if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
        every = math.ceil((last - first + 1) / most)
        return [10.0**exponent for exponent in range(first, last + 1, every)]


Scale = Linear | Log


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        (factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= rough * (1 - 1e-9)), 10 * power
    )


def linear_around(values: list[float], include: float | None = None) -> Linear:
    """A linear axis that holds all finite values (and ``include``), its ends at round numbers."""
    finite = [value for value in values if math.isfinite(value)]
    if include is not None:
        finite.append(include)
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        spread = abs(low) or 1.0
        low, high = low - spread / 2, high + spread / 2
    step = _step((high - low) / 5)
    return Linear(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def log_around(values: list[float]) -> Log:
    """A logarithmic axis of whole decades that holds all positive values."""
    positive = [value for value in values if 0 < value < math.inf]
    if not positive:
        return Log(0.1, 10.0)
    low = math.floor(math.log10(min(positive)) + 1e-9)
    high = math.ceil(math.log10(max(positive)) - 1e-9)
    return Log(10.0**low, 10.0 ** max(high, low + 1))
