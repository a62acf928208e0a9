"""Several chips: every weight on one of them, every value sent that is read behind a boundary."""

from __future__ import annotations

import random
from types import ModuleType

import pytest

from ohmformer.compiler.chips import plan_chips
from ohmformer.compiler.place import dense_symbols
from ohmformer.compiler.schedule import Crossing, Work, make_schedule
from ohmformer.compiler.schedule_check import ScheduleFault, check_schedule
from ohmformer.compiler.steps import StepGraph, step_graph
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, override, preset


def chip(cells: int, allowed: int = 1000) -> ChipSpec:
    """A chip of one bank of ``cells`` 2-bit cells: 4 of them hold an 8-bit word."""
    return override(
        preset("wang2024"),
        {
            "dense.wordlines": 1, "dense.bitlines": cells, "dense_bank_count": 1,
            "package.max_chips": allowed, "dense.bitlines_per_adc": 1,
        },
    )  # fmt: skip


@pytest.mark.parametrize("cells", [3_000, 5_000, 20_000, 100_000])
def test_every_weight_is_on_a_chip_that_holds_it(flows: ModuleType, cells: int) -> None:
    graph = step_graph(flows.transformer(layers=6))
    plan = plan_chips(graph, chip(cells))
    starts = [boundary.step for boundary in plan.boundaries]
    tables = dense_symbols(graph.unplaced_words, 8, chip(cells).dense)
    assert sum(plan.cells) == 4 * sum(entry.words for entry in graph.stored) + tables
    assert all(used <= cells for used in plan.cells)
    assert plan.chips == len(starts) + 1 + tables // cells
    # filled in order: the first weight of a chip would not have fitted the one before
    for index, start in enumerate(starts):
        product = plan.graph.kinds[plan.graph.kind_of[start]].product
        assert product is not None
        assert plan.cells[index] + 4 * product.inner * product.columns > cells


def test_what_crosses_a_boundary(flows: ModuleType) -> None:
    """Behind the feed-forward's first matrix: its result (coded, 8 bits), the residual (words, 32)."""
    graph = step_graph(flows.transformer(layers=1, tokens=8, hidden=32))
    # q, k, v, o of 1024 words, up of 4096: the sixth matrix, down, begins the second chip
    tables = dense_symbols(graph.unplaced_words, 8, chip(1).dense)
    plan = plan_chips(graph, chip(4 * (4 * 1024 + 4096) + tables))
    down = plan.boundaries[0]
    step = graph.kinds[graph.kind_of[down.step]]
    assert step.product is not None
    assert (step.product.inner, step.product.columns) == (128, 32)
    assert down.bits == 8 * 8 * 128 + 32 * 8 * 32
    assert len(down.writers) == 2


def test_too_many_chips_is_one_sentence(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=6))
    with pytest.raises(
        UserError, match=r"^toy needs \d+ chips of 1 dense banks: package.max_chips allows 2\.$"
    ):
        plan_chips(graph, chip(5_000, allowed=2))
    with pytest.raises(UserError, match="One column of .* does not fit"):
        plan_chips(graph, chip(100))
    with pytest.raises(UserError, match="on every chip"):
        plan_chips(graph, chip(5_000), extra_cells=5_000)


def works(graph: StepGraph) -> list[Work]:
    source = random.Random(2)
    return [
        Work(
            weights=source.random(), operands=source.random(), feed=source.random(), load=source.random(),
            conversions=3 * source.random(), rows=3, results=source.random(),
        )
        for _ in graph.kinds
    ]  # fmt: skip


def test_a_schedule_over_chips_keeps_its_rules(flows: ModuleType) -> None:
    plan = plan_chips(step_graph(flows.transformer(layers=6)), chip(5_000))
    graph = plan.graph
    work = works(graph)
    crossings = {b.step: Crossing(b.writers, 0.25) for b in plan.boundaries}
    made = make_schedule(graph, work, intervals=True, crossings=crossings)
    check_schedule(graph, work, made.intervals, made.makespan_s, crossings=crossings)
    assert len(made.starts_s) == len(made.ends_s) == len(plan.boundaries) + 1
    assert {one.chip for one in made.intervals} == set(range(len(plan.boundaries) + 1))
    # sending takes time; a chip of its own for the first weights gives some back
    without = make_schedule(
        graph, work, crossings={s: Crossing(c.writers, 0.0) for s, c in crossings.items()}
    )
    assert made.makespan_s > without.makespan_s
    # a value that is read before it has arrived is noticed
    link = next(i for i in made.intervals if i.what == "link")
    late = [
        one._replace(end_s=one.end_s + 5, busy_s=one.busy_s) if one is link else one for one in made.intervals
    ]
    with pytest.raises(ScheduleFault, match="what it reads is written at"):
        check_schedule(graph, work, late, made.makespan_s, crossings=crossings)
