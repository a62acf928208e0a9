"""What a sub-operation asks of the chip, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ohmformer.compiler.place import (
    ProductShape,
    TileNumbers,
    dense_symbols,
    product_shape,
    shape_of,
    tile_numbers,
)
from ohmformer.ir import FunctionCall, Product
from ohmformer.specs import ChipSpec

__all__ = [
    "CountNumbers",
    "Counts",
    "ProductShape",
    "count_numbers",
    "counts_of",
    "dense_symbols",
    "function_counts",
    "product_counts",
    "product_shape",
    "product_tuple",
    "total",
    "tuple_of",
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
CountTuple = tuple[int, ...]
NOTHING: CountTuple = (0,) * len(_NAMES)


def counts_of(numbers: CountTuple) -> Counts:
    """``numbers``, in the order of the fields, as counts."""
    return Counts(**dict(zip(_NAMES, numbers, strict=True)))


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of ``counts``."""
    found = list(counts)
    return Counts(**{name: sum(getattr(one, name) for one in found) for name in _NAMES})


class CountNumbers(NamedTuple):
    """What of a chip decides how often each action is done.

    weight_cells, activation_cells, word_cells: dense cells of a weight, of a coded activation, of an
                                                accumulator word
    dense_home:  intermediates are kept in the dense crossbar
    encoded:     a resident operand is encoded into digits, too
    """

    tiles: TileNumbers
    activation_bits: int
    word_bits: int
    resistors: int
    digit_bits: int
    weight_cells: int
    activation_cells: int
    word_cells: int
    dense_home: bool
    encoded: bool


def count_numbers(chip: ChipSpec, tiles_per_cluster: int) -> CountNumbers:
    """The numbers of ``chip``."""
    precision, cell, word = chip.precision, chip.dense.cell.bits, chip.buffer.word_bits
    return CountNumbers(
        tiles=tile_numbers(chip, tiles_per_cluster),
        activation_bits=precision.activation_bits,
        word_bits=word,
        resistors=chip.tile.numeral.resistors_per_digit,
        digit_bits=digit_bits(chip),
        weight_cells=-(-precision.weight_bits // cell),
        activation_cells=-(-precision.activation_bits // cell),
        word_cells=-(-word // cell),
        dense_home=chip.buffer.intermediates == "dense",
        encoded=chip.tile.resident_code == "digits",
    )


def digit_bits(chip: ChipSpec) -> int:
    """Bits of a stored digit: its sign and its magnitude."""
    return 1 + chip.tile.numeral.max_digit.bit_length()


def product_tuple(product: Product, shape: ProductShape, numbers: CountNumbers) -> CountTuple:
    """The counts of one product that lies on the tiles as ``shape`` (see ``product_counts``)."""
    batch, rows, columns = product.batch, product.rows, product.columns
    output = batch * rows * columns
    macs = output * product.inner
    streamed_elements = batch * rows * product.inner
    streamed = streamed_elements * shape.column_blocks  # values that arrive at tiles
    partial = output * shape.row_tiles  # partial sums that leave them
    held = product.resident
    resident = product.inner * columns * (batch if held == "activation" else 1)
    blocks, digits, word = shape.blocks, shape.digits, numbers.word_bits
    encodings = streamed
    if numbers.encoded and held != "constant":
        encodings += -(-resident * shape.copies // blocks)
    operands = streamed_elements + (resident if held == "activation" else 0)
    symbols = resident * numbers.weight_cells if held == "weight" else 0
    written, buffered = 0, operands
    if numbers.dense_home:
        buffered = 0
        symbols += operands * numbers.activation_cells
        if held != "constant":
            written = output * numbers.activation_cells
    return (
        macs,
        batch * rows * digits * shape.groups * columns * shape.conversions_per_output,
        streamed * digits * numbers.resistors,
        macs * digits * shape.lines_per_output,
        encodings,
        2 * (streamed * digits * numbers.digit_bits + partial * word),
        -(-resident * shape.lines_per_output * shape.copies // blocks),
        streamed * numbers.activation_bits
        + partial * word
        + -(-resident * shape.operand_bits * shape.cluster_copies // blocks),
        partial,
        0,
        0,
        buffered * numbers.activation_bits + output * word,
        symbols,
        written,
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
    numbers = count_numbers(chip, tiles_per_cluster)
    return counts_of(product_tuple(product, shape_of(product, numbers.tiles), numbers))


def function_counts(call: FunctionCall, chip: ChipSpec) -> Counts:
    """Count the actions of one function call.

    Every value is read from the buffer (two for add, max, multiply) and one written, in accumulator
    words. Additions are done in the accumulators, comparisons and all else in the function units.
    """
    words, adds, compares, values = function_words(call.function, call.elements)
    return Counts(
        additions=adds, comparisons=compares, evaluations=values, buffer_bits=words * chip.buffer.word_bits
    )


def function_words(function: str, elements: int) -> tuple[int, int, int, int]:
    """Of one call: words read and written, additions, comparisons, values of the function units."""
    words = elements * (3 if function in TWO_OPERANDS else 2)
    if function in IN_ACCUMULATORS:
        return words, elements, 0, 0
    if function in COMPARISONS:
        return words, 0, elements, 0
    return words, 0, 0, elements


def tuple_of(counts: Counts) -> CountTuple:
    """``counts`` as plain numbers, in the order of the fields."""
    return tuple(getattr(counts, name) for name in _NAMES)
