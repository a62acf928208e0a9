"""A computation-crossbar tile as a circuit: drivers, switched resistors, wires, sense amplifiers.

Nodes: ``d{k}`` the driver of wordline k, ``w{k}_{b}`` and ``b{k}_{b}`` its wires at cell (k, b), ``s{b}`` the
input of the sense amplifier of bitline b, ``out{b}`` its output. Without wire resistance a wordline is the
one node ``d{k}``, a bitline the one node ``s{b}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from ohmformer.crossbars import drive, resistor_weights
from ohmformer.devices import branch_conductance
from ohmformer.devices.periphery import PERIPHERY, Periphery
from ohmformer.devices.settling import feedback
from ohmformer.emit.checks import EmitError
from ohmformer.emit.spice_circuit import (
    GROUND,
    Amplifier,
    Capacitor,
    Circuit,
    Element,
    Probe,
    Resistor,
    Transient,
    VoltageSource,
)
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec

__all__ = ["Sense", "branch_units", "cell_conductance", "sums_of", "tile_circuit", "wordline_states"]

Sense = Literal["ideal", "amplifier"]
RISE_S = 1e-12  # of a driver's step in a transient: short beside every time constant of a tile


def wordline_states(tile: TileSpec, digits: Tensor) -> Tensor:
    """Polarity of each wordline: -1, 0 or +1 read voltages.

    digits:  [element], balanced digits of one cycle; 0 for an element of a group that waits
    returns: [wordline], int8; 0 for wordlines beyond the last element
    """
    if digits.ndim != 1 or len(digits) > tile.elements:
        raise EmitError(
            f"digits have shape {tuple(digits.shape)}: one cycle of the tile takes up to {tile.elements} "
            "digits."
        )
    states = torch.zeros(tile.wordlines, dtype=torch.int8)
    used = drive(digits, tile).sign().to(torch.int8).flatten()
    states[: len(used)] = used
    return states


def branch_units(tile: TileSpec, planes: Tensor) -> Tensor:
    """Units that each cell's closed switch connects; 0 where it is open.

    planes:  [plane, element, output], as ``crossbars.resident_planes``
    returns: [wordline, bitline], int64
    """
    if planes.ndim != 3 or planes.shape[1] > tile.elements:
        raise EmitError(
            f"planes have shape {tuple(planes.shape)}: [plane, element, output] with at most {tile.elements} "
            "elements is needed."
        )
    count, elements, outputs = planes.shape
    pair = 1 if tile.resident_code == "bits" else 2
    if count * outputs * pair > tile.bitlines:
        raise EmitError(
            f"{outputs} outputs of {count} planes take {count * outputs * pair} bitlines: the tile has "
            f"{tile.bitlines}."
        )
    low = 0 if tile.resident_code == "bits" else -1
    if planes.numel() and not low <= int(planes.min()) <= int(planes.max()) <= 1:
        raise EmitError(f"planes run outside {low} to 1, the states of a resident switch.")
    weights = resistor_weights(tile)
    units = torch.zeros(tile.wordlines, tile.bitlines, dtype=torch.int64)
    for plane in range(count):
        for side, sign in enumerate((1, -1)[:pair]):
            closed = (planes[plane] == sign).to(torch.int64)  # [element, output]
            bitlines = slice(plane * pair + side, (outputs - 1) * count * pair + plane * pair + side + 1)
            for resistor, weight in enumerate(weights):
                wordlines = slice(resistor, (elements - 1) * len(weights) + resistor + 1, len(weights))
                units[wordlines, bitlines.start : bitlines.stop : count * pair] = weight * closed
    return units


def cell_conductance(tile: TileSpec, planes: Tensor, mismatch: Tensor | None = None) -> Tensor:
    """Conductance of each cell, weight * (1 + mismatch) / (R_unit + R_switch); 0 where the switch is open.

    mismatch: [wordline, bitline], as ``crossbars.draw_mismatch``
    returns:  [wordline, bitline], S, float64
    """
    conductance = branch_units(tile, planes).double() * branch_conductance(1, tile.resistor)
    _check_mismatch(tile, mismatch)
    return conductance if mismatch is None else conductance * (1 + mismatch)


def _check_mismatch(tile: TileSpec, mismatch: Tensor | None) -> None:
    if mismatch is not None and mismatch.shape != (tile.wordlines, tile.bitlines):
        raise EmitError(
            f"mismatch has shape {tuple(mismatch.shape)}: the tile is {tile.wordlines} x {tile.bitlines}."
        )


def tile_circuit(
    tile: TileSpec,
    digits: Tensor,
    planes: Tensor,
    *,
    mismatch: Tensor | None = None,
    sense: Sense = "ideal",
    transient: Transient | None = None,
    periphery: Periphery = PERIPHERY,
) -> Circuit:
    """The circuit of one cycle of a tile: one digit of every element on the wordlines.

    A branch of weight w is w unit resistors in parallel, each with its own switch; its fixed part takes the
    mismatch m: R_fixed = (R_unit + R_switch) / (w (1 + m)) - R_switch / w, which is
    (R_unit - m R_switch) / (w (1 + m)). Open switches conduct nothing and are left out. A transient starts
    with all wordlines at 0 V and the resident switches set; it has all capacitances, an operating point none.

    digits:   [element], -max_digit ... max_digit
    planes:   [plane, element, output], the resident switches
    mismatch: [wordline, bitline], relative deviations, or None
    sense:    ``ideal``, a virtual ground whose current is recorded, or ``amplifier``: an operational
              amplifier of finite gain with a feedback resistor, whose output is recorded
    """
    if sense not in ("ideal", "amplifier"):
        raise EmitError(f"sense is {sense!r}: allowed are ideal, amplifier.")
    if len(digits) != planes.shape[1]:
        raise EmitError(
            f"{len(digits)} digits meet {planes.shape[1]} resident elements: they must be as many."
        )
    states = wordline_states(tile, digits).tolist()
    units = branch_units(tile, planes)
    _check_mismatch(tile, mismatch)
    capacitive = transient is not None
    parts: list[Element] = []
    for wordline, state in enumerate(states):
        rise = RISE_S if capacitive else None
        volt = state * periphery.read_voltage_V
        parts.append(VoltageSource(f"d{wordline}", f"d{wordline}", GROUND, volt, rise if state else None))
    parts += _wires(tile)
    parts += _branches(tile, units, mismatch, periphery if capacitive else None)
    if capacitive:
        parts += _line_capacitors(tile, periphery)
    for bitline in range(tile.bitlines):
        parts += _sense(tile, bitline, sense, periphery, capacitive)
    resistor = tile.resistor
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    return Circuit(
        title=f"computation crossbar {tile.wordlines} x {tile.bitlines}, one cycle",
        notes=(
            f"radix {tile.numeral.radix}, {tile.numeral.polarity} polarity, resistor weights {code.weights}, "
            f"resident {tile.resident_code}",
            f"unit {resistor.unit_resistance_ohm:.17g} ohm, switch {resistor.switch_resistance_ohm:.17g} ohm",
            f"wire {resistor.wire_resistance_ohm:.17g} ohm per segment",
            f"read {periphery.read_voltage_V:.17g} V",
            "sense: " + ("virtual grounds" if sense == "ideal" else "amplifiers of finite gain"),
            f"digits: {' '.join(str(int(digit)) for digit in digits)}",
        ),
        elements=tuple(parts),
        probes=tuple(
            Probe("current", f"s{bitline}") if sense == "ideal" else Probe("voltage", f"out{bitline}")
            for bitline in range(tile.bitlines)
        ),
        transient=transient,
    )


def sums_of(recorded: Tensor, tile: TileSpec, sense: Sense, periphery: Periphery = PERIPHERY) -> Tensor:
    """Bitline sums in unit currents out of what a simulator recorded, ideal amplifiers assumed.

    recorded: [..., bitline], A into the virtual grounds, or V at the outputs of the amplifiers
    """
    unit_A = periphery.read_voltage_V * branch_conductance(1, tile.resistor)
    if sense == "ideal":
        return recorded / unit_A
    return -recorded / (unit_A * feedback(tile, periphery).resistance_ohm)


def _wires(tile: TileSpec) -> Iterator[Element]:
    ohm = tile.resistor.wire_resistance_ohm
    if ohm == 0:
        return
    for wordline in range(tile.wordlines):
        for bitline in range(tile.bitlines):
            before = f"d{wordline}" if bitline == 0 else f"w{wordline}_{bitline - 1}"
            yield Resistor(f"w{wordline}_{bitline}", before, f"w{wordline}_{bitline}", ohm)
            after = f"s{bitline}" if wordline == tile.wordlines - 1 else f"b{wordline + 1}_{bitline}"
            yield Resistor(f"b{wordline}_{bitline}", f"b{wordline}_{bitline}", after, ohm)


def _ends(tile: TileSpec, wordline: int, bitline: int) -> tuple[str, str]:
    """Nodes of the two wires at a cell."""
    if tile.resistor.wire_resistance_ohm == 0:
        return f"d{wordline}", f"s{bitline}"
    return f"w{wordline}_{bitline}", f"b{wordline}_{bitline}"


def _branches(
    tile: TileSpec, units: Tensor, mismatch: Tensor | None, periphery: Periphery | None
) -> Iterator[Element]:
    """Fixed resistor and switch of every closed cell; with a periphery the resistor's body halfway."""
    unit_ohm, switch_ohm = tile.resistor.unit_resistance_ohm, tile.resistor.switch_resistance_ohm
    for wordline, bitline in units.nonzero().tolist():
        weight = int(units[wordline, bitline])
        off = 0.0 if mismatch is None else float(mismatch[wordline, bitline])
        if off <= -1 or off * switch_ohm >= unit_ohm or off != off:
            raise EmitError(
                f"The cell of wordline {wordline}, bitline {bitline} has the mismatch {off:g}: it leaves no "
                "fixed resistor that could be made."
            )
        fixed_ohm = (unit_ohm - off * switch_ohm) / (weight * (1 + off))
        cell = f"{wordline}_{bitline}"
        upper, lower = _ends(tile, wordline, bitline)
        inner = f"m{cell}" if switch_ohm else lower
        if periphery is None:
            yield Resistor(f"f{cell}", upper, inner, fixed_ohm)
        else:
            yield Resistor(f"f{cell}", upper, f"c{cell}", fixed_ohm / 2)
            yield Resistor(f"g{cell}", f"c{cell}", inner, fixed_ohm / 2)
            yield Capacitor(f"f{cell}", f"c{cell}", GROUND, weight * periphery.body_capacitance_F)
        if switch_ohm:
            yield Resistor(f"s{cell}", inner, lower, switch_ohm / weight)


