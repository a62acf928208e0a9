"""Impossible values are refused at construction: the message names field, value and bound."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ohmformer.errors import UserError
from ohmformer.numerals import ResistorCode, digits_for_bits
from ohmformer.specs import NumeralSpec, SpecError, override, preset

CHIP = preset("wang2024")

# path, value, what the message must hold beside the field and the value
IMPOSSIBLE = [
    ("tile.numeral.radix", 6, "odd"),
    ("tile.numeral.radix", 1, "between 3 and 257"),
    ("tile.numeral.radix", 259, "between 3 and 257"),
    ("tile.numeral.polarity", "both", "shared, per_resistor"),
    ("tile.adc.bits", 0, "between 1 and 16"),
    ("tile.adc.bits", 17, "between 1 and 16"),
    ("tile.adc.step", 0, "between 1 and 65536"),
    ("tile.adc.noise", -0.1, "between 0 and 100"),
    ("tile.adc.nonlinearity", -0.1, "between 0 and 63.75"),
    ("tile.adc.nonlinearity", 63.8, "between 0 and 63.75"),
    ("tile.resistor.wire_resistance_ohm", -1.0, "between 0 and 1e+06"),
    ("tile.resistor.wire_resistance_ohm", 2e6, "between 0 and 1e+06"),
    ("dense.secded_data_bits", -1, "between 0 and 1024"),
    ("dense.secded_data_bits", 1025, "between 0 and 1024"),
    ("tile.adc.rounding", "ceil", "half_even, half_up, floor"),
    ("tile.adc.bitlines_per_adc", 129, "128 bitlines"),
    ("tile.adc.rate_Hz", 0.0, "above 0"),
    ("tile.environment_noise", -1e-9, "between 0 and 1000"),
    ("tile.environment_noise", float("nan"), "finite"),
    ("tile.environment_noise", float("inf"), "finite"),
    ("tile.active_wordlines", 129, "between 1 and 128"),
    ("tile.active_wordlines", 1, "radix-7 digit alone drives 2 wordlines"),
    ("tile.wordlines", 0, "between 1 and 16384"),
    ("tile.resident_code", "ternary", "bits, digits"),
    ("tile.resistor.mismatch", 0.6, "between 0 and 0.5"),
    ("tile.resistor.unit_resistance_ohm", 0.0, "above 0"),
    ("tile.resistor.switch_resistance_ohm", 2e6, "between 0 and 1e+06"),
    ("tile.settling_time_s", -1e-9, "between 0 and 1000"),
    ("dense.cell.bits", 0, "between 1 and 4"),
    ("dense.cell.bits", 5, "between 1 and 4"),
    ("dense.cell.g_min_S", 1e-4, "below g_max_S = 0.0001"),
    ("dense.cell.g_min_S", 0.0, "above 0"),
    ("dense.cell.noise.read_noise", -0.5, "between 0 and 1"),
    ("dense.cell.noise.programming_noise", 1.5, "between 0 and 1"),
    ("dense.cell.noise.telegraph_scale", -1.0, "between 0 and 1000"),
    ("dense.cell.noise.telegraph_at_g_max", 0.0, "both telegraph anchors"),
    ("dense.cell.noise.telegraph_occupancy", 1.01, "between 0 and 1"),
    ("dense.cell.noise.drift_time_ratio", 0.5, "between 1 and 1e+12"),
    ("dense.cell.noise.stuck_low_rate", -0.1, "between 0 and 1"),
    ("dense.adc_bits", 0, "between 1 and 12"),
    ("dense.adc_bits", 1, "telling 4 levels apart needs at least 2"),
    ("dense.wordlines", 0, "between 1 and"),
    ("dense.read_voltage_V", 6.0, "between 0 and 5"),
    ("dense.weight_code", "sign_magnitude", "offset_binary, twos_complement"),
    ("dense.vector_cell_bits", 0, "between 1 and 4"),
    ("precision.weight_bits", 1, "between 2 and 16"),
    ("precision.activation_bits", 17, "between 2 and 16"),
    ("precision.activation_scale", "per_row", "per_token, per_tensor"),
    ("function_unit.segments", 100, "power of two"),
    ("function_unit.segments", 2, "between 4 and 65536"),
    ("function_unit.clock_Hz", -1.0, "above 0"),
    ("function_unit.lanes", 0, "between 1 and 4096"),
    ("buffer.capacity_bytes", 10, "between 1024 and"),
    ("buffer.intermediates", "dram", "sram, dense"),
    ("tile_count", 0, "between 1 and"),
    ("node_nm", 3.0, "between 5 and 180"),
    ("temperature_K", 0.0, "between 1 and 1000"),
    ("clock_Hz", 0.0, "above 0"),
    ("name", " ", "needs a name"),
    ("name", "two\nlines", "printable"),
    ("name", "a\x85b", "printable"),
]


@pytest.mark.parametrize(("path", "value", "bound"), IMPOSSIBLE, ids=lambda x: str(x))
def test_an_impossible_value_names_field_value_and_bound(path, value, bound):
    with pytest.raises(SpecError) as caught:
        override(CHIP, {path: value})
    message = str(caught.value)
    assert path.rsplit(".", 1)[-1] in message
    assert f"is {value!r}:" in message
    assert bound in message
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)


def test_wide_cells_need_a_wide_read_out():
    with pytest.raises(SpecError, match=r"DenseSpec.adc_bits is 2: telling 16 levels apart needs at least 4"):
        override(CHIP, {"dense.cell.bits": 4})
    assert override(CHIP, {"dense.cell.bits": 4, "dense.adc_bits": 4}).dense.cell.levels == 16


def test_stuck_rates_together_are_a_probability():
    with pytest.raises(SpecError, match="together must not exceed 1"):
        override(CHIP, {"dense.cell.noise.stuck_low_rate": 0.6, "dense.cell.noise.stuck_high_rate": 0.6})


def test_a_resident_operand_must_fit_the_bitlines():
    narrow = {"tile.bitlines": 7, "tile.adc.bitlines_per_adc": 7}
    with pytest.raises(SpecError, match=r"TileSpec.bitlines is 7: one 8-bit resident operand needs 8"):
        override(CHIP, narrow)
    # balanced digits: 3 digits of two resistors, a pair of bitlines each
    with pytest.raises(SpecError, match="needs 12 bitlines"):
        override(CHIP, {**narrow, "tile.bitlines": 11, "tile.resident_code": "digits"})


@pytest.mark.parametrize(
    ("field", "value"), [("wordlines", 128.0), ("wordlines", True), ("wordlines", "128")]
)
def test_counts_are_whole_numbers(field, value):
    with pytest.raises(SpecError, match="whole number"):
        replace(CHIP.dense, **{field: value})


@pytest.mark.parametrize("value", [True, "1", None, 10**400])
def test_quantities_are_finite_numbers(value):
    with pytest.raises(SpecError, match=r"clock_Hz.*finite number"):
        replace(CHIP, clock_Hz=value)


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_a_flag_is_true_or_false(value):
    """1 is no flag: it would come back from a file as a number."""
    with pytest.raises(SpecError, match="gray.*true or false"):
        replace(CHIP.dense, gray=value)


@pytest.mark.parametrize("polarity", ["shared", "per_resistor"])
def test_digits_and_resistors_agree_with_the_numeral_system(polarity):
    """The spec repeats two small formulas, since it may not import the room that defines them."""
    for radix in range(3, 258, 2):
        numeral = NumeralSpec(radix=radix, polarity=polarity)
        assert numeral.resistors_per_digit == len(ResistorCode(radix, polarity).weights)
        assert numeral.max_digit == (radix - 1) // 2
        for bits in range(2, 17):
            assert numeral.digits_for(bits) == digits_for_bits(radix, bits)


def test_no_message_is_more_than_a_sentence():
    for path, value, _bound in IMPOSSIBLE:
        with pytest.raises(SpecError) as caught:
            override(CHIP, {path: value})
        assert "\n" not in str(caught.value)
        assert re.search(r"[.?]$", str(caught.value))
