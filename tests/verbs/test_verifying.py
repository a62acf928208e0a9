"""The chain of checks: it passes, and each deliberate fault in a netlist fails the row that looks for it."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohmformer.cli import run
from ohmformer.emit.spice_circuit import Circuit, Resistor
from ohmformer.specs import override, preset
from ohmformer.verbs import verify_circuits
from ohmformer.verbs.verify_circuits import circuit_checks
from ohmformer.verbs.verify_rows import Check, Outcome, checked
from ohmformer.verbs.verify_rtl import QUICK_ROWS, RTL_ROWS, rtl_checks
from ohmformer.verbs.verifying import Verification, verify

from ..liberty import LIBERTY


@pytest.mark.parametrize("chip", ["wang2024", "wang2024_2bit_serial", "wang2024_1bit_cells"])
def test_circuits_of_the_presets_pass(chip: str) -> None:
    rows = list(circuit_checks(preset(chip), quick=True))
    assert [row.name for row in rows if not row.passed] == []
    assert {row.name for row in rows} >= {
        "tile with wires",
        "tile at size",
        "product",
        "dense read",
        "settling",
    }
    assert all(row.cases > 0 and row.seconds > 0 for row in rows)
    exact = [row for row in rows if row.unit == "of the largest" and row.name != "batched wires"]
    assert len(exact) == 3
    assert max(row.worst for row in exact) < 1e-9


def test_another_numeral_polarity_and_code_pass() -> None:
    chip = override(
        preset("wang2024"),
        {
            "tile.numeral.radix": 9,
            "tile.numeral.polarity": "per_resistor",
            "tile.resident_code": "digits",
            "tile.resistor.wire_resistance_ohm": 3.0,
        },
    )
    assert [row.name for row in circuit_checks(chip, quick=True, seed=2) if not row.passed] == []


def broken(make: Callable[..., Circuit], name: str, factor: float) -> Callable[..., Circuit]:
    """The same circuit with the first resistor whose name begins so scaled by a factor."""

    def made(*arguments: Any, **options: Any) -> Circuit:
        circuit = make(*arguments, **options)
        parts = list(circuit.elements)
        for place, part in enumerate(parts):
            if isinstance(part, Resistor) and part.name.startswith(name):
                parts[place] = part._replace(ohm=part.ohm * factor)
                return replace(circuit, elements=tuple(parts))
        return circuit  # a tile without wires has no segment

    return made


def test_one_resistor_5_percent_off_fails_the_currents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_circuits, "tile_circuit", broken(verify_circuits.tile_circuit, "f", 1.05))
    # seed 3 puts a digit on the wordline of the resistor in every set of operands
    failed = {row.name for row in circuit_checks(preset("wang2024"), quick=True, seed=3) if not row.passed}
    assert failed >= {"tile without wires", "tile with wires", "tile at size"}


def test_one_wire_of_twice_its_resistance_fails_the_currents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last segment of bitline 0, which all of its current passes."""
    monkeypatch.setattr(verify_circuits, "tile_circuit", broken(verify_circuits.tile_circuit, "b15_0", 2.0))
    rows = circuit_checks(preset("wang2024"), quick=True)
    passed = {row.name: row.passed for row in itertools.islice(rows, 2)}
    assert passed == {"tile without wires": True, "tile with wires": False}


LOSSY = (
    {"tile.adc.rounding": "floor"},
    {"tile.adc.step": 2, "tile.adc.rounding": "half_up"},
    {"tile.adc.step": 4, "tile.adc.bits": 6, "tile.resident_code": "digits"},
)


def product_row(settings: dict[str, Any]) -> Check:
    chip = override(preset("wang2024"), settings)
    return next(row for row in circuit_checks(chip, quick=True) if row.name == "product")


@pytest.mark.parametrize("wire_ohm", [0.0, 2.0])
@pytest.mark.parametrize("adc", LOSSY)
def test_whole_sums_on_a_converters_thresholds_are_compared(adc: dict[str, Any], wire_ohm: float) -> None:
    row = product_row({**adc, "tile.resistor.wire_resistance_ohm": wire_ohm})
    assert row.passed
    assert row.cases == (2 if "tile.resident_code" not in adc else 1)


