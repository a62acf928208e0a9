"""Paths, overrides, differences, the ideal copy, and files."""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from ohmformer.errors import UserError
from ohmformer.specs import (
    SpecError,
    differences,
    from_yaml,
    ideal,
    leaves,
    names,
    override,
    parse_settings,
    preset,
    read_chip,
    to_yaml,
    without_noise,
    write_chip,
)

CHIP = preset("wang2024")

FIELDS = {
    "name": st.text(min_size=1).filter(lambda text: bool(text.strip()) and text.isprintable()),
    "node_nm": st.floats(5, 180),
    "clock_Hz": st.floats(1e-300, 1e300),
    "tile_count": st.integers(1, 1 << 26),
    "precision.activation_scale": st.sampled_from(["per_token", "per_tensor"]),
    "dense.gray": st.booleans(),
    "dense.cell.endurance_writes": st.floats(1, 1e15),
    "dense.cell.noise.read_noise": st.floats(0, 1),
    "dense.cell.noise.telegraph_scale": st.floats(0, 1000),
    "tile.environment_noise": st.floats(0, 1000),
    "tile.adc.nonlinearity": st.floats(0, 255 / 4),
    "tile.resistor.wire_resistance_ohm": st.floats(0, 1e6),
    "dense.secded_data_bits": st.integers(0, 1024),
    "tile.adc.rounding": st.sampled_from(["half_even", "half_up", "floor"]),
    "tile.numeral.radix": st.integers(1, 64).map(lambda half: 2 * half + 1),
}


@pytest.mark.parametrize("name", names())
def test_every_preset_survives_a_file(name, tmp_path):
    path = write_chip(tmp_path / "chip.yaml", preset(name))
    assert read_chip(path, preset) == preset(name)


@given(st.fixed_dictionaries({}, optional=FIELDS))
@settings(max_examples=60)
def test_any_changed_chip_survives_yaml_exactly(changes):
    chip = override(CHIP, changes)
    back = from_yaml(to_yaml(chip), preset)
    assert back == chip
    assert {path: type(value) for path, value in leaves(back).items()} == {
        path: type(value) for path, value in leaves(chip).items()
    }
    for path, value in changes.items():
        assert leaves(back)[path] == value


@pytest.mark.parametrize(
    "name", ["1e3", "7", "1_0", "null", "yes", "- a", "a: b", "ünï", "0x1F", "%", "# a", "…"]
)
def test_a_name_that_looks_like_something_else_stays_a_name(name, tmp_path):
    chip = dataclasses.replace(CHIP, name=name)
    assert read_chip(write_chip(tmp_path / "chip.yaml", chip), preset).name == name


