"""What is known of a stored operand for its statistical products: how differently its columns err.

Planes above the size of a column's codes equal their sign: they err together, and the weights of two's
complement cancel. So columns with few large codes and many small ones err little beside others.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.engine.collapsed import integer_product
from ohmformer.engine.digit_serial import digit_serial_product, pack_switches
from ohmformer.engine.randomness import Draw, deviates, random_words
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import TileSpec

CALIBRATION = 64  # rows from which the spread of columns is found, once for a stored operand
TYPICAL = 0x7A9C  # seed of these rows


def row_totals(resident: Tensor | ResidentCodes) -> Tensor:
    """[inner], float64: sum over the columns; of stored codes as they were stored."""
    if not isinstance(resident, ResidentCodes):
        return resident.sum(-1, dtype=torch.float64)
    place = ("totals",)
    if place not in resident.cache:
        resident.cache[place] = resident.stored().sum(0, dtype=torch.float64)
    found: Tensor = resident.cache[place]
    return found


def column_spread(resident: ResidentCodes, tile: TileSpec, streamed_bits: int, resident_bits: int) -> Tensor:
    """[column], float32: the part of each column in the variance of errors, mean 1, as it was stored.

    Every conversion of CALIBRATION rows of normal codes is computed, with noise; in each row a line in the
    exact product is taken off, and m_n is the mean over rows of the square of what is left. Its variance over
    the columns is that of what columns are and that of a mean of so few rows, which is known from the rows:

        spread_n = 1 + reliability·(m_n/mean - 1),   reliability = max(0, 1 - mean_n Var(m_n) / Var_n(m_n))
    """
    place = ("spread", tile, streamed_bits)
    if place not in resident.cache:
        resident.cache[place] = _spread(resident, tile, streamed_bits, resident_bits).to(resident.device)
    found: Tensor = resident.cache[place]
    return found


@lru_cache(maxsize=64)
@on_host
def _typical_rows(inner: int, bits: int) -> Tensor:
    """[CALIBRATION, inner], float32: normal numbers quantised, the largest of each row the largest code."""
    blocks = -(-inner // 4)
    z = deviates(random_words(TYPICAL, inner, torch.arange(CALIBRATION), blocks))[:, :inner]
    highest = (1 << (bits - 1)) - 1
    return (z * (highest / z.abs().amax(-1, keepdim=True))).round_()


def _spread(resident: ResidentCodes, tile: TileSpec, streamed_bits: int, resident_bits: int) -> Tensor:
    streamed, codes = _typical_rows(resident.shape[1], streamed_bits), resident.stored().cpu()
    draw = Draw(seed=TYPICAL, stream=1, keys=torch.arange(CALIBRATION, device=HOST))
    right = codes.t().float()
    made = digit_serial_product(
        streamed, pack_switches(codes, tile, resident_bits), tile, streamed_bits, resident_bits, draw
    )
    y = integer_product(streamed, right, streamed_bits, resident_bits).double()
    error = made.double() - y
    away, off = y - y.mean(-1, keepdim=True), error - error.mean(-1, keepdim=True)
    slope = (away * off).sum(-1, keepdim=True) / away.square().sum(-1, keepdim=True).clamp_min(1e-300)
    square = (off - slope * away).square_()
    mean = square.mean(0)
    whole, between = float(mean.mean()), float(mean.var())
    if whole == 0 or between == 0:
        return torch.ones(len(codes), device=HOST)
    known = max(0.0, 1 - float(square.var(0).mean()) / CALIBRATION / between)
    return (1 + known * (mean / whole - 1)).float()


__all__ = ["CALIBRATION", "column_spread", "row_totals"]
