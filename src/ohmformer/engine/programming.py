"""Programming dense cells: only those that may be misread are drawn, by the law of a draw for every cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from ohmformer.devices import level_conductances, read_error_probabilities
from ohmformer.engine.words import WordCode
from ohmformer.numerals import HOST, from_symbols, on_host, symbols_per_value, to_symbols
from ohmformer.specs import DenseCellSpec, DenseSpec

NEGLIGIBLE = 1e-10  # a cell misread more rarely than this, per read, is taken as never misread
CERTAIN = 1 / 64  # misread probability above which every cell of a class is asked at every read
FINENESS = 4.0  # between the ceilings of neighbouring classes
SPARSE = 0.02  # share of marginal cells below which their places are drawn instead of a mask over all
BLOCK = 1 << 18
GRID = torch.arange(0, 9.0, 0.01, dtype=torch.float64, device=HOST)  # standardised programming deviations


def _class_ceilings() -> tuple[float, ...]:
    """Largest misread probability of each class; the last class is unbounded."""
    ceilings = [CERTAIN]
    while ceilings[-1] / FINENESS > NEGLIGIBLE:
        ceilings.append(ceilings[-1] / FINENESS)
    return (*reversed(ceilings), 1.0)


CEILINGS = _class_ceilings()
FLOORS = (NEGLIGIBLE, *CEILINGS[:-1])


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """Which cell holds which bits of the numbers of one tensor.

    Data cells come first, cell = number·symbols + symbol_index; with SECDED the check cells of word 0, 1, ...
    follow, each word the next ``secded_data_bits`` bits of the numbers in their order.

    shape:     of the tensor, [row, inner] where it is read by rows
    bits:      of a number
    cell_bits: of a cell
    """

    shape: tuple[int, ...]
    bits: int
    cell_bits: int
    dense: DenseSpec

    @cached_property
    def numbers(self) -> int:
        """Numbers stored."""
        return math.prod(self.shape)

    @cached_property
    def symbols(self) -> int:
        """Cells of one number."""
        return symbols_per_value(self.bits, self.cell_bits)

    @cached_property
    def data_cells(self) -> int:
        """Cells that hold the numbers."""
        return self.numbers * self.symbols

    @cached_property
    def words(self) -> WordCode | None:
        """The error-correcting code of the words; None without."""
        data_bits = self.dense.secded_data_bits
        return None if data_bits == 0 else WordCode(data_bits, self.cell_bits, self.dense.gray)

    @cached_property
    def cells(self) -> int:
        """Cells in use, check cells included."""
        checks = 0 if self.words is None else self.words.count(self.numbers * self.bits) * self.words.symbols
        return self.data_cells + checks

    @cached_property
    @on_host
    def values(self) -> Tensor:
        """[symbol_index, symbol], int32: what a symbol adds to the number; both weight codes are additive."""
        levels = 1 << self.cell_bits
        table = torch.zeros(self.symbols, levels, dtype=torch.int32)
        for index in range(self.symbols):
            words = torch.zeros(levels, self.symbols, dtype=torch.uint8)
            words[:, index] = torch.arange(levels)
            values = from_symbols(words, self.bits, self.cell_bits, self.dense.weight_code, self.dense.gray)
            table[index] = values.int() - values[0].int()
        return table

    def symbols_of(self, codes: Tensor) -> Tensor:
        """[number, symbol_index], uint8, of flat codes."""
        dense = self.dense
        return to_symbols(codes.to(torch.int32), self.bits, self.cell_bits, dense.weight_code, dense.gray)


@dataclass(frozen=True, kw_only=True)
class SymbolsToStore:
    """The symbols of all cells of a tensor, made from its flat codes where they are needed."""

    codes: Tensor
    layout: CellLayout

    def at(self, cells: Tensor) -> Tensor:
        """Symbols meant to be stored in some cells, uint8; cells ascending, int64."""
        layout = self.layout
        data = cells
        if layout.words is not None:
            data = cells[cells < layout.data_cells]
        word = layout.symbols_of(self.codes[data // layout.symbols])
        found = word.gather(-1, (data % layout.symbols).unsqueeze(-1)).squeeze(-1)
        if layout.words is None or len(data) == len(cells):
            return found
        check = cells[len(data) :] - layout.data_cells
        place, inverse = (check // layout.words.symbols).unique(return_inverse=True)
        symbols = layout.words.check_symbols(self._word_bits(place))
        return torch.cat((found, symbols[inverse, check % layout.words.symbols]))

    def _word_bits(self, words: Tensor) -> Tensor:
        """[word, data bit], uint8; the last word is filled up with zeros."""
        layout = self.layout
        size, bits = layout.dense.secded_data_bits, layout.bits
        place = words.unsqueeze(-1) * size + torch.arange(size)
        number = place // bits
        pattern = self.codes[number.clamp_max(layout.numbers - 1)].long()
        if layout.dense.weight_code == "offset_binary":
            pattern = pattern + (1 << (bits - 1))
        return ((pattern >> (place % bits)) & (number < layout.numbers)).to(torch.uint8)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """First cell and symbols of one stretch of cells after the other."""
        layout = self.layout
        for start in range(0, layout.numbers, BLOCK):
            symbols = layout.symbols_of(self.codes[start : start + BLOCK]).reshape(-1)
            yield start * layout.symbols, symbols
        if layout.words is not None:
            count = layout.words.count(layout.numbers * layout.bits)
            step = max(1, BLOCK // layout.dense.secded_data_bits)
            for start in range(0, count, step):
                words = torch.arange(start, min(start + step, count))
                symbols = layout.words.check_symbols(self._word_bits(words)).reshape(-1)
                yield layout.data_cells + start * layout.words.symbols, symbols


@lru_cache(maxsize=64)
@on_host
def class_edges(cell: DenseCellSpec) -> Tensor:
    """[symbol, side, class] standardised deviations at which the classes begin.

    Side 0 lies below the nominal conductance, side 1 above it. A class begins at the last point of the
    grid whose misread probability is at most the class's floor, so no cell in a class exceeds its ceiling
    (the probability grows outwards: the cell moves towards a threshold). 0 where the nominal conductance
    exceeds the floor already. Without programming noise only the nominal conductance exists: 0 or
    infinity.
    """
    sd = _programming_sd(cell)
    edges = torch.empty(cell.levels, 2, len(FLOORS), dtype=torch.float64)
    floors = torch.tensor(FLOORS, dtype=torch.float64)
    for symbol, nominal in enumerate(level_conductances(cell).tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            conductance = (nominal + sign * GRID * sd).clamp_min(0.0)
            wrong = wrong_reads(conductance, torch.full(GRID.shape, symbol), cell).sum(-1)
            over = (wrong.unsqueeze(-1) > floors).cummax(0).values
            first = torch.where(over.any(0), over.int().argmax(0), len(GRID))
            begins = GRID[(first - 1).clamp_min(0)]
            edges[symbol, side] = torch.where((first == len(GRID)) & (sd == 0), math.inf, begins)
    return edges


def safe_deviations(cells: Sequence[DenseCellSpec]) -> Tensor:
    """[symbol, side] deviations up to which a cell is never misread in any of some states, float64."""
    return torch.stack([class_edges(cell)[..., 0] for cell in cells]).amin(0)


def wrong_reads(conductance: Tensor, symbol: Tensor, cell: DenseCellSpec) -> Tensor:
    """[cell, symbol] probability that cells are read as each symbol but the one meant (there: 0)."""
    chances = read_error_probabilities(conductance, cell)
    return chances.scatter_(-1, symbol.long().unsqueeze(-1), 0.0)


@lru_cache(maxsize=64)
@on_host
def _class_table(cell: DenseCellSpec) -> Tensor:
    """[symbol · step of the grid], uint8: class by deviation, all edges being points of the grid."""
    edges = class_edges(cell)
    middle = (GRID[:-1] + GRID[1:]) / 2
    points = torch.cat((middle, middle[-1:] + GRID[1]))
    sides = (edges.unsqueeze(-1) < points).sum(-2)  # [symbol, side, step]
    return torch.cat((sides[:, 0].flip(-1), sides[:, 1]), -1).to(torch.uint8).view(-1)


def class_of(conductance: Tensor, symbol: Tensor, cell: DenseCellSpec) -> Tensor:
    """Class of cells by what they were programmed to, uint8: 0 never misread, else 1 + class.

    conductance: [cell], S, float32; symbol: [cell], uint8, what was meant
    Error: a float32 conductance may lie beyond a ceiling by its own rounding (1e-3 of the probability).
    """
    sd, symbol, levels = _programming_sd(cell), symbol.int(), level_conductances(cell)
    if sd == 0:  # a cell away from its level is stuck
        own = (class_edges(cell)[:, 0] == 0).sum(-1).to(torch.uint8)
        on_level = conductance == levels.float().index_select(0, symbol)
        return torch.where(on_level, own.index_select(0, symbol), len(CEILINGS)).to(torch.uint8)
    steps = len(GRID)
    deviation = conductance.double().sub_(levels.index_select(0, symbol)).mul_(1 / (float(GRID[1]) * sd))
    place = deviation.add_(steps).clamp_(0, 2 * steps - 1).int()
    return _class_table(cell).index_select(0, place.add_(symbol, alpha=2 * steps))


@dataclass(frozen=True, kw_only=True)
class MarginalCells:
    """The physical cells whose programmed conductance may leave a chance of a wrong read.

    cells:         cell number, int32 where that suffices, else int64; ascending in each class
    symbols:       what was meant to be stored, uint8
    conductance_S: programmed conductance, float32
    safe:          [symbol, side] standardised deviations within which cells were not kept, float64
    bounds:        class c holds cells[bounds[c] : bounds[c + 1]]; class 0 is never misread as things stand,
                   class c of probabilities up to CEILINGS[c - 1]
    """

    cells: Tensor
    symbols: Tensor
    conductance_S: Tensor
    safe: Tensor
    bounds: tuple[int, ...]

    @classmethod
    def grouped(
        cls, cells: Tensor, symbols: Tensor, conductance_S: Tensor, safe: Tensor, cell: DenseCellSpec
    ) -> MarginalCells:
        """The cells in their classes at the noises of ``cell``."""
        kind = torch.empty(len(symbols), dtype=torch.uint8)
        for start in range(0, len(symbols), BLOCK):
            part = slice(start, start + BLOCK)
            kind[part] = class_of(conductance_S[part], symbols[part], cell)
        return cls.by_class(cells, symbols, conductance_S, kind, safe)

    @classmethod
    def by_class(
        cls, cells: Tensor, symbols: Tensor, conductance_S: Tensor, kind: Tensor, safe: Tensor
    ) -> MarginalCells:
        """The cells by class, then by number."""
        if bool((cells[1:] < cells[:-1]).any()):
            cells, order = cells.sort()
            symbols, conductance_S, kind = symbols[order], conductance_S[order], kind[order]
        parts = range(0, len(kind), BLOCK)
        counts = [torch.bincount(kind[at : at + BLOCK], minlength=len(CEILINGS) + 1).tolist() for at in parts]
        bounds = (0, *accumulate(sum(column) for column in zip(*counts, strict=True)))
        if not counts:
            bounds = (0,) * (len(CEILINGS) + 2)
        # block by block: the order of all at once would take more memory than the cells
        made, ends = [torch.empty_like(column) for column in (cells, symbols, conductance_S)], list(bounds)
        for at, own in zip(parts, counts, strict=True):
            order = kind[at : at + BLOCK].argsort(stable=True)
            columns = [
                column[at : at + BLOCK].index_select(0, order).split(own)
                for column in (cells, symbols, conductance_S)
            ]
            for index, count in enumerate(own):
                for target, column in zip(made, columns, strict=True):
                    target[ends[index] : ends[index] + count] = column[index]
                ends[index] += count
        return cls(cells=made[0], symbols=made[1], conductance_S=made[2], safe=safe, bounds=bounds)

    def regrouped(self, cell: DenseCellSpec) -> MarginalCells:
        """The same cells in their classes at other noises."""
        return self.grouped(self.cells, self.symbols, self.conductance_S, self.safe, cell)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def bytes(self) -> int:
        """Memory of the cells."""
        return sum(
            part.numel() * part.element_size() for part in (self.cells, self.symbols, self.conductance_S)
        )


def program_cells(
    source: SymbolsToStore, cell: DenseCellSpec, safe: Tensor, generator: torch.Generator
) -> MarginalCells:
    """Program every cell; those outside the safe deviations of their symbol, and stuck ones, are kept."""
    tails = 0.5 * torch.special.erfc(safe / math.sqrt(2))  # [symbol, side]
    found, symbol = draw_places(source, tails.sum(-1), generator)
    conductance, kind = torch.empty(len(found)), torch.empty(len(found), dtype=torch.uint8)
    nominal, sd = level_conductances(cell).float(), _programming_sd(cell)
    for start in range(0, len(found), BLOCK):
        part = slice(start, start + BLOCK)
        meant = symbol[part]
        deviation = _draw_deviations(tails, meant, generator)
        own = deviation.mul_(sd).add_(nominal.index_select(0, meant.int())).clamp_min_(0.0)
        conductance[part], kind[part] = own, class_of(own, meant, cell)
    if source.layout.cells < 1 << 31:
        found = found.int()
    if cell.noise.stuck_low_rate + cell.noise.stuck_high_rate == 0:
        return MarginalCells.by_class(found, symbol, conductance, kind, safe)
    found, symbol, conductance = _with_stuck(source, cell, found, symbol, conductance, generator)
    return MarginalCells.grouped(found, symbol, conductance, safe, cell)


def draw_places(source: SymbolsToStore, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cells programmed outside the safe interval of their symbol (its probability: ``share``), ascending."""
    total = source.layout.cells
    often = share >= SPARSE
    seldom = torch.where(often, 0.0, share)
    largest = float(seldom.max())
    place, symbol = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.uint8)
    if largest > 0 and total:
        place = places_of(total, largest, generator)
        chance = torch.rand(len(place), generator=generator, dtype=torch.float64) * largest
        symbol = source.at(place)
        keep = chance < seldom[symbol.long()]
        place, symbol = place[keep], symbol[keep]
    if not bool(often.any()):
        return place, symbol
    # a float32 deviate is a multiple of 2^-24: fine for these shares, too coarse for small ones
    limit = torch.where(often, share, 0.0).float()
    kept_as = torch.int32 if total < 1 << 31 else torch.int64
    places, symbols = [], []
    for start, stored in source.blocks():
        keep = torch.rand(stored.shape, generator=generator) < limit.index_select(0, stored.int())
        ends = torch.searchsorted(place, torch.tensor([start, start + len(stored)]))
        keep[place[ends[0] : ends[1]] - start] = True
        chosen = keep.nonzero().squeeze(-1)
        places.append((chosen + start).to(kept_as))
        symbols.append(stored.index_select(0, chosen))
    return torch.cat(places) if places else place, torch.cat(symbols) if symbols else symbol


