"""A home for every intermediate: the SRAM buffer by lifetime, dense cells for what does not fit.

A value lives from the start of the step that writes it to the end of the last step that reads it; it is
whole all that time: steps wait for whole values, so nothing is let go row by row (conservative), with two
exceptions. What only passes from a product to the functions of its own step needs no home. A result takes
the place of a value that the functions of its step, and nothing else, read for the last time, number by
number (a residual that is added to).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ohmformer.compiler.steps import LATE, StepGraph, Written
from ohmformer.compiler.steps_slicing import sliced
from ohmformer.specs import ChipSpec

__all__ = ["BufferPlan", "Lifetimes", "lifetimes", "plan_buffers"]

NEVER = 1 << 60
Extra = tuple[int, int, int, int]
Key = tuple[int, int]
NO_EXTRA: Extra = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class BufferPlan:
    """Where intermediates are.

    graph:        the steps, attention in groups of heads where all heads at once would not fit
    slices:       groups of heads
    peak_bits:    most that is alive at once, wherever it is; the cache too
    buffer_bits:  most that is in the buffer at once
    cache_bits:   keys and values of the tokens so far; cache_home: ``sram`` or ``dense``
    variants:     for each step, the index of its kind and of what it moves to and from dense cells;
                  None if nothing is
    kinds, times, extras: of each variant the kind of step, how often it comes, and the numbers it reads
                  from dense cells (coded, words) and writes to them (coded, words)
    spilled_coded, spilled_words: most numbers that are in dense cells at once
    """

    graph: StepGraph
    slices: int
    peak_bits: int
    buffer_bits: int
    cache_bits: int
    cache_words: int
    cache_home: str
    variants: tuple[int, ...] | None = None
    kinds: tuple[int, ...] = ()
    times: tuple[int, ...] = ()
    extras: tuple[Extra, ...] = ()
    spilled_coded: int = 0
    spilled_words: int = 0

    @property
    def written(self) -> int:
        """Numbers written to dense cells in a run because the buffer is full."""
        return sum(
            (extra[2] + extra[3]) * times for extra, times in zip(self.extras, self.times, strict=True)
        )

    @property
    def read_back(self) -> int:
        """Numbers of those read, once for each step that reads them."""
        return sum(
            (extra[0] + extra[1]) * times for extra, times in zip(self.extras, self.times, strict=True)
        )

    def dense_cells(self, chip: ChipSpec) -> int:
        """Dense cells that hold what is not in the buffer."""
        cell = chip.dense.cell.bits
        coded = self.spilled_coded
        if self.cache_home == "dense":
            coded += self.cache_words
        activation = -(-chip.precision.activation_bits // cell)
        return coded * activation + self.spilled_words * -(-chip.buffer.word_bits // cell)


class Lifetimes(NamedTuple):
    """Numbers alive during each step: those kept in activation bits, those kept in accumulator words."""

    coded: tuple[int, ...]
    words: tuple[int, ...]


_LIFETIMES: WeakKeyDictionary[StepGraph, Lifetimes] = WeakKeyDictionary()
_PEAKS: WeakKeyDictionary[StepGraph, dict[tuple[int, int], int]] = WeakKeyDictionary()
_PLANS: WeakKeyDictionary[StepGraph, dict[tuple[int, ...], BufferPlan]] = WeakKeyDictionary()


def _dies(step: int, value: Written) -> int:
    return value.last if value.last >= 0 else step + value.uses[-1]


def _replaced(graph: StepGraph, step: int) -> list[tuple[int, Key]]:
    """Results of a step that take the place of a value: (place among its writes, value)."""
    form = graph.forms[graph.order[step]]
    roles: dict[tuple[int, int], int] = {}
    for writer, place, role in form.reads:
        roles[writer, place] = roles.get((writer, place), 0) | 1 << role
    free = []
    for (writer, place), read in roles.items():
        if writer < 0 and read == 1 << LATE:
            value = graph.forms[graph.order[step + writer]].writes[place]
            if value.last < 0 and value.uses[-1] == -writer:
                free.append((value, (step + writer, place)))
    found = []
    for place, result in enumerate(form.writes):
        fits = (one for one in free if one[0].coded == result.coded and one[0].elements >= result.elements)
        taken = next(fits, None)
        if taken is not None:
            free.remove(taken)
            found.append((place, taken[1]))
    return found


def lifetimes(graph: StepGraph) -> Lifetimes:
    """What is alive during each step; worked out once."""
    kept = _LIFETIMES.get(graph)
    if kept is None:
        count = len(graph.order)
        change = [[0] * (count + 2), [0] * (count + 2)]
        for step, form in enumerate(graph.order):
            for value in graph.forms[form].writes:
                row = change[0 if value.coded else 1]
                row[step] += value.elements
                row[_dies(step, value) + 1] -= value.elements
            for place, _ in _replaced(graph, step):
                value = graph.forms[form].writes[place]
                row = change[0 if value.coded else 1]
                row[step] -= value.elements
                row[step + 1] += value.elements
        kept = _LIFETIMES[graph] = Lifetimes(_running(change[0][:-2]), _running(change[1][:-2]))
    return kept


def _running(changes: Sequence[int]) -> tuple[int, ...]:
    total, found = 0, []
    for change in changes:
        total += change
        found.append(total)
    return tuple(found)


def _peak(graph: StepGraph, coded_bits: int, word_bits: int) -> int:
    peaks = _PEAKS.setdefault(graph, {})
    found = peaks.get((coded_bits, word_bits))
    if found is None:
        alive = lifetimes(graph)
        found = peaks[coded_bits, word_bits] = max(
            (
                coded * coded_bits + words * word_bits
                for coded, words in zip(alive.coded, alive.words, strict=True)
            ),
            default=0,
        )
    return found


def _groups(graph: StepGraph, bits: int, word: int, capacity: int) -> int:
    """In how many groups the heads are done: as few as fit, or as many as lower the peak."""
    batch = min((run[2] for run in graph.runs), default=1)
    if batch == 1 or _peak(graph, bits, word) <= capacity:
        return 1
    coded, words, coded_inside, words_inside = _around_runs(graph)

    def peak(slices: int) -> int:
        return max(
            (c + -(-ic // slices)) * bits + (w + -(-iw // slices)) * word
            for c, w, ic, iw in zip(coded, words, coded_inside, words_inside, strict=True)
        )

    groups = [slices for slices in range(1, batch + 1) if batch % slices == 0]
    wanted = max(capacity, peak(batch))
    return next(slices for slices in groups if peak(slices) <= wanted)


_AROUND: WeakKeyDictionary[StepGraph, tuple[tuple[int, ...], ...]] = WeakKeyDictionary()


def _around_runs(graph: StepGraph) -> tuple[tuple[int, ...], ...]:
    """Alive during each step: what attention runs do not cut (coded, words), what they do (coded, words).

    All operands of a run and its whole result are alive from its first step to its last: every group of heads
    takes a part of them.
    """
    kept = _AROUND.get(graph)
    if kept is None:
        alive = lifetimes(graph)
        around, inside = ([list(row) for row in alive], [[0] * len(graph.order), [0] * len(graph.order)])
        for first, last, _ in graph.runs:
            for step in range(first, last):
                for value in graph.forms[graph.order[step]].writes:
                    row = inside[0 if value.coded else 1]
                    for at in range(step, _dies(step, value) + 1):
                        row[at] += value.elements
            result = [0, 0]
            for value in graph.forms[graph.order[last]].writes:
                result[0 if value.coded else 1] += value.elements
            for side in (0, 1):
                whole = alive[side][first] - inside[side][first] + result[side]
                around[side][first : last + 1] = [whole] * (last + 1 - first)
        kept = _AROUND[graph] = tuple(tuple(row) for row in (*around, *inside))
    return kept


def plan_buffers(graph: StepGraph, chip: ChipSpec) -> BufferPlan | None:
    """Give every intermediate a home; None where the program does not tell its data flow.

    Attention is done in groups of heads where all at once do not fit. The buffer is filled by lifetime.
    Where a value does not fit, the one whose next use is farthest (of equals the largest; the new one
    included, those being read not) goes to dense cells and stays there. The cache of keys and values stays in
    the buffer all the time if its home is SRAM and it fits beside the rest; else all of it is in dense cells.
    """
    if not graph.flowing:
        return None
    buffer = chip.buffer
    key = (
        buffer.capacity_bytes,
        chip.precision.activation_bits,
        buffer.word_bits,
        buffer.intermediates == "dense",
        buffer.kv_cache == "dense",
    )
    known = _PLANS.setdefault(graph, {})
    if key not in known:
        if len(known) > 256:
            known.clear()
        known[key] = _plan(graph, *key)
    return known[key]


def _plan(
    graph: StepGraph, capacity_bytes: int, bits: int, word: int, dense: bool, cache_dense: bool
) -> BufferPlan:
    capacity = 8 * capacity_bytes
    cache = graph.cache_words * bits
    home = "dense" if cache_dense else "sram"
    if dense:
        peak = _peak(graph, bits, word)
        return BufferPlan(
            graph=graph,
            slices=1,
            peak_bits=peak + cache,
            buffer_bits=0,
            cache_bits=cache,
            cache_words=graph.cache_words,
            cache_home="dense",
        )
    slices = _groups(graph, bits, word, capacity - cache if home == "sram" and cache < capacity else capacity)
    graph = sliced(graph, slices)
    peak = _peak(graph, bits, word)
    if cache and home == "sram" and cache + peak > capacity:
        home = "dense"
    held = cache if home == "sram" else 0
    if peak + held <= capacity:
        return BufferPlan(
            graph=graph,
            slices=slices,
            peak_bits=peak + cache,
            buffer_bits=peak + held,
            cache_bits=cache,
            cache_words=graph.cache_words,
            cache_home=home,
        )
    spills = _spill(graph, capacity, bits, word)
    return BufferPlan(
        graph=graph,
        slices=slices,
        peak_bits=peak + cache,
        buffer_bits=spills.buffer_bits,
        cache_bits=cache,
        cache_words=graph.cache_words,
        cache_home=home,
        variants=spills.variants,
        kinds=spills.kinds,
        times=spills.times,
        extras=spills.extras,
        spilled_coded=spills.most_coded,
        spilled_words=spills.most_words,
    )


class _Spills(NamedTuple):
    variants: tuple[int, ...]
    kinds: tuple[int, ...]
    times: tuple[int, ...]
    extras: tuple[Extra, ...]
    buffer_bits: int
    most_coded: int
    most_words: int


class _Buffer:
    """What is in the buffer and in dense cells while the steps are run through."""

    def __init__(self, graph: StepGraph, capacity: int, bits: int, word: int) -> None:
        self.graph, self.capacity, self.bits, self.word = graph, capacity, bits, word
        self.values: dict[Key, Written] = {}
        self.inside: set[Key] = set()
        self.gone: set[Key] = set()  # replaced by a result of this step
        self.used = self.most = 0
        self.outside = [0, 0]
        self.most_outside = [0, 0]

    def size(self, value: Written) -> int:
        return value.elements * (self.bits if value.coded else self.word)

    def step(self, step: int) -> Extra:
        """Run through one step; numbers read from dense cells and written to them."""
        form = self.graph.forms[self.graph.order[step]]
        read, written = [0, 0], [0, 0]
        reading = {(step + writer if writer < 0 else writer, place) for writer, place, _ in form.reads}
        for key in reading - self.inside:  # before results take places
            value = self.values[key]
            read[0 if value.coded else 1] += value.elements
        for place, value in enumerate(form.writes):
            self.values[step, place] = value
            self.inside.add((step, place))
            self.used += self.size(value)
        for _, key in _replaced(self.graph, step):
            if key in self.inside:
                self.inside.remove(key)
                self.used -= self.size(self.values[key])
                self.gone.add(key)
        while self.used > self.capacity:
            key = max(
                self.inside - reading,
                key=lambda key: (self._next(key, step), self.size(self.values[key]), key),
            )
            value = self.values[key]
            side = 0 if value.coded else 1
            self.inside.remove(key)
            self.used -= self.size(value)
            written[side] += value.elements
            self.outside[side] += value.elements
            self.most_outside[side] = max(self.most_outside[side], self.outside[side])
        self.most = max(self.most, self.used)
        for key in [*reading, *((step, place) for place in range(len(form.writes)))]:
            value = self.values[key]
            if _dies(key[0], value) <= step:
                del self.values[key]
                if key in self.inside:
                    self.inside.remove(key)
                    self.used -= self.size(value)
                elif key in self.gone:
                    self.gone.remove(key)
                else:
                    self.outside[0 if value.coded else 1] -= value.elements
        return read[0], read[1], written[0], written[1]

    def _next(self, key: Key, step: int) -> int:
        value = self.values[key]
        return next((use for use in value.uses if key[0] + use > step), NEVER) + key[0] - step

    def relative(self, at: int) -> frozenset[tuple[int, int, bool]]:
        """What is alive, and where, relative to the step ``at``."""
        return frozenset(
            (key[0] if value.last >= 0 else key[0] - at, key[1], key in self.inside)
            for key, value in self.values.items()
        )

    def shift(self, by: int) -> None:
        """Go on by ``by`` steps after which everything is as it was."""

        def moved(key: Key) -> Key:
            return key if self.values[key].last >= 0 else (key[0] + by, key[1])

        inside = {moved(key) for key in self.inside}
        self.values = {moved(key): value for key, value in self.values.items()}
        self.inside = inside


def _spill(graph: StepGraph, capacity: int, bits: int, word: int) -> _Spills:
    buffer = _Buffer(graph, capacity, bits, word)
    extras: list[Extra] = []
    for segment in graph.segments:
        seen: dict[frozenset[tuple[int, int, bool]], int] = {}
        block, length = 0, segment.length
        while block < segment.times:
            at = segment.start + block * length
            state = buffer.relative(at)
            if state in seen:
                cycle = block - seen[state]
                skipped = (segment.times - block) // cycle
                extras += extras[at - cycle * length : at] * skipped
                buffer.shift(skipped * cycle * length)
                block += skipped * cycle
                seen = {}
                if skipped:
                    continue
            seen[state] = block
            extras += [buffer.step(step) for step in range(at, at + length)]
            block += 1
    chosen: dict[tuple[int, Extra], int] = {}
    variants = [
        chosen.setdefault((kind, extra), len(chosen))
        for kind, extra in zip(graph.kind_of, extras, strict=True)
    ]
    times = [0] * len(chosen)
    for variant in variants:
        times[variant] += 1
    return _Spills(
        variants=tuple(variants),
        kinds=tuple(kind for kind, _ in chosen),
        times=tuple(times),
        extras=tuple(extra for _, extra in chosen),
        buffer_bits=buffer.most,
        most_coded=buffer.most_outside[0],
        most_words=buffer.most_outside[1],
    )
