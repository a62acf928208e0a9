"""Tiles as circuits: real simulators against the network's exact solution, operands of all kinds."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import compute, digit_weights, plane_weights, resident_planes, streamed_digits
from ohmformer.devices import branch_conductance, convert, effective_conductance, nodal_conductance
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.devices.settling import feedback
from ohmformer.emit.checks import EmitError
from ohmformer.emit.simulators.ngspice import run_ngspice, run_ngspice_text
from ohmformer.emit.simulators.vacask import run_vacask
from ohmformer.emit.spice_circuit import Transient, circuit_text
from ohmformer.emit.spice_tile import (
    branch_units,
    cell_conductance,
    sums_of,
    tile_circuit,
    wordline_states,
)
from ohmformer.specs import NumeralSpec, TileSpec, preset

# Both simulators solve a linear network in float64; 1e-13 is seen. The bound that is promised is 1e-6, and
# 1e-9 leaves room for another pivot order while a 5 % fault in one of 128 cells is 1e-4 at least.
RELATIVE = 1e-9
BITS = 4


def tile_of(
    size: int,
    *,
    wire: float = 0.0,
    switch: float = 1e3,
    radix: int = 7,
    polarity: str = "shared",
    code: str = "bits",
    active: int | None = None,
) -> TileSpec:
    tile = preset("wang2024").tile
    tile = replace(
        tile,
        wordlines=size,
        bitlines=size,
        active_wordlines=active or size,
        resident_code=code,
        environment_noise=0.0,
        numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
        resistor=replace(tile.resistor, wire_resistance_ohm=wire, switch_resistance_ohm=switch, mismatch=0.0),
        adc=replace(tile.adc, bitlines_per_adc=1, noise=0.0, bits=16),
    )
    return replace(tile, adc=replace(tile.adc, bits=tile.max_sum.bit_length()))


def operands(tile: TileSpec, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random digits, switches and mismatch that fill the tile."""
    generator = torch.Generator().manual_seed(seed)
    most = tile.numeral.max_digit
    digits = torch.randint(-most, most + 1, (tile.elements,), generator=generator)
    values = torch.randint(-7, 8, (tile.elements, tile.outputs(BITS)), generator=generator)
    planes, _ = resident_planes(values, BITS, tile)
    shape = (tile.wordlines, tile.bitlines)
    mismatch = 0.01 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return digits, planes, mismatch


def exact_A(tile: TileSpec, digits: Tensor, planes: Tensor, mismatch: Tensor | None) -> Tensor:
    cells = cell_conductance(tile, planes, mismatch)
    volts = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double()
    return volts @ nodal_conductance(cells, tile.resistor.wire_resistance_ohm)


