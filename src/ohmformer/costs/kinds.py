"""What each kind of operation takes of a run."""

from __future__ import annotations

import math

from ohmformer.compiler.steps import CLASSES, Step
from ohmformer.costs.counts import NOTHING, CountTuple, function_words
from ohmformer.costs.energy import ADDITIONS, BUFFER, COMPARISONS, EVALUATIONS, SYMBOLS, WRITES, priced
from ohmformer.costs.report import KindCost
from ohmformer.costs.running import Run
from ohmformer.costs.timing import NO_EXTRA, Extra, Rates

__all__ = ["SPILLS", "kind_costs"]

SPILLS = "spills"


def _parts(step: Step, rates: Rates, extra: Extra) -> list[tuple[str, list[int]]]:
    """Counts of all of ``step`` but its product, by kind of operation."""
    numbers, found = rates.counts, []
    bits, word = numbers.activation_bits, numbers.word_bits

    def part(kind: str, **counts: int) -> None:
        row = list(NOTHING)
        for name, value in counts.items():
            row[_PLACE[name]] = value
        found.append((kind, row))

    for kind, (function, elements) in zip(step.classes[1:], step.functions, strict=True):
        words, adds, compares, values = function_words(function, elements)
        part(kind, buffer=words * word, additions=adds, comparisons=compares, evaluations=values)
    for kind, words in step.read_classes:
        part(kind, symbols=words * numbers.weight_cells)
    if step.copied:
        part("element-wise", buffer=2 * step.copied * word)
    if step.appended or (rates.cache_in_dense and step.cache_operands):
        dense = rates.cache_in_dense or numbers.dense_home
        read = step.cache_operands if rates.cache_in_dense else 0
        part(
            "cache",
            buffer=(step.appended + read) * bits,
            writes=step.appended * numbers.activation_cells if dense else 0,
            symbols=read * numbers.activation_cells,
        )
    if extra != NO_EXTRA:
        part(
            SPILLS,
            symbols=extra.read_coded * numbers.activation_cells + extra.read_words * numbers.word_cells,
            writes=extra.written_coded * numbers.activation_cells + extra.written_words * numbers.word_cells,
            buffer=(extra.read_coded + extra.written_coded) * bits
            + (extra.read_words + extra.written_words) * word,
        )
    return found


_PLACE = {
    "buffer": BUFFER,
    "additions": ADDITIONS,
    "comparisons": COMPARISONS,
    "evaluations": EVALUATIONS,
    "symbols": SYMBOLS,
    "writes": WRITES,
}


def kind_costs(run: Run, units: tuple[float, ...]) -> tuple[KindCost, ...]:
    """Counts, dynamic energy and time by kind of operation, those that occur, in the order of ``CLASSES``.

    A product's share of a step is what the other parts leave. The time of a step belongs to the kind of its
    product, or of its first function; spills take their energy alone.
    """
    sums: dict[str, list[int]] = {}
    seconds: dict[str, list[float]] = {}
    extras = run.extras or (NO_EXTRA,) * len(run.kinds)
    rows = zip(run.kinds, run.times, run.steps, extras, run.schedule.advance_s, strict=True)
    for index, times, numbers, extra, advance in rows:
        step = run.graph.kinds[index]
        rest: CountTuple | list[int] = numbers.counts
        parts = _parts(step, run.rates, extra)
        for _, row in parts:
            rest = [whole - part for whole, part in zip(rest, row, strict=True)]
        if step.product is not None:
            parts.append((step.classes[0], list(rest)))
        for kind, row in parts:
            total = sums.setdefault(kind, list(NOTHING))
            for place, value in enumerate(row):
                if value:
                    total[place] += times * value
        named = [kind for kind in step.classes if kind] or [kind for kind, _ in step.read_classes]
        seconds.setdefault(named[0] if named else "element-wise", []).append(advance)
    order = (*CLASSES, SPILLS)
    return tuple(
        KindCost(
            kind=kind,
            macs=counts[0],
            conversions=counts[1],
            evaluations=counts[EVALUATIONS] + counts[COMPARISONS],
            energy_J=math.fsum(priced(tuple(counts), units)),
            time_s=math.fsum(seconds.get(kind, ())),
        )
        for kind in order
        if kind in sums or kind in seconds
        for counts in (sums.get(kind, NOTHING),)
    )
