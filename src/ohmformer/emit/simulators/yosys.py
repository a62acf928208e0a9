"""Yosys: gate counts, gate-level netlists, and the area of either."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.rtl_text import Port, RtlModule
from ohmformer.emit.simulators.process import find_tool, last_lines, run_tool, version_line

__all__ = ["GATES", "Synthesis", "check_liberty", "synthesise", "version"]

PACKAGE = "Debian package yosys"
LIMIT_s = 600.0
LIBERTY_LIMIT_s = 120.0  # its reader does not end on some broken files
# no &dch (yosys's default): it takes minutes on multipliers by constants and saves a tenth of their gates
SCRIPT = "+strash;dc2;dc2;dretime;strash;&get,-n;&nf;&put"
# what ABC may map to: two-input gates, multiplexer and the three- and four-input and-or-inverts
GATES = ("AND", "NAND", "OR", "NOR", "XOR", "XNOR", "MUX", "AOI3", "OAI3", "AOI4", "OAI4")


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What became of a module.

    cells:    number of each kind of cell: yosys's generic gates, or the cells of the liberty file
    area:     sum of the cells' areas in the unit of the liberty file; None without one
    netlist:  the module as gates, with the same ports, simulable; behind it the liberty file's cells as their
              functions say
    mapped:   the netlist's text without those
    tool:     name and version
    """

    cells: dict[str, int]
    area: float | None
    netlist: RtlModule
    mapped: str
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
    return " ".join(version_line((find_tool("yosys", PACKAGE), "-V"), "Yosys").split()[:2]) or "yosys"


def synthesise(module: RtlModule, *, liberty: str | os.PathLike[str] | None = None) -> Synthesis:
    """Gates of a module, flattened, by ``synth -noabc; abc``.

    liberty: cells to map to (``dfflibmap; abc -liberty``); None: the generic gates ``GATES``
    Error:   SimulatorError where the tool or the liberty file is missing, where the file is none or lacks
             cells or areas, or where yosys fails, with its last lines.
    """
    cells = None if liberty is None else _cells(Path(liberty))
    with tempfile.TemporaryDirectory(prefix="ohmformer-rtl-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(module.source)
        commands = ["read_verilog design.v", f"synth -flatten -noabc -top {module.name}", "check -assert"]
        if cells is None:
            commands += [f"abc -g {','.join(GATES)} -script {SCRIPT}"]
        else:
            (folder / "cells.lib").write_bytes(cells)
            commands += ["dfflibmap -liberty cells.lib", f"abc -liberty cells.lib -script {SCRIPT}"]
        commands += [
            "opt_clean -purge",
            "tee -q -o stat.json stat -json",
            "write_verilog -noattr netlist.v",
        ]
        if cells is not None:  # stat -json of 0.23 leaves the area out
            commands += [
                "tee -q -o area.txt stat -liberty cells.lib",
                "design -reset",
                "read_liberty -ignore_miss_func cells.lib",
                "proc",
                "write_verilog -noattr models.v",
            ]
        command = [find_tool("yosys", PACKAGE), "-q", "-p", "; ".join(commands)]
        printed = run_tool(command, folder, "yosys", LIMIT_s if cells is None else LIBERTY_LIMIT_s)
        found = _counts(folder / "stat.json", module.name, printed)
        area, models = None, ""
        if cells is not None:
            area = _area(_text(folder / "area.txt", printed), module.name, found, str(liberty))
            models = _text(folder / "models.v", printed)
        whole = _text(folder / "netlist.v", printed)
    return Synthesis(
        cells=found,
        area=area,
        netlist=replace(module, whole=whole + models, parts=()),
        mapped=whole,
        tool=version(),
    )


def check_liberty(liberty: str | os.PathLike[str], *, registers: bool = False) -> None:
    """Map a gate to a liberty file, to refuse in a second a file that larger work would not get through.

    registers: map a flip-flop too
    Error:     as ``synthesise``.
    """
    if not str(liberty):
        raise SimulatorError("The name of the liberty file is empty: give the path of a file.")
    ports = (Port(name="clk", width=1), Port(name="on", width=2), Port(name="sum", width=1, output=True))
    body = "  reg held;\n  assign sum = held ^ on[0];\n  always @(posedge clk) held <= on[1];"
    if not registers:
        body = "  assign sum = on[0] ^ on[1];"
    synthesise(RtlModule(name="probe", ports=ports, body=body), liberty=liberty)


def _cells(path: Path) -> bytes:
    """The content of a liberty file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SimulatorError(f"Cannot read {path}: {error.strerror or error}; give a liberty file.") from None
    if not re.search(rb"\blibrary\s*\(", content) or not re.search(rb"\bcell\s*\(", content):
        raise SimulatorError(f"{path} is no liberty file: there is no library with a cell in it.")
    bare = re.sub(rb'/\*.*?\*/|"[^"]*"', b"", content, flags=re.DOTALL)
    opened, closed = bare.count(b"{"), bare.count(b"}")
    if opened != closed:  # yosys 0.23 would read behind its end for ever
        raise SimulatorError(f"{path} is a broken liberty file: {opened} braces open and {closed} close.")
    return content


def _text(path: Path, printed: str) -> str:
    """What yosys wrote."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        raise SimulatorError(f"yosys wrote no {path.name} that can be read. {last_lines(printed)}") from None


def _counts(path: Path, name: str, printed: str) -> dict[str, int]:
    """Cells by kind, from what ``stat -json`` wrote."""
    try:
        found = json.loads(path.read_text())["design"]["num_cells_by_type"]
        return {str(kind).removeprefix("\\"): int(count) for kind, count in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SimulatorError(f"yosys printed no counts of {name}. {last_lines(printed)}") from None


def _area(printed: str, name: str, cells: dict[str, int], liberty: str) -> float:
    """Area of the module, from the text that ``stat -liberty`` prints."""
    unmapped = sorted(kind for kind in cells if kind.startswith("$"))
    if unmapped:
        raise SimulatorError(f"{liberty} has no cell for {unmapped[0]} of {name}: yosys left it as it was.")
    unknown = re.search(r"Area for cell type \\?(\S+) is unknown", printed)
    if unknown is not None:
        raise SimulatorError(f"{liberty} states no area of its cell {unknown[1]}.")
    found = re.search(r"Chip area for (?:top )?module '[^']*': *([0-9.eE+-]+)", printed)
    if found is None or float(found[1]) <= 0:
        raise SimulatorError(f"{liberty} gives {name} no area. {last_lines(printed)}")
    return float(found[1])
