"""The encoding study as tables and as one picture that stands alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ohmformer.errors import UserError
from ohmformer.reports.charts import Shape, symbol
from ohmformer.reports.html import Html, tag
from ohmformer.reports.markdown import Table, markdown
from ohmformer.reports.numbers import percent, significant, tick
from ohmformer.reports.scales import Log
from ohmformer.units import MILLI, MM2

__all__ = [
    "COLUMNS",
    "SCHEMA",
    "TABLES",
    "base_7_rows",
    "condition_rows",
    "encoding_picture",
    "encoding_tables",
    "exact_rows",
    "finding_lines",
    "study_result",
]

SCHEMA = "ohmformer.encodings/"
WIDTH, HEIGHT = 880.0, 400.0
LEFT, GAP, TOP, BOTTOM, RIGHT = 56.0, 76.0, 46.0, 326.0, 14.0
TABLES = ("findings", "exact", "conditions", "base-7")

COLUMNS = (
    "base",
    "polarity",
    "cycles",
    "resistors a digit",
    "active wordlines",
    "ADC bits",
    "conversions a MAC",
    "mm²",
    "mJ",
    "ms",
    "mm²·s",
    "ms, equal area",
    "mJ, equal area",
    "front",
)

STYLE = """
svg { background: #ffffff; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
text { fill: #1b1f24; } .tick { fill: #57606a; font-size: 11px; } .head { font-weight: 600; font-size: 13px; }
.grid-line { stroke: #d0d7de; } .axis { stroke: #57606a; } .curve { fill: none; stroke-width: 1.6; }
.halo { stroke: #ffffff; stroke-width: 1; } .c0 { fill: #8c959f; } .l0 { stroke: #57606a; }
.c2 { fill: #d55e00; } .c3 { fill: #008a63; } .c4 { fill: #a3478a; }
.c1 { fill: #0072b2; }
@media (prefers-color-scheme: dark) {
svg { background: #14171c; } text { fill: #e6e9ee; } .tick { fill: #a3acb8; } .grid-line { stroke: #3a424e; }
.axis { stroke: #a3acb8; } .halo { stroke: #14171c; } .c0 { fill: #6b7280; } .l0 { stroke: #a3acb8; }
.c2 { fill: #ff8c42; } .c3 { fill: #2fc79a; } .c4 { fill: #e39bd0; }
.c1 { fill: #56b4e9; } }
"""


def study_result(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of a document of the schema ``ohmformer.encodings``; another one is refused."""
    if not str(document.get("schema", "")).startswith(SCHEMA):
        raise UserError("This is no result of `ohmformer encodings`: its schema is another one.")
    result = document.get("result")
    needed = {"points", "outcomes", "model", "tokens", "plain_energy_J"}
    if not isinstance(result, Mapping) or not needed <= set(result):
        raise UserError("The result of `ohmformer encodings` lacks points, outcomes, model or tokens.")
    return result


def _exact(point: Mapping[str, Any]) -> bool:
    return int(point["adc_bits"]) >= int(point["needed_bits"])


def _time(point: Mapping[str, Any]) -> float:
    value = point["equal_area_latency_s"]
    return math.inf if value is None else float(value)


def _energy(point: Mapping[str, Any]) -> float:
    value = point["equal_area_energy_J"]
    return math.inf if value is None else float(value)


def _row(point: Mapping[str, Any]) -> tuple[str, ...]:
    front = [
        name
        for name, flag in (("equal area", point["on_equal_area_front"]), ("equal tiles", point["on_front"]))
        if flag
    ]
    return (
        str(point["radix"]),
        "shared" if point["polarity"] == "shared" else "per resistor",
        str(point["cycles"]),
        str(point["resistors"]),
        f"{point['active_wordlines']} of {point['wordlines']}",
        str(point["adc_bits"]),
        significant(float(point["conversions_per_mac"])),
        significant(float(point["area_m2"]) / MM2),
        significant(float(point["energy_J"]) / MILLI),
        significant(float(point["latency_s"]) / MILLI),
        significant(float(point["area_m2"]) / MM2 * float(point["latency_s"])),
        "none fits" if _time(point) == math.inf else significant(_time(point) / MILLI),
        "none fits" if _energy(point) == math.inf else significant(_energy(point) / MILLI),
        ", ".join(front) or "no",
    )


def exact_rows(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The fastest exact point (equal area) of each radix and polarity, and the rest of that front."""
    exact = [point for point in points if _exact(point)]
    kinds = dict.fromkeys((point["radix"], point["polarity"]) for point in exact)
    chosen = []
    for kind in kinds:
        own = [point for point in exact if (point["radix"], point["polarity"]) == kind]
        best = min(own, key=_time)
        chosen += [best, *(p for p in own if p["on_equal_area_front"] and p is not best)]
    return [_row(point) for point in chosen]


def base_7_rows(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Base 7 on whole tiles: each group of active wordlines with each converter."""
    sevens = [p for p in points if p["radix"] == 7 and p["wordlines"] == max(q["wordlines"] for q in points)]
    powers = {1, 2, 4, 8, 16, 32, 64}
    rows: list[tuple[str, ...]] = []
    for point in sorted(sevens, key=lambda p: (-p["group"], -p["adc_bits"])):
        if point["group"] not in powers or float(point["error"]) >= 1:
            continue
        rows.append(
            (
                str(point["active_wordlines"]),
                str(point["adc_bits"]),
                "nothing" if _exact(point) else _lost(float(point["error"])),
                significant(float(point["conversions_per_mac"])),
                significant(float(point["area_m2"]) / MM2),
                significant(float(point["energy_J"]) / MILLI),
                significant(float(point["latency_s"]) / MILLI),
                significant(float(point["area_m2"]) / MM2 * float(point["latency_s"])),
            )
        )
    return rows


def _lost(error: float) -> str:
    if error == 0:
        return "nothing seen"
    return percent(error, 1) if error >= 0.01 else f"{significant(100 * error, 1)} %"


def condition_rows(outcomes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row for each condition."""
    rows: list[tuple[str, ...]] = []
    for found in outcomes:
        time, energy = found["time_over_fastest"], found["energy_over_leanest"]
        rows.append(
            (
                str(found["condition"]),
                "yes" if found["base_7_on_front"] else "no",
                "; ".join(found["front"]),
                str(found["base_7"] or "none fits"),
                "" if time is None else f"{significant(float(time))}×",
                "" if energy is None else f"{significant(float(energy))}×",
            )
        )
    return rows


def finding_lines(result: Mapping[str, Any]) -> list[str]:
    """What the study found, in sentences; everything from the result."""
    given, outcomes = result["outcomes"][0], result["outcomes"]
    lines = []
    if given["base_7"] is not None:
        where = "is" if given["base_7_on_front"] else "is not"
        lines.append(
            f"Base 7 {where} on the equal-area front of {result['model']}: {'; '.join(given['front'])}. "
            f"It takes {significant(float(given['time_over_fastest']))} times the least time "
            f"({given['fastest']}) and {significant(float(given['energy_over_leanest']))} times the least "
            f"energy ({given['leanest']})."
        )
    off = [str(found["condition"]) for found in outcomes if not found["base_7_on_front"]]
    lines.append(
        f"Of {len(outcomes)} conditions, one changed at a time, base 7 is off the front for {len(off)}"
        + (f": {', '.join(off)}." if off else ".")
    )
    found = {
        (p["active_wordlines"], p["adc_bits"]): p
        for p in result["points"]
        if p["radix"] == 7 and p["wordlines"] == 128
    }
    whole = found.get((128, 8))
    if whole is not None:
        for key in ((2, 2), (128, 6), (128, 5), (128, 2)):
            if key in found:
                lines.append(_beside(found[key], whole))
    plain = (
        f"{significant(result['plain_area_m2'] / MM2)} mm², "
        f"{significant(result['plain_energy_J'] / MILLI)} mJ, "
        f"{significant(result['plain_latency_s'] / MILLI)} ms"
    )
    some = "no" if _nothing_beats_plain(result) else "some"
    lines.append(
        f"Plain int8 multipliers in the area of the tiles, beside the same memory: {plain}; {some} exact "
        "encoding is both faster and leaner at equal area."
    )
    return lines


def _nothing_beats_plain(result: Mapping[str, Any]) -> bool:
    time, energy = result["plain_latency_s"], result["plain_energy_J"]
    return not any(_exact(p) and _time(p) < time and _energy(p) < energy for p in result["points"])


def _beside(point: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    energy = float(point["energy_J"]) / float(whole["energy_J"])
    product = (float(point["area_m2"]) * float(point["latency_s"])) / (
        float(whole["area_m2"]) * float(whole["latency_s"])
    )
    error = float(point["error"])
    lost = (
        "loses nothing"
        if _exact(point)
        else "lost nothing in the sample"
        if error == 0
        else "loses everything"
        if error >= 1
        else f"loses {_lost(error)} of a product (rms)"
    )
    return (
        f"Base 7 with {point['active_wordlines']} active wordlines and {point['adc_bits']}-bit converters "
        f"{lost}, at {significant(energy)} times the energy and {significant(product)} times the area-delay "
        f"product of 128 wordlines and 8 bits."
    )


def encoding_tables(document: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the study as Markdown, by the name of their markers."""
    result = study_result(document)
    return {
        "findings": "\n".join(f"- {line}" for line in finding_lines(result)),
        "exact": markdown(Table(COLUMNS, exact_rows(result["points"]), right=tuple(range(2, 13)))),
        "base-7": markdown(
            Table(
                (
                    "active wordlines",
                    "ADC bits",
                    "error of a product",
                    "conversions a MAC",
                    "mm²",
                    "mJ",
                    "ms",
                    "mm²·s",
                ),
                base_7_rows(result["points"]),
                right=tuple(range(8)),
            )
        ),
        "conditions": markdown(
            Table(
                (
                    "condition",
                    "base 7 on the front",
                    "front, fastest first",
                    "fastest of base 7",
                    "its time over the fastest",
                    "least energy of base 7 over the least",
                ),
                condition_rows(result["outcomes"]),
                right=(4, 5),
            )
        ),
    }


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


KINDS: tuple[tuple[str, int, Shape], ...] = (
    ("base 7", 2, "diamond"),
    ("base 3", 3, "triangle"),
    ("other, shared polarity", 1, "circle"),
    ("polarity per resistor", 4, "square"),
)


def _kind(point: Mapping[str, Any]) -> int:
    if point["radix"] == 7:
        return 0
    if point["radix"] == 3:
        return 1
    return 2 if point["polarity"] == "shared" else 3


def encoding_picture(document: Mapping[str, Any]) -> str:
    """The SVG of a study: time and energy of exact encodings at equal area; what lossy converters save.

    Error: UserError for a document of another schema.
    """
    result = study_result(document)
    built = [point for point in result["points"] if math.isfinite(_time(point))]
    exact = [point for point in built if _exact(point)]
    lossy = [p for p in built if p["radix"] == 7 and 0 < float(p["error"]) <= 1]
    middle = (WIDTH - LEFT - GAP - RIGHT) / 2
    left = _panel(
        [(_time(p) / MILLI, _energy(p) / MILLI, _kind(p), _title(p)) for p in exact],
        LEFT,
        middle,
        "exact encodings at equal area",
        "ms a run",
        "mJ a run",
        sorted((_time(p) / MILLI, _energy(p) / MILLI) for p in exact if p["on_equal_area_front"]),
    )
    right = _panel(
        [(_energy(p) / MILLI, float(p["error"]), 0, _title(p)) for p in lossy],
        LEFT + middle + GAP,
        middle,
        "base 7, converters that lose something",
        "mJ a run",
        "error of a product, relative",
        [],
    )
    legend = []
    for index, (name, colour, shape) in enumerate(KINDS):
        at = LEFT + 190 * index
        legend.append(symbol(shape, at, HEIGHT - 14, colour))
        legend.append(tag("text", name, x=_n(at + 10), y=_n(HEIGHT - 10)))
    about = f"{result['model']}, {result['tokens']} tokens"
    return str(
        tag(
            "svg",
            tag("title", f"Encodings of the streamed operand: {about}"),
            tag("style", Html(STYLE)),
            *left,
            *right,
            *legend,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {_n(WIDTH)} {_n(HEIGHT)}",
            role="img",
        )
    )


def _title(point: Mapping[str, Any]) -> str:
    polarity = "" if point["polarity"] == "shared" else ", polarity per resistor"
    return (
        f"base {point['radix']}{polarity}, {point['active_wordlines']} wordlines, {point['adc_bits']}-bit: "
        f"{significant(_time(point) / MILLI)} ms, {significant(_energy(point) / MILLI)} mJ"
    )


def _panel(
    points: Sequence[tuple[float, float, int, str]],
    start: float,
    width: float,
    head: str,
    x_axis: str,
    y_axis: str,
    front: Sequence[tuple[float, float]],
) -> list[Html]:
    if not points:
        return [tag("text", f"{head}: none", x=_n(start), y="18", class_="head")]
    xs = Log(min(p[0] for p in points) / 1.2, max(p[0] for p in points) * 1.2)
    ys = Log(min(p[1] for p in points) / 1.2, max(p[1] for p in points) * 1.2)

    def x(value: float) -> float:
        return start + width * xs.position(value)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * ys.position(value)

    parts = [tag("text", head, x=_n(start - 40), y="18", class_="head")]
    parts.append(tag("text", y_axis, x=_n(start - 40), y="36", class_="tick"))
    for value in _round(ys):
        at = _n(y(value))
        parts.append(tag("line", x1=_n(start), x2=_n(start + width), y1=at, y2=at, class_="grid-line"))
        parts.append(
            tag("text", tick(value), x=_n(start - 6), y=_n(y(value) + 4), text_anchor="end", class_="tick")
        )
    for value in _round(xs):
        at = _n(x(value))
        parts.append(tag("line", x1=at, x2=at, y1=_n(BOTTOM), y2=_n(BOTTOM + 4), class_="axis"))
        parts.append(tag("text", tick(value), x=at, y=_n(BOTTOM + 17), text_anchor="middle", class_="tick"))
    parts.append(tag("line", x1=_n(start), x2=_n(start + width), y1=_n(BOTTOM), y2=_n(BOTTOM), class_="axis"))
    parts.append(
        tag("text", x_axis, x=_n(start + width), y=_n(BOTTOM + 34), text_anchor="end", class_="tick")
    )
    if len(front) > 1:
        line = "L".join(f"{_n(x(a))} {_n(y(b))}" for a, b in front)
        parts.append(tag("path", d=f"M{line}", class_="curve l0"))
    # the fewest last, so that they lie on top
    for a, b, kind, title in sorted(points, key=lambda point: -point[2]):
        _, colour, shape = KINDS[kind]
        parts.append(tag("g", tag("title", title), symbol(shape, x(a), y(b), colour, 4.0)))
    return parts


def _round(scale: Log) -> list[float]:
    """1, 2, 5 times powers of ten on the axis, powers alone where the axis is long."""
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    steps = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return [value for value in steps if scale.low <= value <= scale.high]
