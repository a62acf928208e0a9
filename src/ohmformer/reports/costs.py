"""Sections on what a model costs: totals, breakdowns, alternatives, claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ohmformer.reports.charts import Row, Shape, figure, legend, rows_chart
from ohmformer.reports.html import Html, details, join, table, tag
from ohmformer.reports.numbers import area, count, duration, integer, interval, percent, quantity, significant
from ohmformer.reports.scales import linear_around, log_around
from ohmformer.reports.terms import baseline_details, terms_details
from ohmformer.reports.wording import (
    KIND_HEADINGS,
    buffer_sentence,
    estimate_sentences,
    kind_rows,
    schedule_sentence,
)
from ohmformer.units import MICRO, MILLI, MM2, NANO

if TYPE_CHECKING:
    from ohmformer.costs import CostReport, Term
    from ohmformer.reports.hardware import Hardware
    from ohmformer.verbs import EstimateResult

__all__ = ["costs_section", "coverage_table"]

BASIS_SHAPES: dict[str, tuple[Shape, int, str]] = {
    "model": ("circle", 1, "counted here with the chip's unit values"),
    "published": ("square", 3, "published measurement"),
    "published rate": ("circle", 5, "published rate and power of the design, this work"),
    "peak": ("triangle", 4, "vendor's peak rate, which no run reaches"),
}
SMALL_SHARE = 0.005


def costs_section(
    result: EstimateResult, heading: str, anchor: str, hardware: Hardware, *, sentences: bool = True
) -> Html:
    """Everything that the estimate of one model says."""
    own = result.comparison.chip["typical"]
    return tag(
        "section",
        tag("h2", heading, id=anchor),
        join(tag("p", sentence) for sentence in estimate_sentences(result) if sentences),
        _facts(result),
        tag("h3", "Beside the alternatives"),
        _alternatives(result),
        tag("h3", "What makes up area, energy and time"),
        tag(
            "p",
            "Bars: typical unit values; in brackets the same part at the low and at the high end of all unit "
            "values at once. The tables below give every line with its formula, the chip's fields behind it, "
            "and its source.",
            class_="soft",
        ),
        _breakdowns(result),
        _schedule(own),
        terms_details(result, hardware),
        tag("h3", "What was published about the chip"),
        _claims(result),
        tag("h3", "Assumptions"),
        tag("ul", *(tag("li", note) for note in own.notes)),
        *baseline_details(result, hardware),
        details(
            f"Where each operation of {result.model} runs",
            coverage_table(result.coverage, f"coverage of {result.model}"),
        ),
    )


def _facts(result: EstimateResult) -> Html:
    reports = result.comparison.chip
    own = reports["typical"]

    def row(
        name: str, of: Callable[[CostReport], float], text: Callable[[float], str]
    ) -> tuple[str, str, str]:
        ends = sorted(of(report) for report in reports.values())
        return name, text(of(own)), interval(text(ends[0]), text(ends[-1]))

    resident = ", ".join(f"{name} {significant(n)}" for name, n in result.macs_by_resident.items())
    functions = ", ".join(f"{name} {count(n)}" for name, n in result.evaluations.items())
    busy = ", ".join(f"{name} {percent(share, 0)}" for name, share in own.utilisation.items() if share)
    rows: list[tuple[object, ...]] = [
        row("area", lambda r: r.area_m2, area),
        row("energy of one run", lambda r: r.energy_J, lambda v: quantity(v, "J")),
        row("time of one run", lambda r: r.latency_s, lambda v: quantity(v, "s")),
        row("area-delay product", lambda r: r.area_delay_mm2_s, lambda v: f"{significant(v)} mm²·s"),
        row("mean power", lambda r: r.power_W, lambda v: quantity(v, "W")),
        row("power density", lambda r: r.power_density_W_per_mm2, lambda v: f"{significant(v)} W/mm²"),
        row("operations per energy", lambda r: r.tops_per_W, lambda v: f"{significant(v)} TOPS/W"),
        row("operations per area", lambda r: r.tops_per_mm2, lambda v: f"{significant(v)} TOPS/mm²"),
        (
            "lifetime of the dense cells",
            "not worn" if own.lifetime_s is None else duration(own.lifetime_s),
            own.lifetime_note,
        ),
        ("multiply-accumulates", significant(result.macs), f"by resident operand: {resident}"),
        ("function values", significant(float(sum(result.evaluations.values()))), functions),
        ("conversions per multiply-accumulate", significant(own.conversions_per_mac), "computation tiles"),
        (
            "stored words",
            integer(result.stored_words),
            f"{integer(own.dense_cells_used)} of {integer(own.dense_cells)} cells; "
            f"{own.banks_needed} of {own.banks} banks needed",
        ),
        ("bound by", own.bottleneck, f"busy share of the time: {busy}"),
    ]
    shown = [(name, value, tag("span", note, class_="wide")) for name, value, note in rows]
    return table(
        ("", "typical", "low … high unit values, or remark"),
        shown,
        right=(1,),
        label=f"cost of {result.model}",
    )


METRICS: tuple[tuple[str, str, str, float], ...] = (
    ("area_m2", "Area", "mm²", MM2),
    ("latency_s", "Time of one run", "ms", MILLI),
    ("energy_J", "Energy of one run", "mJ", MILLI),
    ("area_delay_mm2_s", "Area-delay product", "mm²·s", 1.0),
    ("power_density_W_per_mm2", "Power density", "W/mm²", 1.0),
)


def _alternatives(result: EstimateResult) -> Html:
    comparison = result.comparison
    rows = comparison.rows()
    charts = []
    for key, title, unit, factor in METRICS:
        ends = sorted(getattr(report, key) / factor for report in comparison.chip.values())
        shown = []
        for row in rows:
            value = row[key] / factor
            own = row["name"] == "chip"
            shape, colour, _ = BASIS_SHAPES[row["basis"]]
            shown.append(
                Row(
                    label=row["title"],
                    value=value,
                    text=f"{significant(value)} {unit}",
                    low=ends[0] if own else None,
                    high=ends[-1] if own else None,
                    shape="diamond" if own else shape,
                    colour=2 if own else colour,
                    own=own,
                )
            )
        everything = [row.value for row in shown] + ends
        chart = rows_chart(
            shown,
            log_around(everything),
            form="dot",
            axis=f"{unit}, logarithmic",
            label=f"{title} beside others",
        )
        charts.append(figure(title, "logarithmic; whiskers of the chip: low … high unit values", chart))
    kinds: list[tuple[str, int, Shape]] = [(f"{rows[0]['title']} (this chip)", 2, "diamond")]
    used = {row["basis"] for row in rows[1:]}
    kinds += [(text, colour, shape) for basis, (shape, colour, text) in BASIS_SHAPES.items() if basis in used]
    ratios = [
        (
            row["title"],
            row["basis"],
            area(row["area_m2"]),
            quantity(row["latency_s"], "s"),
            quantity(row["energy_J"], "J"),
            significant(row["area_delay_mm2_s"]),
            significant(row["power_density_W_per_mm2"]),
            f"{significant(row['area_ratio'])}×",
            f"{significant(row['latency_ratio'])}×",
            f"{significant(row['energy_ratio'])}×",
            f"{significant(row['area_delay_ratio'])}×",
        )
        for row in rows
    ]
    headings = (
        "",
        "basis",
        "area",
        "time",
        "energy",
        "mm²·s",
        "W/mm²",
        "area to chip",
        "time to chip",
        "energy to chip",
        "area-delay to chip",
    )
    return join(
        (
            legend(kinds),
            tag("div", *charts, class_="grid"),
            table(headings, ratios, right=tuple(range(2, 11)), label="alternatives in numbers"),
        )
    )


def _breakdowns(result: EstimateResult) -> Html:
    figures = []
    for title, part, unit, scale_by in (
        ("Area by component", "area", "mm²", MM2),
        ("Energy by component", "energy", None, None),
        ("Time by the resource that bounds it", "latency", None, None),
    ):
        sums = {
            level: _by_component(getattr(report, part)) for level, report in result.comparison.chip.items()
        }
        whole = sum(sums["typical"].values())
        if scale_by is None:
            factor, unit = _unit(whole, "J" if part == "energy" else "s")
        else:
            factor = scale_by
        rows, small = [], []
        for name, value in sums["typical"].items():
            if value < SMALL_SHARE * whole:
                small.append(name)
                continue
            ends = sorted(sums[level].get(name, 0.0) for level in sums)
            rows.append(
                Row(
                    label=name,
                    value=value / factor,
                    text=f"{significant(value / factor)} {unit} {_range(ends, factor)}"
                    f"{percent(value / whole, 0)}",
                )
            )
        chart = rows_chart(
            rows,
            linear_around([row.value for row in rows], include=0.0),
            form="bar",
            axis=str(unit),
            label=f"{title} of {result.model}",
        )
        left_out = f"; below {percent(SMALL_SHARE)} each: {', '.join(small)}" if small else ""
        figures.append(figure(title, f"{significant(whole / factor)} {unit} in all{left_out}", chart))
    return tag("div", *figures, class_="grid")


def _schedule(own: CostReport) -> Html:
    """By kind of operation, and what overlap and the buffer do."""
    lines = [tag("p", line) for line in (schedule_sentence(own), buffer_sentence(own)) if line]
    if not own.kinds:
        return join(lines)
    grid = table(KIND_HEADINGS, kind_rows(own), right=(1, 2, 3, 4, 5), label="cost by kind of operation")
    return join((*lines, tag("h3", "By kind of operation"), grid))


def _range(ends: list[float], factor: float) -> str:
    """The ends in brackets, nothing where they are equal."""
    low, high = (significant(end / factor) for end in (ends[0], ends[-1]))
    return f"({interval(low, high)})  " if low != high else " "


def _by_component(terms: Sequence[Term]) -> dict[str, float]:
    from ohmformer.costs import by_component

    return by_component(tuple(terms))


def _unit(value: float, symbol: str) -> tuple[float, str]:
    for factor, prefix in ((1.0, ""), (MILLI, "m"), (MICRO, "µ"), (NANO, "n")):
        if value >= factor:
            return factor, prefix + symbol
    return 1.0, symbol


def _claims(result: EstimateResult) -> Html:
    rows = []
    comparable = any(row.comparable for row in result.comparison.claims)
    for row in result.comparison.claims:
        verdict = tag("span", "inside", class_="yes") if row.within else tag("span", "outside", class_="no")
        rows.append(
            (
                tag("span", row.claim.text, class_="wide"),
                f"{'up to ' if row.claim.upper else ''}{_claimed(row.claim.kind, row.claim.value)}",
                _claimed(row.claim.kind, row.ours),
                interval(_claimed(row.claim.kind, row.low), _claimed(row.claim.kind, row.high)),
                verdict if comparable else "other work",
                tag("span", row.reason, class_="wide"),
            )
        )
    about = (
        "The claims are about BERT-Large, and so is this program."
        if comparable
        else f"The claims are about BERT-Large; {result.model} is other work, so these lines show the "
        "distance, not agreement or disagreement."
    )
    grid = table(
        (
            "claim (arXiv 2410.15977)",
            "claimed",
            "ours, typical",
            "low … high",
            "claim in our interval",
            "reason",
        ),
        rows,
        right=(1, 2, 3),
        label="claims beside our numbers",
    )
    return join((tag("p", about), grid))


def _claimed(kind: str, value: float) -> str:
    if kind == "area_delay":
        return f"{significant(value)} mm²·s"
    return percent(value, 0) if kind == "energy_saving" else f"{significant(value)}×"


def coverage_table(rows: Sequence[object], label: str) -> Html:
    """Where each operation runs."""
    fields = ("module", "operation", "where", "why")
    return table(
        ("module", "operation", "where", "why", "calls in the checking run"),
        [(*(getattr(row, field) for field in fields), integer(getattr(row, "calls"))) for row in rows],  # noqa: B009
        right=(4,),
        label=label,
    )
