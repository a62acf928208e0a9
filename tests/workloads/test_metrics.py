"""Intervals against published examples, other implementations, and their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from ohmformer.errors import UserError
from ohmformer.workloads import (
    accuracy_interval,
    matthews_correlation,
    paired_difference,
    perplexity_difference,
    perplexity_interval,
)


def flags(right: int, n: int) -> list[int]:
    return [1] * right + [0] * (n - right)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe, Statist. Med. 17 (1998) 857, Table I, method 3 (Wilson score), to four decimals.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_examples(right: int, n: int, low: float, high: float) -> None:
    metric = accuracy_interval(flags(right, n))
    assert metric.value == right / n
    assert (round(metric.low, 4), round(metric.high, 4), metric.n) == (low, high, n)


@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilson_ends_solve_the_score_equation(n: int, share: float) -> None:
    right = round(share * n)
    metric = accuracy_interval(flags(right, n))
    z2 = stats.norm.ppf(0.975) ** 2
    for end in (metric.low, metric.high):
        # (p - end)^2 = z^2 end (1 - end) / n; a dozen double operations on terms <= 1: 1e-14 is ample.
        assert (right / n - end) ** 2 == pytest.approx(z2 * end * (1 - end) / n, abs=1e-14)
    assert 0 <= metric.low <= metric.value <= metric.high <= 1


def test_the_paired_difference_agrees_with_a_published_example() -> None:
    # Newcombe, Statist. Med. 17 (1998) 2635: cells 36, 12, 2, 0; method 10 gives 0.0569 to 0.3404.
    a = [1] * 36 + [0] * 12 + [1] * 2
    b = [1] * 36 + [1] * 12 + [0] * 2
    result = paired_difference(a, b)
    assert result.difference.value == 0.2
    assert (round(result.difference.low, 4), round(result.difference.high, 4)) == (0.0569, 0.3404)
    assert (result.only_a, result.only_b) == (2, 12)
    # Exact McNemar by hand: 2 (C(14,0) + C(14,1) + C(14,2)) / 2^14 = 2 * 106 / 16384.
    assert result.p_value == pytest.approx(212 / 16384, rel=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=200))
def test_the_paired_difference_turns_with_its_arguments(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference.value == -other.difference.value
    # The same square roots with the signs exchanged: a few roundings of numbers below 2.
    assert one.difference.low == pytest.approx(-other.difference.high, abs=1e-14)
    assert one.p_value == other.p_value
    assert one.p_value == pytest.approx(
        stats.binomtest(one.only_a, max(1, one.only_a + one.only_b)).pvalue
        if one.only_a + one.only_b
        else 1.0
    )


def test_equal_results_differ_by_nothing() -> None:
    result = paired_difference(flags(70, 100), flags(70, 100))
    assert (result.difference.value, result.p_value) == (0.0, 1.0)
    assert result.difference.low <= 0 <= result.difference.high


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_matthews_agrees_with_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 400)
    guesses = np.where(rng.random(400) < 0.6, labels, rng.integers(0, classes, 400))
    metric = matthews_correlation(labels, guesses, generator=torch.Generator().manual_seed(1))
    # The same formula in doubles on counts below 1e6: relative 1e-12 leaves room for another order of sums.
    assert metric.value == pytest.approx(matthews_corrcoef(labels, guesses), rel=1e-12)
    assert metric.low < metric.value < metric.high
    again = matthews_correlation(labels, guesses, generator=torch.Generator().manual_seed(1))
    assert metric == again


def test_the_bootstrap_width_is_that_of_the_correlation() -> None:
    # Balanced classes, symmetric errors: MCC = 2 acc - 1 to first order, so its standard error is
    # 2 sqrt(p (1 - p) / n) and the interval 2 * 1.96 times as wide.
    n, p = 4000, 0.8
    labels = np.repeat([0, 1], n // 2)
    wrong = np.tile(np.arange(n // 2) >= p * n // 2, 2)
    metric = matthews_correlation(
        labels, np.where(wrong, 1 - labels, labels), generator=torch.Generator().manual_seed(3)
    )
    expected = 2 * 1.96 * 2 * math.sqrt(p * (1 - p) / n)
    # Each quantile of B = 2000 draws has the standard error sqrt(.025 * .975 / B) / density(1.96) = 0.060
    # standard deviations; both ends together 0.085 of a width of 3.92, so 4 of them are 8.7 %.
    assert metric.high - metric.low == pytest.approx(expected, rel=0.087)


def test_matthews_of_a_constant_prediction_is_zero() -> None:
    metric = matthews_correlation([0, 1, 0, 1], [1, 1, 1, 1], generator=torch.Generator().manual_seed(0))
    assert (metric.value, metric.low, metric.high) == (0.0, 0.0, 0.0)


def test_perplexity_by_hand() -> None:
    nll = [1.0, 3.0, 2.0, 4.0, 5.0]  # blocks of two: means 2 and 3, the fifth left out of the error only
    metric = perplexity_interval(nll, block_tokens=2)
    assert (metric.value, metric.n) == (math.exp(3.0), 5)
    margin = stats.t.ppf(0.975, 1) * 0.5  # standard deviation sqrt(1/2), over sqrt(2)
    # exp amplifies the rounding of its argument (below 10) by 10: 1e-12 leaves two orders.
    assert metric.low == pytest.approx(math.exp(3.0 - margin), rel=1e-12)
    assert metric.high == pytest.approx(math.exp(3.0 + margin), rel=1e-12)


def test_the_perplexity_interval_covers_the_truth_as_often_as_promised() -> None:
    # Block-correlated exponential losses of mean 2: each token shares its block's level.
    rng = np.random.default_rng(5)
    trials, covered = 1000, 0
    for _ in range(trials):
        levels = np.repeat(rng.normal(0, 0.5, 40), 16)
        metric = perplexity_interval(rng.exponential(2.0, 640) + levels, block_tokens=16)
        covered += metric.low <= math.exp(2.0) <= metric.high
    # Binomial: 0.95 with standard error sqrt(.95 * .05 / 1000) = 0.0069; four of them. Student's t is
    # exact only for normal block means; 16 averaged exponentials are close enough to lose < 0.5 %.
    assert abs(covered / trials - 0.95) < 4 * 0.0069 + 0.005


def test_a_hopeless_model_has_infinite_perplexity_not_an_overflow() -> None:
    assert perplexity_interval([1e4] * 128).value == math.inf


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UserError, match="at least 128 scored tokens; got 127"):
        perplexity_interval([1.0] * 127)
    with pytest.raises(UserError, match="at least one entry"):
        accuracy_interval([])
    with pytest.raises(UserError, match="list of 0 and 1"):
        accuracy_interval([0.5, 1.0])
    with pytest.raises(UserError, match="same items: got 2 and 3"):
        paired_difference([0, 1], [0, 1, 1])
    with pytest.raises(UserError, match="equally long"):
        matthews_correlation([0, 1], [0], generator=torch.Generator())


def test_the_paired_perplexity_difference_cancels_what_both_share() -> None:
    rng = np.random.default_rng(3)
    shared = rng.gamma(2.0, 1.5, 6400)  # hard and easy tokens
    worse = shared + 0.05 + 0.1 * rng.normal(size=6400)
    found = perplexity_difference(shared, worse)
    level = math.exp(shared.mean())
    assert found.value == pytest.approx(level * (math.exp((worse - shared).mean()) - 1), rel=1e-12)
    assert found.low < level * (math.exp(0.05) - 1) < found.high
    # a block of 64 differs by sd 0.1 / 8 when paired; unpaired, the spread of the tokens comes on top
    assert found.high - found.low < 0.1 * (perplexity_interval(worse).high - perplexity_interval(worse).low)
    with pytest.raises(UserError, match="same tokens twice"):
        perplexity_difference(shared, worse[:-1])
