"""All hardware of a chip is Verilog that simulator and synthesiser accept."""

from dataclasses import replace

import pytest

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_chip import RTL_PARTS, chip_layout, chip_module
from ohmformer.emit.simulators.icarus import run
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.specs import preset

CHIP = preset("wang2024")


@pytest.mark.parametrize("part", RTL_PARTS)
def test_every_part_is_elaborated(part):
    """One clock of zeros; whatever depends on registers is still undefined."""
    module = chip_module(CHIP, part)
    seen = run(module, {port.name: [0] for port in module.inputs})
    assert set(seen) == {port.name for port in module.outputs}


def test_a_whole_small_tile_and_a_controller_are_synthesised():
    adc = replace(CHIP.tile.adc, bitlines_per_adc=8)
    tile = replace(CHIP.tile, wordlines=8, active_wordlines=8, bitlines=8, adc=adc)
    small = replace(CHIP, tile=tile, dense=replace(CHIP.dense, secded_data_bits=16))
    layout = chip_layout(small)
    made = synthesise(chip_module(small, "tile_control"))
    digit_lines = layout.tile.elements * layout.digits * (2 + 1)  # two switches and a sign
    assert made.registers >= digit_lines + layout.sum_bits
    assert synthesise(chip_module(small, "dense_control")).registers >= 16


def test_unknown_parts():
    with pytest.raises(EmitError, match="There is no RTL part 'adder': the parts are encoder, shift_add"):
        chip_module(CHIP, "adder")
