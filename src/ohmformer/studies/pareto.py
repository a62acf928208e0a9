"""Which points no other point beats."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pareto"]


def pareto(costs: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """For each point, whether no other one is at most as costly in everything and cheaper in something.

    costs:  one row of costs a point, all to be small
    Error:  none; equal points are all kept. Quadratic in the number of points.
    """
    rows = [tuple(row) for row in costs]
    distinct = set(rows)
    kept = {
        row
        for row in distinct
        if not any(
            other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in distinct
        )
    }
    return tuple(row in kept for row in rows)
