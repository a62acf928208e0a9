"""What a score, a difference and a whole result say, in words; terminal and page say the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ohmformer.reports.numbers import area, duration, interval, percent, points, quantity, significant

if TYPE_CHECKING:
    from ohmformer.costs import CostReport
    from ohmformer.verbs import EstimateResult, EvaluationResult
    from ohmformer.verbs.evaluating import Score

__all__ = [
    "KIND_HEADINGS",
    "buffer_sentence",
    "difference",
    "estimate_sentences",
    "evaluation_sentences",
    "kind_rows",
    "metric_value",
    "mode_lines",
    "mode_reason",
    "run_words",
    "schedule_sentence",
    "score_interval",
    "signed",
    "unit_of",
]


def is_share(metric: str) -> bool:
    """Whether a metric is a share, shown in percent."""
    return metric.startswith("accuracy")


def unit_of(kind: str) -> str:
    """What the items of an evaluation are."""
    return {"perplexity": "tokens", "choices": "questions"}.get(kind, "texts")


def metric_value(metric: str, value: float) -> str:
    """A value of a metric: shares in percent, others with three digits."""
    return percent(value) if is_share(metric) else significant(value)


def score_interval(score: Score) -> str:
    """The interval over repeats where there are several, else over items."""
    if not math.isfinite(score.mean):
        return "none"
    low, high = interval_ends(score)
    return interval(metric_value(score.metric.name, low), metric_value(score.metric.name, high))


def interval_ends(score: Score) -> tuple[float, float]:
    """Ends of the interval that belongs to ``score.mean``.

    One repeat: over the items. Several: the wider of the interval over items, moved to the mean, and the
    interval of the mean over repeats, since both chance of items and chance of chips stand behind the mean.
    """
    below, above = score.metric.value - score.metric.low, score.metric.high - score.metric.value
    low, high = score.mean - below, score.mean + above
    if score.repeat_low is not None and score.repeat_high is not None:
        low, high = min(low, score.repeat_low), max(high, score.repeat_high)
    return low, high


def difference(score: Score) -> str:
    """The difference from fp32 with its interval, empty for fp32."""
    found = score.difference
    if found is None:
        return ""
    if is_share(score.metric.name):
        chance = "" if score.p_value is None else f"; p = {significant(score.p_value, 2)}"
        return f"{points(found.value)} points ({interval(points(found.low), points(found.high))}{chance})"
    if not math.isfinite(found.value):
        return signed(found.value)
    return f"{signed(found.value)} ({interval(signed(found.low), signed(found.high))})"


def signed(value: float) -> str:
    """Three significant digits with the sign, also where it is plus."""
    return f"+{significant(value)}" if value > 0 else significant(value)


def evaluation_sentences(result: EvaluationResult) -> tuple[str, ...]:
    """What the scores say: fp32, then the chip nearest to it and the one farthest from it."""
    reference = result.scores[0]
    name = reference.metric.name
    items = f"{result.n:,} {unit_of(result.kind)} of {result.task}"
    who = "fp32" if reference.chip is None else reference.label
    first = f"{who} reaches {name} {_with_interval(reference)} on {items}"
    if result.chance is not None:
        guess = "guessing" if result.kind == "choices" else "always naming the commonest class"
        first += f", where {guess} gives {percent(result.chance)}"
    chips = [score for score in result.scores[1:] if score.difference is not None]
    if not chips:
        return (first + ".",)
    worst = min(chips, key=_goodness)
    second = (
        f"The worst of the {len(chips)} chips, {worst.label}, reaches {_with_interval(worst)}; "
        f"against fp32 that is {difference(worst)}, {_judgement(worst)}."
    )
    return first + ".", second


def _goodness(score: Score) -> float:
    """Larger is better: accuracy itself, or minus perplexity."""
    return score.mean if is_share(score.metric.name) else -score.mean


def _judgement(score: Score) -> str:
    assert score.difference is not None
    if not math.isfinite(score.difference.value):
        return "a perplexity that is lost on this chip"
    low, high = score.difference.low, score.difference.high
    if low <= 0 <= high or (score.p_value is not None and score.p_value >= 0.05):
        return "a difference that the choice of items alone can make"
    return "more than the choice of items alone makes"


def _with_interval(score: Score) -> str:
    if not math.isfinite(score.mean):
        return f"{metric_value(score.metric.name, score.mean)} (no interval)"
    return f"{metric_value(score.metric.name, score.mean)} (95 % interval {score_interval(score)})"


def mode_reason(mode: str, *, asked: bool) -> str:
    """One line on why products are simulated so."""
    what = {
        "collapsed": "the converters resolve every sum, so the integer product and rare wrong conversions "
        "are all there is",
        "calibrated": "the product without wires, with the few conversions that wires, nonlinearity and "
        "noise make wrong drawn from a law derived from the chip; 'digit-serial' computes every conversion",
        "digit-serial": "every conversion is computed",
        "statistical": "errors come from a derived mean, gain and variance, not each conversion",
    }.get(mode, "")
    if asked:
        return f"asked for: {what}"
    if mode == "digit-serial":
        return f"the converters do not resolve every sum, or wires move too many, so {what}"
    return what


def mode_lines(result: EvaluationResult) -> list[str]:
    """How each chip was simulated and why, chips of one mode together."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for score in result.scores:
        if score.chip is not None:
            groups.setdefault((score.mode, score.mode_asked), []).append(score.label)
    return [
        f"{', '.join(labels)}: {mode} ({mode_reason(mode, asked=asked)})"
        for (mode, asked), labels in groups.items()
    ]


