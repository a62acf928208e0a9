"""Pictures as inline SVG: rows with bars or dots, and curves; every mark has its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ohmformer.reports.html import Html, join, tag
from ohmformer.reports.numbers import significant
from ohmformer.reports.numbers import tick as tick_label
from ohmformer.reports.scales import Linear, Log, Scale

__all__ = ["Curve", "Mark", "Point", "Row", "curves", "figure", "rows_chart"]

WIDTH = 400.0
LEFT, RIGHT = 14.0, 14.0
ROW, FOOT = 36.0, 34.0
LINE_CHARS = 60

Shape = Literal["circle", "square", "triangle", "diamond"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled value; ``colour`` 0 ... 6 of the palette, ``own`` stands out."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    colour: int = 1
    shape: Shape = "circle"
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A dashed line at a value, with its name."""

    value: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured point of a curve with its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of one series in order of x."""

    label: str
    points: tuple[Point, ...]
    colour: int
    shape: Shape = "circle"


def figure(caption: str, explanation: str, *content: object) -> Html:
    """A picture with its caption and one sentence of explanation."""
    return tag("figure", tag("figcaption", caption, tag("span", explanation, class_="soft")), *content)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def symbol(shape: Shape, x: float, y: float, colour: int, size: float = 5.0) -> Html:
    """A marker whose shape alone tells its kind apart."""
    look = f"c{colour} halo"
    if shape == "circle":
        return tag("circle", cx=_n(x), cy=_n(y), r=_n(size), class_=look)
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    }[shape]
    outline = "L".join(f"{_n(x + size * dx)} {_n(y + size * dy)}" for dx, dy in corners)
    return tag("path", d=f"M{outline}Z", class_=look)


def _svg(height: float, label: str, *parts: object) -> Html:
    return tag(
        "svg",
        tag("title", label),
        *parts,
        viewBox=f"0 0 {_n(WIDTH)} {_n(height)}",
        role="img",
        aria_label=label,
    )


def rows_chart(
    rows: Sequence[Row],
    scale: Scale,
    *,
    form: Literal["bar", "dot"],
    axis: str,
    tick_text: Callable[[float], str] = tick_label,
    marks: Sequence[Mark] = (),
    label: str,
) -> Html:
    """One line per value: its name and number above, a bar from the axis's low end or a dot below.

    Bars need a linear axis that starts at 0.
    """
    if form == "bar" and not (isinstance(scale, Linear) and scale.low == 0):
        raise ValueError("bars stand on a linear axis that starts at 0")
    left, right = LEFT, WIDTH - RIGHT
    top = 8.0 + (14.0 if marks else 0.0)
    bottom = top + ROW * len(rows)

    def x(value: float) -> float:
        return left + (right - left) * scale.position(value)

    parts: list[Html] = []  # grid, then bars and dots, then marks, then text, so that text stays readable
    texts: list[Html] = []
    for tick in scale.ticks():
        at = x(tick)
        anchor = "start" if at < left + 12 else "end" if at > right - 12 else "middle"
        parts.append(tag("line", x1=_n(at), x2=_n(at), y1=_n(top), y2=_n(bottom), class_="grid-line"))
        texts.append(
            tag("text", tick_text(tick), x=_n(at), y=_n(bottom + 14), text_anchor=anchor, class_="tick")
        )
    parts.append(tag("line", x1=_n(left), x2=_n(right), y1=_n(bottom), y2=_n(bottom), class_="axis"))
    texts.append(tag("text", axis, x=_n(right), y=_n(bottom + 29), text_anchor="end", class_="tick"))
    for index, row in enumerate(rows):
        base = top + ROW * index
        look = "own" if row.own else None
        room = LINE_CHARS - 2 - len(row.text)
        texts.append(tag("text", _short(row.label, room), x=_n(left), y=_n(base + 14), class_=look))
        texts.append(tag("text", row.text, x=_n(right), y=_n(base + 14), text_anchor="end", class_=look))
        if math.isfinite(row.value):
            parts.append(_drawn(row, form, x, base + 25))
    for mark in marks:
        at = x(mark.value)
        anchor = "start" if at < WIDTH / 3 else "end" if at > 2 * WIDTH / 3 else "middle"
        parts.append(tag("line", x1=_n(at), x2=_n(at), y1=_n(top), y2=_n(bottom), class_="mark"))
        texts.append(tag("text", mark.label, x=_n(at), y=_n(top - 5), text_anchor=anchor, class_="tick"))
    return _svg(bottom + FOOT, label, *parts, *texts)


def _drawn(row: Row, form: str, x: Callable[[float], float], y: float) -> Html:
    """The bar or the dot of one row with its whisker; hovering tells label and number."""
    hover = tag("title", f"{row.label}: {row.text}")
    if form == "dot":
        return join(
            (
                _whisker(row, x, y),
                tag("g", hover, symbol(row.shape, x(row.value), y, row.colour, 6.0 if row.own else 4.5)),
            )
        )
    width = max(0.0, x(row.value) - LEFT)
    bar = tag("rect", x=_n(LEFT), y=_n(y - 5), width=_n(width), height="10", class_=f"c{row.colour}")
    return join((tag("g", hover, bar), _whisker(row, x, y)))


def _whisker(row: Row, x: Callable[[float], float], y: float) -> Html:
    if row.low is None or row.high is None:
        return Html("")
    low, high = x(row.low), x(row.high)
    if high - low < 0.5:
        return Html("")
    d = f"M{_n(low)} {_n(y)}H{_n(high)}M{_n(low)} {_n(y - 4)}v8M{_n(high)} {_n(y - 4)}v8"
    return tag("path", d=d, class_="whisker")


def curves(
    series: Sequence[Curve],
    x_scale: Log,
    y_scale: Linear,
    *,
    x_axis: str,
    y_axis: str,
    x_ticks: Sequence[tuple[float, str]],
    y_text: Callable[[float], str] = tick_label,
    marks: Sequence[Mark] = (),
    label: str,
) -> Html:
    """Measured points with intervals, joined by straight lines as a guide; dashed marks are horizontal."""
    left, right, top, bottom = 46.0, WIDTH - 18.0, 22.0, 250.0

    def x(value: float) -> float:
        return left + (right - left) * x_scale.position(value)

    def y(value: float) -> float:
        return bottom - (bottom - top) * y_scale.position(value)

    parts: list[Html] = []
    for tick in y_scale.ticks():
        at = _n(y(tick))
        parts.append(tag("line", x1=_n(left), x2=_n(right), y1=at, y2=at, class_="grid-line"))
        parts.append(
            tag("text", y_text(tick), x=_n(left - 6), y=_n(y(tick) + 4), text_anchor="end", class_="tick")
        )
    for value, text in x_ticks:
        at = _n(x(value))
        parts.append(tag("line", x1=at, x2=at, y1=_n(bottom), y2=_n(bottom + 4), class_="axis"))
        parts.append(tag("text", text, x=at, y=_n(bottom + 17), text_anchor="middle", class_="tick"))
    parts.append(tag("line", x1=_n(left), x2=_n(right), y1=_n(bottom), y2=_n(bottom), class_="axis"))
    parts.append(tag("text", x_axis, x=_n(right), y=_n(bottom + 34), text_anchor="end", class_="tick"))
    parts.append(tag("text", y_axis, x="2", y=_n(top - 9), class_="tick"))
    for mark in marks:
        at = _n(y(mark.value))
        parts.append(tag("line", x1=_n(left), x2=_n(right), y1=at, y2=at, class_="mark"))
        parts.append(
            tag("text", mark.label, x=_n(right), y=_n(y(mark.value) - 4), text_anchor="end", class_="tick")
        )
    spread = 3.0
    for index, curve in enumerate(series):
        shift = (index - (len(series) - 1) / 2) * spread  # intervals of different curves side by side
        line = "L".join(f"{_n(x(p.x) + shift)} {_n(y(p.y))}" for p in curve.points)
        parts.append(tag("path", d=f"M{line}", class_=f"curve l{curve.colour}"))
        for point in curve.points:
            here = x(point.x) + shift
            d = f"M{_n(here)} {_n(y(point.low))}V{_n(y(point.high))}"
            parts.append(tag("path", d=d, class_=f"curve l{curve.colour}"))
            hover = tag("title", f"{curve.label}, {significant(point.x)}: {y_text(point.y)}")
            parts.append(tag("g", hover, symbol(curve.shape, here, y(point.y), curve.colour)))
    return join((_svg(bottom + 40, label, *parts), legend([(c.label, c.colour, c.shape) for c in series])))


def legend(entries: Sequence[tuple[str, int, Shape]]) -> Html:
    """What the shapes and colours mean."""
    items = [
        tag(
            "li",
            tag("svg", symbol(shape, 11, 6, colour, 4.2), viewBox="0 0 22 12", aria_hidden="true"),
            text,
        )
        for text, colour, shape in entries
    ]
    return tag("ul", *items, class_="legend")
