"""The cost benchmark: its works are what they say, its rows keep their bars."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from benchmarks.cost import works
from benchmarks.cost.__main__ import main
from benchmarks.cost.results import Row, Table, as_text, merged, read_rows
from benchmarks.cost.runner import spread

from ohmformer.errors import UserError

CHILD = Path(sys.modules["benchmarks.cost"].__file__ or "").with_name("peer_child.py")


def row(work: str = "a", **changes: object) -> Row:
    values: dict[str, object] = {
        "work": work,
        "value": 2.0,
        "unit": "s",
        "bar": 1.5,
        "higher": False,
        "ratio": 2 / 1.5,
        "spread": (1.9, 2.1),
        "repeats": 3,
        "settings": "",
        "machine": "m",
        "versions": "v",
        "command": "c",
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def test_the_chips_of_the_sweep_are_all_different_and_as_many_as_promised() -> None:
    chips = list(works.specs())
    assert len(chips) == len(set(chips)) == works.SPECS == 10_000
    assert len(set(works.few_specs(60))) == 60


def test_the_products_given_to_zigzag_are_bert_base() -> None:
    """12 layers: 12 · (4 · 768² + 2 · 768 · 3072) · 128 and 2 · 12 · 12 · 128² · 64 multiply-accumulates."""
    gemms = runpy.run_path(str(CHILD))["gemms"]()
    assert len(gemms) == 8
    macs = 12 * sum(rows * inner * columns for _, rows, inner, columns in gemms)
    assert macs == 12 * (4 * 768**2 + 2 * 768 * 3072) * 128 + 2 * 12 * 12 * 128**2 * 64


def test_a_bar_is_met_or_missed_from_either_side() -> None:
    assert row(value=1.5).verdict == "met"
    assert row(value=1.6).verdict == "missed"
    assert row(value=1.6, higher=True).verdict == "met"
    assert row(value=1.4, higher=True).verdict == "missed"
    assert row(bar=None).verdict == ""


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    assert read_rows(path) == ()
    table = Table(machine={"cores": 2}, versions={}, command="c", rows=(row(), row("b")), remarks=("busy",))
    table.write(path)
    again = read_rows(path)
    assert [one.work for one in again] == ["a", "b"]
    assert json.loads(path.read_text(encoding="utf-8"))["rows"][0]["verdict"] == "missed"
    newer = merged(again, [row("b", value=1.0), row("c")])
    assert [(one.work, one.value) for one in newer] == [("a", 2.0), ("b", 1.0), ("c", 2.0)]
    text = as_text(newer)
    assert "missed" in text.splitlines()[1]
    assert "met" in text.splitlines()[2]
    path.write_text('{"schema": 9}', encoding="utf-8")
    with pytest.raises(UserError, match="no table of this benchmark"):
        read_rows(path)


def test_a_spread_is_quartiles_or_ends() -> None:
    assert spread([3.0, 1.0]) == (1.0, 3.0)
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_a_trial_of_the_sweep_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # main sets it: given back afterwards
    out = tmp_path / "cost.json"
    assert main(["--only", "specs", "--specs", "4", "--out", str(out)]) == 0
    assert not out.exists()
    assert "4 chips in" in capsys.readouterr().err
