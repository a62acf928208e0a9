"""Modules that run without interception: those that are one operation, and those of plain code.

A module that is one operation (a linear layer, a norm, an activation) calls the chip itself. A module whose
source is plain (``plain_code``) runs with the interception taken off, from a copy of its function that finds
other global names: functions and ``torch.*`` lead back to the chip. Both give the same numbers as the same
module operation by operation, which stays in use while operations are counted (coverage, tracing), under
hooks, and wherever a module is not what it was when the model was deployed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache
from transformers.activations import GELUActivation, GELUTanh, SiLUActivation
from transformers.pytorch_utils import Conv1D

from ohmformer.deploy.cache import CACHE_NAMES, HOME
from ohmformer.deploy.constants import is_constant
from ohmformer.deploy.forms import attention_form, rotary_form
from ohmformer.deploy.interception import ChipMode
from ohmformer.deploy.operations import RULES
from ohmformer.deploy.pieces import attention_call, rotary_call
from ohmformer.deploy.plain_code import PlainCode, names_on, owned_plainly, plain_code, without_checkpoints
from ohmformer.deploy.runtime import Runtime

Forward = Callable[..., Any]
JOINING = (torch.cat, torch.stack)  # movement: torch's own serve
NO_CACHE = (Tensor, tuple, type(None), bool, int, float, str)


def may_leave(runtime: Runtime) -> bool:
    """Whether a run may take shortcuts: nothing is counted, and no hook waits for every module."""
    hooks = nn.modules.module
    return (
        runtime.coverage is None
        and runtime.recorder is None
        and not hooks._global_forward_hooks
        and not hooks._global_forward_pre_hooks
    )


class Shortcuts:
    """The shortcuts of one deployed model."""

    def __init__(self, model: nn.Module, runtime: Runtime, mode: ChipMode) -> None:
        self.runtime, self.mode = runtime, mode
        self._taken = names_on(model)
        self._globals: dict[int, dict[str, Any]] = {}
        self._functions: dict[Forward, Forward] = {}
        self._spaces: dict[int, _Space] = {}

    # --- modules that are one operation ------------------------------------------------------------

    def of_operation(self, module: nn.Module) -> Forward | None:
        """The forward of a module that is one operation of the chip; None for any other."""
        maker = _OPERATIONS.get(type(module))
        stored = "weight" if isinstance(module, (nn.Linear, Conv1D)) else None
        own = maker is None or "forward" in module.__dict__ or _has_own_forward(module)
        direct = None if own or maker is None else maker(module, self.runtime)
        if direct is None or self.mode.allow:
            return None
        original, mode = module.forward, self.mode

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if kwargs or len(args) != 1 or module.training or is_constant(args[0]):
                return mode.watch(original, args, kwargs)
            if not mode.plain and not mode.away:
                return original(*args)
            if stored and self.runtime.block_of(module._parameters[stored]) is None:  # exchanged since
                return mode.watch(original, args, kwargs)
            if self.runtime.block_of(args[0]) is not None:  # a stored parameter is read first
                return mode.watch(original, args, kwargs)
            if mode.away:
                return direct(args[0])
            with mode.region():
                return direct(args[0])

        return forward

    # --- modules of plain code ---------------------------------------------------------------------

    def of_plain_code(self, module: nn.Module) -> Forward | None:
        """The forward of a module of plain code; None for any other."""
        kind = without_checkpoints(type(module).forward)
        code = None if "forward" in module.__dict__ or self.mode.allow else plain_code(kind)
        if code is None or code.asked & self._taken or not owned_plainly(module, code):
            return None
        overridden = {name: made for name in code.methods if (made := self._method(module, name)) is not None}
        fast = self._copy(kind, code).__get__(module)
        same = self._known(kind, code)
        same += [(vars(module), name, overridden.get(name)) for name in code.methods - set(module._modules)]
        original, mode = module.forward, self.mode
        children, reached = dict(module._modules), (module, *_reached(module))

        def usual(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
            if module.training or module._modules != children:
                return False
            for child in reached:
                if child._forward_hooks or child._forward_pre_hooks:
                    return False
                if vars(child).get("forward") is not mode.forwards.get(child):
                    return False
            for names, name, value in same:
                if names.get(name) is not value:
                    return False
            return not code.caches or _caches_known(args, kwargs)

        known = kind.__globals__ if code.caches else {}
        attends = any(attention_form(known[name]) is not None for name in code.functions if name in known)

        @functools.wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if mode.plain and usual(args, kwargs):
                if not attends:
                    return mode.leave(fast, original, args, kwargs)
                before, mode.pending = mode.pending, True
                try:
                    return mode.leave(fast, original, args, kwargs)
                finally:
                    mode.pending = before
            return mode.watch(original, args, kwargs)

        for name, made in overridden.items():
            setattr(module, name, made)
        return forward

    def _method(self, module: nn.Module, name: str) -> Forward | None:
        """What stands for ``module.name(...)`` if that is no module: the same, intercepted."""
        value = getattr(module, name, None)
        if value is None or isinstance(value, nn.Module):
            return None
        return self.mode.watched(value)

    def _known(self, function: Any, code: PlainCode) -> list[tuple[dict[str, Any], str, Any]]:
        """The global names that must stand for what they stood for when the copy was made."""
        names = function.__globals__
        found = [(names, name, names[name]) for name in sorted(code.known)]
        for name in sorted(code.functions):
            inner = plain_code(names[name])
            if inner is not None and names[name] is not function:
                found += self._known(names[name], inner)
        return found

    def _copy(self, function: Any, code: PlainCode) -> Any:
        """``function`` with global names that lead to the chip."""
        names = self._globals.setdefault(id(function.__globals__), dict(function.__globals__))
        for name in code.functions:
            names[name] = self.of_function(function.__globals__[name])
        for name in code.spaces:
            names[name] = self._space(function.__globals__[name])
        for name in code.tables:
            if hasattr(function.__globals__[name], "get_interface"):
                names[name] = _Interfaces(function.__globals__[name], self.mode)
        made = FunctionType(
            function.__code__, names, function.__name__, function.__defaults__, function.__closure__
        )
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    def of_function(self, function: Forward) -> Forward:
        """What stands for a function that plain code calls."""
        found = self._functions.get(function)
        if found is None:
            code = plain_code(function)
            reaches = code is None or code.methods or code.reads or code.tables or code.caches
            if code is None or reaches or code.asked & self._taken:
                found = self.mode.watched(function)
            else:
                found = self._copy(function, code)
            attention, rotary = attention_form(function), rotary_form(function)
            if attention is not None:
                found = attention_call(self.runtime, attention, found)
            elif rotary is not None:
                found = rotary_call(rotary, found)
            self._functions[function] = found
        return found

    def _space(self, module: ModuleType) -> _Space:
        found = self._spaces.get(id(module))
        if found is None:
            found = self._spaces[id(module)] = _Space(module, self)
        return found


class _Space:
    """A module of functions (``torch``, ``nn.functional``) whose functions lead to the chip."""

    def __init__(self, module: ModuleType, shortcuts: Shortcuts) -> None:
        self._module, self._shortcuts = module, shortcuts
        self._torch = module.__name__.partition(".")[0] == "torch"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not self._torch and callable(value):  # its names are its own
            return self._shortcuts.mode.watched(value)
        if isinstance(value, ModuleType):
            value = self._shortcuts._space(value)
        elif callable(value) and not isinstance(value, type) and value not in JOINING:
            value = self._shortcuts.mode.sent(value)
        setattr(self, name, value)
        return value


class _Interfaces:
    """The table of attention functions; any but the model's own runs intercepted."""

    def __init__(self, table: Any, mode: ChipMode) -> None:
        self._table, self._mode = table, mode

    def get_interface(self, name: str, default: Forward) -> Forward:
        """As that of ``transformers``."""
        if name == "eager":
            return default
        found: Forward = self._table.get_interface(name, default)
        return found if found is default else self._mode.watched(found)


