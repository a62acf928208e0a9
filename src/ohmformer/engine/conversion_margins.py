"""Wires that seldom change a code: which conversions have to be looked at, and with what noise.

Wires leave s·keep of a sum. With step 1 its code stays s while |s|(1 - keep) plus its noise is below 1/2, and
both are small nearly everywhere. A byte of each conversion says to which of CLASSES size classes its noise
belongs (``conversion_law.class_sizes``). With z the largest of a class, and sd the largest of the tile,

    |s| + nearer[class] <= limit[plane, column] <= (1/2 - z·sd)/(1 - keep) + nearer[class]

keeps the code whatever the deviate is. All others are looked at: they draw their deviate within the class
(``deviate_sizes``) and are computed with their own sd. Noise above the largest z of the first class is listed
beforehand for conversions that keep their code in every class (``wrong_conversions.draw_events``).

Error: 64 bytes of a row, group and digit serve all its planes, turned for each so that no output meets one
twice. Each conversion has its exact law, and outputs their exact means and variances; but where two
conversions of different columns share a byte, the covariance of their errors is up to
P(wrong)·P(wrong')·255 instead of 0.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.engine.conversion_law import CLASSES, POINTS, class_sizes, deviate_sizes
from ohmformer.engine.conversion_plan import WIDTH, ConversionPlan
from ohmformer.engine.conversion_words import alone_words, byte_of, turned_bytes
from ohmformer.engine.randomness import Draw
from ohmformer.numerals import on_host

ALONE = 4  # stream of an operation
LARGEST_LIMIT = 126  # so that a sum that 8 bits cut is looked at


@lru_cache(maxsize=64)
@on_host
def wire_limits(plan: ConversionPlan, keep: Tensor) -> tuple[Tensor, Tensor]:
    """limit [plane, column] and nearer [class], int64; keep as ``wire_factors``, columns filled up.

    What a class takes off is taken from the bitline that loses most, so that the others have a lower limit
    than they might.
    """
    loss = 1 - keep.double() / 2**15
    sizes = torch.tensor(class_sizes(), dtype=torch.float64)[:, None, None]
    exact = ((0.5 - sizes * plan.worst_sd) / loss).floor().clamp(0, LARGEST_LIMIT)
    worst = exact[:, keep > 0].amin(1)
    nearer = worst[-1] - worst
    limits = (exact + nearer[:, None, None]).amin(0).masked_fill(keep == 0, LARGEST_LIMIT)
    return limits.to(torch.int64), nearer.to(torch.int64)


def byte_limits(limits: Tensor) -> Tensor:
    """[plane, column], uint8, in the order of bytes in the kernels."""
    blocks = limits.to(torch.uint8).view(len(limits), -1, WIDTH)
    ordered = torch.empty_like(blocks)
    ordered[..., byte_of(torch.arange(WIDTH, device=limits.device))] = blocks
    return ordered.flatten(1).contiguous()


def found_alone(
    plan: ConversionPlan, sums: Tensor, limits: tuple[Tensor, Tensor], draw: Draw, slot: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Conversions to be looked at among the sums [row, plane, column] of one group and digit.

    returns: row, plane, column, deviate
    """
    columns = sums.shape[-1]
    limit, nearer = (part.to(sums.device) for part in limits)
    classes = turned_bytes(draw, slot, plan.planes, columns).view(torch.uint8).long().clamp_(max=CLASSES - 1)
    row, plane, column = (sums.abs() + nearer[classes] > limit[:, :columns]).nonzero(as_tuple=True)
    words = alone_words(draw.sub(ALONE), row, slot + plane, column)
    own = classes[row, plane, column]
    each = POINTS // CLASSES
    last = own == CLASSES - 1
    place = torch.where(last, words & (POINTS - 1), POINTS + own * each + (words & (each - 1)))
    z = deviate_sizes().to(sums.device).flatten()[place].double()
    return row, plane, column, torch.where(words >> 31 == 1, -z, z)


__all__ = ["ALONE", "byte_limits", "found_alone", "wire_limits"]
