"""Files are checked before work starts and appear whole; progress goes to stderr, now and then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.cli.outputs import check_file, check_folder, check_new_folder
from ohmformer.cli.progress import PLAIN_EVERY_s, plain_lines
from ohmformer.errors import UserError

Command = Callable[..., Any]


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_target_that_cannot_be_written_is_told_before_the_model_is_looked_for(
    command: Command, tmp_path: Path, option: str
) -> None:
    ended = command("estimate", "no such model", option, tmp_path / "missing" / "x")
    assert ended.code == 2
    assert "there is no folder" in ended.sentence


def test_targets(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    check_file(str(file))
    check_file(str(tmp_path / "new"))
    check_folder(str(tmp_path))
    check_folder(str(tmp_path / "a" / "b"))
    check_new_folder(str(tmp_path / "new"))
    for check, target, reason in (
        (check_file, tmp_path, "is a folder"),
        (check_file, Path("/dev/null"), "not an ordinary file"),
        (check_file, file / "x", "is not a folder"),
        (check_folder, file, "is a file"),
        (check_folder, file / "x" / "y", "cannot be written"),
        (check_new_folder, tmp_path, "exists already"),
    ):
        with pytest.raises(UserError, match=reason):
            check(str(target))


def test_json_to_standard_output_is_all_there_is(command: Command) -> None:
    ended = command("chips", "list", "--json", "-")
    content = json.loads(ended.out)
    assert content["schema"] == "ohmformer.chips/1"
    assert content["result"][0]["name"] == "wang2024"
    assert "wang2024_1bit_cells" in ended.err  # the table still appears, on the other stream


def test_json_to_a_file(command: Command, tmp_path: Path) -> None:
    target = tmp_path / "chip.json"
    ended = command("chips", "show", "wang2024", "--set", "tile.numeral.radix=5", "--json", target)
    assert ended.code == 0
    fields = {field["path"]: field for field in json.loads(target.read_text())["result"]}
    assert fields["tile.numeral.radix"]["value"] == 5
    assert fields["tile.numeral.radix"]["source"]["text"] == "set by the user for this run"
    assert fields["tile.wordlines"]["source"]["kind"] == "paper"


def test_difference_of_two_chips(command: Command) -> None:
    ended = command("chips", "diff", "wang2024", "wang2024_1bit_cells", "--json", "-")
    changes = {change["path"]: change for change in json.loads(ended.out)["result"]}
    assert changes["dense.cell.bits"] == {"path": "dense.cell.bits", "first": 2, "second": 1}
    assert "tile.wordlines" not in changes


def test_plain_progress_is_a_line_now_and_then() -> None:
    now = 0.0
    lines: list[str] = []
    step = plain_lines(lines.append, lambda: now)
    for done in range(1, 101):
        now = done * PLAIN_EVERY_s / 40
        step("chip [1]", done, 100)
    assert lines == ["chip [1]: 40 of 100", "chip [1]: 80 of 100"]
