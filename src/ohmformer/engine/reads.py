"""Reads of dense cells: every sample meets a read of its own, whatever else is read beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.engine.cells import StoredCells
from ohmformer.engine.native import kernels
from ohmformer.engine.programming import BLOCK, CEILINGS, wrong_reads
from ohmformer.engine.randomness import (
    Draw,
    mix_keys,
    poisson_counts,
    random_words,
    signed,
    uniforms,
    uniforms64,
)

__all__ = ["Misreads", "ReadPlan", "plan_reads"]

COUNTS, HITS, OFTEN = 0x636F756E74, 0x68697473, 0x6F6674656E  # streams of the three draws of a read
PIECE = 32.0  # mean hits that one inversion counts; larger ones are the sum of several
CHUNK_BLOCKS = 16  # random blocks drawn under one key for cells that are often misread, four cells each
CHUNK = 4 * CHUNK_BLOCKS
_CEILINGS = torch.tensor(CEILINGS[:-1], dtype=torch.float64)

Numbers = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Misreads:
    """The wrong numbers of some reads of one tensor, by position, then by sample; each named once.

    sample:   index into the samples of the plan, int64
    position: flat index of the number, int64
    delta:    what must be added to the number, int32, not 0
    """

    sample: Tensor
    position: Tensor
    delta: Tensor

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Cells that were read wrong: index among the kept ones, and the symbol that was read."""

    sample: Tensor
    kept: Tensor
    read: Tensor


def _words(seed: int, stream: int, keys: Tensor, blocks: int) -> Tensor:
    """``random_words``, by a kernel where there is one."""
    native = kernels()
    if native is None or keys.device.type != "cpu":
        return random_words(seed, stream, keys, blocks)
    return native.words(Draw(seed=seed, stream=stream, keys=keys), blocks)


def _lowest(seed: int, keys: Tensor, share: float) -> Tensor:
    """Rows whose first uniform number of ``COUNTS`` may lie below ``share``: those at least, int64."""
    native = kernels()
    if native is None or share > 1 / 4:
        return torch.arange(len(keys))
    below = int(share * 2.0**64) + (1 << 14)  # uniforms64 leaves out the lowest 11 bits
    found = native.hits(Draw(seed=seed, stream=COUNTS, keys=keys), below)
    return torch.zeros(0, dtype=torch.int64) if found is None else found


