"""Pictures: marks stand where their values are."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from ohmformer.reports.charts import Curve, Mark, Point, Row, curves, legend, rows_chart
from ohmformer.reports.html import Html
from ohmformer.reports.scales import Linear, Log

LEFT, SPAN = 14.0, 400.0 - 28.0


def tree(picture: Html) -> ET.Element:
    return ET.fromstring(picture)  # inline SVG must be well-formed XML too


def test_a_bar_is_as_long_as_its_value_and_its_whisker_spans_its_interval() -> None:
    row = Row(label="chip", value=0.5, text="50 %", low=0.25, high=0.75)
    drawn = tree(rows_chart([row], Linear(0.0, 1.0), form="bar", axis="accuracy", label="x"))
    bar = drawn.find(".//rect")
    assert bar is not None
    assert float(bar.attrib["width"]) == SPAN / 2
    whisker = drawn.find(".//path[@class='whisker']")
    assert whisker is not None
    start, end = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", whisker.attrib["d"]).groups()  # type: ignore[union-attr]
    assert float(start) == LEFT + SPAN / 4
    assert float(end) == LEFT + SPAN * 3 / 4


def test_bars_that_do_not_start_at_zero_are_refused() -> None:
    row = Row(label="chip", value=0.5, text="50 %")
    for scale in (Linear(0.2, 1.0), Log(0.1, 1.0)):
        with pytest.raises(ValueError, match="starts at 0"):
            rows_chart([row], scale, form="bar", axis="", label="x")


def test_a_dot_stands_at_its_logarithm() -> None:
    row = Row(label="chip", value=10.0, text="10 mJ")
    drawn = tree(rows_chart([row], Log(1.0, 100.0), form="dot", axis="mJ", label="x"))
    dot = drawn.find(".//circle")
    assert dot is not None
    assert float(dot.attrib["cx"]) == LEFT + SPAN / 2


def test_a_value_that_is_not_finite_is_told_in_words_only() -> None:
    row = Row(label="chip", value=math.inf, text="∞")
    drawn = tree(rows_chart([row], Linear(0.0, 1.0), form="dot", axis="", label="x"))
    assert drawn.find(".//circle") is None
    assert "∞" in "".join(drawn.itertext())


def test_marks_and_hostile_labels() -> None:
    row = Row(label="<b>&", value=0.5, text="50 %")
    picture = rows_chart(
        [row], Linear(0.0, 1.0), form="dot", axis="", marks=[Mark(value=1.0, label="all")], label='"x"'
    )
    drawn = tree(picture)
    assert "<b>" not in picture
    mark = drawn.find(".//line[@class='mark']")
    assert mark is not None
    assert float(mark.attrib["x1"]) == LEFT + SPAN


def test_no_text_is_wider_than_the_picture() -> None:
    """A line holds 60 characters of label and number together; a longer label ends in an ellipsis."""
    row = Row(label="x" * 200, value=0.5, text="50 %")
    drawn = tree(rows_chart([row], Linear(0.0, 1.0), form="dot", axis="", label="x"))
    label = next(text.text or "" for text in drawn.iter("text") if (text.text or "").startswith("xxx"))
    assert label.endswith("…")
    assert len(label) + len(row.text) <= 60


def test_a_curve_goes_through_its_points() -> None:
    points = tuple(Point(x=x, y=y, low=y - 0.1, high=y + 0.1) for x, y in ((1.0, 0.9), (10.0, 0.5)))
    picture = curves(
        [Curve(label="2-bit cells", points=points, colour=2)],
        Log(1.0, 10.0),
        Linear(0.0, 1.0),
        x_axis="noise",
        y_axis="accuracy",
        x_ticks=[(1.0, "1×"), (10.0, "10×")],
        label="x",
    )
    svg, _ = picture.split("</svg>", 1)
    drawn = tree(Html(svg + "</svg>"))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawn.iter("circle")]
    for found, wanted in zip(dots, [(46.0, 250.0 - 228.0 * 0.9), (382.0, 250.0 - 228.0 * 0.5)], strict=True):
        assert found == pytest.approx(wanted, abs=0.05)  # coordinates are written to a tenth
    assert "2-bit cells" in picture


def test_shapes_differ_so_that_colour_is_not_needed() -> None:
    drawn = legend([("a", 1, "circle"), ("b", 1, "square"), ("c", 1, "triangle"), ("d", 1, "diamond")])
    outlines = re.findall(r'<(?:circle|path) [^>]*?(?:r|d)="([^"]+)"', drawn)
    assert len(set(outlines)) == 4
