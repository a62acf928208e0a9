"""The rules: which torch function is which operation of the chip.

A rule is a function (runtime, original function, arguments, keywords) -> result. Names are those torch
gives its functions, without the underscores of operators and in-place forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.coverage import ACCUMULATOR, CONTROL, FUNCTION, MOVEMENT
from ohmformer.deploy.runtime import Runtime
from ohmformer.errors import UserError

Rule = Callable[[Runtime, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Nothing is computed: shapes, copies, constants.
MOVEMENT_NAMES = _words(
    """get set view view_as reshape reshape_as transpose permute contiguous expand expand_as repeat
    repeat_interleave unsqueeze squeeze flatten unflatten cat concat concatenate stack hstack vstack split
    split_with_sizes chunk unbind narrow select index_select gather take_along_dim getitem setitem to float
    half bfloat16 double type type_as detach clone size dim ndimension numel stride is_contiguous view_as
    movedim swapaxes swapdims t roll flip zeros_like ones_like empty_like full_like rand_like new_zeros
    new_ones new_full new_empty new_tensor zeros ones full empty arange tensor as_tensor linspace
    is_floating_point is_complex is_tensor cpu cuda numpy tolist item dropout feature_dropout alpha_dropout
    index_put index_copy copy scatter pad constant_pad_nd broadcast_to broadcast_tensors element_size
    data_ptr len format repr requires_grad_ requires_grad storage_offset data deepcopy reduce_ex hash unfold
    dimname diagonal tril triu diag_embed atleast_1d atleast_2d promote_types result_type is_meta bool int
    long index_fill zero fill meshgrid untyped_storage is_inference storage get_device iter
    is_nonzero apply as_strided untyped_storage can_cast names is_same_size"""
)
# Comparisons and selection by masks: no values are made.
CONTROL_NAMES = _words(
    """masked_fill where eq ne lt le gt ge isnan isinf isfinite any all logical_not logical_and logical_or
    masked_select masked_scatter nonzero allclose equal argmax argmin argsort sort topk nan_to_num
    contains bucketize count_nonzero"""
)
COMPARATOR_NAMES = _words("maximum minimum max min amax amin clamp clip clamp_min clamp_max abs sign")

# torch kernels that must never run outside the chip's own code
PRODUCT_KERNELS = _words(
    """mm bmm addmm baddbmm addmv mv dot convolution _convolution linear matmul einsum cdist _cdist_forward
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention
    _scaled_dot_product_math _native_multi_head_attention native_layer_norm _softmax _log_softmax
    bilinear lstm gru native_batch_norm native_group_norm _int_mm"""
)

REFLECTED = {"rmul": "mul", "radd": "add", "rsub": "rsub", "rtruediv": "rtruediv", "rpow": "rpow"}
ALIASES = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "mm": "matmul",
    "bmm": "matmul",
    "rmatmul": "rmatmul",
    "special_expit": "sigmoid",
    "swish": "silu",
    "neg": "neg",
    "negative": "neg",
}
INPLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div"}


def name_of(function: Callable[..., Any]) -> str:
    """The plain name of a torch function."""
    name = getattr(function, "__name__", str(function)).strip("_")
    name = INPLACE.get(name, REFLECTED.get(name, name))
    return ALIASES.get(name, name)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, bool)) or (isinstance(value, Tensor) and value.ndim == 0)


def _stored(runtime: Runtime, value: Any) -> Any:
    """A stored parameter becomes what a dense read gives; anything else stays."""
    if isinstance(value, Tensor) and id(value) in runtime.parameters:
        return runtime.parameter(value)
    return value


def _operands(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """First and second operand, however they were passed."""
    given: dict[str, Any] = dict(kwargs)
    first: Any = args[0] if args else given.get("input", given.get("self"))
    if len(args) > 1:
        return first, args[1]
    return first, given.get("other", given.get("mat2", given.get("exponent")))


def _run(
    runtime: Runtime, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return function(
        *(_stored(runtime, a) for a in args), **{k: _stored(runtime, v) for k, v in kwargs.items()}
    )


def _size(result: Any) -> int:
    return result.numel() if isinstance(result, Tensor) else 1


def rule_linear(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.linear(x, weight, bias)."""
    x, weight, *rest = args if len(args) > 1 else (args[0], kwargs["weight"])
    bias = rest[0] if rest else kwargs.get("bias")
    entry = runtime.parameters.get(id(weight))
    if entry is not None and entry.role == "rows":
        return runtime.linear(x, weight, bias)
    y = runtime.matmul(
        x, weight.transpose(-1, -2) if entry is None else _stored(runtime, weight).t(), "linear"
    )
    return y if bias is None else runtime.add_bias(y, bias)


