"""What a schedule is made of: durations, intervals, and the grid of time on which sums are exact."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["RESOURCES", "Busy", "Crossing", "Times", "Work", "grid_of", "rounded", "times_of"]

RESOURCES = (
    "dense reads",
    "operand feed",
    "conversions",
    "additions",
    "functions",
    "buffer",
    "dense writes",
    "link",
)
READS, FEED, CONVERSIONS, ADDITIONS, FUNCTIONS, BUFFER, WRITES, LINK = range(len(RESOURCES))


class Work(NamedTuple):
    """How long each resource works on a step, in seconds, in the order of the flow.

    weights:     reading stored words from dense banks; may begin ahead of the operands
    loads:       blocks that the fullest tile holds one after the other
    resident:    reading the first blocks of a resident activation from the buffer
    load:        sending the first block to each tile; may begin ahead of the streamed operand
    fetch:       reading operands from dense banks
    operands:    reading operands from the buffer
    feed:        sending operands to tiles (all but ``load``)
    conversions: of the tiles; rows: rows of one tile
    additions, functions: of the accumulators, of the function units
    results:     what functions and results read from and write to the buffer
    writes:      writing to dense banks
    """

    weights: float = 0.0
    loads: int = 1
    resident: float = 0.0
    load: float = 0.0
    fetch: float = 0.0
    operands: float = 0.0
    feed: float = 0.0
    conversions: float = 0.0
    rows: int = 1
    additions: float = 0.0
    functions: float = 0.0
    results: float = 0.0
    writes: float = 0.0

    @property
    def seconds(self) -> float:
        """The sum over all resources: their time one after the other."""
        return (
            self.weights
            + self.resident
            + self.load
            + self.fetch
            + self.operands
            + self.feed
            + self.conversions
            + self.additions
            + self.functions
            + self.results
            + self.writes
        )


class Busy(NamedTuple):
    """One resource at work on one step.

    busy_s: time it works; less than end − start where it waits in between for the next rows or blocks
    what:   which part of the step
    """

    step: int
    resource: int
    start_s: float
    end_s: float
    busy_s: float
    what: str
    chip: int = 0


class Crossing(NamedTuple):
    """The work goes on to the next chip: who wrote what is sent, and the time that takes."""

    writers: tuple[int, ...]
    seconds: float


class Times(NamedTuple):
    """A ``Work`` on the time grid, with the parts that follow from it."""

    weights: float
    first: float  # of the weights: one block of each tile
    ahead: float  # of the weights: up to two blocks of each tile
    rest: float  # of the weights: later blocks
    loads: int
    resident: float
    load: float
    fetch: float
    operands: float
    feed: float
    feed_row: float
    conversions: float
    row: float
    block: float
    additions: float
    additions_row: float
    functions: float
    functions_row: float
    results: float
    results_row: float
    writes: float
    writes_row: float


def grid_of(total: float) -> float:
    """A number whose addition and subtraction rounds to multiples of 2^-50 of the power above ``total``."""
    return math.ldexp(1.5, math.frexp(total)[1] + 2) if total > 0 else 1.0


def rounded(seconds: float, total: float) -> float:
    """``seconds`` on the time grid of a run whose durations add up to ``total``.

    Multiples of 2^(e−50) with 2^e > total; all sums up to 4 · 2^e are exact.
    """
    grid = grid_of(total)
    return (seconds + grid) - grid


def times_of(work: Work, grid: float) -> Times:
    (weights, loads, resident, load, fetch, operands, feed, conversions, rows, additions, functions, results,
     writes) = work  # fmt: skip
    weights = (weights + grid) - grid
    first = (weights / loads + grid) - grid if loads > 1 else weights
    ahead = first + first if loads > 2 else weights
    conversions = (conversions + grid) - grid
    feed = (feed + grid) - grid
    additions = (additions + grid) - grid
    functions = (functions + grid) - grid
    results = (results + grid) - grid
    writes = (writes + grid) - grid
    return Times(
        weights,
        first,
        ahead,
        weights - ahead,
        loads,
        (resident + grid) - grid,
        (load + grid) - grid,
        (fetch + grid) - grid,
        (operands + grid) - grid,
        feed,
        (feed / rows + grid) - grid,
        conversions,
        (conversions / rows + grid) - grid,
        (conversions / loads + grid) - grid,
        additions,
        (additions / rows + grid) - grid,
        functions,
        (functions / rows + grid) - grid,
        results,
        (results / rows + grid) - grid,
        writes,
        (writes / rows + grid) - grid,
    )
