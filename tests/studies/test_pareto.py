"""The front: by definition, on random points."""

from __future__ import annotations

import random

from ohmformer.studies.pareto import pareto


def test_a_point_stays_exactly_when_nothing_beats_it() -> None:
    drawn = random.Random(3)
    points = [tuple(drawn.randrange(6) for _ in range(3)) for _ in range(80)]
    for point, kept in zip(points, pareto(points), strict=True):
        beaten = any(
            other != point and all(other[axis] <= point[axis] for axis in range(3)) for other in points
        )
        assert kept is not beaten


def test_equal_points_are_all_kept_and_none_is_no_front() -> None:
    assert pareto([(1, 2), (1, 2), (2, 2)]) == (True, True, False)
    assert pareto([]) == ()
