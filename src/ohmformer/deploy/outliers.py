"""The few largest elements of a streamed row, sent in a pass of their own.

A row of activations whose largest element is far above the others spends its codes on that element. The
``count`` largest elements are therefore coded alone (zeros elsewhere) with a scale of their own, and what
their codes leave over stays with the rest:

    x = outliers + rest,   x . w = outliers . w + rest . w

Both passes meet the same resident operand, so nothing is stored twice, no weight changes and no calibration
is needed; any product of any model can be run so. The second pass drives only tiles that hold one of the
elements: at most ``count`` of them.

Source: the split of large features from the rest is that of Dettmers et al., "LLM.int8()", arXiv 2208.07339,
with int8 in both parts; choosing them for each row, and leaving their rounding errors with the rest, is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.numerals import divide, max_code

MAX_OUTLIERS = 64


def split_outliers(values: Tensor, count: int, bits: int) -> tuple[Tensor, Tensor]:
    """Rest and outliers of each row; their sum is the row (up to float rounding).

    outliers = s . round(x / s) on the ``count`` largest |x|, s = max|x| / (2^(bits-1) - 1); 0 elsewhere

    values:  [..., row, inner], floating point
    returns: two tensors like ``values``
    Error:   coded with ``bits`` each, the sum is off by at most half a step of the rest,
             max|rest| / (2^bits - 2).
    """
    if count < 1:
        raise ValueError(f"count is {count}: at least one element is split off.")
    if values.is_meta:
        return values, values
    place = values.abs().topk(min(count, values.shape[-1]), dim=-1).indices
    largest = values.gather(-1, place)
    highest = max_code(bits)
    step = divide(largest.abs().amax(-1, keepdim=True), highest)
    step = torch.where(step > 0, step, torch.ones_like(step))
    coded = torch.div(largest, step).round_().clamp_(-highest, highest).mul_(step)
    outliers = torch.zeros_like(values).scatter_(-1, place, coded)
    return values - outliers, outliers


def outlier_inner(inner: int, count: int, tile_elements: int) -> int:
    """Elements that the pass of outliers drives at most: those of the tiles that hold one."""
    return min(inner, count * tile_elements)
