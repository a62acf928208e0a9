"""Wires: the exact network against hand and dense solutions, the closed form against the network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ohmformer.devices import (
    DeviceError,
    branch_conductance,
    converter_level,
    nodal_conductance,
    static_deviation,
    wire_attenuation,
)
from ohmformer.numerals import ResistorCode
from ohmformer.specs import NumeralSpec, TileSpec, preset, sources

UNIT = 1e-6  # S


@pytest.fixture
def make_tile() -> Callable[..., TileSpec]:
    def make(
        wordlines: int,
        bitlines: int,
        wire: float,
        *,
        radix: int = 7,
        polarity: str = "shared",
        code: str = "bits",
        nonlinearity: float = 0.0,
        step: int = 1,
    ) -> TileSpec:
        tile = preset("wang2024").tile
        return replace(
            tile,
            wordlines=wordlines,
            bitlines=bitlines,
            active_wordlines=wordlines,
            resident_code=code,
            numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
            resistor=replace(tile.resistor, wire_resistance_ohm=wire),
            adc=replace(tile.adc, bitlines_per_adc=1, nonlinearity=nonlinearity, step=step),
        )

    return make


def by_node(cells: Tensor, wire: float) -> Tensor:
    """The same network, written down node by node and solved as a dense matrix."""
    rows, columns = cells.shape
    nodes = {name: index for index, name in enumerate(itertools.product("uv", range(rows), range(columns)))}
    matrix, driven = np.zeros((len(nodes), len(nodes))), np.zeros((len(nodes), rows))

    def join(first: tuple[str, int, int], second: tuple[str, int, int], conductance: float) -> None:
        one, two = nodes[first], nodes[second]
        matrix[one, one] += conductance
        matrix[two, two] += conductance
        matrix[one, two] -= conductance
        matrix[two, one] -= conductance

    for k, b in itertools.product(range(rows), range(columns)):
        join(("u", k, b), ("v", k, b), float(cells[k, b]))
        if b + 1 < columns:
            join(("u", k, b), ("u", k, b + 1), 1 / wire)
        if k + 1 < rows:
            join(("v", k, b), ("v", k + 1, b), 1 / wire)
    for k in range(rows):
        matrix[nodes["u", k, 0], nodes["u", k, 0]] += 1 / wire
        driven[nodes["u", k, 0], k] = 1 / wire
    for b in range(columns):
        matrix[nodes["v", rows - 1, b], nodes["v", rows - 1, b]] += 1 / wire
    potential = np.linalg.solve(matrix, driven)
    return torch.from_numpy(
        np.stack([potential[nodes["v", rows - 1, b]] / wire for b in range(columns)], axis=1)
    )


def loaded(tile: TileSpec, switches: Tensor) -> Tensor:
    """Branches over the unit, [wordline, bitline]; switches: [element, bitline] of 0 and 1."""
    weights = torch.tensor(ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights).double()
    branches = switches.double()[:, None, :] * weights[:, None]
    cells = torch.zeros(tile.wordlines, tile.bitlines, dtype=torch.float64)
    cells[: branches.shape[0] * len(weights)] = branches.flatten(0, 1)
    return cells


def test_one_cell_by_hand():
    """Driver, a segment, the cell, a segment: three resistors in series."""
    found = nodal_conductance(torch.tensor([[1 / 50.0]], dtype=torch.float64), 25.0)
    assert math.isclose(float(found), 1 / (25 + 50 + 25), rel_tol=1e-12)


def test_two_cells_of_a_wordline_by_hand():
    """r = 1, cells 1 and 1/3: u1 - 1 + u1 - u2 + u1/2 = 0 and u2 - u1 + u2/4 = 0: u1 = 10/17, u2 = 8/17."""
    found = nodal_conductance(torch.tensor([[1.0, 1 / 3]], dtype=torch.float64), 1.0)
    # behind each cell lies one segment: currents u1 / (1 + 1) and u2 / (3 + 1)
    assert torch.allclose(found, torch.tensor([[5 / 17, 2 / 17]], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 6), (7, 5)])
@pytest.mark.parametrize("wire", [1e-3, 1.0, 1e5])
def test_the_network_is_what_kirchhoff_says_node_by_node(shape, wire):
    """Another assembly and another solver; the condition number is below 2e11 at 1 mOhm."""
    generator = torch.Generator().manual_seed(7)
    cells = UNIT * torch.randint(0, 4, shape, generator=generator).double()
    cells[0, 0] = UNIT
    found, expected = nodal_conductance(cells, wire), by_node(cells, wire)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.max()))
    if wire >= 1:
        assert torch.allclose(found, expected, rtol=1e-8, atol=1e-10 * float(expected.max()))
    # whatever leaves the drivers arrives: no sensed current exceeds the cells' own
    assert (found.sum(1) <= cells.sum(1) * (1 + 1e-9)).all()


def test_without_wires_the_cells_are_what_is_seen():
    cells = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    assert torch.equal(nodal_conductance(cells, 0.0), cells.double())
    almost = nodal_conductance(cells.double() * UNIT, 1e-3)
    # to first order a current falls by r g times at most (W + B) W B / 2 ... here below 20 e-9
    assert torch.allclose(almost, cells.double() * UNIT, rtol=2e-8, atol=2e-8 * UNIT)


@pytest.mark.parametrize("wire", [1e-4, 1e-2, 1.0])
def test_thin_wires_lose_what_the_first_order_says(wire):
    """effective = g (1 - f), f = r (sum_c g_kc min(b + 1, c + 1) + sum_m g_mb (W - max(k, m))).

    What is left over is of second order: a sum of products of two such drops, at most (2 max f)^2 of a cell,
    and 1e-12 for the rounding of the solve.
    """
    rows, columns = 24, 17
    generator = torch.Generator().manual_seed(5)
    cells = UNIT * torch.rand(rows, columns, generator=generator, dtype=torch.float64)
    k, b = torch.arange(rows).double(), torch.arange(columns).double()
    along = cells @ (torch.minimum(b[:, None], b) + 1)
    down = (rows - torch.maximum(k[:, None], k)) @ cells
    lost = wire * (along + down)
    left = nodal_conductance(cells, wire) - cells * (1 - lost)
    assert left.abs().max() < ((2 * lost.max()) ** 2 + 1e-12) * UNIT
    assert wire < 1 or left.abs().max() > 1e-10 * UNIT  # there is a second order


def test_impossible_networks_are_refused():
    with pytest.raises(DeviceError, match="a matrix is needed"):
        nodal_conductance(torch.ones(3), 1.0)
    with pytest.raises(DeviceError, match="a matrix is needed"):
        nodal_conductance(torch.ones(0, 3), 1.0)
    with pytest.raises(DeviceError, match="at least 0"):
        nodal_conductance(torch.ones(2, 2), -1.0)


def regressed(tile: TileSpec, switches: Tensor) -> tuple[Tensor, Tensor]:
    """E[loss * sum] and E[sum^2] of each bitline over uniform random digits, for given switches."""
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    every = torch.arange(-tile.numeral.max_digit, tile.numeral.max_digit + 1)
    states = code.switch_states(every).double()  # the voltages of an element's wordlines
    covariance = torch.block_diag(*[states.T @ states / len(every)] * tile.elements)
    cells = loaded(tile, switches)
    unit = branch_conductance(1, tile.resistor)
    lost = cells - nodal_conductance(cells * unit, tile.resistor.wire_resistance_ohm) / unit
    used = slice(0, covariance.shape[0])
    cells, lost = cells[used], lost[used]
    return (lost * (covariance @ cells)).sum(0), (cells * (covariance @ cells)).sum(0)


@pytest.mark.parametrize(
    ("radix", "polarity", "elements", "bitlines", "spare"),
    [(7, "shared", 2, 3, 0), (3, "shared", 3, 3, 0), (7, "shared", 2, 2, 1), (9, "per_resistor", 2, 3, 1)],
)
def test_the_closed_form_is_the_mean_over_all_loadings_to_first_order(
    make_tile, radix, polarity, elements, bitlines, spare
):
    """Every setting of the switches, exact mean over digits.

    No f_kb exceeds 100 in tiles this small, so that z < 1e-7 at r g = 1e-9, and the second order is 1e-7
    of z; float64 in the solve leaves 1e-16 / r g of z. A wrong term of first order is a share of z.
    """
    resistors = len(ResistorCode(radix, polarity).weights)
    tile = make_tile(elements * resistors + spare, bitlines, 1e-3, radix=radix, polarity=polarity)
    assert tile.elements == elements
    loss, square = torch.zeros(bitlines).double(), torch.zeros(bitlines).double()
    for setting in itertools.product((0, 1), repeat=elements * bitlines):
        found = regressed(tile, torch.tensor(setting).view(elements, bitlines))
        loss += found[0]
        square += found[1]
    assert torch.allclose(wire_attenuation(tile), loss / square, rtol=1e-4, atol=0)


def test_the_closed_form_follows_the_network_beyond_the_first_order(make_tile):
    """16 x 16 at r g = 1e-3: 24 random loadings, four standard errors of their mean, and z a_b for what the
    form leaves of the second order, which is of the size of z^2.
    """
    tile = make_tile(16, 16, 1000.0)
    generator = torch.Generator().manual_seed(3)
    found = [
        regressed(tile, torch.randint(0, 2, (tile.elements, 16), generator=generator)) for _ in range(24)
    ]
    loss, square = (torch.stack(part) for part in zip(*found, strict=True))
    mean = loss.sum(0) / square.sum(0)
    spread = (loss - mean * square).std(0) / square.mean(0) / math.sqrt(24)
    loss = wire_attenuation(tile)
    assert loss.max() > 0.1  # well beyond the first order
    assert ((loss - mean).abs() < 4 * spread + loss / (1 - loss) * loss).all()


@pytest.mark.parametrize("code", ["bits", "digits"])
def test_attenuation_rises_along_the_wordline_and_with_the_wire(make_tile, code):
    losses = [wire_attenuation(make_tile(128, 128, wire, code=code)) for wire in (0.5, 1.0, 100.0, 1e6)]
    for loss in losses:
        assert loss.shape == (128,)
        assert loss.dtype == torch.float64
        assert (loss.diff() > 0).all()
        assert (loss > 0).all()
        assert (loss < 1).all()
    for less, more in itertools.pairwise(losses):
        assert (more > less).all()
    assert not wire_attenuation(make_tile(128, 128, 0.0, code=code)).any()


def test_switches_count_as_part_of_their_resistor(make_tile):
    """Only r / (R_unit + R_switch) matters."""
    tile = make_tile(20, 16, 2.0)
    other = replace(
        tile, resistor=replace(tile.resistor, unit_resistance_ohm=9e5, switch_resistance_ohm=101e3)
    )
    assert torch.allclose(wire_attenuation(tile), wire_attenuation(other), rtol=1e-14, atol=0)


def test_resident_digits_load_their_pairs_less_than_bits(make_tile):
    """Base 7, weights 1 and 2: each is on for 4 of 7 digits, hence a bitline of its pair for 2 of 7."""
    bits, digits = (wire_attenuation(make_tile(64, 64, 0.001, code=code)) for code in ("bits", "digits"))
    # z = x (p A + (1 - p) C), A all switches closed, C the element's own. At the last bitline C / A is
    # 2 / (B + 1) along the wordline; down the bitline C is at most 3 W / 2 and A about 1.5 W^2 / 3
    p_bits, p_digits, own = 1 / 2, 2 / 7, 4 / 64
    ratio = digits[-1] / bits[-1]
    assert p_digits / p_bits < ratio < (p_digits + (1 - p_digits) * own) / (p_bits + (1 - p_bits) * own)


@pytest.mark.parametrize(
    ("wire", "bow", "step"), [(0.5, 0.0, 1), (0.0, 0.4, 1), (0.5, 0.3, 1), (2.0, 3.0, 2)]
)
def test_static_deviation_is_the_worst_of_all_bitlines_and_sums(make_tile, wire, bow, step):
    tile = make_tile(128, 128, wire, nonlinearity=bow, step=step)
    sums = torch.arange(-192, 193, dtype=torch.float64)
    levels = converter_level(sums * (1 - wire_attenuation(tile))[:, None], tile.adc)
    assert math.isclose(static_deviation(tile), float((levels - sums / step).abs().max()), rel_tol=1e-12)
    assert static_deviation(tile) > 0


def test_static_deviation_by_hand(make_tile):
    assert static_deviation(make_tile(128, 128, 0.0)) == 0
    assert static_deviation(preset("wang2024").tile) == 0
    # the bow is at its peak between the codes 127 and 128 of 255: u = 127/255
    bent = static_deviation(make_tile(128, 128, 0.0, nonlinearity=0.5))
    assert math.isclose(bent, 0.5 * 4 * 127 * 128 / 255**2, rel_tol=1e-12)
    # wires take most from the largest sum at the last bitline
    tile = make_tile(128, 128, 0.5)
    assert math.isclose(static_deviation(tile), 192 * float(wire_attenuation(tile)[-1]), rel_tol=1e-12)


def test_what_the_preset_says_of_its_wires(make_tile):
    """Half an ohm takes 1.1 codes off the largest sum, and less than half a code off sums up to 88."""
    tile = make_tile(128, 128, 0.5)
    assert tile.max_sum == preset("wang2024").tile.max_sum
    assert round(static_deviation(tile), 1) == 1.1
    assert "0.5 Ω already takes 1.1 codes" in sources("wang2024")["tile.resistor.wire_resistance_ohm"].text
    last = float(wire_attenuation(tile)[-1])
    assert 88 * last < 0.5 < 89 * last
