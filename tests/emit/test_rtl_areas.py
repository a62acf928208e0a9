"""Gate counts of the digital blocks, their areas, and the frozen file beside the cost library."""

import json
from importlib.resources import files

import pytest

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_areas import CELL_SOURCE, block_gates, digital_blocks, gate_area_m2
from ohmformer.specs import preset

from ..liberty import LIBERTY

CHIP = preset("wang2024")
FROZEN = json.loads((files("ohmformer.costs") / "rtl_gates.json").read_text())


def test_areas_are_sums_of_cells():
    # 2 NAND2 of .798, an inverter of .532, a flip-flop of 4.522 µm², one with an enable: and a MUX2 of 1.862
    cells = {"$_NAND_": 2, "$_NOT_": 1, "$_DFF_P_": 1, "$_DFFE_PP_": 1}
    assert gate_area_m2(cells) == pytest.approx((2 * 0.798 + 0.532 + 2 * 4.522 + 1.862) * 1e-12, rel=1e-12)
    assert gate_area_m2({"$_SDFF_PP0_": 1}) == pytest.approx((4.522 + 1.064) * 1e-12, rel=1e-12)
    with pytest.raises(EmitError, match="No area is known for the gate NAND3"):
        gate_area_m2({"NAND3": 1})


def test_the_frozen_counts_are_those_of_a_new_synthesis():
    names = ("encoder", "shift_add", "reciprocal")
    assert set(FROZEN["blocks"]) == set(digital_blocks(CHIP))
    for block in block_gates(CHIP, names):
        kept = FROZEN["blocks"][block.name]
        assert gate_area_m2(kept["cells"]) * 1e12 == pytest.approx(kept["area_um2"], abs=5e-4)  # its rounding
        if block.synthesis.tool == FROZEN["tool"]:
            assert block.synthesis.cells == kept["cells"]
        else:  # another yosys maps otherwise, but not to half or double
            assert 0.5 < block.synthesis.total / sum(kept["cells"].values()) < 2
    assert FROZEN["cell_source"] == CELL_SOURCE.text


def test_liberty_files_are_used(tmp_path):
    (tmp_path / "cells.lib").write_text(LIBERTY)
    (block,) = block_gates(CHIP, ("encoder",), liberty=tmp_path / "cells.lib")
    cells = block.synthesis.cells
    # printed with six decimals of a µm²
    assert block.area_m2 == pytest.approx((0.5 * cells["INV"] + 0.8 * cells["NAND"]) * 1e-12, abs=1e-18)


def test_unknown_blocks():
    with pytest.raises(EmitError, match="There is no block 'adder': the blocks are encoder, shift_add"):
        block_gates(CHIP, ("adder",))
