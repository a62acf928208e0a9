"""Words protected against wrong bits (SECDED), followed through their wrong bits alone.

The code is linear: the syndrome of a word as read is the exclusive or of those of its wrong bits, so that
words without a wrong cell need not be looked at.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ohmformer.numerals import HOST, on_host, symbols_per_value, to_symbols
from ohmformer.numerals.secded import check_bits, encode

__all__ = ["WordCode"]


class WordCode:
    """An extended Hamming code over words of ``data_bits``, its check bits in cells of ``cell_bits``.

    The check bits of a word lie in cells of their own, least significant first, numbered as the data's.
    """

    def __init__(self, data_bits: int, cell_bits: int, gray: bool) -> None:
        self.data_bits = data_bits
        self.cell_bits = cell_bits
        self.gray = gray
        self.check_bits = check_bits(data_bits)
        self.symbols = symbols_per_value(self.check_bits, cell_bits)

    def count(self, bits: int) -> int:
        """Words that hold ``bits`` bits; the last is filled up with zeros."""
        return -(-bits // self.data_bits)

    def check_symbols(self, words: Tensor) -> Tensor:
        """[word, symbol], uint8, of data words [word, data bit] of 0 and 1."""
        places = torch.arange(self.check_bits, dtype=torch.int32, device=words.device)
        patterns = (encode(words).int() << places).sum(-1)
        values = patterns - (1 << (self.check_bits - 1))
        return to_symbols(values, self.check_bits, self.cell_bits, "offset_binary", self.gray)

    @cached_property
    @on_host
    def _columns(self) -> Tensor:
        """[data bit, check bit], int64: the syndrome of each single wrong data bit."""
        return encode(torch.eye(self.data_bits, dtype=torch.int8)).long()

    @cached_property
    @on_host
    def _wrong_bit(self) -> Tensor:
        """[syndrome], int64: the data bit that the decoder flips, -1 for none."""
        table = torch.full((1 << self.check_bits,), -1)
        powers = 1 << torch.arange(self.check_bits)
        table[(self._columns * powers).sum(-1)] = torch.arange(self.data_bits)
        return table

    def flipped(self, word: Tensor, data_bit: Tensor, check_word: Tensor, check_bit: Tensor) -> Tensor:
        """Data bits that the decoder flips, in whatever words have wrong bits.

        word, data_bit:        [d] of each wrong data bit
        check_word, check_bit: [c] of each wrong check bit
        returns:               [n], word·data_bits + bit, int64, ascending
        """
        every, inverse = torch.cat((word, check_word)).unique(return_inverse=True)
        unit = torch.nn.functional.one_hot(check_bit, self.check_bits)
        parity = torch.zeros(len(every), self.check_bits, dtype=torch.int64, device=HOST)
        parity.index_add_(0, inverse, torch.cat((self._columns[data_bit], unit)))
        syndrome = ((parity & 1) << torch.arange(self.check_bits, device=HOST)).sum(-1)
        bit = self._wrong_bit[syndrome]
        flipped: Tensor = (every * self.data_bits + bit)[bit >= 0]
        return flipped
