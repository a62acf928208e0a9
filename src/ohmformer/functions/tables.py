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

__all__ = ["CURVES", "Curve", "FunctionTable", "function_table"]

Formula = Callable[[Tensor], Tensor]
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715  # of the tanh approximation, Hendrycks & Gimpel, arXiv 1606.08415
_QUICK_GELU = 1.702  # of the sigmoid approximation, same source
_RANGES = tuple(half / 2 for half in range(4, 65))  # 2 ... 32


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
    "rsqrt": Curve(
        formula=torch.rsqrt,
        second=lambda left, right: 0.75 * left**-2.5,
        low=1.0,
        high=4.0,
        relative=True,
    ),
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
    """Entries at the ends of equal segments, linear interpolation between them.

    name:          the function, one of ``CURVES``
    low, high:     range of the reduced argument
    entries:       [segments + 1], float64, multiples of 2^-fraction_bits
    beyond:        value at and above ``high``
    fraction_bits: of entries and results
    max_error:     largest error of the function (not of the table alone) for float32 arguments
    relative:      whether ``max_error`` is relative to the value; else absolute

    max_error is, over all segments, of width h:
        h^2/8 * max|f''|                    chord of a smooth function
        + 2^-(fraction_bits + 1)            entries rounded; interpolation does not magnify it
        + 2^-(fraction_bits + 1)            result rounded
        + 2^-22 * (high + max|f|)           float32 arithmetic that stands for the fixed-point datapath
    or, where larger, what the function still differs from its asymptote beyond the range. For ``exp`` it
    holds for x <= 0, where the first two terms are halved by the shift; above 0 they grow with the result.
    """

    name: str
    low: float
    high: float
    entries: Tensor
    beyond: float
    fraction_bits: int
    max_error: float
    relative: bool

    def __post_init__(self) -> None:
        padded = torch.cat([self.entries[:-1], self.entries.new_full((1,), self.beyond)])
        rises = torch.cat([self.entries.diff(), self.entries.new_zeros(1)])
        object.__setattr__(self, "_made", (padded, rises))
        object.__setattr__(self, "_columns", {})

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.entries) - 1

    def columns(self, dtype: torch.dtype, device: torch.device = HOST) -> tuple[Tensor, Tensor]:
        """[segment + 1] entries, the last one the value beyond, and rises from each to the next (last: 0)."""
        kept: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = self._columns  # type: ignore[attr-defined]
        found = kept.get((dtype, device))
        if found is None:
            padded, rises = self._made  # type: ignore[attr-defined]
            found = kept[dtype, device] = (padded.to(device, dtype), rises.to(device, dtype))
        return found

    def interpolate_(self, reduced: Tensor) -> Tensor:
        """Interpolated values, not yet rounded; destroys its argument.

        reduced: [element], float32 or float64, >= low; at and above ``high`` gives ``beyond``
        returns: [element]; NaN stays NaN
        """
        values, rises = self.columns(reduced.dtype, reduced.device)
        position = reduced.sub_(self.low) if self.low else reduced
        position.mul_(self.segments / (self.high - self.low)).clamp_(max=self.segments)
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

    A range that is open above ends where the error inside and the rest beyond are balanced: the multiple
    of 1/2 with the smallest maximum of the two.
    """
    curve = CURVES[name]
    if curve.high is not None:
        return _table(name, curve, curve.high, segments, fraction_bits)
    tables = (_table(name, curve, high, segments, fraction_bits) for high in _RANGES)
    return min(tables, key=lambda table: table.max_error)


def table_of(name: str, unit: FunctionUnitSpec) -> FunctionTable:
    """The table of the function ``name`` in a given function unit."""
    return function_table(name, unit.segments, unit.fraction_bits)


def _table(name: str, curve: Curve, high: float, segments: int, fraction_bits: int) -> FunctionTable:
    ends = torch.linspace(curve.low, high, segments + 1, dtype=torch.float64)
    exact = curve.formula(ends)
    unit_in_last_place = 2.0**-fraction_bits
    entries = (exact / unit_in_last_place).round() * unit_in_last_place
    width = (high - curve.low) / segments
    chord = width**2 / 8 * curve.second(ends[:-1], ends[1:])
    rounding = torch.full_like(chord, unit_in_last_place)
    if name == "exp":  # shifted right by at least one place before the result is rounded
        chord, rounding = chord / 2, rounding * 0.75
    error = chord + rounding
    if curve.relative:
        error = error / torch.minimum(exact[:-1], exact[1:])
    inside = float(error.max()) + 2.0**-22 * (high + float(exact.abs().max()))
    # beyond the range the curves of CURVES approach their asymptotes monotonically
    rest = abs(float(exact[-1]) - curve.asymptote) if curve.high is None else 0.0
    return FunctionTable(
        name=name,
        low=curve.low,
        high=high,
        entries=entries,
        beyond=float(entries[-1]) if curve.high is not None else curve.asymptote,
        fraction_bits=fraction_bits,
        max_error=max(inside, rest),
        relative=curve.relative,
    )
