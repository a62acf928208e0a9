"""Reads of dense cells: every sample meets a read of its own, whatever else is read beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.cells import RARE_RATES, StoredCells
from ohmformer.engine.native import Kernels, kernels
from ohmformer.engine.programming import BLOCK, CEILINGS
from ohmformer.engine.randomness import (
    Draw,
    mix_keys,
    poisson_counts,
    random_words,
    signed,
    uniforms,
    uniforms64,
)
from ohmformer.numerals import HOST

__all__ = ["Misreads", "ReadPlan", "plan_reads"]

COUNTS, HITS, OFTEN = 0x636F756E74, 0x68697473, 0x6F6674656E  # streams of the three draws of a read
PIECE = 32.0  # mean hits that one inversion counts; larger ones are the sum of several
CHUNK_BLOCKS = 16  # random blocks drawn under one key for cells that are often misread, four cells each
CHUNK = 4 * CHUNK_BLOCKS
SEARCH = 16  # kept cells for which one binary search is worth its time

Numbers = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Misreads:
    """The wrong numbers of some reads of one tensor, by position, then by sample; each named once.

    They are found in host memory, where the cells lie.

    sample:   index into the samples of the plan, int64
    position: flat index of the number, int64
    delta:    what must be added to the number, int32, not 0
    """

    sample: Tensor
    position: Tensor
    delta: Tensor

    def __len__(self) -> int:
        return len(self.position)

    def on(self, device: torch.device) -> Misreads:
        """The same on a device."""
        if device == self.position.device:
            return self
        return Misreads(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Cells that were read wrong: index among the kept ones, and the symbol that was read."""

    sample: Tensor
    kept: Tensor
    read: Tensor


def _words(seed: int, stream: int, keys: Tensor, blocks: int, first: int = 0) -> Tensor:
    """``random_words``, by a kernel where there is one."""
    native = kernels()
    if native is None or keys.device.type != "cpu":
        return random_words(seed, stream, keys, blocks, first)
    return native.words(Draw(seed=seed, stream=stream, keys=keys), blocks, first)


def _lowest(seed: int, keys: Tensor, share: float) -> Tensor:
    """Rows whose first uniform number of ``COUNTS`` may lie below ``share``: those at least, int64."""
    native = kernels()
    if native is None or share > 1 / 4:
        return torch.arange(len(keys), device=HOST)
    below = int(share * 2.0**64) + (1 << 14)  # uniforms64 leaves out the lowest 11 bits
    found = native.hits(Draw(seed=seed, stream=COUNTS, keys=keys), below)
    return keys.new_zeros(0) if found is None else found


def plan_reads(stores: Sequence[StoredCells], seed: int, samples: Tensor) -> ReadPlan:
    """Read all stored tensors once for each sample.

    seed:    of the reads
    samples: [sample], int64 keys, in host memory as the cells; a sample's reads depend on its key, the seed
             and the tensor's name alone
    """
    return ReadPlan(stores, seed, samples)


