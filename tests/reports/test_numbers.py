"""Numbers as text, by hand."""

import math

import pytest

from ohmformer.reports.numbers import (
    area,
    count,
    duration,
    integer,
    percent,
    points,
    quantity,
    significant,
    tick,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (9.996, "10.0"),  # rounding that adds a digit keeps three digits
        (123.4, "123"),
        (12345.0, "12,300"),
        (1_234_567.0, "1.23e6"),
        (0.000123, "0.000123"),
        (0.0000123, "1.23e−5"),
        (-0.5, "−0.500"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "n/a"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.66e-3, "1.66 mJ"),
        (9.999e-4, "1.00 mJ"),  # the prefix follows the rounded number
        (5.56e-5, "55.6 µJ"),
        (0.0, "0 J"),
        (2.0e12, "2.00 TJ"),
        (4.6e-12, "4.60 pJ"),
        (-3.0e-9, "−3.00 nJ"),
    ],
)
def test_prefixes(value: float, text: str) -> None:
    assert quantity(value, "J") == text


def test_areas_are_square_millimetres_until_they_are_tiny() -> None:
    assert area(150.4e-6) == "150 mm²"
    assert area(2.5e-10) == "250 µm²"
    assert area(0.0) == "0 mm²"


def test_shares_and_points() -> None:
    assert percent(0.877) == "87.7 %"
    assert percent(-0.02, 0) == "−2 %"
    assert points(0.004) == "+0.4"
    assert points(-0.0004) == "0.0"  # no sign on what rounds to nothing
    assert points(-0.021) == "−2.1"


def test_counts() -> None:
    assert integer(1234567) == "1,234,567"
    assert count(999_999.0) == "999,999"
    assert count(2.5) == "2.50"
    assert count(4.1e9) == "4.10e9"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3 * 365.25 * 86400.0, "3.00 years"),
        (12 * 86400.0, "12.0 days"),
        (7200.0, "2.00 hours"),
        (119.0, "119 s"),
        (0.25, "250 ms"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ticks() -> None:
    assert [tick(value) for value in (0.0, 0.001, 1.0, 1000.0, -5.0)] == ["0", "0.001", "1", "1,000", "−5"]
    assert tick(1e-4) == "10⁻⁴"
    assert tick(2e6) == "2·10⁶"
