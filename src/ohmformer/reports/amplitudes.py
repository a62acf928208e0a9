"""Accuracy and perplexity against the amplitude of a noise, as one picture that stands alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ohmformer.errors import UserError
from ohmformer.reports.charts import Curve, Mark, Point, Shape, symbol
from ohmformer.reports.html import Html, join, tag
from ohmformer.reports.numbers import integer, percent, tick
from ohmformer.reports.scales import Log, Scale, linear_around

__all__ = ["SCHEMA", "amplitude_picture"]

SCHEMA = "ohmformer.amplitudes/"
PANEL, HEIGHT = 440.0, 332.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 46.0, 254.0
OFF_THE_SCALE = 1000.0  # times the perplexity in fp32: what lies above is lost, and not drawn
COLOURS = {1: 3, 2: 2, 3: 4, 4: 5}
SHAPES: dict[int, Shape] = {1: "circle", 2: "square", 3: "triangle", 4: "diamond"}

STYLE = """
svg { background: #ffffff; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
text { fill: #1b1f24; } .tick { fill: #57606a; font-size: 11px; } .head { font-weight: 600; font-size: 13px; }
.grid-line { stroke: #d0d7de; } .axis { stroke: #57606a; } .curve { fill: none; stroke-width: 2; }
.mark { stroke: #57606a; stroke-dasharray: 4 3; } .halo { stroke: #ffffff; stroke-width: 1.2; }
.c2 { fill: #d55e00; } .c3 { fill: #008a63; } .c4 { fill: #a3478a; } .c5 { fill: #8a6d00; }
.l2 { stroke: #d55e00; } .l3 { stroke: #008a63; } .l4 { stroke: #a3478a; } .l5 { stroke: #8a6d00; }
@media (prefers-color-scheme: dark) {
svg { background: #14171c; } text { fill: #e6e9ee; } .tick { fill: #a3acb8; } .grid-line { stroke: #3a424e; }
.axis, .mark { stroke: #a3acb8; } .halo { stroke: #14171c; }
.c2 { fill: #ff8c42; } .c3 { fill: #2fc79a; } .c4 { fill: #e39bd0; } .c5 { fill: #e8c547; }
.l2 { stroke: #ff8c42; } .l3 { stroke: #2fc79a; } .l4 { stroke: #e39bd0; } .l5 { stroke: #e8c547; } }
"""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One half of the picture."""

    title: str
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]
    y: Scale
    y_text: Callable[[float], str]


def amplitude_picture(document: Mapping[str, Any]) -> str:
    """The SVG of a document of the schema ``ohmformer.amplitudes``, as ``ohmformer amplitudes`` writes it.

    A point is the mean over the physical chips, its whisker goes from the lowest to the highest of them.

    Error: UserError for a document of another schema, or with a part that is missing.
    """
    if not str(document.get("schema", "")).startswith(SCHEMA):
        raise UserError("This is no result of `ohmformer amplitudes`: its schema is another one.")
    try:
        result = document["result"]
        found = [result["encoder"], result["decoder"]]
        panels = [_panel(evaluation, result["points"]) for evaluation in found if evaluation is not None]
        x = _axis([float(point["amplitude"]) for point in result["points"]])
        bits = sorted({int(point["cell_bits"]) for point in result["points"]})
        noise = str(result["noise"]).replace("_", " ")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"The result of `ohmformer amplitudes` lacks a part that the picture needs: {error!r}."
        ) from error
    if not panels:
        raise UserError("The result of `ohmformer amplitudes` holds neither an encoder nor a decoder.")
    return str(_svg(panels, x, bits, f"{noise} noise, multiple of the published amplitude"))


def _panel(evaluation: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> Panel:
    scores = {score["label"]: score for score in evaluation["scores"]}
    series: dict[int, list[Point]] = {}
    lost = evaluation["kind"] == "perplexity"
    limit = OFF_THE_SCALE * float(evaluation["scores"][0]["values"][0]) if lost else math.inf
    for point in points:
        values = [float(value) for value in scores[point["label"]]["values"] if value is not None]
        # an infinite perplexity cannot be drawn, and a senseless one would squeeze the rest
        if values and max(values) <= limit:
            series.setdefault(int(point["cell_bits"]), []).append(
                Point(
                    x=float(point["amplitude"]),
                    y=math.fsum(values) / len(values),
                    low=min(values),
                    high=max(values),
                )
            )
    curves = tuple(
        Curve(
            label=f"{bits}-bit cells",
            points=tuple(sorted(own, key=lambda point: point.x)),
            colour=COLOURS.get(bits, 5),
            shape=SHAPES.get(bits, "circle"),
        )
        for bits, own in sorted(series.items())
    )
    ends = [end for curve in curves for point in curve.points for end in (point.low, point.high)]
    first, second = evaluation["scores"][0], evaluation["scores"][1]
    marks = [Mark(value=float(first["values"][0]), label="fp32")]
    ideal = Mark(value=float(second["values"][0]), label=str(second["label"]))
    chips = max(len(scores[point["label"]]["values"]) for point in points)
    unit = "tokens" if evaluation["kind"] == "perplexity" else "texts"
    about = f"{evaluation['model']}: {integer(evaluation['n'])} {unit}, "
    about += "1 chip" if chips == 1 else f"{chips} chips"
    missing = len(points) - sum(len(curve.points) for curve in curves)
    if evaluation["kind"] == "perplexity":
        return Panel(
            title=f"perplexity. {about}" + (f"; {missing} off the scale" if missing else ""),
            curves=curves,
            marks=(Mark(value=marks[0].value, label=_both(marks[0], ideal, lambda v: f"{v:.1f}")),),
            y=_log_around([*ends, marks[0].value]),
            y_text=tick,
        )
    marks = [Mark(value=marks[0].value, label=_both(marks[0], ideal, percent))]
    if evaluation["chance"] is not None:
        marks.append(
            Mark(value=float(evaluation["chance"]), label=f"guessing {percent(float(evaluation['chance']))}")
        )
    return Panel(
        title=f"accuracy. {about}",
        curves=curves,
        marks=tuple(marks),
        y=linear_around([*ends, *(mark.value for mark in marks), ideal.value]),
        y_text=lambda value: percent(value, 0),
    )


def _both(fp32: Mark, ideal: Mark, text: Callable[[float], str]) -> str:
    return f"fp32 {text(fp32.value)}; {ideal.label} {text(ideal.value)}"


def _axis(amplitudes: Sequence[float]) -> Log:
    low, high = min(amplitudes), max(amplitudes)
    return Log(low / 1.25, high * 1.25)


def _log_around(values: Sequence[float]) -> Log:
    """From a little below the least to the decade above the largest."""
    finite = [value for value in values if 0 < value < math.inf]
    low, high = min(finite), max(finite)
    return Log(low / 1.5, 10.0 ** math.ceil(math.log10(high * 1.2)))


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _svg(panels: Sequence[Panel], x: Log, bits: Sequence[int], axis: str) -> Html:
    width = PANEL * len(panels)
    parts = [
        tag("g", *_drawn(panel, x, axis), transform=f"translate({_n(PANEL * index)} 0)")
        for index, panel in enumerate(panels)
    ]
    legend = []
    for index, count in enumerate(bits):
        at = LEFT + 110 * index
        legend.append(symbol(SHAPES.get(count, "circle"), at, HEIGHT - 12, COLOURS.get(count, 5)))
        legend.append(tag("text", f"{count}-bit cells", x=_n(at + 10), y=_n(HEIGHT - 8)))
    note = "points: mean over chips; whiskers: lowest to highest chip"
    if len(panels) == 1:
        legend.append(tag("text", note, x=_n(LEFT), y=_n(HEIGHT - 28), class_="tick"))
    else:
        legend.append(
            tag("text", note, x=_n(width - RIGHT), y=_n(HEIGHT - 8), text_anchor="end", class_="tick")
        )
    return tag(
        "svg",
        tag("title", f"Accuracy and perplexity against {axis}"),
        tag("style", Html(STYLE)),
        *parts,
        *legend,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_n(width)} {_n(HEIGHT)}",
        role="img",
    )


def _drawn(panel: Panel, x_scale: Log, axis: str) -> list[Html]:
    left, right = LEFT, PANEL - RIGHT

    def x(value: float) -> float:
        return left + (right - left) * x_scale.position(value)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * panel.y.position(value)

    parts = [tag("text", panel.title, x="8", y="18", class_="head")]
    for value in panel.y.ticks():
        at = _n(y(value))
        parts.append(tag("line", x1=_n(left), x2=_n(right), y1=at, y2=at, class_="grid-line"))
        parts.append(
            tag(
                "text",
                panel.y_text(value),
                x=_n(left - 6),
                y=_n(y(value) + 4),
                text_anchor="end",
                class_="tick",
            )
        )
    for value in _round(x_scale):
        at = _n(x(value))
        parts.append(tag("line", x1=at, x2=at, y1=_n(BOTTOM), y2=_n(BOTTOM + 4), class_="axis"))
        parts.append(tag("text", f"{value:g}×", x=at, y=_n(BOTTOM + 17), text_anchor="middle", class_="tick"))
    parts.append(tag("line", x1=_n(left), x2=_n(right), y1=_n(BOTTOM), y2=_n(BOTTOM), class_="axis"))
    parts.append(tag("text", axis, x=_n(right), y=_n(BOTTOM + 34), text_anchor="end", class_="tick"))
    for mark in panel.marks:
        at = _n(y(mark.value))
        high = _n(y(mark.value) + (15 if isinstance(panel.y, Log) else -5))
        parts.append(tag("line", x1=_n(left), x2=_n(right), y1=at, y2=at, class_="mark"))
        parts.append(tag("text", mark.label, x=_n(right), y=high, text_anchor="end", class_="tick"))
    for curve in panel.curves:
        line = "L".join(f"{_n(x(point.x))} {_n(y(point.y))}" for point in curve.points)
        parts.append(tag("path", d=f"M{line}", class_=f"curve l{curve.colour}"))
        for point in curve.points:
            here = x(point.x)
            whisker = f"M{_n(here)} {_n(y(point.low))}V{_n(y(point.high))}"
            whisker += f"M{_n(here - 3)} {_n(y(point.low))}h6M{_n(here - 3)} {_n(y(point.high))}h6"
            hover = tag("title", f"{curve.label}, {point.x:g}×: {panel.y_text(point.y)}")
            parts.append(tag("path", d=whisker, class_=f"curve l{curve.colour}"))
            parts.append(tag("g", hover, symbol(curve.shape, here, y(point.y), curve.colour)))
    return [join(parts)]


def _round(scale: Log) -> list[float]:
    """1, 2, 5 times powers of ten on the axis."""
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    return [value for value in steps if scale.low <= value <= scale.high]
