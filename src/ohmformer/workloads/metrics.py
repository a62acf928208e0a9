"""Figures of merit, each with its 95 % interval and the number of items behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ohmformer.errors import UserError

__all__ = [
    "Metric",
    "PairedDifference",
    "accuracy_interval",
    "matthews_correlation",
    "paired_difference",
    "perplexity_difference",
    "perplexity_interval",
]

_Z95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measured value, the ends of its 95 % interval, the number of items, and how the interval was made."""

    name: str
    value: float
    low: float
    high: float
    n: int
    method: str = ""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Accuracy of b minus accuracy of a on the same items, with the exact McNemar p of "no difference".

    ``only_a`` and ``only_b`` count the items that only a, or only b, got right.
    """

    difference: Metric
    p_value: float
    only_a: int
    only_b: int


def accuracy_interval(correct: ArrayLike) -> Metric:
    """Share of right answers with Wilson's score interval.

    (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.960; correct: [item], 0 or 1.
    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    right = _flags(correct, "correct")
    low, high = _wilson(int(right.sum()), right.size)
    return Metric(
        name="accuracy", value=float(right.mean()), low=low, high=high, n=right.size, method="Wilson score"
    )


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike) -> PairedDifference:
    """How much more often b is right than a, both having answered the same items.

    Interval: Newcombe's square-and-add of two Wilson intervals with the paired correlation (his method 10).
    p: exact McNemar, 2 P(Binomial(only_a + only_b, 1/2) <= min(only_a, only_b)), at most 1.
    Source: Newcombe, Statist. Med. 17 (1998) 2635; McNemar, Psychometrika 12 (1947) 153.
    """
    a, b = _flags(correct_a, "correct_a"), _flags(correct_b, "correct_b")
    if a.size != b.size:
        raise UserError(f"Paired results need the same items: got {a.size} and {b.size}.")
    n = a.size
    both = int((a & b).sum())
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    neither = n - both - only_a - only_b
    p_b, p_a = (both + only_b) / n, (both + only_a) / n
    low_b, high_b = _wilson(both + only_b, n)
    low_a, high_a = _wilson(both + only_a, n)
    phi = _paired_correlation(both, only_b, only_a, neither)
    below = _square_and_add(p_b - low_b, high_a - p_a, phi)
    above = _square_and_add(high_b - p_b, p_a - low_a, phi)
    discordant = only_a + only_b
    p_value = min(1.0, 2.0 * float(stats.binom.cdf(min(only_a, only_b), discordant, 0.5)))
    difference = Metric(
        name="accuracy difference",
        value=(only_b - only_a) / n,
        low=p_b - p_a - below,
        high=p_b - p_a + above,
        n=n,
        method="Newcombe paired (method 10)",
    )
    return PairedDifference(difference=difference, p_value=p_value, only_a=only_a, only_b=only_b)


def matthews_correlation(
    labels: ArrayLike, predictions: ArrayLike, *, generator: torch.Generator, resamples: int = 2000
) -> Metric:
    """Matthews correlation (any number of classes) with a percentile bootstrap interval over items.

    (c s - sum p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)); 0 where a factor vanishes. A resample
    of items is a multinomial draw of the confusion matrix, which is what is drawn.
    Source: Gorodkin, Comput. Biol. Chem. 28 (2004) 367.
    """
    truth, guess = np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    if truth.shape != guess.shape or truth.ndim != 1 or truth.size == 0:
        raise UserError(
            f"Labels and predictions must be equally long lists; got {truth.shape} and {guess.shape}."
        )
    classes, codes = np.unique(np.concatenate([truth, guess]), return_inverse=True)
    k, n = classes.size, truth.size
    confusion = np.bincount(codes[:n] * k + codes[n:], minlength=k * k)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    draws = np.random.default_rng(seed).multinomial(n, confusion / n, size=resamples)
    low, high = np.quantile(_matthews(draws.reshape(-1, k, k)), [0.025, 0.975])
    return Metric(
        name="Matthews correlation",
        value=float(_matthews(confusion.reshape(1, k, k))[0]),
        low=float(low),
        high=float(high),
        n=n,
        method=f"percentile bootstrap, {resamples} resamples",
    )


