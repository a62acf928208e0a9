"""ISAAC as published: whole chips of 168 tiles, 16-bit operands, its own eDRAM, bus, router and links."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.memristor_crossbar import MemristorCrossbar, memristor_crossbar
from ohmformer.costs.baselines.weight_stationary import Attention
from ohmformer.costs.component import Level
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["ISAAC", "isaac"]

ISAAC = MemristorCrossbar(
    name="isaac",
    title="ISAAC, 16 bits, whole chips",
    cell_bits=2,
    converter_bits=8,
    operand_bits=16,
    whole_chips=True,
)


def isaac(
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """All weights in 8 cells of 2 bits; 16 cycles of 100 ns a row. At 8 bits: ``multi_bit_crossbar``."""
    return memristor_crossbar(ISAAC, program, chip, attention=attention, level=level, library=library)
