"""A schedule keeps its rules, folded layers lose nothing, and its time is what hand arithmetic says."""

from __future__ import annotations

import random
from dataclasses import replace
from types import ModuleType

import pytest

from ohmformer.compiler.schedule import RESOURCES, Busy, Work, make_schedule, makespan
from ohmformer.compiler.schedule_check import ScheduleFault, check_schedule
from ohmformer.compiler.schedule_work import BUFFER, CONVERSIONS
from ohmformer.compiler.steps import StepGraph, step_graph
from ohmformer.ir import Product, Program

OPTIONS = [{}, {"rotary": True, "layers": 12}, {"context": 20, "layers": 9}]


def drawn(graph: StepGraph, source: random.Random) -> list[Work]:
    """Random durations for every kind of step; some resources unused, some chips with many blocks a tile."""

    def some(share: float) -> float:
        return source.random() if source.random() < share else 0.0

    work = []
    for kind in graph.kinds:
        if kind.product is None:
            work.append(
                Work(weights=some(0.5), functions=some(0.8), additions=some(0.5), results=source.random())
            )
            continue
        loads = source.choice([1, 1, 2, 3, 9])
        activation = kind.product.resident == "activation"
        work.append(
            Work(
                weights=some(0.6), loads=loads, resident=some(0.5) if activation else 0.0,
                load=some(0.8),
                fetch=some(0.2), operands=some(0.8), feed=source.random(), conversions=3 * source.random(),
                rows=source.choice([1, 2, 7, 9]), additions=source.random(), functions=some(0.5),
                results=source.random(), writes=some(0.2),
            )
        )  # fmt: skip
    return work


@pytest.mark.parametrize("options", OPTIONS)
def test_folded_is_unfolded_to_the_last_bit_and_keeps_every_rule(
    flows: ModuleType, options: dict[str, object]
) -> None:
    graph = step_graph(flows.transformer(**options))
    source = random.Random(7)
    shorter = 0
    for _ in range(60):
        work = drawn(graph, source)
        folded, whole = make_schedule(graph, work), make_schedule(graph, work, intervals=True)
        assert folded.makespan_s == whole.makespan_s
        assert folded.advance_s == whole.advance_s
        assert sum(folded.advance_s) == folded.makespan_s
        check_schedule(graph, work, whole.intervals, folded.makespan_s)
        shorter += folded.played < whole.played
    assert shorter > 40  # most schedules come back to an earlier state before the layers end


def test_variants_of_single_steps(flows: ModuleType) -> None:
    """A step with other work in the middle of the layers: only equal blocks may be skipped."""
    graph = step_graph(flows.transformer(layers=20))
    work = drawn(graph, random.Random(3))
    work.append(Work(conversions=50.0, feed=0.1))
    variants = list(graph.kind_of)
    variants[57] = len(work) - 1
    folded = make_schedule(graph, work, variants=variants)
    whole = make_schedule(graph, work, variants=variants, folded=False)
    assert folded.makespan_s == whole.makespan_s > makespan(graph, work) + 40
    assert folded.played < whole.played


def product(resident: str = "weight", columns: int = 4) -> Product:
    return Product(
        module="m", operation="linear", batch=1, rows=2, inner=3, columns=columns,
        resident=resident,  # type: ignore[arg-type]
    )  # fmt: skip


def alone(count: int = 1) -> StepGraph:
    subops = tuple(product(columns=4 + i) for i in range(count))
    return step_graph(Program(name="p", batch=1, tokens=2, subops=subops, stored_words=1000))


def starts(graph: StepGraph, work: list[Work]) -> dict[tuple[int, str, str], tuple[float, float]]:
    found = make_schedule(graph, work, intervals=True).intervals
    return {(i.step, RESOURCES[i.resource], i.what): (i.start_s, i.end_s) for i in found}


def test_one_step_by_hand() -> None:
    """q = 4 rows: weights 2, load 1, operands 8 beside feed 4, conversions 16, additions 2, functions 32."""
    graph = alone()
    work = [
        Work(
            weights=2,
            load=1,
            operands=8,
            feed=4,
            conversions=16,
            rows=4,
            additions=2,
            functions=32,
            results=8,
        )
    ]
    at = starts(graph, work)
    assert at[0, "dense reads", "weights"] == (0, 2)
    assert at[0, "operand feed", "load"] == (2, 3)
    assert at[0, "buffer", "operands"] == (0, 8)
    # beside the operands, after the load; a quarter of it is the first row: 4
    assert at[0, "operand feed", "operands"] == (3, 8)
    # 16 from there; the last row (4) comes after the last operands at 8: not later than 20
    assert at[0, "conversions", "conversions"] == (4, 20)
    # from the first row at 8; a quarter of 2 after the last row
    assert at[0, "additions", "additions"] == (8, 20.5)
    # functions take values from the accumulators one by one, and are busy to the end
    assert at[0, "functions", "functions"] == (8, 40)
    assert at[0, "buffer", "results"] == (8, 40)
    assert makespan(graph, work) == 40


def test_weights_are_read_ahead_and_latches_stop_them() -> None:
    """Three products: the third may load only when the first has no conversion left."""
    graph = alone(3)
    one = Work(weights=1, load=1, feed=1, conversions=10)
    at = starts(graph, [one] * 3)
    assert at[0, "conversions", "conversions"] == (3, 13)
    assert at[1, "dense reads", "weights"] == (1, 2)  # during the conversions of the first
    assert at[1, "operand feed", "load"] == (3, 4)  # after the first's operands
    assert at[1, "operand feed", "operands"] == (13, 14)  # its operands are results of the first
    assert at[2, "dense reads", "weights"] == (13, 14)  # the set of the first is free at 13
    # with two blocks a tile both sets are in use until the last block
    at = starts(graph, [one._replace(loads=2)] * 3)
    first = at[0, "conversions", "conversions"]
    assert at[1, "dense reads", "weights"][0] == first[1] - 5


