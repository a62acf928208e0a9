"""What a sub-operation asks of the chip, counted."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

from ohmformer.ir import FunctionCall, Product
from ohmformer.specs import ChipSpec, DenseSpec

__all__ = [
    "Counts",
    "ProductShape",
    "dense_symbols",
    "function_counts",
    "product_counts",
    "product_shape",
    "total",
]

IN_ACCUMULATORS = ("add",)
COMPARISONS = ("max",)
TWO_OPERANDS = ("add", "max", "multiply")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often each action is done; all of them whole numbers.

    macs:               multiply-accumulates
    conversions:        conversions of computation tiles
    wordline_drives:    digits put on wordlines of tiles
    crosspoint_digits:  one digit met one switched bit: macs x digits x bitlines of an output
    encodings:          values turned into balanced digits
    register_bits:      bits written to and read from tile registers
    latch_bits:         switch latches written
    network_bits:       bits moved on cluster buses
    additions:          accumulator additions (partial sums; bias, residual, mask)
    evaluations:        function values from tables, and multiplications in the function unit
    comparisons:        comparisons in the function unit
    buffer_bits:        bits read from and written to the SRAM buffer
    dense_symbols:      dense cells read, each by one conversion
    dense_writes:       dense cells written
    """

    macs: int = 0
    conversions: int = 0
    wordline_drives: int = 0
    crosspoint_digits: int = 0
    encodings: int = 0
    register_bits: int = 0
    latch_bits: int = 0
    network_bits: int = 0
    additions: int = 0
    evaluations: int = 0
    comparisons: int = 0
    buffer_bits: int = 0
    dense_symbols: int = 0
    dense_writes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in _NAMES})

    def __mul__(self, times: int) -> Counts:
        return Counts(**{name: getattr(self, name) * times for name in _NAMES})


_NAMES = tuple(field.name for field in dataclasses.fields(Counts))


def total(counts: list[Counts]) -> Counts:
    """The sum of ``counts``."""
    return Counts(**{name: sum(getattr(one, name) for one in counts) for name in _NAMES})


