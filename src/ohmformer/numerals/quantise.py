"""Symmetric quantisers: floating-point values as integer codes times a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.numerals.checks import NumeralError, smallest_integer_dtype
from ohmformer.numerals.places import divide

__all__ = [
    "Quantised",
    "dequantise",
    "max_code",
    "quantise",
    "quantise_per_row",
    "quantise_per_tensor",
    "quantise_with_scale",
]

MIN_BITS, MAX_BITS = 2, 16


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """Integer codes and the scale that multiplies them; value ~ codes * scale.

    codes: shape of the values, whole numbers of magnitude <= 2**(bits-1) - 1
    scale: broadcasts against codes, positive, unit of the values
    """

    codes: Tensor
    scale: Tensor
    bits: int


def max_code(bits: int) -> int:
    """Largest code, 2**(bits-1) - 1; the range is symmetric, -2**(bits-1) is not used."""
    if not MIN_BITS <= bits <= MAX_BITS:
        raise NumeralError(f"bits is {bits}: allowed is {MIN_BITS} to {MAX_BITS}.")
    return int(2 ** (bits - 1) - 1)


def quantise(
    values: Tensor,
    bits: int,
    *,
    dims: Sequence[int] | None,
    dtype: torch.dtype | None = None,
    check: bool = False,
) -> Quantised:
    """Quantise with one scale for each group of elements along ``dims`` (None: the whole tensor).

    scale = max|x| / (2**(bits-1) - 1), and 1 where a group is all zero
    code  = x / scale, rounded half to even

    values:  [...], floating point; half precisions are computed in float32
    dims:    axes that share a scale; they stay as axes of length 1 in ``scale``; None gives a scalar
    dtype:   of the codes; None takes the smaller of int8 and int16 that fits. A floating dtype (say
             float32, for a matrix product that follows) holds the same whole numbers and saves a copy
    check:   refuse NaN and infinity; without it they give meaningless codes
    Error:   |x - code*scale| <= scale/2 + |x| * 2**-24, the last term from rounding x/scale to float32.
             A scale below the smallest normal number is raised to it.
    """
    highest = max_code(bits)
    exact = _require_floats(values, check)
    axes = tuple(range(exact.ndim)) if dims is None else _require_axes(exact, dims)
    if any(exact.shape[axis] == 0 for axis in axes):
        raise NumeralError(f"values have shape {tuple(values.shape)}: there is nothing to take a scale from.")
    # Two reductions read the tensor twice, yet cost half of abs().amax(), which also writes a copy.
    largest = torch.maximum(exact.amax(axes, keepdim=True), -exact.amin(axes, keepdim=True))
    if dims is None:
        largest = largest.reshape(())
    normal = divide(largest, highest).clamp_min(torch.finfo(exact.dtype).tiny)
    scale = torch.where(largest == 0, torch.ones_like(normal), normal)
    # No clamp: |x|/scale <= highest * (1 + 2**-23) rounds to highest, as 2**-23 * 32767 < 1/2.
    codes = torch.div(exact, scale).round_()
    return Quantised(codes=codes.to(_code_dtype(dtype, highest)), scale=scale, bits=bits)


def quantise_per_row(
    values: Tensor, bits: int, *, dtype: torch.dtype | None = None, check: bool = False
) -> Quantised:
    """One scale for each row: the last axis is reduced (rule, error and options of ``quantise``).

    values: [..., row, element]: activations [token, feature] get one scale a token, a weight
            [out, in] one an output channel
    scale:  [..., row, 1]
    """
    return quantise(values, bits, dims=(-1,), dtype=dtype, check=check)


def quantise_per_tensor(
    values: Tensor, bits: int, *, dtype: torch.dtype | None = None, check: bool = False
) -> Quantised:
    """One scale for the whole tensor, a scalar (rule, error and options of ``quantise``)."""
    return quantise(values, bits, dims=None, dtype=dtype, check=check)


def quantise_with_scale(
    values: Tensor,
    scale: Tensor | float,
    bits: int,
    *,
    dtype: torch.dtype | None = None,
    check: bool = False,
) -> Quantised:
    """Quantise with a scale known beforehand (calibrated); values beyond the range clip.

    code = x / scale, rounded half to even, then clamped to +-(2**(bits-1) - 1)

    values: [...], floating point
    scale:  positive and finite, broadcasts against values
    Error:  as ``quantise`` inside the range; |x| - scale * (2**(bits-1) - 1) where it clips.
    """
    highest = max_code(bits)
    exact = _require_floats(values, check)
    scale = scale.to(exact) if isinstance(scale, Tensor) else exact.new_full((), scale)
    if not bool(((scale > 0) & scale.isfinite()).all()):
        raise NumeralError("scale has an element that is not a positive finite number: it must be one.")
    try:
        scale.expand(exact.shape)
    except RuntimeError:
        raise NumeralError(
            f"scale has shape {tuple(scale.shape)}: it must broadcast against {tuple(values.shape)}."
        ) from None
    codes = torch.div(exact, scale).round_().clamp_(-highest, highest)
    return Quantised(codes=codes.to(_code_dtype(dtype, highest)), scale=scale, bits=bits)


def dequantise(quantised: Quantised) -> Tensor:
    """Values that the codes stand for, codes * scale, in the dtype of the scale."""
    return quantised.codes.to(quantised.scale.dtype) * quantised.scale


def _require_floats(values: Tensor, check: bool) -> Tensor:
    """The values in float32 or float64, refused if not floating point or (on request) not finite."""
    if not values.is_floating_point():
        raise NumeralError(f"values are {values.dtype}: a quantiser needs floating-point values.")
    if check and not bool(values.isfinite().all()):
        raise NumeralError("values hold NaN or infinity: a quantiser needs finite values.")
    return values if values.dtype == torch.float64 else values.float()


def _require_axes(values: Tensor, dims: Sequence[int]) -> tuple[int, ...]:
    """The axes that share a scale, refused if there is none or the tensor lacks one."""
    if not dims or not all(-values.ndim <= axis < values.ndim for axis in dims):
        raise NumeralError(
            f"dims are {tuple(dims)}: at least one axis of shape {tuple(values.shape)} is needed."
        )
    return tuple(dims)


def _code_dtype(dtype: torch.dtype | None, highest: int) -> torch.dtype:
    """The dtype asked for, refused if some whole number up to ``highest`` would not be exact in it."""
    if dtype is None:
        return smallest_integer_dtype(highest)
    if dtype.is_floating_point:
        # eps = 2**-m for m stored mantissa bits; whole numbers are exact up to 2**(m+1).
        exact_up_to = int(2 / torch.finfo(dtype).eps)
    elif dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        exact_up_to = torch.iinfo(dtype).max
    else:
        raise NumeralError(f"dtype is {dtype}: codes need a signed integer or a floating dtype.")
    if exact_up_to < highest:
        raise NumeralError(f"dtype is {dtype}: it holds whole numbers up to {exact_up_to}, not {highest}.")
    return dtype
