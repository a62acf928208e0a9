"""Products through wires and bent converters: closed form and exact network, bit for bit by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import (
    CrossbarError,
    additive_variance,
    compute,
    digit_weights,
    draw_mismatch,
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
)
from ohmformer.devices import (
    branch_conductance,
    convert,
    effective_conductance,
    loaded_conductance,
    nodal_conductance,
    static_deviation,
    wire_attenuation,
)
from ohmformer.specs import TileSpec


def with_wires(tile: TileSpec, ohm: float, nonlinearity: float = 0.0) -> TileSpec:
    return replace(
        tile,
        resistor=replace(tile.resistor, wire_resistance_ohm=ohm),
        adc=replace(tile.adc, nonlinearity=nonlinearity),
    )


def by_bitline(
    streamed: Tensor, resident: Tensor, tile: TileSpec, effective: Tensor | None, mismatch: Tensor | None
) -> Tensor:
    """One tile, conversion by conversion in plain loops; ``effective``: [wordline, bitline] or None."""
    planes, _ = resident_planes(resident, 8, tile)
    driven = drive(streamed_digits(streamed, tile, 8), tile)  # [row, element, digit, resistor]
    resistors = driven.shape[-1]
    lost = wire_attenuation(tile)
    pair = 1 if tile.resident_code == "bits" else 2
    count = len(planes)
    values = torch.zeros(streamed.shape[0], resident.shape[1], dtype=torch.int64)
    for row in range(streamed.shape[0]):
        for digit, power in enumerate(digit_weights(tile, 8)):
            for column in range(resident.shape[1]):
                for plane, weight in enumerate(plane_weights(tile, 8)):
                    level = 0.0
                    for side, sign in enumerate((1, -1)[:pair]):
                        bitline = (column * count + plane) * pair + side
                        total = 0.0
                        for wordline in range(streamed.shape[1] * resistors):
                            element, resistor = divmod(wordline, resistors)
                            volt = float(driven[row, element, digit, resistor])
                            if effective is not None:
                                total += volt * float(effective[wordline, bitline])
                            elif int(planes[plane, element, column]) == sign:
                                off = 0.0 if mismatch is None else float(mismatch[wordline, bitline])
                                total += volt * (1 + off)
                        level += sign * (
                            total if effective is not None else total * (1 - float(lost[bitline]))
                        )
                    code = int(convert(torch.tensor([level], dtype=torch.float64), tile.adc))
                    values[row, column] += power * weight * tile.adc.step * code
    return values


def loaded_S(resident: Tensor, tile: TileSpec, mismatch: Tensor) -> Tensor:
    """Conductance of every cell of the tile that holds ``resident``, in plain loops."""
    planes, _ = resident_planes(resident, 8, tile)
    pair = 1 if tile.resident_code == "bits" else 2
    cells = torch.zeros(tile.wordlines, tile.bitlines, dtype=torch.float64)
    for wordline in range(resident.shape[0] * tile.numeral.resistors_per_digit):
        element, resistor = divmod(wordline, tile.numeral.resistors_per_digit)
        weight = (1, 2)[resistor]
        for column in range(resident.shape[1]):
            for plane in range(len(planes)):
                state = int(planes[plane, element, column])
                if state:
                    bitline = (column * len(planes) + plane) * pair + (state < 0)
                    off = float(mismatch[wordline, bitline])
                    cells[wordline, bitline] = branch_conductance(weight, tile.resistor) * (1 + off)
    return cells


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("bow", [0.0, 1.5])
def test_closed_form_wires_take_their_share_of_every_bitline(make_tile, integers, code, bow):
    """5 kOhm: the last bitline loses a fifth. Levels so far from a half that no rounding of sums matters."""
    bitlines = 16 if code == "bits" else 24
    plain = make_tile(7, wordlines=12, bitlines=bitlines, resident_code=code)
    tile = with_wires(plain, 5000.0, bow)
    streamed, resident = integers(4, 6), integers(6, 2, seed=3)
    expected = by_bitline(streamed, resident, tile, None, None)
    assert torch.equal(compute(streamed, resident, tile, 8, 8).values, expected)
    assert not torch.equal(expected, streamed @ resident)
    mismatch = draw_mismatch(
        replace(tile, resistor=replace(tile.resistor, mismatch=0.05)), torch.Generator().manual_seed(3)
    )
    found = compute(streamed, resident, tile, 8, 8, mismatch=mismatch).values
    assert torch.equal(found, by_bitline(streamed, resident, tile, None, mismatch))
    assert not torch.equal(found, expected)


@pytest.mark.parametrize(("wires", "solve"), [("nodal", nodal_conductance), ("loaded", loaded_conductance)])
@pytest.mark.parametrize("code", ["bits", "digits"])
def test_nodal_and_loaded_wires_are_the_conductances_of_the_loaded_tile(
    make_tile, integers, code, wires, solve
):
    bitlines = 18 if code == "bits" else 25  # some that no output uses
    tile = with_wires(make_tile(7, wordlines=13, bitlines=bitlines, resident_code=code), 5000.0)
    streamed, resident = integers(4, 5), integers(5, 2, seed=3)
    mismatch = draw_mismatch(
        replace(tile, resistor=replace(tile.resistor, mismatch=0.05)), torch.Generator().manual_seed(3)
    )
    weights = torch.tensor([1.0, 2.0]).repeat(5)[:, None]
    unit = branch_conductance(1, tile.resistor)
    effective = solve(loaded_S(resident, tile, mismatch), 5000.0)[:10] / (unit * weights)
    found = compute(streamed, resident, tile, 8, 8, mismatch=mismatch, wires=wires).values
    assert torch.equal(found, by_bitline(streamed, resident, tile, effective, mismatch))
    assert not torch.equal(found, compute(streamed, resident, tile, 8, 8, mismatch=mismatch).values)


@pytest.mark.parametrize("wires", ["closed_form", "loaded", "nodal"])
@pytest.mark.parametrize("code", ["bits", "digits"])
def test_thin_losses_are_rounded_away_over_tiles_and_groups(make_tile, integers, code, wires):
    """Nothing is lost below half a code: blocks of the inner axis and of outputs, groups of wordlines.

    The exact network loses at most 1 / p = 3.5 times the typical loading of digits, twice that of bits.
    """
    tile = make_tile(7, wordlines=9, active_wordlines=4, bitlines=24, resident_code=code)
    tile = with_wires(tile, 80.0)
    assert 0 < static_deviation(tile) < (0.25 if code == "bits" else 0.5 / 3.5)
    streamed, resident = integers(3, 11), integers(11, 5, seed=1)
    assert torch.equal(compute(streamed, resident, tile, 8, 8, wires=wires).values, streamed @ resident)


def test_groups_of_a_tile_share_its_solved_network(make_tile, integers, monkeypatch):
    """All elements of a tile load its wires, whichever are driven: two tiles, solved once each."""
    tile = with_wires(make_tile(7, wordlines=8, active_wordlines=2, bitlines=8), 2e4)
    streamed, resident = integers(3, 7), integers(7, 1, seed=1)
    solved = []

    def counted(cells, ohm):
        solved.extend(int((tile > 0).any(1).sum()) for tile in cells)
        return effective_conductance(cells, ohm)

    monkeypatch.setattr("ohmformer.crossbars.computation.effective_conductance", counted)
    found = compute(streamed, resident, tile, 8, 8, wires="nodal").values
    assert solved == [8, 6]
    alone = [
        compute(streamed[:, k : k + 1], resident[k : k + 1], tile, 8, 8, wires="nodal").values
        for k in range(7)
    ]
    assert not torch.equal(found, sum(alone))


def test_bent_converters_alone(make_tile):
    """Base 3, one element per wordline, resident 1: the sum is the number of wordlines driven."""
    tile = with_wires(make_tile(3, wordlines=15, bitlines=8), 0.0, 0.9)
    assert tile.adc.bits == 4
    streamed = torch.tril(torch.ones(15, 15, dtype=torch.int64))
    found = compute(streamed, torch.ones(15, 1, dtype=torch.int64), tile, 2, 2).values.flatten()
    # m + 0.9 * 4 * (m / 15) * (1 - m / 15) exceeds m + 1/2 from m = 3 (0.576) to 12; 2 gives 0.416
    expected = [m + (3 <= m <= 12) for m in range(1, 16)]
    assert found.tolist() == expected


def test_unknown_wires_and_shifted_levels_are_refused(make_tile, integers):
    tile = make_tile(7)
    with pytest.raises(CrossbarError, match="wires is 'copper': allowed are closed_form, loaded, nodal"):
        compute(integers(2, 3), integers(3, 2), tile, 8, 8, wires="copper")  # type: ignore[arg-type]
    for shifted in (with_wires(tile, 1.0), with_wires(tile, 0.0, 0.1)):
        with pytest.raises(CrossbarError, match="no closed form"):
            additive_variance(shifted, 8, 8, 8)