class ReadPlan:
    """One read of every stored tensor by every sample; drawn tensor by tensor when asked for.

    Whether a tensor is hit at all is drawn for all of them at once.
    """

    def __init__(self, stores: Sequence[StoredCells], seed: int, samples: Tensor) -> None:
        self.stores = tuple(stores)
        self.seed = seed
        self.samples = samples
        streams = torch.tensor(
            [signed(store.stream) for store in self.stores], dtype=torch.int64, device=HOST
        )
        self._keys = mix_keys(streams.unsqueeze(-1), samples.unsqueeze(0))  # [store, sample]
        rates = torch.tensor([store.rare_rate for store in self.stores], dtype=torch.float64, device=HOST)
        self._counts = torch.zeros_like(self._keys)
        single = ((rates > 0) & (rates <= PIECE)).nonzero().squeeze(-1)
        if len(single) and len(samples):
            self._count(single, rates[single])
        touched = (self._counts > 0).any(-1).tolist()
        any_samples = len(samples) > 0
        self._touched = [
            any_samples and (hit or store.often_count > 0 or store.rare_rate > PIECE)
            for hit, store in zip(touched, self.stores, strict=True)
        ]

    def _count(self, stores: Tensor, rates: Tensor) -> None:
        """Draw the hits of all reads of some stores that expect few."""
        keys = self._keys[stores].reshape(-1)
        some = -torch.expm1(-rates)  # chance of any hit at all
        which = _lowest(self.seed, keys, float(some.max()))
        if not len(which):
            return
        uniform = uniforms64(_words(self.seed, COUNTS, keys[which], 1)[:, :2]).squeeze(-1)
        own = which // len(self.samples)
        hit = (uniform < some[own]).nonzero().squeeze(-1)
        which, own = which[hit], own[hit]
        # 1 - u is rounded where u is small, but there the count is 1
        counts = poisson_counts(rates[own], 1 - uniform[hit]).clamp_min(1)
        self._counts[stores[own], which % len(self.samples)] = counts

    def touches(self, index: int) -> bool:
        """Whether reads of one tensor may be wrong; False: they are right."""
        return self._touched[index]

    def misreads(
        self, index: int, rows: Tensor | None = None, numbers: Numbers | None = None
    ) -> Misreads | None:
        """The wrong numbers of one tensor, None if there are none; the same ones whenever asked.

        rows:    [row] or [sample, row], bool: the rows that are read; None reads all
        numbers: gives what is stored at flat positions; with SECDED, three wrong bits in a word may look
                 like one elsewhere, which the decoder then flips; left out where ``numbers`` is None
        """
        if not self._touched[index]:
            return None
        native = self._native(index)
        if native is None:
            return self._by_torch(index, len(self.samples), rows, numbers)
        found = native.wrong_numbers(self._by_kernel(native, index, len(self.samples), rows))
        return None if found is None else Misreads(sample=found[0], position=found[1], delta=found[2])

    def _native(self, index: int) -> Kernels | None:
        """The kernels, where they can read this tensor."""
        store = self.stores[index]
        native = kernels()
        if native is None or store.layout.words is not None or store.law.table is None:
            return None
        return native

    def _by_kernel(self, native: Kernels, index: int, samples: int, rows: Tensor | None) -> Any:
        store, keys = self.stores[index], self._keys[index][:samples]
        draws = (
            Draw(seed=self.seed, stream=HITS, keys=keys),
            Draw(seed=self.seed, stream=OFTEN, keys=keys),
        )
        if rows is not None and rows.ndim == 2:
            rows = rows[:samples]
        wanted = None if rows is None else _wanted(store, rows)
        return native.reads(store, RARE_RATES, draws, self._rare_counts(store, index)[:samples], rows, wanted)

    def _by_torch(
        self, index: int, samples: int, rows: Tensor | None, numbers: Numbers | None
    ) -> Misreads | None:
        store = self.stores[index]
        found = (self._rare(store, index, samples), self._often(store, index, rows, samples))
        parts = [part for part in found if part is not None]
        if not parts:
            return None
        wrong = _Cells(
            sample=torch.cat([part.sample for part in parts]),
            kept=torch.cat([part.kept for part in parts]),
            read=torch.cat([part.read for part in parts]),
        )
        sample, position, delta = (
            _wrong_numbers(store, wrong)
            if store.layout.words is None
            else _decoded(store, wrong, samples, numbers)
        )
        if rows is not None:
            row = position // store.inner
            keep = rows[row] if rows.ndim == 1 else rows[sample, row]
            sample, position, delta = sample[keep], position[keep], delta[keep]
        return _merged(sample, position, delta, samples)

    def _rare_counts(self, store: StoredCells, index: int) -> Tensor:
        """[sample] hits in all classes but the last, int64."""
        if store.rare_rate <= PIECE:
            return self._counts[index]
        pieces = int(store.rare_rate / PIECE) + 1
        uniform = uniforms64(_words(self.seed, COUNTS, self._keys[index], (pieces + 1) // 2))[:, :pieces]
        below = _poisson_sums(store.rare_rate / pieces)
        return torch.searchsorted(below, uniform.contiguous()).sum(-1)

    def _rare(self, store: StoredCells, index: int, samples: int | None = None) -> _Cells | None:
        """Wrong cells of all classes but the last: places by Poisson hits, thinned to each cell's chance.

        A hit of a class's rate stays with the ratio of -ln(1 - P(wrong)) to it, so that a cell is hit by
        one that stays with its own chance.
        """
        counts = self._rare_counts(store, index)[:samples]
        keys, most = self._keys[index][:samples], int(counts.max())
        marginal, parts = store.marginal, []
        step = max(1, BLOCK // 4 // len(counts))
        for start in range(0, most, step):
            blocks = min(step, most - start)
            words = _words(self.seed, HITS, keys, blocks, start).view(len(keys), blocks, 4)
            numbers = torch.arange(start, start + blocks, device=HOST)
            sample, number = (numbers < counts.unsqueeze(-1)).nonzero(as_tuple=True)
            words = words[sample, number]
            assert marginal is not None
            place, kind = _places(store, uniforms64(words[:, :2]).squeeze(-1))
            toss = uniforms64(words[:, 2:]).squeeze(-1) * RARE_RATES[kind]
            below = store.law.cumulative(marginal.conductance_S[place], marginal.symbols[place])
            chance = below[:, -1]
            rate = ((((chance * (1 / 5) + 1 / 4) * chance + 1 / 3) * chance + 1 / 2) * chance + 1) * chance
            keep = (toss < rate).nonzero().squeeze(-1)
            read = _symbols_read(below[keep], toss[keep] * chance[keep] / rate[keep])
            parts.append((sample[keep], place[keep], read))
        if not parts:
            return None
        sample, place, read = (torch.cat(column) for column in zip(*parts, strict=True))
        if not len(sample):
            return None
        # of several hits on one cell in one read the first counts
        order = torch.argsort(sample * int(store.bounds[-1]) + place, stable=True)
        sample, place, read = sample[order], place[order], read[order]
        first = torch.ones(len(order), dtype=torch.bool, device=HOST)
        first[1:] = (place[1:] != place[:-1]) | (sample[1:] != sample[:-1])
        return _Cells(sample=sample[first], kept=place[first], read=read[first])

    def _often(
        self, store: StoredCells, index: int, rows: Tensor | None, samples: int | None = None
    ) -> _Cells | None:
        """Wrong cells of the last class: one word for each cell and sample."""
        size = store.often_count
        if size == 0:
            return None
        marginal, limits, keys = store.marginal, store.often_limits, self._keys[index][:samples]
        assert marginal is not None
        start = marginal.bounds[-2]
        chunks = torch.arange(-(-size // CHUNK), device=HOST)
        wanted = None if rows is None else _wanted(store, rows)
        if wanted is not None:
            ends = start + chunks * CHUNK, start + ((chunks + 1) * CHUNK).clamp_max(size) - 1
            chunks = chunks[wanted[ends[0] // CHUNK] | wanted[ends[1] // CHUNK]]
        parts = []
        step = max(1, BLOCK // 4 // (CHUNK * len(keys)))
        for some in chunks.split(step):
            cell = (some.unsqueeze(-1) * CHUNK + torch.arange(CHUNK, device=HOST)).view(-1)
            limit = torch.where(cell < size, limits[cell.clamp_max(size - 1)].long() + (1 << 31), -1)
            each = mix_keys(keys.unsqueeze(-1), some.unsqueeze(0))
            word = _words(self.seed, OFTEN, each.view(-1), CHUNK_BLOCKS).view(len(keys), -1)
            sample, place = (word <= limit).nonzero(as_tuple=True)
            parts.append((sample, cell[place] + start, word[sample, place]))
        if not parts:
            return None
        sample, kept, word = (torch.cat(column) for column in zip(*parts, strict=True))
        if not len(kept):
            return None
        below = store.law.cumulative(marginal.conductance_S[kept], marginal.symbols[kept])
        return _Cells(sample=sample, kept=kept, read=_symbols_read(below, uniforms(word)))


def _symbols_read(below: Tensor, toss: Tensor) -> Tensor:
    """[cell] symbols that wrong reads give, int64: how many sums of chances lie at or below a toss.

    The toss may reach the last of them by rounding; then the last wrong symbol is read.
    """
    toss = toss.minimum(below[:, -1] * (1 - 2.0**-52))
    return (below[:, :-1] <= toss.unsqueeze(-1)).sum(-1)


@lru_cache(maxsize=1024)
def _poisson_sums(rate: float) -> Tensor:
    """P(N <= n) of a Poisson number of mean ``rate`` up to 32, float64."""
    terms = [math.exp(-rate)]
    for n in range(1, math.ceil(rate + 12 * rate**0.5 + 40)):
        terms.append(terms[-1] * rate / n)
    return torch.tensor(terms, dtype=torch.float64, device=HOST).cumsum(0)


def _wanted(store: StoredCells, rows: Tensor) -> Tensor | None:
    """[kept // 64] bool: stretches of kept cells that lie in rows to be read; None where all may."""
    marginal, size = store.marginal, store.inner * store.layout.symbols
    assert marginal is not None
    if store.layout.words is not None:
        return None
    ids = (rows if rows.ndim == 1 else rows.any(0)).nonzero().squeeze(-1)
    bounds = marginal.bounds
    if len(ids) * len(bounds) * SEARCH > len(marginal):
        return None
    ends = torch.stack((ids * size, (ids + 1) * size - 1)).to(marginal.cells.dtype)
    marks = torch.zeros(len(marginal) // CHUNK + 2, dtype=torch.int32, device=HOST)
    for start, end in pairwise(bounds[1:]):
        cells = marginal.cells[start:end]
        low, high = torch.searchsorted(cells, ends[0]), torch.searchsorted(cells, ends[1], right=True)
        some = high > low
        ones = torch.ones(int(some.sum()), dtype=torch.int32, device=HOST)
        marks.index_add_(0, (low[some] + start) // CHUNK, ones)
        marks.index_add_(0, (high[some] + start - 1) // CHUNK + 1, -ones)
    return marks.cumsum(0) > 0


def _places(store: StoredCells, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where hits fall: index among the kept cells, and class - 1."""
    marginal = store.marginal
    assert marginal is not None
    sums = store.rare_rates
    at = (uniform * sums[-1]).minimum(torch.nextafter(sums[-1], sums.new_zeros(())))
    kind = (torch.searchsorted(sums, at, right=True) - 1).clamp_max(len(CEILINGS) - 2)
    bounds = store.bounds
    first, last = bounds[1:-2][kind], bounds[2:-1][kind]
    share = (at - sums[kind]) / (sums[kind + 1] - sums[kind])
    return (first + (share * (last - first)).long()).clamp_max(last - 1), kind


def _wrong_numbers(store: StoredCells, wrong: _Cells) -> tuple[Tensor, Tensor, Tensor]:
    """Sample, position and delta of each wrong cell."""
    marginal, layout = store.marginal, store.layout
    assert marginal is not None
    cell, stored = marginal.cells[wrong.kept].long(), marginal.symbols[wrong.kept].long()
    index = cell % layout.symbols
    delta = layout.values[index, wrong.read] - layout.values[index, stored]
    return wrong.sample, cell // layout.symbols, delta


def _decoded(
    store: StoredCells, wrong: _Cells, samples: int, numbers: Numbers | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample, position and delta of each data bit that is wrong behind the decoder."""
    marginal, layout, code = store.marginal, store.layout, store.layout.words
    assert marginal is not None
    assert code is not None
    cell, stored = marginal.cells[wrong.kept].long(), marginal.symbols[wrong.kept].long()
    words = code.count(layout.numbers * layout.bits)
    check = cell >= layout.data_cells
    index = torch.where(check, (cell - layout.data_cells) % code.symbols, cell % layout.symbols)
    width = torch.where(check, code.check_bits, layout.bits) - index * layout.cell_bits
    highest = (1 << width.clamp_max(layout.cell_bits)) - 1  # of a partly used cell
    before, after = stored, wrong.read.minimum(highest)
    if store.dense.gray:
        before, after = before ^ (before >> 1), after ^ (after >> 1)
    which, place = (
        (before ^ after).unsqueeze(-1) >> torch.arange(layout.cell_bits, device=HOST) & 1
    ).nonzero(as_tuple=True)
    bit = index[which] * layout.cell_bits + place
    sample, checks = wrong.sample[which], check[which]
    rising = (before[which] >> place & 1) == 0
    check_word = (cell[which] - layout.data_cells) // code.symbols
    span = words * code.data_bits
    data = sample * span + cell[which] // layout.symbols * layout.bits + bit
    data, rising = data[~checks], rising[~checks]
    flipped = code.flipped(
        data // code.data_bits,
        data % code.data_bits,
        (sample * words + check_word)[checks],
        bit[checks],
    )
    stays = ~torch.isin(data, flipped)
    left, rises = data[stays], rising[stays]
    if numbers is not None:
        added = flipped[(flipped % span < layout.numbers * layout.bits) & ~torch.isin(flipped, data)]
        at = added % span
        value = numbers(at // layout.bits).long()
        if store.dense.weight_code == "offset_binary":
            value = value + (1 << (layout.bits - 1))
        left = torch.cat((left, added))
        rises = torch.cat((rises, (value >> at % layout.bits & 1) == 0))
    position, bit = left % span // layout.bits, left % span % layout.bits
    size = 1 << bit
    if store.dense.weight_code == "twos_complement":
        size = torch.where(bit == layout.bits - 1, -size, size)
    return left // span, position, torch.where(rises, size, -size).int()


def _merged(sample: Tensor, position: Tensor, delta: Tensor, samples: int) -> Misreads | None:
    """One entry for each wrong number of each sample, by position, then by sample."""
    place, inverse = (position * samples + sample).unique(return_inverse=True)
    total = delta.new_zeros(len(place), dtype=torch.int32).index_add_(0, inverse, delta)
    wrong = total != 0
    if not bool(wrong.any()):
        return None
    place, total = place[wrong], total[wrong]
    return Misreads(sample=place % samples, position=place // samples, delta=total)