def places_of(total: int, chance: float, generator: torch.Generator) -> Tensor:
    """Places of ``total``, each with probability ``chance`` on its own; ascending, int64.

    gap = 1 + floor(ln u / ln(1 - chance)),  u uniform on (0, 1]

    Error: a gap above 36.7 / chance (once in 1e16) is not drawn.
    """
    slope, found, last = math.log1p(-chance) if chance < 1 else -math.inf, [], -1
    while last < total:
        mean = (total - last) * chance
        more = int(mean + 4 * math.sqrt(mean)) + 8
        uniform = 1 - torch.rand(more, generator=generator, dtype=torch.float64)
        gaps = uniform.log_().div_(slope).floor_().add_(1).clamp_max_(total + 1.0)
        places = gaps.cumsum(0).long() + last
        found.append(places)
        last = int(places[-1])
    every = torch.cat(found)
    return every[: int(torch.searchsorted(every, total))]


def _programming_sd(cell: DenseCellSpec) -> float:
    return cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)


def _with_stuck(
    source: SymbolsToStore,
    cell: DenseCellSpec,
    found: Tensor,
    symbol: Tensor,
    conductance: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Put stuck cells over what was programmed in their place."""
    noise, total = cell.noise, source.layout.cells
    rate = noise.stuck_low_rate + noise.stuck_high_rate
    stuck = places_of(total, rate, generator)
    high = torch.rand(len(stuck), generator=generator, dtype=torch.float64) * rate
    level = torch.where(high < noise.stuck_high_rate, cell.g_max_S, cell.g_min_S).float()
    keep = ~torch.isin(found, stuck.to(found.dtype))
    return (
        torch.cat((found[keep], stuck.to(found.dtype))),
        torch.cat((symbol[keep], source.at(stuck))),
        torch.cat((conductance[keep], level)),
    )


def _draw_deviations(tails: Tensor, symbol: Tensor, generator: torch.Generator) -> Tensor:
    """Standardised programming deviations outside the safe interval of each cell's symbol, [cell], float32.

    tails: [symbol, side] probability mass of a standard normal below and above the safe interval.
    """
    symbol = symbol.int()
    total = tails.sum(-1).index_select(0, symbol)
    mass = torch.rand(len(symbol), generator=generator, dtype=torch.float64).mul_(total)
    below = mass < tails[:, 0].contiguous().index_select(0, symbol)
    # the mass beyond the deviation, kept in the tail, where the inverse normal is accurate
    beyond = torch.where(below, mass, total.sub_(mass)).clamp_min_(1e-300)
    deviation = torch.special.ndtri(beyond).float()
    return torch.where(below, deviation, -deviation)
