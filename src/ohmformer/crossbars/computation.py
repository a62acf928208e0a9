"""The computation crossbar: a product digit by digit, tile by tile, group by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.crossbars.operands import (
    Group,
    digit_weights,
    drive,
    output_blocks,
    resident_planes,
    resistor_weights,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import (
    branch_conductance,
    convert,
    effective_conductance,
    loaded_conductance,
    normal,
    wire_attenuation,
)
from ohmformer.devices import draw_mismatch as draw_branch_mismatch
from ohmformer.specs import TileSpec

__all__ = ["ProductResult", "WireModel", "compute", "draw_mismatch"]

WireModel = Literal["closed_form", "loaded", "nodal"]


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
    wires: WireModel = "closed_form",
) -> ProductResult:
    """Multiply two integer matrices on computation crossbars.

    a_{t,g,i,j} = ADC( (1 - loss) * sum_{k in group g of tile t} d_ki * e_kj * (1 + mismatch) + noise )
    y = sum_t sum_g sum_i sum_j radix^i * c_j * step * a_{t,g,i,j}

    d_i the streamed digits, driven through resistors of several weights; e_j the resident planes with
    weights c_j; loss the share of its sum that the bitline of plane j and output n loses in the wires
    (``devices.wire_attenuation``; 0 without wire resistance); noise of sd ``tile.environment_noise`` per
    conversion (a pair of bitlines is converted as one difference), then the converter with its own
    nonlinearity and noise (``devices.convert``).

    streamed: [row, inner], resident: [inner, column], integers of the given bits
    generator: needed if a noise of the tile is above 0
    mismatch:  deviations of the physical tiles as from ``draw_mismatch``, one or several; None: nominal
               resistors. The tile at block (k, n) of the operands is number (k * n_blocks + n) modulo their
               count.
    wires:     ``closed_form`` as above, or ``nodal``: (1 - loss) * e_kj * (1 + mismatch) is replaced by
               the exact effective conductances of each loaded tile (``devices.effective_conductance``; some
               hundred tiles of 128 x 128 a second). ``loaded`` takes their closed form instead, which knows
               the closed switches (``devices.loaded_conductance``). Only matters with wire resistance.
    Error:     none without noise, wires and nonlinearity where converters lose nothing: the integer product.
    """
    _check(streamed, resident)
    if wires not in get_args(WireModel):
        raise CrossbarError(f"wires is {wires!r}: allowed are {', '.join(get_args(WireModel))}.")
    tiles = [mismatch] if isinstance(mismatch, Tensor) else list(mismatch or ())
    for drawn in tiles:
        if drawn.shape != (tile.wordlines, tile.bitlines):
            raise CrossbarError(
                f"mismatch has shape {tuple(drawn.shape)}: the tile is {tile.wordlines} x {tile.bitlines}."
            )
    rows, columns = streamed.shape[0], resident.shape[1]
    device = streamed.device
    radix_powers = torch.tensor(digit_weights(tile, streamed_bits), dtype=torch.int64, device=device)
    planes, weights = resident_planes(resident, resident_bits, tile)
    # [row, inner, digit, resistor] -> [row, digit, inner, resistor]
    driven = drive(streamed_digits(streamed, tile, streamed_bits), tile).transpose(1, 2)
    blocks = output_blocks(columns, tile, resident_bits)
    values = torch.zeros(rows, columns, dtype=torch.int64, device=device)
    conversions = cycles = 0
    groups = wordline_groups(streamed.shape[1], tile)
    by_tile = tile.resistor.wire_resistance_ohm > 0 and wires != "closed_form"

    def physical_tile(block: int, n_block: int) -> Tensor | None:
        return tiles[(block * len(blocks) + n_block) % len(tiles)] if tiles else None

    solved = _effective(planes, tile, groups, blocks, physical_tile, wires) if by_tile else {}
    for group in groups:
        voltages = driven[:, :, group.start : group.stop].flatten(2)  # [row, digit, wordline]
        for n_block, (first, last) in enumerate(blocks):
            if by_tile:
                place = (group.block, n_block)
                wordlines = group.place * tile.numeral.resistors_per_digit
                sums = voltages @ solved[place][wordlines : wordlines + voltages.shape[-1]]
            else:
                switched = planes[:, group.start : group.stop, first:last]
                physical = physical_tile(group.block, n_block)
                sums = _bitline_sums(voltages, switched, tile, group.place, physical)
            if tile.environment_noise > 0:
                deviate = normal(sums.shape, generator, "environment_noise", sums.dtype).to(device)
                sums = sums.add_(deviate, alpha=tile.environment_noise)
            codes = convert(sums, tile.adc, generator).to(torch.int64) * tile.adc.step
            codes = codes.view(rows, len(radix_powers), last - first, len(weights))
            values[:, first:last] += ((codes * weights).sum(-1) * radix_powers[:, None]).sum(1)
            conversions += codes.numel()
            cycles += voltages.shape[0] * voltages.shape[1]
    return ProductResult(values=values, conversions=conversions, cycles=cycles)


def _bitline_sums(
    voltages: Tensor, switched: Tensor, tile: TileSpec, place: int, deviations: Tensor | None
) -> Tensor:
    """Sums of the bitlines (or pairs of them) of some columns, less what closed-form wires take.

    voltages: [row, digit, wordline], the units that each wordline drives
    switched: [plane, element, column], as in ``_relative_conductance``
    returns:  [row, digit, column * plane], float64, unit currents
    """
    conductance = _relative_conductance(switched, tile, place, deviations).flatten(1)
    if tile.resistor.wire_resistance_ohm == 0:
        return voltages @ conductance
    keep = 1 - wire_attenuation(tile)
    if tile.resident_code == "bits":
        return (voltages @ conductance) * keep[: conductance.shape[1]]
    # the two bitlines of a pair lose shares of their own before one is taken from the other
    plus = _states(switched, tile).flatten(1) > 0
    first, second = keep[: 2 * conductance.shape[1]].view(-1, 2).unbind(1)
    return (voltages @ conductance.where(plus, 0.0)) * first + (
        voltages @ conductance.where(~plus, 0.0)
    ) * second


def _states(switched: Tensor, tile: TileSpec) -> Tensor:
    """Switch states by wordline: [plane, element, column] -> [wordline, column, plane], float64."""
    return switched.permute(1, 2, 0).repeat_interleave(tile.numeral.resistors_per_digit, dim=0).double()


def _relative_conductance(switched: Tensor, tile: TileSpec, place: int, deviations: Tensor | None) -> Tensor:
    """Conductance of each switched branch over its nominal one, with the sign of its bitline.

    switched:   [plane, element, column], -1, 0, 1
    place:      element of the tile at which they start
    deviations: [wordline, bitline] of the physical tile, or None
    returns:    [wordline, column, plane], float64; the wordlines of these elements alone
    """
    states = _states(switched, tile)
    if deviations is None:
        return states
    resistors = tile.numeral.resistors_per_digit
    count, elements, columns = switched.shape
    per_plane = 1 if tile.resident_code == "bits" else 2
    wordline = slice(place * resistors, (place + elements) * resistors)
    here = deviations[wordline, : columns * count * per_plane].unflatten(1, (columns, count, per_plane))
    # a plane at +1 uses the first bitline of its pair, at -1 the last (for bits the only one)
    own = torch.where(states > 0, here[..., 0], here[..., -1])
    return states * (1 + own)


def _effective(
    planes: Tensor,
    tile: TileSpec,
    groups: Sequence[Group],
    blocks: Sequence[tuple[int, int]],
    physical_tile: Callable[[int, int], Tensor | None],
    wires: WireModel,
) -> dict[tuple[int, int], Tensor]:
    """Effective conductance over the nominal one of each wordline to each bitline, or pair of bitlines.

    planes:  [plane, inner, column]
    returns: [wordline, column * plane], float64, of each tile by block of the inner axis and of the outputs
    """
    places = [(block, n) for block in sorted({group.block for group in groups}) for n in range(len(blocks))]
    loaded = [
        planes[:, block * tile.elements : (block + 1) * tile.elements, slice(*blocks[n])]
        for block, n in places
    ]
    cells_S = torch.stack(
        [
            _cells_S(switched, tile, physical_tile(*place))
            for place, switched in zip(places, loaded, strict=True)
        ]
    )
    solve = effective_conductance if wires == "nodal" else loaded_conductance
    effective = solve(cells_S, tile.resistor.wire_resistance_ohm)
    weights = torch.tensor(resistor_weights(tile), dtype=torch.float64)
    nominal = weights.repeat(tile.elements)[:, None] * branch_conductance(1, tile.resistor)
    found = {}
    for place, switched, tile_S in zip(places, loaded, effective, strict=True):
        wordlines = switched.shape[1] * len(weights)
        relative = tile_S[:wordlines] / nominal[:wordlines]
        width = switched.shape[0] * switched.shape[2]
        if tile.resident_code == "bits":
            found[place] = relative[:, :width]
        else:
            found[place] = relative[:, 0 : 2 * width : 2] - relative[:, 1 : 2 * width : 2]
    return found


def _cells_S(switched: Tensor, tile: TileSpec, deviations: Tensor | None) -> Tensor:
    """Conductances of the cells of a loaded tile, [wordline, bitline], float64; 0 where it is open.

    switched: [plane, element, column], all elements that the tile holds
    """
    conductance = _relative_conductance(switched, tile, 0, deviations).flatten(1)
    units = torch.tensor(resistor_weights(tile), dtype=torch.float64).repeat(switched.shape[1])[:, None]
    unit_S = branch_conductance(1, tile.resistor)
    cells_S = torch.zeros(tile.wordlines, tile.bitlines, dtype=torch.float64)
    used = cells_S[: conductance.shape[0]]
    if tile.resident_code == "bits":
        used[:, : conductance.shape[1]] = units * conductance * unit_S
        return cells_S
    plus = _states(switched, tile).flatten(1) > 0
    width = 2 * conductance.shape[1]
    used[:, 0:width:2] = units * conductance.where(plus, 0.0) * unit_S
    used[:, 1:width:2] = -units * conductance.where(~plus, 0.0) * unit_S
    return cells_S


def _check(streamed: Tensor, resident: Tensor) -> None:
    if streamed.ndim != 2 or resident.ndim != 2 or streamed.shape[1] != resident.shape[0]:
        raise CrossbarError(
            f"Operands have shapes {tuple(streamed.shape)} and {tuple(resident.shape)}: "
            "they must be [row, inner] and [inner, column]."
        )
