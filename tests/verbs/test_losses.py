"""Paired losses: their intervals hold as often as they say, and a verdict needs the whole interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ohmformer.verbs.losses import BLOCK_TOKENS, least_items, paired_loss, verdict
from ohmformer.workloads import Metric


def test_the_loss_of_answers_is_agresti_and_mins_interval_on_one_chip() -> None:
    clean = np.array([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    noisy = np.array([[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    found = paired_loss("head", clean, noisy)
    # 3 lost, 1 won, half an item more in each of the four outcomes: 3.5 and 1.5 of 10
    centre = (3.5 - 1.5) / 10
    variance = ((3.5 + 1.5) / 10 - centre**2) / 10
    half = float(stats.t.ppf(0.975, 9)) * math.sqrt(variance)
    assert found.value == pytest.approx((3 - 1) / 8)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half))
    assert (found.name, found.n) == ("accuracy loss", 8)


def test_chips_that_differ_widen_the_interval_by_satterthwaite() -> None:
    clean = np.zeros((2, 4))
    noisy = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = paired_loss("choices", clean, noisy)
    of_items = np.array([0.5, 0.5, 0.0, 0.0])
    items = ((of_items**2).sum() + 1) / 6 - (of_items.sum() / 6) ** 2
    chips = np.var([0.5, 0.0], ddof=1)
    first, second = items / 6, chips / 2
    freedom = (first + second) ** 2 / (first**2 / 5 + second**2 / 1)
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(first + second)
    assert found.value == 0.25
    assert found.high - found.low == pytest.approx(2 * half)


def test_equal_answers_prove_only_what_their_number_can() -> None:
    for bound in (0.3, 0.05, 0.01):
        least = least_items(bound)
        for n, said in ((least, "below"), (least - 1, "undecided")):
            same = np.zeros((3, n))
            assert verdict(paired_loss("head", same, same), bound) == said


def test_a_rise_of_the_perplexity_is_that_of_its_mean_logarithm() -> None:
    generator = np.random.default_rng(0)
    clean = generator.normal(3.0, 1.0, (1, 3 * BLOCK_TOKENS + 5))
    by_block = np.repeat([0.1, 0.2, 0.6], BLOCK_TOKENS)
    noisy = clean + np.concatenate([by_block, np.zeros(5)])
    found = paired_loss("perplexity", clean, noisy)
    mean = 0.9 * BLOCK_TOKENS / clean.size
    half = float(stats.t.ppf(0.975, 2)) * np.std([0.1, 0.2, 0.6], ddof=1) / math.sqrt(3)
    assert found.value == pytest.approx(math.exp(noisy.mean()) / math.exp(clean.mean()) - 1)
    assert found.low == pytest.approx(math.expm1(mean - half))
    assert found.high == pytest.approx(math.expm1(mean + half))
    assert paired_loss("perplexity", clean, clean).high == 0  # not one token differs
    assert paired_loss("perplexity", clean, clean + 800).value == math.inf


@pytest.mark.parametrize("kind", ["head", "perplexity"])
def test_the_interval_holds_at_least_as_often_as_it_says(kind: str) -> None:
    """Items and chips are drawn anew each time; chips differ and so do items."""
    generator = np.random.default_rng(1)
    held, rounds, chips, n = 0, 400, 3, 6 * BLOCK_TOKENS
    for _ in range(rounds):
        of_chip = generator.uniform(0.02, 0.08, (chips, 1))  # share lost, or nat, on average 0.05
        if kind == "head":
            difference = (generator.random((chips, n)) < of_chip).astype(float)
            truth = 0.05
        else:
            difference = of_chip + generator.normal(0.0, 0.3, (chips, n)) + generator.normal(0.0, 0.1, n)
            truth = math.expm1(0.05)
        found = paired_loss(kind, np.zeros((chips, n)), difference)  # type: ignore[arg-type]
        held += found.low <= truth <= found.high
    # at 95 % the count is binomial with sd √(400 · 0.95 · 0.05) = 4.4; the interval is at least so wide
    assert held >= rounds * 0.95 - 3 * 4.4
    # and it must not be so wide that it says nothing: 100 % would be a bug of this test or of the interval
    assert found.high - found.low < 0.2


def test_a_verdict_needs_the_whole_interval() -> None:
    def loss(low: float, high: float) -> Metric:
        return Metric(name="accuracy loss", value=(low + high) / 2, low=low, high=high, n=9)

    assert verdict(loss(-0.02, 0.009), 0.01) == "below"
    assert verdict(loss(0.011, 0.02), 0.01) == "above"
    for low, high in ((0.009, 0.011), (-0.1, 0.01), (0.01, 0.3)):
        assert verdict(loss(low, high), 0.01) == "undecided"
