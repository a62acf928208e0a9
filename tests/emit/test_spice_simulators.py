"""What simulators may do wrong: missing, failing, garbage, endless."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ohmformer.emit.checks import EmitError, SimulatorError
from ohmformer.emit.simulators import ngspice, process, vacask
from ohmformer.emit.simulators.raw_file import read_raw
from ohmformer.emit.spice_circuit import Capacitor, Circuit, Probe, Resistor, VoltageSource, circuit_text

HEAD = "Title: t\nPlotname: Operating Point\nFlags: real\nNo. Variables: 2\nNo. Points: 1\nVariables:\n"
TABLE = "\t0\tv(a)\tvoltage\n\t1\ti(v1)\tcurrent\nBinary:\n"


def divider(*elements: object) -> Circuit:
    source = VoltageSource("1", "a", "0", 1.0)
    return Circuit(
        title="divider",
        notes=("a note",),
        elements=(source, Resistor("1", "a", "b", 3.0), Resistor("2", "b", "0", 1.0), *elements),  # type: ignore[arg-type]
        probes=(Probe("voltage", "b"), Probe("current", "1")),
    )


@pytest.mark.parametrize("run", [ngspice.run_ngspice, vacask.run_vacask])
def test_a_divider(run: object) -> None:
    assert run(divider()).tolist() == pytest.approx([0.25, -0.25], rel=1e-12)  # type: ignore[operator]


def test_versions_name_the_tool() -> None:
    assert ngspice.ngspice_version().removeprefix("ngspice ")[0].isdigit()
    assert vacask.vacask_version().removeprefix("VACASK ")[0].isdigit()


@pytest.mark.parametrize("tool", [ngspice, vacask])
def test_a_missing_tool_is_named_with_its_package(
    tool: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process.sys, "executable", str(tmp_path / "python"))
    run = getattr(tool, "run_ngspice", None) or tool.run_vacask  # type: ignore[attr-defined]
    with pytest.raises(
        SimulatorError, match=r"is not installed: the (Debian|Python) package (ngspice|vacask)"
    ):
        run(divider())


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program of that name at the front of PATH."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", ["ngspice", "vacask"])
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo first; echo 'no memory left' >&2; exit 3",
            r"\(exit code 3\). Its last lines: first \| no memory",
        ),
        ("echo nothing to do", "failed. Its last lines: nothing to do"),
        ("exit 0", "failed. It printed nothing"),
        ("kill -9 $$", r"failed \(ended by SIGKILL\). It printed nothing"),
        (
            "head -c 3000 /dev/urandom > result.raw",
            "(whose head cannot be read|not a binary table).*It printed nothing",
        ),
        (
            "echo one; echo two; : > result.raw",
            r"whose head cannot be read. Its last lines: one \| two",
        ),
        ("printf 'Flags: real\\nNo. Variables: 9\\nNo. Points: 1\\n' > result.raw", "not a binary table"),
        ("mkdir result.raw", "wrote no result: Is a directory"),
        ("sleep 60", "did not end within 0.5 s"),
    ],
)
def test_a_simulator_that_fails_or_prints_garbage_is_one_sentence(
    name: str, script: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    run = ngspice.run_ngspice if name == "ngspice" else vacask.run_vacask
    with pytest.raises(SimulatorError, match=sentence) as caught:
        run(divider(), limit_s=0.5 if "sleep" in script else 60.0)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", ["ngspice", "vacask"])
def test_a_table_of_other_nodes_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A simulator of another version might name its columns otherwise."""
    (tmp_path / "other.raw").write_bytes((HEAD + TABLE).encode() + np.array([0.5, -2.0]).tobytes())
    stand_in(tmp_path, name, f"cp {tmp_path}/other.raw result.raw")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    run = ngspice.run_ngspice if name == "ngspice" else vacask.run_vacask
    with pytest.raises(SimulatorError, match=r"recorded no v?\(?b\)?: it has v\(a\), i\(v1\)"):
        run(divider())


def test_a_netlist_that_fails_shows_the_last_lines() -> None:
    with pytest.raises(SimulatorError, match="Its last lines: .*"):
        ngspice.run_ngspice_text("* nonsense\nV1 a 0 1\nR1 a 0 banana_model\n.op\n.end\n")


def test_a_circuit_without_solution_is_an_error() -> None:
    loop = VoltageSource("2", "a", "0", 2.0)  # two sources of different voltage in parallel
    for run in (ngspice.run_ngspice, vacask.run_vacask):
        with pytest.raises(SimulatorError, match="Its last lines|not finite"):
            run(divider(loop))


def test_an_endless_tool_is_stopped(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(SimulatorError, match=r"sleeper did not end within 0.3 s"):
        process.run_tool([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, "sleeper", 0.3)
    assert time.monotonic() - begin < 20


def test_a_failing_tool_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"]
    with pytest.raises(SimulatorError, match=r"\(exit code 3\). Its last lines: one \| two"):
        process.run_tool(command, tmp_path, "quoted", 30)
    with pytest.raises(SimulatorError, match="It printed nothing"):
        process.run_tool([sys.executable, "-c", "raise SystemExit(1)"], tmp_path, "silent", 30)


def test_a_raw_file(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes((HEAD + TABLE).encode() + np.array([0.5, -2.0]).tobytes())
    found = read_raw(path, "tool")
    assert found.names == ("v(a)", "i(v1)")
    assert found.column("I(V1)").tolist() == [-2.0]
    with pytest.raises(SimulatorError, match="recorded no v"):
        found.column("v(b)")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"garbage", "whose head cannot be read"),
        ((HEAD + TABLE).encode() + b"1234", "ends early: 4 of 16 bytes"),
        ((HEAD.replace("real", "complex") + TABLE).encode() + bytes(16), "not a binary table of real"),
        ((HEAD + TABLE.replace("Binary", "Values")).encode() + bytes(16), "not a binary table"),
        ((HEAD.replace("Variables: 2", "Variables: 3") + TABLE).encode() + bytes(24), "not a binary table"),
        ((HEAD + TABLE).encode() + np.array([np.nan, 1.0]).tobytes(), "not finite"),
    ],
)
def test_garbage_is_one_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(content)
    with pytest.raises(SimulatorError, match=sentence):
        read_raw(path, "tool")


def test_no_result_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="wrote no result"):
        read_raw(tmp_path / "none.raw", "tool")


@pytest.mark.parametrize(
    "part",
    [Resistor("x", "a", "b", 0.0), Resistor("x", "a", "b", float("inf")), Capacitor("x", "a", "b", -1.0)],
)
def test_parts_that_do_not_exist_are_refused(part: object) -> None:
    with pytest.raises(EmitError, match="must be finite and above 0"):
        circuit_text(divider(part), "ngspice")


@pytest.mark.parametrize("ohm", [1e-300, 1e-10, 1e16])
def test_resistors_that_nobody_could_make_are_refused(ohm: float) -> None:
    with pytest.raises(EmitError, match="no circuit has one outside 1e-09 to 1e\\+15 ohm"):
        circuit_text(divider(Resistor("x", "a", "b", ohm)), "vacask")
