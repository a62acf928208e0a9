"""The dense crossbar: integers as symbols in memristor cells, read one wordline at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.devices import draw_stuck, program, read
from ohmformer.numerals import from_symbols, symbols_per_value, to_symbols
from ohmformer.specs import DenseSpec

__all__ = ["DenseCrossbar"]

_CELLS_AT_ONCE = 1 << 21


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseCrossbar:
    """Integers stored in dense banks; made by ``program``.

    Placement: cells follow each other in the order row, column, symbol (least significant first); they fill
    the bitlines of a wordline, then the next wordline, then the next bank.

    dense:         the bank
    bits:          of a stored integer
    conductance_S: [row, column, symbol], float32, as programmed; a read does not change it
    stuck:         [row, column, symbol], int8, the stuck cells at these places (devices.draw_stuck)
    """

    dense: DenseSpec
    bits: int
    conductance_S: Tensor
    stuck: Tensor

    @classmethod
    def program(
        cls,
        weights: Tensor,
        dense: DenseSpec,
        bits: int,
        generator: torch.Generator | None,
        *,
        stuck: Tensor | None = None,
    ) -> DenseCrossbar:
        """Write integers into cells.

        weights: [row, column], integers of ``bits`` bits
        stuck:   stuck cells at these places, for a second write to the same cells; drawn if None
        """
        if weights.ndim != 2:
            raise CrossbarError(f"weights have shape {tuple(weights.shape)}: a matrix is stored.")
        symbols = to_symbols(weights, bits, dense.cell.bits, dense.weight_code, dense.gray)
        if stuck is None:
            stuck = draw_stuck(tuple(symbols.shape), dense.cell, generator)
        elif stuck.shape != symbols.shape:
            raise CrossbarError(
                f"stuck has shape {tuple(stuck.shape)}: the cells are {tuple(symbols.shape)}."
            )
        conductance = program(symbols, dense.cell, generator, stuck=stuck, dtype=torch.float32)
        return cls(dense=dense, bits=bits, conductance_S=conductance, stuck=stuck)

    def rewrite(self, weights: Tensor, generator: torch.Generator | None) -> DenseCrossbar:
        """The same cells after another write: new programming noise, the same stuck cells."""
        return DenseCrossbar.program(weights, self.dense, self.bits, generator, stuck=self.stuck)

    def read(self, generator: torch.Generator | None) -> Tensor:
        """Read every integer once: noisy conductances, thresholds, symbols, numbers.

        returns: [row, column], int8 or int16; without misread cells what was written
        """
        return self.read_rows(0, self.conductance_S.shape[0], generator)

    def read_rows(self, start: int, stop: int, generator: torch.Generator | None) -> Tensor:
        """Read the rows from ``start`` to ``stop`` once, [stop - start, column]."""
        cell = self.dense.cell
        rows_at_once = max(1, _CELLS_AT_ONCE // max(1, self.conductance_S.shape[1:].numel()))
        parts = []
        for part in self.conductance_S[start:stop].split(rows_at_once):
            symbols = read(part, cell, generator)
            parts.append(from_symbols(symbols, self.bits, cell.bits, self.dense.weight_code, self.dense.gray))
        return torch.cat(parts)

    @property
    def symbols(self) -> int:
        """Cells of one integer."""
        return symbols_per_value(self.bits, self.dense.cell.bits)

    @property
    def cells(self) -> int:
        """Cells in use."""
        return self.conductance_S.numel()

    @property
    def wordlines_used(self) -> int:
        """Wordlines that hold at least one cell: the reads that the whole content takes."""
        return -(-self.cells // self.dense.bitlines)

    @property
    def banks_used(self) -> int:
        """Banks that hold at least one cell."""
        return -(-self.cells // self.dense.cells)

    def location(self, row: int, column: int, symbol_index: int) -> tuple[int, int, int]:
        """Bank, wordline and bitline of a cell."""
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
