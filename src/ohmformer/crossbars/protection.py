"""Protected words of the dense crossbar: which bits a word holds, and what its check cells hold.

The bits of stored integers follow each other as their cells do, least significant first (in offset binary
the top bit is that of the offset value). A word is the next ``secded_data_bits`` of them, wherever rows of a
matrix begin; the last one is filled up with zeros that no cell stores. The check bits of a word lie in cells
of their own, as one integer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.numerals import check_bits, from_bits, from_symbols, symbols_per_value, to_bits, to_symbols
from ohmformer.specs import DenseSpec

__all__ = ["check_cells", "check_symbols", "data_words", "word_count"]


def word_count(numbers: int, bits: int, dense: DenseSpec) -> int:
    """Protected words of ``numbers`` integers of ``bits`` bits; 0 without protection."""
    return -(-numbers * bits // dense.secded_data_bits) if dense.secded_data_bits else 0


def check_cells(numbers: int, bits: int, dense: DenseSpec, cell_bits: int | None = None) -> int:
    """Cells of the check bits of ``numbers`` integers, in cells of ``cell_bits`` bits (None: the cell's own).

    word_count * ceil(check bits / cell_bits)
    """
    words = word_count(numbers, bits, dense)
    return words * symbols_per_value(_check_bits(dense), cell_bits or dense.cell.bits) if words else 0


def data_words(values: Tensor, bits: int, dense: DenseSpec) -> Tensor:
    """Data bits of the protected words of integers, taken in order of their storage.

    values:  [...], integers of ``bits`` bits
    returns: [word, data_bit], int8 of 0 and 1
    """
    stored = to_bits(values.flatten(), bits)
    if dense.weight_code == "offset_binary":
        stored[..., -1] ^= 1  # adding 2^(bits - 1) turns the top bit over
    words = word_count(len(stored), bits, dense)
    filled = stored.new_zeros(words * dense.secded_data_bits)
    filled[: stored.numel()] = stored.flatten()
    return filled.view(words, dense.secded_data_bits)


def stored_values(words: Tensor, numbers: int, bits: int, dense: DenseSpec) -> Tensor:
    """Integers from the data bits of their words: the inverse of ``data_words``.

    words:   [word, data_bit]
    returns: [number], int8 or int16
    """
    stored = words.flatten()[: numbers * bits].view(numbers, bits).clone()
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
