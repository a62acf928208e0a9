"""A read of a dense bank as a circuit: selected wordline, cells, bitlines, thresholds.

Nodes: ``w{k}`` wordline k, ``s{b}`` bitline b at its virtual ground, ``out{b}`` the current of bitline b as a
voltage, ``ref{t}`` threshold t as a voltage, ``c{b}_{t}`` 1 V where the current reaches the threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.devices import thresholds
from ohmformer.emit.checks import EmitError
from ohmformer.emit.spice_circuit import (
    GROUND,
    Amplifier,
    Circuit,
    Comparator,
    Element,
    Probe,
    Resistor,
    VoltageSource,
)
from ohmformer.specs import DenseSpec

__all__ = ["dense_circuit", "dense_currents", "dense_symbols"]

SENSE_OHM = 1e3  # feedback of a sense amplifier: 1 V for 1 mA
SENSE_GAIN = 1e9  # of an amplifier that holds a bitline at ground: what it leaves is 1e-9 of the read voltage


def dense_circuit(dense: DenseSpec, conductance_S: Tensor, selected: int) -> Circuit:
    """The circuit of one read: the selected wordline at the read voltage, all others at 0 V.

    Each bitline ends in an amplifier that holds it at ground and turns its current into a voltage,
    v = -R I. References of threshold conductances between the read voltage and amplifiers of their own are
    compared with it; the number of thresholds reached is the symbol. A bitline carries the current of the
    selected cell alone: unselected cells lie between ground and ground.

    conductance_S: [wordline, bitline], S, of the cells of the patch that is written, at most the bank; 0
                   for a cell that does not conduct
    selected:      wordline of the patch that is read
    """
    if conductance_S.ndim != 2 or not conductance_S.numel():
        raise EmitError(f"conductance_S has shape {tuple(conductance_S.shape)}: a matrix is needed.")
    rows, columns = conductance_S.shape
    if rows > dense.wordlines or columns > dense.bitlines:
        raise EmitError(
            f"{rows} x {columns} cells are more than the bank's {dense.wordlines} x {dense.bitlines}."
        )
    if not 0 <= selected < rows:
        raise EmitError(f"selected is {selected}: the cells have wordlines 0 to {rows - 1}.")
    cells = conductance_S.double()
    if not bool(torch.isfinite(cells).all()) or float(cells.min()) < 0:
        raise EmitError("conductance_S has a value that is negative or not finite: a cell is a resistor.")
    limits = thresholds(dense.cell).tolist()
    parts: list[Element] = [
        VoltageSource(f"w{row}", f"w{row}", GROUND, dense.read_voltage_V if row == selected else 0.0)
        for row in range(rows)
    ]
    for row, column in cells.nonzero().tolist():
        parts.append(Resistor(f"g{row}_{column}", f"w{row}", f"s{column}", 1 / float(cells[row, column])))
    for column in range(columns):
        parts += _sense(f"{column}", f"s{column}", f"out{column}")
    for index, limit in enumerate(limits):
        parts.append(Resistor(f"t{index}", f"w{selected}", f"t{index}", 1 / limit))
        parts += _sense(f"t{index}", f"t{index}", f"ref{index}")
    for column in range(columns):
        for index in range(len(limits)):
            # both voltages are negative: the larger current has the lower one
            parts.append(
                Comparator(f"c{column}_{index}", f"c{column}_{index}", f"ref{index}", f"out{column}")
            )
    return Circuit(
        title=f"dense crossbar, {rows} x {columns} cells, wordline {selected} read",
        notes=(
            f"levels {dense.cell.g_min_S:.17g} to {dense.cell.g_max_S:.17g} S, {dense.cell.levels} of them, "
            f"read {dense.read_voltage_V:.17g} V",
        ),
        elements=tuple(parts),
        probes=(
            *(Probe("voltage", f"out{column}") for column in range(columns)),
            *(
                Probe("voltage", f"c{column}_{index}")
                for column in range(columns)
                for index in range(len(limits))
            ),
        ),
    )


def dense_currents(recorded: Tensor, dense: DenseSpec) -> Tensor:
    """Currents of the bitlines, A, out of what a simulator recorded of ``dense_circuit``."""
    return -recorded[: _columns(recorded, dense)] / SENSE_OHM


def dense_symbols(recorded: Tensor, dense: DenseSpec) -> Tensor:
    """Symbols that the comparators say, [bitline], uint8."""
    outputs = recorded[_columns(recorded, dense) :].reshape(-1, dense.cell.levels - 1)
    return (outputs > 0.5).sum(1).to(torch.uint8)


def _columns(recorded: Tensor, dense: DenseSpec) -> int:
    if recorded.ndim != 1 or not len(recorded) or len(recorded) % dense.cell.levels:
        raise EmitError(
            f"{tuple(recorded.shape)} recorded values are not a read of cells of {dense.cell.levels} levels."
        )
    return len(recorded) // dense.cell.levels


def _sense(name: str, at: str, out: str) -> tuple[Element, Element]:
    return (
        Resistor(f"fb{name}", at, out, SENSE_OHM),
        Amplifier(f"a{name}", out, GROUND, at, SENSE_GAIN),
    )
