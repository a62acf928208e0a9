"""Mean and variance of a product on computation crossbars with lossless converters, in closed form.

Wires and nonlinearity, which move the level off the whole number, are refused here.

A conversion sees the whole number s plus a normal deviation of variance

    v = environment_noise^2 + adc.noise^2 + mismatch^2 * sum_{k, r} (w_r * state_kr * e_kj)^2

(the last term: every switched-on branch of weight w_r is off by a share of sd ``mismatch``), and returns
s + error, error of variance V(v) as in devices.rounding_error_variance. The product weighs the error by
radix^i * c_j. Errors of different conversions are independent, hence

    Var y = sum over groups, i, j of (radix^i * c_j)^2 * V(v)

Two things are left out. Mismatch is fixed: two digits of one element meet the same resistor, and so do two
tiles of the inner axis that are executed by one physical tile. The covariance is proportional to the
product of their driven states, whose mean is 0 for operands without a preferred sign: it spreads the
variance from output to output and leaves its mean. And codes beyond max_code clip: sums near the largest
are pulled in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.crossbars.operands import (
    digit_weights,
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import rounding_error_mean, rounding_error_variance, static_deviation
from ohmformer.specs import TileSpec

__all__ = ["additive_mean", "additive_variance", "mean_squares", "noise_variance", "product_variance"]


def additive_mean(tile: TileSpec, inner: int, streamed_bits: int, resident_bits: int) -> float:
    """Mean of y - exact under additive noise alone.

    mean = groups * sum_i radix^i * sum_j c_j * m,  m = 0 for rounding to nearest, -1/2 for ``floor``
    """
    _require_lossless(tile)
    mean = float(rounding_error_mean(_additive_sd(tile), tile.adc.rounding))
    weight = sum(digit_weights(tile, streamed_bits)) * sum(plane_weights(tile, resident_bits))
    return len(wordline_groups(inner, tile)) * weight * mean


def additive_variance(tile: TileSpec, inner: int, streamed_bits: int, resident_bits: int) -> float:
    """Variance of every output under additive noise alone (no mismatch).

    Var y = groups * sum_i radix^2i * sum_j c_j^2 * V(environment_noise^2 + adc.noise^2)

    Error: none where no sum clips.
    """
    _require_lossless(tile)
    return (
        len(wordline_groups(inner, tile))
        * _sum_of_squares(digit_weights(tile, streamed_bits))
        * _sum_of_squares(plane_weights(tile, resident_bits))
        * float(rounding_error_variance(_additive_sd(tile), tile.adc.rounding))
    )


def mean_squares(
    streamed: Tensor, resident: Tensor, tile: TileSpec, streamed_bits: int, resident_bits: int
) -> tuple[Tensor, Tensor]:
    """What ``noise_variance`` needs to know of the operands.

    returns: [digit], mean over elements of sum_r (w_r * state_r)^2;  [plane], mean of e_j^2
    """
    driven = drive(streamed_digits(streamed, tile, streamed_bits), tile)
    planes, _ = resident_planes(resident, resident_bits, tile)
    digit_squares = driven.square().sum(-1).flatten(0, -2).mean(0)
    return digit_squares, planes.double().square().flatten(1).mean(1)


def noise_variance(
    tile: TileSpec,
    inner: int,
    streamed_bits: int,
    resident_bits: int,
    *,
    digit_squares: Tensor,
    plane_squares: Tensor,
) -> float:
    """Variance of an output under additive noise and mismatch, from mean squares of the operands.

    As above with  sum_{k, r} (w_r * state_kr * e_kj)^2  replaced by its mean over operands,
    elements of the group * digit_squares_i * plane_squares_j.

    digit_squares: [digit], plane_squares: [plane], as from ``mean_squares``
    Error:         V is not linear below a deviation of about 0.5: the replacement then errs by
                   V''/2 * Var(sum); see also the head of this file.
    """
    _require_lossless(tile)
    sizes = torch.tensor([g.stop - g.start for g in wordline_groups(inner, tile)], dtype=torch.float64)
    branches = sizes[:, None, None] * digit_squares[:, None] * plane_squares
    variance = rounding_error_variance(_sd(tile, branches), tile.adc.rounding)
    return float((variance * _squared_weights(tile, streamed_bits, resident_bits)).sum())


def product_variance(
    streamed: Tensor, resident: Tensor, tile: TileSpec, streamed_bits: int, resident_bits: int
) -> Tensor:
    """Variance of each output for given operands, over additive noise and over draws of mismatch.

    streamed: [row, inner], resident: [inner, column]
    returns:  [row, column], float64
    Error:    exact where each streamed element has one non-zero digit and no two tiles of the inner axis
              share a physical tile; otherwise see the head of this file.
    """
    _require_lossless(tile)
    squares = drive(streamed_digits(streamed, tile, streamed_bits), tile).square().sum(-1).transpose(1, 2)
    planes, _ = resident_planes(resident, resident_bits, tile)
    switched = planes.double().square()
    weights = _squared_weights(tile, streamed_bits, resident_bits)
    total = torch.zeros(streamed.shape[0], resident.shape[1], dtype=torch.float64)
    for group in wordline_groups(streamed.shape[1], tile):
        branches = torch.einsum(
            "tik,jkn->tijn", squares[:, :, group.start : group.stop], switched[:, group.start : group.stop]
        )
        variance = rounding_error_variance(_sd(tile, branches), tile.adc.rounding)
        total += torch.einsum("tijn,ij->tn", variance, weights)
    return total


def _additive_sd(tile: TileSpec) -> float:
    """Deviation ahead of the rounding, in codes (the step is 1)."""
    return math.hypot(tile.environment_noise, tile.adc.noise)


def _sd(tile: TileSpec, branches: Tensor) -> Tensor:
    return (_additive_sd(tile) ** 2 + tile.resistor.mismatch**2 * branches).sqrt()


def _squared_weights(tile: TileSpec, streamed_bits: int, resident_bits: int) -> Tensor:
    """(radix^i * c_j)^2, [digit, plane]."""
    digits = torch.tensor(digit_weights(tile, streamed_bits), dtype=torch.float64)
    planes = torch.tensor(plane_weights(tile, resident_bits), dtype=torch.float64)
    return torch.outer(digits, planes).square()


def _sum_of_squares(weights: tuple[int, ...]) -> int:
    return sum(weight * weight for weight in weights)


def _require_lossless(tile: TileSpec) -> None:
    if not tile.lossless:
        raise CrossbarError("The converter loses information: its errors have no closed form here.")
    if static_deviation(tile) > 0:
        raise CrossbarError(
            "Wires or nonlinearity move the levels off the whole numbers: there is no closed form here."
        )
