"""What is known of the tensors of a run, and what a call comes to on shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ohmformer.compiler.graph import AtenCall, Ref

__all__ = [
    "Outcome",
    "Result",
    "Tracked",
    "container_of",
    "dtype_name",
    "foreign_file",
    "memory_of",
    "raised_at",
]

_DTYPES: dict[torch.dtype, str] = {}


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` of ``torch.float32``."""
    name = _DTYPES.get(dtype)
    if name is None:
        name = _DTYPES[dtype] = str(dtype).removeprefix("torch.")
    return name


class Tracked:
    """What is known of one tensor object of the run.

    tensor:    kept, so that no other tensor gets its identity
    reference: the value it holds now
    look:      number of its (shape, stride, dtype, device)
    memory:    number of the memory it shares with others; seen: how often that memory had been written
               when this tensor's value was last right
    origin:    of a view by indexing: the tensor indexed, and the index
    """

    __slots__ = ("look", "memory", "origin", "reference", "seen", "tensor")

    def __init__(self, tensor: Tensor, reference: Ref, look: int, memory: int, seen: int) -> None:
        self.tensor = tensor
        self.reference = reference
        self.look = look
        self.memory = memory
        self.seen = seen
        self.origin: tuple[Tracked, Any] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One tensor a function gives: the one it got as tensor argument ``given``, or a new one.

    shares: the tensor argument whose memory the new one is a view of, or -1
    """

    given: int
    look: int
    shares: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call comes to on shapes.

    results: the tensors it gives; container: what holds them (None: the tensor itself)
    written: the tensor argument it writes into, or -1
    """

    aten: tuple[AtenCall, ...]
    results: tuple[Result, ...]
    container: Callable[[list[Tensor]], Any] | None
    written: int


def memory_of(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def container_of(value: Any, found: list[Tensor]) -> Callable[[list[Tensor]], Any] | None:
    """Collect the tensors of ``value``; how to build the like of it from other tensors (None: a tensor)."""
    if isinstance(value, Tensor):
        found.append(value)
        return None
    if not isinstance(value, (tuple, list)):
        return lambda tensors: value
    start = len(found)
    parts: list[tuple[int, int, Callable[[list[Tensor]], Any] | None]] = []
    for item in value:
        begin = len(found) - start
        build = container_of(item, found)
        parts.append((begin, len(found) - start, build))
    kind = type(value)

    def build_all(tensors: list[Tensor]) -> Any:
        items = [
            tensors[begin] if build is None else build(tensors[begin:end]) for begin, end, build in parts
        ]
        named = hasattr(kind, "_fields")
        return kind(*items) if named else kind(items)

    return build_all


_TORCH = os.path.dirname(torch.__file__) + os.sep
_OURS = os.path.dirname(__file__) + os.sep


def foreign_file(path: str) -> str:
    """The name of a file outside torch and this package, else empty."""
    if path.startswith((_TORCH, _OURS, "<")):
        return ""
    return os.path.basename(path)


def raised_at(error: Exception) -> str:
    """File and line of the innermost frame outside torch and this package that ``error`` came through."""
    found = ""
    trail = error.__traceback__
    while trail is not None:
        file = foreign_file(trail.tb_frame.f_code.co_filename)
        found = f"{file}:{trail.tb_lineno}" if file else found
        trail = trail.tb_next
    return found
