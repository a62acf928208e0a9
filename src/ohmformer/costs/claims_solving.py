"""Which value of one assumption would make a figure come out as claimed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

__all__ = ["crossing", "first_that_meets"]

Figure = Callable[[float], float]


def crossing(
    figure: Figure,
    target: float,
    points: Sequence[float],
    start: float,
    *,
    whole: bool = False,
    tolerance: float = 0.002,
) -> float | None:
    """The argument nearest to ``start`` at which ``figure`` passes ``target``; None if it never does.

    Looks for a change of sign of figure − target between neighbouring ``points`` (positive, rising), nearest
    to ``start`` in the logarithm first, and halves that interval in the logarithm until its ends differ by
    less than ``tolerance`` of themselves, or by one where ``whole``.
    returns: the end of the interval farther from ``start``, where the claim holds; a point that hits exactly
    Error:   two crossings between the same two points are not seen; a figure that is not finite counts as
             none.
    """
    found = [(point, figure(point) - target) for point in points]
    found = [(point, gap) for point, gap in found if math.isfinite(gap)]
    pairs = [(a, b) for a, b in pairwise(found) if (a[1] <= 0) != (b[1] <= 0) or a[1] == 0 or b[1] == 0]
    if not pairs:
        return None

    def distance(pair: tuple[tuple[float, float], tuple[float, float]]) -> float:
        return min(abs(math.log(end[0] / start)) for end in pair)

    (low, low_gap), (high, high_gap) = min(pairs, key=distance)
    for end, gap in ((low, low_gap), (high, high_gap)):
        if gap == 0:
            return end
    while (high - low > 1) if whole else (high / low > 1 + tolerance):
        middle = math.sqrt(low * high)
        if whole:
            middle = float(min(max(round(middle), low + 1), high - 1))
        gap = figure(middle) - target
        if gap == 0:
            return middle
        if (gap > 0) == (low_gap > 0):
            low = middle
        else:
            high = middle
    return max(low, high, key=lambda end: abs(math.log(end / start)))


def first_that_meets(meets: Callable[[float], bool], ordered: Sequence[float]) -> float | None:
    """The first of ``ordered`` (nearest to what is given first) for which ``meets`` holds, or None."""
    return next((value for value in ordered if meets(value)), None)
