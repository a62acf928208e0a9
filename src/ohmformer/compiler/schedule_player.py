"""The state of all resources while the steps of a schedule are run through."""

from __future__ import annotations

from collections.abc import Mapping

from ohmformer.compiler.schedule_work import (
    ADDITIONS,
    BUFFER,
    CONVERSIONS,
    FEED,
    FUNCTIONS,
    LINK,
    READS,
    WRITES,
    Busy,
    Crossing,
    Times,
)
from ohmformer.compiler.steps import Form, StepGraph
from ohmformer.compiler.steps_folding import Segment

__all__ = ["Player"]


class Player:
    """The state of all resources while the steps are run through."""

    def __init__(self, graph: StepGraph, times: list[Times], chosen: tuple[int, ...], grid: float) -> None:
        self.forms: tuple[Form, ...] = graph.forms
        self.order = graph.order
        self.reach = graph.reach
        self.times = times
        self.chosen = chosen
        self.grid = grid
        self.log: list[Busy] | None = None
        self.ready = [0.0] * len(chosen)
        self.advance = [0.0] * len(times)
        self.end = 0.0
        self.played = 0
        # when dense banks, buffer, network, tiles, accumulators, function units and the latches of the next
        # product are free; of the step whose results are still to be written: their earliest start, earliest
        # ends in the buffer and in dense banks, end of all else
        self.state: tuple[float, ...] = (0.0,) * 11
        self.last = -1
        self.starts = [0.0]
        self.ends: list[float] = []
        self.chip = 0

    def segment(self, segment: Segment) -> None:
        """Run through a segment; skip what repeats in time."""
        if segment.times < 3:  # nothing to skip
            self.play(segment.start, segment.end, {})
            return
        length, block = segment.length, 0
        same = self._same_from(segment)
        seen: dict[tuple[float, ...], tuple[int, float, list[float], float]] = {}
        used, far = self._used(segment)
        while block < segment.times:
            at = segment.start + block * length
            if block > same and segment.times - block > 1:
                origin = min(self.state[resource] for resource in used)
                key = self._relative(at, origin, used, far)
                if key in seen:
                    before, earlier, advance, end = seen[key]
                    cycle = block - before
                    skipped = (segment.times - block) // cycle
                    if skipped:
                        self._skip(at, skipped, cycle * length, origin - earlier, advance, end)
                        block += skipped * cycle
                        seen = {}
                        same = segment.times
                        continue
                seen[key] = (block, origin, list(self.advance), self.end)
            self.play(at, at + length, {})
            block += 1

    def _same_from(self, segment: Segment) -> int:
        """The first block from which on all have the same variants."""
        chosen, start, length = self.chosen, segment.start, segment.length
        last = chosen[segment.end - length : segment.end]
        block = segment.times - 1
        while block and chosen[start + (block - 1) * length : start + block * length] == last:
            block -= 1
        return block

    def _used(self, segment: Segment) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Resources that the repeated block uses, and steps far before it that it waits for."""
        used = [0.0] * 6
        far: set[int] = set()
        for step in range(segment.end - segment.length, segment.end):
            time, form = self.times[self.chosen[step]], self.forms[self.order[step]]
            used[0] += time.weights + time.fetch + time.writes
            used[1] += time.resident + time.operands + time.results
            used[2] += time.load + time.feed
            used[3] += time.conversions
            used[4] += time.additions
            used[5] += time.functions
            far.update(writer for writer in (*form.streamed, *form.resident, *form.late) if writer >= 0)
        return tuple(place for place in range(6) if used[place]), tuple(sorted(far))

    def _relative(
        self, at: int, origin: float, used: tuple[int, ...], far: tuple[int, ...]
    ) -> tuple[float, ...]:
        """The state as far as it can matter, relative to ``origin``: nothing later starts before that."""
        state, ready = self.state, self.ready
        clip = [state[place] - origin for place in used]
        clip += [value - origin if value > origin else 0.0 for value in state[6:]]
        recent = ready[max(at - self.reach, 0) : max(at - 1, 0)]
        clip += [value - origin if value > origin else 0.0 for value in recent]
        clip += [ready[step] - origin if ready[step] > origin else 0.0 for step in far]
        clip.append(self.end - origin)
        return tuple(clip)

    def _skip(self, at: int, cycles: int, steps: int, shift: float, advance: list[float], end: float) -> None:
        """Go on by ``cycles`` of ``steps`` steps that take ``shift`` each."""
        by, to = cycles * shift, at + cycles * steps
        self.state = tuple(value + by for value in self.state)
        for distance in range(1, min(self.reach, at) + 1):
            self.ready[to - distance] = self.ready[at - distance] + by
        self.advance = [now + cycles * (now - then) for now, then in zip(self.advance, advance, strict=True)]
        self.end += cycles * (self.end - end)
        self.last = to - 1

    def play(self, first: int, stop: int, crossings: Mapping[int, Crossing]) -> None:
        """Run through the steps ``first`` up to ``stop`` (excluded)."""
        banks, buffer, network, tiles, adders, units, latches, after, written, stored, done = self.state
        ready, times, forms, log = self.ready, self.times, self.forms, self.log
        chosen, order, advance, end, last = self.chosen, self.order, self.advance, self.end, self.last
        self.played += stop - first
        for step in range(first, stop):
            form = forms[order[step]]
            time = times[chosen[step]]
            if step in crossings:
                banks, buffer, done = self._write(last, banks, buffer, after, written, stored, done)
                ready[last] = done
                if done > end:
                    advance[chosen[last]] += done - end
                    end = done
                last = -1
                arrived = self._cross(step, crossings[step], ready)
                self.ends.append(end)
                if arrived > end:
                    advance[chosen[step]] += arrived - end
                    end = arrived
                self.starts.append(arrived)
                banks = buffer = network = tiles = adders = units = latches = 0.0
            # stored words, ahead of the operands
            read_start = read_end = 0.0
            if time.weights:
                read_start = banks if banks > latches else latches
                banks = read_end = read_start + time.ahead
                if log is not None:
                    log.append(Busy(step, READS, read_start, read_end, time.ahead, "weights", self.chip))
            # results of the step before, now if this one depends on them
            waits = last >= 0 and (
                -1 in form.streamed
                or -1 in form.resident
                or -1 in form.late
                or last in form.streamed
                or last in form.resident
                or last in form.late
                or (time.fetch > 0.0 and times[chosen[last]].writes > 0.0)
            )
            if waits:
                banks, buffer, done = self._write(last, banks, buffer, after, written, stored, done)
                ready[last] = done
                if done > end:
                    advance[chosen[last]] += done - end
                    end = done
            streamed = resident = late = 0.0
            for writer in form.streamed:
                value = ready[step + writer if writer < 0 else writer]
                if value > streamed:
                    streamed = value
            for writer in form.resident:
                value = ready[step + writer if writer < 0 else writer]
                if value > resident:
                    resident = value
            for writer in form.late:
                value = ready[step + writer if writer < 0 else writer]
                if value > late:
                    late = value
            if form.own_read and read_end > streamed:
                streamed = read_end
            both = streamed if streamed > resident else resident
            finish = read_end
            # operands from dense banks
            fetch_start = fetch_end = 0.0
            if time.fetch:
                fetch_start = banks if banks > both else both
                banks = fetch_end = fetch_start + time.fetch
                if log is not None:
                    log.append(Busy(step, READS, fetch_start, fetch_end, time.fetch, "operands", self.chip))
            # first blocks of the resident operand
            loaded = latches
            if time.weights and read_start + time.first > loaded:
                loaded = read_start + time.first
            if form.resident and (resident if resident > fetch_end else fetch_end) > loaded:
                loaded = resident if resident > fetch_end else fetch_end
            arrives = 0.0
            if time.resident:
                begin = buffer if buffer > resident else resident
                if latches > begin:
                    begin = latches
                buffer = arrives = begin + time.resident
                if log is not None:
                    log.append(Busy(step, BUFFER, begin, buffer, time.resident, "resident", self.chip))
                if begin > loaded:
                    loaded = begin
            if time.load:
                start = network if network > loaded else loaded
                network = loaded = start + time.load
                if arrives > loaded:
                    network = loaded = arrives
                if log is not None:
                    log.append(Busy(step, FEED, start, loaded, time.load, "load", self.chip))
            elif arrives > loaded:
                loaded = arrives
            # streamed operand
            start, stop_by = both, both
            if time.fetch:
                if fetch_start > start:
                    start = fetch_start
                stop_by = fetch_end
            if time.operands:
                begin = buffer if buffer > both else both
                buffer = begin + time.operands
                if log is not None:
                    log.append(Busy(step, BUFFER, begin, buffer, time.operands, "operands", self.chip))
                if begin > start:
                    start = begin
                if buffer > stop_by:
                    stop_by = buffer
            if time.feed:
                if network > start:
                    start = network
                network = start + time.feed
                if stop_by > network:
                    network = stop_by
                stop_by = network
                if log is not None:
                    log.append(Busy(step, FEED, start, network, time.feed, "operands", self.chip))
                start += time.feed_row
            if stop_by > finish:
                finish = stop_by
            # conversions
            row_done, rows_done = start, stop_by
            if time.conversions:
                length = time.conversions
                if tiles > start:
                    start = tiles
                if loaded > start:
                    start = loaded
                converted_before, tiles = tiles, start + length
                if stop_by + time.row > tiles:
                    tiles = stop_by + time.row
                if time.loads > 1 and read_end + length - time.block > tiles:
                    tiles = read_end + length - time.block
                if time.loads > 2 and time.rest:
                    begin = start + time.block
                    if banks > begin:
                        begin = banks
                    if begin + time.rest + time.block > tiles:
                        tiles = begin + time.rest + time.block
                    banks = begin + time.rest
                    if start + length - 2 * time.block + time.first > banks:
                        banks = start + length - 2 * time.block + time.first
                    if log is not None:
                        log.append(Busy(step, READS, begin, banks, time.rest, "later weights", self.chip))
                latches = tiles - time.block if time.loads > 1 else converted_before
                row_done, rows_done = start + time.row, tiles
                if tiles > finish:
                    finish = tiles
                if log is not None:
                    log.append(Busy(step, CONVERSIONS, start, tiles, length, "conversions", self.chip))
            else:
                row_done = max(stop_by, read_end)
            if late > row_done:
                row_done = late
            if row_done > finish:
                finish = row_done
            # additions and functions
            begun, ended = row_done, 0.0
            if time.additions:
                begun = start = adders if adders > row_done else row_done
                adders = start + time.additions
                if rows_done + time.additions_row > adders:
                    adders = rows_done + time.additions_row
                ended = adders
                if log is not None:
                    log.append(Busy(step, ADDITIONS, start, adders, time.additions, "additions", self.chip))
            if time.functions:
                begun = start = units if units > begun else begun
                units = start + time.functions
                if rows_done + time.functions_row > units:
                    units = rows_done + time.functions_row
                if ended > units:
                    units = ended
                ended = units
                if log is not None:
                    log.append(Busy(step, FUNCTIONS, start, units, time.functions, "functions", self.chip))
            if ended > finish:
                finish = ended
            if last >= 0 and not waits:
                banks, buffer, done = self._write(last, banks, buffer, after, written, stored, done)
                ready[last] = done
                if done > end:
                    advance[chosen[last]] += done - end
                    end = done
            # results and writes: earliest start, earliest ends
            after = begun
            written, stored = rows_done + time.results_row, rows_done + time.writes_row
            if ended > written:
                written = ended
            if ended > stored:
                stored = ended
            done = finish
            last = step
        self.end, self.last = end, last
        self.state = (
            banks, buffer, network, tiles, adders, units, latches, after, written, stored, done
        )  # fmt: skip

    def _write(
        self,
        step: int,
        banks: float,
        buffer: float,
        after: float,
        written: float,
        stored: float,
        done: float,
    ) -> tuple[float, float, float]:
        """Results of ``step`` to the buffer, then to dense banks: when they, and the step, are finished."""
        time = self.times[self.chosen[step]]
        start = after
        if time.results:
            start = buffer if buffer > after else after
            buffer = start + time.results
            if written > buffer:
                buffer = written
            if self.log is not None:
                self.log.append(Busy(step, BUFFER, start, buffer, time.results, "results", self.chip))
            if buffer > done:
                done = buffer
        if time.writes:
            if banks > start:
                start = banks
            banks = start + time.writes
            if stored > banks:
                banks = stored
            if time.results and buffer > banks:
                banks = buffer
            if self.log is not None:
                self.log.append(Busy(step, WRITES, start, banks, time.writes, "results", self.chip))
            if banks > done:
                done = banks
        return banks, buffer, done

    def _cross(self, step: int, crossing: Crossing, ready: list[float]) -> float:
        """Send what later steps need to the next chip."""
        seconds = (crossing.seconds + self.grid) - self.grid
        start = max((ready[writer] for writer in crossing.writers), default=0.0)
        for writer in crossing.writers:
            ready[writer] = start + seconds
        if self.log is not None:
            self.log.append(Busy(step, LINK, start, start + seconds, seconds, "link", self.chip))
        self.chip += 1
        return start + seconds

    def finish(self) -> None:
        """Write the results of the last step."""
        banks, buffer, *_, after, written, stored, done = self.state
        if self.last >= 0:
            _, _, done = self._write(self.last, banks, buffer, after, written, stored, done)
            if done > self.end:
                self.advance[self.chosen[self.last]] += done - self.end
                self.end = done
        self.ends.append(self.end)
