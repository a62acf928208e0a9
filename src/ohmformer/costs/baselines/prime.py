"""PRIME: computation in the mats of a memristor main memory, 4-bit cells, operands of 8 bits."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.published_crossbar import PublishedCrossbar, published_crossbar
from ohmformer.costs.baselines.weight_stationary import Attention
from ohmformer.costs.component import Level
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import MM2, NANO, TERA

__all__ = ["ARRAY_ROW_S", "PRIME", "prime"]

OPS_PER_S_PER_MM2 = 1.23 * TERA
LINES, CELL_BITS, BITS = 256, 4, 8
NODE_M = 65 * NANO
# a mat of 4 F² cells at 50 % array efficiency, 60 % larger for computing
ARRAY_AREA_M2 = LINES**2 * 4 * NODE_M**2 / 0.5 * 1.6
# 2 · 256 · 256 operations / (2 cells · 2 signs), at the published operations per mm²
ARRAY_ROW_S = 2 * LINES**2 / (BITS // CELL_BITS * 2) / (OPS_PER_S_PER_MM2 * ARRAY_AREA_M2 / MM2)

PRIME = PublishedCrossbar(
    name="prime",
    title="PRIME",
    lines=LINES,
    cell_bits=CELL_BITS,
    arrays=2,
    bits=BITS,
    ops_per_J=2.10 * TERA,
    array_area_m2=ARRAY_AREA_M2,
    row_s=ARRAY_ROW_S,
    write_s=50 * NANO,
    scaled=True,
    notes=(
        "Published by others who re-evaluated it: 1.23 TOPS/mm², 2.10 TOPS/W at 8 bits; not by its authors.",
        f"A mat of 256 x 256 cells of 4 F² at 65 nm and 50 % array efficiency, 60 % larger for computing "
        f"(published), makes {ARRAY_AREA_M2 / MM2 * 1e6:.0f} µm²; at that density a row then takes "
        f"{ARRAY_ROW_S / NANO / 1e3:.1f} µs: slow arrays, because a memory's mats are dense. Node, cell "
        "area and efficiency are ours.",
    ),
    sources=(
        Source(
            "other work",
            "PRIME, Chi et al., ISCA 2016 (mats of 256 x 256 4-bit cells, 60 % larger for computing); rates "
            "as in the comparison of PipeLayer, HPCA 2017 (from summaries)",
        ),
        Source("ours", "4 F² cells at 65 nm and 50 % array efficiency; a write of 50 ns"),
    ),
)


def prime(
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """All weights in 4-bit cells of a memory's mats, at the published rates."""
    return published_crossbar(PRIME, program, chip, attention=attention, level=level, library=library)
