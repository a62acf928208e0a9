"""The search for a crossing, on laws whose crossing is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmformer.errors import UserError
from ohmformer.verbs.bracketing import bracket
from ohmformer.verbs.losses import Verdict


def law(first: float, last: float, calls: list[float] | None = None) -> Callable[[float], Verdict]:
    """Below up to ``first``, above from ``last`` on, undecided between."""

    def judge(amplitude: float) -> Verdict:
        if calls is not None:
            calls.append(amplitude)
        return "below" if amplitude < first else "above" if amplitude > last else "undecided"

    return judge


@given(st.floats(0.01, 60.0), st.floats(1.0, 3.0), st.sampled_from([1.05, 1.25, 2.0]))
def test_the_ends_enclose_the_undecided_zone_to_the_resolution(
    first: float, wide: float, resolution: float
) -> None:
    last = first * wide
    calls: list[float] = []
    found = bracket(law(first, last, calls), up_to=256.0, resolution=resolution)
    assert found.low is not None
    assert found.high is not None
    assert found.low < first
    assert found.high > last
    # the neighbour that was tried beyond each edge is within the resolution and is not of its verdict
    assert min(x for x in calls if x >= first) <= found.low * resolution * (1 + 1e-9)
    assert max(x for x in calls if x <= last or x == found.low) >= found.high / resolution * (1 - 1e-9)
    assert found.refusal == ""
    assert len(calls) == len(set(calls))


def test_a_noise_that_costs_nothing_is_not_reached() -> None:
    calls: list[float] = []
    found = bracket(law(1e9, 1e9, calls), up_to=12.0, resolution=1.25)
    assert calls == [1.0, 2.0, 4.0, 8.0, 12.0]
    assert (found.low, found.high, found.largest) == (12.0, None, 12.0)


def test_undecided_up_to_the_limit() -> None:
    found = bracket(law(3.0, 100.0), up_to=16.0, resolution=1.5)
    assert found.high is None
    assert found.low is not None
    assert 2.0 <= found.low < 3.0
    assert found.largest == 16.0


def test_an_amplitude_that_the_machine_refuses_ends_the_search() -> None:
    def judge(amplitude: float) -> Verdict:
        if amplitude > 5:
            raise UserError("too much")
        return "below"

    found = bracket(judge, up_to=64.0, resolution=1.25)
    assert (found.low, found.high, found.largest, found.refusal) == (4.0, None, 4.0, "too much")
    with pytest.raises(UserError, match="too much"):
        bracket(judge, up_to=64.0, resolution=1.25, start=6.0)


def test_downward_only_where_it_may_and_not_for_ever() -> None:
    calls: list[float] = []
    found = bracket(law(0.0, 0.0, calls), up_to=64.0, resolution=1.25)
    assert (found.low, found.high) == (None, min(calls))
    assert min(calls) == 1 / 256
    calls.clear()
    found = bracket(law(0.0, 2.5, calls), up_to=64.0, resolution=1.25, downward=False)
    assert min(calls) == 1.0
    assert found.low is None
    assert found.high is not None
    assert 2.5 < found.high <= 2.5 * 1.25


def test_of_several_crossings_the_first_that_is_met_counts() -> None:
    def judge(amplitude: float) -> Verdict:
        return "above" if amplitude >= 7.5 or 5 < amplitude < 6 else "below"

    found = bracket(judge, up_to=64.0, resolution=1.05)
    # 4 below, 8 above, √32 = 5.66 above: the search stays below it
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 5 < found.high < 5.3
