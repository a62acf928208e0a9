"""One run of a program on one chip: counts, times and schedule, before any price."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ohmformer.compiler.buffers import BufferPlan, plan_buffers
from ohmformer.compiler.chips import ChipPlan, plan_chips
from ohmformer.compiler.lower_stored import for_chip
from ohmformer.compiler.place import DensePlan, place_stored
from ohmformer.compiler.schedule import Crossing, Schedule, alone, make_schedule
from ohmformer.compiler.schedule_check import check_schedule
from ohmformer.compiler.steps import StepGraph, step_graph
from ohmformer.costs.component import Level
from ohmformer.costs.counts import CountTuple, dense_symbols
from ohmformer.costs.library import Library
from ohmformer.costs.library_links import Link
from ohmformer.costs.timing import Extra, Rates, StepNumbers, rates_of, step_numbers, sums_of
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = [
    "Run",
    "at_level",
    "banks_needed",
    "cells_used",
    "dense_plan",
    "full_schedule",
    "link_of",
    "run_of",
]


class Run(NamedTuple):
    """What a program does on a chip.

    kinds:    kind of step of each variant; times: how often it comes
    steps:    counts and times of each variant
    banks:    dense banks of one chip
    chips:    where the number of chips is limited
    extras:   what of each variant goes through dense cells because the buffer is full
    counts:   of the whole run
    """

    graph: StepGraph
    rates: Rates
    kinds: tuple[int, ...]
    times: tuple[int, ...]
    steps: tuple[StepNumbers, ...]
    extras: tuple[Extra, ...]
    counts: CountTuple
    schedule: Schedule
    plan: BufferPlan | None
    cells: int
    banks_needed: int
    banks: int
    chips: ChipPlan | None
    crossings: dict[int, Crossing]

    @property
    def chip_count(self) -> int:
        """Chips in use."""
        return 1 if self.chips is None else self.chips.chips

    @property
    def link_bits(self) -> int:
        """Bits that go from chip to chip."""
        return 0 if self.chips is None else sum(boundary.bits for boundary in self.chips.boundaries)

    @property
    def sequential_s(self) -> float:
        """Time of the steps one after the other, each as long as its longest resource."""
        return sum(times * step.alone_s for times, step in zip(self.times, self.steps, strict=True))

    @property
    def alone_s(self) -> float:
        """Time of the steps one after the other, each by the rules of the schedule on an idle chip."""
        return sum(times * alone(step.work) for times, step in zip(self.times, self.steps, strict=True))

    @property
    def unoverlapped_s(self) -> float:
        """Time of all work, nothing beside anything else: no schedule that leaves no pause takes longer."""
        links = sum(crossing.seconds for crossing in self.crossings.values())
        return links + sum(
            times * step.work.seconds for times, step in zip(self.times, self.steps, strict=True)
        )


def at_level(chip: ChipSpec, library: Library, level: Level) -> ChipSpec:
    """``chip`` with the time of reading dense cells at one end of what is known of it."""
    if level == "typical":
        return chip
    dense = chip.dense
    wordline_s = dense.wordline_time_s * library.wordline_time.at(level)
    return replace(chip, dense=replace(dense, wordline_time_s=wordline_s))


def cells_used(program: Program, chip: ChipSpec) -> int:
    """Dense cells of the stored words (and, if kept there, of twice the largest intermediate)."""
    program = for_chip(program, chip)
    cells = dense_symbols(program.stored_words, chip.precision.weight_bits, chip.dense)
    if chip.buffer.intermediates == "dense":
        largest = max((product.output_elements for product in program.products()), default=0)
        cells += dense_symbols(2 * largest, chip.precision.activation_bits, chip.dense)
    return cells


def banks_needed(program: Program, chip: ChipSpec) -> int:
    """Dense banks that the stored words fill (and, if kept there, one run's intermediates)."""
    return -(-cells_used(program, chip) // chip.dense.cells)


def link_of(chip: ChipSpec, library: Library) -> Link:
    """The link between chips."""
    return library.chip_link if chip.package.link == "package" else library.board_link


def _on_chips(
    graph: StepGraph, plan: BufferPlan | None, chip: ChipSpec, library: Library, level: Level
) -> tuple[ChipPlan, BufferPlan | None, dict[int, Crossing]]:
    """The graph over several chips; its intermediates planned again if a matrix had to be cut."""
    cells = plan.dense_cells(chip) if plan is not None else 0
    found = plan_chips(graph, chip, cells)
    if found.graph is not graph:
        plan = plan_buffers(found.graph, chip)
    link, links = link_of(chip, library), chip.package.links
    crossings = {
        boundary.step: Crossing(
            boundary.writers,
            boundary.bits / (links * link.bits_per_s) + link.latency_s.at(level),
        )
        for boundary in found.boundaries
    }
    return found, plan, crossings


def run_of(program: Program, chip: ChipSpec, library: Library, level: Level = "typical") -> Run:
    """Count, time and schedule ``program`` on ``chip``; ``level`` is that of times that are not its own."""
    program = for_chip(program, chip)
    graph = step_graph(program)
    if not graph.order:
        raise UserError(f"The program {program.name!r} has no sub-operation: there is nothing to cost.")
    plan = plan_buffers(graph, chip)
    if plan is not None:
        graph = plan.graph
    chips: ChipPlan | None = None
    crossings: dict[int, Crossing] = {}
    if chip.package.max_chips:
        chips, plan, crossings = _on_chips(graph, plan, chip, library, level)
        graph = chips.graph
    spilled = plan is not None and plan.cache_home == "dense" and chip.buffer.intermediates == "sram"
    rates = rates_of(chip, library, level, cache_in_dense=spilled)
    sums = sums_of(graph)
    if plan is None or plan.variants is None:
        kinds, times, chosen = tuple(range(len(sums))), graph.times, None
        steps = tuple([step_numbers(one, rates) for one in sums])
        extras: tuple[Extra, ...] = ()
    else:
        kinds, times, chosen = plan.kinds, plan.times, plan.variants
        extras = tuple(Extra(*extra) for extra in plan.extras)
        steps = tuple(
            [step_numbers(sums[kind], rates, extra) for kind, extra in zip(kinds, extras, strict=True)]
        )
    counts = tuple(
        [
            sum([number * many for number, many in zip(column, times, strict=True)])
            for column in zip(*[step.counts for step in steps], strict=True)
        ]
    )
    schedule = make_schedule(graph, [step.work for step in steps], variants=chosen, crossings=crossings)
    cells = cells_used(program, chip) + (plan.dense_cells(chip) if plan is not None else 0)
    needed = -(-cells // chip.dense.cells)
    banks = max(needed, chip.dense_bank_count) if chips is None else chip.dense_bank_count
    return Run(
        graph, rates, kinds, times, steps, extras, counts, schedule, plan, cells, needed, banks, chips,
        crossings,
    )  # fmt: skip


def dense_plan(run: Run, chip: ChipSpec) -> DensePlan:
    """Where the stored words lie in the dense banks: tables and vectors first, then weights by first use.

    Every matrix begins on a wordline of its own, so that a bank more than ``run.banks`` may be needed.
    """
    stored = [(entry.name, entry.words) for entry in run.graph.stored]
    if run.graph.unplaced_words:
        stored.insert(0, ("tables and vectors", run.graph.unplaced_words))
    bits, dense = chip.precision.weight_bits, chip.dense
    lines = sum(-(-dense_symbols(words, bits, dense) // dense.bitlines) for _, words in stored)
    return place_stored(stored, chip, banks=max(run.banks, -(-lines // dense.wordlines)))


def full_schedule(run: Run) -> Schedule:
    """The schedule of ``run`` with every interval of every layer, checked against its rules.

    Error: ScheduleFault if a rule is broken or its end is not the latency that was reported.
    """
    work = [step.work for step in run.steps]
    variants = None if run.plan is None else run.plan.variants
    made = make_schedule(run.graph, work, variants=variants, intervals=True, crossings=run.crossings)
    check_schedule(
        run.graph,
        work,
        made.intervals,
        run.schedule.makespan_s,
        variants=variants,
        crossings=run.crossings,
    )
    return made
