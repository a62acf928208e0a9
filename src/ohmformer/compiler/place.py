"""Where operands lie: stored words in dense banks, blocks of products on tiles."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ohmformer.errors import UserError
from ohmformer.ir import Product
from ohmformer.specs import ChipSpec, DenseSpec

__all__ = [
    "BankRange",
    "DensePlan",
    "ProductShape",
    "TileNumbers",
    "TileShare",
    "dense_symbols",
    "place_stored",
    "product_shape",
    "shape_of",
    "share_of_tile",
    "tile_numbers",
]


def dense_symbols(words: int, bits: int, dense: DenseSpec) -> int:
    """Cells that hold ``words`` words: words x ceil(bits / bits of a cell)."""
    return words * -(-bits // dense.cell.bits)


class TileNumbers(NamedTuple):
    """What of a chip decides how a product lies on its tiles.

    elements, group_elements: streamed elements that fit a tile, and that are driven at once
    lines, conversions:       of one resident column: a weight, an activation, ones
    moved:                    bits of a resident word as it is moved, for the three
    """

    elements: int
    group_elements: int
    bitlines: int
    digits: int
    tiles: int
    tiles_per_cluster: int
    lines: tuple[int, int, int]
    conversions: tuple[int, int, int]
    moved: tuple[int, int, int]


_KIND = {"weight": 0, "activation": 1, "constant": 2}


def tile_numbers(chip: ChipSpec, tiles_per_cluster: int) -> TileNumbers:
    """The numbers of ``chip``; the ones of a sum need one bitline (or one pair), not a word."""
    tile, precision = chip.tile, chip.precision
    weight, activation = precision.weight_bits, precision.activation_bits
    lines = (tile.bitlines_per_output(weight), tile.bitlines_per_output(activation))
    bits = tile.resident_code == "bits"
    each = 1 if bits else 2
    return TileNumbers(
        elements=tile.elements,
        group_elements=tile.group_elements,
        bitlines=tile.bitlines,
        digits=tile.numeral.digits_for(activation),
        tiles=chip.tile_count,
        tiles_per_cluster=tiles_per_cluster,
        lines=(*lines, each),
        conversions=(lines[0] // each, lines[1] // each, 1),
        moved=(weight, activation, 0),
    )


class ProductShape(NamedTuple):
    """How a product lies on the tiles.

    digits:                 cycles of one streamed value
    operand_bits:           bits of a resident word as it is moved
    lines_per_output:       bitlines of one resident column
    conversions_per_output: conversions of one resident column, per digit and group: one per bitline, or
                            one per pair where the resident operand is in balanced digits (the pair's
                            currents are subtracted before the converter)
    row_tiles:              tiles along the inner dimension, ceil(inner / elements of a tile)
    column_blocks:          tiles along the columns, ceil(columns / outputs of a tile)
    groups:                 groups of simultaneously active wordlines, over all row tiles
    groups_of_tile:         groups of the fullest tile
    blocks:                 resident blocks, row_tiles x column_blocks (x batch for activations)
    rows_per_block:         rows streamed through a block (rows x batch for a weight)
    rows_per_tile:          ceil(blocks x rows_per_block / tiles): the rows of one tile when all tiles share
    copies, cluster_copies: blocks loaded into tiles, and into clusters, counting a block once for each
                            tile (cluster) that holds a part of its rows
    """

    digits: int
    operand_bits: int
    lines_per_output: int
    conversions_per_output: int
    row_tiles: int
    column_blocks: int
    groups: int
    groups_of_tile: int
    blocks: int
    rows_per_block: int
    rows_per_tile: int
    copies: int
    cluster_copies: int

    @property
    def loads_of_tile(self) -> int:
        """Blocks that one tile holds one after the other, at most.

        Shares start at multiples of g = gcd(share, rows); the worst one touches
        floor((rows − g + share − 1) / rows) + 1 blocks (one less where too few tiles meet that start).
        """
        rows, share = self.rows_per_block, self.rows_per_tile
        return min(self.blocks, (rows - math.gcd(rows, share) + share - 1) // rows + 1)


def _cuts(blocks: int, rows: int, share: int) -> int:
    """Pieces of ``blocks`` runs of ``rows`` rows, laid end to end and cut every ``share`` rows.

    Cuts at multiples of share or of rows: ceil(n/share) + blocks − ceil(n/lcm) pieces, n = blocks x rows.
    """
    n = blocks * rows
    return -(-n // share) + blocks - -(-n // math.lcm(share, rows))


def shape_of(product: Product, numbers: TileNumbers) -> ProductShape:
    """Lay ``product`` on tiles.

    The rows of all blocks, block after block, are dealt out evenly: each tile takes ``rows_per_tile``
    consecutive ones.
    """
    kind = _KIND[product.resident]
    batch, elements, at_once = product.batch, numbers.elements, numbers.group_elements
    lines = numbers.lines[kind]
    row_tiles = -(-product.inner // elements)
    last = product.inner - (row_tiles - 1) * elements
    groups_of_full = -(-elements // at_once)
    groups_of_last = -(-last // at_once)
    column_blocks = -(-product.columns // (numbers.bitlines // lines))
    own = batch if kind == 1 else 1
    blocks = row_tiles * column_blocks * own
    rows = product.rows * (batch // own)
    share = -(-blocks * rows // numbers.tiles)
    return ProductShape(
        numbers.digits,
        numbers.moved[kind],
        lines,
        numbers.conversions[kind],
        row_tiles,
        column_blocks,
        (row_tiles - 1) * groups_of_full + groups_of_last,
        groups_of_full if row_tiles > 1 else groups_of_last,
        blocks,
        rows,
        share,
        _cuts(blocks, rows, share),
        _cuts(blocks, rows, share * numbers.tiles_per_cluster),
    )


def product_shape(product: Product, chip: ChipSpec, tiles_per_cluster: int) -> ProductShape:
    """Lay ``product`` on the tiles of ``chip`` (see ``shape_of``)."""
    return shape_of(product, tile_numbers(chip, tiles_per_cluster))


@dataclass(frozen=True, kw_only=True)
class TileShare:
    """Rows ``first`` up to ``last`` (excluded) of one block, streamed through one tile."""

    block: int
    first: int
    last: int


def share_of_tile(shape: ProductShape, tile: int) -> tuple[TileShare, ...]:
    """What the tile number ``tile`` does of a product: a block loaded once serves all its rows there."""
    rows, share = shape.rows_per_block, shape.rows_per_tile
    start, end = tile * share, min((tile + 1) * share, shape.blocks * rows)
    return tuple(
        TileShare(block=block, first=max(start - block * rows, 0), last=min(end - block * rows, rows))
        for block in range(start // rows, -(-end // rows) if end > start else start // rows)
    )


@dataclass(frozen=True, kw_only=True)
class BankRange:
    """Stored words on wordlines ``first`` up to ``last`` (excluded), counted over all banks.

    Wordline w of the chip is wordline w // banks of bank w mod banks, so that neighbours are read at once.
    """

    name: str
    words: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class DensePlan:
    """What lies where in ``banks`` banks striped by wordline.

    wordlines: those in use, over all banks
    """

    ranges: tuple[BankRange, ...]
    banks: int
    wordlines: int

    def most_in_one_bank(self, entry: BankRange) -> int:
        """Wordlines of ``entry`` in the fullest bank: ceil(wordlines / banks)."""
        return -(-(entry.last - entry.first) // self.banks)


def place_stored(stored: Iterable[tuple[str, int]], chip: ChipSpec, *, banks: int | None = None) -> DensePlan:
    """Put ``stored`` (name, words), in order of reading, into ``banks`` dense banks.

    Every entry starts on a wordline of its own and goes on in the next bank.
    Error: UserError naming the first entry that no longer fits.
    """
    dense = chip.dense
    count = chip.dense_bank_count if banks is None else banks
    ranges, at = [], 0
    for name, words in stored:
        end = at + -(-dense_symbols(words, chip.precision.weight_bits, dense) // dense.bitlines)
        if end > count * dense.wordlines:
            raise UserError(
                f"{name} ({words} words) does not fit the {count} dense banks of a chip any more: "
                f"{count * dense.wordlines - at} of {count * dense.wordlines} wordlines are left."
            )
        ranges.append(BankRange(name=name, words=words, first=at, last=end))
        at = end
    return DensePlan(ranges=tuple(ranges), banks=count, wordlines=at)
