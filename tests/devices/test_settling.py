"""Settling: the amplifier's feedback, the poles by hand, the time by closed forms of special cases."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from ohmformer.devices import DeviceError, settling_time_s, unit_current_A
from ohmformer.devices.periphery import PERIPHERY, PERIPHERY_SOURCES, Periphery
from ohmformer.devices.settling import feedback, time_constants_s
from ohmformer.specs import TileSpec, preset


def tile_of(size: int = 128, unit: float = 1e6, wire: float = 0.0) -> TileSpec:
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=size,
        bitlines=size,
        active_wordlines=size,
        resistor=replace(tile.resistor, unit_resistance_ohm=unit, wire_resistance_ohm=wire),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


def test_the_largest_sum_reaches_the_range_and_the_empty_bitline_is_critically_damped() -> None:
    for tile in (tile_of(), tile_of(16, 1e7), tile_of(64, 1e5)):
        loop = feedback(tile)
        largest_A = tile.max_sum * unit_current_A(tile.resistor, PERIPHERY.read_voltage_V)
        assert loop.resistance_ohm * largest_A == pytest.approx(PERIPHERY.sense_range_V, rel=1e-12)
        assert loop.capacitance_F > 0
        b_1, b_2, *_ = time_constants_s(tile, closed=0.0)
        assert b_1**2 == pytest.approx(4 * b_2, rel=1e-9)
        loaded_1, loaded_2, *_ = time_constants_s(tile)
        assert loaded_1**2 > 4 * loaded_2  # closed switches only damp it more


def test_a_slow_enough_amplifier_needs_no_capacitor() -> None:
    """With a gain of 2 the input resistance R/3 damps more than critically: a_1^2 > 4 a_0 a_2 at C_f = 0."""
    dull = replace(PERIPHERY, sense_gain=2.0)
    tile = tile_of(16, 1e7)
    assert feedback(tile, dull).capacitance_F == 0
    b_1, b_2, *_ = time_constants_s(tile, closed=0.0, periphery=dull)
    assert b_1**2 >= 4 * b_2


def test_the_poles_by_hand() -> None:
    tile = tile_of(64, 1e6, 2.0)
    b_1, b_2, body, wires = time_constants_s(tile, closed=0.5)
    loop = feedback(tile)
    turn, gain = 2 * math.pi * PERIPHERY.sense_bandwidth_Hz, PERIPHERY.sense_gain
    source = 64 * 1e-15 + 10e-15 + loop.capacitance_F
    load = 0.5 * 32 * 3 / 1.001e6
    a_0 = 1 + (1 + loop.resistance_ohm * load) / gain
    a_1 = (1 + loop.resistance_ohm * load) / turn
    a_1 += loop.resistance_ohm * source / gain + loop.resistance_ohm * loop.capacitance_F
    assert b_1 == pytest.approx(a_1 / a_0, rel=1e-12)
    assert b_2 == pytest.approx(loop.resistance_ohm * source / turn / a_0, rel=1e-12)
    assert body == pytest.approx(0.2e-15 / (1 / 5e5 + 1 / 5.01e5), rel=1e-12)
    assert wires == pytest.approx(2.0 * (0.1e-15 + 1e-15) * 64**2 / 2, rel=1e-12)


def test_a_double_pole_alone() -> None:
    """Unloaded, body and wires negligible: 1 - step(t) = (1 + t / T) exp(-t / T), T = b_1 / 2."""
    quick = replace(PERIPHERY, body_capacitance_F=1e-24)
    tile = tile_of()
    found = settling_time_s(tile, closed=0.0, periphery=quick)
    scaled = found / (time_constants_s(tile, closed=0.0, periphery=quick)[0] / 2)
    # the poles coincide to rounding, which a square root makes 1e-8
    assert (1 + scaled) * math.exp(-scaled) == pytest.approx(0.25 / 192, rel=1e-6)


def test_one_slow_pole_decides() -> None:
    """Bodies of 1 pF: 125 ns twice over against a nanosecond: t = body ln(192 / 0.25) and a little."""
    heavy = replace(PERIPHERY, body_capacitance_F=1e-12)
    tile = tile_of()
    b_1, _, body, _ = time_constants_s(tile, periphery=heavy)
    found = settling_time_s(tile, periphery=heavy)
    alone = body * math.log(192 / 0.25)
    assert alone < found < alone + 2 * b_1


def test_what_makes_it_longer() -> None:
    base = settling_time_s(tile_of())
    assert settling_time_s(tile_of(unit=1e7)) > 2 * base
    assert settling_time_s(tile_of(unit=1e5)) < 0.6 * base
    assert settling_time_s(tile_of(256)) > base
    assert settling_time_s(tile_of(wire=20.0)) > base
    assert settling_time_s(tile_of(), error_codes=0.01) > base > settling_time_s(tile_of(), error_codes=0.5)
    assert settling_time_s(tile_of(), closed=0.0) < base
    assert 1e-9 < base < 10e-9  # a cycle of the paper's tile has room for it


def test_an_error_of_the_whole_range_needs_no_time() -> None:
    tile = tile_of(2)
    assert settling_time_s(tile, error_codes=3.0) == 0.0
    assert settling_time_s(tile, error_codes=2.9) > 0


def test_every_value_has_a_source_and_a_bound() -> None:
    assert set(PERIPHERY_SOURCES) == {field.name for field in fields(Periphery)}
    with pytest.raises(DeviceError, match="sense_gain is 0.0"):
        replace(PERIPHERY, sense_gain=0.0)
    with pytest.raises(DeviceError, match="read_voltage_V is inf"):
        replace(PERIPHERY, read_voltage_V=math.inf)
    with pytest.raises(DeviceError, match="closed is 2"):
        time_constants_s(tile_of(), closed=2)
    with pytest.raises(DeviceError, match="error_codes is 0"):
        settling_time_s(tile_of(), error_codes=0)