@pytest.mark.parametrize("adc", LOSSY)
def test_a_resistor_of_a_tenth_fails_the_product(
    adc: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine to eighteen units more on one bitline: codes of every step here see them."""
    monkeypatch.setattr(verify_circuits, "tile_circuit", broken(verify_circuits.tile_circuit, "f", 0.1))
    assert not product_row(adc).passed


@pytest.mark.parametrize("bits", [2, 5, 16])
def test_operands_have_the_bits_of_the_chip(bits: int) -> None:
    """16 bitlines of 16: as many outputs as words of so many bits fit."""
    row = product_row({"precision.weight_bits": bits, "precision.activation_bits": 18 - bits})
    assert row.passed
    assert row.cases == 16 // bits


def settling_row(settings: dict[str, Any]) -> Check:
    chip = override(preset("wang2024"), settings)
    return next(row for row in circuit_checks(chip, quick=True) if row.name == "settling")


def test_heavy_wires_make_the_settling_formula_careful_and_a_short_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wires of 1 % of a unit make it 2.4 times as long as the circuit at 16 wordlines, which is no fault."""
    heavy = {"tile.resistor.wire_resistance_ohm": 1e4}
    assert settling_row(heavy).passed
    assert settling_row(heavy).worst <= 0
    assert settling_row({"tile.numeral.radix": 257}).passed
    formula = verify_circuits.settling_time_s
    monkeypatch.setattr(verify_circuits, "settling_time_s", lambda tile: 0.3 * formula(tile))
    assert not settling_row(heavy).passed
    monkeypatch.setattr(verify_circuits, "settling_time_s", lambda tile: 1.2 * formula(tile))
    assert not settling_row({}).passed
    assert not settling_row({"tile.numeral.radix": 257}).passed


def test_a_threshold_out_of_place_fails_the_dense_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_circuits, "dense_circuit", broken(verify_circuits.dense_circuit, "t0", 1.0001))
    failed = {row.name for row in circuit_checks(preset("wang2024"), quick=True) if not row.passed}
    assert failed == {"dense read"}


def test_a_row_passes_within_its_bound_only_and_with_cases_only() -> None:
    def verdict(cases: int, worst: float) -> bool:
        return checked("n", "w", "t", 0.5, "u", lambda: Outcome(cases=cases, worst=worst)).passed

    assert verdict(1, 0.5)
    assert not verdict(1, 0.5001)
    assert not verdict(1, math.nan)
    assert not verdict(0, 0.0)
    assert not Verification(chip="c", quick=True, checks=()).passed


def test_the_command_prints_writes_and_says_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohmformer.verbs.verifying.CHAINS", (_short,))
    target = tmp_path / "verify.json"
    assert run(["verify", "--quick", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "passed" in printed
    content = json.loads(target.read_text())
    assert content["schema"] == "ohmformer.verification/1"
    assert content["result"]["checks"][0]["passed"] is True
    monkeypatch.setattr("ohmformer.verbs.verifying.CHAINS", (_wrong,))
    assert run(["verify", "--quick"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_what_was_found_before_a_part_that_cannot_be_built_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohmformer.verbs.verifying.CHAINS", (_short, rtl_checks))
    monkeypatch.setattr("ohmformer.verbs.verify_rtl.LANES", ("reciprocal",))
    target = tmp_path / "verify.json"
    command = ["verify", "--quick", "--set", "buffer.word_bits=16", "--json", str(target)]
    assert run(command) == 2
    told = capsys.readouterr()
    assert "integer functions" in told.out
    assert "FAILED" not in told.out
    assert (
        "buffer.word_bits is 16: sums of this tile take up to 22 bits; set it"
        in told.err.strip().splitlines()[-1]
    )
    assert not target.exists()


def _short(chip: object, *, quick: bool, seed: int, liberty: str | None = None) -> Any:
    yield checked("n", "w", "t", 0.5, "u", lambda: Outcome(cases=1, worst=0.25))


def _wrong(chip: object, *, quick: bool, seed: int, liberty: str | None = None) -> Any:
    yield from _short(chip, quick=quick, seed=seed)
    yield checked("m", "w", "t", 0.5, "u", lambda: Outcome(cases=1, worst=0.75))


def test_progress_counts_the_checks_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """``RTL_ROWS`` of a whole run: its rows are those of a quick one and the gates of five parts."""
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr("ohmformer.verbs.verify_rtl.LANES", ("reciprocal",))
    done = verify(preset("wang2024"), quick=True, progress=lambda *step: steps.append(step))
    assert [made for _, made, _ in steps] == [*range(len(done.checks) + 1)]
    assert {total for _, _, total in steps} == {len(done.checks)}
    beside = ("lanes", "tile", "product", "softmax", "read controller")
    assert QUICK_ROWS + len(beside) == RTL_ROWS


@pytest.mark.parametrize("missing", ["ngspice", "iverilog", "yosys"])
def test_a_missing_tool_is_said_ahead_of_the_first_check(
    missing: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in {"ngspice", "iverilog", "vvp", "yosys"} - {missing}:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ohmformer.verbs.verifying.CHAINS", (_short,))
    assert run(["verify", "--quick"]) == 2
    told = capsys.readouterr()
    assert "Debian package " + missing in told.err
    assert "passed" not in told.out


def test_a_liberty_file_is_looked_at_ahead_of_the_first_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ohmformer.verbs.verifying.CHAINS", (_short,))
    gates = tmp_path / "gates.lib"
    gates.write_text(LIBERTY)  # no flip-flop, which a quick run does not need
    assert run(["verify", "--quick", "--liberty", str(gates)]) == 0
    assert "passed" in capsys.readouterr().out
    for options in (["--quick", "--liberty", str(tmp_path / "none.lib")], ["--liberty", str(gates)]):
        assert run(["verify", *options]) == 2
        told = capsys.readouterr()
        assert "No such file" in told.err or "flip-flops are not" in told.err
        assert "passed" not in told.out


def test_a_missing_simulator_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["verify", "--quick"]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "ngspice is not installed: the Debian package ngspice brings it" in sentence
