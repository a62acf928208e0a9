"""The converter of a computation crossbar, and what its rounding does to small noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.gaussian import normal, upper_tail
from ohmformer.numerals import divide
from ohmformer.specs import AdcSpec
from ohmformer.specs.tile import Rounding

__all__ = [
    "convert",
    "converter_level",
    "converter_levels",
    "rounding_error_mean",
    "rounding_error_probability",
    "rounding_error_variance",
]

_LARGE_SD = 3.0  # above it the variance is sd^2 + 1/12, but for 4 * sd^2 * exp(-2 * pi^2 * sd^2) < 1e-75


def convert(
    sums: Tensor, adc: AdcSpec, generator: torch.Generator | None = None, *, noise: Tensor | None = None
) -> Tensor:
    """Convert bitline sums to codes; the value of a code is code * step, in unit currents.

    code = clip(rounding(level + adc.noise * N(0, 1)), -max_code, +max_code)
    level = sign(sum) * (m + nonlinearity * 4 * u * (1 - u)),  m = |sum| / step,  u = min(1, m / max_code)

    sums:    [...], unit currents, floating point
    noise:   [...], standard normal deviates to use instead of drawing them (for parity tests)
    returns: [...], int32 codes
    Error:   rounding of the level in the dtype of ``sums``.
    """
    level = converter_level(sums, adc)
    if adc.noise > 0:
        deviate = normal(sums.shape, generator, "adc.noise", sums.dtype) if noise is None else noise
        level = level + adc.noise * deviate
    if adc.rounding == "half_even":
        level = level.round()
    elif adc.rounding == "half_up":
        # not floor(level + 0.5): that sum rounds 0.5 - 2**-54 up to 1
        whole = level.floor()
        level = torch.where(level - whole >= 0.5, whole + 1, whole)
    else:
        level = level.floor()
    return level.clamp(-adc.max_code, adc.max_code).to(torch.int32)


def converter_level(sums: Tensor, adc: AdcSpec) -> Tensor:
    """Level that a bitline sum reaches ahead of the converter's noise and rounding, in steps.

    level = sign(sum) * (m + nonlinearity * 4 * u * (1 - u)),  m = |sum| / step,  u = min(1, m / max_code)

    The bow is 0 at either end of a polarity and ``nonlinearity`` in its middle; odd, because the polarity
    is decided first and the magnitude converted by the same converter.

    sums:    [...], unit currents, floating point
    returns: [...], of the same dtype; sum / step itself without nonlinearity
    """
    if not sums.is_floating_point():
        raise DeviceError(f"sums are {sums.dtype}: a converter takes floating-point sums.")
    level = divide(sums, adc.step)
    if adc.nonlinearity > 0:
        share = divide(level.abs(), adc.max_code).clamp_(max=1)
        level = level + level.sign() * (4 * adc.nonlinearity) * share * (1 - share)
    return level


def converter_levels(adc: AdcSpec, max_sum: int) -> Tensor:
    """Levels of all whole-number sums from -max_sum to max_sum, ahead of noise and rounding, in steps.

    returns: [2 * max_sum + 1], float64, ascending; the sum s is at s + max_sum
    """
    if max_sum < 0:
        raise DeviceError(f"max_sum is {max_sum}: it must be at least 0.")
    return converter_level(torch.arange(-max_sum, max_sum + 1, dtype=torch.float64), adc)


def rounding_error_probability(sd: Tensor | float, rounding: Rounding = "half_even") -> Tensor:
    """Probability that noise changes the code of a whole-number sum.

    P = Q((1 - o)/sd) + Q(o/sd),  o = 1/2 (half_even, half_up) or 0 (floor),  0 at sd = 0

    sd:      [...], sd of the normal noise before the rounding, in steps
    returns: [...], float64
    Error:   none for a step of 1 and sums away from clipping.
    """
    width, offset = _prepare(sd, rounding)
    return torch.where(width > 0, _upper(1 - offset, width) + _upper(offset, width), 0.0)


def rounding_error_mean(sd: Tensor | float, rounding: Rounding = "half_even") -> Tensor:
    """Mean of rounding(s + noise) - s for a whole number s: 0, but -1/2 for ``floor`` (0 at sd = 0).

    Arguments, result and error as ``rounding_error_probability``.
    """
    width, offset = _prepare(sd, rounding)
    return torch.where(width > 0, offset - 0.5, 0.0).to(torch.float64)


def rounding_error_variance(sd: Tensor | float, rounding: Rounding = "half_even") -> Tensor:
    """Variance of e = rounding(s + noise) - s for a whole number s; e has mean ``rounding_error_mean``.

    E[e^2] = sum_{n >= 1} (2n - 1) * (P(e >= n) + P(e <= -n))
           = sum_{n >= 1} (2n - 1) * (Q((n - o)/sd) + Q((n - 1 + o)/sd)),  o as above

    All terms are positive, so that the relative accuracy holds in the far tail. Above sd = 3 the sum
    equals sd^2 + 1/12 (+ 1/4 for ``floor``, the square of its mean) to double precision.

    Arguments, result and error as ``rounding_error_probability``.
    """
    width, offset = _prepare(sd, rounding)
    small = width.clamp(max=_LARGE_SD)
    total = torch.zeros_like(width)
    for n in range(math.ceil(10 * _LARGE_SD) + 1, 0, -1):  # smallest terms first
        total = total + (2 * n - 1) * (_upper(n - offset, small) + _upper(n - 1 + offset, small))
    total = total - (0.5 - offset) ** 2
    total = torch.where(width > _LARGE_SD, width * width + 1 / 12, total)
    return torch.where(width > 0, total, 0.0)


def _prepare(sd: Tensor | float, rounding: Rounding) -> tuple[Tensor, float]:
    width = torch.as_tensor(sd, dtype=torch.float64)
    if bool((width < 0).any()):
        raise DeviceError("sd is negative: a standard deviation is at least 0.")
    return width, 0.0 if rounding == "floor" else 0.5


def _upper(distance: float, sd: Tensor) -> Tensor:
    """Q(distance / sd)."""
    return upper_tail(distance / sd)
