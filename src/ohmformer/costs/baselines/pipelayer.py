"""PipeLayer: spikes instead of converters, 4-bit cells, 16-bit operands."""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.published_crossbar import PublishedCrossbar, published_crossbar
from ohmformer.costs.baselines.weight_stationary import Attention
from ohmformer.costs.component import Level
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import GIGA, MM2, NANO

__all__ = ["PIPELAYER", "pipelayer"]

OPS_PER_S_PER_MM2 = 1485 * GIGA
SPIKE_S = 29.31 * NANO
BITS, LINES, CELL_BITS = 16, 128, 4
# 2 · 128 · 128 operations / (4 cells · 2 signs) every 16 spikes, over the published operations per mm²
ARRAY_AREA_M2 = 2 * LINES**2 / (BITS // CELL_BITS * 2) / (BITS * SPIKE_S) / OPS_PER_S_PER_MM2 * MM2

PIPELAYER = PublishedCrossbar(
    name="pipelayer",
    title="PipeLayer",
    lines=LINES,
    cell_bits=CELL_BITS,
    arrays=2,
    bits=BITS,
    ops_per_J=142.9 * GIGA,
    array_area_m2=ARRAY_AREA_M2,
    row_s=BITS * SPIKE_S,
    write_s=50.88 * NANO,
    scaled=True,
    notes=(
        "Published at 16 bits: 1485 GOPS/mm², 142.9 GOPS/W (82.63 mm² and, implied, 859 W, 10.4 W/mm²); "
        "other widths by cells of a weight and spikes of an activation.",
        "Area of an array derived: its operations per second (29.31 ns a spike) over the published density.",
    ),
    sources=(
        Source(
            "other work",
            "PipeLayer, Song et al., HPCA 2017: 1485 GOPS/mm², 142.9 GOPS/W at 16 bits, read 29.31 ns, write "
            "50.88 ns a spike (from summaries of the paper)",
        ),
    ),
)


def pipelayer(
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """All weights in 4-bit cells; one spike of 29.31 ns per bit of an activation."""
    return published_crossbar(PIPELAYER, program, chip, attention=attention, level=level, library=library)
