"""The schedule: when each resource works on each step; repeated layers are run until they repeat in time.

Every resource takes the steps in a fixed order, so that all times follow from sums and maxima of durations
(a max-plus system). All durations are first rounded to multiples of a power of two that is 2^-50 of the
sum of all of them: sums of them are exact, so that a state that comes back is found by comparing, a
schedule of folded layers equals the one of all layers to the last bit, and breakdowns add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ohmformer.compiler.schedule_player import Player
from ohmformer.compiler.schedule_work import RESOURCES, Busy, Crossing, Work, grid_of, times_of
from ohmformer.compiler.steps import Form, StepGraph

__all__ = ["RESOURCES", "Busy", "Crossing", "Schedule", "Work", "alone", "make_schedule", "makespan"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Result of a schedule.

    makespan_s: end of the last interval
    advance_s:  by how much the steps of each variant moved the end of the run on; adds up to the makespan
    intervals:  every interval, if asked for
    played:     steps that were run through one by one; the others follow by periodicity
    ends_s:     end of each chip's last interval, and starts_s of its first
    """

    makespan_s: float
    advance_s: tuple[float, ...]
    intervals: tuple[Busy, ...]
    played: int
    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]


def makespan(graph: StepGraph, work: Sequence[Work]) -> float:
    """The time of a run: ``make_schedule`` without intervals; ``work`` by kind of step."""
    return make_schedule(graph, work).makespan_s


_ALONE = StepGraph(
    name="",
    kinds=(),
    forms=(Form(kind=0, streamed=(), resident=(), late=(), own_read=False, writes=(), reads=()),),
    order=(0,),
    kind_of=(0,),
    reach=1,
    modules=("",),
    segments=(),
    times=(1,),
    stored=(),
    holds=(-1,),
    unplaced_words=0,
    cache_words=0,
    flowing=True,
    runs=(),
)


def alone(work: Work) -> float:
    """The time of one step on an idle chip: nothing read or loaded ahead, nothing beside it."""
    return make_schedule(_ALONE, (work,), folded=False).makespan_s


def make_schedule(
    graph: StepGraph,
    work: Sequence[Work],
    *,
    variants: Sequence[int] | None = None,
    intervals: bool = False,
    folded: bool = True,
    crossings: Mapping[int, Crossing] | None = None,
) -> Schedule:
    """Run through the steps in order and give every resource its work as early as the rules allow.

    work:      by variant; without ``variants`` (one for each step) a variant is the kind of a step
    intervals: record every interval (of all layers, so nothing is folded)
    crossings: steps before which the work goes on to the next chip (nothing is folded)

    Rules, for a step whose tiles take q rows and m blocks one after the other:
      weights     wait for a free set of latches (see below), not for data
      operands    are read when their writers have written everything
      conversions of the first row wait for the first q-th of the operands, of the last for all of them
      additions, functions, results, writes begin after the first row and end one own row after the last;
                  among themselves they take single values and need not wait for whole rows
      latches     are two sets: a step may load its first block when the last but one product has no
                  conversion left (with m > 1, when its own predecessor is at its last block); the block
                  after the next waits for the conversions of this one
    Order on a resource: that of the steps; but the operands of a step are read before the results of the
    step before it are written, unless it depends on them, and its weights always.
    """
    chosen = graph.kind_of if variants is None else tuple(variants)
    counted = [0] * len(work)
    for variant in chosen:
        counted[variant] += 1
    total = math.fsum(one.seconds * times for one, times in zip(work, counted, strict=True) if times)
    if crossings:
        total += math.fsum(crossing.seconds for crossing in crossings.values())
    grid = grid_of(total)
    player = Player(graph, [times_of(one, grid) for one in work], chosen, grid)
    if intervals or crossings or not folded:
        player.log = [] if intervals else None
        player.play(0, len(chosen), crossings or {})
    else:
        for segment in graph.segments:
            player.segment(segment)
    player.finish()
    return Schedule(
        makespan_s=player.end,
        advance_s=tuple(player.advance),
        intervals=tuple(player.log or ()),
        played=player.played,
        starts_s=tuple(player.starts),
        ends_s=tuple(player.ends),
    )
