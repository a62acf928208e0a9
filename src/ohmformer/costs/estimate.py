"""Area, energy, latency and lifetime of a program on a chip."""

from __future__ import annotations

from dataclasses import replace

from ohmformer.compiler.buffers import BufferPlan
from ohmformer.costs.component import Level, require_level
from ohmformer.costs.counts import counts_of
from ohmformer.costs.energy import energy_terms, energy_units, leakage_term
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.kinds import kind_costs
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import BufferUse, ChipsUse, CostReport, StepCost, Term, sum_of
from ohmformer.costs.running import Run, at_level, banks_needed, link_of, run_of
from ohmformer.costs.settling import Cycle, cycle_of
from ohmformer.costs.timing import RESOURCES, time_of
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import MM2, NANO

__all__ = ["banks_needed", "estimate", "lifetime_s"]

LIFETIME_NOTE = (
    "endurance x all dense cells / cells written per run x time per run: back to back, perfect levelling"
)
NOT_WORN = "nothing is written to dense cells while the model runs: weights are written once"

TIME_SOURCE = Source("ours", "the schedule of docs/cost-model.md: resources side by side, layer after layer")


CYCLE = (
    ": rows · digits · groups · max(settling, conversions / rate), settling the longer of the stated one and "
    "that of the tile's circuit (devices.settling_time_s)"
)


def lifetime_s(cells: int, written: int, endurance: float, latency: float) -> float | None:
    """Seconds until every cell has been written ``endurance`` times; None if nothing is written."""
    return None if written == 0 else endurance * cells / written * latency


