"""Lowering of products: linear layers, matrix products, attention in one call, convolutions of patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod
from typing import Any

from ohmformer.compiler.graph import Ref
from ohmformer.compiler.lower_functions import softmax
from ohmformer.compiler.lower_work import Lowering, Shape, given_by_name, two_operands
from ohmformer.ir import Arguments
from ohmformer.ir.shapes import SCALED, broadcast

__all__ = ["PRODUCT_RULES"]


def lower_linear(work: Lowering) -> None:
    """linear(x, weight, bias)."""
    given = given_by_name(work.node, ("input", "weight", "bias"))
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    stored = work.stored_of(weight)
    if stored is not None and stored.operand == "rows" and len(work.shape(weight)) == 2:
        return stored_product(work, x, weight, bias, "linear")
    resident = work.reshaped(work.read(weight), _swapped(work.shape(weight)), "transpose", -1, -2)
    contiguous = _swapped(work.graph.values[weight.value].stride)
    _with_bias(work, lambda out: _matmul(work, work.read(x), resident, contiguous, "linear", out), bias)


def lower_matmul(work: Lowering) -> None:
    """a @ b."""
    left, right = two_operands(work)
    _any_matmul(work, left, right, work.out())


def lower_rmatmul(work: Lowering) -> None:
    """b.__rmatmul__(a)."""
    right, left = two_operands(work)
    _any_matmul(work, left, right, work.out())


def lower_addmm(work: Lowering) -> None:
    """bias·beta + (a @ b)·alpha."""
    given = given_by_name(work.node, ("input", "mat1", "mat2"))
    left: Any = given.get("mat1", given.get("batch1"))
    right: Any = given.get("mat2", given.get("batch2"))
    bias, alpha, beta = given["input"], given.get("alpha", 1), given.get("beta", 1)
    if _is_columns(work, right) and alpha == 1 and beta == 1:
        return stored_product(work, left, right, bias, "linear")
    shape = work.graph.values[work.node.outputs[0]].shape

    def multiplied(out: int) -> None:
        made = out if alpha == 1 else work.value(shape)
        _any_matmul(work, left, right, made)
        if alpha != 1:
            work.move("fold", "constant factor", (made,), (out,), prod(shape), _times(alpha))

    if beta == 0:
        return multiplied(work.out())
    _with_bias(work, multiplied, bias, beta)


def _times(factor: float) -> Arguments:
    return (("torch", "mul"), ("args", (("%", 0), factor)))


def stored_product(work: Lowering, x: Ref, weight: Ref, bias: Any, operation: str) -> None:
    """x [..., inner] times a stored weight, plus a bias."""
    _product_of(work, work.read(x), weight, bias, operation, work.out())


def _product_of(work: Lowering, x: int, weight: Ref, bias: Any, operation: str, out: int) -> None:
    stored = work.stored[weight.value]
    shape, inner = work.values[x].shape, work.values[x].shape[-1]
    rows = prod(shape[:-1])
    numbers = prod(work.shape(weight))
    columns = numbers // inner
    arguments: Arguments = (("stored", stored.role),)
    inputs = (x, work.of[weight.value])
    if bias is None:
        return work.product(operation, (1, rows, inner, columns), "weight", inputs, out, arguments)
    made = work.value(work.values[out].shape)
    work.product(operation, (1, rows, inner, columns), "weight", inputs, made, arguments)
    work.call("bias", "add", rows * columns, (made, work.read(bias)), out)


def _with_bias(work: Lowering, multiply: Callable[[int], None], bias: Any, beta: float = 1) -> None:
    if bias is None:
        return multiply(work.out())
    shape = work.graph.values[work.node.outputs[0]].shape
    made = work.value(shape)
    multiply(made)
    added = work.read(bias)
    if beta != 1:
        scaled = work.value(work.shape(bias))
        work.move("fold", "constant factor", (added,), (scaled,), prod(work.shape(bias)), _times(beta))
        added = scaled
    work.call("bias", "add", prod(shape), (made, added), work.out())


def _is_columns(work: Lowering, right: Any) -> bool:
    stored = work.stored_of(right)
    return stored is not None and stored.operand == "columns" and len(work.shape(right)) == 2


def _any_matmul(work: Lowering, left: Ref, right: Ref, out: int, operation: str = "matmul") -> None:
    if _is_columns(work, right):
        return _product_of(work, work.read(left), right, None, "linear", out)
    stride = work.graph.values[right.value].stride
    _matmul(work, work.read(left), work.read(right), stride, operation, out)


def _matmul(work: Lowering, left: int, right: int, stride: Shape, operation: str, out: int) -> None:
    """left [..., row, inner] x right [..., inner, column]: left is streamed, right is resident.

    stride: of the resident operand: it has one scale for each vector as it lies in memory; where the inner
            axis is not the contiguous one, these are multiplied into the streamed rows
    """
    a, b = work.values[left].shape, work.values[right].shape
    if len(a) == 1:
        left, a = work.reshaped(left, (1, *a), "unsqueeze", 0), (1, *a)
    if len(b) == 1:
        right, b, stride = work.reshaped(right, (*b, 1), "unsqueeze", -1), (*b, 1), (stride[0], 1)
    found = broadcast([a[:-2], b[:-2]])
    if found is None:
        raise work.refusal(f"multiplies {a} by {b}")
    batch = prod(found)
    rows, inner, columns = a[-2], a[-1], b[-1]
    by_inner = stride[-1] == 1 and stride[-2] != 1 and columns > 1
    if by_inner:
        scaled = work.value((*found, rows, inner))
        work.call(SCALED, "multiply", batch * rows * inner, (left, right), scaled)
        left = scaled
    wanted = (*found, rows, columns)
    made = out if prod(work.values[out].shape) == prod(wanted) else work.value(wanted)
    arguments: Arguments = (("scales", "inner" if by_inner else "column"),)
    work.product(operation, (batch, rows, inner, columns), "activation", (left, right), made, arguments)


def lower_attention(work: Lowering) -> None:
    """scaled_dot_product_attention: scores product, mask, softmax, context product."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = given_by_name(work.node, names)
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("dropout_p"):
        raise work.refusal("drops numbers: only evaluated models can be lowered")
    scale = 1 / math.sqrt(work.shape(query)[-1]) if given.get("scale") is None else given["scale"]
    q, k, v = work.read(query), work.read(key), work.read(value)
    key_stride, value_stride = (work.graph.values[ref.value].stride for ref in (key, value))
    shape = work.shape(query)
    if given.get("enable_gqa") and work.shape(key)[-3] != shape[-3]:
        times = shape[-3] // work.shape(key)[-3]
        k, v = (_repeated(work, part, times) for part in (k, v))
        key_stride, value_stride = (0, 1), (0, 1)  # a copy whose last axis is the contiguous one
    keys = work.reshaped(k, _swapped(work.values[k].shape), "transpose", -1, -2)
    lead = broadcast([shape[:-2], work.values[k].shape[:-2]]) or ()
    shape = (*lead, shape[-2], work.values[k].shape[-2])
    scores, scaled = work.value(shape), work.value(shape)
    _matmul(work, q, keys, _swapped(key_stride), "attention scores", scores)
    work.move("fold", "constant factor", (scores,), (scaled,), prod(shape), _times(scale))
    mask, form = given.get("attn_mask"), _LOWEST
    if given.get("is_causal"):
        place = _causal(work, shape[-2:])
    elif mask is not None:
        place, form = work.read(mask), () if work.floating[mask.value] else _LOWEST
    if given.get("is_causal") or mask is not None:
        masked = work.value(shape)
        work.call("mask", "add", prod(shape), (scaled, place), masked, form)
        scaled = masked
    shares = work.value(shape)
    softmax(work, scaled, shares)
    _matmul(work, shares, v, value_stride, "attention context", work.out())


