"""One row of the evidence that circuits and hardware say what the model says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Check", "Outcome", "checked"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found: cases tried and the worst error among them, in the unit of the bound."""

    cases: int
    worst: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """A row: what was compared, by which tool, how often, how far apart at worst, and what was allowed.

    tool:    with its version
    worst:   largest error, in ``unit``; NaN, which no bound allows, where the tool gave no number
    bound:   what the error may be at most
    unit:    of both, such as ``of the largest current`` or ``codes``
    passed:  worst <= bound with at least one case
    seconds: the check took
    """

    name: str
    what: str
    tool: str
    cases: int
    worst: float
    bound: float
    unit: str
    passed: bool
    seconds: float


def checked(name: str, what: str, tool: str, bound: float, unit: str, find: Callable[[], Outcome]) -> Check:
    """Run one check and time it."""
    begin = time.perf_counter()
    found = find()
    return Check(
        name=name,
        what=what,
        tool=tool,
        cases=found.cases,
        worst=found.worst,
        bound=bound,
        unit=unit,
        passed=found.cases > 0 and found.worst <= bound,
        seconds=time.perf_counter() - begin,
    )
