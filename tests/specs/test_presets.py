"""Presets: every field has a source, and the derived values follow from what their sources say."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from statistics import NormalDist

import pytest

from ohmformer import chips
from ohmformer.devices import settling_time_s
from ohmformer.functions import function_names, max_error
from ohmformer.specs import (
    Source,
    SpecError,
    describe,
    differences,
    leaves,
    names,
    override,
    preset,
    sources,
    sources_of,
)


@pytest.mark.parametrize("name", names())
def test_every_field_of_a_preset_has_exactly_one_source(name):
    assert list(leaves(preset(name))) == list(sources(name))
    assert {source.kind for source in sources(name).values()} <= {"paper", "derived", "ours", "other work"}


@pytest.mark.parametrize("name", names())
def test_a_preset_is_reached_by_its_name_everywhere(name):
    assert preset(name).name == name
    assert getattr(chips, name)() == preset(name)
    assert describe(name).strip()


@pytest.mark.parametrize("name", names()[1:])
def test_a_variant_gives_its_own_source_for_all_it_changes_and_for_nothing_else(name):
    changed = set(differences(preset("wang2024"), preset(name))) - {"name"}
    own = {path for path, source in sources(name).items() if source != sources("wang2024")[path]}
    assert changed == own
    assert changed


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(SpecError, match=r"no chip 'wang2042': did you mean 'wang2024'\?"):
        preset("wang2042")
    with pytest.raises(SpecError, match="did you mean 'wang2024_1bit_cells'"):
        sources("wang2024_1bit_cell")
    with pytest.raises(SpecError, match="Known: wang2024, "):
        describe("")


def test_a_changed_value_no_longer_claims_the_sources_of_the_preset():
    chip = override(preset("wang2024"), {"dense.cell.noise.telegraph_scale": 5.0})
    found = sources_of(chip)
    assert found.pop("dense.cell.noise.telegraph_scale") == Source("ours", "set by the user for this run")
    published = sources("wang2024")
    assert all(source == published[path] for path, source in found.items())
    assert len(found) == len(published) - 1
    own = sources_of(replace(chip, name="mine"))
    assert set(own) == set(leaves(chip))
    assert {source.text for source in own.values()} == {"given by the user's chip file"}


def test_a_source_has_a_known_kind_and_a_text():
    with pytest.raises(ValueError, match="allowed are paper, derived, ours, other work"):
        Source("rumour", "heard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a text"):
        Source("ours", " ")


def test_the_default_tile_is_lossless_by_its_own_arithmetic():
    """64 elements of two resistors, 3 units each: 192 needs 8 magnitude bits."""
    tile = preset("wang2024").tile
    assert (tile.elements, tile.group_elements, tile.numeral.max_digit) == (64, 64, 3)
    assert tile.max_sum == 64 * 3 == 192
    assert 2**7 - 1 < 192 <= 2**8 - 1 == tile.adc.max_code
    assert tile.lossless
    assert not override(preset("wang2024"), {"tile.adc.bits": 7}).tile.lossless
    assert not override(preset("wang2024"), {"tile.adc.step": 2}).tile.lossless


def test_the_two_bit_readings_differ_in_what_they_lose():
    serial, lossy = preset("wang2024_2bit_serial").tile, preset("wang2024_2bit_lossy").tile
    assert serial.adc.bits == lossy.adc.bits == preset("wang2024_2bit_serial").dense.adc_bits == 2
    assert (serial.group_elements, serial.max_sum, serial.adc.max_code) == (1, 3, 3)
    assert serial.lossless
    assert lossy.group_elements == 64
    assert not lossy.lossless


def test_banks_for_bert_large():
    """335,141,888 weights and embeddings (counted below), 4 cells each; vectors take 16 cells a number."""
    hidden, wide, layers = 1024, 4096, 24
    vectors = layers * (4 * hidden + wide + hidden + 4 * hidden) + hidden + 2 * hidden
    matrices = (30522 + 512 + 2) * hidden + layers * (4 * hidden**2 + 2 * hidden * wide) + hidden**2
    assert matrices + vectors == 335_141_888
    chip = preset("wang2024")
    bank = chip.dense.cells
    assert bank == 1024 * 65536
    at_eight_bits = (matrices + vectors) * 8 / chip.dense.cell.bits / bank
    assert round(at_eight_bits, 2) == 19.98
    assert math.ceil(at_eight_bits) == chip.dense_bank_count
    cells = matrices * 4 + vectors * chip.precision.vector_bits // chip.dense.vector_bits_per_cell
    assert round(cells / bank - at_eight_bits, 2) == 0.06
    assert "19.98" in sources("wang2024")["dense_bank_count"].text


def test_read_noise_is_johnson_noise():
    """√(4kTGΔf), k from the SI; the text rounds to two digits, the value up to 0.05 %."""
    chip = preset("wang2024")
    cell, volt = chip.dense.cell, chip.dense.read_voltage_V
    sd_A = math.sqrt(4 * 1.380649e-23 * chip.temperature_K * cell.g_max_S * 50e6)
    assert round(sd_A * 1e9, 1) == 9.1
    range_A = (cell.g_max_S - cell.g_min_S) * volt
    assert round(range_A * 1e6, 1) == 19.8
    assert round(sd_A / range_A * 100, 3) == 0.046
    assert sd_A / range_A <= cell.noise.read_noise <= 1.1 * sd_A / range_A
    assert "9.1 nA" in sources("wang2024")["dense.cell.noise.read_noise"].text


def test_programming_noise_is_a_uniform_acceptance_window():
    """±1 µS on 40 µS, uniform: sd 1/√3 of 1/40; written with three digits."""
    sd = 1 / 40 / math.sqrt(3)
    assert abs(preset("wang2024").dense.cell.noise.programming_noise - sd) < 0.5e-4


def test_environment_noise_is_a_third_of_five_percent():
    assert preset("wang2024").dense.cell.noise.environment_noise == pytest.approx(0.05 / 3, rel=1e-15)
    assert preset("wang2024").tile.environment_noise == 0.05


def test_settling_is_left_to_the_circuit():
    """No preset states a time, and the one that its source tells is the circuit's, to the digits printed."""
    for name in names():
        assert preset(name).tile.settling_time_s == 0.0
    told = re.search(r"([0-9.]+) ns for 128 x 128", sources("wang2024")["tile.settling_time_s"].text)
    assert told is not None
    assert f"{settling_time_s(preset('wang2024').tile) * 1e9:.2f}" == told[1]


