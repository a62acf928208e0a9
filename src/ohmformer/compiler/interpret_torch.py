"""The torch functions that a program names for its moves and its element-by-element work."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ohmformer.errors import UserError
from ohmformer.ir import SubOp

__all__ = ["call_torch", "patches"]

_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}


def _written(x: Tensor, index: Any, value: Any) -> Tensor:
    made = x.clone()
    made[index] = value
    return made


_OWN: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "setitem": _written,
    "where": torch.where,
    "embedding": F.embedding,
    "copy": lambda x, y, *rest: y.to(x.dtype).expand(x.shape).clone(),
    "fill": lambda x, value: torch.full_like(x, value),
    "zero": torch.zeros_like,
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "H": lambda x: x.H,
    "mH": lambda x: x.mH,
    "data": lambda x: x,
    "floordiv": torch.floor_divide,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "invert": operator.invert,
    "rsub": lambda x, other, **rest: torch.rsub(x, other, **rest),
}


def _function(name: str) -> Callable[..., Any] | None:
    own = _OWN.get(name)
    if own is not None:
        return own
    if name.startswith("aten."):
        found = getattr(torch.ops.aten, name.removeprefix("aten."), None)
        return found if callable(found) else None
    for home in (torch.Tensor, torch, F):
        found = getattr(home, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    return None


def call_torch(subop: SubOp, values: Sequence[Any]) -> Any:
    """What the torch function of a sub-operation gives for the values that it reads.

    Error: UserError where the sub-operation names none, or one that torch does not have.
    """
    given: dict[str, Any] = dict(subop.arguments)
    name = given.get("torch")
    function = _function(name) if isinstance(name, str) else None
    if function is None:
        raise UserError(
            f"The sub-operation {subop.operation} of {subop.module or 'the model'} cannot be interpreted: "
            f"it names {name!r}, which is no torch function."
        )
    args = _decoded(given.get("args", ()), values)
    kwargs = {key: _decoded(value, values) for key, value in given.get("kwargs", ())}
    return function(*args, **kwargs)


def _decoded(value: Any, values: Sequence[Any]) -> Any:
    if isinstance(value, tuple):
        if value[:1] == ("%",) and len(value) == 2:
            return values[value[1]]
        if value[:1] == ("slice",) and len(value) == 4:
            return slice(*(_decoded(part, values) for part in value[1:]))
        if value == ("...",):
            return Ellipsis
        return tuple(_decoded(item, values) for item in value)
    if isinstance(value, str):
        return "cpu" if value == "meta" else _DTYPES.get(value, value)
    return value


def patches(x: Tensor, given: dict[str, Any], lone: bool) -> Tensor:
    """What each place of a convolution sees, [batch, place, channel · kernel].

    given: kernel, stride, padding and dilation as the convolution was given them
    """
    kernel = tuple(given["kernel"])
    axes = len(kernel)
    stride, dilation = _each(given["stride"], axes), _each(given["dilation"], axes)
    x = x.unsqueeze(0) if lone else x
    x = F.pad(x, _padding(given["padding"], kernel, dilation))
    if axes == 1:
        x, kernel, stride, dilation = x.unsqueeze(-2), (1, *kernel), (1, *stride), (1, *dilation)
    return F.unfold(x, kernel, dilation=dilation, stride=stride).transpose(-1, -2)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> list[int]:
    """Zeros before and after each axis, last axis first."""
    if value == "same":
        total = [step * (k - 1) for k, step in zip(kernel, dilation, strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(n, n) for n in _each(0 if value == "valid" else value, len(kernel))]
    return [n for side in reversed(sides) for n in side]
