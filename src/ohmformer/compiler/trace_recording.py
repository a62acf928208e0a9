"""Watches one run: every torch function becomes a node, every ATen operation belongs to one.

A function's outcome on shapes depends on nothing but the function, the shapes, types and strides of its
tensors and its other arguments. So each such call is executed once; when it comes again (another layer),
its outcome is repeated from memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ohmformer.compiler.experts import grouped_product
from ohmformer.compiler.graph import AtenCall, GraphNode, GraphValue, Ref, ValueKind
from ohmformer.compiler.names import function_name
from ohmformer.compiler.trace_known import known_outcome
from ohmformer.compiler.trace_macs import aten_macs
from ohmformer.compiler.trace_outcomes import (
    Outcome,
    Result,
    Tracked,
    container_of,
    dtype_name,
    foreign_file,
    memory_of,
)
from ohmformer.errors import UserError

__all__ = ["AtenWatch", "Recording"]

_ASKED: tuple[Any, ...] = (Tensor.shape, Tensor.dtype, Tensor.device, Tensor.ndim)
# Functions that only ask; others that turn out to give no tensor and run no operation join them.
_QUESTIONS = (Tensor.size, Tensor.dim, Tensor.numel, *(getter.__get__ for getter in _ASKED))


class AtenWatch(TorchDispatchMode):
    """Notes the ATen operations beneath the function that runs, or beneath none."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.recording.note_aten(func, args, kwargs or {}, result)
        return result