def perplexity_interval(token_nll: ArrayLike, *, block_tokens: int = 64) -> Metric:
    """exp(mean negative log likelihood) with an interval that allows for correlated neighbouring tokens.

    The mean m and its standard error s come from the means of consecutive blocks of ``block_tokens``
    tokens (a shorter rest is left out of s only): exp(m +- t s), t of Student with blocks - 1 degrees of
    freedom; this is the delta method on the logarithm. token_nll: [token], nat.
    Error: dependence longer than a block is ignored, so the interval of few long documents is too narrow.
    """
    nll = np.asarray(token_nll, dtype=np.float64)
    blocks = nll.size // block_tokens
    if nll.ndim != 1 or blocks < 2:
        raise UserError(
            f"A perplexity with its interval needs at least {2 * block_tokens} scored tokens; got {nll.size}."
        )
    means = nll[: blocks * block_tokens].reshape(blocks, block_tokens).mean(axis=1)
    margin = float(stats.t.ppf(0.975, blocks - 1) * means.std(ddof=1) / math.sqrt(blocks))
    mean = float(nll.mean())
    return Metric(
        name="perplexity",
        value=_exp(mean),
        low=_exp(mean - margin),
        high=_exp(mean + margin),
        n=nll.size,
        method=f"delta method on the log, {blocks} blocks of {block_tokens} tokens",
    )


def perplexity_difference(nll_a: ArrayLike, nll_b: ArrayLike, *, block_tokens: int = 64) -> Metric:
    """Perplexity of b minus that of a on the same tokens, with an interval from the paired difference.

    The mean difference d of the token likelihoods and its standard error come from blocks, as in
    ``perplexity_interval``; the difference is ppl_a (exp(d) - 1), its ends those of d +- t s. What both have
    in common (hard and easy passages) cancels; ppl_a is taken as known.
    """
    a, b = np.asarray(nll_a, dtype=np.float64), np.asarray(nll_b, dtype=np.float64)
    if a.shape != b.shape:
        raise UserError(f"A paired difference needs the same tokens twice; got {a.shape} and {b.shape}.")
    ratio = perplexity_interval(b - a, block_tokens=block_tokens)  # exp of the mean difference
    level = _exp(float(a.mean()))
    return Metric(
        name="perplexity difference",
        value=level * (ratio.value - 1),
        low=level * (ratio.low - 1),
        high=level * (ratio.high - 1),
        n=ratio.n,
        method=f"paired by token; {ratio.method}",
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf  # the largest double is about e^709.8


def _flags(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    flags = np.asarray(values)
    if flags.ndim != 1 or flags.size == 0 or not np.isin(flags, (0, 1)).all():
        raise UserError(f"{name} must be a list of 0 and 1 with at least one entry; got shape {flags.shape}.")
    return flags.astype(np.bool_)


def _wilson(successes: int, n: int) -> tuple[float, float]:
    p, z2 = successes / n, _Z95**2
    centre = p + z2 / (2 * n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    # Both are exact ends at p = 0 and p = 1, where the float sum may miss them by a rounding.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def _square_and_add(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _paired_correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Newcombe's phi, with his continuity correction where the pairing is positive."""
    n = both + only_first + only_second + neither
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_first * only_second
    corrected = max(product - n / 2, 0.0) if product > 0 else float(product)
    return corrected / math.sqrt(margins)


def _matthews(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """confusion: [draw, true, predicted] -> [draw]."""
    counts = confusion.astype(np.float64)
    right, total = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    covariance = right * total - (true * predicted).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    defined = spread > 0
    result: NDArray[np.float64] = np.where(defined, covariance / np.sqrt(np.where(defined, spread, 1.0)), 0.0)
    return result
