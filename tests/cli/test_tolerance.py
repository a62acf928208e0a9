"""``tolerance`` and ``amplitudes`` as commands: what is printed, kept, drawn and refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
Make = Callable[[str], Path]


def test_a_tolerance_is_printed_and_kept(
    command: Command, make_model: Make, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = (
        *("tolerance", make_model("bert"), table, "--train", 20, "--test", 10, "--repeat", 1),
        *("--noise", "stuck", "--loss", "60%", "--up-to", 1, "--resolution", 2, "--out", out),
    )
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    content = json.loads((out / "tolerance.json").read_text())
    assert content["schema"] == "ohmformer.tolerance/1"
    result = content["result"]
    assert (result["bound"], result["n"], result["seeds"]) == (0.6, 10, [0])
    (found,) = result["tolerances"]
    assert found["noise"] == "stuck"
    assert "stuck cells: not reached up to 1x" in ended.out
    assert "dense.cell.noise.stuck_low_rate=0.0005" in ended.out
    for statement in result["published"]:
        assert f"({statement['chip_name']}): {statement['verdict']}" in ended.out
    assert "one chip" in ended.out
    again = command(*arguments)
    assert again.code == 0
    repeated = json.loads((out / "tolerance.json").read_text())["result"]
    assert repeated["tolerances"] == result["tolerances"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--noise", "telegraf"), "did you mean 'telegraph'"),
        (("--loss", "much"), "--loss is 'much'"),
        (("--loss", "100%"), "between 0 and 100 %"),
        (("--loss", "-1%"), "between 0 and 100 %"),
        (("--up-to", 0.5), "largest amplitude is 0.5"),
        (("--resolution", 1), "resolution is 1"),
        (("--chip", "wang2025"), "wang2025"),
        (("--kind", "guess"), "--kind is 'guess'"),
        (("--test", 500), "need"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(
    command: Command, make_model: Make, table: Path, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    out = tmp_path / "run"
    ended = command("tolerance", make_model("bert"), table, "--train", 20, "--out", out, *more)
    assert ended.code == 2
    assert said in ended.sentence
    assert not out.exists()


def test_amplitudes_are_measured_and_drawn_again_from_their_result(
    command: Command, make_model: Make, table: Path, book: Path, tmp_path: Path
) -> None:
    out, picture = tmp_path / "run", tmp_path / "one.svg"
    ended = command(
        *("amplitudes", "--encoder", make_model("bert"), "--decoder", make_model("llama")),
        *("--task", table, "--text", book, "--train", 20, "--test", 10, "--limit", 140, "--window", 16),
        *("--chip", "wang2024", "--amplitude", 1, "--amplitude", 12, "--encoder-repeat", 2),
        *("--decoder-repeat", 1, "--out", out, "--picture", picture),
    )
    assert ended.code == 0, ended.err
    content = json.loads((out / "amplitudes.json").read_text())
    assert content["schema"] == "ohmformer.amplitudes/1"
    result = content["result"]
    assert [point["amplitude"] for point in result["points"]] == [1.0, 12.0]
    labels = ["fp32", "chip without noise", *(point["label"] for point in result["points"])]
    for kind, chips in (("encoder", 2), ("decoder", 1)):
        assert [score["label"] for score in result[kind]["scores"]] == labels
        assert [len(score["values"]) for score in result[kind]["scores"]] == [1, chips, chips, chips]
    ET.fromstring(picture.read_text())
    other = tmp_path / "two.svg"
    assert command("amplitudes", "--from", out / "amplitudes.json", "--picture", other).code == 0
    assert other.read_text() == picture.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("[]", "no result of `ohmformer amplitudes`"),
        ('{"schema": "ohmformer.demo/1"}', "its schema is another one"),
        ('{"schema": "ohmformer.amplitudes/1", "result": {"encoder": null}}', "lacks a part"),
    ],
)
def test_a_picture_of_something_else_is_refused(
    command: Command, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "result.json"
    if text is not None:
        file.write_text(text)
    ended = command("amplitudes", "--from", file, "--picture", tmp_path / "x.svg")
    assert ended.code == 2
    assert said in ended.sentence
    assert not (tmp_path / "x.svg").exists()


def test_amplitudes_refuse_what_cannot_be_measured(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    none = ("--encoder", "none", "--decoder", "none")
    for more, said in (
        (none, "Neither an encoder nor a decoder"),
        (("--noise", "stuck"), "has no stuck cells to scale"),
        (("--amplitude", 1e9), "must be between"),
        (("--from", "x.json"), "--picture"),
    ):
        ended = command("amplitudes", "--out", out, *more)
        assert ended.code == 2
        assert said in ended.sentence
        assert not out.exists()
