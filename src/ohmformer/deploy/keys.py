"""Which noise a row of an operand meets: keyed by its sequence and its place in it.

A *sample* is one sequence. Samples are counted from the deployment (or the last restart) on, unless the
caller numbers them; a row's key is made of its sample's number and its position, so that the same sample
meets the same noise in whatever batch it is computed.

A stored weight is read once for ``SAMPLES_PER_READ`` samples: those whose numbers agree but for the last
places. What belongs to no sample (a table of positions that serves the whole batch) is read the same way in
every run.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from math import prod

import torch
from torch import Tensor

from ohmformer.engine import mix, mix_keys
from ohmformer.numerals import HOST

READS, SHARED = 1 << 48, 1 << 49  # what sets reads of stored weights apart from rows
EXPERTS = 1 << 32  # what sets the streams of experts apart from those of a run's operations in their order
SAMPLES_PER_READ = 16  # sequences that one read of a stored weight serves


@cache
def name_key(name: str) -> int:
    """A 64-bit number for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


@cache
def stream_of(kind: str, use: int) -> int:
    """A 64-bit number for the ``use``-th operation of its kind in a run."""
    return mix(name_key(kind), use)


@cache
def _factors(count: int) -> Tensor:
    return mix_keys(torch.zeros(count, dtype=torch.int64, device=HOST), torch.arange(count, device=HOST)) | 1


def content_keys(rows: Tensor) -> Tensor:
    """[row] int64 keys of rows [row, n], made of their numbers alone.

    For rows of which it is not known to what sample and position they belong (tokens gathered for an expert):
    in whatever batch they are computed, they are the same rows. Rows with the same numbers have the same key.

    key = mix(Σ_k bits(x_k)·w_k mod 2^64), w_k odd and fixed
    """
    bits = rows.detach().to(torch.float32).contiguous().view(torch.int32).to(torch.int64)
    total = (bits * _factors(rows.shape[-1]).to(bits.device)).sum(-1).to(HOST)
    return mix_keys(torch.zeros_like(total), total)


class RunKeys:
    """The keys of one forward run, in host memory wherever the model lies.

    samples: [sample] int64 numbers of the sequences in the batch
    tokens:  tokens of each
    first:   position of the first of them (the tokens already in a cache)
    again:   how often these samples were computed from their beginning before
    """

    def __init__(self, samples: Tensor, tokens: int, first: int, again: int = 0) -> None:
        self.samples, self.tokens, self.first, self.again = samples, tokens, first, again
        self._sample_keys = mix_keys(torch.full_like(samples, again), samples)
        self._uses: dict[str, int] = {}
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self._own: dict[tuple[int, ...], Tensor | None] = {}
        self._bounds: dict[tuple[tuple[int, ...], bool], list[tuple[int, int]] | None] = {}

    def stream(self, kind: str) -> int:
        """A number for the next operation of its kind."""
        use = self._uses[kind] = self._uses.get(kind, 0) + 1
        return stream_of(kind, use)

    def coming(self, kind: str, ahead: int = 0) -> int:
        """The number that ``stream`` will give; ``ahead``: after so many others of its kind."""
        return stream_of(kind, self._uses.get(kind, 0) + 1 + ahead)

    def count(self, kind: str) -> None:
        """Take the number that ``coming`` gave as used."""
        self._uses[kind] = self._uses.get(kind, 0) + 1

    def own_rows(self, lead: tuple[int, ...]) -> Tensor | None:
        """``rows`` of an operand [*lead, inner] whose rows all belong to samples; None for any other."""
        if lead not in self._own:
            some = bool(lead) and prod(lead) > 0 and self.row_bounds(lead) is not None
            self._own[lead] = self.rows(lead) if some else None
        return self._own[lead]

    @cached_property
    def _groups(self) -> tuple[Tensor, list[tuple[int, int]]]:
        """Number of the read of each run of neighbouring samples, and the bounds of these runs."""
        number = self.samples // SAMPLES_PER_READ
        begins = torch.ones(len(number), dtype=torch.bool, device=HOST)
        begins[1:] = number[1:] != number[:-1]
        starts = begins.nonzero().squeeze(-1)
        first = starts.tolist()
        return number[starts], list(zip(first, [*first[1:], len(number)], strict=True))

    @property
    def reads(self) -> Tensor:
        """[group] int64, the keys of this run's reads of stored weights."""
        number, _ = self._groups
        keys = mix_keys(torch.full_like(number, self.again), number)
        return mix_keys(keys, torch.full_like(number, READS + self.first))

    @property
    def shared_read(self) -> Tensor:
        """[1] int64, the key of reads that serve all samples."""
        start = torch.zeros(1, dtype=torch.int64, device=HOST)
        return mix_keys(start, start + SHARED + self.first)

    def row_bounds(self, lead: tuple[int, ...], flattened: bool = True) -> list[tuple[int, int]] | None:
        """First row and last + 1 that each read serves, of rows [*lead]; None: rows that belong to no sample.

        flattened: a single axis holds all rows of all samples
        """
        place = (lead, flattened)
        if place not in self._bounds:
            self._bounds[place] = self._bounds_of(lead, flattened)
        return self._bounds[place]

    def _bounds_of(self, lead: tuple[int, ...], flattened: bool) -> list[tuple[int, int]] | None:
        count, total = len(self.samples), prod(lead)
        whole = len(lead) == 1 and flattened and total % count == 0
        if not (whole or count == 1 or (len(lead) > 1 and lead[0] == count)):
            return None
        each = total // count
        return [(first * each, last * each) for first, last in self._groups[1]]

    def rows(self, lead: tuple[int, ...]) -> Tensor:
        """[row] int64 keys of the rows of an operand [*lead, inner].

        The first axis of ``lead`` is the batch, or the batch and all others in one. Rows that are neither
        (relative positions that serve the whole batch) are numbered through and belong to the first sample,
        or are shared out evenly: their noise depends on the batch. Those of experts have ``content_keys``.
        """
        found = self._rows.get(lead)
        if found is None:
            found = self._rows[lead] = self._made(lead)
        return found

    def _made(self, lead: tuple[int, ...]) -> Tensor:
        count, total = len(self.samples), prod(lead)
        if lead and lead[0] == count:
            own, keys = lead[1:], self._sample_keys
        elif total % count == 0:
            own, keys = (total // count,), self._sample_keys
        else:
            own, keys = (total,), self._sample_keys[:1]
        # rows that are no tokens (a pooled vector, an expert's) still differ from run to run by ``first``
        each = self.tokens if self.tokens and prod(own) % self.tokens == 0 else 1
        place = torch.arange(each, device=HOST) + self.first
        head = torch.arange(prod(own) // each, device=HOST) << 32
        index = (head.unsqueeze(-1) + place).reshape(-1)
        return mix_keys(keys.unsqueeze(-1).expand(-1, len(index)), index.expand(len(keys), -1)).reshape(-1)
