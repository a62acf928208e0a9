"""Softmax, norms and activations, composed of sub-operations only.

Linear parts (sums and squared norms of rows) are products on the computation crossbar and are passed
in; functions are those of the function unit, which also compares (max), multiplies and adds element by
element in accumulator words, without further rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ohmformer.functions.unit import evaluate
from ohmformer.numerals import divide
from ohmformer.specs import FunctionUnitSpec

__all__ = ["EXACT", "LinearSubOps", "gelu", "layer_norm", "rms_norm", "silu", "softmax"]


@dataclass(frozen=True, kw_only=True)
class LinearSubOps:
    """The linear sub-operations that softmax and the norms need.

    row_sum: [..., n] -> [...], x . 1, a product with resident ones
    row_dot: [..., n] -> [...], x . x, a row streamed past itself
    """

    row_sum: Callable[[Tensor], Tensor]
    row_dot: Callable[[Tensor], Tensor]


EXACT = LinearSubOps(row_sum=lambda x: x.sum(-1), row_dot=lambda x: x.square().sum(-1))
"""The linear sub-operations in plain floating point, without a crossbar."""


def softmax(scores: Tensor, unit: FunctionUnitSpec, linear: LinearSubOps) -> Tensor:
    """Softmax over the last axis.

    e = F:exp(z - max z),  s = e . 1,  p = e * F:reciprocal(s)

    scores:  [..., n]; -inf is masked out; a row of -inf alone gives NaN, as in torch
    returns: [..., n]
    Error:   |p - exact| <= (n + 1) * E / S + R, with E and R the stated errors of exp and reciprocal,
             S >= 1 the exact sum, and an exact row_sum.
    """
    largest = scores.amax(-1, keepdim=True)
    exponentials = evaluate("exp", scores - largest, unit)
    # the largest exponential is 1: a sum below it comes from lossy converters and is cut off
    share = evaluate("reciprocal", linear.row_sum(exponentials).clamp_min(1.0), unit)
    return exponentials.mul_(share.unsqueeze(-1))


def layer_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    unit: FunctionUnitSpec,
    linear: LinearSubOps,
) -> Tensor:
    """Layer norm over the last axis.

    c = x - (x . 1)/n,  y = c * F:rsqrt((c . c)/n + eps) * weight + bias

    x:            [..., n]
    weight, bias: [n] or None
    Error:        relative error of rsqrt on y - bias, with exact linear sub-operations; c . c below 0 (lossy
                  converters) counts as 0.
    """
    count = x.shape[-1]
    centred = x - divide(linear.row_sum(x), count).unsqueeze(-1)
    scale = evaluate("rsqrt", divide(linear.row_dot(centred).clamp_min(0.0), count) + eps, unit)
    return _scale_and_shift(centred.mul_(scale.unsqueeze(-1)), weight, bias)


def rms_norm(
    x: Tensor, weight: Tensor | None, eps: float, unit: FunctionUnitSpec, linear: LinearSubOps
) -> Tensor:
    """RMS norm over the last axis.

    y = x * F:rsqrt((x . x)/n + eps) * weight

    x:      [..., n]
    weight: [n], the effective one (a model that stores w and means 1 + w passes 1 + w), or None
    Error:  relative error of rsqrt, with an exact row_dot.
    """
    scale = evaluate("rsqrt", divide(linear.row_dot(x).clamp_min(0.0), x.shape[-1]) + eps, unit)
    return _scale_and_shift(x * scale.unsqueeze(-1), weight, None)


def _scale_and_shift(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def gelu(x: Tensor, unit: FunctionUnitSpec, *, approximate: bool = False) -> Tensor:
    """F:gelu, exact (erf) or, if ``approximate``, by tanh (``gelu_new``, ``gelu_pytorch_tanh``)."""
    return evaluate("gelu_tanh" if approximate else "gelu", x, unit)


def silu(x: Tensor, unit: FunctionUnitSpec) -> Tensor:
    """F:silu, x * sigmoid(x)."""
    return evaluate("silu", x, unit)
