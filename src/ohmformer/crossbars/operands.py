"""Operands as a computation crossbar sees them: digits that stream, planes that reside, and their places.

Places in a tile: resistor r of element k is wordline k * resistors_per_digit + r. Plane j of output n is
bitline n * bits + j (``bits``), or the pair of bitlines (n * planes + j) * 2 and the next, for +1 and -1
(``digits``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.numerals import BalancedNumeral, ResistorCode, bit_weights, digits_for_bits, to_bits
from ohmformer.specs import TileSpec

__all__ = [
    "Group",
    "digit_weights",
    "drive",
    "output_blocks",
    "plane_weights",
    "resident_planes",
    "resistor_weights",
    "streamed_digits",
    "wordline_groups",
]


def _numeral(tile: TileSpec, bits: int) -> BalancedNumeral:
    radix = tile.numeral.radix
    return BalancedNumeral(radix, digits_for_bits(radix, bits))


def digit_weights(tile: TileSpec, bits: int) -> tuple[int, ...]:
    """Weight radix^i of each streamed digit, by digit_index."""
    return _numeral(tile, bits).weights


def streamed_digits(values: Tensor, tile: TileSpec, bits: int) -> Tensor:
    """Balanced digits of a streamed operand, least significant first.

    values:  [...], integers of ``bits`` bits
    returns: [..., digit], integers of magnitude <= (radix - 1)/2
    """
    return _numeral(tile, bits).encode(values)


def drive(digits: Tensor, tile: TileSpec) -> Tensor:
    """What each wordline drives, in unit currents: polarity times the weight of its resistor.

    digits:  [...]
    returns: [..., resistor], float64; its sum over resistors is the digit
    """
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    weights = torch.tensor(code.weights, dtype=torch.float64, device=digits.device)
    return code.switch_states(digits).double() * weights


def resistor_weights(tile: TileSpec) -> tuple[int, ...]:
    """Units w_r of each resistor of an element, in the order of its wordlines."""
    return ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights


def plane_weights(tile: TileSpec, bits: int) -> tuple[int, ...]:
    """Weight c_j of each resident plane.

    ``bits``: the two's complement weights, the top one negative; ``digits``: radix^m * w_r, resistors of a
    digit first.
    """
    if tile.resident_code == "bits":
        return bit_weights(bits)
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    return tuple(power * weight for power in digit_weights(tile, bits) for weight in code.weights)


def resident_planes(values: Tensor, bits: int, tile: TileSpec) -> tuple[Tensor, Tensor]:
    """Switch planes of a resident operand; values = sum_j c_j * plane_j.

    values:  [..., inner, column], integers of ``bits`` bits
    returns: planes [plane, ..., inner, column], int8, of 0 and 1 (``bits``) or -1, 0, 1 (``digits``);
             weights [plane], int64, as ``plane_weights``
    """
    if tile.resident_code == "bits":
        planes = to_bits(values, bits)
    else:
        code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
        planes = code.switch_states(streamed_digits(values, tile, bits)).flatten(-2)
    weights = torch.tensor(plane_weights(tile, bits), dtype=torch.int64, device=values.device)
    return planes.movedim(-1, 0), weights


@dataclass(frozen=True, kw_only=True)
class Group:
    """Elements of the inner axis whose wordlines are driven at once.

    block:       which tile of the inner axis they lie in
    start, stop: bounds along the inner axis
    place:       element of the tile at which they start
    """

    block: int
    start: int
    stop: int
    place: int


def wordline_groups(inner: int, tile: TileSpec) -> list[Group]:
    """Groups of an inner axis: tiles in order, a tile's groups in order, the last of each may be short."""
    groups = []
    for block, first in enumerate(range(0, inner, tile.elements)):
        last = min(first + tile.elements, inner)
        for start in range(first, last, tile.group_elements):
            stop = min(start + tile.group_elements, last)
            groups.append(Group(block=block, start=start, stop=stop, place=start - first))
    return groups


def output_blocks(columns: int, tile: TileSpec, bits: int) -> list[tuple[int, int]]:
    """Bounds of the columns that share a tile."""
    width = tile.outputs(bits)
    if width < 1:
        raise CrossbarError(
            f"The tile has {tile.bitlines} bitlines: one {bits}-bit resident operand needs "
            f"{tile.bitlines_per_output(bits)}."
        )
    return [(start, min(start + width, columns)) for start in range(0, columns, width)]
