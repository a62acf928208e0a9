"""Numbers held in dense cells: which physical cells can go wrong, and how often each does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ohmformer.engine.programming import (
    CEILINGS,
    CellLayout,
    MarginalCells,
    SymbolsToStore,
    class_edges,
    program_cells,
    safe_deviations,
)
from ohmformer.engine.randomness import MASK64, mix
from ohmformer.engine.read_law import ReadLaw, read_law
from ohmformer.errors import UserError
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import DenseCellSpec, DenseSpec

__all__ = ["RARE_RATES", "StoredCells", "stream_of"]

RARE_RATES = -torch.log1p(
    -torch.tensor(CEILINGS[:-1], dtype=torch.float64, device=HOST)
)  # of hits on a cell, by class


def stream_of(name: str) -> int:
    """The random stream of a parameter: 64 bits of a hash of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class StoredCells:
    """Signed numbers of ``bits`` bits in dense cells, programmed once; the numbers are not kept.

    Programming draws one conductance per cell, fixed until rewritten, from (seed, name) and nothing else.
    Kept are the cells whose own chance of a misread exceeds ``programming.NEGLIGIBLE``; the places and
    conductances of exactly those are drawn from the same law as a draw for every cell. ``reads.plan_reads``
    reads them.

    The cells lie in host memory, and are read there, wherever the numbers lie.

    codes:     whole numbers of any shape ([row, inner] if rows are to be read alone) and type; needed here
               only; of ``marginal``, and on the meta device, only their shape
    cell_bits: of a cell here, if fewer than the spec's (vectors)
    also:      other states in which these cells will be read (``at``): cells are kept for all of them
    marginal:  cells programmed before, taken up instead of programming

    Error: at most ``NEGLIGIBLE`` expected misreads per remaining cell and read are left out.
    """

    @on_host
    def __init__(
        self,
        codes: Tensor,
        bits: int,
        dense: DenseSpec,
        seed: int,
        name: str,
        *,
        cell_bits: int | None = None,
        also: Sequence[DenseSpec] = (),
        marginal: MarginalCells | None = None,
    ) -> None:
        self.name = name
        self.seed = seed
        self.dense = dense
        self.stream = stream_of(name)
        self.cell = replace(dense.cell, bits=cell_bits or dense.cell.bits)
        self.layout = CellLayout(shape=tuple(codes.shape), bits=bits, cell_bits=self.cell.bits, dense=dense)
        for other in also:
            self._require_same_write(other)
        self.marginal = marginal
        if marginal is None and not codes.is_meta:
            states = [self._cell_of(state) for state in (dense, *also)]
            generator = torch.Generator(HOST).manual_seed(mix(seed & MASK64, self.stream))
            source = SymbolsToStore(codes=codes.to(HOST).reshape(-1), layout=self.layout)
            self.marginal = program_cells(source, self.cell, safe_deviations(states), generator)

    def _cell_of(self, dense: DenseSpec) -> DenseCellSpec:
        return replace(dense.cell, bits=self.cell.bits)

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return self.layout.bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.layout.shape

    @property
    def inner(self) -> int:
        """Numbers of a row; of a vector all."""
        return self.shape[-1] if self.shape else 1

    @property
    def cells(self) -> int:
        """Dense cells in use, check cells included."""
        return self.layout.cells

    @property
    def bytes(self) -> int:
        """Memory of the cells kept, without the limits of those often misread (4 bytes each)."""
        return 0 if self.marginal is None else self.marginal.bytes

    @property
    def law(self) -> ReadLaw:
        """The law of one read of a cell."""
        return read_law(self.cell)

    @cached_property
    @on_host
    def often_limits(self) -> Tensor:
        """[cell of the last class], int32: a read draws a 32-bit word, wrong up to limit + 2^31.

        Error: probabilities are rounded to 2^-32.
        """
        assert self.marginal is not None
        start = self.marginal.bounds[-2]
        return self.law.limits(self.marginal.conductance_S[start:], self.marginal.symbols[start:])

    @cached_property
    def bounds(self) -> Tensor:
        """``MarginalCells.bounds`` as int64."""
        assert self.marginal is not None
        return torch.tensor(self.marginal.bounds, device=HOST)

    @cached_property
    def often_count(self) -> int:
        """Cells of the last class."""
        return 0 if self.marginal is None else self.marginal.bounds[-1] - self.marginal.bounds[-2]

    @cached_property
    def rare_rates(self) -> Tensor:
        """[class + 1] sums from 0 of what a read's Poisson hits have as mean in the other classes, float64.

        Hits of rate -ln(1 - ceiling) on every cell: each is hit at least once with probability ``ceiling``.
        """
        if self.marginal is None:
            return torch.zeros(len(CEILINGS), dtype=torch.float64, device=HOST)
        bounds = torch.tensor(self.marginal.bounds[1:-1], dtype=torch.float64, device=HOST)
        sums = (bounds.diff() * RARE_RATES).cumsum(0)
        return torch.cat((sums.new_zeros(1), sums))

    @cached_property
    def rare_rate(self) -> float:
        """Mean number of hits of one read in all classes but the last."""
        return float(self.rare_rates[-1])

    @on_host
    def at(self, dense: DenseSpec) -> StoredCells:
        """The same programmed chip in another state: later (drift), or under other noises of reading.

        Error: UserError if ``dense`` was written otherwise, or if cells would matter that were not kept
               because they cannot go wrong in the states for which the chip was programmed.
        """
        if dense == self.dense:
            return self
        self._require_same_write(dense)
        cell = self._cell_of(dense)
        marginal = self.marginal
        if marginal is not None:
            if bool((class_edges(cell)[..., 0] < marginal.safe).any()):
                raise UserError(
                    f"The cells of {self.name} were programmed for weaker noises: under those asked for, "
                    f"cells could be misread that were not kept; name the harsher state when programming."
                )
            marginal = marginal.regrouped(cell)
        codes = torch.empty(self.shape, device="meta")
        return StoredCells(
            codes, self.bits, dense, self.seed, self.name, cell_bits=self.cell.bits, marginal=marginal
        )

    def _require_same_write(self, dense: DenseSpec) -> None:
        """Everything that writing the cells depends on must be as it was."""
        for what in ("weight_code", "gray", "secded_data_bits"):
            _require_same(self.name, what, getattr(self.dense, what), getattr(dense, what))
        for what in ("g_min_S", "g_max_S"):
            _require_same(self.name, what, getattr(self.cell, what), getattr(dense.cell, what))
        for what in ("programming_noise", "stuck_low_rate", "stuck_high_rate"):
            _require_same(self.name, what, getattr(self.cell.noise, what), getattr(dense.cell.noise, what))
        if dense.cell.bits < self.cell.bits:
            _require_same(self.name, "bits", self.cell.bits, dense.cell.bits)

    def state(self) -> dict[str, Tensor]:
        """The physical cells as tensors to save: with the spec and the name they are the same chip."""
        marginal = self.marginal
        if marginal is None:
            raise UserError(
                f"The cells of {self.name} have no numbers: a model without weights has no state."
            )
        return {
            "cells": marginal.cells,
            "symbols": marginal.symbols,
            "conductance_S": marginal.conductance_S,
            "safe": marginal.safe,
            "layout": torch.tensor([self.seed_signed, self.bits, self.cell.bits, *self.shape], device=HOST),
        }

    @property
    def seed_signed(self) -> int:
        """The seed as a 64-bit signed number."""
        value = self.seed & MASK64
        return value - (1 << 64) if value >> 63 else value

    @classmethod
    @on_host
    def from_state(cls, state: dict[str, Tensor], dense: DenseSpec, name: str) -> StoredCells:
        """The cells of ``state``, in the state ``dense`` of the chip.

        Error: UserError if tensors are missing, or do not fit each other or ``dense``.
        """
        missing = {"cells", "symbols", "conductance_S", "safe", "layout"} - state.keys()
        if missing:
            raise UserError(f"The cells of {name} lack {', '.join(sorted(missing))}.")
        seed, bits, cell_bits, *shape = state["layout"].tolist()
        cell = replace(dense.cell, bits=cell_bits)
        layout = CellLayout(shape=tuple(shape), bits=bits, cell_bits=cell_bits, dense=dense)
        cells, symbols, conductance = state["cells"], state["symbols"], state["conductance_S"]
        fits = len(cells) == len(symbols) == len(conductance) and state["safe"].shape == (cell.levels, 2)
        if fits and len(cells):
            fits = 0 <= int(cells.min()) <= int(cells.max()) < layout.cells
            fits = fits and int(symbols.max()) < cell.levels and bool((conductance >= 0).all())
        if not fits:
            raise UserError(f"The cells of {name} do not fit a tensor of shape {tuple(shape)} in this chip.")
        if bool((class_edges(cell)[..., 0] < state["safe"]).any()):
            raise UserError(f"The cells of {name} were programmed for weaker noises than those of this chip.")
        marginal = MarginalCells.grouped(cells, symbols, conductance, state["safe"], cell)
        codes = torch.empty(tuple(shape), device="meta")
        return cls(codes, bits, dense, seed, name, cell_bits=cell_bits, marginal=marginal)


def _require_same(name: str, what: str, own: object, other: object) -> None:
    if own != other:
        raise UserError(
            f"The cells of {name} were written with {what} = {own!r}, not {other!r}: "
            f"another write needs another programming."
        )