def test_seven_level_step_of_the_lossy_reading():
    """Max (1960): the uniform 7-level quantiser of a unit Gaussian has its least mean square at 0.651."""
    normal = NormalDist()

    def mean_square(step: float) -> float:
        # E[(x - q)²] = 1 - 2E[xq] + E[q²]; per cell [a, b] of level q: E[x; a..b] = φ(a) - φ(b)
        total = 1.0
        for level in range(-3, 4):
            low = -math.inf if level == -3 else (level - 0.5) * step
            high = math.inf if level == 3 else (level + 0.5) * step
            mass = (normal.cdf(high) if high < math.inf else 1.0) - (
                normal.cdf(low) if low > -math.inf else 0.0
            )
            density = (normal.pdf(low) if low > -math.inf else 0.0) - (
                normal.pdf(high) if high < math.inf else 0.0
            )
            total += (level * step) ** 2 * mass - 2 * level * step * density
        return total

    best = min((0.0005 * index for index in range(1000, 1600)), key=mean_square)
    assert abs(best - 0.651) <= 0.0005 + 0.0005  # the grid, and the text's third digit
    tile = preset("wang2024_2bit_lossy").tile
    # digits uniform on -3 ... 3 have variance 4, a bit is set every second time
    sd = math.sqrt(tile.group_elements * (2 * (1 + 4 + 9) / 7) / 2)
    assert round(sd, 1) == 11.3
    assert tile.adc.step == round(0.651 * sd) == 7
    assert 2 * tile.adc.max_code + 1 == 7


def test_what_the_table_size_of_the_function_unit_is_said_to_give():
    unit = preset("wang2024").function_unit
    assert (unit.segments, unit.fraction_bits) == (128, 16)
    error = {name: max_error(name, unit) for name in function_names() if name != "relu"}
    assert max(error[name] for name in ("exp", "sigmoid", "reciprocal", "rsqrt")) < 1e-4
    assert max(error[name] for name in ("gelu", "gelu_tanh", "tanh")) < 2e-4
    assert max(error.values()) < 5e-4
    half = replace(unit, segments=64)
    ratios = [max_error(name, half) / error[name] for name in error]
    assert min(ratios) >= 1.6
    assert max(ratios) <= 3.6
    text = sources("wang2024")["function_unit.segments"].text
    assert all(part in text for part in ("1e-4", "2e-4", "5e-4", "1.6 to 3.6"))


def test_cells_of_one_two_and_four_bits_cost_their_bits():
    energy = {preset(n).dense.cell.bits: preset(n).dense.cell.write_energy_J for n in names()}
    assert set(energy) == {1, 2, 4}
    assert energy[2] / energy[1] == pytest.approx(2, rel=1e-12)
    assert energy[4] / energy[1] == pytest.approx(4, rel=1e-12)
