"""While a deployed model runs, every tensor function passes through here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode, _push_mode
from torch.utils._python_dispatch import TorchDispatchMode

from ohmformer.deploy.constants import floats_in, is_constant, mark_constant, mark_data
from ohmformer.deploy.coverage import CONTROL, HOST, MOVEMENT
from ohmformer.deploy.names import QUESTIONS, SHAPE_NAMES, name_of, writes_into_first
from ohmformer.deploy.operations import rule_for
from ohmformer.deploy.products import Rule
from ohmformer.deploy.refusals import refuse_training_dropout, unknown
from ohmformer.deploy.runtime import Runtime
from ohmformer.errors import UserError

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


@dataclass(frozen=True)
class _Known:
    """What a torch function is, found out once.

    name:     its plain name
    rule:     how the chip executes it, or None
    place:    where a function without a rule belongs; empty: nowhere
    question: it asks about a tensor
    writes:   it changes its first argument, whatever the other arguments
    asked:    it does so if it is told to (``inplace``)
    dropout:  it must not be active
    """

    name: str
    rule: Rule | None
    place: str
    question: bool
    writes: bool
    asked: bool
    dropout: bool


class ChipMode(TorchFunctionMode):
    """Sends each tensor function to the chip, lets it through, or refuses it by name.

    Functions without a floating-point tensor that depends on the data are control (addresses, masks,
    tables of positions) and run on the host; what they make is known as constant. Everything else needs
    a rule or a place in the lists of ``names``.
    """

    def __init__(self, runtime: Runtime, allow: Collection[str]) -> None:
        super().__init__()
        self.runtime = runtime
        self.allow = frozenset(allow)
        self.inside = 0
        self.active = False
        self.plain = False  # whether this run may leave the interception where its source shows that it can
        self.away = False  # whether it has left it
        self.pending = False  # whether what runs can take rows of a cache as codes
        self.lock = RLock()  # held by the thread whose run is going on
        self.thread = 0
        self.forwards: dict[nn.Module, Callable[..., Any]] = {}  # as they were when the model was deployed
        self._known: dict[Callable[..., Any], _Known] = {}

    @contextmanager
    def region(self) -> Iterator[None]:
        """Work of the chip itself: torch functions in here are not looked at."""
        self.inside += 1
        try:
            with torch._C.DisableTorchFunction():
                yield
        finally:
            self.inside -= 1

    def leave(
        self, plain: Callable[..., Any], original: Callable[..., Any], args: Arguments, kwargs: Keywords
    ) -> Any:
        """``plain`` without interception; ``original`` with it, where another mode lies above this one."""
        if self.away:
            return plain(*args, **kwargs)
        if _get_current_function_mode() is not self:
            return original(*args, **kwargs)
        _pop_mode()
        self.away = True
        try:
            return plain(*args, **kwargs)
        finally:
            self.away = False
            _push_mode(self)

    def watch(self, function: Callable[..., Any], args: Arguments, kwargs: Keywords) -> Any:
        """``function`` under interception, whatever it is called from."""
        if not self.away:
            return function(*args, **kwargs)
        _push_mode(self)
        pending, self.away, self.pending = self.pending, False, False
        try:
            return function(*args, **kwargs)
        finally:
            self.away, self.pending = True, pending
            _pop_mode()

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, always under interception."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.watch(function, args, kwargs)

        return call

    def sent(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A torch function, sent to the chip without being intercepted."""
        known = self._look_at(function)
        if known.rule is None and not known.place:
            return self.watched(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                return self.__torch_function__(function, (), args, kwargs)
            return function(*args, **kwargs)

        return call

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Any:
        known = self._known.get(func)
        if known is None:
            known = self._known[func] = self._look_at(func)
        self.inside += 1
        try:
            if known.question and not kwargs and not known.writes:
                result = func(*args)
                if not isinstance(result, Tensor):  # ``.T`` asks as well, but gives a tensor
                    return result
            kwargs = dict(kwargs) if kwargs else {}
            if not args and "input" in kwargs:
                args = (kwargs.pop("input"),)
            return self._send(func, known, args, kwargs)
        finally:
            self.inside -= 1

    def _look_at(self, func: Callable[..., Any]) -> _Known:
        name = name_of(func)
        rule, place = rule_for(name)
        return _Known(
            name,
            rule,
            place,
            name in QUESTIONS,
            writes_into_first(func, (), {}),
            writes_into_first(func, (), {"inplace": True}),
            "dropout" in name,
        )

    def _send(self, func: Callable[..., Any], known: _Known, args: Arguments, kwargs: Keywords) -> Any:
        floats = floats_in(args, [])
        if kwargs:
            floats_in(kwargs, floats)
        for tensor in floats:
            if not is_constant(tensor):
                break
        else:
            if floats and not known.question:
                self.runtime.note("constants and addresses", CONTROL, "no arithmetic on activations")
            return mark_constant(func(*args, **kwargs))
        name = known.name
        if kwargs.get("out") is not None:
            raise unknown(self.runtime, f"{name} with out=")
        told = known.asked and (kwargs or (len(args) == 2 and args[1] is True))
        writes = known.writes or (told and writes_into_first(func, args, kwargs))
        target = args[0] if writes and isinstance(args[0], Tensor) else None
        if target is not None and self.runtime.block_of(target) is not None:
            raise UserError(
                f"The operation {name} writes into a stored weight: weights are fixed on the chip."
            )
        result = self._executed(func, known, args, kwargs, floats)
        if target is None:
            return result
        mark_data(target)
        if isinstance(result, Tensor) and result is not target:
            target.copy_(result)
            return target
        return result

    def _executed(
        self, func: Callable[..., Any], known: _Known, args: Arguments, kwargs: Keywords, floats: list[Tensor]
    ) -> Any:
        name = known.name
        if name in self.allow:
            self.runtime.note(name, HOST, "allowed by the user")
            return func(*self._read(args, None), **self._read(kwargs, None))
        if known.rule is not None:
            return known.rule(self.runtime, func, args, kwargs)
        if not known.place:
            raise unknown(self.runtime, name)
        if known.dropout:
            refuse_training_dropout(name, args, kwargs)
        if kwargs.get("accumulate") or kwargs.get("reduce") or (name == "index_put" and len(args) > 3):
            raise unknown(self.runtime, f"{name} that accumulates")
        result = self._moved(func, name, args, kwargs, floats)
        if known.place == MOVEMENT:
            self._refuse_conversion(name, result, floats)
        if self.runtime.coverage is not None and not known.question:
            moving = known.place == MOVEMENT
            self.runtime.note(
                "moving and shaping tensors" if moving else "masks and comparisons",
                known.place,
                "no arithmetic" if moving else "mask logic beside the crossbars",
            )
        return result

    def _moved(
        self, func: Callable[..., Any], name: str, args: Arguments, kwargs: Keywords, floats: list[Tensor]
    ) -> Any:
        """Movement and control; a stored parameter is read from the dense crossbar on its way."""
        result = func(*args, **kwargs)
        stored = [tensor for tensor in floats if self.runtime.block_of(tensor) is not None]
        if not stored:
            return result
        made = [
            t for t in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(t, Tensor)
        ]
        if name == "setitem":  # its result is what it has written
            return func(*self._read(args, None), **self._read(kwargs, None))
        if not made or name in SHAPE_NAMES or any(t is s for t in made for s in stored):
            return result
        block = self.runtime.block_of(args[0])
        if name == "getitem" and block is not None and block.whole and _is_expert(block.entry.role, args):
            self.runtime.stands_for(result, block.expert(int(args[1])))
            return result
        used = sum(tensor.numel() for tensor in made)
        return func(*self._read(args, used), **self._read(kwargs, used))

    def _read(self, value: Any, used: int | None) -> Any:
        """``value`` with every stored parameter in it replaced by what a dense read gives."""
        if isinstance(value, Tensor):
            return self.runtime.value_of(value, used)
        if isinstance(value, dict):
            return {key: self._read(item, used) for key, item in value.items()}
        if type(value) in (tuple, list):
            return type(value)(self._read(item, used) for item in value)
        return value

    def _refuse_conversion(self, name: str, result: Any, floats: list[Tensor]) -> None:
        """A movement that changes numbers is none: rounding to a narrower type, or leaving for Python."""
        if isinstance(result, float):
            raise unknown(self.runtime, f"{name} that makes a Python number of an activation")
        if not isinstance(result, Tensor) or name in SHAPE_NAMES or result.dtype == torch.bool:
            return
        if all(tensor.dtype is result.dtype for tensor in floats):
            return
        widest = min(torch.finfo(tensor.dtype).eps for tensor in floats)
        whole = not (result.is_floating_point() or result.is_complex())
        if whole or torch.finfo(result.dtype).eps > widest:
            raise unknown(self.runtime, f"{name} from {floats[0].dtype} to {result.dtype}")


def _is_expert(role: str, args: Arguments) -> bool:
    """Whether ``parameter[index]`` picks one matrix out of stacked ones."""
    index, parameter = args[1], args[0]
    number = isinstance(index, int) or (
        isinstance(index, Tensor) and index.ndim == 0 and index.dtype in (torch.int64, torch.int32)
    )
    return number and not isinstance(index, bool) and role != "vector" and parameter.ndim == 3


class ChipAudit(TorchDispatchMode):
    """Refuses a torch kernel on floating-point numbers that was reached without passing ``ChipMode``."""

    def __init__(self, mode: ChipMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.split("::")[-1]
        outside = self.mode.active and not self.mode.inside and name not in self.mode.allow
        if outside and not all(is_constant(tensor) for tensor in floats_in(args, [])):
            raise unknown(self.mode.runtime, name)
        return func(*args, **(kwargs or {}))
