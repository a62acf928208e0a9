"""``ohmformer emit``: netlists that the simulators take, and nothing left where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.emit.simulators.ngspice import run_ngspice_text

TINY = (
    *("--set", "tile.resistor.unit_resistance_ohm=1e-300"),
    *("--set", "tile.resistor.switch_resistance_ohm=0"),
)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_netlist_of_given_operands_carries_their_sum(command: Callable[..., Any], tmp_path: Path) -> None:
    """Digits 3, -2 on a column 1, -1 of 2 bits: bit 0 sums to 3 - 2, bit 1 (the sign) to -2."""
    operands = write(tmp_path / "o.json", {"digits": [3, -2], "resident": [[1], [-1]]})
    target = tmp_path / "tile.cir"
    size = ("--wordlines", 4, "--bitlines", 2, "--bits", 2)
    ended = command("emit", "spice", "tile", "--operands", operands, *size, "--out", target)
    assert ended.code == 0, ended.err
    found = run_ngspice_text(target.read_text())
    unit_A = 0.2 / 1.001e6
    sums = [float(found.column(f"i(vs{bitline})")[0]) / unit_A for bitline in (0, 1)]
    assert sums == pytest.approx([1, -2], rel=1e-9)


def test_a_transient_ends_at_the_operating_point(command: Callable[..., Any], tmp_path: Path) -> None:
    size = ("--wordlines", 4, "--bitlines", 2, "--bits", 2)
    common = ("emit", "spice", "tile", *size, "--sense", "amplifier")
    common += ("--operands", write(tmp_path / "o.json", {"digits": [3, 2], "resident": [[1], [-1]]}))
    settle, still = tmp_path / "settle.cir", tmp_path / "still.cir"
    assert command(*common, "--transient", "--out", settle).code == 0
    assert command(*common, "--out", still).code == 0
    over, end = run_ngspice_text(settle.read_text()), run_ngspice_text(still.read_text())
    for bitline in (0, 1):
        name = f"v(out{bitline})"
        expected = float(end.column(name)[0])
        assert abs(expected) > 1e-3
        assert float(over.column(name)[0]) == pytest.approx(0, abs=1e-9)
        # twice the settling time to a quarter of a code leaves far less than its square, 1/16 of a code
        assert float(over.column(name)[-1]) == pytest.approx(expected, rel=1e-3)


def test_vacask_and_standard_output(command: Callable[..., Any]) -> None:
    ended = command(
        *("emit", "spice", "tile", "--wordlines", 4, "--bitlines", 2, "--bits", 2, "--mismatch"),
        *("--dialect", "vacask"),
    )
    assert ended.code == 0
    assert "analysis result op" in ended.out


def test_a_read_of_given_levels(command: Callable[..., Any], tmp_path: Path) -> None:
    operands = write(tmp_path / "o.json", {"symbols": [[0, 0, 0, 0], [3, 1, 0, 2]]})
    target = tmp_path / "dense.cir"
    quiet = ("--set", "dense.cell.noise.programming_noise=0")
    ended = command(
        *("emit", "spice", "dense", "--operands", operands, "--selected", 1, *quiet, "--out", target)
    )
    assert ended.code == 0, ended.err
    found = run_ngspice_text(target.read_text())
    read = [sum(float(found.column(f"v(c{b}_{t})")[0]) > 0.5 for t in range(3)) for b in range(4)]
    assert read == [3, 1, 0, 2]


def test_operands_that_no_reader_gets_through(command: Callable[..., Any], tmp_path: Path) -> None:
    for content in (b"[" * 100_000, b"\xff\xfe\x00", b"{"):
        (tmp_path / "o.json").write_bytes(content)
        ended = command("emit", "spice", "dense", "--operands", tmp_path / "o.json")
        assert ended.code == 2
        assert "o.json cannot be read as JSON: operands are symbols" in ended.sentence


def test_a_seed_of_more_bits_than_a_generator_takes(command: Callable[..., Any]) -> None:
    for seed, code in ((1 << 63, 2), ((1 << 63) - 1, 0), (-1, 2)):
        assert command("emit", "spice", "dense", "--seed", seed).code == code


def test_the_operands_of_a_read_say_how_many_cells_there_are(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    operands = write(tmp_path / "o.json", {"symbols": [[0, 1], [2, 3]]})
    given = ("emit", "spice", "dense", "--operands", operands)
    whole = command(*given, "--wordlines", 2, "--bitlines", 2)
    assert whole.code == 0
    assert whole.out == command(*given).out
    for other in (("--wordlines", 3), ("--bitlines", 4)):
        ended = command(*given, *other, "--out", tmp_path / "x.cir")
        assert ended.code == 2
        assert "is 2 x 2 symbols: --wordlines and --bitlines are for random ones" in ended.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"digits": [9, 0], "resident": [[1], [1]]}, "digit is 9"),
        ({"digits": [1, 0], "resident": [[500], [1]]}, "500"),
        ({"digits": [1], "resident": [[1], [1]]}, "1 digits meet 2"),
        ({"digits": [1.5, 0], "resident": [[1], [1]]}, "digits must be a list of integers"),
        ({"digits": [1, 0], "resident": [[1], [1, 2]]}, "resident must be a list of lists"),
        ({"digits": [1, 0], "resident": [1, 1]}, "resident must be a list of lists"),
        ({"digits": [], "resident": []}, "must be a list"),
        ({"digits": [1, 0]}, "exactly digits, resident"),
        ([1], "exactly digits, resident"),
    ],
)
def test_wrong_operands_leave_no_netlist(
    command: Callable[..., Any], tmp_path: Path, content: object, sentence: str
) -> None:
    operands, target = write(tmp_path / "o.json", content), tmp_path / "tile.cir"
    ended = command("emit", "spice", "tile", "--operands", operands, "--out", target)
    assert ended.code == 2
    assert sentence in ended.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tile", "--bitlines", 4), "one 8-bit resident operand needs 8"),
        (("tile", "--wordlines", 4, "--bitlines", 8, "--sense", "none"), "allowed are ideal, amplifier"),
        (("tile", "--wordlines", 4, "--bitlines", 8, "--dialect", "none"), "allowed are ngspice, vacask"),
        (("tile", "--wordlines", 4, "--bitlines", 8, "--transient", "--dialect", "vacask"), "ngspice alone"),
        (("tile", "--wordlines", 1), "one radix-7 digit alone drives 2"),
        (("dense", "--selected", 4), "wordlines 0 to 3"),
        (("tile", "--wordlines", 16384, "--bitlines", 16384), "a netlist holds at most 262144"),
        (("dense", "--wordlines", 1024, "--bitlines", 65536), "a netlist holds at most 262144"),
        (("tile", *TINY), "no circuit has one outside 1e-09"),
        (
            ("tile", "--operands", "no-such-file.json"),
            "no-such-file.json: No such file",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    command: Callable[..., Any], tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    ended = command("emit", "spice", *arguments, "--out", tmp_path / "x.cir")
    assert ended.code == 2
    assert sentence in ended.sentence
    assert not list(tmp_path.iterdir())
