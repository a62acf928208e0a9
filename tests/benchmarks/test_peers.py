"""Peers: one that is not installed, one that dies, one that answers; none of them real."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.engine import peer_child, peers
from benchmarks.engine.six_linears import SixLinears


def test_a_peer_that_is_not_installed_is_named_with_the_reason() -> None:
    with pytest.raises(
        peers.PeerError, match="aihwkit-lightning was not run: ModuleNotFoundError: No module named"
    ):
        peers.Peer(Path(sys.executable), "aihwkit-lightning", 1, 2)


def test_a_peer_whose_process_dies_is_named_with_its_code(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    python.chmod(0o755)
    with pytest.raises(peers.PeerError, match="memintelli was not run: its process ended with code 3"):
        peers.Peer(python, "memintelli", 1, 2)


def test_a_peer_says_what_it_is_and_times_itself_and_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[torch.Size] = []

    def forward(hidden: torch.Tensor) -> None:
        runs.append(hidden.shape)

    def build(model: SixLinears, x: tuple[torch.Tensor, ...]) -> peer_child.Built:
        return "torch", "none", lambda: forward(x[0])

    monkeypatch.setitem(peer_child.PEERS, "fake", build)
    requests = [{"do": "peer", "threads": 1}, {"do": "fp32", "threads": 1}, {"do": "peer", "threads": 1}]
    answers = io.StringIO()
    before = torch.get_num_threads()
    try:
        lines = io.StringIO("".join(json.dumps(request) + "\n" for request in requests))
        peer_child.serve("fake", 1, 2, lines, answers)
    finally:
        torch.set_num_threads(before)
    first, *timed = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert first == {"version": torch.__version__, "torch": torch.__version__, "settings": "none"}
    assert [set(sample) for sample in timed] == [{"cpu_s", "wall_s"}] * 3
    assert all(sample["wall_s"] > 0 for sample in timed)
    assert runs == [torch.Size([1, 2, 768])] * 3  # once while it is built, twice asked for


def test_torch_is_installed_first_and_alone_at_one_version() -> None:
    steps = peers._steps("2.13.0")
    assert steps[0].arguments[0] == "torch==2.13.0"
    assert not any(word.startswith("torch==") for step in steps[1:] for word in step.arguments)


def test_a_peer_is_asked_only_for_the_threads_it_was_started_with(tmp_path: Path) -> None:
    python = tmp_path / "python"
    answer = json.dumps({"version": "1", "settings": "s"})
    python.write_text(f"#!/bin/sh\necho '{answer}'\ncat > /dev/null\n", encoding="ascii")
    python.chmod(0o755)
    with peers.Peer(python, "fake", 1, 2, threads=2) as peer:
        assert (peer.version, peer.settings) == ("1", "s")
        with pytest.raises(ValueError, match="started with 2 threads, not 1"):
            peer.contender("peer")(1)
