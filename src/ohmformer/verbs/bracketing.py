"""Where a quantity that rises with an amplitude crosses a bound: doubling, then bisection of both edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ohmformer.errors import UserError
from ohmformer.verbs.losses import Verdict

__all__ = ["Bracket", "bracket"]

HALVINGS = 8  # below the first amplitude, down to 1/256 of it


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """What is certain about a crossing.

    low:     the largest amplitude judged below the bound that is smaller than ``high``; None: none was
    high:    the smallest amplitude judged above; None: none was
    largest: the largest amplitude that was tried
    refusal: why no larger amplitude could be tried, empty where none had to be or the limit ended the search
    """

    low: float | None
    high: float | None
    largest: float
    refusal: str


def bracket(
    judge: Callable[[float], Verdict],
    *,
    up_to: float,
    resolution: float,
    start: float = 1.0,
    downward: bool = True,
) -> Bracket:
    """The tightest amplitudes with a certain verdict on either side of the crossing.

    judge:      the verdict at an amplitude; called once for each. A UserError of it, except at ``start``,
                ends the search there (an amplitude that the machine does not allow)
    up_to:      the largest amplitude to try
    resolution: ratio above 1; an edge is bisected (in the logarithm) until its neighbours are so near
    downward:   whether amplitudes below ``start`` may be tried where ``start`` is not judged below

    Between ``low`` and ``high`` lie the amplitudes whose verdict is undecided, but for the resolution. The
    search presumes that the quantity rises: what comes back between two amplitudes tried is not seen.
    """
    known: dict[float, Verdict] = {start: judge(start)}
    refusal = ""
    at = start
    while known[at] != "above" and at < up_to:
        following = min(2 * at, up_to)
        try:
            known[following] = judge(following)
        except UserError as error:
            refusal = str(error)
            break
        at = following
    for step in range(1, HALVINGS + 1 if downward else 1):
        if "below" in known.values():
            break
        known[start / 2**step] = judge(start / 2**step)
    while (middle := _widest_edge(known, resolution)) is not None:
        known[middle] = judge(middle)
    low, high = _ends(known)
    return Bracket(
        low=low,
        high=high,
        largest=max(known),
        refusal=refusal,
    )


def _ends(known: dict[float, Verdict]) -> tuple[float | None, float | None]:
    above = [x for x, found in known.items() if found == "above"]
    high = min(above) if above else None
    below = [x for x, found in known.items() if found == "below" and (high is None or x < high)]
    return (max(below) if below else None), high


def _widest_edge(known: dict[float, Verdict], resolution: float) -> float | None:
    """The amplitude to try next: the middle of the wider of the two edges, None where both are narrow."""
    low, high = _ends(known)
    edges = []
    if low is not None:
        beyond = [x for x in known if x > low]
        if beyond:
            edges.append((min(beyond) / low, low, min(beyond)))
    if high is not None:
        before = [x for x in known if x < high]
        if before:
            edges.append((high / max(before), max(before), high))
    wide = [edge for edge in edges if edge[0] > resolution]
    if not wide:
        return None
    _, left, right = max(wide)
    return math.sqrt(left * right)