def _has_own_forward(module: nn.Module) -> bool:
    """Whether hooks of parametrisation or the like changed what ``forward`` reads."""
    return bool(getattr(module, "parametrizations", None))


def _reached(module: nn.Module) -> tuple[nn.Module, ...]:
    """Its children, and the members of those that are lists."""
    found: list[nn.Module] = []
    for child in module.children():
        found.append(child)
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            found.extend(child.children())
    return tuple(found)


def _caches_known(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether every cache in a call lies on the chip."""
    for name, value in kwargs.items():
        if isinstance(value, NO_CACHE) and (name not in CACHE_NAMES or value is None):
            continue
        if hasattr(value, "update") and not (isinstance(value, Cache) and hasattr(value, HOME)):
            return False
    return all(
        isinstance(value, NO_CACHE) or (isinstance(value, Cache) and hasattr(value, HOME)) for value in args
    )


def _linear(module: nn.Linear, runtime: Runtime) -> Forward | None:
    block = runtime.block_of(module.weight)
    if block is None or block.operand != "rows" or module.weight.ndim != 2:
        return None

    def direct(x: Tensor) -> Tensor:
        return runtime.linear(x, module.weight, module.bias)

    return direct


def _conv1d(module: Conv1D, runtime: Runtime) -> Forward | None:
    rule = RULES["addmm"]

    def direct(x: Tensor) -> Tensor:
        flat = x.view(-1, x.size(-1))
        y: Tensor = rule(runtime, torch.addmm, (module.bias, flat, module.weight), {})
        return y.view((*x.shape[:-1], module.nf))

    return direct


def _layer_norm(module: nn.LayerNorm, runtime: Runtime) -> Forward | None:
    if len(module.normalized_shape) != 1:
        return None

    def direct(x: Tensor) -> Tensor:
        return runtime.layer_norm(x, module.weight, module.bias, module.eps)

    return direct


def _table(name: str) -> Callable[[Any, Runtime], Forward | None]:
    def made(module: nn.Module, runtime: Runtime) -> Forward | None:
        return functools.partial(runtime.function, name)

    return made


def _gelu(module: Any, runtime: Runtime) -> Forward | None:
    tanh = getattr(module, "approximate", "none") == "tanh"
    return functools.partial(runtime.function, "gelu_tanh" if tanh else "gelu")


def _gelu_of_transformers(module: Any, runtime: Runtime) -> Forward | None:
    return functools.partial(runtime.function, "gelu") if module.act is F.gelu else None


def _gelu_tanh_of_transformers(module: Any, runtime: Runtime) -> Forward | None:
    act = module.act
    known = (
        isinstance(act, functools.partial) and act.func is F.gelu and act.keywords == {"approximate": "tanh"}
    )
    return functools.partial(runtime.function, "gelu_tanh") if known and not act.args else None


def _as_it_is(module: nn.Module, runtime: Runtime) -> Forward | None:
    return lambda x: x


_OPERATIONS: dict[type, Callable[[Any, Runtime], Forward | None]] = {
    nn.Linear: _linear,
    Conv1D: _conv1d,
    nn.LayerNorm: _layer_norm,
    nn.SiLU: _table("silu"),
    SiLUActivation: _table("silu"),
    nn.ReLU: _table("relu"),
    nn.Tanh: _table("tanh"),
    nn.Sigmoid: _table("sigmoid"),
    nn.GELU: _gelu,
    GELUActivation: _gelu_of_transformers,
    GELUTanh: _gelu_tanh_of_transformers,
    nn.Dropout: _as_it_is,
    nn.Identity: _as_it_is,
}
