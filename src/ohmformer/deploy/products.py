"""The rules of products: which torch function is which product of the computation crossbars.

A rule is a function (runtime, original function, arguments, keywords) -> result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from ohmformer.deploy.coverage import ACCUMULATOR
from ohmformer.deploy.refusals import unknown
from ohmformer.deploy.runtime import Runtime
from ohmformer.errors import UserError

Rule = Callable[[Runtime, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def operands(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """First and second operand, however they were passed."""
    given: dict[str, Any] = dict(kwargs)
    first: Any = args[0] if args else given.get("input", given.get("self"))
    if len(args) > 1:
        return first, args[1]
    for name in ("other", "mat2", "exponent", "vec", "tensor"):
        if name in given:
            return first, given[name]
    return first, None


def rule_linear(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """F.linear(x, weight, bias)."""
    x, weight, *rest = args if len(args) > 1 else (args[0], kwargs["weight"])
    bias = rest[0] if rest else kwargs.get("bias")
    block = runtime.block_of(weight)
    if block is not None and block.operand == "rows" and weight.ndim == 2:
        return runtime.linear(x, weight, bias)
    y = runtime.matmul(x, runtime.value_of(weight).transpose(-1, -2), "linear")
    return y if bias is None else runtime.add_bias(y, bias)


def rule_matmul(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """a @ b, in all its spellings."""
    left, right = operands(args, kwargs)
    if _is_columns(runtime, right):
        return runtime.linear(left, right, None)
    return runtime.matmul(left, right)


def _is_columns(runtime: Runtime, right: Any) -> bool:
    block = runtime.block_of(right)
    return block is not None and block.operand == "columns" and right.ndim == 2


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
    if _is_columns(runtime, right) and alpha == 1 and beta == 1:
        return runtime.linear(left, right, bias)
    y = runtime.matmul(left, right)
    y = y * alpha if alpha != 1 else y
    if beta == 0:
        return y
    return runtime.add_bias(y, bias if beta == 1 else runtime.value_of(bias) * beta)


def rule_attention(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """scaled_dot_product_attention: scores product, mask, softmax, context product."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key, value = (runtime.value_of(given[name]) for name in names[:3])
    if given.get("dropout_p"):
        raise UserError("Attention dropout is on: a deployed model is for inference, call eval() first.")
    if given.get("enable_gqa") and key.shape[-3] != query.shape[-3]:
        repeat = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
    scale = 1 / math.sqrt(query.shape[-1]) if given.get("scale") is None else given["scale"]
    scores = runtime.matmul(query, key.transpose(-1, -2), "attention scores") * scale
    mask = runtime.value_of(given.get("attn_mask"))
    if given.get("is_causal"):
        rows, columns = scores.shape[-2:]
        mask = torch.ones(rows, columns, dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        runtime.call("mask", "add", scores.numel(), ACCUMULATOR, "addition in the accumulator")
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    return runtime.matmul(runtime.softmax(scores, -1), value, "attention context")


def rule_convolution(axes: int) -> Rule:
    """conv1d and conv2d with a stored kernel: patches (data movement) times the kernel's rows.

    y[n, o, p] = Σ_{c, k} x[n, c, p·stride + k·dilation − padding] · w[o, c, k]
    """

    def rule(runtime: Runtime, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        x, weight, groups = given["input"], given["weight"], given.get("groups", 1)
        block = runtime.block_of(weight)
        if groups != 1 or block is None or block.operand != "rows":
            what = f"in {groups} groups" if groups != 1 else "with a kernel that is no stored weight"
            raise unknown(runtime, f"conv{axes}d {what}")
        stride, dilation = _each(given.get("stride", 1), axes), _each(given.get("dilation", 1), axes)
        kernel = weight.shape[2:]
        x = runtime.value_of(x)
        x, lone = (x, False) if x.ndim == axes + 2 else (x.unsqueeze(0), True)
        x = F.pad(x, _padding(given.get("padding", 0), kernel, dilation))
        if axes == 1:
            x, kernel = x.unsqueeze(-2), (1, *kernel)
            stride, dilation = (1, *stride), (1, *dilation)
        sizes = [
            (length - step * (k - 1) - 1) // pace + 1
            for length, k, step, pace in zip(x.shape[-2:], kernel, dilation, stride, strict=True)
        ]
        patches = F.unfold(x, kernel, dilation=dilation, stride=stride).transpose(-1, -2)
        y = runtime.linear(patches, weight, given.get("bias"), f"conv{axes}d")
        y = y.transpose(-1, -2).reshape(y.shape[0], y.shape[-1], *sizes[2 - axes :])
        return y.squeeze(0) if lone else y

    return rule


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)


def _padding(value: Any, kernel: Any, dilation: tuple[int, ...]) -> list[int]:
    """Zeros before and after each axis, last axis first, as ``F.pad`` wants them."""
    if value == "same":
        total = [step * (k - 1) for k, step in zip(kernel, dilation, strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(n, n) for n in _each(0 if value == "valid" else value, len(kernel))]
    return [n for side in reversed(sides) for n in side]


PRODUCT_RULES: dict[str, Rule] = {
    "linear": rule_linear,
    "matmul": rule_matmul,
    "rmatmul": rule_rmatmul,
    "addmm": rule_addmm,
    "baddbmm": rule_addmm,
    "conv1d": rule_convolution(1),
    "conv2d": rule_convolution(2),
    "scaled_dot_product_attention": rule_attention,
}
