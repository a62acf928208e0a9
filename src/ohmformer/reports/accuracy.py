"""Sections on what a model computes: scores with intervals, amplitudes, texts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ohmformer.reports.charts import Curve, Mark, Point, Row, Shape, curves, figure, rows_chart
from ohmformer.reports.html import Html, join, table, tag
from ohmformer.reports.numbers import integer, percent, points, significant
from ohmformer.reports.scales import Linear, Log, linear_around
from ohmformer.reports.wording import (
    DEVIATION_HEADINGS,
    deviation_rows,
    deviation_title,
    difference,
    evaluation_sentences,
    interval_ends,
    is_share,
    metric_value,
    mode_lines,
    score_interval,
    signed,
    unit_of,
)

if TYPE_CHECKING:
    from ohmformer.verbs import EvaluationResult, GenerationResult, Score

__all__ = ["amplitude_figure", "evaluation_section", "generation_section"]

TELEGRAPH = "dense.cell.noise.telegraph_scale"
CELL_BITS = "dense.cell.bits"
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "diamond")


def evaluation_section(
    result: EvaluationResult, heading: str, anchor: str, *pictures: Html, sentences: bool = True
) -> Html:
    """Scores as a picture and a table, with everything needed to judge them."""
    share = is_share(result.scores[0].metric.name)
    shown = [_scores_figure(result, share)]
    if any(score.difference is not None for score in result.scores):
        shown.append(_differences_figure(result, share))
    about = (
        f"{result.model} ({result.origin}) on {result.task}: {integer(result.n)} {unit_of(result.kind)}, "
        f"{_what(result.kind)}. Intervals: 95 %, {result.scores[0].metric.method}. "
        f"Computed with {result.threads} thread(s)."
    )
    return tag(
        "section",
        tag("h2", heading, id=anchor),
        join(tag("p", sentence) for sentence in evaluation_sentences(result) if sentences),
        tag("p", about, class_="soft"),
        tag("p", f"Data: {result.source}", class_="soft") if result.source else Html(""),
        tag("div", *shown, *pictures, class_="grid"),
        _table(result),
        join(tag("p", line, class_="soft") for line in mode_lines(result)),
        *(_deviations(score) for score in result.scores if score.deviations),
    )


def _deviations(score: Score) -> Html:
    title = deviation_title(score)
    return join(
        (
            tag("p", title + "."),
            table(DEVIATION_HEADINGS, deviation_rows(score), right=(2, 3, 4, 5), label=title),
        )
    )


def _what(kind: str) -> str:
    return {
        "head": "a frozen encoder under a logistic regression that was trained on fp32 vectors only",
        "classifier": "a classifier with its own head",
        "perplexity": "perplexity of the next token (lower is better)",
        "choices": "the choice with the largest likelihood counts as the answer",
    }[kind]


def _colour(score: Score) -> int:
    """Grey for fp32, blue for chips without telegraph noise, then by the bits of a dense cell."""
    if score.chip is None:
        return 0
    if not score.chip[TELEGRAPH]:
        return 1
    return {1: 3, 2: 2, 3: 4, 4: 5}.get(int(score.chip[CELL_BITS]), 6)


def _scores_figure(result: EvaluationResult, share: bool) -> Html:
    name = result.scores[0].metric.name
    rows = []
    for score in result.scores:
        low, high = interval_ends(score)
        text = f"{metric_value(name, score.mean)}  ({score_interval(score)})"
        rows.append(
            Row(label=score.label, value=score.mean, text=text, low=low, high=high, colour=_colour(score))
        )
    marks = []
    if result.chance is not None:
        marks.append(Mark(value=result.chance, label=f"guessing {percent(result.chance)}"))
    if share:
        scale = Linear(0.0, 1.0)
        chart = rows_chart(
            rows,
            scale,
            form="bar",
            axis=name,
            tick_text=lambda value: percent(value, 0),
            marks=marks,
            label=f"{name} of {result.model} on {result.task}",
        )
    else:
        ends = [end for row in rows for end in (row.low or 0.0, row.high or 0.0, row.value)]
        chart = rows_chart(
            rows,
            linear_around(ends),
            form="dot",
            axis=f"{name}, lower is better",
            label=f"{name} of {result.model} on {result.task}",
        )
    return figure(
        name.capitalize(), f"n = {integer(result.n)}; whiskers are 95 % intervals of each value alone", chart
    )


def _differences_figure(result: EvaluationResult, share: bool) -> Html:
    rows = []
    for score in result.scores:
        found = score.difference
        if found is None:
            continue
        rows.append(
            Row(
                label=score.label,
                value=found.value,
                text=f"{points(found.value)} points" if share else signed(found.value),
                low=found.low,
                high=found.high,
                colour=_colour(score),
            )
        )
    ends = [end for row in rows for end in (row.low or 0.0, row.high or 0.0, row.value)]
    chart = rows_chart(
        rows,
        linear_around(ends, include=0.0),
        form="dot",
        axis="percentage points from fp32" if share else "from fp32, lower is better",
        tick_text=(lambda value: points(value, 0 if abs(value) >= 0.01 or value == 0 else 1))
        if share
        else significant,
        marks=[Mark(value=0.0, label="fp32")],
        label=f"difference from fp32 on {result.task}",
    )
    method = next(score.difference.method for score in result.scores if score.difference is not None)
    same = "on the same items; " if share else ""
    return figure("Difference from fp32", f"{same}whiskers are 95 % intervals ({method})", chart)


def _table(result: EvaluationResult) -> Html:
    name = result.scores[0].metric.name
    rows = []
    for score in result.scores:
        values = (
            ", ".join(metric_value(name, value) for value in score.values) if len(score.values) > 1 else ""
        )
        rows.append(
            (
                score.label,
                metric_value(name, score.mean),
                score_interval(score),
                difference(score) or "reference",
                integer(score.metric.n),
                ", ".join(str(seed) for seed in score.seeds) if score.chip is not None else "none drawn",
                values or "one chip" if score.chip is not None else "",
                score.mode,
                f"{score.seconds:.1f} s",
            )
        )
    return table(
        ("", name, "95 % interval", "against fp32", "n", "chip seeds", "each repeat", "simulation", "time"),
        rows,
        right=(1, 2, 3, 4, 8),
        label=f"scores on {result.task}",
    )


def amplitude_figure(results: Sequence[EvaluationResult]) -> Html | None:
    """Score against the amplitude of the telegraph noise, one curve per bits of a dense cell.

    None where no two amplitudes of one kind of cell were tried.
    """
    noisy = [
        (result, score)
        for result in results
        for score in result.scores
        if score.chip is not None and score.chip[TELEGRAPH]
    ]
    if not noisy:
        return None
    curves_found = []
    share = is_share(noisy[0][1].metric.name)
    for index, bits in enumerate(sorted({int(score.chip[CELL_BITS]) for _, score in noisy if score.chip})):
        own: dict[float, Point] = {}
        for _, score in noisy:
            if score.chip is None or int(score.chip[CELL_BITS]) != bits:
                continue
            low, high = interval_ends(score)
            x = float(score.chip[TELEGRAPH])
            own.setdefault(x, Point(x=x, y=score.mean, low=low, high=high))
        curves_found.append(
            Curve(
                label=f"{bits}-bit cells",
                points=tuple(own[x] for x in sorted(own)),
                colour=_colour(next(s for _, s in noisy if s.chip and int(s.chip[CELL_BITS]) == bits)),
                shape=SHAPES[index % len(SHAPES)],
            )
        )
    amplitudes = sorted({point.x for curve in curves_found for point in curve.points})
    if len(amplitudes) < 2:
        return None
    first = results[0]
    marks = [Mark(value=first.scores[0].mean, label="fp32")]
    if share and first.chance is not None:
        marks.append(Mark(value=first.chance, label="guessing"))
    everything = [end for curve in curves_found for point in curve.points for end in (point.low, point.high)]
    everything += [mark.value for mark in marks]
    chart = curves(
        curves_found,
        _room(amplitudes),
        linear_around([value for value in everything if math.isfinite(value)]),
        x_axis="telegraph noise, times the published amplitude (logarithmic)",
        y_axis=first.scores[0].metric.name,
        x_ticks=_apart(amplitudes),
        y_text=(lambda value: percent(value, 0)) if share else significant,
        marks=marks,
        label="score against the amplitude of the telegraph noise",
    )
    sizes = sorted({result.n for result, _ in noisy})
    return figure(
        "Where it fails",
        f"n = {' and '.join(integer(size) for size in sizes)}, as in the tables; whiskers are 95 % "
        "intervals; the lines only guide the eye",
        chart,
    )


def _room(amplitudes: Sequence[float]) -> Log:
    """An axis with a little room on the left and, for the names of the marks, more on the right."""
    whole = amplitudes[-1] / amplitudes[0]
    return Log(amplitudes[0] / whole**0.06, amplitudes[-1] * whole**0.22)


def _apart(amplitudes: Sequence[float]) -> list[tuple[float, str]]:
    """Tick labels at the measured amplitudes that stand far enough apart to be read."""
    kept: list[float] = []
    whole = math.log(amplitudes[-1] / amplitudes[0])
    for value in amplitudes:
        if not kept or math.log(value / kept[-1]) > 0.07 * whole:
            kept.append(value)
    return [(value, f"{value:g}×") for value in kept]


def generation_section(result: GenerationResult, heading: str, anchor: str) -> Html:
    """The texts of all setups side by side, prompt by prompt."""
    parts = []
    for prompt, texts in itertools.groupby(
        sorted(result.texts, key=lambda text: [t.prompt for t in result.texts].index(text.prompt)),
        key=lambda text: text.prompt,
    ):
        listed = list(texts)
        reference = next((text for text in listed if text.chip_name is None), None)
        cards = [
            tag(
                "div",
                tag("h4", text.label),
                tag("p", text.text.strip() or "(nothing)"),
                tag("span", _about(text.tokens, text.seconds, text, reference), class_="soft"),
                class_="card",
            )
            for text in listed
        ]
        parts.append(tag("h3", f"“{prompt}”"))
        parts.append(tag("div", *cards, class_="grid"))
    drawn = "the likeliest token each time" if result.temperature == 0 else "tokens drawn"
    about = (
        f"{result.model} ({result.origin}); temperature {significant(result.temperature)} ({drawn}), seed "
        f"{result.seed}. One noisy token changes all that follow, so different wording is not worse wording; "
        "perplexity measures that."
    )
    return tag("section", tag("h2", heading, id=anchor), tag("p", about, class_="soft"), *parts)


def _about(tokens: int, seconds: float, text: object, reference: object) -> str:
    same = ""
    if reference is not None and text is not reference:
        equal = getattr(text, "text", None) == getattr(reference, "text", None)
        same = ", the same text as fp32" if equal else ", differs from fp32"
    mode = getattr(text, "mode", "")
    return f"{tokens} tokens in {seconds:.1f} s{same}; simulation: {mode}"
