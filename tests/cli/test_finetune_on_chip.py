"""``finetune --on-chip``: the chip in the loop, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_it_trains_twice_compares_and_writes_all_down(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    common = (
        "finetune", make_model("bert"), "--task", table, "--train", 40, "--test", 16, "--seed", 1,
        "--cache", tmp_path / "cache", "--json", out, "--on-chip", "wang2024", "--noise-scale", 7,
    )  # fmt: skip
    ended = command(*common, "--ramp-from", 5, "--compare", 6, "--compare", 9, "--repeat", 2)
    assert ended.code == 0, ended.err
    result = json.loads(out.read_text())["result"]
    assert Path(result["folder"]).is_dir()
    assert Path(result["plain_folder"]).is_dir()
    assert result["folder"] != result["plain_folder"]
    assert result["chip"]["dense.cell.noise.telegraph_scale"] == 7.0
    assert (result["chip_name"], result["chip_epochs"], result["texts"]) == ("wang2024", 1, "test")
    scores = result["comparison"]
    assert [score["label"] for score in scores] == [
        "fp32", "ideal chip", "wang2024, 6x telegraph noise", "wang2024, 9x telegraph noise",
    ]  # fmt: skip
    assert [pair["seed"] for pair in scores[-1]["pairs"]] == [2, 3]  # other chips than that of the training
    assert scores[-1]["gain"]["n"] == 16
    assert "9x telegraph noise: fp32 training" in ended.out
    record = json.loads((Path(result["folder"]) / "ohmformer_finetune.json").read_text())
    assert record["through"]["ramp_from"] == 5.0

    again = command(*common, "--ramp-from", 5, "--compare", 6, "--repeat", 1, "--validation", 10)
    assert again.code == 0, again.err
    second = json.loads(out.read_text())["result"]
    assert second["folder"] == result["folder"]  # found, not trained again
    assert (second["texts"], second["comparison"][-1]["gain"]["n"]) == ("validation", 10)
    assert "10 validation texts" in again.out

    measure = ("evaluate", result["folder"], "--task", table, "--test", 16, "--no-ideal")
    assert command(*measure, "--seed", 1).code == 0
    refused = command(*measure, "--seed", 2)
    assert "--seed 1" in refused.sentence  # what was trained on stays out of the test


@pytest.mark.parametrize(
    "options", [("--noise-scale", 7), ("--ramp-from", 5), ("--compare", 6), ("--set", "dense.cell.bits=1")]
)
def test_options_of_the_chip_need_a_chip(
    options: tuple[object, ...], command: Command, make_model: Callable[[str], Path], table: Path
) -> None:
    ended = command("finetune", make_model("bert"), "--task", table, *options)
    assert ended.code == 2
    assert "need a chip: give --on-chip" in ended.sentence


def test_a_ramp_from_above_the_end_is_refused(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    ended = command(
        "finetune", make_model("bert"), "--task", table, "--train", 40, "--test", 16,
        "--cache", tmp_path / "cache", "--on-chip", "wang2024", "--noise-scale", 4, "--ramp-from", 5,
    )  # fmt: skip
    assert ended.code == 2
    assert "ramp_from is 5.0" in ended.sentence
