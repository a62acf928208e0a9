"""Numbers held in dense cells; only the cells that may be misread are kept one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ohmformer.devices import (
    drift,
    level_conductances,
    read_error_probabilities,
    read_sd,
    telegraph_amplitude,
    thresholds,
)
from ohmformer.numerals import from_symbols, symbols_per_value, to_symbols
from ohmformer.specs import DenseCellSpec, DenseSpec
from ohmformer.specs.dense import WeightCode

NEGLIGIBLE = 1e-10  # a cell misread more rarely than this, per read, is taken as never misread
CERTAIN = 1 / 64  # misread probability above which every cell of a class is read physically
SPARSE = 0.02  # share of marginal cells below which their places are drawn instead of a mask over all
BLOCK = 1 << 22
GRID = torch.arange(0, 9.0, 0.01, dtype=torch.float64)  # standardised programming deviations


def _class_ceilings() -> tuple[float, ...]:
    """Largest misread probability of each class, a factor of 64 apart; the last class is unbounded."""
    ceilings = [CERTAIN]
    while ceilings[-1] / 64 > NEGLIGIBLE:
        ceilings.append(ceilings[-1] / 64)
    return (*reversed(ceilings), 1.0)


CEILINGS = _class_ceilings()
FLOORS = (NEGLIGIBLE, *CEILINGS[:-1])
RARE_CEILINGS = torch.tensor(CEILINGS[:-1], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Misreads:
    """The wrong numbers of one read: flat positions and what must be added to the codes there."""

    positions: Tensor
    deltas: Tensor


@dataclass(frozen=True, kw_only=True)
class MarginalCells:
    """The physical cells whose programmed conductance leaves a chance of a wrong read.

    cells:         flat cell index, number·symbols + symbol_index, int64, grouped by class
    symbols:       what was meant to be stored, uint8
    conductance_S: programmed conductance, float32
    empty_S, filled_S: of the cells of the last class alone, drifted, by telegraph state, float32
    bounds:        class c, of misread probabilities up to CEILINGS[c], holds cells[bounds[c] : bounds[c + 1]]
    """

    cells: Tensor
    symbols: Tensor
    conductance_S: Tensor
    empty_S: Tensor
    filled_S: Tensor
    bounds: tuple[int, ...]

    @classmethod
    def of(
        cls,
        cells: Tensor,
        symbols: Tensor,
        conductance_S: Tensor,
        bounds: tuple[int, ...],
        cell: DenseCellSpec,
    ) -> MarginalCells:
        """The cells with the two states of those that are often misread."""
        empty = drift(conductance_S[bounds[-2] :], cell)
        filled = torch.empty_like(empty)
        for start in range(0, len(empty), BLOCK):
            g = empty[start : start + BLOCK]
            filled[start : start + BLOCK] = g / (1 + telegraph_amplitude(g, cell))
        return cls(
            cells=cells,
            symbols=symbols,
            conductance_S=conductance_S,
            empty_S=empty,
            filled_S=filled,
            bounds=bounds,
        )

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def rare_sizes(self) -> Tensor:
        """Cells in each class but the last."""
        return torch.tensor([b - a for a, b in pairwise(self.bounds[:-1])], dtype=torch.float64)


def _misread_probability(conductance: Tensor, symbol: Tensor, cell: DenseCellSpec) -> Tensor:
    """Probability that a cell programmed to ``conductance`` is read as another symbol than ``symbol``."""
    chances = read_error_probabilities(conductance, cell)
    return chances.scatter(-1, symbol.long().unsqueeze(-1), 0.0).sum(-1)


@lru_cache(maxsize=64)
def _class_edges(cell: DenseCellSpec) -> Tensor:
    """[symbol, side, class] standardised deviations at which the classes begin.

    Side 0 lies below the nominal conductance, side 1 above it. A class begins at the last point of the
    grid whose misread probability is at most the class's floor, so no cell in a class exceeds its ceiling
    (the probability grows outwards: the cell moves towards a threshold). 0 where the nominal conductance
    exceeds the floor already. Without programming noise only the nominal conductance exists: 0 or
    infinity.
    """
    sd = cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)
    edges = torch.empty(cell.levels, 2, len(FLOORS), dtype=torch.float64)
    floors = torch.tensor(FLOORS, dtype=torch.float64)
    for symbol, nominal in enumerate(level_conductances(cell).tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            conductance = (nominal + sign * GRID * sd).clamp_min(0.0)
            chance = _misread_probability(conductance, torch.full(GRID.shape, symbol), cell)
            over = (chance.unsqueeze(-1) > floors).cummax(0).values
            first = torch.where(over.any(0), over.int().argmax(0), len(GRID))
            begins = GRID[(first - 1).clamp_min(0)]
            edges[symbol, side] = torch.where((first == len(GRID)) & (sd == 0), math.inf, begins)
    return edges


@lru_cache(maxsize=64)
def _symbol_values(bits: int, cell_bits: int, code: WeightCode, gray: bool) -> Tensor:
    """[symbol_index, symbol] contribution of a symbol to the number (both codes are additive)."""
    symbols, levels = symbols_per_value(bits, cell_bits), 1 << cell_bits
    table = torch.zeros(symbols, levels, dtype=torch.float64)
    for index in range(symbols):
        words = torch.zeros(levels, symbols, dtype=torch.uint8)
        words[:, index] = torch.arange(levels)
        values = from_symbols(words, bits, cell_bits, code, gray).double()
        table[index] = values - values[0]
    return table


def _distinct(total: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` different places of ``total``, every such set equally likely."""
    if count > total // 4:
        return torch.randperm(total, generator=generator)[:count].sort().values
    found = torch.zeros(0, dtype=torch.int64)
    while len(found) < count:
        more = torch.randint(total, (count - len(found),), generator=generator)
        found = torch.cat((found, more)).unique()
    return found


