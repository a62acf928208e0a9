"""Area, energy, latency and lifetime of a program on a chip."""

from __future__ import annotations

from collections import Counter

from ohmformer.costs.component import Level, require_level
from ohmformer.costs.counts import Counts, dense_symbols, total
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import CostReport, StepCost, Term, sum_of
from ohmformer.costs.timing import Step, StepTime, step_counts, step_time, steps
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, Source

__all__ = ["banks_needed", "estimate", "lifetime_s"]

LIFETIME_NOTE = (
    "endurance x all dense cells / cells written per run x time per run: back to back, perfect levelling"
)
NOT_WORN = "nothing is written to dense cells while the model runs: weights are written once"

TIME_SOURCE = Source("ours", "the longest of what runs side by side; steps one after the other")


def banks_needed(program: Program, chip: ChipSpec) -> int:
    """Dense banks that the stored words fill (and, if kept there, one run's intermediates)."""
    return -(-_cells_used(program, chip) // chip.dense.cells)


def _cells_used(program: Program, chip: ChipSpec) -> int:
    cells = dense_symbols(program.stored_words, chip.precision.weight_bits, chip.dense)
    if chip.buffer.intermediates == "dense":
        largest = max((product.output_elements for product in program.products()), default=0)
        cells += dense_symbols(2 * largest, chip.precision.activation_bits, chip.dense)
    return cells


def lifetime_s(cells: int, written: int, endurance: float, latency: float) -> float | None:
    """Seconds until every cell has been written ``endurance`` times; None if nothing is written."""
    return None if written == 0 else endurance * cells / written * latency


def _latency_terms(timed: list[tuple[Step, int, StepTime]]) -> tuple[Term, ...]:
    terms = []
    for step, times, time in timed:
        for resource, seconds in time.parts:
            if seconds:
                terms.append(
                    Term(
                        component=resource,
                        quantity=f"step: {step.operation}",
                        count=times,
                        unit_value=seconds,
                        formula="number of equal steps x time by which this resource bounds one",
                        fields=_TIME_FIELDS[resource],
                        source=TIME_SOURCE,
                    )
                )
    return tuple(terms)


_TIME_FIELDS = {
    "conversions": ("tile_count", "tile.adc.rate_Hz", "tile.adc.bitlines_per_adc", "tile.settling_time_s"),
    "functions": ("function_unit_count", "function_unit.lanes", "function_unit.clock_Hz"),
    "operand feed": ("tile_count", "clock_Hz", "precision", "buffer.word_bits"),
    "dense reads": (
        "dense_bank_count",
        "dense.wordline_time_s",
        "dense.bitlines_per_adc",
        "dense.adc_rate_Hz",
    ),
    "dense writes": ("dense_bank_count", "dense.bitlines_per_adc", "dense.cell.write_time_s"),
    "buffer": ("buffer.capacity_bytes", "clock_Hz"),
    "additions": ("tile_count", "clock_Hz"),
}


def _utilisation(
    counts: Counts, timed: list[tuple[Step, int, StepTime]], chip: ChipSpec, latency: float
) -> dict[str, float]:
    converters = chip.tile_count * -(-chip.tile.bitlines // chip.tile.adc.bitlines_per_adc)
    shares = {"converters": counts.conversions / (converters * chip.tile.adc.rate_Hz * latency)}
    busy: Counter[str] = Counter()
    for _, times, time in timed:
        for resource, seconds in time.busy_s.items():
            busy[resource] += times * seconds  # type: ignore[assignment]
    return shares | {resource: seconds / latency for resource, seconds in busy.items()}


def _notes(program: Program, chip: ChipSpec, needed: int) -> tuple[str, ...]:
    notes = [
        "Steps run one after the other; loads are double-buffered, weights prefetched, functions pipelined "
        "behind the rows of their product.",
    ]
    if needed > chip.dense_bank_count:
        notes.append(
            f"The model needs {needed} dense banks; the chip gets them, but still reads only "
            f"{chip.dense_bank_count} at the same time."
        )
    if not chip.tile.lossless:
        notes.append(
            "The tile converters of this chip lose information: the cost says nothing about accuracy."
        )
    largest = max((product.output_elements for product in program.products()), default=0)
    if largest * chip.buffer.word_bits > 8 * chip.buffer.capacity_bytes:
        notes.append(
            f"The largest intermediate ({largest * chip.buffer.word_bits / 8e6:.1f} MB in accumulator words) "
            "exceeds the SRAM buffer; it is assumed to be consumed in parts, at no extra cost."
        )
    return tuple(notes)


def estimate(
    program: Program, chip: ChipSpec, *, level: Level = "typical", library: Library = LIBRARY
) -> CostReport:
    """Count the actions of ``program`` on ``chip`` and price them.

    latency = Σ steps · (longest resource of the step)
    energy  = Σ counts · unit energy + leakage · latency
    area    = Σ blocks · unit area
    Error:  the unit values' intervals (``level`` low, typical, high); no queueing in the network, no
            imbalance between clusters, no time to start a step.
    """
    require_level(level)
    node_factors(chip.node_nm)
    found = steps(program.subops)
    if not found:
        raise UserError(f"The program {program.name!r} has no sub-operation: there is nothing to cost.")
    counts = total([step_counts(step, chip, library) * times for step, times in found.items()])
    timed = [(step, times, step_time(step, chip, library)) for step, times in found.items()]
    latency = _latency_terms(timed)
    latency_s = sum_of(latency)
    needed = banks_needed(program, chip)
    banks = max(needed, chip.dense_bank_count)
    area = area_terms(chip, banks, library, level)
    energy = (
        *energy_terms(counts, chip, library, level),
        leakage_term(area, latency_s, library, level),
    )
    cells = banks * chip.dense.cells
    life = lifetime_s(cells, counts.dense_writes, chip.dense.cell.endurance_writes, latency_s)
    return CostReport(
        program=program.name,
        chip=chip.name,
        level=level,
        batch=program.batch,
        tokens=program.tokens,
        area=area,
        energy=energy,
        latency=latency,
        steps=tuple(
            StepCost(
                operation=step.operation,
                resident=step.product.resident if step.product else None,
                shape=(step.product.batch, step.product.rows, step.product.inner, step.product.columns)
                if step.product
                else None,
                functions=step.functions,
                times=times,
                time_s=time.time_s,
                bound_by=time.bound_by,
                busy_s={str(resource): seconds for resource, seconds in time.busy_s.items()},
            )
            for step, times, time in timed
        ),
        counts=counts,
        utilisation=_utilisation(counts, timed, chip, latency_s),
        banks=banks,
        banks_needed=needed,
        dense_cells_used=_cells_used(program, chip),
        dense_cells=cells,
        lifetime_s=life,
        lifetime_note=NOT_WORN if life is None else LIFETIME_NOTE,
        notes=_notes(program, chip, needed),
    )
