"""Steps in parts: attention in groups of heads, a matrix in groups of columns.

The entries of a batched product do not depend on each other, so that scores, softmax and context of some
heads can be finished before those of the next begin; nor do the columns of a matrix. Work and results are
the same; less is alive, or stored, in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ohmformer.compiler.steps import Form, Step, StepGraph, Written, graph_of

__all__ = ["sliced", "split_columns"]

_SLICED: WeakKeyDictionary[StepGraph, dict[int, StepGraph]] = WeakKeyDictionary()


class _Cut(NamedTuple):
    """Steps ``first`` to ``last`` are done ``parts`` times, each time a part of them."""

    first: int
    last: int
    parts: int


def sliced(graph: StepGraph, slices: int) -> StepGraph:
    """``graph`` with its attention runs in ``slices`` equal parts (those whose batch that number divides)."""
    if slices == 1:
        return graph
    known = _SLICED.setdefault(graph, {})
    if slices not in known:
        known[slices] = _cut(
            graph, [_Cut(first, last, slices) for first, last, batch in graph.runs if batch % slices == 0]
        )
    return known[slices]


def split_columns(graph: StepGraph, parts: Mapping[int, int]) -> StepGraph:
    """``graph`` with the weight products of some steps in parts of (almost) equal columns."""
    return _cut(graph, [_Cut(step, step, count) for step, count in sorted(parts.items())])


def _share(number: int, part: int, parts: int) -> int:
    return number * (part + 1) // parts - number * part // parts


def _part(step: Step, part: int, parts: int) -> Step:
    """One part of a step; all of them together are the step."""
    product = step.product
    assert product is not None
    if product.resident == "weight":
        product = replace(product, columns=_share(product.columns, part, parts))
    elif product.batch % parts == 0:
        product = replace(product, batch=product.batch // parts)
    else:
        product = replace(product, rows=product.rows // parts)
    functions = ((function, _share(elements, part, parts)) for function, elements in step.functions)
    shares = [_share(words, part, parts) for _, words in step.read_classes]
    return replace(
        step,
        product=product,
        functions=tuple(functions),
        copied=_share(step.copied, part, parts),
        appended=_share(step.appended, part, parts),
        cache_operands=_share(step.cache_operands, part, parts),
        dense_words=sum(shares),
        read_classes=tuple((kind, words) for (kind, _), words in zip(step.read_classes, shares, strict=True)),
    )


def _cut(graph: StepGraph, cuts: Sequence[_Cut]) -> StepGraph:
    cut_of = {step: cut for cut in cuts for step in range(cut.first, cut.last + 1)}
    places: list[list[int]] = [[] for _ in graph.order]  # of each step its parts in the new order
    sequence: list[tuple[int, int]] = []
    begin = 0
    while begin < len(graph.order):
        cut = cut_of.get(begin, _Cut(begin, begin, 1))
        for part in range(cut.parts):
            for member in range(begin, cut.last + 1):
                places[member].append(len(sequence))
                sequence.append((member, part))
        begin = cut.last + 1

    def together(one: int, other: int) -> bool:
        return one in cut_of and cut_of[one] is cut_of.get(other)

    def writers_of(reader: int, part: int, writers: Sequence[int]) -> tuple[int, ...]:
        at = places[reader][part]
        found = []
        for encoded in writers:
            writer = reader + encoded if encoded < 0 else encoded
            chosen = [places[writer][part]] if together(writer, reader) else places[writer]
            found += [place if encoded >= 0 else place - at for place in chosen]
        return tuple(sorted(found))

    readers: dict[tuple[int, int], list[int]] = {}
    for reader, form_index in enumerate(graph.order):
        for encoded, place, _ in graph.forms[form_index].reads:
            writer = reader + encoded if encoded < 0 else encoded
            readers.setdefault((writer, place), []).append(reader)
    kinds: dict[Step, int] = {}
    made: dict[tuple[int, int, int], int] = {}
    forms = []
    for old, part in sequence:
        form = graph.forms[graph.order[old]]
        parts = cut_of[old].parts if old in cut_of else 1
        key = (form.kind, part if parts > 1 else 0, parts)
        if key not in made:
            kind = graph.kinds[form.kind]
            made[key] = kinds.setdefault(_part(kind, part, parts) if parts > 1 else kind, len(kinds))
        at = places[old][part]
        writes = []
        for place, value in enumerate(form.writes):
            users: list[int] = []
            for reader in readers[old, place]:
                users += [places[reader][part]] if together(old, reader) else places[reader]
            far = value.last >= 0
            writes.append(
                Written(
                    elements=_share(value.elements, part, parts),
                    coded=value.coded,
                    uses=() if far else tuple(sorted({user - at for user in users})),
                    last=max(users) if far else -1,
                )
            )
        reads: list[tuple[int, int, int]] = []
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
        origins=[old for old, _ in sequence],
    )
