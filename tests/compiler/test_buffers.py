"""Every intermediate has a home: what is planned is replayed value by value."""

from __future__ import annotations

from types import ModuleType

import pytest

from ohmformer.compiler import buffers
from ohmformer.compiler.buffers import lifetimes, plan_buffers
from ohmformer.compiler.schedule import Work, make_schedule
from ohmformer.compiler.schedule_check import check_schedule
from ohmformer.compiler.steps import StepGraph, step_graph
from ohmformer.compiler.steps_folding import Segment
from ohmformer.compiler.steps_slicing import sliced, split_columns
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, override, preset

CHIP = preset("wang2024")
OPTIONS = [{}, {"rotary": True, "layers": 12}, {"context": 20, "layers": 9}]


def chip(capacity: int, **changes: object) -> ChipSpec:
    return override(CHIP, {"buffer.capacity_bytes": capacity, **changes})  # type: ignore[dict-item]


def alive(graph: StepGraph) -> list[int]:
    """Bits alive during each step, counted from the values themselves: 8 bits coded, 32 bits else."""
    found = [0] * len(graph.order)
    for step, form in enumerate(graph.order):
        for value in graph.forms[form].writes:
            last = value.last if value.last >= 0 else step + value.uses[-1]
            for at in range(step, last + 1):
                found[at] += value.elements * (8 if value.coded else 32)
    return found


@pytest.mark.parametrize("options", OPTIONS)
def test_occupancy_counts_every_value_and_spares_replaced_ones(
    flows: ModuleType, options: dict[str, object]
) -> None:
    graph = step_graph(flows.transformer(**options))
    coded, words = lifetimes(graph)
    planned = [8 * c + 32 * w for c, w in zip(coded, words, strict=True)]
    replaced = [
        sum(
            value.elements * (8 if value.coded else 32)
            for place, _ in buffers._replaced(graph, step)
            for value in (graph.forms[graph.order[step]].writes[place],)
        )
        for step in range(len(graph.order))
    ]
    assert [p + r for p, r in zip(planned, replaced, strict=True)] == alive(graph)
    assert sum(r > 0 for r in replaced) >= 5  # a residual in (nearly) every layer


def test_a_result_takes_the_place_of_a_residual_alone(flows: ModuleType) -> None:
    """x + f(x): x is read by the addition last; but not if a product streams it in the same step."""
    flow = flows.Flow()
    x = flow.call("multiply", "table", flow.read("embedding", 8, 16), flow.read("scale", 8, 16))
    y = flow.call("add", "residual", flow.linear(x, 16, "a"), x)  # "a" streams x: it stays where it is
    z = flow.call("add", "residual", flow.linear(flow.linear(y, 16, "b"), 16, "c"), y)
    flow.call("add", "residual", flow.linear(flow.linear(z, 16, "d"), 16, "e"), z)
    graph = step_graph(flow.program(8))
    steps = [graph.kinds[kind].operation for kind in graph.kind_of]
    assert steps == ["table", *["linear"] * 5]
    # y is written by step 1, z by step 3 in its place; what step 5 adds is read by no one
    assert [buffers._replaced(graph, step) for step in range(6)] == [[], [], [], [(0, (1, 0))], [], []]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("capacity", [1024, 1500, 2048, 3000])
def test_spills_folded_and_replayed(flows: ModuleType, options: dict[str, object], capacity: int) -> None:
    """Folded = unfolded; the replay never exceeds the buffer, and reads only what is where it was put."""
    graph = step_graph(flows.transformer(**options))
    spills = buffers._spill(graph, 8 * capacity, 8, 32)
    whole = buffers._spill(unfolded(graph), 8 * capacity, 8, 32)
    per_step = [spills.extras[variant] for variant in spills.variants]
    assert per_step == [whole.extras[variant] for variant in whole.variants]
    assert spills.buffer_bits == whole.buffer_bits <= 8 * capacity
    assert (spills.most_coded, spills.most_words) == (whole.most_coded, whole.most_words)
    # what is read back was written before, and is written once
    written = [0, 0]
    for extra in per_step:
        for side in (0, 1):
            if extra[side]:
                assert written[side] > 0
            written[side] += extra[2 + side]
    total = [0, 0]
    for form in graph.order:
        for value in graph.forms[form].writes:
            total[0 if value.coded else 1] += value.elements
    assert written[0] <= total[0]
    assert written[1] <= total[1]


def unfolded(graph: StepGraph) -> StepGraph:
    import dataclasses

    return dataclasses.replace(graph, segments=(Segment(0, len(graph.order), 1),))


def test_farthest_next_use_goes_first(flows: ModuleType) -> None:
    """Room for three of four values: the one that is needed last is in dense cells meanwhile."""
    flow = flows.Flow()
    start = flow.read("embedding", 4, 8)
    early = flow.linear(start, 32, "early")  # 128 numbers, read last
    soon = flow.linear(start, 32, "soon")
    third = flow.linear(start, 64, "third")
    flow.linear(third, 4, "a")
    flow.linear(soon, 5, "b")
    flow.linear(early, 6, "c")
    graph = step_graph(flow.program(4))
    # start (4 x 8) is read by the first three steps; capacity for start, soon and third
    spills = buffers._spill(graph, 8 * (32 + 128 + 256), 8, 32)
    per_step = [spills.extras[variant] for variant in spills.variants]
    assert per_step[2] == (0, 0, 128, 0)  # "early" leaves when "third" is written
    assert per_step[5] == (128, 0, 0, 0)  # and is read back by "c"
    assert [sum(extra) for step, extra in enumerate(per_step) if step not in (2, 5)] == [0] * 4


