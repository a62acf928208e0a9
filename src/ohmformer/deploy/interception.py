"""While a deployed model runs, every tensor function passes through here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ohmformer.deploy.coverage import CONTROL, HOST, MOVEMENT
from ohmformer.deploy.operations import (
    PRODUCT_KERNELS,
    name_of,
    refuse_training_dropout,
    rule_for,
    unknown,
)
from ohmformer.deploy.runtime import Runtime

CONSTANT = "_ohmformer_constant"
WRITES_INTO_FIRST = frozenset(
    ("setitem", "copy", "index_put", "index_copy", "scatter", "masked_scatter", "set")
)


def mark_constant(value: Any) -> Any:
    """Mark the tensors in ``value`` as independent of the data (made from addresses and buffers alone)."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            setattr(value, CONSTANT, True)
    elif isinstance(value, (tuple, list)):
        for item in value:
            mark_constant(item)
    return value


def _floats(value: Any, found: list[Tensor]) -> list[Tensor]:
    """The floating-point tensors among nested arguments."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            found.append(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _floats(item, found)
    return found


class ChipMode(TorchFunctionMode):
    """Sends each tensor function to the chip, lets it through, or refuses it by name.

    Functions without a floating-point tensor that depends on the data are control (addresses, masks,
    tables of positions) and run on the host; what they make is known as constant. Everything else needs
    a rule or a place in the lists of ``operations``.
    """

    def __init__(self, runtime: Runtime, allow: Collection[str]) -> None:
        super().__init__()
        self.runtime = runtime
        self.allow = frozenset(allow)
        self.inside = 0
        self.active = False

    @contextmanager
    def region(self) -> Iterator[None]:
        """Work of the chip itself: torch functions in here are not looked at."""
        self.inside += 1
        try:
            with torch._C.DisableTorchFunction():
                yield
        finally:
            self.inside -= 1

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        floats = _floats(args, [])
        if kwargs:
            _floats(tuple(kwargs.values()), floats)
        self.inside += 1
        try:
            if all(getattr(tensor, CONSTANT, False) for tensor in floats):
                if floats and name not in ("get", "size", "dim"):
                    self.runtime.note("constants and addresses", CONTROL, "independent of the data")
                return mark_constant(func(*args, **kwargs))
            if name in WRITES_INTO_FIRST and args and getattr(args[0], CONSTANT, False):
                setattr(args[0], CONSTANT, False)
            if name in self.allow:
                self.runtime.note(name, HOST, "allowed by the user")
                return func(*args, **kwargs)
            rule, place = rule_for(name)
            if rule is not None:
                return rule(self.runtime, func, args, kwargs)
            if not place:
                raise unknown(self.runtime, name)
            refuse_training_dropout(name, args, kwargs)
            if name not in ("get", "set", "size", "dim"):
                moving = place == MOVEMENT
                self.runtime.note(
                    "moving and shaping tensors" if moving else "masks and comparisons",
                    place,
                    "no arithmetic" if moving else "mask logic beside the crossbars",
                )
            return func(*args, **kwargs)
        finally:
            self.inside -= 1


class ProductAudit(TorchDispatchMode):
    """Refuses a product that reaches torch's kernels without having gone through the chip."""

    def __init__(self, mode: ChipMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.split("::")[-1]
        outside = not self.mode.inside and name not in self.mode.allow
        if outside and name in PRODUCT_KERNELS and _floats(args, []):
            raise unknown(self.mode.runtime, name)
        return func(*args, **(kwargs or {}))
