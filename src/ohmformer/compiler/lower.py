"""A traced model as sub-operations: every node of the graph by its rule, nothing left out."""

from __future__ import annotations

from collections.abc import Callable

from ohmformer.compiler.graph import ModelGraph, Ref
from ohmformer.compiler.lower_experts import lower_grouped
from ohmformer.compiler.lower_functions import FUNCTION_RULES, rms_norm
from ohmformer.compiler.lower_moves import (
    Caches,
    lower_control,
    lower_move,
    lower_routing,
    place_of,
    read_cache,
)
from ohmformer.compiler.lower_norms import RmsNorm, rms_norms, rotary_tables
from ohmformer.compiler.lower_products import PRODUCT_RULES
from ohmformer.compiler.lower_work import Lowering, is_cache_name, refs_in
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec
from ohmformer.specs.presets import wang2024

__all__ = ["RULES", "Spans", "lower", "lower_with_spans"]

Rule = Callable[[Lowering], None]
RULES: dict[str, Rule] = {**PRODUCT_RULES, **FUNCTION_RULES, "grouped_mm": lower_grouped}
Spans = tuple[tuple[int, int], ...]


def lower(graph: ModelGraph, chip: ChipSpec | None = None) -> Program:
    """The sub-operations of a run, exactly those that a deployed model makes.

    chip: whose words the stored numbers and dense reads are counted in; None takes ``wang2024``. All else is
          independent of the chip.

    What depends on no stored number and on no data is ``control``: known before the run. Every node gives
    sub-operations or a move that says what it is.
    Error: UserError naming an operation without a lowering, its module and its line.
    """
    return lower_with_spans(graph, chip)[0]


def lower_with_spans(graph: ModelGraph, chip: ChipSpec | None = None) -> tuple[Program, Spans]:
    """As ``lower``, and for each node the first of its sub-operations and the last + 1.

    Nodes that are one operation together (an RMS norm) have the same.
    """
    work = Lowering(graph, wang2024() if chip is None else chip)
    caches = Caches(graph)
    norms = rms_norms(graph, work.stored)
    tables = rotary_tables(graph, lambda value: work.floating[value])
    spans: list[tuple[int, int]] = []
    nodes, subops = graph.nodes, work.subops
    place, count = 0, len(nodes)
    while place < count:
        node = work.node = nodes[place]
        work.module = node.module
        before, last = len(subops), place
        read = _refs(node.args, node.kwargs)
        floats = [value for value in read if work.floating[value]]
        known = all(work.constant[value] for value in floats)
        norm = norms.get(place)
        if known and not all(work.constant[value] for value in read):
            lower_routing(work)
        elif known:
            lower_control(work)
            for value in node.outputs:
                if value in tables:
                    _read_table(work, value, tables[value])
        elif norm is not None:
            _lower_norm(work, norm)
            last = norm.last
        else:
            _lower_node(work, caches, floats)
        if len(subops) == before or work.of[nodes[last].outputs[0]] < 0:
            raise work.refusal("gave no sub-operation, which is an error of the lowering")
        spans += [(before, len(subops))] * (last + 1 - place)
        place = last + 1
    program = Program(
        name=graph.name,
        batch=graph.batch,
        tokens=graph.tokens,
        subops=tuple(subops),
        stored_words=sum(stored.words for stored in work.stored.values() if stored.part is None),
        values=tuple(work.values),
        outputs=tuple([work.caches.get(value, work.id_of(Ref(value))) for value in graph.outputs]),
        phase=graph.phase,
        context=graph.context,
        assumptions=(*graph.assumptions, *work.assumptions),
    )
    return program, tuple(spans)


def _refs(args: tuple[object, ...], kwargs: tuple[tuple[str, object], ...]) -> list[int]:
    found = refs_in(args, [])
    for _, value in kwargs:
        refs_in(value, found)
    return found


def _lower_node(work: Lowering, caches: Caches, floats: list[int]) -> None:
    node = work.node
    if caches.lower(work):
        return
    for value in floats:
        given = work.graph.values[value]
        if given.kind == "input" and is_cache_name(given.name) and value not in work.caches:
            read_cache(work, value)
    rule = RULES.get(node.function)
    if rule is not None:
        return rule(work)
    if not place_of(node.function):
        raise work.refusal(
            "has no lowering: it is not one of the known products, functions, moves and selections"
        )
    lower_move(work)


def _lower_norm(work: Lowering, norm: RmsNorm) -> None:
    made = work.of[norm.out] = work.value(work.graph.values[norm.out].shape)
    weight = None if norm.weight is None else Ref(norm.weight)
    rms_norm(work, work.read(Ref(norm.x)), weight, norm.eps, norm.offset, made)


def _read_table(work: Lowering, value: int, largest: float) -> None:
    """A table of positions is prepared before the run and read from the dense crossbar."""
    table = work.of[value]
    shape = work.values[table].shape
    made = work.of[value] = work.value(shape, "constant")
    work.table_read("rotary table", table, made, largest)
