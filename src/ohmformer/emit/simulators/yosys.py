"""Yosys: gate counts, gate-level netlists, and the area of either."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.rtl_text import RtlModule

__all__ = ["GATES", "Synthesis", "synthesise", "version"]

PACKAGE = "Debian package yosys"
SECONDS = 600
TAIL = 12
# no &dch (yosys's default): it takes minutes on multipliers by constants and saves a tenth of their gates
SCRIPT = "+strash;dc2;dc2;dretime;strash;&get,-n;&nf;&put"
# what ABC may map to: two-input gates, multiplexer and the three- and four-input and-or-inverts
GATES = ("AND", "NAND", "OR", "NOR", "XOR", "XNOR", "MUX", "AOI3", "OAI3", "AOI4", "OAI4")


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What became of a module.

    cells:    number of each kind of cell: yosys's generic gates, or the cells of the liberty file
    area:     sum of the cells' areas in the unit of the liberty file; None without one
    netlist:  the module as gates, with the same ports (simulable as it stands, if no liberty file was used)
    tool:     name and version
    """

    cells: dict[str, int]
    area: float | None
    netlist: RtlModule
    tool: str

    @property
    def total(self) -> int:
        """Number of cells."""
        return sum(self.cells.values())

    @property
    def registers(self) -> int:
        """Number of generic flip-flops."""
        return sum(count for kind, count in self.cells.items() if "DFF" in kind.upper())


def version() -> str:
    """Name and version of the synthesiser."""
    words = _run([_tool(), "-V"], Path.cwd()).split()
    return f"{words[0]} {words[1]}"


def synthesise(module: RtlModule, *, liberty: str | os.PathLike[str] | None = None) -> Synthesis:
    """Gates of a module, flattened, by ``synth -noabc; abc``.

    liberty: cells to map to (``dfflibmap; abc -liberty``); None: the generic gates ``GATES``
    Error:   SimulatorError where the tool or the liberty file is missing, or where yosys fails.
    """
    library = None if liberty is None else Path(liberty).resolve()
    if library is not None and not library.is_file():
        raise SimulatorError(f"Cannot read {library}: a liberty file is needed.")
    with tempfile.TemporaryDirectory(prefix="ohmformer-rtl-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(module.source)
        commands = ["read_verilog design.v", f"synth -flatten -noabc -top {module.name}", "check -assert"]
        if library is None:
            commands += [f"abc -g {','.join(GATES)} -script {SCRIPT}"]
        else:
            (folder / "cells.lib").write_bytes(library.read_bytes())
            commands += ["dfflibmap -liberty cells.lib", f"abc -liberty cells.lib -script {SCRIPT}"]
        commands += [
            "opt_clean -purge",
            "tee -q -o stat.json stat -json",
            "write_verilog -noattr netlist.v",
        ]
        if library is not None:  # stat -json of 0.23 leaves the area out
            commands += ["tee -q -o area.txt stat -liberty cells.lib"]
        printed = _run([_tool(), "-q", "-p", "; ".join(commands)], folder)
        cells = _counts(folder / "stat.json", module.name, printed)
        area = None if library is None else _area((folder / "area.txt").read_text(), module.name)
        whole = (folder / "netlist.v").read_text()
    return Synthesis(
        cells=cells,
        area=area,
        netlist=replace(module, whole=whole, parts=()),
        tool=version(),
    )


def _counts(path: Path, name: str, printed: str) -> dict[str, int]:
    """Cells by kind, from what ``stat -json`` wrote."""
    try:
        found = json.loads(path.read_text())["design"]["num_cells_by_type"]
        return {str(kind).removeprefix("\\"): int(count) for kind, count in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SimulatorError(f"yosys printed no counts of {name}: {_tail(printed)}") from None


def _area(printed: str, name: str) -> float:
    """Area of the module, from the text that ``stat -liberty`` prints."""
    found = re.search(r"Chip area for (?:top )?module '[^']*': *([0-9.eE+-]+)", printed)
    if found is None:
        raise SimulatorError(f"yosys printed no area of {name}: {_tail(printed)}")
    return float(found[1])


def _tool() -> str:
    found = shutil.which("yosys")
    if found is None:
        raise SimulatorError(f"yosys is not installed: it comes with {PACKAGE}.")
    return found


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, text=True, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except subprocess.TimeoutExpired:
        raise SimulatorError(f"yosys did not end within {SECONDS} seconds.") from None
    if done.returncode:
        raise SimulatorError(f"yosys failed with exit code {done.returncode}: {_tail(done.stdout)}")
    return done.stdout


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL:]) or "it printed nothing."
