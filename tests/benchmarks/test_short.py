"""The short form: it passes, and it fails where a number is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.engine import chips, parity, runner, works
from benchmarks.engine.__main__ import main
from benchmarks.engine.measuring import local

import ohmformer
from ohmformer.engine import ReferenceEngine, mode_of

ROOT = Path(__file__).resolve().parents[2]
deploy = ohmformer.deploy


def test_the_short_form_passes_and_writes_only_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # given back afterwards: the program takes it away
    results = ROOT / "benchmarks" / "results"
    before = {path: path.read_bytes() for path in results.glob("*")}
    out = tmp_path / "checks.json"
    code = main(["--short", "--out", str(out)])
    assert code == 0, capsys.readouterr().out
    checks = json.loads(out.read_text(encoding="utf-8"))["checks"]
    assert [check["name"] for check in checks] == [name for name, _ in parity.comparisons()]
    assert all(check["passed"] for check in checks)
    assert {path: path.read_bytes() for path in results.glob("*")} == before


class OffByOne:
    """Right but for one output, which is one too large."""

    def __init__(self, chip: Any) -> None:
        self.right = ReferenceEngine(chip.tile)

    def product(self, streamed: Any, resident: Any, **options: Any) -> torch.Tensor:
        values = self.right.product(streamed, resident, **options)
        values.view(-1)[-1] += 1
        return values


@pytest.mark.parametrize(
    "compare",
    [
        parity.ideal_six_linears,
        lambda: parity.serial_product("bits", 7),
        lambda: parity.serial_product("digits", 8),
        parity.whole_encoder,
    ],
    ids=["six linears", "bits", "digits", "encoder"],
)
def test_one_wrong_output_is_found(monkeypatch: pytest.MonkeyPatch, compare: parity.Comparison) -> None:
    def sabotaged(model: Any, chip: Any, engine: Any = None, **options: Any) -> Any:
        return deploy(model, chip, engine=OffByOne(chip) if engine is None else engine, **options)

    monkeypatch.setattr(parity.ohmformer, "deploy", sabotaged)
    deviation, bound = compare()
    assert not parity.Check(name="", deviation=deviation, bound=bound, seconds=0.0).passed


def test_a_wrong_check_makes_the_run_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        parity, "comparisons", lambda: iter([("right", lambda: (0.0, 0.0)), ("wrong", lambda: (2.0, 1.0))])
    )
    assert main(["--short"]) == 1
    assert "2 checks, 1 wrong" in capsys.readouterr().out


def test_what_is_not_a_number_does_not_pass() -> None:
    assert not parity.Check(name="", deviation=float("nan"), bound=1.0, seconds=0.0).passed


def test_the_chips_of_the_table_run_in_the_modes_it_names() -> None:
    for code in chips.resident_codes():
        for bits in (6, 7, 8):
            assert mode_of(chips.digit_serial(code, bits).tile) == "digit-serial"
    assert mode_of(chips.collapsed(5.0, 0.3).tile) == "collapsed"
    assert chips.digit_serial("bits", 8).tile.adc.max_code == 127
    assert not chips.digit_serial("bits", 8).tile.lossless
    assert chips.collapsed(5.0, 0.3).tile.lossless
    assert chips.collapsed(5.0).dense.cell.noise.telegraph_scale == 5.0


def test_every_work_has_a_name_of_its_own_and_a_bar_no_harder_than_its_aim() -> None:
    rows = list(works.works())
    assert len({work.name for work in rows}) == len(rows)
    for work in rows:
        assert work.bar is not None
        assert work.aim is not None
        assert (work.aim > work.bar) == work.higher


@pytest.mark.parametrize("words", [["--repeats", "0"], ["--warmups", "-1"], ["--only", "nothing"]])
def test_wrong_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_work_that_fails_is_remarked_upon_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two works in place of the real ones: a product over itself, and one that cannot be built."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()

    def right() -> works.Pair:
        contender = local(lambda: sum(range(20_000)))
        return works.Pair(ours=contender, theirs=contender, mode="none", others={"third": contender})

    def wrong() -> works.Pair:
        raise RuntimeError("no such kernel")

    found = [
        works.Work(name=name, group="six", settings="s", build=build, bar=1.0, aim=0.5)
        for name, build in (("fails", wrong), ("runs", right))
    ]
    monkeypatch.setattr(runner, "works", lambda: iter(found))
    out = tmp_path / "engine.json"
    try:
        options = ["--only", "six", "--repeats", "3", "--warmups", "1", "--out", str(out)]
        assert main(options) == 0
        assert main([*options, "--cpu-only"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "fails was not measured: RuntimeError: no such kernel" in capsys.readouterr().out
    document = json.loads(out.read_text(encoding="utf-8"))
    (row,) = document["rows"]
    assert row["work"] == "runs"
    assert row["repeats"] == 3
    # the same work twice: the ratio is 1 but for the clock, and never twofold in the middle of three rounds
    assert 0.5 < row["ratio"] < 2.0
    assert row["ratio_wall"] is None
    assert set(row["beside"]) == {"third over fp32", "ours over third"}
    assert "--cpu-only" in row["command"]
    assert any(remark.startswith("fails") for remark in document["remarks"])
