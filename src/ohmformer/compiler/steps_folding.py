"""Repeated blocks of a sequence, found exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Segment", "fold", "likely_period"]

CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """``times`` equal blocks of ``length`` items from ``start`` on."""

    start: int
    length: int
    times: int

    @property
    def end(self) -> int:
        """First index behind it."""
        return self.start + self.length * self.times


def fold(items: Sequence[int]) -> tuple[Segment, ...]:
    """``items`` as segments, in order: the longest stretch of repeated blocks, then before and after.

    Exact: the items of the blocks of a segment are equal. A part that repeats nothing is one block.
    """
    found: list[Segment] = []
    _fold(np.asarray(items, dtype=np.int64), 0, len(items), found)
    return tuple(found)


def likely_period(items: Sequence[int]) -> int:
    """Length of the block that repeats over the longest stretch; 0 if that is less than a third of all."""
    best = _longest(np.asarray(items, dtype=np.int64))
    return best.length if best is not None and 3 * (best.end - best.start) >= len(items) else 0


def _fold(items: npt.NDArray[np.int64], start: int, end: int, found: list[Segment]) -> None:
    if start == end:
        return
    best = _longest(items[start:end])
    if best is None:
        found.append(Segment(start, end - start, 1))
        return
    here = Segment(start + best.start, best.length, best.times)
    _fold(items, start, here.start, found)
    found.append(here)
    _fold(items, here.end, end, found)


def _longest(items: npt.NDArray[np.int64]) -> Segment | None:
    """The stretch of at least two equal blocks that covers most items; of those the shortest block."""
    count = len(items)
    lengths: set[int] = set()
    for anchor in {count // 4, count // 2, 3 * count // 4}:
        if anchor < count:
            places = np.flatnonzero(items == items[anchor])
            lengths.update(np.abs(places - anchor).tolist())
    best: Segment | None = None
    for length in sorted(lengths - {0})[:CANDIDATES]:
        breaks = np.concatenate(([-1], np.flatnonzero(items[length:] != items[:-length]), [count - length]))
        runs = np.diff(breaks) - 1
        which = int(runs.argmax())
        times = int(runs[which]) // length + 1
        if times > 1 and (best is None or times * length > best.length * best.times):
            best = Segment(int(breaks[which]) + 1, length, times)
    return best
