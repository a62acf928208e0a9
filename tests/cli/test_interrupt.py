"""Ctrl-C: one sentence, exit code 130, nothing half-written, and the finished parts are kept."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPEATS = 40


def waiting_for(condition: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [
        (signal.SIGINT, 130, "Interrupted: nothing was left half-written."),
        (signal.SIGTERM, 143, "Stopped: nothing was left half-written."),
    ],
)
def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    program: Callable[..., Any],
    command: Callable[..., Any],
    make_model: Callable[[str], Path],
    table: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    sentence: str,
) -> None:
    folder = make_model("bert")
    journal, out = tmp_path / "journal.json", tmp_path / "out.json"
    before = {path.name for path in tmp_path.iterdir()}
    arguments = [
        "evaluate", folder, "--task", table, "--train", 40, "--test", 20, "--noise-scale", 9, "--no-ideal",
        "--repeat", REPEATS, "--resume", journal, "--json", out, "--report", tmp_path / "out.html",
    ]  # fmt: skip
    process = program(*arguments)
    waiting_for(journal.exists, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.strip() == sentence
    assert {path.name for path in tmp_path.iterdir()} == before | {journal.name}
    kept = json.loads(journal.read_text())["parts"]
    assert 1 <= len(kept) < 1 + REPEATS  # fp32 and some chips, not all of them
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    assert kept.items() <= json.loads(journal.read_text())["parts"].items()
    assert len(json.loads(out.read_text())["result"]["scores"][1]["values"]) == REPEATS
