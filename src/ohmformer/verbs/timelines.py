"""The schedule of a run as a trace that Chrome and Perfetto show: one track for each resource."""

from __future__ import annotations

from pathlib import Path

from ohmformer.compiler.chrome_trace import write_chrome_trace
from ohmformer.costs import LIBRARY
from ohmformer.costs.running import full_schedule, run_of
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["write_timeline"]


def write_timeline(program: Program, chip: ChipSpec, path: str | Path) -> Path:
    """Schedule ``program`` on ``chip`` layer by layer, check the schedule, and write it to ``path``.

    Its end is the latency that ``costs.estimate`` reports.
    Error: ScheduleFault if a resource were used twice at once, or an operand read before it is written.
    """
    run = run_of(program, chip, LIBRARY)
    return write_chrome_trace(run.graph, full_schedule(run).intervals, path)
