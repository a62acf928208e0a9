"""--mode: from the command line to the score, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.cli.setups import chips_from, setups_from
from ohmformer.deploy import load_deployed, on_chip

Command = Callable[..., Any]
LOSSY = ("--set", "tile.adc.bits=4", "--set", "tile.adc.step=2")


def test_the_mode_is_that_of_the_noisy_chips() -> None:
    """The ideal chip's products are exact in every mode, so it keeps the fastest."""
    setups = setups_from(chips_from(["wang2024"], None), scales=[1.0], mode="statistical")
    assert [setup.mode for setup in setups] == [None, None, "statistical"]
    assert [setup.mode for setup in setups_from(chips_from(None, None))] == [None, None, None]


def test_evaluate_in_a_mode(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    ended = command(
        "evaluate", make_model("bert"), "--task", table, "--train", 20, "--test", 8, "--mode", "statistical",
        *LOSSY, "--json", out, "--report", page,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    scores = json.loads(out.read_text(encoding="utf-8"))["result"]["scores"]
    assert [score["mode"] for score in scores] == ["torch", "collapsed", "statistical"]
    assert "statistical (asked for:" in ended.out
    assert "variance z" in ended.out
    for row in scores[2]["deviations"]:
        assert row["layer"] in ended.out
        assert row["layer"] in page.read_text(encoding="utf-8")


def test_generate_and_deploy_in_a_mode(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    ended = command(
        "generate", make_model("llama"), "the cat", "--max-new-tokens", 2, "--no-ideal", "--mode",
        "digit-serial",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "digit-serial" in ended.out
    folder = tmp_path / "kept"
    ended = command("deploy", make_model("bert"), "--save", folder, "--mode", "statistical")
    assert ended.code == 0, ended.err
    assert "Simulation: statistical, asked for" in ended.out
    assert on_chip(load_deployed(folder)).mode == "statistical"


@pytest.mark.parametrize(
    "arguments",
    [("evaluate", "minilm", "--task", "sarcasm"), ("generate", "smollm2", "hi"), ("deploy", "minilm")],
    ids=lambda arguments: arguments[0],
)
def test_bad_modes_are_refused_in_one_sentence(command: Command, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments, "--mode", "quick")
    assert ended.code == 2
    allowed = "collapsed, calibrated, digit-serial, statistical"
    assert f"--mode is 'quick': allowed are {allowed}." in ended.sentence
    ended = command(*arguments, "--mode", "collapsed", *LOSSY)
    assert ended.code == 2
    assert "wang2024: The mode 'collapsed' needs converters that lose nothing" in ended.sentence
