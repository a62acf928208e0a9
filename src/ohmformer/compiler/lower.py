"""A traced model as sub-operations: every node of the graph by its rule, nothing left out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
from ohmformer.compiler.lower_norms import RmsNorm, RotaryTables, rms_norms
from ohmformer.compiler.lower_products import PRODUCT_RULES
from ohmformer.compiler.lower_stored import words_stored
from ohmformer.compiler.lower_work import Lowering, is_cache_name, refs_of
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
    with _many_objects():
        spans = _lower_nodes(work)
    program = Program(
        name=graph.name,
        batch=graph.batch,
        tokens=graph.tokens,
        subops=tuple(work.subops),
        stored_words=sum(words_stored(*held, work.basis) * times for held, times in work.held.items()),
        values=tuple(work.values),
        outputs=tuple([work.caches.get(value, work.id_of(Ref(value))) for value in graph.outputs]),
        phase=graph.phase,
        context=graph.context,
        assumptions=(*graph.assumptions, *work.assumptions),
        word_basis=work.basis,
        stored=tuple((numbers, int(vector), times) for (numbers, vector), times in work.held.items()),
    )
    return program, tuple(spans)


@contextmanager
def _many_objects() -> Iterator[None]:
    """Thousands of small objects come and stay: the garbage collector would look through them in vain."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _lower_nodes(work: Lowering) -> list[tuple[int, int]]:
    nodes, subops, constant, floating = work.graph.nodes, work.subops, work.constant, work.floating
    caches, tables = Caches(work.graph), RotaryTables()
    norms = rms_norms(work.graph, work.stored)
    spans: list[tuple[int, int]] = []
    place, count = 0, len(nodes)
    while place < count:
        node = work.node = nodes[place]
        work.module = node.module
        before, last = len(subops), place
        read = refs_of(node)
        if tables.made:
            tables.read_escaped(work, read)
        unknown = [value for value in read if not constant[value]]
        if not unknown:
            lower_control(work)
            tables.note(node)
        elif not any(floating[value] for value in unknown):
            lower_routing(work)
        elif place in norms:
            _lower_norm(work, norms[place])
            last = norms[place].last
        else:
            _lower_node(work, caches, unknown)
        if len(subops) == before or work.of[nodes[last].outputs[0]] < 0:
            raise work.refusal("gave no sub-operation, which is an error of the lowering")
        spans += [(before, len(subops))] * (last + 1 - place)
        place = last + 1
    return spans


def _lower_node(work: Lowering, caches: Caches, unknown: list[int]) -> None:
    node = work.node
    if caches.lower(work):
        return
    for value in unknown:
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
