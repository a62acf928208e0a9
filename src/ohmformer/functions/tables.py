"""Fixed-point tables with linear interpolation, and the largest error each can make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.numerals import HOST, on_host
from ohmformer.specs import FunctionUnitSpec

__all__ = ["CURVES", "LOG2_E", "POSITION_BITS", "Curve", "FunctionTable", "function_table"]

POSITION_BITS = 14
"""Bits of a place in a table behind its binary point: a place is a whole number of 2^-14 segments."""

LOG2_E = 189097 / 2**17
"""log2(e) as the unit multiplies by it: 18 bits, 4e-7 of it too large."""

_LOG2_E_OFF = abs(LOG2_E / math.log2(math.e) - 1)

Formula = Callable[[Tensor], Tensor]
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715  # of the tanh approximation, Hendrycks & Gimpel, arXiv 1606.08415
_QUICK_GELU = 1.702  # of the sigmoid approximation, same source
_SHORTEST, _LONGEST = 2.0, 32.0
_STEP_BITS = 6  # of the segments per unit of a range that is open above, at most
_WORTH_A_BIT = 1.02  # an error that much larger is taken for one bit less, which saves multipliers


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What a table holds: a smooth function over a reduced range, in float64.

    formula:    value at u
    low, high:  the range; high None means 0 ... R, beyond which the function is ``asymptote``
    second:     bound on |formula''| over [a, b], from a (ascending) and b
    relative:   whether the error is stated relative to the value
    """

    formula: Formula
    second: Callable[[Tensor, Tensor], Tensor]
    low: float = 0.0
    high: float | None = None
    asymptote: float = 0.0
    relative: bool = False


