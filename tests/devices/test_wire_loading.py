"""What wires take from a loaded tile in closed form: by hand, to second order, and its averages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.devices import (
    DeviceError,
    branch_conductance,
    effective_conductance,
    loaded_attenuation,
    loaded_conductance,
    loaded_keep,
    wire_attenuation,
)
from ohmformer.devices.wire import resistor_shares
from ohmformer.numerals import ResistorCode
from ohmformer.specs import NumeralSpec, TileSpec, preset


def tile_of(rows: int, columns: int, wire: float, radix: int = 7, polarity: str = "shared") -> TileSpec:
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=rows,
        bitlines=columns,
        active_wordlines=rows,
        numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
        resistor=replace(tile.resistor, wire_resistance_ohm=wire),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


def units_of(tile: TileSpec, seed: int, share: float = 0.5) -> Tensor:
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    generator = torch.Generator().manual_seed(seed)
    closed = torch.rand(tile.elements, tile.bitlines, generator=generator) < share
    weights = torch.tensor(code.weights, dtype=torch.float64).repeat(tile.elements)[:, None]
    units = torch.zeros(tile.wordlines, tile.bitlines, dtype=torch.float64)
    units[: len(weights)] = weights * closed.repeat_interleave(len(code.weights), 0)
    return units


def test_the_first_order_by_hand() -> None:
    """keep = 1 / (1 + r (drop along the wordline + rise of the bitline)), summed cell by cell."""
    cells = units_of(tile_of(6, 5, 1.0), 1) * 1e-6
    wordlines, bitlines = cells.shape
    for k in range(wordlines):
        for b in range(bitlines):
            along = sum(float(cells[k, c]) * min(b + 1, c + 1) for c in range(bitlines))
            down = sum(float(cells[m, b]) * (wordlines - max(k, m)) for m in range(wordlines))
            found = float(loaded_keep(cells, 50.0, rounds=0)[k, b])
            assert found == pytest.approx(1 / (1 + 50.0 * (along + down)), rel=1e-14)


def test_one_cell_alone_is_exact() -> None:
    """A cell in series with b + 1 and W - k segments, the fixed point of the rounds: a voltage divider."""
    cells = torch.zeros(5, 4, dtype=torch.float64)
    cells[1, 2] = 1e-3
    found = loaded_conductance(cells, 10.0)
    assert float(loaded_keep(cells, 10.0, rounds=0)[1, 2]) == pytest.approx(
        1 / (1 + 1e-3 * 10 * 7), rel=1e-14
    )
    exact = 1 / (1e3 + 10.0 * (3 + 4))
    assert float(effective_conductance(cells, 10.0)[1, 2]) == pytest.approx(exact, rel=1e-12)
    assert float(loaded_keep(cells, 10.0, rounds=200)[1, 2]) == pytest.approx(exact / 1e-3, rel=1e-12)
    # two rounds stop within 10 % of the second order, (1e-3 * 70)^2
    assert float(found[1, 2]) == pytest.approx(exact, rel=0.1 * 0.07**2)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_what_is_left_out_is_of_second_order(share: float) -> None:
    """A tenth of the wire resistance leaves a hundredth of the error, a tenth of the loss: within 30 %, since
    the third order is a tenth of the second at z = 0.1."""
    tile = tile_of(24, 16, 1.0)
    cells = units_of(tile, 2, share) * 1e-6
    loss, error = [], []
    for wire in (30.0, 3.0):
        exact = effective_conductance(cells, wire)
        loss.append(float((cells - exact).abs().max()))
        error.append(float((loaded_conductance(cells, wire) - exact).abs().max()))
    assert 8 < loss[0] / loss[1] < 11
    assert 70 < error[0] / error[1] < 130
    assert error[0] < 0.05 * loss[0]


def test_a_batch_is_its_tiles_and_wires_off_take_nothing() -> None:
    cells = torch.stack([units_of(tile_of(8, 6, 1.0), seed) for seed in (3, 4)]) * 1e-5
    found = loaded_keep(cells, 20.0)
    for place in (0, 1):
        torch.testing.assert_close(found[place], loaded_keep(cells[place], 20.0), rtol=1e-14, atol=0)
    assert loaded_keep(cells, 0.0).eq(1).all()
    assert loaded_conductance(cells, 0.0).equal(cells)
    assert bool(((found > 0) & (found < 1)).all())


@pytest.mark.parametrize(("radix", "polarity"), [(3, "shared"), (7, "shared"), (9, "per_resistor")])
def test_the_attenuation_is_the_regression_of_the_sums(radix: int, polarity: str) -> None:
    """E[s s'] / E[s^2] over all digits of each element in turn (independent, of mean 0), s' by the cells."""
    tile = replace(tile_of(13, 6, 30.0, radix, polarity), active_wordlines=6)
    units = units_of(tile, 5)
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    unit = branch_conductance(1, tile.resistor)
    kept = units * loaded_keep(units * unit, 30.0)
    most = tile.numeral.max_digit
    every = torch.arange(-most, most + 1)
    states = code.switch_states(every).double()
    count = len(code.weights)
    found = loaded_attenuation(units, tile)
    groups = -(-tile.elements // tile.group_elements)
    assert found.shape == (groups, 6)
    for group in range(groups):
        both, square = torch.zeros(6).double(), torch.zeros(6).double()
        for element in range(
            group * tile.group_elements, min((group + 1) * tile.group_elements, tile.elements)
        ):
            rows = slice(element * count, (element + 1) * count)
            plain, through = states @ units[rows], states @ kept[rows]
            both += (plain * through).sum(0)
            square += (plain * plain).sum(0)
        expected = torch.where(square > 0, 1 - both / square.clamp(min=1e-30), 0.0)
        torch.testing.assert_close(found[group], expected, rtol=1e-10, atol=1e-15)


def test_its_mean_over_loadings_is_the_form_for_typical_loading() -> None:
    """The mean over closed elements of all loadings is what typical loading says, to first order.

    400 loadings of 32 elements: the loss of a bitline spreads by about a fifth, so 1 % standard error; 4 %.
    """
    tile = tile_of(64, 48, 0.1)
    units = torch.stack([units_of(tile, seed) for seed in range(400)])
    closed = (units != 0).double().sum(1)
    found = (loaded_attenuation(units, tile)[:, 0] * closed).sum(0) / closed.sum(0)
    torch.testing.assert_close(found, wire_attenuation(tile), rtol=0.04, atol=0)


def test_the_digits_that_occur_decide_the_parts_of_the_resistors() -> None:
    """Digits of +-1 close resistor 1 alone, of +-2 resistor 2; 2 and 3 mixed by their squares."""
    tile = tile_of(8, 4, 20.0)
    assert resistor_shares(tile, torch.tensor([1, -1, 0])).tolist() == [1, 0]
    assert resistor_shares(tile, torch.tensor([[2], [-2]])).tolist() == [0, 1]
    # (2 * 2 + 2 * 3) / (4 + 9) by the second resistor, 1 * 3 / 13 by the first
    assert resistor_shares(tile, torch.tensor([2, 3])).tolist() == pytest.approx([3 / 13, 10 / 13], rel=1e-15)
    assert resistor_shares(tile, torch.zeros(3, dtype=torch.int64)).equal(resistor_shares(tile))
    units = units_of(tile, 6, 1.0)
    light, heavy = (loaded_attenuation(units, tile, digits=torch.tensor([d])) for d in (1, 2))
    # far from the drivers two units drop more on their wordline; near them they are nearer to the sense node
    assert light[0, 3] < heavy[0, 3]
    assert light[0, 0] > heavy[0, 0]


def test_an_open_bitline_loses_nothing() -> None:
    tile = tile_of(8, 4, 20.0)
    units = units_of(tile, 7, 1.0)
    units[:, 2] = 0
    found = loaded_attenuation(units, tile)
    assert found[0, 2] == 0
    assert float(found[0, [0, 1, 3]].min()) > 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: loaded_keep(torch.ones(3), 1.0), "matrices are needed"),
        (lambda: loaded_keep(torch.ones(2, 2), -1.0), "wire_resistance_ohm is -1"),
        (lambda: loaded_keep(torch.ones(2, 2), float("inf")), "wire_resistance_ohm is inf"),
        (lambda: loaded_attenuation(torch.ones(8, 5), tile_of(8, 4, 1.0)), "the tile is 8 x 4"),
        (lambda: resistor_shares(tile_of(8, 4, 1.0), torch.tensor([4])), "outside -3 to 3"),
    ],
)
def test_what_is_no_tile_is_refused(call: object, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence):
        call()  # type: ignore[operator]
