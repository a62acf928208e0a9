"""Attention in groups of heads: the steps from scores to context, done for a part of the batch at a time.

The entries of a batched product do not depend on each other, so that scores, softmax and context of some
heads can be finished before those of the next begin. Work and results are the same; less is alive at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from ohmformer.compiler.steps import Form, Step, StepGraph, Written, graph_of

__all__ = ["sliced"]

_SLICED: WeakKeyDictionary[StepGraph, dict[int, StepGraph]] = WeakKeyDictionary()


def sliced(graph: StepGraph, slices: int) -> StepGraph:
    """``graph`` with each of its attention runs in ``slices`` equal parts (as many as divide its batch)."""
    if slices == 1:
        return graph
    known = _SLICED.setdefault(graph, {})
    if slices not in known:
        known[slices] = _slice(graph, slices)
    return known[slices]


def _part(step: Step, slices: int) -> Step:
    """One part of a step."""
    product = step.product
    assert product is not None
    if product.batch % slices == 0:
        product = replace(product, batch=product.batch // slices)
    else:
        product = replace(product, rows=product.rows // slices)
    return replace(
        step,
        product=product,
        functions=tuple((function, elements // slices) for function, elements in step.functions),
        copied=step.copied // slices,
        cache_operands=step.cache_operands // slices,
    )


def _slice(graph: StepGraph, slices: int) -> StepGraph:
    run_of: dict[int, int] = {}
    parts: dict[int, int] = {}
    for number, (first, last, batch) in enumerate(graph.runs):
        for step in range(first, last + 1):
            run_of[step] = number
            parts[step] = slices if batch % slices == 0 else 1
    places: list[list[int]] = [[] for _ in graph.order]  # of each step its parts in the new order
    sequence: list[tuple[int, int]] = []
    begin = 0
    while begin < len(graph.order):
        last = graph.runs[run_of[begin]][1] if begin in run_of else begin
        for part in range(parts.get(begin, 1)):
            for member in range(begin, last + 1):
                places[member].append(len(sequence))
                sequence.append((member, part))
        begin = last + 1

    def writers_of(reader: int, part: int, writers: Sequence[int]) -> tuple[int, ...]:
        at = places[reader][part]
        found = []
        for encoded in writers:
            writer = reader + encoded if encoded < 0 else encoded
            same = writer in run_of and run_of[writer] == run_of.get(reader)
            chosen = [places[writer][part]] if same else places[writer]
            found += [place if encoded >= 0 else place - at for place in chosen]
        return tuple(sorted(found))

    readers: dict[tuple[int, int], list[int]] = {}
    for reader, form_index in enumerate(graph.order):
        for encoded, place, _ in graph.forms[form_index].reads:
            writer = reader + encoded if encoded < 0 else encoded
            readers.setdefault((writer, place), []).append(reader)
    kinds: dict[Step, int] = {}
    made, forms = {}, []
    for old, part in sequence:
        form, count = graph.forms[graph.order[old]], parts.get(old, 1)
        key = (form.kind, count)
        if key not in made:
            kind = graph.kinds[form.kind]
            made[key] = kinds.setdefault(_part(kind, count) if count > 1 else kind, len(kinds))
        at = places[old][part]
        writes = []
        for place, value in enumerate(form.writes):
            users = []
            for reader in readers[old, place]:
                same = old in run_of and run_of[old] == run_of.get(reader)
                users += [places[reader][part]] if same else places[reader]
            far = value.last >= 0
            writes.append(
                Written(
                    elements=value.elements // count,
                    coded=value.coded,
                    uses=() if far else tuple(sorted({user - at for user in users})),
                    last=max(users) if far else -1,
                )
            )
        reads = []
        for encoded, place, role in form.reads:
            reads += [(writer, place, role) for writer in writers_of(old, part, (encoded,))]
        forms.append(
            Form(
                kind=made[key],
                streamed=writers_of(old, part, form.streamed),
                resident=writers_of(old, part, form.resident),
                late=writers_of(old, part, form.late),
                own_read=form.own_read,
                writes=tuple(writes),
                reads=tuple(sorted(reads)),
            )
        )
    return graph_of(
        graph,
        kinds=tuple(kinds),
        forms=forms,
        modules=tuple(graph.modules[old] for old, _ in sequence),
        firsts=[places[old][0] for old in range(len(graph.order))],
    )
