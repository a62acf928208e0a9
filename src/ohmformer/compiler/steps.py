"""Steps: a product with the functions that follow it; who waits for whom; layers that repeat, folded."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace

from ohmformer.compiler.steps_folding import fold, likely_period
from ohmformer.compiler.steps_types import CLASSES, Form, Step, StepGraph, Stored, Written, class_of
from ohmformer.compiler.steps_walk import LATE, RESIDENT, STREAMED, Walk, attention_runs
from ohmformer.ir import Program

__all__ = [
    "CLASSES",
    "LATE",
    "Form",
    "Step",
    "StepGraph",
    "Stored",
    "Written",
    "class_of",
    "graph_of",
    "step_graph",
]

_GRAPHS: dict[int, tuple[weakref.ref[Program], StepGraph]] = {}


def step_graph(program: Program) -> StepGraph:
    """The steps of ``program``; made once and kept as long as the program lives.

    A product opens a step; functions and copies join the open one. A dense read belongs to the step that
    first uses what was read; where the program does not tell its values, to the next product.
    """
    key = id(program)
    kept = _GRAPHS.get(key)
    if kept is not None and kept[0]() is program:
        return kept[1]
    graph = _build(program)
    _GRAPHS[key] = (weakref.ref(program, lambda _: _GRAPHS.pop(key, None)), graph)
    return graph


def _build(program: Program) -> StepGraph:
    walk = Walk(program)
    walk.run()
    kinds: dict[Step, int] = {}
    kind_of = [kinds.setdefault(one.step(), len(kinds)) for one in walk.done]
    stored = tuple(walk.stored.values())
    place = {key: index for index, key in enumerate(walk.stored)}
    empty = StepGraph(
        name=program.name,
        kinds=tuple(kinds),
        forms=(),
        order=(),
        kind_of=tuple(kind_of),
        reach=1,
        modules=tuple(one.module for one in walk.done),
        segments=(),
        times=(),
        stored=stored,
        holds=tuple(place.get(one.weight, -1) for one in walk.done),
        unplaced_words=max(program.stored_words - sum(entry.words for entry in stored), 0),
        cache_words=walk.cache_words,
        flowing=walk.flowing,
        runs=attention_runs(walk),
    )
    return graph_of(empty, kinds=empty.kinds, forms=_forms(walk, kind_of), modules=empty.modules)


def graph_of(
    origin: StepGraph,
    *,
    kinds: tuple[Step, ...],
    forms: list[Form],
    modules: tuple[str, ...],
    origins: Sequence[int] | None = None,
) -> StepGraph:
    """The graph of ``origin``'s program with these steps, one form each; equal forms become one.

    origins: step of ``origin`` that each step is (a part of); attention runs are then not told again
    """
    known: dict[Form, int] = {}
    order = [known.setdefault(form, len(known)) for form in forms]
    kind_of = [form.kind for form in forms]
    counted = [0] * len(kinds)
    for kind in kind_of:
        counted[kind] += 1
    first: dict[int, int] = {}
    for new, old in enumerate(origins or ()):
        first.setdefault(old, new)
    waits = (writer for form in known for writer in (*form.streamed, *form.resident, *form.late))
    return StepGraph(
        name=origin.name,
        kinds=kinds,
        forms=tuple(known),
        order=tuple(order),
        kind_of=tuple(kind_of),
        reach=max((-writer for writer in waits), default=1),
        modules=modules,
        segments=fold(order),
        times=tuple(counted),
        stored=origin.stored
        if origins is None
        else tuple(replace(entry, step=first[entry.step]) for entry in origin.stored),
        holds=origin.holds if origins is None else tuple(origin.holds[step] for step in origins),
        unplaced_words=origin.unplaced_words,
        cache_words=origin.cache_words,
        flowing=origin.flowing,
        runs=origin.runs if origins is None else (),
    )


def _forms(walk: Walk, kind_of: list[int]) -> list[Form]:
    if not walk.flowing:
        made = []
        for index, kind in enumerate(kind_of):
            before = (-1,) if index else ()
            product = walk.done[index].product
            held = before if product is not None and product.resident == "activation" else ()
            made.append(
                Form(
                    kind=kind,
                    streamed=before,
                    resident=held,
                    late=before,
                    own_read=False,
                    writes=(),
                    reads=(),
                )
            )
        return made
    reach = 2 * likely_period(kind_of)
    writes: list[list[Written]] = [[] for _ in kind_of]
    reads: list[list[tuple[int, int, int]]] = [[] for _ in kind_of]
    far_writers: set[int] = set()
    for root, uses in walk.uses.items():
        writer, last = walk.writer[root], max(step for step, _ in uses)
        far = reach > 0 and last - writer > reach
        place = len(writes[writer])
        writes[writer].append(
            Written(
                elements=walk.values[root].elements,
                coded=all(role != LATE for _, role in uses),
                uses=() if far else tuple(sorted({step - writer for step, _ in uses})),
                last=last if far else -1,
            )
        )
        if far:
            far_writers.add(writer)
        for step, role in uses:
            reads[step].append((writer if far else writer - step, place, role))
    made = []
    for index, (kind, one) in enumerate(zip(kind_of, walk.done, strict=True)):

        def relative(waits: set[int], index: int = index) -> tuple[int, ...]:
            return tuple(
                sorted(
                    step if step in far_writers or (reach and index - step > reach) else step - index
                    for step in waits
                )
            )

        made.append(
            Form(
                kind=kind,
                streamed=relative(one.waits[STREAMED]),
                resident=relative(one.waits[RESIDENT]),
                late=relative(one.waits[LATE]),
                own_read=one.own_read,
                writes=tuple(writes[index]),
                reads=tuple(sorted(set(reads[index]))),
            )
        )
    return made
