"""Traditional crossbar of 2-bit cells (ISAAC's choice): 8-bit converters."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.memristor_crossbar import MemristorCrossbar, memristor_crossbar
from ohmformer.costs.baselines.weight_stationary import Attention
from ohmformer.costs.component import Level
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["MULTI_BIT", "multi_bit_crossbar"]

# 7 + 2 bits for 128 rows of 2-bit cells and 1-bit inputs, one less by ISAAC's encoding
MULTI_BIT = MemristorCrossbar(
    name="multi_bit_crossbar", title="memristor crossbar, 2-bit cells", cell_bits=2, converter_bits=8
)


def multi_bit_crossbar(
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """All weights in 2-bit cells; 0.25 conversions per 8-bit multiply-accumulate."""
    return memristor_crossbar(MULTI_BIT, program, chip, attention=attention, level=level, library=library)
