"""Every line of a cost table: count, unit value, formula, the chip's fields behind it, and its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ohmformer.reports.html import Html, details, join, tag
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
    headings = ["component", "of what", "count", "each", "total", "share"]
    headings += ["low … high"] if ends else []
    body: list[Html] = []
    for term in sorted(terms, key=lambda term: -term.total):
        numbers = [
            count(term.count),
            _text(part, term.unit_value),
            _text(part, term.total),
            percent(term.total / whole) if whole else "n/a",
        ]
        if ends:
            numbers.append(_range(part, [end.get(_key(term)) for end in ends]))
        body.append(
            tag(
                "tr",
                tag("th", term.component, scope="row"),
                tag("td", term.quantity),
                *(tag("td", number, class_="number") for number in numbers),
            )
        )
        why = tag(
            "td",
            tag("b", "count: "),
            tag("span", term.formula),
            tag("b", " · fields: "),
            join((hardware.link(fields, path) for path in term.fields), ", ") or "none",
            tag("b", " · value of each: "),
            tag("span", f"{term.source.kind}: {term.source.text}"),
            colspan=len(headings),
            class_="why",
        )
        body.append(tag("tr", why))
    head = tag(
        "tr",
        *(
            tag("th", heading, scope="col", class_="number" if at > 1 else None)
            for at, heading in enumerate(headings)
        ),
    )
    grid = tag("table", tag("thead", head), tag("tbody", *body), class_="terms")
    return tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=label)


def _range(part: str, values: list[float | None]) -> str:
    """The totals at the ends of the unit values; a step may be bound by another resource there."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "other at the ends"
    texts = [_text(part, value) for value in known]
    return interval(*texts) if texts[0] != texts[1] else "as typical"
