"""Faults that a circuit may have: each is far beyond what the currents may differ by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import resident_planes
from ohmformer.devices import nodal_conductance
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.simulators.vacask import run_vacask
from ohmformer.emit.spice_circuit import Circuit, Element, Resistor
from ohmformer.emit.spice_tile import branch_units, cell_conductance, tile_circuit, wordline_states
from ohmformer.specs import TileSpec, preset

PROMISED = 1e-6  # of the largest current: what every sound circuit keeps
SIZE = 16


def tile_of(wire: float) -> TileSpec:
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=SIZE,
        bitlines=SIZE,
        active_wordlines=SIZE,
        resistor=replace(tile.resistor, wire_resistance_ohm=wire, mismatch=0.0),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


TILE = tile_of(1.0)
DIGITS = torch.tensor([3, -3, 3, 3, -3, 3, 3, -3])  # both wordlines of every element are driven
RESIDENT = torch.tensor(
    [[77, -86], [-75, 101], [85, 51], [27, -7], [-120, 60], [90, 45], [33, -99], [1, 127]]
)
PLANES = resident_planes(RESIDENT, 8, TILE)[0]


def scaled(name: str, factor: float) -> Callable[[tuple[Element, ...]], list[Element]]:
    def change(parts: tuple[Element, ...]) -> list[Element]:
        assert sum(isinstance(part, Resistor) and part.name == name for part in parts) == 1
        return [
            part._replace(ohm=part.ohm * factor) if isinstance(part, Resistor) and part.name == name else part
            for part in parts
        ]

    return change


def without(name: str) -> Callable[[tuple[Element, ...]], list[Element]]:
    def change(parts: tuple[Element, ...]) -> list[Element]:
        left = [part for part in parts if not (isinstance(part, Resistor) and part.name == name)]
        assert len(left) == len(parts) - 1
        return left

    return change


def stuck_closed(parts: tuple[Element, ...]) -> list[Element]:
    """The first open switch of a driven wordline conducts."""
    wordline, bitline = (branch_units(TILE, PLANES) == 0).nonzero()[0].tolist()
    unit_ohm = TILE.resistor.unit_resistance_ohm + TILE.resistor.switch_resistance_ohm
    at = (f"w{wordline}_{bitline}", f"b{wordline}_{bitline}")
    return [*parts, Resistor(f"f{wordline}_{bitline}", *at, unit_ohm)]


def swapped(parts: tuple[Element, ...]) -> list[Element]:
    """Bitlines 2 and 3 end in each other's amplifiers."""
    other = {"s2": "s3", "s3": "s2"}
    return [
        part._replace(second=other.get(part.second, part.second)) if isinstance(part, Resistor) else part
        for part in parts
    ]


CLOSED = branch_units(TILE, PLANES).nonzero()
FIRST, LAST = (f"{int(k)}_{int(b)}" for k, b in (CLOSED[0], CLOSED[-1]))


def exact_A() -> Tensor:
    volts = PERIPHERY.read_voltage_V * wordline_states(TILE, DIGITS).double()
    return volts @ nodal_conductance(cell_conductance(TILE, PLANES), TILE.resistor.wire_resistance_ohm)


def apart(circuit: Circuit, run: Callable[[Circuit], Tensor]) -> float:
    expected = exact_A()
    return float((run(circuit) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("run", [run_ngspice, run_vacask])
def test_the_sound_circuit_keeps_the_promise(run: Callable[[Circuit], Tensor]) -> None:
    assert apart(tile_circuit(TILE, DIGITS, PLANES), run) < PROMISED


@pytest.mark.parametrize("run", [run_ngspice, run_vacask])
@pytest.mark.parametrize(
    ("change", "least"),
    [
        # a branch of at least 1 unit among sums of at most 24: 5 % of it is 0.05 / 1.05 / 24 = 2e-3
        pytest.param(scaled(f"f{FIRST}", 1.05), 1.9e-3, id="resistor 5 % off, first cell"),
        pytest.param(scaled(f"f{LAST}", 1.05), 1.9e-3, id="resistor 5 % off, last cell"),
        pytest.param(stuck_closed, 1 / 25, id="switch stuck closed"),  # one unit among 24
        pytest.param(without(f"s{FIRST}"), 1 / 25, id="switch stuck open"),
        pytest.param(without("w3_5"), 1 / 25, id="wordline broken"),
        pytest.param(without("b7_6"), 1 / 25, id="bitline broken"),
        pytest.param(swapped, 1 / 25, id="bitlines swapped"),  # sums that differ by a unit at least
        # 49 ohm more in front of 1 Mohm: 5e-5 of the wordline's own current, a part of each sum behind it
        pytest.param(scaled("w3_0", 50.0), 5e-6, id="wordline segment of 50 ohm"),
    ],
)
def test_a_fault_is_caught(
    change: Callable[[tuple[Element, ...]], list[Element]], least: float, run: Callable[[Circuit], Tensor]
) -> None:
    circuit = tile_circuit(TILE, DIGITS, PLANES)
    faulty = replace(circuit, elements=tuple(change(circuit.elements)))
    assert apart(faulty, run) > least > PROMISED