class Recording(TorchFunctionMode):
    """The nodes and values of the run that happens inside ``with recording``."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[GraphValue] = []
        self.nodes: list[GraphNode] = []
        self.calls: list[Callable[..., Any]] = []
        self.producer: dict[int, int] = {}
        self.overwritten: dict[int, int] = {}
        self.path: list[tuple[str, str]] = [("", "")]
        self.data: dict[int, Tensor] = {}
        self._tracked: dict[int, Tracked] = {}
        self._names: dict[Callable[..., Any], str] = {}
        self._questions: set[Callable[..., Any]] = {*_QUESTIONS}
        self._outcomes: dict[Any, Outcome] = {}
        self._looks: dict[Any, int] = {}
        self._look_values: list[tuple[Any, ...]] = []
        self._memories: list[int] = []
        self._aten: list[AtenCall] | None = None
        self._mutated: list[Tensor] = []
        self._aten_names: dict[Any, tuple[str, tuple[int, ...]]] = {}
        self._kept: list[Any] = []
        self._foreign: dict[CodeType, str] = {}

    # Tensors -----------------------------------------------------------------------------------------

    def _look_of(self, tensor: Tensor) -> int:
        key = (tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, tensor.device)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = len(self._look_values)
            self._look_values.append((key[0], dtype_name(tensor.dtype), key[1], tensor.dtype, tensor.device))
        return look

    def _track(self, tensor: Tensor, look: int, memory: int, kind: ValueKind, name: str) -> Tracked:
        shape, dtype, stride, _, _ = self._look_values[look]
        number = len(self.values)
        self.values.append(GraphValue(number, shape, dtype, stride, kind, name))
        tracked = self._tracked[id(tensor)] = Tracked(
            tensor, Ref(number), look, memory, self._memories[memory]
        )
        return tracked

    def _new_memory(self) -> int:
        self._memories.append(0)
        return len(self._memories) - 1

    def name_value(self, tensor: Tensor, kind: ValueKind, name: str) -> int:
        """Make ``tensor`` a value of the graph that no node writes, once; its id."""
        tracked = self._tracked.get(id(tensor))
        if tracked is None:
            with torch._C.DisableTorchFunction():
                tracked = self._track(tensor, self._look_of(tensor), self._new_memory(), kind, name)
                if tensor.device.type != "meta":
                    self.data[tracked.reference.value] = tensor
        return tracked.reference.value

    def name_values(self, tensors: Iterable[tuple[str, Tensor]], kind: ValueKind) -> None:
        """``name_value`` of each, by its name."""
        for name, tensor in tensors:
            self.name_value(tensor, kind, name)

    def value_of(self, tensor: Tensor) -> int:
        """The id of the value ``tensor`` holds now; a tensor never met is one the model keeps."""
        tracked = self._tracked.get(id(tensor))
        if tracked is None:
            self.name_value(tensor, "buffer", f"constant.{len(self.values)}")
            tracked = self._tracked[id(tensor)]
        return self._fresh(tracked).reference.value

    def _fresh(self, tracked: Tracked) -> Tracked:
        if tracked.seen != self._memories[tracked.memory]:
            raise UserError(
                f"A view of a tensor is read after its memory was written through another view, in "
                f"{self.place()}: such a model cannot be traced."
            )
        return tracked

    # Where -------------------------------------------------------------------------------------------

    def source(self) -> str:
        """File and line of the innermost caller outside torch and this package."""
        foreign = self._foreign
        frame = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            file = foreign.get(code)
            if file is None:
                file = foreign[code] = foreign_file(code.co_filename)
            if file:
                return f"{file}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return ""

    def place(self) -> str:
        """The running module and line, for a sentence."""
        path, kind = self.path[-1]
        return f"{path or 'the model'} ({kind + ', ' if kind else ''}{self.source()})"

    def enter(self, path: str, kind: str) -> None:
        """A module starts."""
        self.path.append((path, kind))

    def leave(self) -> None:
        """The module that runs ends."""
        self.path.pop()

    # Functions ---------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in self._questions:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if torch._C._functorch.maybe_current_level() is not None:
            return func(*args, **kwargs)  # inside vmap: the ATen operations beneath are the nodes
        key: list[Any] = [func]
        given: list[Tracked] = []
        plain_args = self._plain(args, key, given)
        plain_kwargs: tuple[tuple[str, Any], ...] = ()
        if kwargs:
            key.append(tuple(kwargs))
            plain_kwargs = tuple([(name, self._plain(item, key, given)) for name, item in kwargs.items()])
        signature = tuple(key)
        outcome = self._outcomes.get(signature)
        if outcome is None:
            return self._execute(func, signature, args, kwargs, given, plain_args, plain_kwargs)
        return self._repeat(func, outcome, given, plain_args, plain_kwargs)

    def _plain(self, value: Any, key: list[Any], given: list[Tracked]) -> Any:
        """``value`` as a node keeps it; what identifies it goes into ``key``, its tensors into ``given``."""
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter or isinstance(value, Tensor):
            tracked = self._tracked.get(id(value))
            if tracked is None:
                self.value_of(value)
                tracked = self._tracked[id(value)]
            elif tracked.seen != self._memories[tracked.memory]:
                self._fresh(tracked)
            given.append(tracked)
            key.append(tracked.look)
            return tracked.reference
        if kind is int or kind is float or kind is bool or kind is str or value is None:
            key.append((kind, value))
            return value
        if kind is tuple or kind is list or kind is torch.Size:
            key.append((kind, len(value)))
            return tuple([self._plain(item, key, given) for item in value])
        if kind is torch.dtype:
            key.append(value)
            return dtype_name(value)
        if kind is slice:
            key.append(slice)
            parts = [self._plain(part, key, given) for part in (value.start, value.stop, value.step)]
            return slice(*parts)
        if value is Ellipsis:
            key.append(value)
            return value
        if isinstance(value, (int, float, str)):
            key.append((kind, value))
            return value
        if isinstance(value, (tuple, list)):
            key.append((kind, len(value)))
            return tuple([self._plain(item, key, given) for item in value])
        if kind in (torch.device, torch.layout, torch.memory_format):
            key.append(value)
            return str(value).removeprefix("torch.")
        key.append((kind, id(value)))
        self._kept.append(value)  # keeps its identity its own
        return repr(value)

    def _repeat(
        self, func: Callable[..., Any], outcome: Outcome, given: list[Tracked], args: Any, kwargs: Any
    ) -> Any:
        """The known outcome again: new tensors of the same looks, no torch kernel."""
        tensors = []
        for result in outcome.results:
            if result.given >= 0:
                tensors.append(given[result.given].tensor)
                continue
            shape, _, stride, dtype, device = self._look_values[result.look]
            with torch._C._DisableTorchDispatch():
                tensors.append(torch.empty_strided(shape, stride, dtype=dtype, device=device))
        self._settle(func, args, kwargs, outcome, given, tensors)
        return tensors[0] if outcome.container is None else outcome.container(tensors)

    def _settle(
        self,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        outcome: Outcome,
        given: list[Tracked],
        tensors: list[Tensor],
    ) -> None:
        """The values that a call wrote, and its node; nothing where it gave back only what it got."""
        outputs = []
        for tensor, found in zip(tensors, outcome.results, strict=True):
            if found.given >= 0:
                continue
            source = given[found.shares] if found.shares >= 0 else None
            memory = self._new_memory() if source is None else source.memory
            tracked = self._track(tensor, found.look, memory, "activation", "")
            if source is not None and func is Tensor.__getitem__:
                tracked.origin = (source, args[1])
            outputs.append(tracked.reference.value)
        if outcome.written >= 0:
            target = given[outcome.written]
            if func is Tensor.copy_ and target.origin is not None:
                # x[index].copy_(y) is x[index] = y: what is written is x
                target, index = target.origin
                args, kwargs, func = (self._fresh(target).reference, index, args[1]), (), Tensor.__setitem__
            self._overwrote(len(self.nodes), target, outputs)
        if outputs:
            self._add_node(func, args, kwargs, outputs, outcome.aten)

    def _overwrote(self, node: int, tracked: Tracked, outputs: list[int]) -> None:
        """The tensor that ``node`` wrote into holds a new value; its other views hold none."""
        self.overwritten[node] = tracked.reference.value
        shape, dtype, stride, _, _ = self._look_values[tracked.look]
        number = len(self.values)
        self.values.append(GraphValue(number, shape, dtype, stride, "activation", ""))
        self._memories[tracked.memory] += 1
        tracked.seen = self._memories[tracked.memory]
        tracked.reference = Ref(number)
        outputs.append(number)

    def _add_node(
        self,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        outputs: list[int],
        aten: tuple[AtenCall, ...],
    ) -> None:
        name = self._names.get(func)
        if name is None:
            name = self._names[func] = function_name(func)
        path, kind = self.path[-1]
        number = len(self.nodes)
        for output in outputs:
            self.producer[output] = number
        self.nodes.append(GraphNode(name, args, kwargs, tuple(outputs), path, kind, self.source(), aten))
        self.calls.append(func)

    def _execute(
        self,
        func: Callable[..., Any],
        signature: Any,
        args: Any,
        kwargs: Any,
        given: list[Tracked],
        plain_args: Any,
        plain_kwargs: Any,
    ) -> Any:
        """The first call of its kind: run it, and remember what it comes to."""
        before, self._aten, self._mutated = self._aten, [], []
        computed = True
        try:
            result = func(*args, **kwargs)
        except UserError:
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            grouped = grouped_product(args, kwargs) if function_name(func) == "grouped_mm" else None
            if grouped is not None:
                result, call = grouped
                self._aten = [call]
            else:
                computed, result = False, known_outcome(self, func, plain_args, plain_kwargs, error)
        finally:
            aten, mutated = tuple(self._aten or ()), self._mutated
            self._aten, self._mutated = before, []
        outcome, made = self._outcome(result, aten, mutated, given)
        if not outcome.results and outcome.written < 0:
            if computed and not aten:
                self._questions.add(func)
            return result
        if kwargs.get("out") is not None:
            raise UserError(f"The operation {function_name(func)} in {self.place()} is given out=.")
        if computed:
            self._outcomes[signature] = outcome
        self._settle(func, plain_args, plain_kwargs, outcome, given, made)
        return result

    def _outcome(
        self, result: Any, aten: tuple[AtenCall, ...], mutated: list[Tensor], given: list[Tracked]
    ) -> tuple[Outcome, list[Tensor]]:
        """What a call came to, and the tensors it gave."""
        made: list[Tensor] = []
        container = container_of(result, made)
        # the first argument wins where two are the same tensor
        same = {id(tracked.tensor): at for at, tracked in reversed([*enumerate(given)])}
        shared = {memory_of(tracked.tensor): at for at, tracked in reversed([*enumerate(given)])}
        written = next((shared[memory_of(t)] for t in mutated if memory_of(t) in shared), -1)
        results = []
        for tensor in made:
            at = same.get(id(tensor), -1)
            share = shared.get(memory_of(tensor), -1) if at < 0 else -1
            results.append(Result(at, self._look_of(tensor), share))
        return Outcome(aten, tuple(results), container, written), made

    # ATen --------------------------------------------------------------------------------------------

    def note_aten(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """One ATen operation ran: of the function that is open, or a node of its own."""
        name, mutable = self._aten_names.get(func) or self._look_at(func)
        given: list[Tensor] = []
        container_of(args, given)
        container_of(list(kwargs.values()), given)
        made: list[Tensor] = []
        container_of(result, made)
        shapes = tuple([tuple(tensor.shape) for tensor in given])
        try:
            macs = aten_macs(name, shapes, args, [tuple(tensor.shape) for tensor in made])
        except UserError as error:
            raise UserError(f"{str(error)[:-1]}, in {self.place()}.") from None
        call = AtenCall(name, macs, shapes)
        written = [args[at] for at in mutable if at < len(args) and isinstance(args[at], Tensor)]
        if self._aten is not None:
            self._aten.append(call)
            self._mutated.extend(written)
            return
        tracked: list[Tracked] = []
        plain = self._plain(args, [], tracked)
        words = tuple([(key, self._plain(value, [], tracked)) for key, value in kwargs.items()])
        outcome, made = self._outcome(result, (call,), written, tracked)
        self._settle(func, plain, words, outcome, tracked, made)

    def _look_at(self, func: Any) -> tuple[str, tuple[int, ...]]:
        """An operator's name, and which of its arguments it writes; found out once."""
        schema = func._schema
        writes = tuple(
            at
            for at, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write and not argument.kwarg_only
        )
        found = self._aten_names[func] = (str(schema.name).split("::")[-1], writes)
        return found
