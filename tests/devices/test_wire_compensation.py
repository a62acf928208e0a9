"""Factors against the wires: the mean loss by position, and what is left after it is made good."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ohmformer.devices import (
    DeviceError,
    branch_conductance,
    effective_conductance,
    wire_attenuation,
)
from ohmformer.devices.wire import _shares
from ohmformer.devices.wire_compensation import COMPENSATIONS, compensation_factors, typical_loss
from ohmformer.numerals import ResistorCode
from ohmformer.specs import NumeralSpec, TileSpec, preset


def tile_of(
    rows: int, columns: int, wire: float, radix: int = 7, polarity: str = "shared", code: str = "bits"
) -> TileSpec:
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=rows,
        bitlines=columns,
        active_wordlines=rows,
        resident_code=code,
        numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
        resistor=replace(tile.resistor, wire_resistance_ohm=wire),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize(
    ("radix", "polarity", "rows"), [(3, "shared", 16), (7, "shared", 13), (9, "per_resistor", 12)]
)
def test_the_loss_by_position_adds_up_to_the_loss_of_a_bitline(
    radix: int, polarity: str, rows: int, code: str
) -> None:
    """z_b = sum_r c_r mean over elements of z_kb, by the definitions of both; rounding of float64."""
    tile = tile_of(rows, 10, 3.0, radix, polarity, code)
    count = tile.numeral.resistors_per_digit
    mean = typical_loss(tile)[: tile.elements * count].view(tile.elements, count, -1).mean(0)
    by_position = (_shares(tile)[0][:, None] * mean).sum(0)
    lost = wire_attenuation(tile)
    torch.testing.assert_close(by_position, lost / (1 - lost), rtol=1e-12, atol=0)


def test_the_loss_by_position_is_the_mean_over_loadings() -> None:
    """Given that a cell is closed, its relative loss in the exact network, averaged over 4000 loadings.

    At x = 1e-6 the second order is (z ~ 1e-4) of the first. A loss is a sum over some 20 switches with a
    standard deviation near a third of its mean, over about 2000 loadings: 1 % off; 5 standard errors.
    """
    tile = tile_of(6, 5, 1.0)
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([1.0, 2.0]).double().repeat(3)[:, None]
    closed = torch.randint(0, 2, (4000, 3, 5), generator=generator).repeat_interleave(2, 1).double()
    unit = branch_conductance(1, tile.resistor)
    # a bitline's current when wordline k alone is driven, and only then, less what sneaks past other cells
    through = effective_conductance(closed * weights * unit, 1.0) / (weights * unit)
    lost = ((closed - through) * closed).sum(0) / closed.sum(0)
    torch.testing.assert_close(lost, typical_loss(tile), rtol=0.05, atol=0)


def test_without_wires_or_wish_there_is_nothing_to_do() -> None:
    for name in COMPENSATIONS:
        for factor in compensation_factors(tile_of(8, 8, 0.0), name):
            assert factor.eq(1).all()
    drive, gain = compensation_factors(tile_of(8, 8, 5.0), "none")
    assert drive.eq(1).all()
    assert gain.eq(1).all()


def test_factors_raise_what_lies_far_from_the_driver_or_the_sense_node() -> None:
    tile = tile_of(32, 16, 5.0)
    drive, _ = compensation_factors(tile, "driver")
    _, gain = compensation_factors(tile, "gain")
    assert bool((drive[0::2].diff() < 0).all())  # the first wordline is the farthest from the sense nodes
    assert bool((gain.diff() > 0).all())
    assert float(drive.min()) > 1
    assert float(gain.min()) > 1
    both_drive, both_gain = compensation_factors(tile, "both")
    assert both_drive.equal(drive)
    assert float(both_gain.min()) < 1 < float(both_gain.max())  # the mean is the drivers'


@pytest.mark.parametrize(("radix", "polarity"), [(3, "shared"), (7, "shared"), (9, "per_resistor")])
def test_each_makes_the_error_smaller_and_both_together_the_smallest(radix: int, polarity: str) -> None:
    tile = tile_of(48, 48, 20.0, radix, polarity)
    generator = torch.Generator().manual_seed(2)
    count = tile.numeral.resistors_per_digit
    code = ResistorCode(radix, polarity)  # type: ignore[arg-type]
    units = torch.tensor(code.weights, dtype=torch.float64).repeat(tile.elements)[:, None]
    bits = torch.randint(0, 2, (tile.elements, 48), generator=generator).repeat_interleave(count, 0)
    unit = branch_conductance(1, tile.resistor)
    effective = effective_conductance(bits * units * unit, 20.0) / unit
    most = tile.numeral.max_digit
    digits = torch.randint(-most, most + 1, (400, tile.elements), generator=generator)
    states = code.switch_states(digits).double().flatten(1)
    errors = {}
    for name in COMPENSATIONS:
        drive, gain = compensation_factors(tile, name)
        through = ((states * drive) @ effective) * gain
        errors[name] = float((through - states @ (bits * units)).square().mean().sqrt())
    assert errors["both"] < 0.7 * min(errors["driver"], errors["gain"])
    assert max(errors["driver"], errors["gain"]) < 0.7 * errors["none"]


def test_an_unknown_compensation_is_refused() -> None:
    with pytest.raises(DeviceError, match="allowed are none, driver, gain, both"):
        compensation_factors(tile_of(4, 4, 1.0), "all")  # type: ignore[arg-type]
