"""Circuits of drawn specs: any radix, polarity, resident form, size, unit, switch, wire and mismatch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import draw_mismatch, resident_planes
from ohmformer.devices import convert, effective_conductance, nodal_conductance, program, sense, thresholds
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.simulators.vacask import run_vacask
from ohmformer.emit.spice_circuit import Circuit
from ohmformer.emit.spice_dense import dense_circuit, dense_currents, dense_symbols
from ohmformer.emit.spice_tile import cell_conductance, sums_of, tile_circuit, wordline_states
from ohmformer.specs import NumeralSpec, ResistorSpec, TileSpec, preset

PROMISED = 1e-6  # of the largest current
FROM_THRESHOLD = 1e-6  # share of the largest level within which a circuit may say either code


def drawn_tile(draw: random.Random) -> tuple[TileSpec, int]:
    """A tile that holds at least an element and an output, and the bits of its resident operands."""
    base = preset("wang2024").tile
    numeral = NumeralSpec(radix=draw.randrange(3, 64, 2), polarity=draw.choice(("shared", "per_resistor")))
    bits = draw.randint(2, 9)
    unit = 10 ** draw.uniform(2, 8)
    resistor = ResistorSpec(
        unit_resistance_ohm=unit,
        switch_resistance_ohm=draw.choice((0.0, unit * draw.random())),
        mismatch=draw.choice((0.0, 0.003, 0.1)),
        wire_resistance_ohm=draw.choice(
            (0.0, 1e-6, 10 ** draw.uniform(-3, 1), unit * 10 ** draw.uniform(-4, 0))
        ),
    )
    rows = numeral.resistors_per_digit * draw.randint(1, 6) + draw.randint(0, 2)
    tile = replace(
        base,
        wordlines=rows,
        bitlines=2,
        active_wordlines=draw.randint(numeral.resistors_per_digit, rows),
        resident_code=draw.choice(("bits", "digits")),
        numeral=numeral,
        resistor=resistor,
        adc=replace(
            base.adc, bitlines_per_adc=1, noise=0.0, bits=draw.randint(1, 12), step=draw.randint(1, 3)
        ),
    )
    return replace(
        tile, bitlines=tile.bitlines_per_output(bits) * draw.randint(1, 2) + draw.randint(0, 3)
    ), bits


@pytest.mark.parametrize("run", [run_ngspice, run_vacask])
@pytest.mark.parametrize("seed", range(12))
def test_drawn_tiles_have_the_currents_of_the_physics(seed: int, run: Callable[[Circuit], Tensor]) -> None:
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    tile, bits = drawn_tile(draw)
    elements, outputs = draw.randint(1, tile.elements), draw.randint(1, tile.outputs(bits))
    most, largest = tile.numeral.max_digit, 2 ** (bits - 1) - 1
    digits = torch.randint(-most, most + 1, (elements,), generator=generator)
    digits[0] = most
    resident = torch.randint(-largest, largest + 1, (elements, outputs), generator=generator)
    resident[0] = largest
    planes = resident_planes(resident, bits, tile)[0]
    mismatch = draw_mismatch(tile, generator)
    found = run(tile_circuit(tile, digits, planes, mismatch=mismatch))
    cells = cell_conductance(tile, planes, mismatch)
    volts = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double()
    ohm = tile.resistor.wire_resistance_ohm
    expected = volts @ nodal_conductance(cells, ohm)
    top = float(expected.abs().max())
    assert top > 0
    assert float((found - expected).abs().max()) < PROMISED * top
    assert float((volts @ effective_conductance(cells, ohm) - expected).abs().max()) < PROMISED * top
    if ohm == 0 and tile.resistor.mismatch == 0:  # then the physics is whole numbers of unit currents
        sums = sums_of(found, tile, "ideal")
        assert float((sums - sums.round()).abs().max()) < PROMISED * max(1.0, float(sums.abs().max()))
    # the digits that converters say, but for levels next to a threshold
    levels, right = sums_of(found, tile, "ideal"), sums_of(expected, tile, "ideal")
    near = FROM_THRESHOLD * float(right.abs().max())
    certain = convert(right - near, tile.adc) == convert(right + near, tile.adc)
    assert convert(levels, tile.adc)[certain].equal(convert(right, tile.adc)[certain])
    assert bool(certain.any())


@pytest.mark.parametrize("seed", range(8))
def test_drawn_dense_cells_are_read_as_the_thresholds_say(seed: int) -> None:
    """Cells of 1 to 4 bits, any range of conductance, with programming noise."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    dense = preset(draw.choice(("wang2024_1bit_cells", "wang2024", "wang2024_4bit_cells"))).dense
    low = 10 ** draw.uniform(-7, -5)
    cell = replace(dense.cell, g_min_S=low, g_max_S=low * 10 ** draw.uniform(0.5, 2.5))
    cell = replace(cell, noise=replace(cell.noise, programming_noise=draw.choice((0.0, 0.02, 0.1))))
    dense = replace(dense, cell=cell, read_voltage_V=draw.uniform(0.05, 1.0))
    rows, columns = draw.randint(1, 6), draw.randint(1, 20)
    symbols = torch.randint(0, cell.levels, (rows, columns), generator=generator)
    conductance = program(symbols, cell, generator)
    selected = draw.randrange(rows)
    found = run_ngspice(dense_circuit(dense, conductance, selected))
    read = conductance[selected]
    currents = dense_currents(found, dense) / dense.read_voltage_V
    assert float((currents - read).abs().max()) < PROMISED * cell.g_max_S
    near = (read[:, None] - thresholds(cell)).abs().amin(1) < FROM_THRESHOLD * cell.g_max_S
    assert not bool(near.all())
    assert dense_symbols(found, dense)[~near].equal(sense(read, cell)[~near])


def test_some_of_the_drawn_tiles_are_of_every_kind() -> None:
    tiles = [drawn_tile(random.Random(seed))[0] for seed in range(12)]
    assert {tile.resident_code for tile in tiles} == {"bits", "digits"}
    assert {tile.numeral.polarity for tile in tiles} == {"shared", "per_resistor"}
    assert len({tile.numeral.radix for tile in tiles}) > 6
    wires = [tile.resistor.wire_resistance_ohm for tile in tiles]
    assert any(ohm == 0 for ohm in wires)
    assert any(ohm > 0 for ohm in wires)
    assert any(not math.log2(tile.wordlines).is_integer() for tile in tiles)
