"""What a tolerance says, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ohmformer.reports.numbers import integer, interval, percent, points
from ohmformer.reports.wording import metric_value, unit_of

if TYPE_CHECKING:
    from ohmformer.verbs.tolerating import Statement, Tolerance, ToleranceResult
    from ohmformer.workloads import Metric

__all__ = ["loss_text", "print_tolerances", "statement_sentence", "tolerance_sentence"]


def print_tolerances(say: Callable[[str], None], result: ToleranceResult) -> None:
    """A heading, one sentence for each noise, the published statement."""
    chips = f"{len(result.seeds)} chips (seeds {result.seeds[0]} to {result.seeds[-1]})"
    if len(result.seeds) == 1:
        chips = f"one chip (seed {result.seeds[0]}; other chips are not in the intervals)"
    others = "each noise alone" if result.alone else "each noise beside the others of the chip"
    say(
        f"{result.model} on {result.task} ({result.kind}), {integer(result.n)} {unit_of(result.kind)}, "
        f"{chips}, chip {result.chip_name}, {others}"
    )
    name = result.fp32.name
    say(
        f"{name}: fp32 {metric_value(name, result.fp32.value)}, chip without noise "
        f"{metric_value(name, result.clean.value)}; a loss of {bound_text(result)} counts, against the same "
        "chips without the noise, 95 % intervals"
    )
    if result.note:
        say(result.note)
    for found in result.tolerances:
        say(tolerance_sentence(found, result))
    for statement in result.published:
        say(statement_sentence(statement, result))


def bound_text(result: ToleranceResult) -> str:
    """The loss that counts, with its unit."""
    if result.kind == "perplexity":
        return f"{100 * result.bound:g} % of the perplexity"
    return f"{100 * result.bound:g} points of accuracy"


def loss_text(loss: Metric) -> str:
    """A loss with its interval: points of accuracy, or per cent of the perplexity."""
    if loss.name == "perplexity rise":
        ends = interval(percent(loss.low, 2), percent(loss.high, 2))
        return f"{percent(loss.value, 2)} ({ends})"
    return f"{points(loss.value)} points ({interval(points(loss.low), points(loss.high))})"


def tolerance_sentence(found: Tolerance, result: ToleranceResult) -> str:
    """Where a noise begins to cost as much as counts."""
    parts = [f"{found.title}: {_crossing(found)}"]
    before, after = found.crossing_of_means
    if after is not None:
        at = f"up to {after:.3g}x" if before is None else f"between {before:.3g}x and {after:.3g}x"
        parts.append(f"the mean crosses {at}")
    own = ", ".join(f"{path} = {_value(value)}" for path, value in found.own.items())
    if found.started:
        own += "; the chip has none, begun at " + ", ".join(
            f"{path}={_value(value)}" for path, value in found.started.items()
        )
    return "; ".join(parts) + f" (1x: {own}; {len(found.probes)} amplitudes)"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _crossing(found: Tolerance) -> str:
    low, high = found.crossing.low, found.crossing.high
    if high is None:
        last = found.probes[-1]
        if low == found.crossing.largest:
            text = f"not reached up to {low:.3g}x"
        else:
            sure = "nowhere surely below" if low is None else f"surely below up to {low:.3g}x"
            text = f"not surely reached up to {found.crossing.largest:.3g}x, {sure}"
        text += f" (loss there {loss_text(last.loss)})"
        if found.crossing.refusal:
            text += f"; no larger one: {found.crossing.refusal.rstrip('.')}"
        return text
    if low is None:
        smallest = found.probes[0].amplitude
        return f"below {high:.3g}x, and undecided or above from {smallest:.3g}x on"
    return f"between {low:.3g}x and {high:.3g}x"


def statement_sentence(statement: Statement, result: ToleranceResult) -> str:
    """The published statement and what became of it."""
    what = "perplexity" if result.kind == "perplexity" else "accuracy"
    return (
        f"Published: {what} unchanged at {statement.amplitude:g}x the telegraph amplitude "
        f"({statement.chip_name}): {statement.verdict}; loss {loss_text(statement.loss)} against the same "
        f"chips without telegraph noise, unchanged meaning less than {bound_text(result)}"
    )