def plan_reads(stores: Sequence[StoredCells], seed: int, samples: Tensor) -> ReadPlan:
    """Read all stored tensors once for each sample.

    seed:    of the reads
    samples: [sample], int64 keys; a sample's reads depend on its key, the seed and the tensor's name alone
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
        streams = torch.tensor([signed(store.stream) for store in self.stores], dtype=torch.int64)
        self._keys = mix_keys(streams.unsqueeze(-1), samples.unsqueeze(0))  # [store, sample]
        rates = torch.tensor([store.rare_rate for store in self.stores], dtype=torch.float64)
        self._counts = torch.zeros(self._keys.shape, dtype=torch.int64)
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
        store = self.stores[index]
        parts = [
            part for part in (self._rare(store, index), self._often(store, index, rows)) if part is not None
        ]
        if not parts:
            return None
        wrong = _Cells(
            sample=torch.cat([part.sample for part in parts]),
            kept=torch.cat([part.kept for part in parts]),
            read=torch.cat([part.read for part in parts]),
        )
        found = (
            _wrong_numbers(store, wrong)
            if store.layout.words is None
            else _decoded(store, wrong, len(self.samples), numbers)
        )
        sample, position, delta = found
        if rows is not None:
            row = position // (store.shape[-1] if store.shape else 1)
            keep = rows[row] if rows.ndim == 1 else rows[sample, row]
            sample, position, delta = sample[keep], position[keep], delta[keep]
        return _merged(sample, position, delta, len(self.samples))

    def _rare_counts(self, store: StoredCells, index: int) -> Tensor:
        """[sample] hits in all classes but the last, int64."""
        if store.rare_rate <= PIECE:
            return self._counts[index]
        pieces = int(store.rare_rate / PIECE) + 1
        uniform = uniforms64(_words(self.seed, COUNTS, self._keys[index], (pieces + 1) // 2))[:, :pieces]
        rate = torch.full((1, 1), store.rare_rate / pieces, dtype=torch.float64).expand(uniform.shape)
        return poisson_counts(rate, uniform).sum(-1)

    def _rare(self, store: StoredCells, index: int) -> _Cells | None:
        """Wrong cells of all classes but the last: places by Poisson hits, thinned to each cell's chance."""
        counts = self._rare_counts(store, index)
        total = int(counts.sum())
        if total == 0:
            return None
        marginal = store.marginal
        assert marginal is not None
        sample = torch.arange(len(counts)).repeat_interleave(counts)
        number = torch.arange(total) - (counts.cumsum(0) - counts)[sample]
        words = _words(self.seed, HITS, mix_keys(self._keys[index][sample], number), 1)
        place, kind = _places(store, uniforms64(words[:, :2]).squeeze(-1))
        # of several hits on one cell in one read the first counts
        order = torch.argsort(sample * len(marginal) + place, stable=True)
        sample, place, kind, words = sample[order], place[order], kind[order], words[order]
        first = torch.ones(total, dtype=torch.bool)
        first[1:] = (place[1:] != place[:-1]) | (sample[1:] != sample[:-1])
        sample, place, kind, words = sample[first], place[first], kind[first], words[first]
        toss = uniforms64(words[:, 2:]).squeeze(-1) * _CEILINGS[kind]
        chances = wrong_reads(marginal.conductance_S[place].double(), marginal.symbols[place], store.cell)
        below = chances.cumsum(-1)
        keep = (toss < below[:, -1]).nonzero().squeeze(-1)
        if not len(keep):
            return None
        read = (below[keep] <= toss[keep].unsqueeze(-1)).sum(-1)
        return _Cells(sample=sample[keep], kept=place[keep], read=read)

    def _often(self, store: StoredCells, index: int, rows: Tensor | None) -> _Cells | None:
        """Wrong cells of the last class: one word for each cell and sample."""
        size = store.often_count
        if size == 0:
            return None
        marginal, law = store.marginal, store.often
        assert marginal is not None
        start = marginal.bounds[-2]
        chunks = torch.arange(-(-size // CHUNK))
        if rows is not None and store.layout.words is None:
            number = marginal.cells[start:] // store.layout.symbols
            wanted = (rows if rows.ndim == 1 else rows.any(0))[
                number // (store.shape[-1] if store.shape else 1)
            ]
            chunks = (wanted.nonzero().squeeze(-1) // CHUNK).unique_consecutive()
        samples, parts = len(self.samples), []
        step = max(1, BLOCK // 4 // (CHUNK * samples))
        for some in chunks.split(step):
            cell = (some.unsqueeze(-1) * CHUNK + torch.arange(CHUNK)).view(-1)
            inside = cell < size
            cell = cell.clamp_max(size - 1)
            limit = torch.where(inside, law.limit[cell].long() + (1 << 31), -1)
            keys = mix_keys(self._keys[index].unsqueeze(-1), some.unsqueeze(0))
            word = _words(self.seed, OFTEN, keys.view(-1), CHUNK_BLOCKS).view(samples, -1)
            sample, place = (word <= limit).nonzero(as_tuple=True)
            parts.append((sample, cell[place], word[sample, place]))
        sample, cell, word = (
            (torch.cat(column) for column in zip(*parts, strict=True)) if parts else (chunks,) * 3
        )
        if not len(cell):
            return None
        read = law.likely[cell].long()
        other = (word > law.likely_limit[cell].long() + (1 << 31)).nonzero().squeeze(-1)
        if len(other):
            place = cell[other] + start
            chances = wrong_reads(marginal.conductance_S[place].double(), marginal.symbols[place], store.cell)
            likely = read[other].unsqueeze(-1)
            most = chances.gather(-1, likely).squeeze(-1)
            below = chances.scatter(-1, likely, 0.0).cumsum(-1)
            # rounded to 2^-32 the word may lie a little beyond the last of them
            toss = (uniforms(word[other]) - most).clamp_min(0).minimum(below[:, -1] * (1 - 2.0**-52))
            second = (below <= toss.unsqueeze(-1)).sum(-1)
            read[other] = torch.where(second < below.shape[-1], second, read[other])
        return _Cells(sample=sample, kept=cell + start, read=read)


def _places(store: StoredCells, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where hits fall: index among the kept cells, and class - 1."""
    marginal = store.marginal
    assert marginal is not None
    sums = store.rare_rates
    at = (uniform * sums[-1]).minimum(torch.nextafter(sums[-1], torch.zeros((), dtype=torch.float64)))
    kind = (torch.searchsorted(sums, at, right=True) - 1).clamp_max(len(CEILINGS) - 2)
    bounds = torch.tensor(marginal.bounds)
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
    which, place = ((before ^ after).unsqueeze(-1) >> torch.arange(layout.cell_bits) & 1).nonzero(
        as_tuple=True
    )
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
    total = torch.zeros(len(place), dtype=torch.int32).index_add_(0, inverse, delta)
    wrong = total != 0
    if not bool(wrong.any()):
        return None
    place, total = place[wrong], total[wrong]
    return Misreads(sample=place % samples, position=place // samples, delta=total)
