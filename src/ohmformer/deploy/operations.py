"""The rules of functions, sums and element-by-element work; ``RULES`` holds them all.

A rule is a function (runtime, original function, arguments, keywords) -> result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.constants import is_constant
from ohmformer.deploy.coverage import ACCUMULATOR, CONTROL, FUNCTION, MOVEMENT
from ohmformer.deploy.names import COMPARATOR_NAMES, CONTROL_NAMES, MOVEMENT_NAMES
from ohmformer.deploy.products import PRODUCT_RULES, Rule, operands
from ohmformer.deploy.refusals import unknown
from ohmformer.deploy.runtime import Runtime
from ohmformer.numerals import divide


def _is_number(value: object) -> bool:
    """A number known before the run: it folds into a scale."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and is_constant(value)
    return isinstance(value, (int, float, bool))


def _run(
    runtime: Runtime, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The function itself, on what dense reads give."""
    values = [runtime.value_of(a) for a in args]
    return function(*values, **{key: runtime.value_of(value) for key, value in kwargs.items()})


def _size(result: Any) -> int:
    return result.numel() if isinstance(result, Tensor) else 1


def rule_multiply(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Element product, or a constant factor."""
    first, second = operands(args, kwargs)
    result = _run(runtime, function, args, kwargs)
    if _is_number(first) or _is_number(second):
        runtime.note("constant factor", ACCUMULATOR, "folded into the scale")
    else:
        runtime.call(
            "element product", "multiply", _size(result), FUNCTION, "multiplier of the interpolation"
        )
    return result


def rule_negate(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A sign."""
    runtime.note("constant factor", ACCUMULATOR, "folded into the scale")
    return _run(runtime, function, args, kwargs)


def rule_gather_add(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """index_add and scatter_add: rows added in the accumulator at given addresses."""
    source = args[3] if len(args) > 3 else kwargs.get("source", kwargs.get("src"))
    result = _run(runtime, function, args, kwargs)
    runtime.call("addition", "add", _size(source), ACCUMULATOR, "addition in the accumulator")
    return result


def rule_add(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Addition and subtraction in the accumulator."""
    result = _run(runtime, function, args, kwargs)
    runtime.call("addition", "add", _size(result), ACCUMULATOR, "addition in the accumulator")
    return result


def rule_divide(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Division by a constant, or F:reciprocal and an element product."""
    first, second = operands(args, kwargs)
    if len(args) > 2 or kwargs.get("rounding_mode") is not None:
        raise unknown(runtime, "div with rounding")
    if _is_number(second):
        runtime.note("constant factor", ACCUMULATOR, "folded into the scale")
        off_host = isinstance(first, Tensor) and first.device.type not in ("cpu", "meta")
        if off_host and isinstance(second, (int, float)):
            return divide(runtime.value_of(first), second)
        return _run(runtime, function, args, kwargs)
    return _times_reciprocal(runtime, runtime.value_of(first), runtime.value_of(second))


def _times_reciprocal(runtime: Runtime, numerator: Any, divisor: Tensor) -> Tensor:
    """numerator · F:reciprocal(divisor)."""
    result = runtime.function("reciprocal", divisor)
    if isinstance(numerator, Tensor):
        result = result * numerator
        runtime.call(
            "element product", "multiply", result.numel(), FUNCTION, "multiplier of the interpolation"
        )
        return result
    return result * numerator if numerator != 1 else result


def rule_rdivide(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """constant / tensor."""
    divisor, numerator = operands(args, kwargs)
    return _times_reciprocal(runtime, numerator, runtime.value_of(divisor))


def rule_power(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Small whole powers as element products, x^-½ and x^½ by F:rsqrt."""
    x, exponent = operands(args, kwargs)
    x = runtime.value_of(x)
    if not isinstance(x, Tensor) or not isinstance(exponent, (int, float)):
        raise unknown(runtime, "pow with a tensor as exponent")
    if exponent in (2, 3, 4):
        for _ in range(2 if exponent > 2 else 1):
            runtime.call(
                "element product", "multiply", x.numel(), FUNCTION, "multiplier of the interpolation"
            )
        return x if x.is_meta else x**exponent
    if exponent == -0.5:
        return runtime.function("rsqrt", x)
    if exponent == 0.5:
        return rule_sqrt(runtime, function, (x,), {})
    if exponent == -1:
        return runtime.function("reciprocal", x)
    raise unknown(runtime, f"pow with exponent {exponent}")


def rule_square(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """x²."""
    return rule_power(runtime, function, (args[0], 2), {})


def rule_sqrt(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """√x = x·x^-½, and 0 at 0."""
    x = runtime.value_of(args[0])
    root = runtime.function("rsqrt", x.clamp_min(torch.finfo(torch.float32).tiny))
    runtime.call("element product", "multiply", x.numel(), FUNCTION, "multiplier of the interpolation")
    return root * x


def rule_sum(mean: bool) -> Rule:
    """sum or mean over axes: a product with ones."""

    def rule(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = runtime.value_of(args[0])
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        keepdim = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
        if dims is None or dims == ():
            dims = tuple(range(x.ndim))
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        return runtime.sum(x, dims, bool(keepdim), mean)

    return rule


def rule_softmax(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """softmax over one axis."""
    x = runtime.value_of(args[0])
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    if dim is None:  # the axis torch takes then
        dim = 0 if x.ndim in (0, 1, 3) else 1
    return runtime.softmax(x, int(dim))


def rule_layer_norm(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.layer_norm over the last axis."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(tuple(given["normalized_shape"])) != 1:
        raise unknown(runtime, "layer_norm over more than one axis")
    return runtime.layer_norm(
        runtime.value_of(given["input"]), given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
    )


def rule_rms_norm(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.rms_norm over the last axis."""
    names = ("input", "normalized_shape", "weight", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(tuple(given["normalized_shape"])) != 1:
        raise unknown(runtime, "rms_norm over more than one axis")
    eps = given.get("eps")
    eps = torch.finfo(torch.float32).eps if eps is None else eps
    return runtime.rms_norm(runtime.value_of(given["input"]), given.get("weight"), eps)


def rule_embedding(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.embedding(ids, table)."""
    ids, weight = args[0], args[1] if len(args) > 1 else kwargs["weight"]
    if (args[3] if len(args) > 3 else kwargs.get("max_norm")) is not None:
        raise unknown(runtime, "embedding with max_norm")
    if id(weight) not in runtime.parameters:
        runtime.note("lookup of a constant table", MOVEMENT)
        return function(*args, **kwargs)
    return runtime.embedding(ids, weight)


def rule_table(name: str) -> Rule:
    """One table function."""

    def rule(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return runtime.function(name, runtime.value_of(args[0] if args else kwargs["input"]))

    return rule


def rule_gelu(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """GELU, exact or by tanh."""
    approximate = args[1] if len(args) > 1 else kwargs.get("approximate", "none")
    return runtime.function("gelu_tanh" if approximate == "tanh" else "gelu", runtime.value_of(args[0]))


def rule_comparator(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Largest, smallest, clamped: comparators."""
    result = _run(runtime, function, args, kwargs)
    if isinstance(args[0], Tensor):
        runtime.call("comparison", "max", args[0].numel())
    return result


RULES: dict[str, Rule] = {
    **PRODUCT_RULES,
    "mul": rule_multiply,
    "add": rule_add,
    "sub": rule_add,
    "rsub": rule_add,
    "neg": rule_negate,
    "div": rule_divide,
    "rtruediv": rule_rdivide,
    "rdiv": rule_rdivide,
    "pow": rule_power,
    "square": rule_square,
    "sqrt": rule_sqrt,
    "index_add": rule_gather_add,
    "scatter_add": rule_gather_add,
    "sum": rule_sum(False),
    "mean": rule_sum(True),
    "softmax": rule_softmax,
    "layer_norm": rule_layer_norm,
    "rms_norm": rule_rms_norm,
    "embedding": rule_embedding,
    "gelu": rule_gelu,
    **{name: rule_table(name) for name in ("exp", "reciprocal", "rsqrt", "silu", "sigmoid", "tanh", "relu")},
    **dict.fromkeys(COMPARATOR_NAMES, rule_comparator),
}


def rule_for(name: str) -> tuple[Rule | None, str]:
    """The rule of ``name``, or where a function without one belongs (empty: nowhere)."""
    rule = RULES.get(name)
    if rule is not None:
        return rule, ""
    if name in MOVEMENT_NAMES or name.startswith("is_"):
        return None, MOVEMENT
    if name in CONTROL_NAMES:
        return None, CONTROL
    return None, ""
