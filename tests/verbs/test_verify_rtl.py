"""The rows of the hardware's checks, on chips as they are and on hardware with a fault."""

from dataclasses import replace

import pytest

from ohmformer.emit import rtl_chip
from ohmformer.errors import UserError
from ohmformer.specs import override, preset
from ohmformer.verbs import verify_rtl
from ohmformer.verbs.verify_rtl import rtl_checks

from ..liberty import LIBERTY

CHIP = preset("wang2024")


@pytest.mark.parametrize("name", ["wang2024", "wang2024_4bit_cells"])
def test_the_hardware_of_a_preset_passes(name):
    checks = list(rtl_checks(preset(name), quick=True))
    assert [check.name for check in checks] == [
        "RTL encoder",
        "gates of the encoder",
        "RTL function lanes",
        "integer functions",
        "RTL tile",
        "RTL product",
        "RTL softmax",
        "RTL read controller",
        "RTL error correction",
        "gates of the error correction",
    ]
    assert all(check.passed for check in checks)
    assert [check.cases for check in checks] == [256, 256, 10000, 20000, 16, 3, 16, 32, 1073, 1073]
    assert {check.worst for check in checks if check.unit == verify_rtl.WRONG} == {0.0}


def test_all_words_and_the_gates_of_a_small_tile(monkeypatch):
    monkeypatch.setattr(verify_rtl, "LANES", ("reciprocal",))
    adc = replace(CHIP.tile.adc, bitlines_per_adc=8)
    tile = replace(CHIP.tile, wordlines=8, active_wordlines=8, bitlines=8, adc=adc)
    unit = replace(CHIP.function_unit, segments=8, fraction_bits=8)  # quick to synthesise
    checks = {check.name: check for check in rtl_checks(replace(CHIP, tile=tile, function_unit=unit))}
    assert all(check.passed for check in checks.values())
    assert checks["RTL function lanes"].cases == 2**16
    assert checks["gates of the function lanes"].cases == verify_rtl.QUICK_WORDS
    assert "reciprocal" in checks["gates of the function lanes"].what
    assert checks["integer functions"].cases == 2 * 2**16
    assert checks["gates of the product"].cases == checks["RTL product"].cases == 4 * 2
    assert checks["gates of the softmax"].cases == 16
    assert checks["gates of the read controller"].cases == 32
    assert "gates" in checks["gates of the softmax"].what
    assert checks["gates of the tile"].cases == 1
    assert checks["gates of the tile"].tool.startswith("Yosys 0.")
    assert len(checks) == verify_rtl.RTL_ROWS


@pytest.mark.parametrize("code", ["bits", "digits"])
def test_a_chip_with_wires_is_compared_on_whole_sums(code, monkeypatch):
    """Wires act ahead of the converters: the same hardware, waiting longer, gives the same words."""
    monkeypatch.setattr(verify_rtl, "LANES", ("reciprocal",))
    settings = {
        "tile.resistor.wire_resistance_ohm": 5.0,
        "tile.resistor.unit_resistance_ohm": 1e5,
        "tile.resident_code": code,
    }
    wrong = {check.name: check.worst for check in rtl_checks(override(CHIP, settings), quick=True)}
    assert {name: wrong[name] for name in ("RTL tile", "RTL product", "RTL softmax")} == {
        "RTL tile": 0.0,
        "RTL product": 0.0,
        "RTL softmax": 0.0,
    }


@pytest.mark.parametrize(("weights", "activations"), [(2, 8), (3, 12), (8, 3)])
def test_weights_and_activations_of_different_bits(weights, activations, monkeypatch):
    monkeypatch.setattr(verify_rtl, "LANES", ("reciprocal",))
    bits = {"precision.weight_bits": weights, "precision.activation_bits": activations}
    bits["tile.adc.bitlines_per_adc"] = 5  # parts of outputs on each converter
    checks = list(rtl_checks(override(CHIP, bits), quick=True))
    assert len(checks) == 10
    assert [check.name for check in checks if not check.passed] == []


def test_a_chip_that_waits_for_a_millisecond_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(verify_rtl, "LANES", ("reciprocal",))
    slow = {"tile.settling_time_s": 1e-3, "dense.wordline_time_s": 2e-3}
    checks = {check.name: check for check in rtl_checks(override(CHIP, slow), quick=True)}
    assert all(check.passed for check in checks.values())
    assert "waits of 1000000 clocks cut to 64" in checks["RTL tile"].what
    assert "waits of 2000000 clocks cut to 64" in checks["RTL read controller"].what
    assert sum(check.seconds for check in checks.values()) < 60


def test_a_fault_fails_its_row(monkeypatch):
    whole = rtl_chip.chip_module

    def faulty(chip, part):
        module = whole(chip, part)
        source = module.source.replace("base + wide_planes;", "(base + wide_planes) | 23'd4;")
        source = source.replace("3'd5: switches = {1'd0, 2'd2}", "3'd5: switches = {1'd1, 2'd2}")
        return replace(module, whole=source)

    monkeypatch.setattr(verify_rtl, "chip_module", faulty)
    passed = {check.name: check.passed for check in rtl_checks(CHIP, quick=True)}
    assert [name for name, good in passed.items() if not good] == [
        "RTL encoder",
        "gates of the encoder",
        "RTL tile",
    ]


@pytest.mark.parametrize("data_bits", [0, 24, 64])
def test_a_controller_reads_what_the_dense_crossbar_does(data_bits):
    chip = replace(CHIP, dense=replace(CHIP.dense, secded_data_bits=data_bits))
    module = verify_rtl.chip_module(chip, "dense_control")
    found = verify_rtl._reads(chip, module, 0)
    assert found.worst == 0
    assert (found.cases > 32) == (data_bits > 0)
    body = module.body.replace("n0_0, ", "n0_1, ").replace(", n0_0}", ", n0_1}")
    assert body != module.body
    assert verify_rtl._reads(chip, replace(module, body=body), 0).worst > 0


def test_a_wrong_gate_of_a_lane_is_seen(monkeypatch):
    monkeypatch.setattr(verify_rtl, "LANES", ("reciprocal",))
    unit = replace(CHIP.function_unit, segments=8, fraction_bits=8)
    whole = verify_rtl.yosys.synthesise

    def faulty(module, **settings):
        made = whole(module, **settings)
        whole_text = made.netlist.source
        place = whole_text.rindex(" | ")
        source = whole_text[:place] + " & " + whole_text[place + 3 :]
        return replace(made, netlist=replace(made.netlist, whole=source))

    assert verify_rtl._lane_gates(replace(CHIP, function_unit=unit), "gates", 0, None).passed
    monkeypatch.setattr(verify_rtl.yosys, "synthesise", faulty)
    assert not verify_rtl._lane_gates(replace(CHIP, function_unit=unit), "gates", 0, None).passed


def test_gates_may_be_cells_of_a_liberty_file(monkeypatch, tmp_path):
    """Simulated as their functions in the file say."""
    (tmp_path / "cells.lib").write_text(LIBERTY)
    checks = {check.name: check for check in rtl_checks(CHIP, quick=True, liberty=tmp_path / "cells.lib")}
    assert all(check.passed for check in checks.values())
    assert "of the file's units of area" in checks["gates of the encoder"].what


def test_a_missing_tool_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="iverilog is not installed: Debian package iverilog brings it"):
        next(rtl_checks(CHIP))
