"""A part of a chip's hardware as text: Verilog, gates, or cells of a liberty file."""

from __future__ import annotations

import os

from ohmformer.emit import chip_module, chip_product, gate_area_m2, product_control
from ohmformer.emit.simulators.yosys import Synthesis, check_liberty, synthesise
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec
from ohmformer.units import UM2

__all__ = ["hardware_text", "what_it_takes"]


def hardware_text(
    chip: ChipSpec,
    part: str,
    *,
    inner: int | None = None,
    columns: int | None = None,
    gates: bool = False,
    liberty: str | os.PathLike[str] | None = None,
) -> tuple[str, str]:
    """Verilog of one part, and what its gates take (an empty text without gates).

    inner, columns: of the matrix, for ``product_control``; two tiles along either axis without
    gates:          a netlist of generic gates instead of RTL
    liberty:        a netlist of the cells of this file
    """
    if part != "product_control" and (inner, columns) != (None, None):
        raise UserError(f"--inner and --columns belong to product_control: {part} has no matrix.")
    if liberty is not None:
        check_liberty(liberty)
    if part == "product_control":
        module = product_control(chip_product(chip, inner, columns), chip.clock_Hz)
    else:
        module = chip_module(chip, part)
    if not gates and liberty is None:
        return module.source, ""
    made = synthesise(module, liberty=liberty)
    return made.mapped, f" ({what_it_takes(made)})"


def what_it_takes(made: Synthesis) -> str:
    """Cells, flip-flops and area of a netlist as a text; generic gates as cells of 45 nm."""
    if made.area is None:
        return f"{made.total} gates, {gate_area_m2(made.cells) / UM2:.0f} µm² at 45 nm"
    return f"{made.total} cells, {made.area:.0f} of the file's units of area"
