"""Reads of dense cells as circuits: symbols of the comparators against the thresholds of the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ohmformer.devices import level_conductances, program, sense, thresholds
from ohmformer.emit.checks import EmitError
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.spice_circuit import circuit_text
from ohmformer.emit.spice_dense import dense_circuit, dense_currents, dense_symbols
from ohmformer.specs import DenseSpec, preset

# An amplifier of gain A with feedback R leaves a bitline at v = I R / (1 + A): with R = 1 kohm, A = 1e9 and
# 8 cells of up to 0.13 mS (0.1 mS and a few standard deviations) its current is off by R G / A = 1e-9 of
# itself. Ten times that:
RELATIVE = 1e-8


def dense_of(chip: str) -> DenseSpec:
    return preset(chip).dense


@pytest.mark.parametrize("chip", ["wang2024_1bit_cells", "wang2024", "wang2024_4bit_cells"])
@pytest.mark.parametrize("selected", [0, 5])
def test_comparators_say_the_symbols_of_the_reference(chip: str, selected: int) -> None:
    dense = dense_of(chip)
    cell = replace(dense.cell, noise=replace(dense.cell.noise, programming_noise=0.08))
    generator = torch.Generator().manual_seed(7)
    symbols = torch.randint(0, cell.levels, (8, 48), generator=generator)
    conductance = program(symbols, cell, generator)
    found = run_ngspice(dense_circuit(dense, conductance, selected))
    read = conductance[selected]
    currents = dense_currents(found, dense)
    worst = (currents / dense.read_voltage_V - read).abs().max() / cell.g_max_S
    assert float(worst) < RELATIVE
    apart = (read[:, None] - thresholds(cell)).abs().min()
    assert float(apart) > 2 * RELATIVE * cell.g_max_S  # no cell lies where the circuit may say either
    assert dense_symbols(found, dense).equal(sense(read, cell))
    assert not dense_symbols(found, dense).equal(symbols[selected].to(torch.uint8)) or cell.bits < 4


def test_every_level_and_both_sides_of_every_threshold() -> None:
    dense = dense_of("wang2024")
    limits = thresholds(dense.cell)
    around = torch.cat([level_conductances(dense.cell), limits * (1 - 1e-6), limits * (1 + 1e-6)])
    found = dense_symbols(run_ngspice(dense_circuit(dense, around[None], 0)), dense)
    assert found.tolist() == [0, 1, 2, 3, 0, 1, 2, 1, 2, 3]


def test_a_cell_without_conductance_is_left_out() -> None:
    dense = dense_of("wang2024")
    circuit = dense_circuit(dense, torch.tensor([[0.0, 1e-4]]), 0)
    assert "Rg0_0 " not in circuit_text(circuit, "ngspice")
    assert dense_symbols(run_ngspice(circuit), dense).tolist() == [0, 3]


@pytest.mark.parametrize(
    ("conductance", "selected", "sentence"),
    [
        (torch.ones(3), 0, "a matrix is needed"),
        (torch.ones(2, 2), 2, "wordlines 0 to 1"),
        (torch.ones(2, 2), -1, "wordlines 0 to 1"),
        (torch.ones(1, 70000), 0, "more than the bank's"),
        (torch.tensor([[-1e-6]]), 0, "negative or not finite"),
        (torch.tensor([[float("nan")]]), 0, "negative or not finite"),
    ],
)
def test_what_is_no_read_is_refused(conductance: torch.Tensor, selected: int, sentence: str) -> None:
    with pytest.raises(EmitError, match=sentence):
        dense_circuit(dense_of("wang2024"), conductance, selected)


def test_recorded_values_of_another_cell_are_refused() -> None:
    with pytest.raises(EmitError, match="4 levels"):
        dense_symbols(torch.zeros(6), dense_of("wang2024"))


def test_comparators_are_for_ngspice() -> None:
    circuit = dense_circuit(dense_of("wang2024"), torch.full((1, 1), 1e-5), 0)
    with pytest.raises(EmitError, match="VACASK has none"):
        circuit_text(circuit, "vacask")
