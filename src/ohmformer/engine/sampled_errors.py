"""The exact errors of sampled columns in C++: what ``statistical`` computes in torch, the same bits.

Sums over conversions are whole multiples of the unit of the table of errors, below 2^53 units, so that no
order of adding changes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ohmformer.crossbars import (
    digit_weights,
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.engine.conversion_moments import MANTISSA, ConversionTable, conversion_table
from ohmformer.engine.native import kernels, threads
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import TileSpec

LARGEST_SUM = (1 << 15) - 1  # of digits + reach times switch states, in 16 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleTables:
    """What the kernel looks up for the codes -128 ... 127 and for a conversion.

    bounds: [group, 2] of the inner axis; weights: [digit, plane]; outputs: of one tile
    digit:  [digit, code] uint8, digit + reach; power: the same of the branch power, None without mismatch
    states: [code, plane] int8 switch states
    errors: [circumstance·sum, 2] float32, mean and variance (see ``ConversionTable``)
    """

    bounds: Tensor
    digit: Tensor
    power: Tensor | None
    states: Tensor
    errors: Tensor
    weights: Tensor
    table: ConversionTable
    reach: int
    outputs: int


@lru_cache(maxsize=128)
@on_host
def sample_tables(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int) -> SampleTables | None:
    """The tables of one shape of product; None where the numbers do not fit the kernel."""
    if max(streamed_bits, resident_bits) > 8 or inner < 1:
        return None
    groups = wordline_groups(inner, tile)
    table = conversion_table(tile, len(groups))
    reach = tile.numeral.max_digit
    codes, most = torch.arange(-128, 128), (1 << (streamed_bits - 1)) - 1
    digits = streamed_digits(codes.clamp(-most, most), tile, streamed_bits).T.contiguous()
    low = -(1 << (resident_bits - 1)) + (tile.resident_code == "digits")
    held = codes.clamp(low, (1 << (resident_bits - 1)) - 1)
    states, _ = resident_planes(held.unsqueeze(0), resident_bits, tile)
    states = states.squeeze(1).T.contiguous()
    weights = torch.outer(
        torch.tensor(digit_weights(tile, streamed_bits), dtype=torch.float64),
        torch.tensor(plane_weights(tile, resident_bits), dtype=torch.float64),
    )
    size, largest = max(g.stop - g.start for g in groups), int(states.abs().max())
    power = None
    if table.levels > 1:
        power = drive(digits, tile).square().sum(-1)
        if int(power.max()) > 255 or largest > 11 or size * int(power.max()) * largest**2 > LARGEST_SUM:
            return None
    # a sum over all groups is at most 2^MANTISSA units of the table, rounded up
    exact = float(weights.square().sum()) * 2 ** (MANTISSA + 1) < 2**53
    fits = reach <= 127 and (size + 1) * 2 * reach * largest <= LARGEST_SUM and len(table.mean) < 1 << 31
    if not (exact and fits):
        return None
    return SampleTables(
        bounds=torch.tensor([(group.start, group.stop) for group in groups]),
        digit=(digits + reach).to(torch.uint8),
        power=None if power is None else power.to(torch.uint8).contiguous(),
        states=states.to(torch.int8).contiguous(),
        errors=torch.stack((table.mean, table.variance), 1).contiguous(),
        weights=weights.contiguous(),
        table=table,
        reach=reach,
        outputs=tile.outputs(resident_bits),
    )


def sample_kernel(tables: SampleTables | None) -> Any | None:
    """The kernel, if there is one and it can take the numbers."""
    native = kernels() if tables is not None else None
    return None if native is None else native._calls.sample_errors


def sampled_errors(
    tables: SampleTables,
    streamed: Tensor,
    codes: Tensor,
    ids: Tensor,
    order: Tensor,
    starts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean and variance [row, column], float64, of the error of sampled outputs.

    streamed: [row, inner], whole numbers
    codes:    [set, column, inner] of the resident operand; ids: [set, column] their numbers
    order:    [row] rows, set by set; starts: [set + 1] where the rows of a set start in it
    """
    sets, columns, inner = codes.shape
    table, planes = tables.table, tables.states.shape[1]
    first = torch.full((sets, columns, planes), table.sums // 2, dtype=torch.int32, device=HOST)
    if int(table.loss_level[-1]) > 0:
        place = (ids[..., None] % tables.outputs) * planes + torch.arange(planes, device=HOST)
        first += (table.loss_level[place] * (table.levels * table.sums)).to(torch.int32)
    x, codes = streamed.to(torch.int8).contiguous(), codes.to(torch.int8).contiguous()
    order, starts = order.contiguous(), starts.contiguous()
    mean = torch.empty(len(x), columns, dtype=torch.float64, device=HOST)
    variance = torch.empty_like(mean)
    sample_kernel(tables)(  # type: ignore[misc]  # asked for before
        x.data_ptr(), inner, sets, columns, order.data_ptr(), starts.data_ptr(), codes.data_ptr(),
        first.data_ptr(), tables.bounds.data_ptr(), len(tables.bounds), len(tables.digit), planes,
        tables.digit.data_ptr(), tables.states.data_ptr(), tables.reach, tables.errors.data_ptr(),
        tables.weights.data_ptr(), 0 if tables.power is None else tables.power.data_ptr(),
        table.branches, table.sums, mean.data_ptr(), variance.data_ptr(), threads(),
    )  # fmt: skip
    return mean, variance