def _line_capacitors(tile: TileSpec, periphery: Periphery) -> Iterator[Element]:
    """Every segment's capacitance at its cell; a line without wire resistance in one piece."""
    along, down = periphery.wordline_capacitance_F, periphery.bitline_capacitance_F
    if tile.resistor.wire_resistance_ohm == 0:
        for wordline in range(tile.wordlines):
            yield Capacitor(f"w{wordline}", f"d{wordline}", GROUND, along * tile.bitlines)
        for bitline in range(tile.bitlines):
            yield Capacitor(f"b{bitline}", f"s{bitline}", GROUND, down * tile.wordlines)
        return
    for wordline in range(tile.wordlines):
        for bitline in range(tile.bitlines):
            yield Capacitor(f"w{wordline}_{bitline}", f"w{wordline}_{bitline}", GROUND, along)
            yield Capacitor(f"b{wordline}_{bitline}", f"b{wordline}_{bitline}", GROUND, down)


def _sense(
    tile: TileSpec, bitline: int, sense: Sense, periphery: Periphery, capacitive: bool
) -> Iterator[Element]:
    """Virtual ground, or an amplifier: A / (1 + s A / (2 pi f)) behind a feedback resistor and capacitor."""
    at = f"s{bitline}"
    if sense == "ideal":
        yield VoltageSource(at, at, GROUND, 0.0)
        return
    loop = feedback(tile, periphery)
    yield Resistor(f"fb{bitline}", at, f"out{bitline}", loop.resistance_ohm)
    if not capacitive:
        yield Amplifier(f"a{bitline}", f"out{bitline}", GROUND, at, periphery.sense_gain)
        return
    pole_ohm = 1e3  # any: only its product with the capacitance is felt
    pole_s = periphery.sense_gain / (2 * torch.pi * periphery.sense_bandwidth_Hz)
    yield Capacitor(f"in{bitline}", at, GROUND, periphery.input_capacitance_F)
    if loop.capacitance_F > 0:
        yield Capacitor(f"fb{bitline}", at, f"out{bitline}", loop.capacitance_F)
    yield Amplifier(f"a{bitline}", f"a{bitline}", GROUND, at, periphery.sense_gain)
    yield Resistor(f"p{bitline}", f"a{bitline}", f"p{bitline}", pole_ohm)
    yield Capacitor(f"p{bitline}", f"p{bitline}", GROUND, pole_s / pole_ohm)
    yield Amplifier(f"o{bitline}", f"out{bitline}", f"p{bitline}", GROUND, 1.0)
