"""One run of a program on one chip: counts, times and schedule, before any price."""

from __future__ import annotations

from typing import NamedTuple

from ohmformer.compiler.buffers import BufferPlan, plan_buffers
from ohmformer.compiler.schedule import Schedule, make_schedule
from ohmformer.compiler.steps import StepGraph, step_graph
from ohmformer.costs.counts import CountTuple, dense_symbols
from ohmformer.costs.library import Library
from ohmformer.costs.timing import Extra, Rates, StepNumbers, rates_of, step_numbers, sums_of
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec

__all__ = ["Run", "banks_needed", "cells_used", "run_of"]


class Run(NamedTuple):
    """What a program does on a chip.

    kinds:    kind of step of each variant; times: how often it comes
    steps:    counts and times of each variant
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

    @property
    def sequential_s(self) -> float:
        """Time of the steps one after the other, each alone on the chip."""
        return sum(times * step.alone_s for times, step in zip(self.times, self.steps, strict=True))


def cells_used(program: Program, chip: ChipSpec) -> int:
    """Dense cells of the stored words (and, if kept there, of twice the largest intermediate)."""
    cells = dense_symbols(program.stored_words, chip.precision.weight_bits, chip.dense)
    if chip.buffer.intermediates == "dense":
        largest = max((product.output_elements for product in program.products()), default=0)
        cells += dense_symbols(2 * largest, chip.precision.activation_bits, chip.dense)
    return cells


def banks_needed(program: Program, chip: ChipSpec) -> int:
    """Dense banks that the stored words fill (and, if kept there, one run's intermediates)."""
    return -(-cells_used(program, chip) // chip.dense.cells)


def run_of(program: Program, chip: ChipSpec, library: Library) -> Run:
    """Count, time and schedule ``program`` on ``chip``."""
    graph = step_graph(program)
    if not graph.order:
        raise UserError(f"The program {program.name!r} has no sub-operation: there is nothing to cost.")
    plan = plan_buffers(graph, chip)
    if plan is not None:
        graph = plan.graph
    spilled = plan is not None and plan.cache_home == "dense" and chip.buffer.intermediates == "sram"
    rates = rates_of(chip, library, cache_in_dense=spilled)
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
    schedule = make_schedule(graph, [step.work for step in steps], variants=chosen)
    cells = cells_used(program, chip) + (plan.dense_cells(chip) if plan is not None else 0)
    needed = -(-cells // chip.dense.cells)
    return Run(
        graph, rates, kinds, times, steps, extras, counts, schedule, plan, cells, needed,
        max(needed, chip.dense_bank_count),
    )  # fmt: skip
