"""What a noise costs: paired differences over items and chips, and whether they are below a bound."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ohmformer.verbs.work import Kind
from ohmformer.workloads import Metric

__all__ = ["BLOCK_TOKENS", "Verdict", "least_items", "paired_loss", "verdict"]

Verdict = Literal["below", "above", "undecided"]
BLOCK_TOKENS = 64


def paired_loss(kind: Kind, clean: NDArray[np.float64], noisy: NDArray[np.float64]) -> Metric:
    """Mean of noisy − clean over items and chips, with a 95 % interval that allows for both.

    clean, noisy: [chip, item], what an item costs: 1 for a wrong answer, or nat for a token
    returns: accuracies: the accuracy lost, a share. Perplexity: exp(mean) − 1, its relative rise

    The variance of the mean is that of the items' means (over chips) plus, for several chips, that of the
    chips' means (over items), with Satterthwaite's degrees of freedom; of one chip only the items count.
    Answers are counted with half an item more in each of the four outcomes (Agresti and Min), so that n
    equal answers do not prove that there is no difference; tokens are averaged over blocks of 64, which
    allows for dependence within a block.
    Error: what chance of items and of chips have in common is counted twice, which widens the interval.
    Source: Satterthwaite, Biometrics 2 (1946) 110; Agresti and Min, Statist. Med. 24 (2005) 729.
    """
    difference = noisy - clean
    chips, n = difference.shape
    of_items, of_chips = difference.mean(axis=0), difference.mean(axis=1)
    mean = float(of_items.mean())
    if kind == "perplexity":
        count = n // BLOCK_TOKENS
        blocks = of_items[: count * BLOCK_TOKENS].reshape(count, BLOCK_TOKENS).mean(axis=1)
        centre, variance = mean, float(blocks.var(ddof=1)) / count
        how = f"{count} blocks of {BLOCK_TOKENS} tokens"
    else:
        count = n + 2
        centre = float(of_items.sum()) / count
        variance = ((float((of_items**2).sum()) + 1) / count - centre**2) / count
        how = f"Agresti and Min, {n} items"
    between = float(of_chips.var(ddof=1)) / chips if chips > 1 else 0.0
    half = 0.0
    if variance + between > 0:
        freedom = (variance + between) ** 2 / (
            variance**2 / (count - 1) + (between**2 / (chips - 1) if chips > 1 else 0.0)
        )
        half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance + between)
    ends = (mean, centre - half, centre + half)
    if kind == "perplexity":
        ends = (_rise(ends[0]), _rise(ends[1]), _rise(ends[2]))
    return Metric(
        name="perplexity rise" if kind == "perplexity" else "accuracy loss",
        value=ends[0],
        low=ends[1],
        high=ends[2],
        n=n,
        method=f"paired, {how}, {chips} chip(s)",
    )


def _rise(mean_nat: float) -> float:
    return math.expm1(mean_nat) if mean_nat < 709.0 else math.inf  # the largest double is about e^709.8


def verdict(loss: Metric, bound: float) -> Verdict:
    """Whether the whole interval of ``loss`` lies below or above ``bound``."""
    if loss.high < bound:
        return "below"
    return "above" if loss.low > bound else "undecided"


def least_items(bound: float) -> int:
    """The fewest equal answers whose interval lies below ``bound``.

    For n equal answers the half width is t·√(1/(n + 2))/√(n + 2) = t/(n + 2), t of Student with n + 1 degrees
    of freedom.
    """
    n = max(1, math.ceil(1.959 / bound) - 2)  # of a normal: never too large
    while not float(stats.t.ppf(0.975, n + 1)) / (n + 2) < bound:
        n += 1
    return n
