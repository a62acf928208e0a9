"""An independent look at a schedule: no resource twice, nothing read before it is written, its end true."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from ohmformer.compiler.schedule_work import (
    ADDITIONS,
    BUFFER,
    CONVERSIONS,
    FEED,
    FUNCTIONS,
    LINK,
    READS,
    RESOURCES,
    WRITES,
    Busy,
    Crossing,
    Work,
    rounded,
)
from ohmformer.compiler.steps import StepGraph
from ohmformer.errors import UserError

__all__ = ["ScheduleFault", "check_schedule"]


class ScheduleFault(UserError, ValueError):
    """A schedule that breaks a rule: the message names the step, the resource and the times."""


_OPERANDS = {(BUFFER, "operands"), (BUFFER, "resident"), (READS, "operands")}


def check_schedule(
    graph: StepGraph,
    work: Sequence[Work],
    intervals: Sequence[Busy],
    delay_s: float,
    *,
    variants: Sequence[int] | None = None,
    crossings: Mapping[int, Crossing] | None = None,
) -> None:
    """Check all ``intervals`` of a schedule against its rules; return nothing, or raise a ScheduleFault.

    - a resource of a chip does one thing at a time (dense banks do not read and write at once)
    - every step gets each resource for the seconds its work takes
    - what a step reads of other steps was written before: operands, and what its functions take; on another
      chip also sent
    - conversions follow the operands row by row, functions and writing follow the conversions
    - a first block is not loaded while both sets of latches are in use
    - the last end is ``delay_s``
    """
    chosen = graph.kind_of if variants is None else tuple(variants)
    of: list[list[Busy]] = [[] for _ in graph.order]
    for interval in intervals:
        of[interval.step].append(interval)
    if intervals and max(interval.end_s for interval in intervals) != delay_s:
        last = max(interval.end_s for interval in intervals)
        raise ScheduleFault(f"The schedule ends at {last!r} s, the reported delay is {delay_s!r} s.")
    total = math.fsum(work[variant].seconds for variant in chosen)
    total += math.fsum(crossing.seconds for crossing in (crossings or {}).values())
    _exclusive(intervals)
    _complete(of, work, chosen, total)
    _ordered(graph, of, crossings or {})
    _flowing(of, work, chosen, total)
    _latched(of, work, chosen, total)


def _name(interval: Busy) -> str:
    return f"step {interval.step}, {RESOURCES[interval.resource]} ({interval.what})"


def _exclusive(intervals: Sequence[Busy]) -> None:
    tracks: dict[tuple[int, int], list[Busy]] = {}
    for interval in intervals:
        shared = READS if interval.resource == WRITES else interval.resource
        tracks.setdefault((interval.chip, shared), []).append(interval)
    for track in tracks.values():
        track.sort(key=lambda interval: (interval.start_s, interval.end_s))
        for first, second in itertools.pairwise(track):
            if second.start_s < first.end_s:
                raise ScheduleFault(
                    f"{_name(second)} begins at {second.start_s!r} s: {_name(first)} lasts to "
                    f"{first.end_s!r} s."
                )


def _complete(
    of: Sequence[Sequence[Busy]], work: Sequence[Work], chosen: Sequence[int], total: float
) -> None:
    for step, intervals in enumerate(of):
        one = work[chosen[step]]
        wanted = [0.0] * len(RESOURCES)
        wanted[READS] = rounded(one.weights, total) + rounded(one.fetch, total)
        wanted[FEED] = rounded(one.load, total) + rounded(one.feed, total)
        wanted[CONVERSIONS] = rounded(one.conversions, total)
        wanted[ADDITIONS] = rounded(one.additions, total)
        wanted[FUNCTIONS] = rounded(one.functions, total)
        wanted[BUFFER] = (
            rounded(one.resident, total) + rounded(one.operands, total) + rounded(one.results, total)
        )
        wanted[WRITES] = rounded(one.writes, total)
        got = [0.0] * len(RESOURCES)
        for interval in intervals:
            got[interval.resource] += interval.busy_s
            if interval.end_s - interval.start_s < interval.busy_s or interval.start_s < 0:
                raise ScheduleFault(f"{_name(interval)} works longer than it lasts.")
        for place, name in enumerate(RESOURCES):
            if place != LINK and got[place] != wanted[place]:
                raise ScheduleFault(
                    f"Step {step} has {got[place]!r} s of {name}: {wanted[place]!r} s are due."
                )


def _ordered(graph: StepGraph, of: Sequence[Sequence[Busy]], crossings: Mapping[int, Crossing]) -> None:
    ends = [max((interval.end_s for interval in intervals), default=0.0) for intervals in of]
    sent: list[tuple[int, Crossing, Busy]] = [
        (step, crossing, next(one for one in of[step] if one.resource == LINK))
        for step, crossing in crossings.items()
    ]
    for step, intervals in enumerate(of):
        form = graph.forms[graph.order[step]]
        own = [interval for interval in intervals if interval.resource != LINK]

        def written(writers: Sequence[int], step: int = step) -> float:
            latest = 0.0
            for relative in writers:
                writer = step + relative if relative < 0 else relative
                when = _end(of[writer], ends[writer])
                for at, crossing, link in sent:
                    if writer < at <= step and writer in crossing.writers:
                        when = max(when, link.end_s)
                latest = max(latest, when)
            return latest

        operands = max(written(form.streamed), written(form.resident))
        late = written(form.late)
        for interval in own:
            key = (interval.resource, interval.what)
            if key == (BUFFER, "resident") or (interval.resource == FEED and interval.what == "load"):
                needed = written(form.resident)
            elif key in _OPERANDS or interval.resource in (FEED, CONVERSIONS):
                needed = operands
            elif interval.resource in (ADDITIONS, FUNCTIONS, WRITES) or interval.what == "results":
                needed = max(operands, late)
            else:
                continue
            if interval.start_s < needed:
                raise ScheduleFault(
                    f"{_name(interval)} begins at {interval.start_s!r} s: what it reads is written at "
                    f"{needed!r} s."
                )


def _end(intervals: Sequence[Busy], default: float) -> float:
    return max((interval.end_s for interval in intervals if interval.resource != LINK), default=default)


def _flowing(of: Sequence[Sequence[Busy]], work: Sequence[Work], chosen: Sequence[int], total: float) -> None:
    for step, intervals in enumerate(of):
        one = work[chosen[step]]
        conversions = next((i for i in intervals if i.resource == CONVERSIONS), None)
        if conversions is None:
            continue
        row = rounded(rounded(one.conversions, total) / one.rows, total)
        for before in intervals:
            if before.resource == FEED and before.what == "operands":
                first = rounded(rounded(one.feed, total) / one.rows, total)
                if conversions.start_s < before.start_s + first or conversions.end_s < before.end_s + row:
                    raise ScheduleFault(f"Step {step} converts rows that have not arrived.")
            elif before.resource == FEED and conversions.start_s < before.end_s:
                raise ScheduleFault(f"Step {step} converts before its first blocks are loaded.")
        for after in intervals:
            if after.resource in (ADDITIONS, FUNCTIONS, WRITES) or (
                after.resource == BUFFER and after.what == "results"
            ):
                own = rounded(after.busy_s / one.rows, total)
                if after.start_s < conversions.start_s + row or after.end_s < conversions.end_s + own:
                    raise ScheduleFault(f"{_name(after)} takes rows that are not converted yet.")


def _latched(of: Sequence[Sequence[Busy]], work: Sequence[Work], chosen: Sequence[int], total: float) -> None:
    """The first block of a product waits for a set of latches; later blocks for the conversions before."""
    free = before = 0.0
    for step, intervals in enumerate(of):
        if any(interval.resource == LINK for interval in intervals):
            free = before = 0.0
        one = work[chosen[step]]
        for interval in intervals:
            early = interval.what == "weights" or (interval.resource == FEED and interval.what == "load")
            if early and interval.start_s < free:
                raise ScheduleFault(
                    f"{_name(interval)} begins at {interval.start_s!r} s: latches are free at {free!r} s."
                )
        conversions = next((i for i in intervals if i.resource == CONVERSIONS), None)
        if conversions is None:
            continue
        block = rounded(rounded(one.conversions, total) / one.loads, total)
        later = next((i for i in intervals if i.what == "later weights"), None)
        if later is not None:
            first = rounded(rounded(one.weights, total) / one.loads, total)
            early = later.start_s < conversions.start_s + block
            if early or later.end_s < conversions.start_s + conversions.busy_s - 2 * block + first:
                raise ScheduleFault(f"Step {step} reads blocks for which no latches are free.")
            if conversions.end_s < later.start_s + later.busy_s + block:
                raise ScheduleFault(f"Step {step} converts blocks that are not read yet.")
        free = conversions.end_s - block if one.loads > 1 else before
        before = conversions.end_s
