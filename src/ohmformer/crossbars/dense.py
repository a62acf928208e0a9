"""The dense crossbar: integers as symbols in memristor cells, read one wordline at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.crossbars.protection import (
    check_from_symbols,
    check_symbols,
    data_words,
    stored_values,
    word_count,
)
from ohmformer.devices import draw_stuck, program, read
from ohmformer.numerals import from_symbols, secded, symbols_per_value, to_symbols
from ohmformer.specs import DenseSpec

__all__ = ["DenseCrossbar"]

_CELLS_AT_ONCE = 1 << 21


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseCrossbar:
    """Integers stored in dense banks; made by ``program``.

    Placement: cells follow each other in the order row, column, symbol (least significant first); they fill
    the bitlines of a wordline, then the next wordline, then the next bank. Check cells (``secded_data_bits``
    above 0; see ``crossbars.protection``) follow all of them, in the order word, symbol.

    dense:         the bank
    bits:          of a stored integer
    conductance_S: [row, column, symbol], float32, as programmed; a read does not change it
    stuck:         [row, column, symbol], int8, the stuck cells at these places (devices.draw_stuck)
    check_conductance_S, check_stuck: [word, symbol], the same of the check cells; no word without them
    """

    dense: DenseSpec
    bits: int
    conductance_S: Tensor
    stuck: Tensor
    check_conductance_S: Tensor
    check_stuck: Tensor

    @classmethod
    def program(
        cls,
        weights: Tensor,
        dense: DenseSpec,
        bits: int,
        generator: torch.Generator | None,
        *,
        stuck: Tensor | None = None,
        check_stuck: Tensor | None = None,
    ) -> DenseCrossbar:
        """Write integers into cells.

        weights: [row, column], integers of ``bits`` bits
        stuck, check_stuck: stuck cells at these places, for a second write to the same cells; drawn if None
        """
        if weights.ndim != 2:
            raise CrossbarError(f"weights have shape {tuple(weights.shape)}: a matrix is stored.")
        symbols = to_symbols(weights, bits, dense.cell.bits, dense.weight_code, dense.gray)
        conductance, stuck = _program(symbols, dense, generator, stuck, "stuck")
        if dense.secded_data_bits:
            words = data_words(weights, bits, dense)
            check = check_symbols(secded.encode(words), dense, dense.cell.bits)
        else:
            check = symbols.new_zeros(0, 1)
        check_conductance, check_stuck = _program(check, dense, generator, check_stuck, "check_stuck")
        return cls(
            dense=dense,
            bits=bits,
            conductance_S=conductance,
            stuck=stuck,
            check_conductance_S=check_conductance,
            check_stuck=check_stuck,
        )

    def rewrite(self, weights: Tensor, generator: torch.Generator | None) -> DenseCrossbar:
        """The same cells after another write: new programming noise, the same stuck cells."""
        return DenseCrossbar.program(
            weights, self.dense, self.bits, generator, stuck=self.stuck, check_stuck=self.check_stuck
        )

    def read(self, generator: torch.Generator | None) -> Tensor:
        """Read every integer once: noisy conductances, thresholds, symbols, numbers.

        returns: [row, column], int8 or int16; without misread cells what was written
        """
        return self.read_rows(0, self.conductance_S.shape[0], generator)

    def read_rows(self, start: int, stop: int, generator: torch.Generator | None) -> Tensor:
        """Read the rows from ``start`` to ``stop`` once, [stop - start, column]; words are corrected."""
        return self.read_words(start, stop, generator)[0]

    def read_words(self, start: int, stop: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Read rows once, and say what the code found in the words that they touch (which are read whole).

        returns: [stop - start, column], int8 or int16, corrected;
                 [word], int8: ``secded.CLEAN``, ``CORRECTED``, ``DETECTED`` (then as read)
        """
        rows, columns = self.conductance_S.shape[:2]
        first, last = min(start, rows) * columns, min(stop, rows) * columns
        data_bits, total = self.dense.secded_data_bits, rows * columns
        # so many numbers fill whole words
        unit = data_bits // math.gcd(data_bits, self.bits) if data_bits else 1
        begin, end = first // unit * unit, min(-(-last // unit) * unit, total)
        at_once = max(1, _CELLS_AT_ONCE // (unit * self.symbols)) * unit
        blocks = [
            self._read_numbers(place, min(place + at_once, end), generator)
            for place in range(begin, max(end, begin + 1), at_once)
        ]
        values = torch.cat([values for values, _ in blocks])[first - begin : last - begin]
        status = torch.cat([status for _, status in blocks])
        if data_bits:
            head = begin * self.bits // data_bits
            status = status[
                first * self.bits // data_bits - head : word_count(last, self.bits, self.dense) - head
            ]
        return values.view(-1, columns), status

    def _read_numbers(
        self, first: int, last: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Integers from ``first``, where a word begins, to ``last``, and the status of their words."""
        dense, cell = self.dense, self.dense.cell
        symbols = read(self.conductance_S.flatten(0, 1)[first:last], cell, generator)
        values = from_symbols(symbols, self.bits, cell.bits, dense.weight_code, dense.gray)
        if not dense.secded_data_bits:
            return values, torch.zeros(0, dtype=torch.int8)
        bounds = slice(word_count(first, self.bits, dense), word_count(last, self.bits, dense))
        check_levels = read(self.check_conductance_S[bounds], cell, generator)
        check = check_from_symbols(check_levels, dense, cell.bits)
        words, status = secded.correct(data_words(values, self.bits, dense), check)
        return stored_values(words, len(values), self.bits, dense), status

    @property
    def symbols(self) -> int:
        """Cells of one integer."""
        return symbols_per_value(self.bits, self.dense.cell.bits)

    @property
    def cells(self) -> int:
        """Cells in use, check cells included."""
        return self.conductance_S.numel() + self.check_conductance_S.numel()

    @property
    def wordlines_used(self) -> int:
        """Wordlines that hold at least one cell: the reads that the whole content takes."""
        return -(-self.cells // self.dense.bitlines)

    @property
    def banks_used(self) -> int:
        """Banks that hold at least one cell."""
        return -(-self.cells // self.dense.cells)

    def location(self, row: int, column: int, symbol_index: int) -> tuple[int, int, int]:
        """Bank, wordline and bitline of a data cell."""
        rows, columns, symbols = self.conductance_S.shape
        if not (0 <= row < rows and 0 <= column < columns and 0 <= symbol_index < symbols):
            raise CrossbarError(
                f"There is no cell ({row}, {column}, {symbol_index}): the content is {rows} x {columns} x "
                f"{symbols} cells."
            )
        cell = (row * columns + column) * symbols + symbol_index
        bank, inside = divmod(cell, self.dense.cells)
        wordline, bitline = divmod(inside, self.dense.bitlines)
        return bank, wordline, bitline


def _program(
    symbols: Tensor, dense: DenseSpec, generator: torch.Generator | None, stuck: Tensor | None, name: str
) -> tuple[Tensor, Tensor]:
    """Write levels into cells that may be stuck: conductances, and which are."""
    if stuck is None:
        stuck = draw_stuck(tuple(symbols.shape), dense.cell, generator)
    elif stuck.shape != symbols.shape:
        raise CrossbarError(f"{name} has shape {tuple(stuck.shape)}: the cells are {tuple(symbols.shape)}.")
    return program(symbols, dense.cell, generator, stuck=stuck, dtype=torch.float32), stuck