def rule_matmul(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """a @ b, in all its spellings."""
    left, right = _operands(args, kwargs)
    entry = runtime.parameters.get(id(right))
    if entry is not None and entry.role == "columns":
        return runtime.linear(left, right, None)
    return runtime.matmul(left, right)


def rule_rmatmul(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """b.__rmatmul__(a)."""
    right, left = args
    return rule_matmul(runtime, function, (left, right), kwargs)


def rule_addmm(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """addmm / baddbmm: bias·beta + (a @ b)·alpha."""
    bias = args[0] if args else kwargs["input"]
    left: Any = args[1] if len(args) > 1 else kwargs.get("mat1", kwargs.get("batch1"))
    right: Any = args[2] if len(args) > 2 else kwargs.get("mat2", kwargs.get("batch2"))
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)
    entry = runtime.parameters.get(id(right))
    if entry is not None and entry.role == "columns" and alpha == 1 and beta == 1:
        return runtime.linear(left, right, bias)
    y = runtime.matmul(left, right)
    y = y * alpha if alpha != 1 else y
    if beta == 0:
        return y
    return runtime.add_bias(y, bias if beta == 1 else _stored(runtime, bias) * beta)


def rule_attention(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """scaled_dot_product_attention: scores product, mask, softmax, context product."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("dropout_p"):
        raise UserError("Attention dropout is on: a deployed model is for inference, call eval() first.")
    if given.get("enable_gqa") and key.shape[-3] != query.shape[-3]:
        repeat = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
    scale = given.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores = runtime.matmul(query, key.transpose(-1, -2), "attention scores") * scale
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        rows, columns = scores.shape[-2:]
        mask = torch.ones(rows, columns, dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        runtime.call("mask", "add", scores.numel(), ACCUMULATOR, "addition in the accumulator")
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    return runtime.matmul(runtime.softmax(scores, -1), value, "attention context")


def rule_multiply(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Element product, or a constant factor."""
    first, second = _operands(args, kwargs)
    result = _run(runtime, function, args, kwargs)
    if _is_number(first) or _is_number(second):
        runtime.note("constant factor", ACCUMULATOR, "folded into the scale")
    else:
        runtime.call(
            "element product", "multiply", _size(result), FUNCTION, "multiplier of the interpolation"
        )
    return result


def rule_add(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Addition and subtraction in the accumulator."""
    result = _run(runtime, function, args, kwargs)
    runtime.call("addition", "add", _size(result), ACCUMULATOR, "addition in the accumulator")
    return result


def rule_divide(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Division by a constant, or F:reciprocal and an element product."""
    first, second = _operands(args, kwargs)
    if _is_number(second):
        runtime.note("constant factor", ACCUMULATOR, "folded into the scale")
        return _run(runtime, function, args, kwargs)
    return _times_reciprocal(runtime, _stored(runtime, first), _stored(runtime, second))


def _times_reciprocal(runtime: Runtime, numerator: Any, divisor: Tensor) -> Tensor:
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
    divisor, numerator = _operands(args, kwargs)
    return _times_reciprocal(runtime, numerator, _stored(runtime, divisor))


def rule_power(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Small whole powers as element products, x^-½ and x^½ by F:rsqrt."""
    x, exponent = _operands(args, kwargs)
    x = _stored(runtime, x)
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
    x = _stored(runtime, args[0])
    root = runtime.function("rsqrt", x.clamp_min(torch.finfo(torch.float32).tiny))
    runtime.call("element product", "multiply", x.numel(), FUNCTION, "multiplier of the interpolation")
    return root * x


def rule_sum(mean: bool) -> Rule:
    """sum or mean over axes: a product with ones."""

    def rule(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = _stored(runtime, args[0])
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        keepdim = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
        if dims is None or dims == ():
            dims = tuple(range(x.ndim))
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        return runtime.sum(x, dims, bool(keepdim), mean)

    return rule


def rule_softmax(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """softmax over one axis."""
    dim = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    return runtime.softmax(_stored(runtime, args[0]), -1 if dim is None else int(dim))


def rule_layer_norm(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.layer_norm over the last axis."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(tuple(given["normalized_shape"])) != 1:
        raise unknown(runtime, "layer_norm over more than one axis")
    return runtime.layer_norm(
        _stored(runtime, given["input"]), given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
    )


def rule_rms_norm(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.rms_norm over the last axis."""
    names = ("input", "normalized_shape", "weight", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if len(tuple(given["normalized_shape"])) != 1:
        raise unknown(runtime, "rms_norm over more than one axis")
    eps = given.get("eps")
    eps = torch.finfo(torch.float32).eps if eps is None else eps
    return runtime.rms_norm(given["input"], given.get("weight"), eps)


def rule_embedding(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.embedding(ids, table)."""
    ids, weight = args[0], args[1] if len(args) > 1 else kwargs["weight"]
    if id(weight) not in runtime.parameters:
        runtime.note("lookup of a constant table", MOVEMENT)
        return function(*args, **kwargs)
    return runtime.embedding(ids, weight)


def rule_table(name: str) -> Rule:
    """One table function."""

    def rule(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return runtime.function(name, _stored(runtime, args[0] if args else kwargs["input"]))

    return rule


def rule_gelu(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """GELU, exact or by tanh."""
    approximate = kwargs.get("approximate", args[1] if len(args) > 1 else "none")
    return runtime.function("gelu_tanh" if approximate == "tanh" else "gelu", _stored(runtime, args[0]))


def rule_comparator(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Largest, smallest, clamped: comparators."""
    result = _run(runtime, function, args, kwargs)
    if isinstance(args[0], Tensor):
        runtime.call("comparison", "max", args[0].numel())
    return result


def unknown(runtime: Runtime, what: str) -> UserError:
    """The refusal of an operation without a rule."""
    place = f" in {runtime.module}" if runtime.module else ""
    return UserError(
        f"The operation {what}{place} has no place on the chip: it is not one of the known products, "
        f"functions, movements or controls; deploy(..., allow=({what.split()[0]!r},)) leaves it to the host."
    )


RULES: dict[str, Rule] = {
    "linear": rule_linear,
    "matmul": rule_matmul,
    "rmatmul": rule_rmatmul,
    "addmm": rule_addmm,
    "baddbmm": rule_addmm,
    "scaled_dot_product_attention": rule_attention,
    "mul": rule_multiply,
    "add": rule_add,
    "sub": rule_add,
    "rsub": rule_add,
    "neg": rule_multiply,
    "div": rule_divide,
    "rtruediv": rule_rdivide,
    "rdiv": rule_rdivide,
    "pow": rule_power,
    "square": rule_square,
    "sqrt": rule_sqrt,
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


def refuse_training_dropout(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Dropout is the identity at inference and nothing else is offered."""
    if name != "dropout":
        return
    probability = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", True)
    if training and probability:
        raise UserError("Dropout is on: a deployed model is for inference, call eval() first.")
