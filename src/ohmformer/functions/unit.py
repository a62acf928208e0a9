"""The function unit: range reduction, table, and what puts the result back into place."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from ohmformer.errors import UserError
from ohmformer.functions.tables import LOG2_E, POSITION_BITS, FunctionTable, table_of
from ohmformer.specs import FunctionUnitSpec

__all__ = ["ALIASES", "FunctionError", "canonical_name", "evaluate", "function_names", "max_error"]

CHUNK = 1 << 15  # elements worked on at once, so that the temporaries stay in the cache
CHUNK_OFF_HOST = 1 << 26  # the same on a GPU, where many elements at once are fast

ALIASES = {
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
}


class FunctionError(UserError, ValueError):
    """A function that the unit does not have, or an argument that it cannot take."""


def _exp(x: Tensor, table: FunctionTable) -> Tensor:
    """2^k * 2^f of x * LOG2_E = k + f; 0 below half a unit in the last place, at most 2^_TOP_POWER."""
    powers = _powers_of_two(x.device)
    octave = table.segments * 2.0**POSITION_BITS  # places from one power of two to the next
    place = (x * (LOG2_E * octave)).sub_(0.5).ceil_()
    place.clamp_(-(table.fraction_bits + 2) * octave, _TOP_POWER * octave)
    whole = (place / octave).floor_()
    mantissa = table.at_(place.sub_(whole * octave))
    shift = whole.to(torch.int32).add_(-_LOW_POWER).clamp_(0, len(powers) - 1)
    return table.round_(mantissa.mul_(powers.index_select(0, shift)))


def _reciprocal(x: Tensor, table: FunctionTable) -> Tensor:
    """T(m) * 2^-e of |x| = m * 2^e, 1 <= m < 2, with the sign of x; 1/0 is infinite, 1/infinite 0."""
    mantissa, exponent = torch.frexp(x.abs())
    result = table.round_(table.interpolate_(mantissa * 2))
    result = _times_power(result, 1 - exponent)
    result = torch.where(x == 0, math.inf, torch.where(x.isinf(), 0.0, result))
    return torch.copysign(result, x)


def _rsqrt(x: Tensor, table: FunctionTable) -> Tensor:
    """T(u) * 2^-q of x = m * 4^q, m = 1 + u below 2, 2u from there to 4; NaN below 0, infinite at 0."""
    mantissa, exponent = torch.frexp(x)
    odd = exponent % 2  # the argument is m = mantissa * 4 for an even exponent, * 2 for an odd one
    result = table.round_(table.interpolate_(mantissa * 2 - odd))
    result = _times_power(result, 1 - (exponent + odd) // 2)
    result = torch.where(x == 0, math.inf, torch.where(x.isinf(), 0.0, result))
    return torch.where(x < 0, math.nan, result)


def _rectifier_minus_table(x: Tensor, table: FunctionTable) -> Tensor:
    """relu(x) - T(|x|): far to the right x itself, far to the left 0."""
    correction = table.round_(table.interpolate_(x.abs()))
    return x.clamp(min=0).sub_(correction)


def _sigmoid(x: Tensor, table: FunctionTable) -> Tensor:
    """T(|x|) below 0, 1 - T(|x|) above."""
    tail = table.round_(table.interpolate_(x.abs()))
    return torch.where(x > 0, 1 - tail, tail)


def _tanh(x: Tensor, table: FunctionTable) -> Tensor:
    """T(|x|) with the sign of x."""
    return torch.copysign(table.round_(table.interpolate_(x.abs())), x)


_KERNELS: dict[str, Callable[[Tensor, FunctionTable], Tensor]] = {
    "exp": _exp,
    "reciprocal": _reciprocal,
    "rsqrt": _rsqrt,
    "gelu": _rectifier_minus_table,
    "gelu_tanh": _rectifier_minus_table,
    "silu": _rectifier_minus_table,
    "quick_gelu": _rectifier_minus_table,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
}

_LOW_POWER, _TOP_POWER = -64, 100
_WIDEST = 1024  # beyond it float64 overflows, but for reciprocals of a few subnormal arguments


@cache
def _powers_of_two(device: torch.device) -> Tensor:
    """2^_LOW_POWER ... 2^_TOP_POWER, exact."""
    powers = [math.ldexp(1.0, power) for power in range(_LOW_POWER, _TOP_POWER + 1)]
    return torch.tensor(powers, dtype=torch.float64, device=device)


@cache
def _all_powers(device: torch.device) -> Tensor:
    """2^-_WIDEST ... 2^_WIDEST, exact."""
    powers = [math.ldexp(1.0, power) for power in range(-_WIDEST, _WIDEST)] + [math.inf]
    return torch.tensor(powers, dtype=torch.float64, device=device)


def _times_power(values: Tensor, power: Tensor) -> Tensor:
    """values * 2^power, looked up: not every device's power function is exact."""
    place = (power + _WIDEST).clamp_(0, 2 * _WIDEST)
    return values * _all_powers(values.device).index_select(0, place)


def function_names() -> tuple[str, ...]:
    """Functions of the unit, without aliases."""
    return (*_KERNELS, "relu")


def canonical_name(name: str) -> str:
    """The unit's name of the function ``name``; refuses an unknown one with the nearest known."""
    found = ALIASES.get(name, name)
    if found not in function_names():
        known = [*function_names(), *ALIASES]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise FunctionError(f"The function unit has no function {name!r}: did you mean {close!r}?")
    return found


def max_error(name: str, unit: FunctionUnitSpec) -> float:
    """Largest error of ``evaluate`` for float32: relative for reciprocal and rsqrt, else absolute."""
    found = canonical_name(name)
    return 0.0 if found == "relu" else table_of(found, unit).max_error


def evaluate(name: str, x: Tensor, unit: FunctionUnitSpec) -> Tensor:
    """Apply a function of the unit to every element.

    Fixed-point table of ``unit.segments`` segments, linear interpolation, entries and results rounded to
    ``unit.fraction_bits``; outside the table the asymptote. ReLU is a comparator, exact.

    name:    exp, reciprocal, rsqrt, gelu, gelu_tanh, silu, sigmoid, tanh, relu, quick_gelu or an alias
    x:       [...], floating point
    returns: [...], of the same dtype; NaN stays NaN, exp(-inf) is 0
    Error:   ``max_error(name, unit)``; for exp above 0 it grows with the result.
    """
    found = canonical_name(name)
    if not x.is_floating_point():
        raise FunctionError(f"x is {x.dtype}: the function unit takes floating-point values.")
    if found == "relu":
        return x.clamp(min=0)
    table, kernel = table_of(found, unit), _KERNELS[found]
    flat = x.detach().contiguous().view(-1)
    result = torch.empty_like(flat)
    wide = x.dtype if x.dtype == torch.float64 else torch.float32  # half precisions: rounded twice
    step = CHUNK if x.device.type == "cpu" else CHUNK_OFF_HOST
    for start in range(0, len(flat), step):
        result[start : start + step] = kernel(flat[start : start + step].double(), table).to(wide)
    return result.view(x.shape)
