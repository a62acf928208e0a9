"""Rows: judged, written whole, read back, merged, printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.engine.results import Row, Table, as_text, merged, read_rows

from ohmformer.errors import UserError

ROW = Row(
    work="six",
    group="six",
    ratio=0.5,
    ratio_cpu=0.5,
    ratio_wall=0.7,
    bar=0.6,
    aim=0.35,
    higher=False,
    spread={"cpu": (0.4, 0.55)},
    repeats=3,
    mode="collapsed",
    settings="chip",
    machine="one",
    versions="two",
    command="three",
)


def table(*rows: Row) -> Table:
    return Table(machine={"cores": 2}, versions={"torch": "x"}, command="c", rows=rows, remarks=("said",))


@pytest.mark.parametrize(
    ("ratio", "higher", "verdict"),
    [
        (0.35, False, "aim"),
        (0.351, False, "bar"),
        (0.6, False, "bar"),
        (0.601, False, "missed"),
        (1.5, True, "aim"),
        (1.49, True, "bar"),
        (0.69, True, "missed"),
    ],
)
def test_bar_and_aim_are_judged_in_their_direction(ratio: float, higher: bool, verdict: str) -> None:
    bar, aim = (0.7, 1.5) if higher else (0.6, 0.35)
    assert replace(ROW, ratio=ratio, higher=higher, bar=bar, aim=aim).verdict == verdict
    assert replace(ROW, ratio=ratio, bar=None, aim=None).verdict == ""


def test_a_table_is_written_and_its_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "engine.json"
    rows = (ROW, replace(ROW, work="other", ratio_wall=None))
    assert table(*rows).write(path) == path
    written = json.loads(path.read_text(encoding="utf-8"))
    wanted = {"work", "ratio_cpu", "ratio_wall", "bar", "aim", "spread", "machine", "versions", "command"}
    assert wanted <= set(written["rows"][0])
    assert written["rows"][0]["verdict"] == "bar"
    assert written["remarks"] == ["said"]
    back = read_rows(path)
    assert [row.work for row in back] == ["six", "other"]
    assert back[0].ratio_cpu == 0.5
    assert back[1].ratio_wall is None
    assert [path.name for path in path.parent.iterdir()] == ["engine.json"]


def test_a_number_that_is_none_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    table(ROW).write(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        table(replace(ROW, ratio=float("nan"))).write(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99, "rows": []}', '{"schema": 1, "rows": [{}]}'])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="engine.json is no table of this benchmark"):
        read_rows(path)


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "absent.json") == ()


def test_new_rows_take_the_place_of_the_same_work() -> None:
    old = (ROW, replace(ROW, work="kept"))
    new = (replace(ROW, work="added"), replace(ROW, ratio=0.1))
    assert [(row.work, row.ratio) for row in merged(old, new)] == [
        ("six", 0.1),
        ("kept", 0.5),
        ("added", 0.5),
    ]


def test_the_printed_table_has_every_figure() -> None:
    text = as_text(
        [replace(ROW, beside={"fused": 1.25}, note="a remark"), replace(ROW, higher=True, ratio=12.5)]
    )
    lines = text.splitlines()
    head = ["work", "cpu, 1 thread", "quartiles", "wall, 2 threads", "bar", "aim", "reached"]
    assert lines[0].split() == " ".join(head).split()
    assert lines[1].split() == [
        "six",
        "0.500",
        "0.400",
        "…",
        "0.550",
        "0.700",
        "≤",
        "0.6",
        "≤",
        "0.35",
        "bar",
    ]
    assert lines[2].split() == ["fused", "1.250"]
    assert lines[3].strip() == "a remark"
    assert "12.5" in lines[4]
    assert "≥ 0.6" in lines[4]
