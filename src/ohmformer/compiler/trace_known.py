"""Answers about tensors that are known before the data: positions, addresses, masks made from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ohmformer.compiler.graph import GraphNode, GraphValue, Ref
from ohmformer.compiler.names import function_name, words
from ohmformer.errors import UserError

__all__ = ["known_outcome"]

# Values larger than this are not computed to answer a question.
_LARGEST = 1 << 22
_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
_NEED_DATA = words(
    """item bool int float index tolist nonzero is_nonzero equal allclose unique unique_consecutive
    masked_select complex numpy argwhere repeat_interleave bincount contains format len iter"""
)


class Recorded(Protocol):
    """What has been recorded so far: values, the nodes that made them, and the data that is known.

    calls:       the function of each node
    producer:    value -> node; overwritten: node -> the value that it writes over
    data:        value -> its tensor, where that is known before the run
    """

    values: list[GraphValue]
    nodes: list[GraphNode]
    calls: list[Callable[..., Any]]
    producer: dict[int, int]
    overwritten: dict[int, int]
    data: dict[int, Tensor]

    def place(self) -> str:
        """The module and the line that is being run, for a message."""
        ...


class _Unknown(Exception):
    """A value depends on the data."""


def known_outcome(
    recording: Recorded,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    error: Exception,
) -> Any:
    """What ``func`` gives where shapes alone were not enough but everything it asks about is known.

    Tensors it gives are shapes again.
    Error: UserError naming the operation, the module and the line where it depends on the data.
    """
    try:
        with torch._C._DisableTorchDispatch():
            known: dict[int, Tensor] = {}
            result = func(
                *_thaw(args, recording, known),
                **{key: _thaw(value, recording, known) for key, value in kwargs},
            )
            return _shapes_of(result)
    except _Unknown:
        pass
    name = function_name(func)
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    if name in _NEED_DATA or isinstance(error, NotImplementedError) or "meta" in reason.lower():
        raise UserError(
            f"The operation {name} in {recording.place()} depends on the data, so shapes alone do not "
            f"determine the work of this model."
        ) from error
    raise UserError(f"The operation {name} in {recording.place()} fails: {reason}.") from error


def _thaw(value: Any, recording: Recorded, known: dict[int, Tensor]) -> Any:
    """Arguments of a node with real tensors on the CPU in them."""
    if isinstance(value, Ref):
        return _evaluate(value.value, recording, known)
    if isinstance(value, tuple):
        return tuple(_thaw(item, recording, known) for item in value)
    if isinstance(value, slice):
        return slice(*(_thaw(part, recording, known) for part in (value.start, value.stop, value.step)))
    if isinstance(value, str):
        return "cpu" if value == "meta" else _DTYPES.get(value, value)
    return value


def _evaluate(value: int, recording: Recorded, known: dict[int, Tensor]) -> Tensor:
    """The value itself, from the nodes that made it."""
    if value in known:
        return known[value]
    given = recording.data.get(value)
    if given is not None:
        return given
    number = recording.producer.get(value)
    size = 1
    for extent in recording.values[value].shape:
        size *= extent
    if number is None or size > _LARGEST:
        raise _Unknown
    node = recording.nodes[number]
    overwritten = recording.overwritten.get(number)
    if overwritten is not None:
        # the function writes into a copy, so that the value before stays what it was
        before = _evaluate(overwritten, recording, known)
        known[overwritten] = before.clone()
    result = recording.calls[number](
        *_thaw(node.args, recording, known),
        **{key: _thaw(item, recording, known) for key, item in node.kwargs},
    )
    made = result if isinstance(result, (tuple, list)) else (result,)
    if overwritten is not None:
        known[node.outputs[-1]] = known[overwritten]
        known[overwritten] = before
    else:
        known.update(zip(node.outputs, made, strict=True))
    return known[value]


def _shapes_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, (tuple, list)):
        return type(value)(_shapes_of(item) for item in value)
    return value
