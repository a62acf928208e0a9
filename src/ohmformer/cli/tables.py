"""Results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ohmformer.costs import CostReport, GenerationReport, by_component
from ohmformer.reports.numbers import area, duration, integer, interval, percent, quantity, significant
from ohmformer.reports.wording import (
    DEVIATION_HEADINGS,
    KIND_HEADINGS,
    buffer_sentence,
    deviation_rows,
    deviation_title,
    difference,
    evaluation_sentences,
    kind_rows,
    metric_value,
    mode_lines,
    run_words,
    schedule_sentence,
    score_interval,
    unit_of,
)
from ohmformer.verbs import EstimateResult, EvaluationResult, GenerationCosts, GenerationResult

__all__ = [
    "print_coverage",
    "print_estimate",
    "print_evaluation",
    "print_generation",
    "print_generation_costs",
]


def print_evaluation(console: Console, result: EvaluationResult) -> None:
    """One row per setup: value, interval, difference from fp32, seeds, time."""
    name = result.scores[0].metric.name
    _heading(
        console,
        f"{result.model} on {result.task} ({result.kind}), {integer(result.n)} {unit_of(result.kind)}",
    )
    rows = []
    for score in result.scores:
        seeds = f"{score.seeds[0]}" if len(score.seeds) == 1 else f"{score.seeds[0]}–{score.seeds[-1]}"
        rows.append(
            (
                score.label,
                metric_value(score.metric.name, score.mean),
                score_interval(score),
                difference(score),
                seeds if score.chip is not None else "",
                score.mode,
                f"{score.seconds:.1f} s",
            )
        )
    _table(
        console,
        ("", name, "95 % interval", "against fp32", "chip seed", "simulation", "time"),
        rows,
        right=(1, 6),
    )
    for line in mode_lines(result):
        console.print(line, soft_wrap=True)
    for sentence in evaluation_sentences(result):
        console.print(sentence, soft_wrap=True)
    for score in result.scores:
        if score.deviations:
            console.print()
            console.print(deviation_title(score), soft_wrap=True)
            _table(console, DEVIATION_HEADINGS, deviation_rows(score), right=(2, 3, 4, 5))
    console.print()


def print_generation(console: Console, result: GenerationResult) -> None:
    """Every prompt with the text of every setup."""
    _heading(console, f"{result.model}, temperature {significant(result.temperature)}, seed {result.seed}")
    prompts = list(dict.fromkeys(text.prompt for text in result.texts))
    for prompt in prompts:
        console.print(Text(prompt, style="italic"), soft_wrap=True)
        rows = [
            (
                text.label,
                text.text.strip() or "(nothing)",
                f"{text.tokens} tokens, {text.seconds:.1f} s, {text.mode}",
            )
            for text in result.texts
            if text.prompt == prompt
        ]
        _table(console, None, rows)
    console.print()


def print_estimate(console: Console, result: EstimateResult) -> None:
    """Totals, the largest parts, the alternatives, the claims where they apply."""
    reports = result.comparison.chip
    own = reports["typical"]
    _heading(
        console,
        f"{result.model} on {result.chip_name}: {run_words(result)}, "
        f"{significant(result.macs)} MACs, {integer(result.stored_words)} stored words",
    )

    def row(
        name: str, of: Callable[[CostReport], float], text: Callable[[float], str]
    ) -> tuple[str, str, str]:
        ends = sorted(of(report) for report in reports.values())
        return name, text(of(own)), interval(text(ends[0]), text(ends[-1]))

    rows = [
        row("area", lambda r: r.area_m2, area),
        row("energy", lambda r: r.energy_J, lambda v: quantity(v, "J")),
        row("time", lambda r: r.latency_s, lambda v: quantity(v, "s")),
        row("area-delay product", lambda r: r.area_delay_mm2_s, lambda v: f"{significant(v)} mm²·s"),
        row("power density", lambda r: r.power_density_W_per_mm2, lambda v: f"{significant(v)} W/mm²"),
        (
            "lifetime",
            "not worn" if own.lifetime_s is None else duration(own.lifetime_s),
            own.lifetime_note,
        ),
    ]
    _table(console, ("", "typical", "low … high unit values"), rows)
    parts = [
        (f"{title}: {_largest(by_component(terms))}",)
        for title, terms in (("area", own.area), ("energy", own.energy), ("time, bound by", own.latency))
    ]
    lines = [line for (line,) in parts] + [schedule_sentence(own), buffer_sentence(own)]
    for line in filter(None, lines):
        console.print(line, soft_wrap=True)
    if own.kinds:
        _table(console, KIND_HEADINGS, kind_rows(own), right=(1, 2, 3, 4, 5))
    rows_of = [
        (
            row["title"],
            row["basis"],
            area(row["area_m2"]),
            quantity(row["latency_s"], "s"),
            quantity(row["energy_J"], "J"),
            significant(row["area_delay_mm2_s"]),
            significant(row["power_density_W_per_mm2"]),
        )
        for row in result.comparison.rows()
    ]
    _table(console, ("", "basis", "area", "time", "energy", "mm²·s", "W/mm²"), rows_of, right=(2, 3, 4, 5, 6))
    comparable = [row for row in result.comparison.claims if row.comparable]
    if comparable:
        _table(
            console,
            ("published", "claimed", "ours", "low … high", "inside"),
            [
                (
                    row.claim.text,
                    significant(row.claim.value),
                    significant(row.ours),
                    interval(significant(row.low), significant(row.high)),
                    "yes" if row.within else "no",
                )
                for row in comparable
            ],
        )
    for assumption in result.assumptions:
        console.print(f"Assumed: {assumption}", soft_wrap=True)
    console.print()


def print_coverage(console: Console, rows: Sequence[Any], title: str) -> None:
    """Where each operation runs."""
    _heading(console, title)
    _table(
        console,
        ("module", "operation", "where", "why", "calls"),
        [(row.module, row.operation, row.where, row.why, integer(row.calls)) for row in rows],
        right=(4,),
    )


def _largest(parts: dict[str, float], shown: int = 4) -> str:
    whole = sum(parts.values())
    return ", ".join(
        f"{name} {100 * value / whole:.0f} %" for name, value in list(parts.items())[:shown] if value
    )


def _heading(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"), soft_wrap=True)


def _table(
    console: Console,
    headings: tuple[str, ...] | None,
    rows: Iterable[tuple[str, ...]],
    right: tuple[int, ...] = (),
) -> None:
    listed = list(rows)
    table = Table(box=None, pad_edge=False, show_header=headings is not None)
    for index, heading in enumerate(headings or ("",) * len(listed[0])):
        table.add_column(heading, overflow="fold", justify="right" if index in right else "left")
    for row in listed:
        table.add_row(*row)
    console.print(table)


def print_generation_costs(console: Console, result: GenerationCosts) -> None:
    """What a generation takes, at low, typical and high unit values."""
    own = result.levels["typical"]
    _heading(
        console,
        f"{result.model} on {result.chip_name}: {result.tokens:,} tokens behind a prompt of "
        f"{result.batch} x {result.prompt:,}, {significant(own.macs)} MACs",
    )

    def row(
        name: str, of: Callable[[GenerationReport], float], text: Callable[[float], str]
    ) -> tuple[str, str, str]:
        ends = sorted(of(report) for report in result.levels.values())
        return name, text(of(own)), interval(text(ends[0]), text(ends[-1]))

    rows = [
        row("area", lambda r: r.area_m2, area),
        row("time", lambda r: r.latency_s, lambda v: quantity(v, "s")),
        row("time to the first token", lambda r: r.time_to_first_token_s, lambda v: quantity(v, "s")),
    ]
    if own.tokens_per_s is not None:
        rows.append(
            row("tokens per second after it", lambda r: result.batch * (r.tokens_per_s or 0.0), significant)
        )
    rows += [
        row("energy", lambda r: r.energy_J, lambda v: quantity(v, "J")),
        row("energy per token", lambda r: r.energy_per_token_J / result.batch, lambda v: quantity(v, "J")),
        ("lifetime", "not worn" if own.lifetime_s is None else duration(own.lifetime_s), "of dense cells"),
    ]
    _table(console, ("", "typical", "low … high unit values"), rows)
    if own.last is not None:
        console.print(
            f"the last step: {own.last.bottleneck} bound, {quantity(own.last.latency_s, 's')}; "
            f"{own.evaluated} of {result.tokens - 1:,} steps costed by themselves, straight lines between "
            f"(largest deviation found {percent(own.interpolation_error, 2)})",
            soft_wrap=True,
        )
    for assumption in result.assumptions:
        console.print(f"Assumed: {assumption}", soft_wrap=True)
