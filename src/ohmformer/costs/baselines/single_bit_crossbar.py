"""Traditional crossbar of 1-bit cells: 7-bit converters, twice the crossbars."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.memristor_crossbar import MemristorCrossbar, memristor_crossbar
from ohmformer.costs.baselines.weight_stationary import Attention
from ohmformer.costs.component import Level
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["SINGLE_BIT", "single_bit_crossbar"]

# 7 + 1 bits for 128 rows of 1-bit cells and 1-bit inputs, one less by ISAAC's encoding
SINGLE_BIT = MemristorCrossbar(
    name="single_bit_crossbar", title="memristor crossbar, 1-bit cells", cell_bits=1, converter_bits=7
)


def single_bit_crossbar(
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """All weights in 1-bit cells; 0.5 conversions per 8-bit multiply-accumulate."""
    return memristor_crossbar(SINGLE_BIT, program, chip, attention=attention, level=level, library=library)