def worst(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize(("wire", "switch"), [(0.0, 0.0), (0.0, 1e3), (2.0, 0.0), (2.0, 1e3)])
@pytest.mark.parametrize(
    ("radix", "polarity"),
    [(3, "shared"), (7, "shared"), (9, "shared"), (7, "per_resistor"), (9, "per_resistor")],
)
def test_ngspice_finds_the_currents_of_the_exact_network(
    radix: int, polarity: str, wire: float, switch: float, code: str
) -> None:
    tile = tile_of(16, wire=wire, switch=switch, radix=radix, polarity=polarity, code=code)
    digits, planes, mismatch = operands(tile, seed=radix)
    found = run_ngspice(tile_circuit(tile, digits, planes, mismatch=mismatch))
    assert worst(found, exact_A(tile, digits, planes, mismatch)) < RELATIVE


@pytest.mark.parametrize("size", [32, 64])
def test_ngspice_on_larger_tiles(size: int) -> None:
    tile = tile_of(size, wire=5.0)
    digits, planes, _ = operands(tile, seed=size)
    found = run_ngspice(tile_circuit(tile, digits, planes))
    assert worst(found, exact_A(tile, digits, planes, None)) < RELATIVE


@pytest.mark.parametrize(
    ("radix", "polarity", "wire"), [(3, "shared", 0.0), (7, "shared", 1.0), (9, "per_resistor", 5.0)]
)
def test_vacask_finds_the_currents_of_a_tile_of_full_size(radix: int, polarity: str, wire: float) -> None:
    tile = tile_of(128, wire=wire, radix=radix, polarity=polarity)
    digits, planes, mismatch = operands(tile, seed=radix)
    found = run_vacask(tile_circuit(tile, digits, planes, mismatch=mismatch))
    assert worst(found, exact_A(tile, digits, planes, mismatch)) < RELATIVE


@pytest.mark.parametrize(("wire", "unit"), [(0.5, 1e6), (5.0, 1e5)])
def test_the_batched_solver_is_what_a_simulator_finds_at_full_size(wire: float, unit: float) -> None:
    """1e-6 of the largest bitline current is promised."""
    tile = tile_of(128, wire=wire)
    tile = replace(tile, resistor=replace(tile.resistor, unit_resistance_ohm=unit))
    digits, planes, _ = operands(tile, seed=6)
    found = run_vacask(tile_circuit(tile, digits, planes))
    volts = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double()
    cells = cell_conductance(tile, planes)
    assert worst(volts @ effective_conductance(cells, wire), found) < RELATIVE


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("polarity", ["shared", "per_resistor"])
def test_cells_and_wordlines_give_the_integer_sums(polarity: str, code: str) -> None:
    """sum_k state_k units_kb is the dot product of digits and plane: told apart from places by hand."""
    tile = tile_of(20, radix=9, polarity=polarity, code=code)
    digits, planes, _ = operands(tile, seed=1)
    sums = wordline_states(tile, digits).to(torch.int64) @ branch_units(tile, planes)
    pair = 1 if code == "bits" else 2
    for output in range(planes.shape[2]):
        for plane in range(planes.shape[0]):
            at = (output * planes.shape[0] + plane) * pair
            got = int(sums[at]) if pair == 1 else int(sums[at] - sums[at + 1])
            assert got == int((digits * planes[plane, :, output]).sum())


@pytest.mark.parametrize("wire", [0.0, 20.0])
@pytest.mark.parametrize("active", [16, 8])
def test_a_whole_product_out_of_circuits_is_the_product_of_the_reference(active: int, wire: float) -> None:
    """Every cycle of every group through ngspice, every current through the converter's arithmetic.

    At 20 ohm a bitline loses up to 20 * 1e-6 * (8 * 16 + 8 * 8 * 3) = 0.6 % of sums up to 24: 0.15 codes, so
    that levels keep away from thresholds by far more than the 1e-9 of a simulator.
    """
    tile = tile_of(16, wire=wire, active=active)
    generator = torch.Generator().manual_seed(5)
    streamed = torch.randint(-127, 128, (1, tile.elements), generator=generator)
    resident = torch.randint(-7, 8, (tile.elements, tile.outputs(BITS)), generator=generator)
    planes, _ = resident_planes(resident, BITS, tile)
    digits = streamed_digits(streamed, tile, 8)[0]
    total = torch.zeros(resident.shape[1], dtype=torch.int64)
    for index, power in enumerate(digit_weights(tile, 8)):
        for first in range(0, tile.elements, tile.group_elements):
            driven = torch.zeros_like(digits[:, index])
            group = slice(first, first + tile.group_elements)
            driven[group] = digits[group, index]
            sums = sums_of(run_ngspice(tile_circuit(tile, driven, planes)), tile, "ideal")
            assert float((sums - sums.floor() - 0.5).abs().min()) > 1e-6 * tile.max_sum
            codes = convert(sums, tile.adc).to(torch.int64).view(-1, planes.shape[0])
            total += power * (codes * torch.tensor(plane_weights(tile, BITS))).sum(1)
    assert total.equal(compute(streamed, resident, tile, 8, BITS, wires="nodal").values[0])
    assert total.equal((streamed @ resident)[0])


def test_amplifiers_of_finite_gain_add_their_input_resistance() -> None:
    """out = -A v, v = S / (G + (1 + A) / R): Kirchhoff's law at the input, S = sum V G_kb, G = sum G_kb."""
    tile = tile_of(16)
    digits, planes, _ = operands(tile, seed=2)
    cells = cell_conductance(tile, planes)
    current = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double() @ cells
    resistance, gain = feedback(tile).resistance_ohm, PERIPHERY.sense_gain
    expected = -gain * current / (cells.sum(0) + (1 + gain) / resistance)
    found = run_ngspice(tile_circuit(tile, digits, planes, sense="amplifier"))
    assert worst(found, expected) < RELATIVE
    # and the sums follow within what the gain leaves: (1 + R G) / A < 3 / 1e4 of the largest
    sums = wordline_states(tile, digits).double() @ branch_units(tile, planes).double()
    assert worst(sums_of(found, tile, "amplifier"), sums) < 3e-4
    assert not found.equal(expected)


@pytest.mark.parametrize("place", [0, 17, -1])
def test_one_resistor_5_percent_off_is_caught(place: int) -> None:
    """A branch 5 % too resistive loses 1 - 1/1.05 of its current on its bitline, and nothing elsewhere."""
    tile = tile_of(16, switch=0.0)
    digits, planes, _ = operands(tile, seed=3)
    digits[digits == 0] = 1  # every wordline of weight 1 or 2 that carries a digit shows its fault
    text = circuit_text(tile_circuit(tile, digits, planes), "ngspice")
    lines = text.splitlines()
    states = wordline_states(tile, digits)
    branches = [
        at
        for at, line in enumerate(lines)
        if (found := re.match(r"Rf(\d+)_", line)) and states[int(found.group(1))] != 0
    ]
    name, first, second, ohm = lines[branches[place]].split()
    lines[branches[place]] = f"{name} {first} {second} {float(ohm) * 1.05:.17g}"
    found = run_ngspice_text("\n".join(lines) + "\n")
    got = torch.stack([found.column(f"i(vs{bitline})")[0] for bitline in range(tile.bitlines)])
    expected = exact_A(tile, digits, planes, None)
    assert worst(got, expected) > 1e-3  # the check above fails by six orders of magnitude
    wordline, bitline = (int(part) for part in name.removeprefix("Rf").split("_"))
    lost = float(states[wordline]) * PERIPHERY.read_voltage_V / float(ohm) * (1 - 1 / 1.05)
    difference = expected - got
    assert float(difference[bitline]) == pytest.approx(lost, rel=1e-6)
    assert float(difference[torch.arange(tile.bitlines) != bitline].abs().max()) < 1e-12 * abs(lost) + 1e-20


def test_the_smallest_tile_by_hand() -> None:
    """One wordline, two bitlines, one cell closed: every line of the netlist, and its current."""
    tile = tile_of(2, wire=3.0, radix=3)
    planes = torch.zeros(2, 1, 1, dtype=torch.int8)
    planes[1] = 1
    circuit = tile_circuit(tile, torch.tensor([-1]), planes)
    text = [line for line in circuit_text(circuit, "ngspice").splitlines() if not line.startswith(("*", "."))]
    assert text == [
        "Vd0 d0 0 -0.20000000000000001",
        "Vd1 d1 0 0",
        "Rw0_0 d0 w0_0 3",
        "Rb0_0 b0_0 b1_0 3",
        "Rw0_1 w0_0 w0_1 3",
        "Rb0_1 b0_1 b1_1 3",
        "Rw1_0 d1 w1_0 3",
        "Rb1_0 b1_0 s0 3",
        "Rw1_1 w1_0 w1_1 3",
        "Rb1_1 b1_1 s1 3",
        "Rf0_1 w0_1 m0_1 1000000",
        "Rs0_1 m0_1 b0_1 1000",
        "Vs0 s0 0 0",
        "Vs1 s1 0 0",
    ]
    found = run_ngspice(circuit)
    assert float(found[1]) == pytest.approx(-0.2 / (1e6 + 1e3 + 4 * 3.0), rel=1e-12)
    assert float(found[0]) == pytest.approx(0, abs=1e-20)


def test_waiting_and_missing_elements_stand_at_ground() -> None:
    tile = tile_of(8)
    states = wordline_states(tile, torch.tensor([3, 0, -1]))
    assert states.tolist() == [1, 1, 0, 0, -1, 0, 0, 0]


def test_mismatch_is_in_the_fixed_resistor_alone() -> None:
    tile = tile_of(2, radix=3)
    planes = torch.ones(2, 2, 1, dtype=torch.int8)
    mismatch = torch.tensor([[0.25, -0.5], [0.0, 0.1]], dtype=torch.float64)
    text = circuit_text(tile_circuit(tile, torch.tensor([1, 1]), planes, mismatch=mismatch), "ngspice")
    values = {line.split()[0]: float(line.split()[3]) for line in text.splitlines() if line.startswith("R")}
    assert values["Rf0_0"] == pytest.approx(1.001e6 / 1.25 - 1e3, rel=1e-15)
    assert values["Rf0_1"] == pytest.approx(1.001e6 / 0.5 - 1e3, rel=1e-15)
    assert {values[name] for name in values if name.startswith("Rs")} == {1e3}
    assert 1 / (values["Rf1_1"] + 1e3) == pytest.approx(branch_conductance(1, tile.resistor) * 1.1, rel=1e-14)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"digits": torch.zeros(9, dtype=torch.int64)}, "9 digits meet 8"),
        ({"digits": torch.full((8,), 4)}, "digit"),
        ({"planes": torch.full((4, 8, 2), 2)}, "planes run outside 0 to 1"),
        ({"planes": torch.zeros(4, 8, 9)}, "36 bitlines"),
        ({"planes": torch.zeros(4, 8)}, "is needed"),
        ({"mismatch": torch.zeros(4, 4)}, "mismatch has shape"),
        ({"mismatch": torch.full((16, 16), -1.0)}, "it leaves no fixed resistor"),
        ({"mismatch": torch.full((16, 16), 2e3)}, "it leaves no fixed resistor"),
        ({"sense": "no"}, "allowed are ideal, amplifier"),
    ],
)
def test_what_no_circuit_can_be_is_refused(change: dict[str, object], sentence: str) -> None:
    tile = tile_of(16)
    digits, planes, _ = operands(tile, seed=4)
    given: dict[str, object] = {"digits": digits, "planes": planes, **change}
    with pytest.raises(ValueError, match=sentence):
        tile_circuit(tile, **given)  # type: ignore[arg-type]


