"""Steps keep all work, know whom they wait for, and fold repeated layers exactly."""

from __future__ import annotations

import gc
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmformer.compiler.steps import CLASSES, step_graph
from ohmformer.compiler.steps_folding import Segment, fold, likely_period
from ohmformer.ir import DenseRead, FunctionCall, Product, Program, verify


@given(
    st.lists(st.integers(0, 2), max_size=6),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.integers(1, 9),
    st.lists(st.integers(0, 2), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_segments_give_the_sequence_back(
    before: list[int], block: list[int], times: int, after: list[int]
) -> None:
    items = before + block * times + after
    again: list[int] = []
    place = 0
    for segment in fold(items):
        assert segment.start == place
        again += items[segment.start : segment.start + segment.length] * segment.times
        place = segment.end
    assert again == items


def test_the_longest_stretch_is_folded_once() -> None:
    layers = [7, 8] + [0, 1, 1, 2] * 96 + [9]
    assert fold(layers) == (Segment(0, 2, 1), Segment(2, 4, 96), Segment(386, 1, 1))
    assert likely_period(layers) == 4
    assert likely_period([1, 2, 3]) == 0
    # an encoder and a decoder, each folded
    both = [0, 1, 2] * 12 + [5] + [0, 3, 4, 2] * 12
    assert [(s.length, s.times) for s in fold(both)] == [(3, 12), (1, 1), (4, 12)]


@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"context": 20}])
def test_every_sub_operation_is_in_a_step(flows: ModuleType, options: dict[str, object]) -> None:
    program: Program = flows.transformer(layers=7, **options)
    verify(program)
    graph = step_graph(program)
    steps = [graph.kinds[kind] for kind in graph.kind_of]
    assert sum(step.product.macs for step in steps if step.product) == program.macs
    assert sum(len(step.functions) for step in steps) == len(list(program.functions()))
    assert sum(step.dense_words for step in steps) == sum(read.words for read in program.dense_reads())
    assert sum(step.appended for step in steps) == program.cache_written
    assert sum(step.cache_operands for step in steps) == program.cache_read
    assert all(len(step.classes) == 1 + len(step.functions) for step in steps)
    assert all(kind in ("", *CLASSES) for step in steps for kind in step.classes)
    assert sum(graph.times) == len(graph.order) == len(graph.modules)
    # six of seven layers are one block: the first differs, since it reads the embedding
    assert max(graph.segments, key=lambda segment: segment.times).times in (6, 7)
    assert sum(entry.words for entry in graph.stored) + graph.unplaced_words == program.stored_words


def test_dependencies_are_those_of_the_values(flows: ModuleType) -> None:
    """Against following every value by itself: a step waits for those that write what it reads."""
    program: Program = flows.transformer(layers=5, rotary=True)
    graph = step_graph(program)
    owner, writer, alias = [], {}, {}
    step = -1
    pending = {}
    waits: list[set[int]] = []
    for subop in program.subops:
        opens = isinstance(subop, Product) or (step < 0 and isinstance(subop, FunctionCall))
        if opens:
            step += 1
            waits.append(set())
        owner.append(step)
        if isinstance(subop, DenseRead):
            pending[subop.outputs[0]] = True
            continue
        if not isinstance(subop, (Product, FunctionCall)):
            alias[subop.outputs[0]] = alias.get(subop.inputs[0], subop.inputs[0])
            continue
        for value in subop.inputs:
            value = alias.get(value, value)
            if pending.pop(value, False):
                writer[value] = step
            if writer.get(value, step) != step:
                waits[step].add(writer[value])
        writer[subop.outputs[0]] = step
    for index, form in enumerate(graph.forms[one] for one in graph.order):
        found = {w if w >= 0 else index + w for w in (*form.streamed, *form.resident, *form.late)}
        assert found == waits[index]


def test_what_many_layers_read_does_not_hinder_folding(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=12, rotary=True))
    assert [segment.times for segment in graph.segments] == [1, 11, 1]
    table = graph.forms[graph.order[0]].writes[0]
    assert table.uses == ()
    # the last layer's first three steps come before its attention
    assert table.last == len(graph.order) - 1 - 8
    assert graph.reach < 2 * 10


def test_values_read_by_products_alone_are_coded(flows: ModuleType) -> None:
    graph = step_graph(flows.transformer(layers=4))
    up = next(
        graph.forms[form]
        for form, kind in zip(graph.order, graph.kind_of, strict=True)
        if graph.kinds[kind].product is not None and graph.kinds[kind].product.columns == 128
    )
    assert [(w.elements, w.coded, w.uses) for w in up.writes] == [(8 * 128, True, (1,))]
    residual = graph.forms[graph.order[-2]].writes
    assert [(w.coded, w.uses) for w in residual] == [(True, (1,))]  # read by the head alone
    inner = graph.forms[graph.order[9]].writes  # the residual between layers is added to as well
    assert not inner[0].coded


def test_without_values_each_step_waits_for_the_one_before() -> None:
    def product(columns: int) -> Product:
        return Product(
            module="m", operation="linear", batch=1, rows=2, inner=3, columns=columns, resident="weight"
        )  # fmt: skip

    program = Program(
        name="p", batch=1, tokens=2, subops=(product(4), product(5), product(4)), stored_words=100
    )  # fmt: skip
    graph = step_graph(program)
    assert not graph.flowing
    assert [graph.forms[form].streamed for form in graph.order] == [(), (-1,), (-1,)]
    assert graph.times == (2, 1)
    # the two products of one module and shape are one matrix
    assert graph.unplaced_words == 100 - (12 + 15)


def test_a_graph_is_made_once_and_goes_with_its_program(flows: ModuleType) -> None:
    from ohmformer.compiler import steps

    program = flows.transformer(layers=2)
    key = id(program)
    assert step_graph(program) is step_graph(program)
    assert key in steps._GRAPHS
    del program
    gc.collect()
    assert key not in steps._GRAPHS
