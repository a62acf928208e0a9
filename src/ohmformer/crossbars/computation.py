"""The computation crossbar: a product digit by digit, tile by tile, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.crossbars.operands import (
    digit_weights,
    drive,
    output_blocks,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import convert, normal
from ohmformer.devices import draw_mismatch as draw_branch_mismatch
from ohmformer.specs import TileSpec

__all__ = ["ProductResult", "compute", "draw_mismatch"]


@dataclass(frozen=True, kw_only=True)
class ProductResult:
    """A product and what it took.

    values:      [row, column], int64
    conversions: uses of a converter (a pair of bitlines takes one)
    cycles:      one digit of one row on the wordlines of one group, summed over all tiles
    """

    values: Tensor
    conversions: int
    cycles: int


def draw_mismatch(tile: TileSpec, generator: torch.Generator | None) -> Tensor:
    """Relative deviations of the resistors of one physical tile, fixed by location.

    returns: [wordline, bitline], float64, sd ``tile.resistor.mismatch``
    """
    return draw_branch_mismatch(tile.wordlines, tile.bitlines, tile.resistor, generator)


def compute(
    streamed: Tensor,
    resident: Tensor,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    *,
    generator: torch.Generator | None = None,
    mismatch: Tensor | Sequence[Tensor] | None = None,
) -> ProductResult:
    """Multiply two integer matrices on computation crossbars.

    a_{t,g,i,j} = ADC( sum_{k in group g of tile t} d_ki * e_kj * (1 + mismatch) + noise )
    y = sum_t sum_g sum_i sum_j radix^i * c_j * step * a_{t,g,i,j}

    d_i the streamed digits, driven through resistors of several weights; e_j the resident planes with
    weights c_j; noise of sd ``tile.environment_noise`` per conversion (a pair of bitlines is converted as
    one difference), then the converter with its own noise (``devices.convert``).

    streamed: [row, inner], resident: [inner, column], integers of the given bits
    generator: needed if a noise of the tile is above 0
    mismatch:  deviations of the physical tiles as from ``draw_mismatch``, one or several; None: nominal
               resistors. The tile at block (k, n) of the operands is number (k * n_blocks + n) modulo their
               count.
    Error:     none for lossless converters without noise: bit for bit the integer product.
    """
    _check(streamed, resident)
    tiles = [mismatch] if isinstance(mismatch, Tensor) else list(mismatch or ())
    for drawn in tiles:
        if drawn.shape != (tile.wordlines, tile.bitlines):
            raise CrossbarError(
                f"mismatch has shape {tuple(drawn.shape)}: the tile is {tile.wordlines} x {tile.bitlines}."
            )
    rows, columns = streamed.shape[0], resident.shape[1]
    radix_powers = torch.tensor(digit_weights(tile, streamed_bits), dtype=torch.int64)
    planes, weights = resident_planes(resident, resident_bits, tile)
    # [row, inner, digit, resistor] -> [row, digit, inner, resistor]
    driven = drive(streamed_digits(streamed, tile, streamed_bits), tile).transpose(1, 2)
    blocks = output_blocks(columns, tile, resident_bits)
    values = torch.zeros(rows, columns, dtype=torch.int64)
    conversions = cycles = 0
    for group in wordline_groups(streamed.shape[1], tile):
        wires = driven[:, :, group.start : group.stop].flatten(2)  # [row, digit, wordline]
        for n_block, (first, last) in enumerate(blocks):
            physical = tiles[(group.block * len(blocks) + n_block) % len(tiles)] if tiles else None
            switched = planes[:, group.start : group.stop, first:last]
            conductance = _relative_conductance(switched, tile, group.place, physical)
            sums = wires @ conductance.flatten(1)  # [row, digit, column * plane]
            if tile.environment_noise > 0:
                deviate = normal(sums.shape, generator, "environment_noise", sums.dtype)
                sums = sums.add_(deviate, alpha=tile.environment_noise)
            codes = convert(sums, tile.adc, generator).to(torch.int64) * tile.adc.step
            codes = codes.view(rows, len(radix_powers), last - first, len(weights))
            values[:, first:last] += ((codes * weights).sum(-1) * radix_powers[:, None]).sum(1)
            conversions += codes.numel()
            cycles += wires.shape[0] * wires.shape[1]
    return ProductResult(values=values, conversions=conversions, cycles=cycles)


def _relative_conductance(switched: Tensor, tile: TileSpec, place: int, deviations: Tensor | None) -> Tensor:
    """Conductance of each switched branch over its nominal one, with the sign of its bitline.

    switched:   [plane, element, column], -1, 0, 1
    place:      element of the tile at which they start
    deviations: [wordline, bitline] of the physical tile, or None
    returns:    [wordline, column, plane], float64; the wordlines of these elements alone
    """
    resistors = tile.numeral.resistors_per_digit
    count, elements, columns = switched.shape
    states = switched.permute(1, 2, 0).repeat_interleave(resistors, dim=0).double()
    if deviations is None:
        return states
    per_plane = 1 if tile.resident_code == "bits" else 2
    wordline = slice(place * resistors, (place + elements) * resistors)
    here = deviations[wordline, : columns * count * per_plane].unflatten(1, (columns, count, per_plane))
    # a plane at +1 uses the first bitline of its pair, at -1 the last (for bits the only one)
    own = torch.where(states > 0, here[..., 0], here[..., -1])
    return states * (1 + own)


def _check(streamed: Tensor, resident: Tensor) -> None:
    if streamed.ndim != 2 or resident.ndim != 2 or streamed.shape[1] != resident.shape[0]:
        raise CrossbarError(
            f"Operands have shapes {tuple(streamed.shape)} and {tuple(resident.shape)}: "
            "they must be [row, inner] and [inner, column]."
        )