class StoredTensor:
    """Signed numbers of ``bits`` bits in dense cells, programmed once.

    Programming draws one conductance per cell (fixed until rewritten). Kept are the cells whose own
    chance of a misread exceeds ``NEGLIGIBLE``; the places and conductances of exactly those are drawn
    from the same law as a draw for every cell. The cost of a ``read`` follows the wrong symbols.

    cell_bits: bits of a cell here, if fewer than the spec's (vectors)
    marginal:  cells programmed before, taken up instead of programming

    Error: at most ``NEGLIGIBLE`` expected misreads per remaining cell and read are left out.
    """

    def __init__(
        self,
        codes: Tensor,
        bits: int,
        dense: DenseSpec,
        generator: torch.Generator | None,
        *,
        cell_bits: int | None = None,
        marginal: MarginalCells | None = None,
    ) -> None:
        self.codes = codes.contiguous()
        self.bits = bits
        self.dense = dense
        self._cell = replace(dense.cell, bits=cell_bits or dense.cell.bits)
        self.symbols = symbols_per_value(bits, self._cell.bits)
        self._value = _symbol_values(bits, self._cell.bits, dense.weight_code, dense.gray)
        self.marginal = marginal
        if marginal is None and not codes.is_meta:
            if generator is None:
                raise ValueError("programming needs a generator")
            self.marginal = self._program(generator)

    @property
    def cells(self) -> int:
        """Dense cells in use."""
        return self.codes.numel() * self.symbols

    def _symbols_of(self, codes: Tensor) -> Tensor:
        """[number, symbol_index] of flat codes."""
        return to_symbols(
            codes.to(torch.int32), self.bits, self._cell.bits, self.dense.weight_code, self.dense.gray
        )

    def _program(self, generator: torch.Generator) -> MarginalCells:
        cell = self._cell
        edges = _class_edges(cell)
        tails = 0.5 * torch.special.erfc(edges[:, :, 0] / math.sqrt(2))  # [symbol, side]
        found, symbol = self._draw_places(tails.sum(-1), generator)
        kind = torch.empty(len(found), dtype=torch.uint8)
        conductance = torch.empty(len(found), dtype=torch.float32)
        sd = cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)
        for value, nominal in enumerate(level_conductances(cell).tolist()):
            chosen = (symbol == value).nonzero().squeeze(-1)
            for start in range(0, len(chosen), BLOCK):
                part = chosen[start : start + BLOCK]
                deviation = _draw_deviations(tails[value], len(part), generator)
                own = torch.zeros(len(part), dtype=torch.uint8)
                for below, above in edges[value, :, 1:].T.tolist():
                    own += (deviation < -below) | (deviation > above)
                kind[part] = own
                conductance[part] = deviation.mul_(sd).add_(nominal).clamp_min_(0.0)
        return self._with_stuck(found, symbol, conductance, kind, generator)

    def _draw_places(self, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cells programmed outside the safe interval of their symbol (its probability: ``share``)."""
        flat = self.codes.reshape(-1)
        if float(share.max()) == 0 or not len(flat):
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.uint8)
        places, symbols = [], []
        often = share >= SPARSE
        if bool(often.any()):
            # a float32 deviate is a multiple of 2^-24: fine for these shares, too coarse for small ones
            limit = torch.where(often, share, 0.0).float()
            for start in range(0, len(flat), BLOCK):
                symbol = self._symbols_of(flat[start : start + BLOCK]).reshape(-1)
                keep = torch.rand(symbol.shape, generator=generator) < limit[symbol.int()]
                places.append(keep.nonzero().squeeze(-1) + start * self.symbols)
                symbols.append(symbol[keep])
        seldom = torch.where(often, 0.0, share)
        largest = float(seldom.max())
        if largest > 0:
            total = torch.tensor([float(self.cells)], dtype=torch.float64)
            drawn = int(
                torch.binomial(total, torch.tensor([largest], dtype=torch.float64), generator=generator)
            )
            place = _distinct(self.cells, drawn, generator)
            chance = torch.rand(len(place), generator=generator, dtype=torch.float64) * largest
            symbol = self._symbol_at(place)
            keep = chance < seldom[symbol.long()]
            places.append(place[keep])
            symbols.append(symbol[keep])
        return torch.cat(places), torch.cat(symbols)

    def _symbol_at(self, cells: Tensor) -> Tensor:
        """Symbols meant to be stored in some cells, uint8."""
        word = self._symbols_of(self.codes.reshape(-1)[cells // self.symbols])
        return word.gather(-1, (cells % self.symbols).unsqueeze(-1)).squeeze(-1)

    def _with_stuck(
        self, found: Tensor, symbol: Tensor, conductance: Tensor, kind: Tensor, generator: torch.Generator
    ) -> MarginalCells:
        """Put stuck cells over what was programmed in their place, and group all by class."""
        noise = self._cell.noise
        rate = noise.stuck_low_rate + noise.stuck_high_rate
        if rate > 0:
            total = torch.tensor([float(self.cells)], dtype=torch.float64)
            drawn = int(torch.binomial(total, torch.tensor([rate], dtype=torch.float64), generator=generator))
            stuck = _distinct(self.cells, drawn, generator)
            high = torch.rand(len(stuck), generator=generator, dtype=torch.float64) * rate
            level = torch.where(high < noise.stuck_high_rate, self._cell.g_max_S, self._cell.g_min_S)
            keep = ~torch.isin(found, stuck)
            found, symbol = torch.cat((found[keep], stuck)), torch.cat((symbol[keep], self._symbol_at(stuck)))
            conductance = torch.cat((conductance[keep], level.float()))
            last = torch.full((len(stuck),), len(CEILINGS) - 1, dtype=torch.uint8)
            kind = torch.cat((kind[keep], last))
        members = [(kind == index).nonzero().squeeze(-1) for index in range(len(CEILINGS))]
        bounds = (0, *accumulate(len(own) for own in members))
        order = torch.cat(members)
        return MarginalCells.of(found[order], symbol[order], conductance[order], bounds, self._cell)

    def read(self, generator: torch.Generator, rows: Tensor | None = None) -> Misreads | None:
        """Read every cell once, or those of some rows; None if all of them were read right.

        rows: [row] bool, the rows that are read; None reads all

        Cells that are often misread are read as the device reads them: telegraph state, environment and
        read noise, thresholds. Of the others those that go wrong are drawn by their own probability.
        """
        marginal = self.marginal
        if marginal is None or not len(marginal):
            return None
        rare, rare_read = self._read_rare(marginal, generator)
        if rows is not None:
            wanted = rows[marginal.cells[rare] // (self.symbols * self.codes.shape[-1])]
            rare, rare_read = rare[wanted], rare_read[wanted]
        parts = [self._read_often(marginal, rows, generator), (rare, rare_read)]
        chosen = torch.cat([part[0] for part in parts])
        if not len(chosen):
            return None
        read = torch.cat([part[1] for part in parts])
        place, stored = marginal.cells[chosen], marginal.symbols[chosen].long()
        number, index = place // self.symbols, place % self.symbols
        delta = (self._value[index, read] - self._value[index, stored]).to(self.codes.dtype)
        return Misreads(positions=number, deltas=delta)

    def _read_often(
        self, marginal: MarginalCells, rows: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Indices of misread cells of the last class, and what was read."""
        start, stop = marginal.bounds[-2:]
        occupancy = self._cell.noise.telegraph_occupancy
        borders = thresholds(self._cell).tolist()
        chosen, read = [], []
        for first in range(start, stop, BLOCK):
            part = slice(first, min(first + BLOCK, stop))
            empty = marginal.empty_S[part.start - start : part.stop - start]
            filled = marginal.filled_S[part.start - start : part.stop - start]
            wanted: Tensor | None = None
            if rows is not None:
                wanted = (
                    rows[marginal.cells[part] // (self.symbols * self.codes.shape[-1])].nonzero().squeeze(-1)
                )
                empty, filled = empty[wanted], filled[wanted]
            toss = torch.rand(empty.shape, generator=generator)
            g = torch.where(toss < occupancy, filled, empty)
            g = g + torch.randn(g.shape, generator=generator).mul_(read_sd(g, self._cell))
            symbol = torch.zeros(g.shape, dtype=torch.uint8)
            for border in borders:
                symbol += g >= border
            stored = marginal.symbols[part] if wanted is None else marginal.symbols[part][wanted]
            wrong = (symbol != stored).nonzero().squeeze(-1)
            read.append(symbol[wrong].long())
            chosen.append((wrong if wanted is None else wanted[wrong]) + first)
        empty_long = torch.zeros(0, dtype=torch.int64)
        return torch.cat([empty_long, *chosen]), torch.cat([empty_long, *read])

    def _read_rare(self, marginal: MarginalCells, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of misread cells of the other classes, and what was read."""
        bounds = marginal.bounds
        sizes, ceilings = marginal.rare_sizes, RARE_CEILINGS
        # hits of rate -ln(1 - p) on every cell: each is hit at least once with probability p, independently
        counts = torch.poisson(sizes * -torch.log1p(-ceilings), generator=generator).long()
        empty = torch.zeros(0, dtype=torch.int64)
        if not int(counts.sum()):
            return empty, empty
        start = torch.tensor(bounds[:-2]).repeat_interleave(counts)
        size = sizes.long().repeat_interleave(counts)
        offset = (torch.rand(len(size), generator=generator, dtype=torch.float64) * size).long()
        place, inverse = torch.unique(start + offset, return_inverse=True)
        ceiling = torch.empty(len(place), dtype=torch.float64)
        ceiling[inverse] = ceilings.repeat_interleave(counts)
        chances = read_error_probabilities(marginal.conductance_S[place].double(), self._cell)
        wrong = chances.scatter(-1, marginal.symbols[place].long().unsqueeze(-1), 0.0).clamp_min(0.0)
        toss = torch.rand(len(place), generator=generator, dtype=torch.float64) * ceiling
        keep = toss < wrong.sum(-1)
        if not bool(keep.any()):
            return empty, empty
        return place[keep], torch.multinomial(wrong[keep], 1, generator=generator).squeeze(-1)


def _draw_deviations(tails: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Standardised programming deviations outside the safe interval of one symbol, [count], float32.

    tails: [side] probability mass of a standard normal below and above the safe interval.
    """
    low, total = float(tails[0]), float(tails.sum())
    if total == 1.0:  # no interval is safe
        return torch.randn(count, generator=generator)
    mass = torch.rand(count, generator=generator, dtype=torch.float64).mul_(total)
    below = mass < low
    # the mass beyond the deviation, kept in the tail, where the inverse normal is accurate
    beyond = torch.where(below, mass, total - mass).clamp_min_(1e-300)
    deviation = torch.special.ndtri(beyond).float()
    return torch.where(below, deviation, -deviation)
