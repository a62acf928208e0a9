"""ngspice on a circuit."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from torch import Tensor

from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.simulators.process import find_tool, last_lines, run_tool, version_line
from ohmformer.emit.simulators.raw_file import RawFile, read_result
from ohmformer.emit.spice_circuit import Circuit, circuit_text

__all__ = ["ngspice_version", "run_ngspice", "run_ngspice_text"]

PACKAGE = "the Debian package ngspice"


def run_ngspice(circuit: Circuit, *, limit_s: float = 300.0) -> Tensor:
    """Simulate a circuit.

    returns: [probe] of an operating point, [point, 1 + probe] of a transient, the time (s) first; float64
    """
    found = run_ngspice_text(circuit_text(circuit, "ngspice"), limit_s=limit_s)
    names = [f"i(v{probe.of})" if probe.kind == "current" else f"v({probe.of})" for probe in circuit.probes]
    if circuit.transient is None:
        return found.values[0, [_place(found, name) for name in names]]
    return found.values[:, [_place(found, name) for name in ("time", *names)]]


def run_ngspice_text(text: str, *, limit_s: float = 300.0) -> RawFile:
    """Simulate a netlist in batch mode and read what it recorded."""
    tool = find_tool("ngspice", PACKAGE)
    with tempfile.TemporaryDirectory(prefix="ngspice-") as name:
        folder = Path(name)
        (folder / "circuit.cir").write_text(text)
        printed = run_tool([tool, "-b", "-n", "-r", "result.raw", "circuit.cir"], folder, "ngspice", limit_s)
        # it ends with 0 after some errors: an unknown element, a singular matrix
        if not (folder / "result.raw").exists() or re.search(r"^\s*(fatal )?error\b", printed, re.I | re.M):
            raise SimulatorError(f"ngspice failed. {last_lines(printed)}")
        return read_result(folder / "result.raw", "ngspice", printed)


def ngspice_version() -> str:
    """Such as ``ngspice 39``."""
    line = version_line((find_tool("ngspice", PACKAGE), "--version"), "ngspice-")
    found = re.search(r"ngspice-(\S+)", line)
    return f"ngspice {found.group(1)}" if found else "ngspice"


def _place(found: RawFile, name: str) -> int:
    found.column(name)  # says what is there if this is not
    return found.names.index(name.lower())