def test_homes_of_the_cache(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=3, context=500))
    words = 3 * 2 * 508 * 32
    assert graph.cache_words == words
    fits = plan_buffers(graph, chip(1 << 20))
    assert fits is not None
    assert (fits.cache_home, fits.cache_bits) == ("sram", 8 * words)
    assert fits.buffer_bits == fits.peak_bits > 8 * words
    small = plan_buffers(graph, chip(90_000))
    assert small is not None
    assert small.cache_home == "dense"
    assert small.dense_cells(CHIP) == 4 * words  # 4 cells of 2 bits each
    asked = plan_buffers(graph, chip(1 << 20, **{"buffer.kv_cache": "dense"}))
    assert asked is not None
    assert asked.cache_home == "dense"
    without = plan_buffers(graph, chip(1 << 20, **{"buffer.intermediates": "dense"}))
    assert without is not None
    assert without.buffer_bits == 0


@pytest.mark.parametrize("slices", [2, 4])
def test_groups_of_heads_do_the_same_work(flows: ModuleType, slices: int) -> None:
    program: Program = flows.transformer(tokens=128, layers=5, heads=4, rotary=True)
    graph = step_graph(program)
    assert [last - first for first, last, _ in graph.runs] == [2] * 5
    parts = sliced(graph, slices)
    same_work(graph, parts)
    assert len(parts.order) == len(graph.order) + 5 * 3 * (slices - 1)
    assert parts.cache_words == graph.cache_words
    assert max(alive(parts)) < max(alive(graph))
    rules_hold(parts)


def test_columns_do_the_same_work(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=4))
    weights = [step for step, held in enumerate(graph.holds) if held >= 0]
    parts = split_columns(graph, {weights[1]: 3, weights[7]: 5})
    same_work(graph, parts)
    assert len(parts.order) == len(graph.order) + 2 + 4
    rules_hold(parts)


def same_work(graph: StepGraph, parts: StepGraph) -> None:
    def totals(one: StepGraph) -> tuple[int, ...]:
        steps = [one.kinds[kind] for kind in one.kind_of]
        return (
            sum(step.product.macs for step in steps if step.product),
            sum(elements for step in steps for _, elements in step.functions),
            sum(step.dense_words for step in steps),
            sum(words for step in steps for _, words in step.read_classes),
            sum(step.copied + step.appended + step.cache_operands for step in steps),
            sum(value.elements for form in one.order for value in one.forms[form].writes),
        )

    assert totals(graph) == totals(parts)
    assert [entry.words for entry in graph.stored] == [entry.words for entry in parts.stored]
    for entry in parts.stored:
        assert parts.holds[entry.step] >= 0
    # every part that is written is waited for and read by each step that uses it
    for step, form in enumerate(parts.order):
        for place, value in enumerate(parts.forms[form].writes):
            for use in value.uses:
                reader = parts.forms[parts.order[step + use]]
                assert any((writer, at) == (-use, place) for writer, at, _ in reader.reads)
                assert -use in (*reader.streamed, *reader.resident, *reader.late)


def rules_hold(graph: StepGraph) -> None:
    work = [
        Work(operands=1, feed=1, conversions=2, rows=2, results=1, load=0.5)
        if kind.product
        else Work(functions=1)
        for kind in graph.kinds
    ]
    folded, whole = make_schedule(graph, work), make_schedule(graph, work, intervals=True)
    assert folded.makespan_s == whole.makespan_s
    check_schedule(graph, work, whole.intervals, folded.makespan_s)


def test_as_few_groups_as_fit(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(tokens=64, layers=5, heads=4))
    seen = []
    for capacity in (200_000, 60_000, 40_000, 30_000):
        plan = plan_buffers(graph, chip(capacity))
        assert plan is not None
        seen.append(plan.slices)
        if plan.peak_bits <= 8 * capacity:
            assert plan.variants is None
        else:  # more groups would not lower the peak, which is elsewhere
            assert plan.peak_bits == max(alive(sliced(graph, 4)))
        if plan.slices > 1:  # fewer groups would not do
            assert max(alive(sliced(graph, plan.slices // 2))) > 8 * capacity
    assert seen[0] == 1
    assert sorted(seen) == seen
    assert seen[-1] > 1


def test_a_program_without_values_has_no_plan() -> None:
    from ohmformer.ir import Product

    one = Product(module="m", operation="linear", batch=1, rows=2, inner=3, columns=4, resident="weight")
    graph = step_graph(Program(name="p", batch=1, tokens=2, subops=(one,), stored_words=12))
    assert plan_buffers(graph, CHIP) is None
