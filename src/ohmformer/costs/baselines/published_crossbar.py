"""Memristor accelerators of which only rates were published: operations per second, watt and mm².

Their cells, arrays and times per row are published or derived from the rates; nothing smaller is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.digital_mac import MAC_SOURCE
from ohmformer.costs.baselines.weight_stationary import (
    UNIT_SOURCE,
    Attention,
    attention_terms,
    crossbars_of,
    function_traffic,
    other_words_term,
    own_term,
    pipelined_latency_s,
    wear_note,
    work_of,
)
from ohmformer.costs.component import Level
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.library import Library
from ohmformer.costs.report import sum_of
from ohmformer.ir import Product, Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import MM2

__all__ = ["PublishedCrossbar", "published_crossbar"]


@dataclass(frozen=True, kw_only=True)
class PublishedCrossbar:
    """What is known of one design.

    lines:         rows and columns of an array
    cell_bits:     bits of a cell
    arrays:        arrays of a weight's cells (2: positive and negative apart)
    bits:          operand width of the published rates
    ops_per_J:     published, two operations a multiply-accumulate
    array_area_m2: of one array with its share of everything else
    row_s:         time of one row of ``bits``-wide activations in an array
    write_s:       time to write one wordline
    scaled:        rates follow the operand width: cells of a weight, and time per bit of an activation
    """

    name: str
    title: str
    lines: int
    cell_bits: int
    arrays: int
    bits: int
    ops_per_J: float
    array_area_m2: float
    row_s: float
    write_s: float
    scaled: bool
    notes: tuple[str, ...]
    sources: tuple[Source, ...]

    def cells(self, bits: int) -> int:
        """Cells of a word of ``bits`` bits."""
        return -(-bits // self.cell_bits)

    def row_time_s(self, bits: int) -> float:
        """Time of a row of ``bits``-wide activations."""
        return self.row_s * bits / self.bits if self.scaled else self.row_s

    def mac_energy_J(self, weight_bits: int, activation_bits: int) -> float:
        """Energy of a multiply-accumulate: published, in proportion to cells x activation bits."""
        share = self.cells(weight_bits) * activation_bits / (self.cells(self.bits) * self.bits)
        return 2 / self.ops_per_J * (share if self.scaled else 1.0)

    def crossbars(self, product: Product, bits: int) -> int:
        """Arrays that a matrix fills."""
        return self.arrays * crossbars_of(product.inner, product.columns, self.cells(bits), self.lines)

    def ops_per_s_of_array(self) -> float:
        """Operations of a full array per second at the published width."""
        macs = self.lines * (self.lines / self.cells(self.bits)) / self.arrays
        return 2 * macs / self.row_s


def published_crossbar(
    kind: PublishedCrossbar,
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention,
    level: Level,
    library: Library,
) -> Baseline:
    """Cost of ``program`` on as many arrays as hold its weights.

    area:    arrays x their published (or derived) area; digital unit; functions, other words as on the chip
    energy:  macs / published operations per joule; functions as on the chip; leakage of these
    latency: rows pipelined through consecutive weight products, one row per ``row_s``
    Error:   the published node and circuits are taken as they are, unscaled.
    """
    precision = chip.precision
    work = work_of(program)
    operand_cells = kind.cells(precision.activation_bits)
    spare = kind.arrays * work.spare_crossbars(attention, operand_cells, kind.lines)
    arrays = sum(kind.crossbars(p, precision.weight_bits) for p in work.matrices) + spare
    on_arrays = work.weights + (work.between if attention == "written" else ())
    macs = sum(p.macs for p in on_arrays)
    unit_area, unit_energy = attention_terms(
        work, attention, precision, chip.node_nm, operand_cells=operand_cells, cell_bits=kind.cell_bits
    )
    shared = ("function units", "function tables")
    others = [t for t in area_terms(chip, chip.dense_bank_count, library, level) if t.component in shared]
    area = [
        own_term(
            "arrays", "array", arrays, kind.array_area_m2, "arrays that hold the weights", kind.sources[0]
        ),
        other_words_term(program, work, chip, precision, library, level),
        *others,
        *unit_area,
    ]
    latency = pipelined_latency_s(
        program,
        work,
        chip,
        row_s=kind.row_time_s(precision.activation_bits),
        write_s=kind.write_s,
        attention=attention,
    )
    functions = function_traffic(program, chip)
    energy = [
        own_term(
            "arrays",
            "multiply-accumulate",
            macs,
            kind.mac_energy_J(precision.weight_bits, precision.activation_bits),
            "2 / published operations per joule",
            kind.sources[0],
        ),
        *unit_energy,
        *(t for t in energy_terms(functions, chip, library, level) if t.count),
        leakage_term((*others, *unit_area), latency, library, level),
    ]
    busy = macs * 2 / (arrays * kind.ops_per_s_of_array())
    if kind.scaled:
        busy *= (
            kind.cells(precision.weight_bits)
            * precision.activation_bits
            / (kind.cells(kind.bits) * kind.bits)
        )
    whole = sum_of(tuple(area))
    notes = [
        f"{arrays} arrays of {kind.lines} x {kind.lines} hold the weights, "
        f"{kind.cells(precision.weight_bits)} cells of {kind.cell_bits} bits a weight"
        + (", positive and negative apart." if kind.arrays == 2 else "."),
        *kind.notes,
        f"With every array busy, which one sequence cannot do, the products alone would take "
        f"{busy * 1e3:.3g} ms: {whole / MM2 * busy:.3g} mm²·s.",
        *wear_note(
            work,
            attention,
            chip,
            operand_cells=operand_cells,
            cell_bits=kind.cell_bits,
            spare_cells=spare * kind.lines**2,
            latency_s=latency,
        ),
    ]
    return Baseline(
        name=kind.name if attention == "digital" else f"{kind.name}_written",
        title=kind.title + (", attention written" if attention == "written" else ""),
        basis="published rate",
        area_m2=whole,
        latency_s=latency,
        energy_J=math.fsum(t.total for t in energy),
        notes=tuple(notes),
        sources=(*kind.sources, UNIT_SOURCE, MAC_SOURCE),
        area=tuple(area),
        energy=tuple(energy),
    )
