"""The trace file holds every interval once, on the track of its resource."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from ohmformer.compiler.chrome_trace import trace_events, write_chrome_trace
from ohmformer.compiler.schedule import RESOURCES, Work, make_schedule
from ohmformer.compiler.steps import step_graph
from ohmformer.errors import UserError


def test_events_are_the_intervals(flows: ModuleType, tmp_path: Path) -> None:
    graph = step_graph(flows.transformer(layers=2))
    work = [Work(operands=1e-6, feed=1e-6, conversions=4e-6, functions=2e-6, results=1e-6)] * len(graph.kinds)
    made = make_schedule(graph, work, intervals=True)
    path = write_chrome_trace(graph, made.intervals, tmp_path / "run.json")
    events = json.loads(path.read_text())["traceEvents"]
    assert events == trace_events(graph, made.intervals)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [e for e in events if e["ph"] == "X"]
    assert len(spans) == len(made.intervals)
    for event, one in zip(spans, made.intervals, strict=True):
        assert names[event["tid"]] == RESOURCES[one.resource] == event["cat"]
        # microseconds: one rounding of a double
        assert event["ts"] == pytest.approx(one.start_s * 1e6, rel=1e-15)
        assert event["ts"] + event["dur"] == pytest.approx(one.end_s * 1e6, rel=1e-14)
        assert event["name"].startswith(graph.modules[one.step])
    assert max(e["ts"] + e["dur"] for e in spans) == pytest.approx(made.makespan_s * 1e6, rel=1e-14)
    assert any(e["name"] == "layer.1.attention: context" for e in spans)


def test_nothing_half_written(flows: ModuleType, tmp_path: Path) -> None:
    graph = step_graph(flows.transformer(layers=1))
    with pytest.raises(UserError, match="Cannot write"):
        write_chrome_trace(graph, (), tmp_path / "missing" / "run.json")
    assert list(tmp_path.iterdir()) == []
