"""Gates of the digital blocks of a chip, and the area that a cited cell library gives them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_dense import corrector
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators.yosys import Synthesis, synthesise
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import UM2

__all__ = ["CELL_SOURCE", "BlockGates", "NODE_nm", "block_gates", "digital_blocks", "gate_area_m2"]

NODE_nm = 45.0
CELL_SOURCE = Source(
    "other work",
    "NanGate FreePDK45 Open Cell Library, cells of drive X1: sites of .19 x 1.4 µm² = .266 µm², INV 2 of "
    "them, NAND2 and NOR2 3, AND2, OR2, AOI21 and OAI21 4, AOI22 and OAI22 5, XOR2 and XNOR2 6, MUX2 7, DFF "
    "17; from memory but for INV, NAND2 and DFF. An enabled flip-flop is counted as a DFF and a MUX2, one "
    "with a synchronous reset as a DFF and an AND2",
)
_SITE_um2 = 0.266
_SITES = {
    "$_NOT_": 2,
    "$_NAND_": 3,
    "$_NOR_": 3,
    "$_AND_": 4,
    "$_OR_": 4,
    "$_AOI3_": 4,
    "$_OAI3_": 4,
    "$_AOI4_": 5,
    "$_OAI4_": 5,
    "$_XOR_": 6,
    "$_XNOR_": 6,
    "$_MUX_": 7,
}
_FLIP_FLOPS = {
    "$_DFF_": 17,
    "$_DFFE_": 17 + 7,
    "$_SDFF_": 17 + 4,
    "$_SDFFE_": 17 + 7 + 4,
    "$_SDFFCE_": 17 + 11,
}


@dataclass(frozen=True, kw_only=True)
class BlockGates:
    """One block: what it is, its cells, and its area at 45 nm from the cells' areas (m²)."""

    name: str
    what: str
    synthesis: Synthesis
    area_m2: float


def gate_area_m2(cells: dict[str, int]) -> float:
    """Area of generic gates at 45 nm, each as the cell of ``CELL_SOURCE`` that does the same; no wiring.

    A placed and routed block fills 70 to 80 % of its floor; that is not in it.
    """
    sites = 0
    for kind, count in cells.items():
        stem = kind.split("_P")[0].split("_N")[0] + "_" if "DFF" in kind else kind
        each = _SITES.get(kind, _FLIP_FLOPS.get(stem))
        if each is None:
            raise EmitError(f"No area is known for the gate {kind}: yosys was to use none of that kind.")
        sites += each * count
    return sites * _SITE_um2 * UM2


def digital_blocks(chip: ChipSpec) -> dict[str, tuple[str, RtlModule]]:
    """Blocks of a chip by name: what each is, and its RTL."""
    precision, unit = chip.precision, chip.function_unit
    layout = TileLayout(
        tile=chip.tile,
        streamed_bits=precision.activation_bits,
        resident_bits=precision.weight_bits,
        word_bits=chip.buffer.word_bits,
    )
    numeral = chip.tile.numeral
    blocks = {
        "encoder": (
            f"{precision.activation_bits} bits to {layout.digits} digits of base {numeral.radix}",
            encoder(numeral, precision.activation_bits),
        ),
        "shift_add": (
            f"{layout.code_bits}-bit codes to one word of {layout.sum_bits} bits",
            shift_add(layout, outputs=1),
        ),
        "shift_add, all words": (f"the same with {layout.outputs} words", shift_add(layout)),
    }
    for name in ("exp", "reciprocal", "rsqrt", "gelu", "silu"):
        core = FixedPointFunction(name=name, unit=unit)
        blocks[name] = (f"{unit.segments} segments, {core.position_bits} position bits", function_lane(core))
    blocks["corrector"] = ("64 data bits, 8 check bits", corrector(64))
    return blocks


def block_gates(
    chip: ChipSpec, names: tuple[str, ...] | None = None, *, liberty: str | os.PathLike[str] | None = None
) -> list[BlockGates]:
    """Synthesise the blocks of a chip.

    names:   of ``digital_blocks``; None: all
    liberty: cells to map to instead of generic gates; the area is then theirs, taken as µm²
    """
    blocks = digital_blocks(chip)
    found = []
    for name in names or tuple(blocks):
        if name not in blocks:
            raise EmitError(f"There is no block {name!r}: the blocks are {', '.join(blocks)}.")
        what, module = blocks[name]
        made = synthesise(module, liberty=liberty)
        area = gate_area_m2(made.cells) if made.area is None else made.area * UM2
        found.append(BlockGates(name=name, what=what, synthesis=made, area_m2=area))
    return found