def dense_symbols(words: int, bits: int, dense: DenseSpec) -> int:
    """Cells that hold ``words`` words: words x ceil(bits / bits of a cell)."""
    return words * -(-bits // dense.cell.bits)


@dataclass(frozen=True, kw_only=True)
class ProductShape:
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


def _cuts(blocks: int, rows: int, share: int) -> int:
    """Pieces of ``blocks`` runs of ``rows`` rows, laid end to end and cut every ``share`` rows.

    Cuts at multiples of share or of rows: ceil(n/share) + blocks − ceil(n/lcm) pieces, n = blocks x rows.
    """
    n = blocks * rows
    return -(-n // share) + blocks - -(-n // math.lcm(share, rows))


def product_shape(product: Product, chip: ChipSpec, tiles_per_cluster: int) -> ProductShape:
    """Lay ``product`` on the tiles of ``chip``.

    The rows of all blocks, block after block, are dealt out evenly: each tile takes ``rows_per_tile``
    consecutive ones. The ones of a sum (``constant``) need one bitline (or one pair), not a word.
    """
    tile, precision = chip.tile, chip.precision
    bits = precision.weight_bits if product.resident == "weight" else precision.activation_bits
    if product.resident == "constant":
        conversions, lines, moved = 1, 1 if tile.resident_code == "bits" else 2, 0
    else:
        lines, moved = tile.bitlines_per_output(bits), bits
        conversions = lines if tile.resident_code == "bits" else lines // 2
    row_tiles = -(-product.inner // tile.elements)
    last = product.inner - (row_tiles - 1) * tile.elements
    groups_of_full = -(-tile.elements // tile.group_elements)
    groups_of_last = -(-last // tile.group_elements)
    column_blocks = -(-product.columns // (tile.bitlines // lines))
    own = product.batch if product.resident == "activation" else 1
    blocks = row_tiles * column_blocks * own
    rows = product.rows * (product.batch // own)
    share = -(-blocks * rows // chip.tile_count)
    return ProductShape(
        digits=tile.numeral.digits_for(precision.activation_bits),
        operand_bits=moved,
        lines_per_output=lines,
        conversions_per_output=conversions,
        row_tiles=row_tiles,
        column_blocks=column_blocks,
        groups=(row_tiles - 1) * groups_of_full + groups_of_last,
        groups_of_tile=groups_of_full if row_tiles > 1 else groups_of_last,
        blocks=blocks,
        rows_per_block=rows,
        rows_per_tile=share,
        copies=_cuts(blocks, rows, share),
        cluster_copies=_cuts(blocks, rows, share * tiles_per_cluster),
    )


def digit_bits(chip: ChipSpec) -> int:
    """Bits of a stored digit: its sign and its magnitude."""
    return 1 + chip.tile.numeral.max_digit.bit_length()


@lru_cache(maxsize=4096)
def _product_counts(product: Product, chip: ChipSpec, tiles_per_cluster: int) -> Counts:
    shape = product_shape(product, chip, tiles_per_cluster)
    tile, precision, dense = chip.tile, chip.precision, chip.dense
    streamed = product.streamed_elements * shape.column_blocks  # values that arrive at tiles
    partial = product.output_elements * shape.row_tiles  # partial sums that leave them
    resident = product.resident_elements  # over the batch where it is an activation

    def copied(amount: int, copies: int) -> int:
        return -(-amount * copies // shape.blocks)

    encodings = streamed
    if tile.resident_code == "digits" and product.resident != "constant":
        encodings += copied(resident, shape.copies)
    operands = product.streamed_elements + (resident if product.resident == "activation" else 0)
    symbols = dense_symbols(resident, precision.weight_bits, dense) if product.resident == "weight" else 0
    written, buffered = 0, operands
    if chip.buffer.intermediates == "dense":
        buffered = 0
        symbols += dense_symbols(operands, precision.activation_bits, dense)
        if product.resident != "constant":
            written = dense_symbols(product.output_elements, precision.activation_bits, dense)
    return Counts(
        macs=product.macs,
        conversions=product.batch
        * product.rows
        * shape.digits
        * shape.groups
        * product.columns
        * shape.conversions_per_output,
        wordline_drives=streamed * shape.digits * tile.numeral.resistors_per_digit,
        crosspoint_digits=product.macs * shape.digits * shape.lines_per_output,
        encodings=encodings,
        register_bits=2 * (streamed * shape.digits * digit_bits(chip) + partial * chip.buffer.word_bits),
        latch_bits=copied(resident * shape.lines_per_output, shape.copies),
        network_bits=streamed * precision.activation_bits
        + partial * chip.buffer.word_bits
        + copied(resident * shape.operand_bits, shape.cluster_copies),
        additions=partial,
        buffer_bits=buffered * precision.activation_bits + product.output_elements * chip.buffer.word_bits,
        dense_symbols=symbols,
        dense_writes=written,
    )


def product_counts(product: Product, chip: ChipSpec, tiles_per_cluster: int) -> Counts:
    """Count the actions of one product.

    conversions = batch·rows · digits · groups · columns · conversions per output
    A weight is read from the dense crossbar once per product, whatever the rows; a streamed operand is
    read once from the buffer and sent to each column block; each product's result is written once to the
    buffer in accumulator words; with intermediates in the dense crossbar, operands that are intermediates
    are read from there, and each result (but that of a sum with ones) is written there once, in activation
    bits.
    """
    anonymous = dataclasses.replace(product, module="", operation="")
    return _product_counts(anonymous, chip, tiles_per_cluster)


def function_counts(call: FunctionCall, chip: ChipSpec) -> Counts:
    """Count the actions of one function call.

    Every value is read from the buffer (two for add, max, multiply) and one written, in accumulator
    words. Additions are done in the accumulators, comparisons and all else in the function units.
    """
    words = call.elements * (3 if call.function in TWO_OPERANDS else 2)
    adds = call.elements if call.function in IN_ACCUMULATORS else 0
    compares = call.elements if call.function in COMPARISONS else 0
    return Counts(
        additions=adds,
        comparisons=compares,
        evaluations=call.elements - adds - compares,
        buffer_bits=words * chip.buffer.word_bits,
    )
