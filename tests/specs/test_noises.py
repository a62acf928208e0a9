"""Each disturbance by its name: which fields it has, alone and scaled."""

from __future__ import annotations

import math

import pytest

from ohmformer.specs import (
    NOISES,
    NoiseKind,
    SpecError,
    differences,
    leaves,
    noises,
    override,
    preset,
    without_noise,
)
from ohmformer.specs.tree import NOISE_OFF

CHIP = override(
    preset("wang2024"),
    {
        "dense.cell.noise.drift_time_ratio": 1e4,
        "dense.cell.noise.stuck_low_rate": 0.001,
        "dense.cell.noise.stuck_high_rate": 0.002,
        "tile.resistor.wire_resistance_ohm": 0.5,
        "tile.adc.nonlinearity": 0.25,
    },
)
CELL = "dense.cell.noise."
FIELDS = {
    "programming": [CELL + "programming_noise"],
    "telegraph": [CELL + "telegraph_scale"],
    "read": [CELL + "read_noise"],
    "environment_cell": [CELL + "environment_noise"],
    "drift": [CELL + "drift_exponent"],
    "stuck": [CELL + "stuck_low_rate", CELL + "stuck_high_rate"],
    "mismatch": ["tile.resistor.mismatch"],
    "wire": ["tile.resistor.wire_resistance_ohm"],
    "switch": ["tile.resistor.switch_resistance_ohm"],
    "environment_bitline": ["tile.environment_noise"],
    "adc_noise": ["tile.adc.noise"],
    "adc_nonlinearity": ["tile.adc.nonlinearity"],
}


def test_the_table_names_every_field_that_the_noiseless_copy_switches_off():
    assert noises.names() == list(FIELDS)
    assert {path for kind in NOISES for path in kind.paths} == set(NOISE_OFF) | set(FIELDS["switch"])
    assert all(isinstance(kind, NoiseKind) and kind.title and kind.meaning for kind in NOISES)
    assert noises.present(CHIP) == noises.names()
    assert noises.present(without_noise(CHIP)) == []
    fresh = preset("wang2024")
    assert set(noises.names()) - set(noises.present(fresh)) == {
        "drift",
        "stuck",
        "wire",
        "switch",
        "adc_nonlinearity",
    }


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("scale", [0.5, 3, 2.0])
def test_scaling_changes_exactly_its_own_fields_by_the_factor(name, scale):
    found = differences(CHIP, noises.scaled(CHIP, name, scale))
    assert found == {path: (leaves(CHIP)[path], leaves(CHIP)[path] * scale) for path in FIELDS[name]}


@pytest.mark.parametrize("name", FIELDS)
def test_alone_means_that_every_other_disturbance_is_off(name):
    quiet = leaves(without_noise(CHIP))
    kept = [*FIELDS[name], *(FIELDS["wire"] if name == "switch" else [])]
    alone = leaves(noises.only(CHIP, name, 1.5))
    for path, value in alone.items():
        if path in FIELDS[name]:
            assert value == leaves(CHIP)[path] * 1.5
        elif path in kept:
            assert value == leaves(CHIP)[path]
        else:
            assert value == quiet[path]


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "switch"])
def test_alone_at_scale_0_is_the_noiseless_chip(name):
    assert noises.only(CHIP, name, 0) == without_noise(CHIP)
    assert noises.scaled(CHIP, name, 1) == CHIP


def test_the_switch_acts_through_the_wires_which_stay_on():
    alone = noises.only(CHIP, "switch", 0)
    assert differences(without_noise(CHIP), alone) == {
        "tile.resistor.wire_resistance_ohm": (0.0, 0.5),
        "tile.resistor.switch_resistance_ohm": (1000.0, 0.0),
    }


def test_twice_the_drift_is_the_decay_at_the_square_of_the_time():
    """ν·2·ln r = ν·ln r²; one rounding of each product."""

    def log_decay(chip):
        noise = chip.dense.cell.noise
        return noise.drift_exponent * math.log(noise.drift_time_ratio)

    later = override(CHIP, {CELL + "drift_time_ratio": 1e8})
    assert math.isclose(log_decay(noises.scaled(CHIP, "drift", 2)), log_decay(later), rel_tol=1e-14)


@pytest.mark.parametrize(
    ("given", "offered"), [("telegraf", "telegraph"), ("adcnoise", "adc_noise"), ("wires", "wire")]
)
def test_an_unknown_noise_is_refused_with_the_nearest(given, offered):
    for act in (noises.only, noises.scaled):
        with pytest.raises(SpecError, match=rf"no noise '{given}': did you mean '{offered}'\? Known: progr"):
            act(CHIP, given, 1)


@pytest.mark.parametrize("scale", [-1, math.nan, math.inf, "2", True, None])
def test_a_scale_is_a_number_of_at_least_0(scale):
    with pytest.raises(
        SpecError, match=r"scale of the noise 'read' is .*: it must be a number of at least 0"
    ):
        noises.only(CHIP, "read", scale)


@pytest.mark.parametrize(
    ("name", "scale", "part"),
    [
        ("programming", 100, "CellNoiseSpec.programming_noise is 1.44: it must be between 0 and 1"),
        ("stuck", 400, "the two stuck rates together"),
        ("telegraph", 1001, "between 0 and 1000"),
        ("mismatch", 1e4, "between 0 and 0.5"),
        ("adc_nonlinearity", 1000, "between 0 and 63.75"),
        ("drift", 1e308, "between 0 and 1"),
        ("wire", 1e308, "wire_resistance_ohm"),
    ],
)
def test_an_amplitude_that_cannot_be_is_one_sentence(name, scale, part):
    for act in (noises.only, noises.scaled):
        with pytest.raises(SpecError) as caught:
            act(CHIP, name, scale)
        assert str(caught.value).startswith(f"The noise {name!r} cannot be scaled by {scale:g}: ")
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("drift", {CELL + "drift_time_ratio": 1.0}, CELL + "drift_time_ratio"),
        ("drift", {CELL + "drift_exponent": 0.0}, CELL + "drift_exponent"),
        ("telegraph", {CELL + "telegraph_occupancy": 0.0}, CELL + "telegraph_occupancy"),
        (
            "telegraph",
            {CELL + "telegraph_at_g_max": 0.0, CELL + "telegraph_at_g_min": 0.0},
            CELL + "telegraph_at_g_max",
        ),
        (
            "stuck",
            {CELL + "stuck_low_rate": 0.0, CELL + "stuck_high_rate": 0.0},
            CELL + "stuck_low_rate or " + CELL + "stuck_high_rate",
        ),
        ("wire", {"tile.resistor.wire_resistance_ohm": 0.0}, "tile.resistor.wire_resistance_ohm"),
        ("switch", {"tile.resistor.wire_resistance_ohm": 0.0}, "tile.resistor.wire_resistance_ohm"),
        ("adc_nonlinearity", {"tile.adc.nonlinearity": 0.0}, "tile.adc.nonlinearity"),
    ],
)
def test_nothing_cannot_be_scaled(name, changes, field):
    chip = override(CHIP, changes)
    assert name not in noises.present(chip)
    for act in (noises.only, noises.scaled):
        with pytest.raises(SpecError) as caught:
            act(chip, name, 2)
        assert str(caught.value).endswith(f"to scale: set {field} first.")


def test_one_kind_of_stuck_cells_is_enough():
    chip = override(CHIP, {CELL + "stuck_low_rate": 0.0})
    assert noises.scaled(chip, "stuck", 2).dense.cell.noise.stuck_high_rate == 0.004
