"""Recognised functions of models as one native call each; where that cannot be, as they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.utils import output_capturing

from ohmformer.deploy.cache_rows import PendingRows, coded, numbers
from ohmformer.deploy.forms import AttentionForm, RotaryForm
from ohmformer.deploy.runtime import Runtime
from ohmformer.engine import Rows, fits_kernels, kernels, rotary

Function = Callable[..., Any]
PRODUCT = "product of activations"
_COLLECTOR = getattr(output_capturing, "_active_collector", None)


def _weights_wanted(named: dict[str, Any]) -> bool:
    """Whether someone waits for the weights of attention, which one call does not keep."""
    if named.get("output_attentions"):
        return True
    collected = None if _COLLECTOR is None else _COLLECTOR.get()
    return bool(collected)


def attention_call(runtime: Runtime, form: AttentionForm, otherwise: Function) -> Function:
    """What stands for a function of the given form: one call, or ``otherwise``."""

    def call(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *more: Any, **named: Any
    ) -> Any:
        scaling = named.get("scaling")
        known = isinstance(scaling, (int, float)) and not more and not module.training
        if scaling is not None and known and not _weights_wanted(named):
            group = module.num_key_value_groups if form.repeats else 1
            softcap = named.get("softcap") if form.softcap else None
            bias = named.get("position_bias") if form.bias else None
            made = attention(
                runtime, query, key, value, group, (bias, attention_mask), float(scaling), softcap
            )
            if made is not None:
                return made, None
        return otherwise(module, query, numbers(key), numbers(value), attention_mask, *more, **named)

    return call


def attention(
    runtime: Runtime,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    group: int,
    masks: tuple[Any, Any],
    scaling: float,
    softcap: float | None,
) -> Tensor | None:
    """[batch, row, head, element] of query [batch, head, row, inner], as its operations one by one give it.

    key, value: [batch, head of ``group`` of the query, token, element]
    masks:      added to the scores, first and last, or None
    Gives None, and has drawn nothing, where these operands are others or a conversion goes wrong.
    """
    piece = runtime.attention_piece
    held, lying = _rows(key), _rows(value)
    if piece is None or held is None or lying is None or not fits_kernels(query):
        return None
    outer, heads, rows, width = query.shape
    kv_outer, kv_heads, tokens, key_width = held.shape
    shape = (outer, heads, rows, tokens)
    if (kv_outer, kv_heads * group, key_width) != (outer, heads, width) or lying.shape[:3] != held.shape[:3]:
        return None
    if 0 in shape or lying.shape[3] < 2 or width < 2:
        return None
    if softcap is not None and not softcap > 0:
        return None
    for mask in masks:
        if mask is not None and not _is_mask(mask, shape):
            return None
    keys = runtime.keys
    streams = (keys.coming(PRODUCT), keys.coming("sum"), keys.coming(PRODUCT, 1))
    draw = (runtime.seed, keys.rows(shape[:3]), streams)
    made = piece.call(query, held, lying, scaling, softcap or 0.0, masks, draw)
    if made is None:
        return None
    y, whole = made
    keys.count("sum")
    keys.count(PRODUCT)
    if whole:
        keys.count(PRODUCT)
        return y
    values = numbers(value)
    repeated = values if group == 1 else values.repeat_interleave(group, 1)
    return runtime.matmul(y, repeated).transpose(1, 2).contiguous()


def _rows(values: Tensor) -> Rows | None:
    """Keys or values as the kernels take them; None where they cannot."""
    if type(values) is PendingRows:
        return Rows(values=None, codes=values.coded.codes, scale=values.coded.scale)
    if not fits_kernels(values):
        return None
    held = coded(values)
    if held is None or held.codes.dtype != torch.int8 or held.codes.stride(-1) != 1:
        return Rows(values=values)
    return Rows(values=values, codes=held.codes, scale=held.scale)


def _is_mask(mask: Any, shape: tuple[int, ...]) -> bool:
    if not isinstance(mask, Tensor) or mask.dtype != torch.float32 or mask.device.type != "cpu":
        return False
    return mask.ndim == 4 and all(own in (1, full) for own, full in zip(mask.shape, shape, strict=True))


def rotary_call(form: RotaryForm, otherwise: Function) -> Function:
    """What stands for a function of the given form: two calls, or ``otherwise``."""

    def call(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any) -> Any:
        native = kernels()
        if native is None or more or named or not _is_table(cos, sin):
            return otherwise(q, k, cos, sin, *more, **named)
        for x in (q, k):
            if not fits_kernels(x) or not x.numel() or not _turns(x, cos, form):
                return otherwise(q, k, cos, sin)
        return rotary(native, q, cos, sin, form.pairs), rotary(native, k, cos, sin, form.pairs)

    return call


def _is_table(cos: Tensor, sin: Tensor) -> bool:
    return (
        isinstance(cos, Tensor)
        and isinstance(sin, Tensor)
        and cos.ndim == 3
        and cos.dtype == sin.dtype == torch.float32
        and cos.device.type == sin.device.type == "cpu"
        and cos.shape == sin.shape
        and cos.stride() == sin.stride()
        and cos.stride(2) == 1
    )


def _turns(x: Tensor, cos: Tensor, form: RotaryForm) -> bool:
    outer, _, tokens, width = x.shape
    turned = cos.shape[2]
    fitting = turned == width or (form.partial and turned < width)
    return fitting and turned % 2 == 0 and cos.shape[1] == tokens and cos.shape[0] in (1, outer)
