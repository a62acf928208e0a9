"""Alternation, medians and quartiles."""

from __future__ import annotations

import pytest
from benchmarks.engine.measuring import Contender, Ratio, Sample, alternate, cpu, local, wall


def recorder(calls: list[tuple[str, int]], name: str) -> Contender:
    def run(threads: int) -> Sample:
        calls.append((name, threads))
        return Sample(cpu_s=float(len(calls)), wall_s=10.0 * len(calls))

    return run


def test_contenders_run_in_turn_and_warm_ups_are_thrown_away() -> None:
    calls: list[tuple[str, int]] = []
    contenders = {name: recorder(calls, name) for name in ("ours", "theirs", "peer")}
    samples = alternate(contenders, threads=2, repeats=2, warmups=1)
    assert calls == [("ours", 2), ("theirs", 2), ("peer", 2)] * 3
    assert cpu(samples["ours"]) == [4.0, 7.0]
    assert wall(samples["peer"]) == [60.0, 90.0]


@pytest.mark.parametrize(("repeats", "warmups"), [(0, 1), (1, -1)])
def test_rounds_that_cannot_be_are_refused(repeats: int, warmups: int) -> None:
    with pytest.raises(ValueError, match="at least 1 and 0"):
        alternate({}, threads=1, repeats=repeats, warmups=warmups)


def test_a_ratio_is_the_median_over_neighbours_not_of_the_medians() -> None:
    # rounds of 1/1, 20/10, 3/1, 400/100, 5/1: medians would give 5/1
    ratio = Ratio.of([1.0, 20.0, 3.0, 400.0, 5.0], [1.0, 10.0, 1.0, 100.0, 1.0])
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 3.0, 4.0)


def test_a_single_round_has_no_spread() -> None:
    ratio = Ratio.of([3.0], [2.0])
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 1.5, 1.5)


def test_a_run_is_timed_without_what_comes_before_it() -> None:
    """2e6 additions are milliseconds; ten times as many before the run must not be in its time."""
    order: list[str] = []

    def work(name: str, count: int) -> None:
        order.append(name)
        sum(range(count))

    timed = local(lambda: work("run", 10), before=lambda: work("before", 2_000_000))(1)
    alone = local(lambda: work("run", 2_000_000))(1)
    assert order == ["before", "run", "run"]
    assert 0 <= timed.cpu_s < alone.cpu_s
    assert timed.wall_s > 0
