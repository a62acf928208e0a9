"""A traditional memristor accelerator: all weights resident, ISAAC's periphery.

Every weight has its cells; a row of activations is streamed bit by bit, 128 conversions per crossbar and
bit. Products between activations have no resident operand: a digital unit does them, or they are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ohmformer.costs.baselines import isaac_table as isaac
from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.baselines.digital_mac import MAC_SOURCE, mac_area_m2, mac_energy_J
from ohmformer.costs.component import Level
from ohmformer.costs.converter import converter
from ohmformer.costs.counts import Counts, dense_symbols, function_counts, total
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term, sum_of
from ohmformer.ir import FunctionCall, Product, Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import GIGA, MILLI, MM2, NANO, PICO

__all__ = ["Attention", "MemristorCrossbar", "crossbars_of", "memristor_crossbar"]

Attention = Literal["digital", "written"]
LINES = 128
DIGITAL_UNITS = 16384
UNIT_SOURCE = Source(
    "ours", f"{DIGITAL_UNITS} units (one 128 x 128 array) at 1 GHz for the products between activations"
)


@dataclass(frozen=True, kw_only=True)
class MemristorCrossbar:
    """Bits of a cell and of the converter: log2(128) + cell bits − 1 with ISAAC's encoding."""

    name: str
    title: str
    cell_bits: int
    converter_bits: int

    def cells_per_word(self, bits: int) -> int:
        """Cells of one word."""
        return -(-bits // self.cell_bits)

    def conversions_per_mac(self, weight_bits: int, activation_bits: int) -> float:
        """Cells per word x input bits / 128 rows, full crossbars."""
        return self.cells_per_word(weight_bits) * activation_bits / LINES


def crossbars_of(inner: int, columns: int, cells: int) -> int:
    """128 x 128 crossbars of one matrix: ceil(inner / 128) · ceil(columns · cells / 128)."""
    return -(-inner // LINES) * -(-columns * cells // LINES)


def _latency_s(program: Program, chip: ChipSpec, attention: Attention) -> float:
    """Rows flow through consecutive weight products like a pipeline; products between activations of several
    rows stop it, since they need all of them."""
    cycle = chip.precision.activation_bits * isaac.CYCLE_S
    lanes = chip.function_unit_count * chip.function_unit.lanes * chip.function_unit.clock_Hz
    seconds, rows, stages, functions, unit_macs = 0.0, 0, 0, 0, 0

    def flush() -> float:
        pipeline = (rows + stages - 1) * cycle if stages else 0.0
        return max(pipeline, functions / lanes, unit_macs / (DIGITAL_UNITS * GIGA))

    for subop in program.subops:
        if isinstance(subop, FunctionCall):
            functions += 0 if subop.function == "add" else subop.elements
        elif isinstance(subop, Product):
            if subop.resident == "weight":
                rows, stages = max(rows, subop.batch * subop.rows), stages + 1
            elif subop.resident == "activation" and subop.rows > 1:
                seconds += flush()
                rows, stages, functions, unit_macs = 0, 0, 0, 0
                if attention == "digital":
                    seconds += subop.macs / (DIGITAL_UNITS * GIGA)
                else:
                    seconds += min(subop.inner, LINES) * chip.dense.cell.write_time_s + subop.rows * cycle
            else:
                unit_macs += subop.macs
    return seconds + flush()


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
             products as on the chip, leakage over the whole area
    Error:   favours this baseline: no bubbles but those before attention, no imbalance, links idle.
    """
    precision = chip.precision
    factors = node_factors(chip.node_nm)
    cells = kind.cells_per_word(precision.weight_bits)
    operand_cells = kind.cells_per_word(precision.activation_bits)
    distinct = {
        (p.module, p.inner, p.columns): p for p in program.products() if p.resident == "weight"
    }.values()
    weights = sum(crossbars_of(p.inner, p.columns, cells) for p in distinct)
    between = [p for p in program.products() if p.resident == "activation" and p.rows > 1]
    others = [p for p in program.products() if p.resident != "weight" and p not in set(between)]
    on_crossbars = [p for p in program.products() if p.resident == "weight"]
    scratch = 0
    if attention == "written":
        on_crossbars += between
        scratch = max((p.batch * crossbars_of(p.inner, p.columns, operand_cells) for p in between), default=0)
    crossbars = weights + scratch
    tiles = -(-crossbars // isaac.CROSSBARS_PER_TILE)

    def cycles_of(product: Product) -> int:
        own = cells if product.resident == "weight" else operand_cells
        used = crossbars_of(product.inner, product.columns, own)
        return product.batch * product.rows * used * precision.activation_bits

    cycles = sum(cycles_of(p) for p in on_crossbars)
    unit_macs = sum(p.macs for p in others) + (sum(p.macs for p in between) if attention == "digital" else 0)
    adc = converter(kind.converter_bits)

    def term(name: str, quantity: str, count: float, value: float, formula: str, source: Source) -> Term:
        return Term(
            component=name,
            quantity=quantity,
            count=count,
            unit_value=value,
            formula=formula,
            fields=("precision", "node_nm"),
            source=source,
        )

    per_ima = isaac.CROSSBARS_PER_IMA
    area = [
        term(
            "converters",
            "crossbar",
            tiles * isaac.CROSSBARS_PER_TILE,
            adc.area_m2.at(level) * factors.area,
            "one per crossbar",
            adc.source,
        )
    ]
    area += [
        term(
            block.name,
            "crossbar",
            tiles * isaac.CROSSBARS_PER_TILE,
            block.area_mm2 * MM2 / per_ima * factors.area,
            "crossbars x ISAAC's share",
            isaac.ISAAC_SOURCE,
        )
        for block in isaac.IMA[1:]
    ]
    area += [
        term(
            block.name, "tile", tiles, block.area_mm2 * MM2 * factors.area, "tiles of 96", isaac.ISAAC_SOURCE
        )
        for block in isaac.TILE
    ]
    area.append(
        term(
            "links",
            "chip of 168 tiles",
            tiles / isaac.TILES_PER_CHIP,
            isaac.LINKS.area_mm2 * MM2 * factors.area,
            "in proportion to tiles",
            isaac.ISAAC_SOURCE,
        )
    )
    rest = program.stored_words - sum(p.inner * p.columns for p in distinct)
    rest_cells = dense_symbols(max(rest, 0), precision.weight_bits, chip.dense)
    cell_area = chip.dense.cell.area_F2 * (chip.node_nm * NANO) ** 2
    area.append(
        term(
            "memory for other words",
            "dense cell",
            rest_cells,
            cell_area * library.dense_bank_over_cells.at(level),
            "embeddings and vectors in a dense crossbar as on the chip",
            library.dense_bank_source,
        )
    )
    shared = ("function units", "function tables", "SRAM buffer")
    area += [t for t in area_terms(chip, chip.dense_bank_count, library, level) if t.component in shared]
    units = DIGITAL_UNITS if unit_macs else 0
    area.append(
        term(
            "digital unit",
            "multiply-accumulate unit",
            units,
            mac_area_m2(precision, chip.node_nm),
            "products not with weights",
            UNIT_SOURCE,
        )
    )

    functions = [function_counts(call, chip) for call in program.functions()]
    operands = sum(p.streamed_elements + p.output_elements for p in program.products())
    traffic = Counts(
        buffer_bits=operands * precision.activation_bits,
        network_bits=operands * precision.activation_bits,
        dense_symbols=dense_symbols(
            sum(read.words for read in program.dense_reads()), precision.weight_bits, chip.dense
        ),
    )
    energy = [
        term(
            "converters",
            "conversion",
            cycles * LINES,
            adc.energy_J.at(level) * factors.energy,
            "batch·rows · crossbars · input bits · 128",
            adc.source,
        )
    ]
    energy += [
        term(
            block.name,
            "crossbar cycle",
            cycles,
            block.power_mW * MILLI / per_ima * isaac.CYCLE_S * factors.energy,
            "batch·rows · crossbars · input bits; power x 100 ns",
            isaac.ISAAC_SOURCE,
        )
        for block in isaac.IMA[1:]
    ]
    energy.append(
        term(
            "digital unit",
            "multiply-accumulate",
            unit_macs,
            mac_energy_J(precision, chip.node_nm),
            "products not with weights",
            MAC_SOURCE,
        )
    )
    written = 0
    write_energy = 2.3 * PICO * kind.cell_bits
    if attention == "written":
        written = sum(p.resident_elements * operand_cells for p in between)
        energy.append(
            term(
                "writes",
                "cell written",
                written,
                write_energy,
                "resident activations · cells per word",
                Source("other work", "3D-CIMlet, 40 nm RRAM: 2.3 pJ per bit written"),
            )
        )
    energy += [t for t in energy_terms(total([*functions, traffic]), chip, library, level) if t.count]
    latency = _latency_s(program, chip, attention)
    leaking = tuple(t for t in area if t.component not in ("crossbars", "memory for other words"))
    energy.append(leakage_term(leaking, latency, library, level))
    notes = [
        f"{crossbars} crossbars of 128 x 128 in {tiles} tiles "
        f"({tiles / isaac.TILES_PER_CHIP:.2f} chips of 168), "
        f"{cells} cells of {kind.cell_bits} bits a weight, one {kind.converter_bits}-bit converter each.",
        "Rows are pipelined through consecutive weight products without bubbles; attention waits for "
        "all rows. Leakage over the whole area, no block switched off.",
    ]
    if attention == "digital":
        energy_w = sum(p.resident_elements * operand_cells for p in between) * write_energy
        notes.append(
            f"Products between activations run on {DIGITAL_UNITS} digital int8 units; writing their operands "
            f"into memristors instead would cost {energy_w * 1e3:.3g} mJ of writes a run."
        )
    elif written:
        wear = written / (scratch * LINES * LINES)
        days = chip.dense.cell.endurance_writes / wear * latency / 86400
        notes.append(
            f"Operands of products between activations are written: {written:.3g} cells a run into {scratch} "
            f"spare crossbars, worn out after {days:.3g} days of back-to-back runs."
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