_TIME_FIELDS = {
    "conversions": (
        "tile_count",
        "tile.adc.rate_Hz",
        "tile.adc.bitlines_per_adc",
        "tile.settling_time_s",
        "tile.resistor",
        "tile.wordlines",
        "tile.bitlines",
        "tile.active_wordlines",
        "tile.numeral",
    ),
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


def _latency_terms(run: Run) -> tuple[Term, ...]:
    terms = []
    for kind, times, step, advance in zip(
        run.kinds, run.times, run.steps, run.schedule.advance_s, strict=True
    ):
        if advance:
            resource = RESOURCES[max(range(len(RESOURCES)), key=step.busy.__getitem__)]
            terms.append(
                Term(
                    component=resource,
                    quantity=f"step: {run.graph.kinds[kind].operation}, {times} times",
                    count=1,
                    unit_value=advance,
                    formula="time by which these steps move the end of the run on; the resource that is "
                    "busy longest in them" + (CYCLE if resource == "conversions" else ""),
                    fields=_TIME_FIELDS[resource],
                    source=TIME_SOURCE,
                )
            )
    return tuple(terms)


def busy_seconds(run: Run) -> dict[str, float]:
    """Seconds that each resource works in a run."""
    return {
        resource: sum(times * step.busy[place] for times, step in zip(run.times, run.steps, strict=True))
        for place, resource in enumerate(RESOURCES)
    }


def _area(run: Run, chip: ChipSpec, library: Library, level: Level) -> tuple[Term, ...]:
    """All chips, and the ends of the links between them."""
    terms, count = area_terms(chip, run.banks, library, level), run.chip_count
    limit = chip.package.die_area_limit_m2
    if limit:
        one = sum_of(area_terms(chip, run.banks, library, "typical"))
        if one > limit:
            raise UserError(
                f"A chip of {one / MM2:.0f} mm² is above package.die_area_limit_m2 = {limit / MM2:g} mm²: "
                f"allow more chips of fewer dense banks (package.max_chips is {chip.package.max_chips}), or "
                "lower tile_count."
            )
    if count == 1:
        return terms
    link = link_of(chip, library)
    ends = Term(
        component="chip links",
        quantity="end of a link",
        count=2 * chip.package.links * (count - 1),
        unit_value=link.area_m2.at(level),
        formula="2 ends x links x (chips − 1)",
        fields=("package.links", "package.link", "package.max_chips"),
        source=link.source,
    )
    return (*(replace(term, count=term.count * count) for term in terms), ends)


def _link_energy(run: Run, chip: ChipSpec, library: Library, level: Level) -> tuple[Term, ...]:
    if run.chip_count == 1:
        return ()
    link = link_of(chip, library)
    return (
        Term(
            component="chip links",
            quantity=link.action,
            count=run.link_bits,
            unit_value=link.energy_J.at(level),
            formula="bits of the values that are read behind each boundary between chips",
            fields=("package.link", "precision.activation_bits", "buffer.word_bits"),
            source=link.source,
        ),
    )


def _chips_use(run: Run, chip: ChipSpec) -> ChipsUse | None:
    if run.chips is None:
        return None
    spans = (end - start for start, end in zip(run.schedule.starts_s, run.schedule.ends_s, strict=True))
    return ChipsUse(
        chips=run.chip_count,
        allowed=chip.package.max_chips,
        link=chip.package.link,
        link_bits=run.link_bits,
        link_s=sum(crossing.seconds for crossing in run.crossings.values()),
        interval_s=max(spans),
    )


def _utilisation(run: Run, chip: ChipSpec, latency: float) -> dict[str, float]:
    converters = run.chip_count * chip.tile_count * -(-chip.tile.bitlines // chip.tile.adc.bitlines_per_adc)
    shares = {"converters": run.counts[1] / (converters * chip.tile.adc.rate_Hz * latency)}
    latency *= run.chip_count
    return shares | {resource: seconds / latency for resource, seconds in busy_seconds(run).items()}


def _notes(program: Program, chip: ChipSpec, run: Run) -> tuple[str, ...]:
    notes = [
        "Resources work side by side: weights are read and loaded ahead, functions follow the rows of their "
        "product, independent steps overlap; a step waits until what it reads is written completely.",
    ]
    if run.chips is not None and run.chip_count > 1:
        notes.append(
            f"The model takes {run.chip_count} chips, layer after layer; every boundary sends whole values. "
            "Parts of a matrix that is cut over chips work one after the other."
        )
    elif run.banks_needed > chip.dense_bank_count:
        notes.append(
            f"The model needs {run.banks_needed} dense banks; the chip gets them, but still reads only "
            f"{chip.dense_bank_count} at the same time."
        )
    if not chip.tile.lossless:
        notes.append(
            "The tile converters of this chip lose information: the cost says nothing about accuracy."
        )
    if run.plan is None:
        largest = max((product.output_elements for product in program.products()), default=0)
        notes.append(
            "The program does not tell its data flow: every step waits for the one before it, and where "
            "intermediates are kept is not planned."
        )
        if largest * chip.buffer.word_bits > 8 * chip.buffer.capacity_bytes:
            notes.append(
                f"The largest intermediate ({largest * chip.buffer.word_bits / 8e6:.1f} MB in accumulator "
                "words) exceeds the SRAM buffer; it is assumed to be consumed in parts, at no extra cost."
            )
    else:
        notes += _buffer_notes(run.plan, chip)
    notes += list(program.assumptions)
    return tuple(notes)


def cycle_note(cycle: Cycle) -> str:
    """What decides about a tile's cycle, and whether a stated time is one that its circuit cannot keep."""

    def ns(seconds: float) -> str:
        return f"{seconds / NANO:.3g} ns"

    text = (
        f"A tile's cycle takes {ns(cycle.cycle_s)}: its bitlines settle in {ns(cycle.settling_s)} "
        f"(circuit {ns(cycle.circuit_s)}, stated {ns(cycle.stated_s) if cycle.stated_s else 'none'}) while "
        f"those of the digit before are converted in {ns(cycle.conversion_s)}."
    )
    if cycle.too_short:
        text += (
            f" The stated settling time, {ns(cycle.stated_s)}, is shorter than resistors, wires and sense "
            f"amplifiers of the tile allow: the circuit's {ns(cycle.circuit_s)} are taken."
        )
    return text


def _buffer_notes(plan: BufferPlan, chip: ChipSpec) -> list[str]:
    notes = []
    if plan.slices > 1:
        notes.append(
            f"Attention is done in {plan.slices} groups of heads: all at once do not fit the SRAM buffer."
        )
    if plan.written:
        notes.append(
            f"Up to {plan.peak_bits / 8e6:.1f} MB are alive at once and the SRAM buffer holds "
            f"{chip.buffer.capacity_bytes / 1e6:.1f} MB: {plan.written:,} numbers a run go through dense "
            "cells."
        )
    if plan.cache_bits and plan.cache_home == "dense" and chip.buffer.kv_cache == "sram":
        notes.append(
            f"Keys and values ({plan.cache_bits / 8e6:.1f} MB) do not fit the SRAM buffer beside the rest: "
            "they are kept in dense cells."
        )
    return notes


def _buffer_use(run: Run, chip: ChipSpec) -> BufferUse | None:
    plan = run.plan
    if plan is None:
        return None
    return BufferUse(
        capacity_bytes=chip.buffer.capacity_bytes,
        peak_bytes=plan.peak_bits / 8,
        buffer_bytes=plan.buffer_bits / 8,
        head_groups=plan.slices,
        cache_bytes=plan.cache_bits / 8,
        cache_home=plan.cache_home,
        spilled_numbers=plan.written,
        read_back_numbers=plan.read_back,
    )


def _steps(run: Run) -> tuple[StepCost, ...]:
    found = []
    for kind, times, numbers in zip(run.kinds, run.times, run.steps, strict=True):
        step = run.graph.kinds[kind]
        time, product = time_of(numbers), step.product
        found.append(
            StepCost(
                operation=step.operation,
                resident=product.resident if product else None,
                shape=(product.batch, product.rows, product.inner, product.columns) if product else None,
                functions=step.functions,
                times=times,
                time_s=time.time_s,
                bound_by=time.bound_by,
                busy_s={str(resource): seconds for resource, seconds in time.busy_s.items()},
            )
        )
    return tuple(found)


def _written_if_dense(run: Run) -> int:
    """Dense cells written in a run if every result of a product were kept there, and the cache."""
    numbers = 0
    for kind, times in zip(run.kinds, run.times, strict=True):
        step = run.graph.kinds[kind]
        numbers += times * step.appended
        if step.product is not None and step.product.resident != "constant":
            numbers += times * step.product.output_elements
    return numbers * run.rates.counts.activation_cells


def estimate(
    program: Program, chip: ChipSpec, *, level: Level = "typical", library: Library = LIBRARY
) -> CostReport:
    """Count the actions of ``program`` on ``chip``, schedule them, and price them.

    latency = end of the schedule
    energy  = Σ counts · unit energy + leakage · latency
    area    = Σ blocks · unit area
    Error:  the intervals of unit values and of the times of reading and settling (``level`` low, typical,
            high); rates of converters, clocks and links are design values. No queueing in the network, no
            imbalance between clusters, no time to start a step.
    """
    require_level(level)
    chip = at_level(chip, library, level)
    node_factors(chip.node_nm)
    run = run_of(program, chip, library, level)
    latency = _latency_terms(run)
    cycle = cycle_of(chip, library, level)
    latency_s = run.schedule.makespan_s
    area = _area(run, chip, library, level)
    energy = (
        *energy_terms(run.counts, chip, library, level),
        *_link_energy(run, chip, library, level),
        leakage_term(area, latency_s, library, level),
    )
    cells = run.chip_count * run.banks * chip.dense.cells
    endurance = chip.dense.cell.endurance_writes
    counts = counts_of(run.counts)
    life = lifetime_s(cells, counts.dense_writes, endurance, latency_s)
    dense_home = chip.buffer.intermediates == "dense"
    return CostReport(
        program=program.name,
        chip=chip.name,
        level=level,
        batch=program.batch,
        tokens=program.tokens,
        area=area,
        energy=energy,
        latency=latency,
        steps=_steps(run),
        counts=counts,
        utilisation=_utilisation(run, chip, latency_s),
        banks=run.chip_count * run.banks,
        banks_needed=run.banks_needed,
        dense_cells_used=run.cells,
        dense_cells=cells,
        lifetime_s=life,
        lifetime_note=NOT_WORN if life is None else LIFETIME_NOTE,
        notes=(*_notes(program, chip, run), cycle_note(cycle)),
        latency_sequential_s=run.sequential_s,
        latency_alone_s=run.alone_s,
        latency_unoverlapped_s=run.unoverlapped_s,
        latency_bound_s=max(busy_seconds(run).values()) / run.chip_count,
        cycle=cycle,
        kinds=kind_costs(run, energy_units(chip, library, level)),
        buffer=_buffer_use(run, chip),
        chips=_chips_use(run, chip),
        lifetime_dense_s=life
        if dense_home
        else lifetime_s(cells, _written_if_dense(run), endurance, latency_s),
    )
