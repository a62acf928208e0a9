"""Which tensors are known before the data: made from addresses, buffers and masks alone.

A tensor is marked when it is made; its memory is marked when data is written into it, so that every view
of that memory counts as data from then on.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

CONSTANT = "_ohmformer_constant"
WRITTEN = "_ohmformer_data"


def is_constant(tensor: Tensor) -> bool:
    """Whether ``tensor`` is known to be independent of the data."""
    return getattr(tensor, CONSTANT, False) and not hasattr(tensor.untyped_storage(), WRITTEN)


def mark_constant(value: Any) -> Any:
    """Mark the floating-point tensors in ``value`` as independent of the data."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            setattr(value, CONSTANT, True)
    elif isinstance(value, (tuple, list)):
        for item in value:
            mark_constant(item)
    return value


def mark_data(tensor: Tensor) -> None:
    """Data was written into ``tensor``: it, and every view of its memory, is constant no more."""
    if getattr(tensor, CONSTANT, False):
        setattr(tensor, CONSTANT, False)
        setattr(tensor.untyped_storage(), WRITTEN, True)


def floats_in(value: Any, found: list[Tensor]) -> list[Tensor]:
    """The floating-point tensors among nested arguments."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            found.append(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            if isinstance(item, Tensor):
                if item.is_floating_point() or item.is_complex():
                    found.append(item)
            elif isinstance(item, (tuple, list, dict)):
                floats_in(item, found)
    elif isinstance(value, dict):
        for item in value.values():
            floats_in(item, found)
    return found
