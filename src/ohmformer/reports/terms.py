"""Every line of a cost table: count, unit value, formula, the chip's fields behind it, and its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ohmformer.reports.html import Html, details, join, table, tag
from ohmformer.reports.numbers import area, count, interval, percent, quantity

if TYPE_CHECKING:
    from ohmformer.costs import Baseline, Term
    from ohmformer.reports.hardware import Hardware
    from ohmformer.verbs import EstimateResult

__all__ = ["baseline_details", "terms_details"]

PARTS = (("area", "Area"), ("energy", "Energy"), ("latency", "Time"))


def _text(part: str, value: float) -> str:
    if part == "area":
        return area(value)
    return quantity(value, "J" if part == "energy" else "s")


def terms_details(result: EstimateResult, hardware: Hardware) -> Html:
    """One folded table for area, energy and time each, with the ends of the unit values' intervals."""
    reports = result.comparison.chip
    folded = []
    for part, title in PARTS:
        typical: Sequence[Term] = getattr(reports["typical"], part)
        ends = [_totals(getattr(reports[level], part)) for level in ("low", "high")]
        whole = sum(term.total for term in typical)
        summary = (
            f"{title} line by line: {_text(part, whole)} "
            f"({interval(*(_text(part, sum(end.values())) for end in ends))})"
        )
        grid = _table(part, typical, ends, hardware, result.chip, f"{title} of {result.model} line by line")
        folded.append(details(summary, grid))
    return join(folded)


def baseline_details(result: EstimateResult, hardware: Hardware) -> list[Html]:
    """One folded part for each alternative: its assumptions, sources and, where counted here, its lines."""
    return [_baseline(baseline, result, hardware) for baseline in result.comparison.baselines]


def _baseline(baseline: Baseline, result: EstimateResult, hardware: Hardware) -> Html:
    parts: list[Html] = [
        tag("ul", *(tag("li", note) for note in baseline.notes)),
        tag("p", "Sources:", class_="soft"),
        tag("ul", *(tag("li", f"{source.kind}: {source.text}") for source in baseline.sources)),
    ]
    for part, title in PARTS[:2]:
        terms: Sequence[Term] = getattr(baseline, part)
        if terms:
            parts.append(tag("h3", title))
            label = f"{title} of {baseline.title} line by line"
            parts.append(_table(part, terms, [], hardware, result.chip, label))
    summary = (
        f"{baseline.title}: {area(baseline.area_m2)}, {quantity(baseline.latency_s, 's')}, "
        f"{quantity(baseline.energy_J, 'J')} (basis: {baseline.basis})"
    )
    return details(summary, *parts)


def _key(term: Term) -> tuple[str, str, float]:
    return term.component, term.quantity, term.count


def _totals(terms: Sequence[Term]) -> dict[tuple[str, str, float], float]:
    found: dict[tuple[str, str, float], float] = {}
    for term in terms:
        found[_key(term)] = found.get(_key(term), 0.0) + term.total
    return found


def _table(
    part: str,
    terms: Sequence[Term],
    ends: list[dict[tuple[str, str, float], float]],
    hardware: Hardware,
    fields: dict[str, Any],
    label: str,
) -> Html:
    whole = sum(term.total for term in terms)
    rows = []
    for term in sorted(terms, key=lambda term: -term.total):
        row: list[object] = [
            term.component,
            term.quantity,
            count(term.count),
            _text(part, term.unit_value),
            _text(part, term.total),
            percent(term.total / whole) if whole else "n/a",
        ]
        if ends:
            both = [end.get(_key(term)) for end in ends]
            row.append(
                interval(*(_text(part, value) for value in both if value is not None))
                if None not in both
                else "does not apply at the ends"
            )
        row += [
            tag("span", term.formula, class_="wide"),
            join((hardware.link(fields, path) for path in term.fields), ", "),
            tag("span", f"{term.source.kind}: {term.source.text}", class_="wide"),
        ]
        rows.append(row)
    headings = ["component", "of what", "count", "each", "total", "share"]
    headings += ["low … high"] if ends else []
    headings += ["formula of the count", "fields of the chip", "source of the unit value"]
    return table(headings, rows, right=tuple(range(2, 7 if ends else 6)), label=label)
