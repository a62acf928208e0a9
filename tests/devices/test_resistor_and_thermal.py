"""Fixed resistors, their mismatch, and Johnson noise."""

from __future__ import annotations

import math

import pytest
import torch

from ohmformer import devices
from ohmformer.devices import DeviceError
from ohmformer.specs import ResistorSpec, preset


def resistor(mismatch: float = 0.01, switch: float = 1e5) -> ResistorSpec:
    return ResistorSpec(
        unit_resistance_ohm=1e6, switch_resistance_ohm=switch, mismatch=mismatch, wire_resistance_ohm=0.0
    )


def test_a_switch_per_unit_keeps_the_ratio_of_weights():
    for switch in (0.0, 1e3, 1e6):
        unit = devices.branch_conductance(1, resistor(switch=switch))
        for weight in (1, 2, 3, 4, 64):
            branch = devices.branch_conductance(weight, resistor(switch=switch))
            assert math.isclose(branch, weight * unit, rel_tol=1e-15)  # one rounding each
    # 2 units of 1.1 Mohm in parallel are 550 kohm
    assert math.isclose(devices.branch_conductance(2, resistor()), 1 / 550e3)


def test_unit_current():
    assert math.isclose(devices.unit_current_A(resistor(), 0.22), 0.2e-6)


def test_mismatch_has_the_stated_spread_and_one_value_a_location():
    drawn = devices.draw_mismatch(128, 1024, resistor(0.02), torch.Generator().manual_seed(3))
    assert drawn.shape == (128, 1024)
    count = drawn.numel()
    assert abs(drawn.mean()) < 4 * 0.02 / math.sqrt(count)
    assert abs(drawn.std() / 0.02 - 1) < 4 / math.sqrt(2 * count)
    assert not devices.draw_mismatch(4, 5, resistor(0.0), None).any()
    with pytest.raises(DeviceError, match="mismatch"):
        devices.draw_mismatch(4, 5, resistor(), None)


def test_a_branch_without_units_is_refused():
    with pytest.raises(DeviceError, match="weight is 0"):
        devices.branch_conductance(0, resistor())


def test_johnson_noise_gives_the_read_noise_of_the_default_chip():
    """Cited: sqrt(4 k T G df) of 100 uS at 300 K and 50 MHz; the preset rounds 0.046 % up to 0.05 %."""
    chip = preset("wang2024")
    noise_A = devices.johnson_current_A(chip.dense.cell.g_max_S, chip.temperature_K, 50e6)
    assert abs(noise_A - 9.1e-9) < 0.05e-9  # two printed digits
    span_A = chip.dense.read_voltage_V * (chip.dense.cell.g_max_S - chip.dense.cell.g_min_S)
    assert math.isclose(span_A, 19.8e-6)
    assert abs(noise_A / span_A - 0.00046) < 0.000005
    assert 1 < chip.dense.cell.noise.read_noise / (noise_A / span_A) < 1.1


def test_johnson_noise_of_nothing_is_nothing_and_negative_is_refused():
    assert devices.johnson_current_A(0.0, 300, 1e6) == 0
    with pytest.raises(DeviceError, match="at least 0"):
        devices.johnson_current_A(-1.0, 300, 1e6)
