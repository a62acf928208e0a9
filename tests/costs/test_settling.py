"""A tile's cycle: the circuit's settling time, a stated one, and the conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ohmformer.costs import LEVELS, LIBRARY, estimate
from ohmformer.costs.settling import cycle_of, settled_s
from ohmformer.devices import settling_time_s
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.ir import Product, Program
from ohmformer.reports.wording import schedule_sentence
from ohmformer.specs import ChipSpec, names, override, preset

CHIP = preset("wang2024")
Bert = Callable[..., Program]


def stated(seconds: float, **changes: float) -> ChipSpec:
    return override(CHIP, {"tile.settling_time_s": seconds, **changes})


@pytest.mark.parametrize("name", names())
def test_presets_settle_as_their_circuits_do(name: str) -> None:
    tile = preset(name).tile
    assert settled_s(tile, LIBRARY, "typical") == settling_time_s(tile)
    ends = [settled_s(tile, LIBRARY, level) for level in LEVELS]
    factors = [LIBRARY.bitline_capacitance.at(level) for level in LEVELS]
    for end, factor in zip(ends, factors, strict=True):
        capacitance = factor * PERIPHERY.bitline_capacitance_F
        assert end == settling_time_s(tile, periphery=replace(PERIPHERY, bitline_capacitance_F=capacitance))
    assert ends[0] < ends[1] < ends[2]


def test_the_longer_of_both_holds() -> None:
    needed = settling_time_s(CHIP.tile)
    for seconds in (0.0, needed / 3, 7 * needed):
        cycle = cycle_of(stated(seconds), LIBRARY, "typical")
        assert cycle.settling_s == max(seconds, needed)
        assert cycle.too_short == (0 < seconds < needed)
        assert (cycle.stated_s, cycle.circuit_s) == (seconds, needed)
        assert cycle.conversion_s == pytest.approx(128 / 1.28e9)
        assert cycle.cycle_s == max(cycle.settling_s, cycle.conversion_s)


def test_every_part_of_the_circuit_counts() -> None:
    """A change of anything the formula reads is a new time: nothing is kept for another circuit."""
    base = settled_s(CHIP.tile, LIBRARY, "typical")
    for path, value in (
        ("tile.resistor.unit_resistance_ohm", 1e7),
        ("tile.resistor.wire_resistance_ohm", 5.0),
        ("tile.resistor.switch_resistance_ohm", 2e5),
        ("tile.active_wordlines", 2),
        ("tile.adc.step", 4),
        ("tile.numeral.radix", 15),
    ):
        tile = override(CHIP, {path: value}).tile
        found = settled_s(tile, LIBRARY, "typical")
        assert found == settling_time_s(tile), path
        assert found != base, path
    smaller = override(CHIP, {"tile.wordlines": 64, "tile.active_wordlines": 64}).tile
    assert settled_s(smaller, LIBRARY, "typical") == settling_time_s(smaller) != base
    slow = replace(LIBRARY, periphery=replace(PERIPHERY, sense_bandwidth_Hz=1e9))
    assert settled_s(CHIP.tile, slow, "typical") > base


def test_time_and_heat_follow_the_circuit(bert_large: Bert) -> None:
    """One converter a bitline: its conversion takes .78 ns and settling decides about the cycle."""
    work = bert_large(128, layers=1)
    many = {"tile.adc.bitlines_per_adc": 1}
    quick, slow = (
        estimate(work, override(CHIP, {**many, "tile.resistor.unit_resistance_ohm": ohm}))
        for ohm in (1e6, 1e7)
    )
    assert quick.cycle is not None
    assert slow.cycle is not None
    assert quick.cycle.cycle_s == quick.cycle.circuit_s > quick.cycle.conversion_s
    busy = [r.utilisation["conversions"] * r.latency_s for r in (quick, slow)]
    assert busy[1] / busy[0] == pytest.approx(slow.cycle.circuit_s / quick.cycle.circuit_s, rel=1e-9)

    def heat(chip: ChipSpec) -> float:
        return sum(t.total for t in estimate(work, chip).energy if t.component == "fixed resistors")

    assert heat(stated(20e-9)) / heat(CHIP) == pytest.approx(20e-9 / settling_time_s(CHIP.tile), rel=1e-9)


def test_where_conversions_take_longer_settling_does_not_show() -> None:
    """All 128 bitlines of a tile take 100 ns; a sum with ones has 16 in use, 12.5 ns."""
    whole = Product(
        module="m", operation="linear", batch=1, rows=128, inner=1024, columns=1024, resident="weight"
    )
    ones = replace(whole, operation="sum", columns=1, resident="constant")
    for product, shows in ((whole, False), (replace(ones, columns=16), True)):
        work = Program(name="one", batch=1, tokens=128, subops=(product,), stored_words=1024 * 1024)
        times = [estimate(work, chip).latency_s for chip in (CHIP, stated(20e-9))]
        assert (times[1] > times[0]) == shows


def test_a_claimed_time_that_the_circuit_cannot_keep_is_named(bert_large: Bert) -> None:
    """The smallest groups need the longest: 10 ns are too short for one digit at a time."""
    work = bert_large(128, layers=1)
    serial = preset("wang2024_2bit_serial")
    claimed = override(serial, {"tile.settling_time_s": 10e-9})
    conflict = "The stated settling time, 10 ns, is shorter than resistors, wires and sense amplifiers"
    report = estimate(work, claimed)
    assert any(conflict in note for note in report.notes)
    assert report.cycle is not None
    assert report.cycle.too_short
    assert report.to_dict()["cycle"]["too_short"] is True
    assert report.latency_s == estimate(work, serial).latency_s
    for chip in (serial, stated(10e-9)):
        notes = estimate(work, chip).notes
        assert not any("is shorter than" in note for note in notes)
        assert any("A tile's cycle takes 100 ns" in note for note in notes)


def test_the_terminal_names_the_conflict_too(bert_large: Bert) -> None:
    work = bert_large(128, layers=1)
    claimed = override(preset("wang2024_2bit_serial"), {"tile.settling_time_s": 10e-9})
    told = "The stated settling time of 10.0 ns is shorter than a tile's circuit needs: 10.7 ns are taken."
    assert schedule_sentence(estimate(work, claimed)).endswith(told)
    assert "settling" not in schedule_sentence(estimate(work, CHIP))