def test_many_blocks_are_read_between_conversions() -> None:
    """Ten blocks a tile. Fast conversions wait for reads; fast reads wait for latches."""
    graph = alone()
    slow_reads = Work(weights=100, loads=10, load=1, feed=1, conversions=10, rows=10)
    at = starts(graph, [slow_reads])
    # blocks 1, 2 are read at 10, 20; block 1 is sent by 11, its row by 11.1; the third is read from 20 on,
    # the tenth is ready at 100, and converted at 101
    assert at[0, "conversions", "conversions"] == pytest.approx((11.1, 101), rel=1e-12)
    assert at[0, "dense reads", "later weights"] == (20, 100)
    slow_tiles = Work(weights=10, loads=10, load=1, feed=1, conversions=100, rows=10)
    at = starts(graph, [slow_tiles])
    begin, end = at[0, "conversions", "conversions"]
    assert end - begin == pytest.approx(100, rel=1e-12)
    # the tenth block is read when the eighth is done
    assert at[0, "dense reads", "later weights"] == pytest.approx((begin + 10, end - 20 + 1), rel=1e-12)


def test_independent_steps_overlap(flows: ModuleType) -> None:
    """Query, key and value: operands of the next are read while the last converts; products take turns."""
    graph = step_graph(flows.transformer(layers=3))
    work = [Work(operands=1, feed=1, conversions=4, rows=4, results=1, load=0.1) for _ in graph.kinds]
    query = 2 * 10  # in the third layer, of ten steps each
    found = {(i.step, i.resource, i.what): i for i in make_schedule(graph, work, intervals=True).intervals}
    for step in (query + 1, query + 2):  # key and value follow without a pause
        before, here = (found[s, CONVERSIONS, "conversions"] for s in (step - 1, step))
        assert here.start_s == before.end_s
    # the scores wait for query and key, the feed of the value does not
    scores = found[query + 3, BUFFER, "operands"]
    assert scores.start_s >= found[query + 1, BUFFER, "results"].end_s
    assert found[query + 2, BUFFER, "operands"].start_s < found[query + 1, BUFFER, "results"].end_s


def test_more_work_is_never_faster(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=6))
    source = random.Random(11)
    for _ in range(30):
        work = drawn(graph, source)
        base = makespan(graph, work)
        which, field = (
            source.randrange(len(work)),
            source.choice(["conversions", "feed", "results", "functions"]),
        )
        longer = list(work)
        longer[which] = work[which]._replace(**{field: getattr(work[which], field) + source.random()})
        # the time grid depends on the sum of all durations: 2^-50 of it for each of some thousand roundings
        assert makespan(graph, longer) >= base * (1 - 1e-11)
        assert base >= max(
            sum(getattr(work[kind], name) for kind in graph.kind_of) for name in ("conversions", "functions")
        ) * (1 - 1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i._replace(start_s=i.start_s / 2, end_s=i.start_s / 2 + i.busy_s), "begins at|converts"),
        (lambda i: i._replace(busy_s=i.busy_s / 2), "are due"),
        (lambda i: i._replace(busy_s=2 * (i.end_s - i.start_s)), "works longer than it lasts"),
    ],
)
def test_the_check_finds_a_moved_interval(flows: ModuleType, change: object, message: str) -> None:
    """Every conversions, feed and functions interval of one layer, moved or shortened, is noticed."""
    graph = step_graph(flows.transformer(layers=2))
    work = [Work(operands=1, feed=1, conversions=4, rows=4, functions=2, results=1, load=0.1)] * len(
        graph.kinds
    )
    made = make_schedule(graph, work, intervals=True)
    for place, interval in enumerate(made.intervals):
        if interval.step < 3 or interval.end_s == made.makespan_s:
            continue
        intervals = list(made.intervals)
        intervals[place] = change(interval)  # type: ignore[operator]
        with pytest.raises(ScheduleFault, match=message):
            check_schedule(graph, work, intervals, made.makespan_s)


def test_the_check_compares_the_delay() -> None:
    graph = alone()
    work = [Work(conversions=1.0, feed=1.0)]
    made = make_schedule(graph, work, intervals=True)
    with pytest.raises(ScheduleFault, match="the reported delay is"):
        check_schedule(graph, work, made.intervals, made.makespan_s * 2)
    extra = Busy(0, CONVERSIONS, 0.5, 1.5, 1.0, "conversions")
    with pytest.raises(ScheduleFault, match="begins at"):
        check_schedule(graph, work, [*made.intervals, extra], made.makespan_s)
    assert replace(made, intervals=()).makespan_s == 2.0


def test_a_step_waits_for_the_one_before_however_it_is_told(flows: ModuleType) -> None:
    """A writer that many layers read is told by its index, also to the step right behind it."""
    graph = step_graph(flows.transformer(layers=12, rotary=True))
    table, reader = 0, graph.forms[graph.order[3]]
    assert table in reader.late
    first = graph.forms[graph.order[1]]
    moved = replace(
        graph,
        forms=(*graph.forms, replace(first, streamed=(table,), own_read=False)),
        order=(graph.order[0], len(graph.forms), *graph.order[2:]),
    )
    work = [Work(operands=1, feed=1, conversions=4, rows=4, functions=9, results=1)] * len(graph.kinds)
    made = make_schedule(moved, work, intervals=True)
    check_schedule(moved, work, made.intervals, made.makespan_s)