def test_a_partial_file_changes_its_base_only_where_it_speaks():
    text = "base: wang2024_1bit_cells\nname: mine\ndense:\n  cell:\n    noise: {read_noise: 1e-3}\n"
    text += "tile_count: 7\n"
    chip = from_yaml(text, preset)
    assert differences(preset("wang2024_1bit_cells"), chip) == {
        "name": ("wang2024_1bit_cells", "mine"),
        "tile_count": (20480, 7),
        "dense.cell.noise.read_noise": (0.0005, 0.001),
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("base: wang2042\n", "did you mean 'wang2024'"),
        ("base: wang2024\ntile_cuont: 3\n", "no field 'tile_cuont': did you mean 'tile_count'"),
        ("base: wang2024\ndense: {cell: {bit: 1}}\n", "no field 'dense.cell.bit': did you mean 'bits'"),
        ("base: wang2024\ndense: 3\n", "dense is 3: it must be a group of fields"),
        ("base: wang2024\ntile_count: 2.5\n", "tile_count is 2.5: it must be a whole number"),
        ("base: wang2024\ntile_count: true\n", "tile_count is True: it must be a whole number"),
        ("base: wang2024\nclock_Hz: fast\n", "clock_Hz is 'fast': it must be a number"),
        ("base: wang2024\nclock_Hz: .inf\n", "finite number"),
        ("base: wang2024\nclock_Hz: 1" + 400 * "0" + "\n", "it must be a number"),
        ("base: wang2024\ndense: {gray: 1}\n", "true or false"),
        ("base: wang2024\nname: [a]\n", "it must be a word"),
        ("base: wang2024\n1: 2\n", "no field '1'"),
        ("base: wang2024\nclock_Hz: 2020-01-01\n", "it must be a number"),
        ("name: mine\n", "The field 'node_nm' is missing"),
        ("ohmformer_chip: 3\nbase: wang2024\n", "schema version 3: this program reads versions 1 and 2"),
        ("ohmformer_chip: true\nbase: wang2024\n", "schema version True"),
        ("ohmformer_chip: 1\ntile: {adc: 3}\n", "The field 'name' is missing"),
        ("ohmformer_chip: 1\ndense: 3\n", "The field 'name' is missing"),
        ("- a\n- b\n", "must hold named fields"),
        ("", "must hold named fields"),
        ("a: [\n", r"not readable YAML (line 2)"),
        ("base: wang2024\nname: !!python/object:os.system {}\n", "not readable YAML"),
        ("base: wang2024\ndense: &a {cell: *a}\n", "no field 'dense.cell.cell'"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_file(text, part, tmp_path):
    path = tmp_path / "my chip.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_chip(path, preset)
    assert part in str(caught.value)
    assert "my chip.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read the chip file .*absent.yaml: No such file"):
        read_chip(tmp_path / "absent.yaml", preset)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_chip(tmp_path / "binary.yaml", preset)


def test_writing_leaves_nothing_half_written(tmp_path):
    with pytest.raises(UserError, match="Cannot write"):
        write_chip(tmp_path / "absent" / "chip.yaml", CHIP)
    write_chip(tmp_path / "chip.yaml", CHIP)
    assert [path.name for path in tmp_path.iterdir()] == ["chip.yaml"]


def test_leaves_are_all_fields_by_their_path():
    paths = leaves(CHIP)
    tree = dataclasses.asdict(CHIP)

    def count(node: object) -> int:
        return sum(count(value) for value in node.values()) if isinstance(node, dict) else 1

    assert len(paths) == count(tree)
    assert paths["dense.cell.noise.telegraph_at_g_max"] == CHIP.dense.cell.noise.telegraph_at_g_max
    assert paths["name"] == "wang2024"


def test_override_changes_all_at_once_and_leaves_the_original():
    before = leaves(CHIP)
    changed = override(CHIP, {"dense.cell.bits": 4, "dense.adc_bits": 4, "tile_count": 3})
    assert leaves(CHIP) == before
    assert differences(CHIP, changed) == {
        "tile_count": (20480, 3),
        "dense.adc_bits": (2, 4),
        "dense.cell.bits": (2, 4),
    }
    assert differences(CHIP, CHIP) == {}


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("dense.cell.bit", "dense.cell.bits"),
        ("cell.telegraph_scale", "dense.cell.noise.telegraph_scale"),
        ("tile.adc.roundng", "tile.adc.rounding"),
        ("dense.cell", "dense.cell.bits"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_path(path, nearest):
    with pytest.raises(SpecError, match=rf"no field '{path}' in a chip: did you mean '{nearest}"):
        override(CHIP, {path: 1})


def test_settings_are_read_as_yaml_values():
    assert parse_settings(["a=1", "b = 1e-3", "c=true", "d=per_tensor", "e=0.5", "a=2"]) == {
        "a": 2,
        "b": 0.001,
        "c": True,
        "d": "per_tensor",
        "e": 0.5,
    }
    assert type(parse_settings(["a=1"])["a"]) is int


@pytest.mark.parametrize("setting", ["a", "a=", "=1", "a=[1, 2]", "a={", "a=null", ""])
def test_a_setting_of_another_form_is_refused(setting):
    with pytest.raises(SpecError):
        parse_settings([setting])


NOISY = {
    "dense.cell.noise.stuck_low_rate": 0.1,
    "dense.cell.noise.stuck_high_rate": 0.1,
    "dense.cell.noise.drift_time_ratio": 10.0,
    "tile.resistor.wire_resistance_ohm": 2.0,
    "tile.adc.nonlinearity": 0.25,
}


@pytest.mark.parametrize("name", names())
def test_without_noise_switches_off_every_disturbance_and_nothing_else(name):
    chip = override(preset(name), NOISY)
    quiet = without_noise(chip)
    noise, tile = quiet.dense.cell.noise, quiet.tile
    assert noise.programming_noise == noise.environment_noise == noise.read_noise == 0
    assert noise.telegraph_scale == noise.drift_exponent == 0
    assert noise.stuck_low_rate == noise.stuck_high_rate == 0
    assert tile.environment_noise == tile.resistor.mismatch == tile.adc.noise == 0
    assert tile.resistor.wire_resistance_ohm == tile.adc.nonlinearity == 0
    assert all(value == 0 for value in (change[1] for change in differences(chip, quiet).values()))
    assert (tile.adc.bits, tile.adc.step) == (chip.tile.adc.bits, chip.tile.adc.step)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("radix", "wordlines"), [(3, 128), (7, 128), (15, 256), (257, 128)])
def test_ideal_is_lossless_and_no_wider_than_it_must_be(name, radix, wordlines):
    active = preset(name).tile.active_wordlines if radix == 7 else wordlines
    changes = {"tile.numeral.radix": radix, "tile.wordlines": wordlines, "tile.active_wordlines": active}
    chip = override(preset(name), changes)
    perfect = ideal(chip)
    assert perfect.tile.lossless
    assert without_noise(perfect) == perfect
    assert ideal(perfect) == perfect
    if not chip.tile.lossless:
        narrower = override(perfect, {"tile.adc.bits": perfect.tile.adc.bits - 1})
        assert not narrower.tile.lossless
    else:
        assert perfect.tile.adc.bits == chip.tile.adc.bits


def test_yaml_text_is_plain_and_carries_its_version():
    tree = yaml.safe_load(to_yaml(CHIP))
    assert tree.pop("ohmformer_chip") == 2
    assert tree == dataclasses.asdict(CHIP)


ADDED_AFTER_1 = {
    "dense.secded_data_bits": 64,
    "tile.resistor.wire_resistance_ohm": 2.0,
    "tile.adc.nonlinearity": 0.25,
}


def _of_version(tree, version, without):
    for path in without:
        *groups, last = path.split(".")
        node = tree
        for group in groups:
            node = node[group]
        del node[last]
    return yaml.safe_dump({"ohmformer_chip": version, **tree})


def test_a_file_of_version_1_has_what_it_did_not_know_switched_off():
    """Version 1 described chips without wires, nonlinearity and check bits: it still means them."""
    chip = override(CHIP, {**ADDED_AFTER_1, "tile_count": 9})
    old = from_yaml(_of_version(dataclasses.asdict(chip), 1, ADDED_AFTER_1), preset)
    assert old == override(CHIP, {"tile_count": 9})  # the preset has the three at 0
    assert from_yaml(_of_version(dataclasses.asdict(chip), 1, ()), preset) == chip
    for path in ADDED_AFTER_1:
        with pytest.raises(SpecError, match=f"'{path}' is missing"):
            from_yaml(_of_version(dataclasses.asdict(chip), 2, [path]), preset)
