"""A schedule as a Chrome trace: one track for each resource of each chip."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ohmformer.compiler.schedule_work import RESOURCES, Busy
from ohmformer.compiler.steps import StepGraph
from ohmformer.errors import write_atomically
from ohmformer.units import MICRO

__all__ = ["trace_events", "write_chrome_trace"]


def trace_events(graph: StepGraph, intervals: Sequence[Busy]) -> list[dict[str, Any]]:
    """Events in the Trace Event Format: a process for each chip, a thread for each resource, microseconds.

    The name of an event is its module and operation; ``args`` tell step, part, busy time and shape.
    """
    used = sorted({(one.chip, one.resource) for one in intervals})
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": chip, "tid": 0, "args": {"name": f"chip {chip}"}}
        for chip in sorted({chip for chip, _ in used})
    ]
    for chip, resource in used:
        where = {"pid": chip, "tid": resource + 1}
        events += [
            {"ph": "M", "name": "thread_name", **where, "args": {"name": RESOURCES[resource]}},
            {"ph": "M", "name": "thread_sort_index", **where, "args": {"sort_index": resource}},
        ]
    for one in intervals:
        step = graph.kinds[graph.kind_of[one.step]]
        product = step.product
        args: dict[str, Any] = {"step": one.step, "part": one.what, "busy_us": one.busy_s / MICRO}
        if product is not None:
            args["product"] = (
                f"{product.batch} x [{product.rows}, {product.inner}] x "
                f"[{product.inner}, {product.columns}], {product.resident}"
            )
        module = graph.modules[one.step]
        events.append(
            {
                "ph": "X",
                "name": f"{module}: {step.operation}" if module else step.operation,
                "cat": RESOURCES[one.resource],
                "pid": one.chip,
                "tid": one.resource + 1,
                "ts": one.start_s / MICRO,
                "dur": (one.end_s - one.start_s) / MICRO,
                "args": args,
            }
        )
    return events


def write_chrome_trace(graph: StepGraph, intervals: Sequence[Busy], path: str | os.PathLike[str]) -> Path:
    """Write ``intervals`` to ``path``, completely or not at all; Chrome and Perfetto read it."""
    document = {
        "displayTimeUnit": "ns",
        "otherData": {"program": graph.name},
        "traceEvents": trace_events(graph, intervals),
    }
    return write_atomically(path, json.dumps(document, separators=(",", ":")) + "\n")