_LOWEST: Arguments = (("form", "lowest where not"),)


def _repeated(work: Lowering, value: int, times: int) -> int:
    """Each head for ``times`` heads of queries: by address alone, nothing is copied."""
    shape = work.values[value].shape
    wide = (*shape[:-3], shape[-3] * times, *shape[-2:])
    return work.reshaped(value, wide, "repeat_interleave", times, -3)


def _causal(work: Lowering, shape: Shape) -> int:
    """True where a row may see a column: a mask known before the data."""
    ones, mask = work.value(shape, "constant"), work.value(shape, "constant")
    made: Arguments = (("torch", "ones"), ("args", shape), ("kwargs", (("dtype", "bool"),)))
    work.move("control", "causal mask", (), (ones,), prod(shape), made)
    lower: Arguments = (("torch", "tril"), ("args", (("%", 0),)))
    work.move("control", "causal mask", (ones,), (mask,), prod(shape), lower)
    return mask


def lower_convolution(axes: int) -> Callable[[Lowering], None]:
    """conv1d and conv2d with a stored kernel: patches (copied) times the kernel's rows."""

    def lower(work: Lowering) -> None:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = given_by_name(work.node, names)
        x, weight, groups = given["input"], given["weight"], given.get("groups", 1)
        stored = work.stored_of(weight)
        if groups != 1 or stored is None or stored.operand != "rows":
            what = f"in {groups} groups" if groups != 1 else "with a kernel that is no stored weight"
            raise work.refusal(f"is a convolution {what}, which has no lowering")
        shape, out = work.shape(x), work.graph.values[work.node.outputs[0]].shape
        lone = len(shape) == axes + 1
        batch = 1 if lone else shape[0]
        places, inner = prod(out[-axes:]), prod(work.shape(weight)[1:])
        patches = work.value((batch, places, inner))
        how: Arguments = (
            ("kernel", work.shape(weight)[2:]),
            ("stride", given.get("stride", 1)),
            ("padding", given.get("padding", 0)),
            ("dilation", given.get("dilation", 1)),
        )
        work.move("copy", "patches", (work.read(x),), (patches,), batch * places * inner, how)
        columns = work.shape(weight)[0]
        made = work.value((batch, places, columns))
        _product_of(work, patches, weight, given.get("bias"), f"conv{axes}d", made)
        laid: Arguments = (("shape", out),)
        work.move("view", "channels first", (made,), (work.out(),), prod(out), laid)

    return lower


def _swapped(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


PRODUCT_RULES: dict[str, Callable[[Lowering], None]] = {
    "linear": lower_linear,
    "matmul": lower_matmul,
    "mv": lower_matmul,
    "dot": lower_matmul,
    "rmatmul": lower_rmatmul,
    "addmm": lower_addmm,
    "baddbmm": lower_addmm,
    "conv1d": lower_convolution(1),
    "conv2d": lower_convolution(2),
    "scaled_dot_product_attention": lower_attention,
}