def test_more_elements_than_the_tile_holds_are_refused() -> None:
    tile = tile_of(4)
    with pytest.raises(EmitError, match="up to 2 digits"):
        tile_circuit(tile, torch.ones(3, dtype=torch.int64), torch.zeros(1, 3, 1))
    with pytest.raises(EmitError, match="at most 2 elements"):
        branch_units(tile, torch.zeros(1, 3, 1))


def test_transients_are_for_ngspice() -> None:
    tile = tile_of(4)
    planes = torch.ones(4, 2, 1)
    circuit = tile_circuit(tile, torch.tensor([1, 1]), planes, transient=Transient(1e-12, 1e-10))
    with pytest.raises(EmitError, match="VACASK gets operating points"):
        circuit_text(circuit, "vacask")
    with pytest.raises(EmitError, match="allowed are ngspice, vacask"):
        circuit_text(circuit, "spectre")  # type: ignore[arg-type]


def test_vacask_finds_the_currents_of_a_tile_of_256_lines() -> None:
    """196,000 resistors, once: about 5 s of VACASK."""
    tile = tile_of(256, wire=1.0)
    digits, planes, mismatch = operands(tile, seed=256)
    found = run_vacask(tile_circuit(tile, digits, planes, mismatch=mismatch))
    volts = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double()
    expected = volts @ effective_conductance(cell_conductance(tile, planes, mismatch), 1.0)
    assert worst(found, expected) < RELATIVE
