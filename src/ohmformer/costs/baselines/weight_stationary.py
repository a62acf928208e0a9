"""What all accelerators share that hold every weight in its own cells.

Rows of activations flow through the arrays of consecutive layers. Products between activations have no
resident operand: a digital unit does them, or one operand is written into cells each time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ohmformer.costs.baselines.digital_mac import MAC_SOURCE, mac_area_m2, mac_energy_J
from ohmformer.costs.component import Level
from ohmformer.costs.counts import Counts, dense_symbols, function_counts, total
from ohmformer.costs.library import Library
from ohmformer.costs.report import Term
from ohmformer.ir import FunctionCall, Product, Program
from ohmformer.specs import ChipSpec, PrecisionSpec, Source
from ohmformer.units import GIGA, NANO, PICO

__all__ = [
    "DIGITAL_UNITS",
    "LINES",
    "UNIT_SOURCE",
    "WRITE_SOURCE",
    "Attention",
    "Work",
    "attention_terms",
    "cells_written",
    "crossbars_of",
    "function_traffic",
    "other_words_term",
    "own_term",
    "pipelined_latency_s",
    "traffic",
    "wear_note",
    "work_of",
]

Attention = Literal["digital", "written"]
LINES = 128
DIGITAL_UNITS = 16384
UNIT_HZ = 1 * GIGA
UNIT_SOURCE = Source(
    "ours", f"{DIGITAL_UNITS} units (one 128 x 128 array) at 1 GHz for the products between activations"
)
WRITE_SOURCE = Source("other work", "3D-CIMlet, 40 nm RRAM: 2.3 pJ per bit written")
WRITE_J_PER_BIT = 2.3 * PICO


@dataclass(frozen=True, kw_only=True)
class Work:
    """The products of a program as such an accelerator sees them.

    matrices: one product of each stored matrix (its place in the cells)
    weights:  products with weights, each as often as it is done
    between:  products of two activations (attention)
    others:   sums with ones, and products of single rows with single columns (squares of a norm)
    total:    cached and new tokens of a step behind a cache; 0 without a cache
    new:      its new tokens
    """

    matrices: tuple[Product, ...]
    weights: tuple[Product, ...]
    between: tuple[Product, ...]
    others: tuple[Product, ...]
    total: int = 0
    new: int = 0

    def unit_macs(self, attention: Attention) -> int:
        """Multiply-accumulates of the digital unit."""
        extra = self.between if attention == "digital" else ()
        return sum(p.macs for p in self.others) + sum(p.macs for p in extra)

    def spare_crossbars(self, attention: Attention, cells: int, lines: int = LINES) -> int:
        """Crossbars for the operands that are written: of the largest product, or of the whole cache."""
        if attention == "digital":
            return 0
        needed = [p.batch * crossbars_of(p.inner, p.columns, cells, lines) for p in self.between]
        return sum(needed) if self.total else max(needed, default=0)

    def written_elements(self) -> int:
        """Elements of attention's operands that a run writes: all, or those of the new tokens."""
        elements = sum(p.resident_elements for p in self.between)
        return -(-elements * self.new // self.total) if self.total else elements

    def written_wordlines(self, product: Product) -> int:
        """Wordlines written one after the other before ``product`` can be done.

        Keys are columns, so each new one touches every wordline; a new value is one wordline.
        """
        if self.total and product.inner == self.total:
            return min(self.new, LINES)
        return min(product.inner, LINES)


def work_of(program: Program) -> Work:
    """Sort the products of ``program``."""
    weights, between, others = [], [], []
    for product in program.products():
        if product.resident == "weight":
            weights.append(product)
        elif _between(product):
            between.append(product)
        else:
            others.append(product)
    matrices = {(p.module, p.inner, p.columns): p for p in weights}
    return Work(
        matrices=tuple(matrices.values()),
        weights=tuple(weights),
        between=tuple(between),
        others=tuple(others),
        total=program.context + program.tokens if program.context else 0,
        new=program.tokens,
    )


def _between(product: Product) -> bool:
    """Whether it is a product of two activations and no mere square of a row."""
    return product.resident == "activation" and (product.rows > 1 or product.columns > 1)


def crossbars_of(inner: int, columns: int, cells: int, lines: int = LINES) -> int:
    """Square crossbars of one matrix: ceil(inner / lines) · ceil(columns · cells / lines)."""
    return -(-inner // lines) * -(-columns * cells // lines)


def pipelined_latency_s(
    program: Program, work: Work, chip: ChipSpec, *, row_s: float, write_s: float, attention: Attention
) -> float:
    """Rows flow through consecutive weight products like a pipeline; products between activations stop
    it, since they need all of them.

    row_s:   time of one row of activations in one crossbar
    write_s: time to write one wordline of cells
    """
    lanes = chip.function_unit_count * chip.function_unit.lanes * chip.function_unit.clock_Hz
    unit = DIGITAL_UNITS * UNIT_HZ
    seconds, rows, stages, functions, unit_macs = 0.0, 0, 0, 0, 0

    def flush() -> float:
        pipeline = (rows + stages - 1) * row_s if stages else 0.0
        return max(pipeline, functions / lanes, unit_macs / unit)

    for subop in program.subops:
        if isinstance(subop, FunctionCall):
            functions += 0 if subop.function == "add" else subop.elements
        elif isinstance(subop, Product):
            if subop.resident == "weight":
                rows, stages = max(rows, subop.batch * subop.rows), stages + 1
            elif _between(subop):
                seconds += flush()
                rows, stages, functions, unit_macs = 0, 0, 0, 0
                if attention == "digital":
                    seconds += subop.macs / unit
                else:
                    seconds += work.written_wordlines(subop) * write_s + subop.rows * row_s
            else:
                unit_macs += subop.macs
    return seconds + flush()


def own_term(name: str, quantity: str, count: float, value: float, formula: str, source: Source) -> Term:
    """A term of a baseline: it depends on the precision and the node alone."""
    return Term(
        component=name,
        quantity=quantity,
        count=count,
        unit_value=value,
        formula=formula,
        fields=("precision", "node_nm"),
        source=source,
    )


def attention_terms(
    work: Work,
    attention: Attention,
    precision: PrecisionSpec,
    node_nm: float,
    *,
    operand_cells: int,
    cell_bits: int,
) -> tuple[list[Term], list[Term]]:
    """Area and energy of the products that have no stored weight: digital unit, and writes."""
    macs = work.unit_macs(attention)
    area = [
        own_term(
            "digital unit",
            "multiply-accumulate unit",
            DIGITAL_UNITS if macs else 0,
            mac_area_m2(precision, node_nm),
            "products not with weights",
            UNIT_SOURCE,
        )
    ]
    energy = [
        own_term(
            "digital unit",
            "multiply-accumulate",
            macs,
            mac_energy_J(precision, node_nm),
            "products not with weights",
            MAC_SOURCE,
        )
    ]
    if attention == "written":
        energy.append(
            own_term(
                "writes",
                "cell written",
                cells_written(work, operand_cells),
                WRITE_J_PER_BIT * cell_bits,
                "resident activations · cells per word",
                WRITE_SOURCE,
            )
        )
    return area, energy


def cells_written(work: Work, operand_cells: int) -> int:
    """Cells written in one run if the operands of attention are."""
    return work.written_elements() * operand_cells


def wear_note(
    work: Work,
    attention: Attention,
    chip: ChipSpec,
    *,
    operand_cells: int,
    cell_bits: int,
    spare_cells: int,
    latency_s: float,
) -> list[str]:
    """How products between activations are done, and what the other way would cost."""
    written = cells_written(work, operand_cells)
    energy = written * WRITE_J_PER_BIT * cell_bits
    if not written:
        return []
    if attention == "digital":
        return [
            f"Products between activations run on {DIGITAL_UNITS} digital units; writing their operands "
            f"into memristors instead would cost {energy * 1e3:.3g} mJ of writes a run."
        ]
    days = chip.dense.cell.endurance_writes * spare_cells / written * latency_s / 86400
    return [
        f"Operands of products between activations are written: {written:.3g} cells a run, "
        f"{chip.dense.cell.write_time_s / NANO:.0f} ns a wordline, {energy * 1e3:.3g} mJ, into "
        f"{spare_cells:.3g} spare cells, worn out after {days:.3g} days of back-to-back runs."
    ]


def traffic(program: Program, chip: ChipSpec, precision: PrecisionSpec) -> Counts:
    """Functions, buffer and network traffic, and reads of words that are no matrix."""
    products = tuple(program.products())
    operands = sum(p.streamed_elements + p.output_elements for p in products)
    words = sum(read.words for read in program.dense_reads())
    moved = Counts(
        buffer_bits=operands * precision.activation_bits,
        network_bits=operands * precision.activation_bits,
        dense_symbols=dense_symbols(words, precision.weight_bits, chip.dense),
    )
    return function_traffic(program, chip) + moved


def function_traffic(program: Program, chip: ChipSpec) -> Counts:
    """Actions of all function calls; they are in proportion to elements, so equal functions are one call."""
    elements: Counter[str] = Counter()
    for call in program.functions():
        elements[call.function] += call.elements
    calls = (
        FunctionCall(module="", operation="", function=name, elements=count)
        for name, count in elements.items()
    )
    return total([function_counts(call, chip) for call in calls])


def other_words_term(
    program: Program, work: Work, chip: ChipSpec, precision: PrecisionSpec, library: Library, level: Level
) -> Term:
    """Embeddings and vectors, which no crossbar multiplies with, in a dense crossbar as on the chip."""
    rest = program.stored_words - sum(p.inner * p.columns for p in work.matrices)
    cell_area = chip.dense.cell.area_F2 * (chip.node_nm * NANO) ** 2
    return own_term(
        "memory for other words",
        "dense cell",
        dense_symbols(max(rest, 0), precision.weight_bits, chip.dense),
        cell_area * library.dense_bank_over_cells.at(level),
        "embeddings and vectors in a dense crossbar as on the chip",
        library.dense_bank_source,
    )