DEVIATION_HEADINGS = ("layer", "product", "rows", "mean z", "variance z", "signal sd")


def deviation_rows(score: Score) -> list[tuple[str, ...]]:
    """The table of a run by a law: differences from digit-serial in standard errors, place by place."""
    return [
        (
            row.layer,
            row.operation,
            f"{row.rows:,}",
            f"{row.mean_z:+.1f}",
            f"{row.variance_z:+.1f}",
            significant(row.signal_sd),
        )
        for row in score.deviations
    ]


def deviation_title(score: Score) -> str:
    """What the table of deviations shows, and how many of its differences are large."""
    z = [value for row in score.deviations for value in (row.mean_z, row.variance_z)]
    return (
        f"{score.label}: {score.mode} minus digit-serial errors on a few of the items, in standard errors; "
        f"{sum(abs(value) > 3 for value in z)} of {len(z)} beyond 3 (one of 370 would be by chance)"
    )


def run_words(result: EstimateResult) -> str:
    """Which run was estimated: "1 × 128 tokens", "prefill of ...", "decode, 1 × 1 token after 128"."""
    if result.phase == "decode":
        return f"decode, {result.batch} × 1 token after {result.context:,}"
    after = f" after {result.context:,}" if result.context else ""
    lead = "prefill of " if result.phase == "prefill" else ""
    return f"{lead}{result.batch} × {result.tokens:,} tokens{after}"


KIND_HEADINGS = ("kind of operation", "MACs", "conversions", "function values", "dynamic energy", "time")


def kind_rows(report: CostReport) -> list[tuple[str, ...]]:
    """What each kind of operation takes of a run, longest first."""
    return [
        (
            kind.kind,
            significant(kind.macs) if kind.macs else "",
            significant(kind.conversions) if kind.conversions else "",
            significant(kind.evaluations) if kind.evaluations else "",
            quantity(kind.energy_J, "J"),
            quantity(kind.time_s, "s"),
        )
        for kind in sorted(report.kinds, key=lambda kind: -kind.time_s)
    ]


def schedule_sentence(report: CostReport) -> str:
    """What overlap does to the time, and how well the chip is used."""
    busiest = max(
        (name for name in report.utilisation if name != "converters"), key=report.utilisation.__getitem__
    )
    alone = (
        f"the steps each by itself on an idle chip take {quantity(report.latency_alone_s, 's')}, all work "
        f"one after the other {quantity(report.latency_unoverlapped_s, 's')}, "
        if report.latency_unoverlapped_s
        else ""
    )
    return (
        f"Schedule: {quantity(report.latency_s, 's')}; {alone}the busiest resource ({busiest}) works "
        f"{quantity(report.latency_bound_s, 's')}. {significant(report.tops)} TOPS, "
        f"{significant(report.tops_per_W)} TOPS/W, {significant(report.tops_per_mm2)} TOPS/mm²; "
        f"{percent(report.dense_cells_used / report.dense_cells, 0)} of the dense cells hold something."
        f"{_conflict(report)}"
    )


def _conflict(report: CostReport) -> str:
    """That a stated settling time is one that the tile's circuit cannot keep."""
    cycle = report.cycle
    if cycle is None or not cycle.too_short:
        return ""
    stated, needed = quantity(cycle.stated_s, "s"), quantity(cycle.circuit_s, "s")
    return (
        f" The stated settling time of {stated} is shorter than a tile's circuit needs: {needed} are taken."
    )


def buffer_sentence(report: CostReport) -> str:
    """Where intermediates were kept; empty where that was not planned."""
    use = report.buffer
    if use is None:
        return ""
    spilled = (
        f"{use.spilled_numbers:,} numbers a run go through dense cells since it is full"
        if use.spilled_numbers
        else "nothing goes through dense cells"
    )
    cache = (
        f"; keys and values take {use.cache_bytes / 1e6:.3g} MB in {use.cache_home}"
        if use.cache_bytes
        else ""
    )
    return (
        f"Buffer: at most {use.buffer_bytes / 1e6:.3g} of {use.capacity_bytes / 1e6:.3g} MB are taken, "
        f"{spilled}{cache}."
    )


def estimate_sentences(result: EstimateResult) -> tuple[str, str]:
    """What the costs say: the chip's totals, then the plain digital units beside it."""
    own = result.comparison.chip["typical"]
    low, high = result.comparison.chip["low"], result.comparison.chip["high"]
    life = (
        "its cells are not worn" if own.lifetime_s is None else f"its cells last {duration(own.lifetime_s)}"
    )
    first = (
        f"One run of {result.model} ({run_words(result)}) takes "
        f"{quantity(own.latency_s, 's')} and {quantity(own.energy_J, 'J')} "
        f"({quantity(low.energy_J, 'J')} … {quantity(high.energy_J, 'J')}) on {area(own.area_m2)}: "
        f"{significant(own.area_delay_mm2_s)} mm²·s, {significant(own.power_density_W_per_mm2)} W/mm²; "
        f"{life}."
    )
    rows = [row for row in result.comparison.rows() if row["name"] != "chip"]
    better = [row["title"] for row in rows if row["area_delay_ratio"] < 1]
    if better:
        second = (
            f"By area-delay product {len(better)} of {len(rows)} alternatives are better than it: "
            f"{'; '.join(better)}."
        )
    else:
        second = f"By area-delay product none of the {len(rows)} alternatives is better than it."
    return first, second
