"""``ohmformer encodings``: files, JSON, refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    names = ("findings", "exact", "conditions", "base-7")
    path.write_text(
        "".join(f"<!-- {n}: written by a command, not by hand -->\n<!-- end of {n} -->\n" for n in names),
        encoding="utf-8",
    )
    return path


def test_a_model_too_short_for_a_condition_is_refused_and_nothing_is_written(
    command: Callable[..., Any], make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Four times 16 tokens, one of the conditions, are more than the tiny model's 32."""
    target = tmp_path / "points.json"
    ended = command("encodings", make_model("bert"), "--tokens", 16, "--base", 7, "--json", target)
    assert ended.code == 2
    assert "64" in ended.sentence
    assert not target.exists()


def test_bert_large_with_one_base(command: Callable[..., Any], tmp_path: Path, page: Path) -> None:
    files = {name: tmp_path / f"points.{name}" for name in ("json", "csv", "svg")}
    ended = command(
        *("encodings", "--base", 7, "--json", files["json"]),
        *("--csv", files["csv"], "--picture", files["svg"], "--page", page),
    )
    assert ended.code == 0, ended.err
    assert "the fastest exact encodings at equal area" in ended.out
    document = json.loads(files["json"].read_text(encoding="utf-8"))
    assert document["schema"] == "ohmformer.encodings/1"
    points = document["result"]["points"]
    with files["csv"].open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(points)
    assert {row["radix"] for row in rows} == {"7"}
    assert [float(row["energy_J"]) for row in rows] == [point["energy_J"] for point in points]
    assert {row["lossless"] for row in rows} == {"True", "False"}
    assert files["svg"].read_text(encoding="utf-8").startswith("<svg")
    assert "| 7 | shared | 3 | 2 | 128 of 128 | 8 |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--base", 8), "odd"),
        (("--level", "middle"), "'middle'"),
        (("--page", "absent.md"), "absent.md"),
    ],
)
def test_bad_input_is_one_sentence(
    command: Callable[..., Any],
    arguments: tuple[object, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("encodings", *arguments)
    assert ended.code == 2
    assert named in ended.sentence
