"""Laws of the noise of a conversion, each made of whole numbers that native kernels and torch take alike.

Dense noise: a deviate from two random bytes (``deviate_law``). Whole noise: where a code is a function of the
sum and of the noise rounded to whole numbers, only these are drawn, from a byte (``whole_thresholds``).
Alone: deviates of the few conversions that are looked at one by one (``deviate_sizes``).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from ohmformer.numerals import HOST, on_host

# A deviate is made of two random bytes: z = Σ_b BYTE_WEIGHTS[b]·(LOW[b's low half] + HIGH[b's high half]).
BYTE_WEIGHTS = (135, 121)
_LOW = (3, 7, 11, 15, 21, 27, 35, 59)
_HIGH = (2, 6, 10, 16, 20, 26, 34, 58)

# as in kernels/digit_serial_job.hpp
MOST_LEVELS = 4
POINTS = 1 << 11

UNSEEN_TAIL = 2.0**-17  # what thresholds cannot tell from nothing
CLASSES = 16  # of sizes of deviates: the largest 1/256, the next, ... and the rest
EVENT_CHANCE = 1e-5  # of noise that matters to conversions away from their bound


@cache
@on_host
def points() -> Tensor:
    """[2, 16], int8: what the low and the high half of a byte of random bits add to a deviate."""
    halves = [[-x for x in reversed(table)] + list(table) for table in (_LOW, _HIGH)]
    return torch.tensor(halves, dtype=torch.int8)


@cache
@on_host
def deviate_law() -> Tensor:
    """[65536], int64: the deviates of all pairs of bytes, each equally likely.

    Symmetric and never 0 (a low point is odd, a high one even, the byte weights share no divisor), so that a
    sum between two codes goes either way equally often. Against a normal of its variance: 4th moment
    -0.44 %, 6th -2.4 %, 8th -6.6 %, Kolmogorov distance 1.15e-3, largest deviate 4.22 standard deviations.
    """
    low, high = points().long()
    byte = (low[None, :] + high[:, None]).flatten()
    law: Tensor = BYTE_WEIGHTS[0] * byte[None, :] + BYTE_WEIGHTS[1] * byte[:, None]
    return law.flatten()


@cache
def deviate_sd() -> float:
    """Standard deviation of ``deviate_law``."""
    return float(deviate_law().double().square().mean().sqrt())


def upper_tail(z: float) -> float:
    """P(Z > z) of a standard normal."""
    return math.erfc(z / math.sqrt(2)) / 2


def size_exceeded(chance: float) -> float:
    """z with P(|Z| > z) = chance."""
    return -float(torch.special.ndtri(torch.tensor(chance / 2, dtype=torch.float64, device=HOST)))


def whole_levels(worst_sd: float, nearest: bool) -> int:
    """Thresholds on either side beyond which noise is less likely than ``UNSEEN_TAIL``."""
    level = 1
    while upper_tail((level + 1 - nearest / 2) / worst_sd) > UNSEEN_TAIL:
        level += 1
    return level


def whole_thresholds(variances: Tensor, levels: int, nearest: bool) -> Tensor:
    """[law, level], int32: T = 2^16·P(noise >= k - 1/2), k = 1 ... levels; rounding down, P(noise >= k).

    With a byte r of its own, -128 ... 127, and a byte c from 0 that all conversions of a row, a group and a
    column share, the noise of a conversion is >= k where r >= 128 - t and <= -k (< -k, rounding down) where
    r < t - 128, with t = T // 256 + (c < T mod 256). Given c, either sign is equally likely, so that the
    noise of conversions is uncorrelated although they share c.

    Error: a probability is off by at most 2^-17; noise beyond the last threshold counts as that of the last.
    """
    distance = torch.arange(1, levels + 1, dtype=torch.float64, device=HOST) - nearest / 2
    tail = torch.special.ndtr(-distance / variances.double().sqrt()[:, None])
    thresholds: Tensor = (tail * (1 << 16)).round().to(torch.int32)
    return thresholds


def class_sizes() -> list[float]:
    """The largest |z| of each size class of deviates; of the first, that with P(|Z| > z) = EVENT_CHANCE."""
    return [size_exceeded(max(number / 256, EVENT_CHANCE)) for number in range(CLASSES)]


@cache
@on_host
def deviate_sizes() -> Tensor:
    """[2, POINTS], float32: |Z| given that it is in the last class; in the others, POINTS/CLASSES of each.

    Class c < CLASSES - 1 has c/256 < P(|Z| > z) < (c + 1)/256. The quantiles in the middle of equal parts: a
    probability is off by at most 1/(2·POINTS) in the last class, by 1/(512·POINTS/CLASSES) in the others.
    """
    middle = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    first = (CLASSES - 1) / 256
    tails = torch.stack((first + (1 - first) * middle, middle * (CLASSES / 256)))
    sizes: Tensor = (-torch.special.ndtri(tails / 2)).float()
    return sizes


__all__ = [
    "BYTE_WEIGHTS",
    "CLASSES",
    "EVENT_CHANCE",
    "MOST_LEVELS",
    "POINTS",
    "class_sizes",
    "deviate_law",
    "deviate_sd",
    "deviate_sizes",
    "points",
    "size_exceeded",
    "upper_tail",
    "whole_levels",
    "whole_thresholds",
]
