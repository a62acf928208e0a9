"""How far a long run is: bars on a terminal, a line now and then elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ohmformer.cli.outputs import Terminal

__all__ = ["PLAIN_EVERY_s", "Step", "plain_lines", "progress"]

Step = Callable[[str, int, int], None]  # (what is running, done, of how many)
PLAIN_EVERY_s = 10.0


@contextmanager
def progress() -> Iterator[Step]:
    """A function to call with (what is running, done, of how many)."""
    if sys.stderr.isatty():
        with _bars() as step:
            yield step
    else:
        yield plain_lines(lambda line: print(line, file=sys.stderr, flush=True), time.monotonic)


def plain_lines(write: Callable[[str], None], clock: Callable[[], float]) -> Step:
    """A step function that writes a line at most every ``PLAIN_EVERY_s`` seconds."""
    last = clock()

    def step(label: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= PLAIN_EVERY_s:
            last = now
            write(f"{label}: {done} of {total}")

    return step


@contextmanager
def _bars() -> Iterator[Step]:
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Terminal(sys.stderr),
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        waiting = bars.add_task("starting", total=None)

        def step(label: str, done: int, total: int) -> None:
            if label not in tasks:
                bars.update(waiting, visible=False)
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield step
