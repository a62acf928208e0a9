"""What every file of this room refuses, and the integer types it hands out."""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.errors import UserError

__all__ = ["NumeralError", "require_integers", "require_range", "smallest_integer_dtype"]

INTEGER_DTYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class NumeralError(UserError, ValueError):
    """A radix, width, digit, symbol or value that the numeral system cannot hold."""


def smallest_integer_dtype(limit: int) -> torch.dtype:
    """The smallest of int8, int16, int64 that holds every integer from -limit to limit."""
    for dtype in (torch.int8, torch.int16):
        if limit <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


def require_integers(values: Tensor, name: str) -> None:
    """Refuse a tensor whose dtype is not an integer one (bool and uint64 included)."""
    if values.dtype not in INTEGER_DTYPES:
        raise NumeralError(f"{name} is {values.dtype}: an integer tensor of uint8, int8 … int64 is needed.")


def require_range(values: Tensor, lowest: int, highest: int, name: str) -> None:
    """Refuse a tensor with an element below ``lowest`` or above ``highest``."""
    if values.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(values))
    if low < lowest or high > highest:
        worst = low if low < lowest else high
        raise NumeralError(f"{name} is {worst}: allowed is {lowest} to {highest}.")
