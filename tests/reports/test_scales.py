"""Axes: positions are exact, ticks are round and lie on the axis, everything is inside."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmformer.reports.scales import Linear, Log, linear_around, log_around


def test_positions() -> None:
    assert Linear(0.0, 4.0).position(1.0) == 0.25
    assert Log(0.1, 1000.0).position(10.0) == pytest.approx(0.5, abs=1e-15)
    assert Linear(0.0, 4.0).position(9.0) == 1.0
    assert Log(1.0, 10.0).position(0.0) == 0.0


def test_an_axis_needs_a_length() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        Linear(1.0, 1.0)
    with pytest.raises(ValueError, match="needs 0 < low < high"):
        Log(0.0, 1.0)


def test_ticks_by_hand() -> None:
    assert Linear(0.0, 1.0).ticks() == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Linear(-40.0, 0.0).ticks() == [-40.0, -30.0, -20.0, -10.0, 0.0]
    assert Log(0.1, 1000.0).ticks() == pytest.approx([0.1, 1.0, 10.0, 100.0, 1000.0], rel=1e-12)
    assert Log(1.0, 1e12).ticks() == pytest.approx([1.0, 1e3, 1e6, 1e9, 1e12], rel=1e-12)
    assert Log(2.0, 9.0).ticks() == [2.0, 5.0]


finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False).map(lambda x: round(x, 6))


@given(st.lists(finite, min_size=1, max_size=8))
def test_a_linear_axis_holds_its_values_and_has_ticks(values: list[float]) -> None:
    axis = linear_around(values)
    slack = 1e-9 * (abs(axis.low) + abs(axis.high))  # ends are products of a rounded step
    assert all(axis.low - slack <= value <= axis.high + slack for value in values)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))


@given(st.lists(st.floats(min_value=1e-12, max_value=1e12), min_size=1, max_size=8))
def test_a_logarithmic_axis_holds_its_values_between_powers_of_ten(values: list[float]) -> None:
    axis = log_around(values)
    assert all(axis.low * (1 - 1e-9) <= value <= axis.high * (1 + 1e-9) for value in values)
    for end in (axis.low, axis.high):
        assert math.log10(end) == pytest.approx(round(math.log10(end)), abs=1e-9)
    assert 1 <= len(axis.ticks()) <= 6


def test_what_is_not_finite_moves_no_axis() -> None:
    assert linear_around([1.0, 3.0, math.inf]) == linear_around([1.0, 3.0])
    assert log_around([0.0, -1.0, 5.0, math.inf]) == log_around([5.0])
    assert log_around([]) == Log(0.1, 10.0)
    assert linear_around([], include=2.0).position(2.0) == 0.5
