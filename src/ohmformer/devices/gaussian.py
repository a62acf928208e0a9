"""The normal distribution: its upper tail, and deviates from a generator that is passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError

__all__ = ["normal", "uniform", "upper_tail"]


def upper_tail(argument: Tensor) -> Tensor:
    """Q(x) = P(N(0, 1) > x) = erfc(x / sqrt(2)) / 2.

    Error: a few units in the last place, relative, until it underflows near x = 38 (float64). (1 - Phi, and
           torch.special.ndtr, which is computed from erf, lose it all at x = 8.)
    """
    return torch.erfc(argument * math.sqrt(0.5)).mul_(0.5)


def normal(shape: Sequence[int], generator: torch.Generator | None, what: str, dtype: torch.dtype) -> Tensor:
    """Standard normal deviates of ``shape`` for the noise called ``what``."""
    return torch.randn(tuple(shape), generator=_require(generator, what), dtype=dtype)


def uniform(shape: Sequence[int], generator: torch.Generator | None, what: str, dtype: torch.dtype) -> Tensor:
    """Uniform deviates in [0, 1) of ``shape`` for the event called ``what``."""
    return torch.rand(tuple(shape), generator=_require(generator, what), dtype=dtype)


def _require(generator: torch.Generator | None, what: str) -> torch.Generator:
    if generator is None:
        raise DeviceError(f"{what} is above 0 and random: pass a torch.Generator.")
    return generator
