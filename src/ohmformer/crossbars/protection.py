"""Protected words of the dense crossbar: which bits a word holds, and what its check cells hold.

The bits of a row of stored integers follow each other, column by column, least significant first, as the
cells store them (in offset binary the top bit is that of the offset value). A word is ``secded_data_bits`` of
them; the last word of a row is filled up with zeros that no cell stores. The check bits of a word lie in
cells of their own, as one integer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.numerals import check_bits, from_bits, from_symbols, symbols_per_value, to_bits, to_symbols
from ohmformer.specs import DenseSpec

__all__ = ["check_cells_per_row", "check_symbols", "row_words", "words_per_row"]


def words_per_row(columns: int, bits: int, dense: DenseSpec) -> int:
    """Protected words of a row of ``columns`` integers of ``bits`` bits; 0 without protection."""
    return -(-columns * bits // dense.secded_data_bits) if dense.secded_data_bits else 0


def check_cells_per_row(columns: int, bits: int, dense: DenseSpec, cell_bits: int | None = None) -> int:
    """Cells that hold the check bits of a row, in cells of ``cell_bits`` bits (None: the cell's own).

    words_per_row * ceil(check bits / cell_bits)
    """
    words = words_per_row(columns, bits, dense)
    return words * symbols_per_value(_check_bits(dense), cell_bits or dense.cell.bits) if words else 0


def row_words(values: Tensor, bits: int, dense: DenseSpec) -> Tensor:
    """Data bits of the protected words of each row.

    values:  [row, column], integers of ``bits`` bits
    returns: [row, word, data_bit], int8 of 0 and 1
    """
    stored = to_bits(values, bits)
    if dense.weight_code == "offset_binary":
        stored[..., -1] ^= 1  # adding 2^(bits - 1) turns the top bit over
    words = words_per_row(values.shape[1], bits, dense)
    filled = stored.new_zeros(values.shape[0], words * dense.secded_data_bits)
    filled[:, : values.shape[1] * bits] = stored.flatten(1)
    return filled.view(len(values), words, dense.secded_data_bits)


def row_values(words: Tensor, columns: int, bits: int, dense: DenseSpec) -> Tensor:
    """Integers of each row from the data bits of its words: the inverse of ``row_words``.

    words:   [row, word, data_bit]
    returns: [row, column], int8 or int16
    """
    stored = words.flatten(1)[:, : columns * bits].unflatten(1, (columns, bits)).clone()
    if dense.weight_code == "offset_binary":
        stored[..., -1] ^= 1
    return from_bits(stored, bits)


def check_symbols(check: Tensor, dense: DenseSpec, cell_bits: int) -> Tensor:
    """Levels of the cells that hold check bits: [..., check_bit] -> [..., cell], uint8."""
    count = _check_bits(dense)
    weights = 2 ** torch.arange(count)
    # an unsigned number: offset binary adds back what is taken off here
    value = (check.long() * weights).sum(-1) - 2 ** (count - 1)
    return to_symbols(value, count, cell_bits, "offset_binary", dense.gray)


def check_from_symbols(symbols: Tensor, dense: DenseSpec, cell_bits: int) -> Tensor:
    """Check bits from the levels read in their cells: [..., cell] -> [..., check_bit], int8."""
    count = _check_bits(dense)
    check = to_bits(from_symbols(symbols, count, cell_bits, "offset_binary", dense.gray), count)
    check[..., -1] ^= 1
    return check


def _check_bits(dense: DenseSpec) -> int:
    return check_bits(dense.secded_data_bits)
