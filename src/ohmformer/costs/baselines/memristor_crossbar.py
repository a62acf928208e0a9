"""A traditional memristor accelerator: all weights resident, ISAAC's periphery.

Every weight has its cells; a row of activations is streamed bit by bit, 128 conversions per crossbar and
bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ohmformer.costs.baselines import isaac_table as isaac
from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.digital_mac import MAC_SOURCE
from ohmformer.costs.baselines.weight_stationary import (
    LINES,
    UNIT_SOURCE,
    Attention,
    attention_terms,
    crossbars_of,
    other_words_term,
    own_term,
    pipelined_latency_s,
    traffic,
    wear_note,
    work_of,
)
from ohmformer.costs.component import Level
from ohmformer.costs.converter import converter
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term, sum_of
from ohmformer.ir import Product, Program
from ohmformer.specs import ChipSpec, PrecisionSpec
from ohmformer.units import MILLI, MM2

__all__ = ["MemristorCrossbar", "memristor_crossbar"]

SHARED = ("function units", "function tables", "SRAM buffer")


@dataclass(frozen=True, kw_only=True)
class MemristorCrossbar:
    """Bits of a cell and of the converter: log2(128) + cell bits − 1 with ISAAC's encoding.

    operand_bits: of weights and activations; None: those of the chip it is compared with
    whole_chips:  chips of 168 tiles as published, each with its links and its tiles' own eDRAM, bus and
                  router at their published power, instead of just the tiles needed and the chip's buffer
    """

    name: str
    title: str
    cell_bits: int
    converter_bits: int
    operand_bits: int | None = None
    whole_chips: bool = False

    def cells_per_word(self, bits: int) -> int:
        """Cells of one word."""
        return -(-bits // self.cell_bits)

    def conversions_per_mac(self, weight_bits: int, activation_bits: int) -> float:
        """Cells per word x input bits / 128 rows, full crossbars."""
        return self.cells_per_word(weight_bits) * activation_bits / LINES

    def precision(self, chip: ChipSpec) -> PrecisionSpec:
        """Operands as this accelerator takes them."""
        if self.operand_bits is None:
            return chip.precision
        return replace(chip.precision, weight_bits=self.operand_bits, activation_bits=self.operand_bits)


def _area(kind: MemristorCrossbar, tiles: int, chip: ChipSpec, level: Level) -> list[Term]:
    scale = MM2 * node_factors(chip.node_nm).area
    crossbars = tiles * isaac.CROSSBARS_PER_TILE
    adc = converter(kind.converter_bits)
    terms = [
        own_term(
            "converters",
            "crossbar",
            crossbars,
            adc.area_m2.at(level) * node_factors(chip.node_nm).area,
            "one per crossbar",
            adc.source,
        )
    ]
    terms += [
        own_term(
            block.name,
            "crossbar",
            crossbars,
            block.area_mm2 * scale / isaac.CROSSBARS_PER_IMA,
            "crossbars x ISAAC's share",
            isaac.ISAAC_SOURCE,
        )
        for block in isaac.IMA[1:]
    ]
    terms += [
        own_term(block.name, "tile", tiles, block.area_mm2 * scale, "tiles of 96", isaac.ISAAC_SOURCE)
        for block in isaac.TILE
    ]
    terms.append(
        own_term(
            "links",
            "chip of 168 tiles",
            tiles / isaac.TILES_PER_CHIP,
            isaac.LINKS.area_mm2 * scale,
            "in proportion to tiles",
            isaac.ISAAC_SOURCE,
        )
    )
    return terms


def _energy(kind: MemristorCrossbar, cycles: int, chip: ChipSpec, level: Level) -> list[Term]:
    scale = node_factors(chip.node_nm).energy
    adc = converter(kind.converter_bits)
    terms = [
        own_term(
            "converters",
            "conversion",
            cycles * LINES,
            adc.energy_J.at(level) * scale,
            "batch·rows · crossbars · input bits · 128",
            adc.source,
        )
    ]
    share = MILLI * isaac.CYCLE_S * scale
    blocks = [(block.name, block.power_mW / isaac.CROSSBARS_PER_IMA) for block in isaac.IMA[1:]]
    if kind.whole_chips:
        blocks += [(block.name, block.power_mW / isaac.CROSSBARS_PER_TILE) for block in isaac.TILE]
    terms += [
        own_term(
            name,
            "crossbar cycle",
            cycles,
            power * share,
            "batch·rows · crossbars · input bits; power x 100 ns",
            isaac.ISAAC_SOURCE,
        )
        for name, power in blocks
    ]
    return terms


def memristor_crossbar(
    kind: MemristorCrossbar,
    program: Program,
    chip: ChipSpec,
    *,
    attention: Attention = "digital",
    level: Level = "typical",
    library: Library = LIBRARY,
) -> Baseline:
    """Cost of ``program`` on a weight-stationary accelerator of ``kind``.

    latency: per row activation bits x 100 ns; rows pipelined through consecutive weight products
    energy:  crossbar cycles x ISAAC's power x 100 ns (converters by their own table), functions and digital
             products as on the chip, leakage over the whole area (whole chips: their links' power instead)
    Error:   favours this baseline: no bubbles but those before attention, no imbalance.
    """
    precision = kind.precision(chip)
    cells = kind.cells_per_word(precision.weight_bits)
    operand_cells = kind.cells_per_word(precision.activation_bits)
    work = work_of(program)
    spare = work.spare_crossbars(attention, operand_cells)
    crossbars = sum(crossbars_of(p.inner, p.columns, cells) for p in work.matrices) + spare
    tiles = -(-crossbars // isaac.CROSSBARS_PER_TILE)
    if kind.whole_chips:
        tiles = -(-tiles // isaac.TILES_PER_CHIP) * isaac.TILES_PER_CHIP

    def cycles_of(product: Product) -> int:
        own = cells if product.resident == "weight" else operand_cells
        used = crossbars_of(product.inner, product.columns, own)
        return product.batch * product.rows * used * precision.activation_bits

    on_crossbars = work.weights + (work.between if attention == "written" else ())
    cycles = sum(cycles_of(p) for p in on_crossbars)
    unit_area, unit_energy = attention_terms(
        work, attention, precision, chip.node_nm, operand_cells=operand_cells, cell_bits=kind.cell_bits
    )
    shared = tuple(name for name in SHARED if not (kind.whole_chips and name == "SRAM buffer"))
    area = _area(kind, tiles, chip, level)
    area.append(other_words_term(program, work, chip, precision, library, level))
    area += [t for t in area_terms(chip, chip.dense_bank_count, library, level) if t.component in shared]
    area += unit_area
    latency = pipelined_latency_s(
        program,
        work,
        chip,
        row_s=precision.activation_bits * isaac.CYCLE_S,
        write_s=chip.dense.cell.write_time_s,
        attention=attention,
    )
    moved = traffic(program, chip, precision)
    if kind.whole_chips:
        moved = replace(moved, buffer_bits=0, network_bits=0)
    energy = _energy(kind, cycles, chip, level) + unit_energy
    energy += [t for t in energy_terms(moved, chip, library, level) if t.count]
    chips = tiles / isaac.TILES_PER_CHIP
    if kind.whole_chips:
        energy.append(
            own_term(
                "links",
                "second",
                latency,
                chips * isaac.LINKS.power_mW * MILLI,
                "chips x the power of their links",
                isaac.ISAAC_SOURCE,
            )
        )
    quiet = ("crossbars", "memory for other words", *(("links",) if kind.whole_chips else ()))
    leaking = tuple(t for t in area if t.component not in quiet)
    energy.append(leakage_term(leaking, latency, library, level))
    adc = converter(kind.converter_bits)
    notes = [
        f"{crossbars} crossbars of 128 x 128 in {tiles} tiles ({chips:.2f} chips of 168), "
        f"{cells} cells of {kind.cell_bits} bits a weight, one {kind.converter_bits}-bit converter each.",
        "Rows are pipelined through consecutive weight products without bubbles; attention waits for "
        "all rows. Leakage over the whole area, no block switched off.",
    ]
    notes += wear_note(
        work,
        attention,
        chip,
        operand_cells=operand_cells,
        cell_bits=kind.cell_bits,
        spare_cells=spare * LINES**2,
        latency_s=latency,
    )
    return Baseline(
        name=kind.name if attention == "digital" else f"{kind.name}_written",
        title=kind.title + (", attention written" if attention == "written" else ""),
        basis="model",
        area_m2=sum_of(tuple(area)),
        latency_s=latency,
        energy_J=math.fsum(t.total for t in energy),
        notes=tuple(notes),
        sources=(isaac.ISAAC_SOURCE, adc.source, UNIT_SOURCE, MAC_SOURCE),
        area=tuple(area),
        energy=tuple(energy),
    )