def _constant(bound: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda left, right: torch.full_like(left, bound)


def _gelu_correction(u: Tensor) -> Tensor:
    return u * torch.erfc(u * math.sqrt(0.5)) / 2


def _gelu_tanh_correction(u: Tensor) -> Tensor:
    # (1 - tanh(a)) / 2 = sigmoid(-2a), accurate in the tail
    return u * torch.sigmoid(-2 * _ROOT_2_OVER_PI * (u + _GELU_CUBIC * u**3))


def _rsqrt_of_place(u: Tensor) -> Tensor:
    return torch.where(u < 1, 1 + u, 2 * u).rsqrt()


def _rsqrt_bend(left: Tensor, right: Tensor) -> Tensor:
    low, high = 0.75 * (1 + left) ** -2.5, 3 * (2 * left.clamp_min(1.0)) ** -2.5
    return torch.where(right < 1, low, torch.where(left < 1, torch.maximum(low, high), high))


CURVES: dict[str, Curve] = {
    # 2^u: largest second derivative at the right end
    "exp": Curve(
        formula=torch.exp2,
        second=lambda left, right: math.log(2) ** 2 * torch.exp2(right),
        high=1.0,
    ),
    "reciprocal": Curve(
        formula=torch.reciprocal,
        second=lambda left, right: 2 * left**-3,
        low=1.0,
        high=2.0,
        relative=True,
    ),
    # half of the segments for 1 ... 2, half for 2 ... 4: u below 1 stands for 1 + u, above for 2u
    "rsqrt": Curve(formula=_rsqrt_of_place, second=_rsqrt_bend, high=2.0, relative=True),
    # relu(x) - f(x) = u * Q(u), u = |x|; its second derivative phi(u) * (u^2 - 2) is largest at 0
    "gelu": Curve(formula=_gelu_correction, second=_constant(_ROOT_2_OVER_PI)),
    "gelu_tanh": Curve(formula=_gelu_tanh_correction, second=_constant(_ROOT_2_OVER_PI)),
    # u * sigmoid(-a * u): second derivative a/2 at 0, smaller elsewhere
    "silu": Curve(formula=lambda u: u * torch.sigmoid(-u), second=_constant(0.5)),
    "quick_gelu": Curve(
        formula=lambda u: u * torch.sigmoid(-_QUICK_GELU * u), second=_constant(_QUICK_GELU / 2)
    ),
    # s'' = s(1-s)(1-2s), largest at s = 1/2 - 1/sqrt(12); tanh'' = -2t(1-t^2), largest at t = 1/sqrt(3)
    "sigmoid": Curve(formula=lambda u: torch.sigmoid(-u), second=_constant(1 / (6 * math.sqrt(3)))),
    "tanh": Curve(formula=torch.tanh, second=_constant(4 / (3 * math.sqrt(3))), asymptote=1.0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionTable:
    """Entries at the ends of equal segments, linear interpolation between them: arithmetic in whole numbers.

        place  = (u - low) * per_unit, rounded to a whole number of 2^-POSITION_BITS segments, half up
        result = entry + rise * (place behind its binary point), rounded half to even to 2^-fraction_bits

    Nothing else is rounded: float64 holds every number in between exactly, and so do the integers of the
    native kernels and of the hardware (``emit``), which all give the same results.

    name:          the function, one of ``CURVES``
    low, high:     range of the reduced argument
    per_unit:      segments for each unit of it, a number of few bits
    entries:       [segments + 1], float64, multiples of 2^-fraction_bits
    beyond:        value at and above ``high``
    fraction_bits: of entries and results
    max_error:     largest error of the function (not of the table alone) for float32 arguments
    relative:      whether ``max_error`` is relative to the value; else absolute

    max_error is, over all segments, of width h:
        h^2/8 * max|f''|                    chord of a smooth function
        + 2^-(fraction_bits + 1)            entries rounded; interpolation does not magnify it
        + 2^-(fraction_bits + 1)            result rounded
        + 2^-(POSITION_BITS + 1) * |rise|   place rounded
        + 2^-24 * high                      float32, only where the table is subtracted from the argument
    or, where larger, what the function still differs from its asymptote beyond the range. For ``exp`` it
    holds for x <= 0, where all but the rounding of the result are halved by the shift, and has what LOG2_E
    errs by in it, at most 1/e of its relative error; above 0 the terms grow with the result.
    """

    name: str
    low: float
    high: float
    per_unit: float
    entries: Tensor
    beyond: float
    fraction_bits: int
    max_error: float
    relative: bool

    def __post_init__(self) -> None:
        padded = torch.cat([self.entries[:-1], self.entries.new_full((1,), self.beyond)])
        rises = torch.cat([self.entries.diff(), self.entries.new_zeros(1)])
        object.__setattr__(self, "_columns", {HOST: (padded, rises)})

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.entries) - 1

    def columns(self, device: torch.device = HOST) -> tuple[Tensor, Tensor]:
        """[segment + 1] entries, the last one the value beyond, and rises from each to the next (last: 0)."""
        kept: dict[torch.device, tuple[Tensor, Tensor]] = self._columns  # type: ignore[attr-defined]
        found = kept.get(device)
        if found is None:
            padded, rises = kept[HOST]
            found = kept[device] = (padded.to(device), rises.to(device))
        return found

    def interpolate_(self, reduced: Tensor) -> Tensor:
        """Interpolated values, not yet rounded; destroys its argument.

        reduced: [element], float64, >= low; at and above ``high`` gives ``beyond``
        returns: [element]; NaN stays NaN
        """
        position = reduced.sub_(self.low) if self.low else reduced
        return self.at_(position.mul_(self.per_unit * 2**POSITION_BITS).add_(0.5).floor_())

    def at_(self, place: Tensor) -> Tensor:
        """Interpolated values at places in units of 2^-POSITION_BITS segments; destroys its argument.

        place: [element], float64, whole numbers >= 0; behind the last segment gives ``beyond``
        """
        values, rises = self.columns(place.device)
        position = place.mul_(2.0**-POSITION_BITS).clamp_(max=self.segments)
        # clamped as integers too: NaN converts to any integer
        index = position.to(torch.int32).clamp_(0, self.segments)
        result = position.sub_(index).mul_(rises.index_select(0, index))
        return result.add_(values.index_select(0, index))

    def round_(self, values: Tensor) -> Tensor:
        """Round to multiples of 2^-fraction_bits, half to even, in place."""
        return values.mul_(2.0**self.fraction_bits).round_().mul_(2.0**-self.fraction_bits)


@lru_cache(maxsize=256)
@on_host
def function_table(name: str, segments: int, fraction_bits: int) -> FunctionTable:
    """The table of the function ``name``.

    A range that is open above ends where the error inside and the rest beyond are balanced: of the segments
    per unit that ``_STEP_BITS`` bits can say, those with the smallest maximum of the two, 2 % a bit.
    """
    curve = CURVES[name]
    if curve.high is not None:
        return _table(name, curve, segments / (curve.high - curve.low), segments, fraction_bits)
    octaves = range(math.floor(math.log2(segments / _LONGEST)), math.ceil(math.log2(segments / _SHORTEST)))
    steps = (
        math.ldexp(mantissa, octave + 1 - _STEP_BITS)
        for octave in octaves
        for mantissa in range(1 << _STEP_BITS - 1, 1 << _STEP_BITS)
    )
    tables = (_table(name, curve, per_unit, segments, fraction_bits) for per_unit in steps)
    return min(tables, key=lambda table: table.max_error * _WORTH_A_BIT ** _bits_of(table.per_unit))


def _bits_of(value: float) -> int:
    """Bits from the first one to the last one of a binary number."""
    whole = value.as_integer_ratio()[0]
    return (whole // (whole & -whole)).bit_length()


def table_of(name: str, unit: FunctionUnitSpec) -> FunctionTable:
    """The table of the function ``name`` in a given function unit."""
    return function_table(name, unit.segments, unit.fraction_bits)


def _table(name: str, curve: Curve, per_unit: float, segments: int, fraction_bits: int) -> FunctionTable:
    ends = torch.arange(segments + 1, dtype=torch.float64).div_(per_unit).add_(curve.low)
    high = float(ends[-1])
    exact = curve.formula(ends)
    unit_in_last_place = 2.0**-fraction_bits
    entries = (exact / unit_in_last_place).round() * unit_in_last_place
    chord = curve.second(ends[:-1], ends[1:]) / (8 * per_unit**2)
    placed = entries.diff().abs() * 2.0 ** -(POSITION_BITS + 1)
    rounding = torch.full_like(chord, unit_in_last_place)
    if name == "exp":  # shifted right by at least one place before the result is rounded
        chord, placed, rounding = chord / 2, placed / 2 + _LOG2_E_OFF / math.e, rounding * 0.75
    error = chord + placed + rounding
    if curve.relative:
        error = error / torch.minimum(exact[:-1], exact[1:])
    inside = float(error.max()) + (2.0**-24 * high if curve.high is None else 0.0)
    # beyond the range the curves of CURVES approach their asymptotes monotonically
    rest = abs(float(exact[-1]) - curve.asymptote) if curve.high is None else 0.0
    return FunctionTable(
        name=name,
        low=curve.low,
        high=high,
        per_unit=per_unit,
        entries=entries,
        beyond=float(entries[-1]) if curve.high is not None else curve.asymptote,
        fraction_bits=fraction_bits,
        max_error=max(inside, rest),
        relative=curve.relative,
    )
