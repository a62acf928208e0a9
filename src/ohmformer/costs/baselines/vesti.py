"""Vesti: in-memory computing in SRAM, 65 nm, binary weights, brought to 8 bits and to the chip's node.

Published are two energies per classification. Everything else is ours: size, time and the way to 8 bits.
"""

from __future__ import annotations

import math

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.digital_mac import (
    DENSE_COMPONENTS,
    SHARED_COMPONENTS,
    tile_area_m2,
    traffic_of_arrays,
)
from ohmformer.costs.baselines.weight_stationary import own_term
from ohmformer.costs.component import Level
from ohmformer.costs.converter import TABLE_RATE_HZ, converter
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.estimate import estimate
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.nodes import NODE_SOURCE, node_factors
from ohmformer.costs.report import CostReport, sum_of
from ohmformer.costs.timing import step_time, steps
from ohmformer.ir import Product, Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import MICRO

__all__ = ["ENERGY_PER_BIT_MAC_J", "vesti"]

ROWS, COLUMNS = 256, 64
CONVERTER_BITS = 4
CIFAR_J = 40 * MICRO
CIFAR_MACS = 617e6
ENERGY_PER_BIT_MAC_J = CIFAR_J / CIFAR_MACS  # at 65 nm, weights of one bit
SOURCE = Source(
    "other work",
    "Vesti, Yin et al., IEEE TVLSI 28 (2020): 65 nm, below 40 µJ for a CIFAR-10 classification at 1.0 V "
    "(abstract); 617 M multiply-accumulates of a binary VGG (recalled)",
)
SIZE_SOURCE = Source(
    "ours",
    "arrays of 256 x 64 cells of twelve transistors (two 6T cells each), one 4-bit flash converter an array, "
    "as in its XNOR-SRAM (recalled); as many arrays as fit the area of the chip's tiles",
)


def _array_time_s(product: Product, arrays: int, chip: ChipSpec) -> float:
    """Time of the fullest array: one conversion per column and bit of an activation, 256 rows at once."""
    bits, words = chip.precision.activation_bits, COLUMNS // chip.precision.weight_bits
    blocks = -(-product.inner // ROWS) * -(-product.columns // words) * product.batch
    return -(-blocks * product.rows // arrays) * bits * COLUMNS / TABLE_RATE_HZ


def vesti(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    report: CostReport | None = None,
) -> Baseline:
    """The chip with its tiles replaced by SRAM arrays of the same area that multiply bit by bit.

    report:  the chip's own estimate, if at hand
    energy:  weight bits · activation bits · published energy of a binary multiply-accumulate, scaled to the
             node; memory, functions and traffic as on the chip
    latency: 64 conversions per array and bit of an activation; operands of attention are written to SRAM as
             weights are, hidden by double buffering
    Error:   lossy (4-bit conversion of 256 rows): says nothing about accuracy. The published energy contains
             its own memory traffic, so some of it counts twice.
    """
    report = report or estimate(program, chip, level=level, library=library)
    factors = node_factors(chip.node_nm)
    scale = factors.energy / node_factors(65.0).energy
    cells = 2 * library.latch.area_m2.typical * ROWS * COLUMNS
    each = (cells + converter(CONVERTER_BITS).area_m2.at(level)) * factors.area
    arrays = max(1, int(tile_area_m2(report) / each))
    bits = chip.precision.weight_bits * chip.precision.activation_bits
    area = [
        own_term("SRAM arrays", "array", arrays, each, "as many as fit the area of the tiles", SIZE_SOURCE)
    ]
    area += [t for t in report.area if t.component in SHARED_COMPONENTS + DENSE_COMPONENTS]
    energy = [
        own_term(
            "SRAM arrays",
            "multiply-accumulate",
            report.counts.macs,
            bits * ENERGY_PER_BIT_MAC_J * scale,
            "weight bits · activation bits · published energy of a binary one, from 65 nm",
            SOURCE,
        )
    ]
    moved = traffic_of_arrays(program, chip, report.counts, dense=True)
    energy += [t for t in energy_terms(moved, chip, library, level) if t.count]
    latency = 0.0
    for step, times in steps(program).items():
        busy = step_time(step, chip, library).busy_s
        work = _array_time_s(step.product, arrays, chip) if step.product else 0.0
        latency += times * max(work, busy["functions"], busy["buffer"], busy["dense reads"])
    energy.append(leakage_term(tuple(area), latency, library, level))
    return Baseline(
        name="vesti",
        title="Vesti (SRAM in-memory)",
        basis="published rate",
        area_m2=sum_of(tuple(area)),
        latency_s=latency,
        energy_J=math.fsum(t.total for t in energy),
        notes=(
            f"{arrays} arrays of 256 x 64 binary cells in the area of the chip's tiles; from the published "
            f"energy at 65 nm {ENERGY_PER_BIT_MAC_J * 1e15:.0f} fJ a binary multiply-accumulate, times "
            f"{scale:.2f} to the node, times {bits} bit products.",
            "Time and area are ours: one conversion at 1.28 GS/s per column and bit. Operands of attention "
            "are written to SRAM as weights are. Lossy conversions: accuracy is another matter.",
        ),
        sources=(SOURCE, SIZE_SOURCE, NODE_SOURCE),
        area=tuple(area),
        energy=tuple(energy),
    )
