"""The encoding study: what a choice means, what it costs, and that base 7 can lose."""

from __future__ import annotations

import dataclasses

import pytest

from ohmformer.costs import estimate
from ohmformer.costs.baselines import digital_mac_dense
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.numerals import ResistorCode, digits_for_bits
from ohmformer.specs import override, preset
from ohmformer.studies import Condition, encoding_points, exact_points
from ohmformer.studies.encoding_study import outcome, study_encodings
from ohmformer.studies.encodings import RADICES, chip_of, choices, costed, needed_bits

CHIP = preset("wang2024")


def test_every_base_and_every_number_of_bits_is_there() -> None:
    found = choices(128)
    assert {choice.radix for choice in found} == set(RADICES) == set(range(3, 28, 2))
    whole = [choice for choice in found if choice.radix == 7 and choice.wordlines == 128]
    assert {choice.group for choice in whole} >= {1, 2, 4, 8, 16, 32, 64}
    assert {choice.adc_bits for choice in whole if choice.group == 64} == set(range(1, 9))


def test_polarities_are_told_apart_only_where_resistors_differ() -> None:
    both = {(choice.radix, choice.polarity) for choice in choices(128)}
    for radix in RADICES:
        same = len(ResistorCode(radix, "shared").weights) == len(ResistorCode(radix, "per_resistor").weights)
        assert ((radix, "per_resistor") in both) is not same


@pytest.mark.parametrize("choice", choices(128, exact_only=True)[::7])
def test_an_exact_choice_is_a_tile_that_loses_nothing_and_one_bit_less_does(choice) -> None:  # type: ignore[no-untyped-def]
    tile = chip_of(choice, CHIP).tile
    assert tile.lossless
    assert tile.group_elements == choice.group
    if choice.adc_bits > 1:
        fewer = dataclasses.replace(choice, adc_bits=choice.adc_bits - 1)
        assert not chip_of(fewer, CHIP).tile.lossless


def test_base_7_of_the_paper_by_hand(small: Program) -> None:
    """64 elements x 3 units = 192 need 8 bits; 3 cycles, 2 resistors, 3 · 8 / 64 conversions a weight MAC."""
    choice = next(c for c in choices(128, exact_only=True) if c.radix == 7 and c.group == 64)
    assert (needed_bits(64, 7), choice.adc_bits, choice.wordlines) == (8, 8, 128)
    report = estimate(small, CHIP)
    point = costed(choice, small, CHIP, report.area_m2, "typical")
    assert (point.cycles, point.resistors, point.active_wordlines) == (3, 2, 128)
    assert point.cycles == digits_for_bits(7, 8)
    # every inner length of the program is a multiple of 64
    assert point.conversions_per_mac == pytest.approx(3 * 8 / 64, rel=1e-12)
    # the chip is wang2024 itself, so equal area means the same tiles
    assert point.equal_area_tiles == CHIP.tile_count
    assert (point.area_m2, point.energy_J, point.latency_s) == (
        report.area_m2,
        report.energy_J,
        report.latency_s,
    )


def test_equal_area_is_not_exceeded_and_not_wasted(small: Program) -> None:
    area = estimate(small, CHIP).area_m2
    for choice in choices(128, radices=(3, 27), exact_only=True)[::5]:
        point = costed(choice, small, CHIP, area, "typical")
        assert point.equal_area_tiles is not None
        own = dataclasses.replace(chip_of(choice, CHIP), tile_count=point.equal_area_tiles)
        one_more = dataclasses.replace(own, tile_count=point.equal_area_tiles + 1)
        assert estimate(small, own).area_m2 <= area * (1 + 1e-9) < estimate(small, one_more).area_m2


def test_exact_points_are_the_same_in_both_ways_of_asking(small: Program) -> None:
    every = encoding_points(small, CHIP, radices=(3, 7))
    exact = exact_points(small, CHIP, radices=(3, 7))
    assert [point for point in every if point.lossless] == list(exact)
    assert any(not point.lossless for point in every)
    assert all(point.error == 0 and point.step == 1 for point in exact)
    assert all(point.error < 1 for point in every if point.on_front)


def test_base_7_can_win_and_can_lose(bert_large: Program) -> None:
    """8 bits: three digits hold them with base 7, four with base 5; 4 bits: two digits do with both, and the
    sums of base 5 are smaller."""
    eight = Condition(name="8", changes={}, polarities=("shared",))
    four = Condition(
        name="4",
        changes={"precision.weight_bits": 4, "precision.activation_bits": 4},
        polarities=("shared",),
    )
    won = outcome(eight, bert_large, CHIP, "typical", radices=(5, 7))
    lost = outcome(four, bert_large, CHIP, "typical", radices=(5, 7))
    assert won.base_7_on_front
    assert won.time_over_fastest == 1
    assert not lost.base_7_on_front
    assert lost.fastest.startswith("5,")


def test_a_condition_without_base_7_says_so(small: Program) -> None:
    one_bit = Condition(name="1 bit", changes={}, most_adc_bits=1)
    found = outcome(one_bit, small, CHIP, "typical")
    assert (found.base_7, found.base_7_on_front, found.time_over_fastest) == (None, False, None)
    assert found.front == ("3, 1 bit",)


def test_a_tile_too_narrow_for_any_digit_is_refused(small: Program) -> None:
    narrow = override(CHIP, {"tile.wordlines": 2, "tile.active_wordlines": 2})
    with pytest.raises(UserError, match=r"\[27\] fits a tile of 2 wordlines"):
        encoding_points(small, narrow, radices=(27,))


def test_the_study_asks_for_the_program_of_a_condition(small: Program) -> None:
    asked = []

    def program_at(tokens: int) -> Program:
        asked.append(tokens)
        return small

    longer = Condition(name="longer", changes={}, times_tokens=3)
    study = study_encodings(program_at, CHIP, tokens=64, radices=(7,), conditions=(longer,))
    assert asked == [64, 192]
    assert [found.condition for found in study.outcomes] == ["longer"]
    assert study.reference_area_m2 == estimate(small, CHIP).area_m2
    plain = digital_mac_dense(small, CHIP)
    assert (study.plain_area_m2, study.plain_energy_J, study.plain_latency_s) == (
        plain.area_m2,
        plain.energy_J,
        plain.latency_s,
    )
