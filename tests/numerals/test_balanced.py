"""Balanced digits: exhaustive round trips, uniqueness, bounds and refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ohmformer.errors import UserError
from ohmformer.numerals import BalancedNumeral, NumeralError, digits_for_bits

INT64 = torch.iinfo(torch.int64)


@pytest.mark.parametrize("radix", range(3, 258, 2))
def test_every_value_of_every_small_radix_returns(radix: int) -> None:
    """All values of widths 1 and 2 (up to 66,049 numerals): round trip, digit bound, weighted sum."""
    for width in (1, 2):
        numeral = BalancedNumeral(radix, width)
        values = torch.arange(-numeral.max_value, numeral.max_value + 1)
        assert len(values) == radix**width
        digits = numeral.encode(values)
        assert digits.shape == (*values.shape, width)
        assert int(digits.abs().max()) == numeral.max_digit
        assert torch.equal((digits.long() * torch.tensor(numeral.weights)).sum(-1), values)
        assert torch.equal(numeral.decode(digits), values)


@pytest.mark.parametrize(
    ("radix", "width"), [(3, 6), (3, 10), (5, 4), (7, 3), (7, 5), (9, 3), (15, 3), (17, 2)]
)
def test_every_digit_combination_is_one_value(radix: int, width: int) -> None:
    """decode maps the radix**width digit combinations one to one onto the range."""
    numeral = BalancedNumeral(radix, width)
    digit = torch.arange(-numeral.max_digit, numeral.max_digit + 1)
    digits = torch.cartesian_prod(*[digit] * width).reshape(-1, width)
    values = numeral.decode(digits)
    assert torch.equal(values.sort().values, torch.arange(-numeral.max_value, numeral.max_value + 1))
    assert torch.equal(numeral.encode(values).long(), digits)


def test_hand_worked_numerals() -> None:
    """100 = 2*1 + 0*7 + 2*49 and -128 = -2*1 + 3*7 - 3*49: least significant digit first."""
    digits = BalancedNumeral(7, 3).encode(torch.tensor([100, -128, 0, 3, 4]))
    assert digits.tolist() == [[2, 0, 2], [-2, 3, -3], [0, 0, 0], [3, 0, 0], [-3, 1, 0]]


@given(
    radix=st.integers(1, 5000).map(lambda half: 2 * half + 1),
    width=st.integers(1, 60),
    shape=st.lists(st.integers(0, 4), max_size=3),
    data=st.data(),
)
def test_round_trip_of_any_radix_width_and_shape(
    radix: int, width: int, shape: list[int], data: st.DataObject
) -> None:
    numeral = BalancedNumeral(radix, width)
    low, high = max(-numeral.max_value, INT64.min), min(numeral.max_value, INT64.max)
    count = int(torch.tensor(shape).prod()) if shape else 1
    elements = data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    values = torch.tensor(elements, dtype=torch.int64).reshape(shape)
    digits = numeral.encode(values)
    assert digits.shape == (*shape, width)
    assert digits.numel() == 0 or int(digits.long().abs().max()) <= numeral.max_digit
    assert torch.equal(numeral.decode(digits), values)
    # An independent judge: Python's unbounded integers.
    for value, row in zip(elements, digits.reshape(-1, width).tolist(), strict=True):
        assert sum(digit * radix**index for index, digit in enumerate(row)) == value


@given(st.lists(st.integers(-171, 171), min_size=1, max_size=20))
def test_negation_negates_every_digit(elements: list[int]) -> None:
    numeral = BalancedNumeral(7, 3)
    values = torch.tensor(elements)
    assert torch.equal(numeral.encode(-values), -numeral.encode(values))


@pytest.mark.parametrize(
    ("radix", "dtype"),
    [(3, torch.int8), (255, torch.int8), (257, torch.int16), (65535, torch.int16), (65537, torch.int64)],
)
def test_digits_take_the_smallest_dtype(radix: int, dtype: torch.dtype) -> None:
    numeral = BalancedNumeral(radix, 2)
    ends = torch.tensor([-numeral.max_value, -numeral.max_digit, numeral.max_digit, numeral.max_value])
    assert numeral.encode(ends).dtype == numeral.digit_dtype == dtype
    assert torch.equal(numeral.decode(numeral.encode(ends)), ends)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_integer_dtype_is_read(dtype: torch.dtype) -> None:
    assert BalancedNumeral(7, 3).encode(torch.tensor([100], dtype=dtype)).tolist() == [[2, 0, 2]]


@pytest.mark.parametrize("value", [INT64.min, INT64.max])
def test_both_ends_of_int64_return_from_a_wide_numeral(value: int) -> None:
    numeral = BalancedNumeral(3, 45)
    assert int(numeral.decode(numeral.encode(torch.tensor(value)))) == value


def test_digits_beyond_int64_are_refused_not_wrapped() -> None:
    numeral = BalancedNumeral(3, 45)
    with pytest.raises(NumeralError, match="exceed int64"):
        numeral.decode(torch.ones(45, dtype=torch.int8))


@pytest.mark.parametrize(("radix", "width"), [(3, 6), (5, 4), (7, 3), (9, 3), (17, 2), (257, 1)])
def test_digits_for_int8(radix: int, width: int) -> None:
    assert digits_for_bits(radix, 8) == width


def test_base_7_is_the_smallest_with_three_digits_and_base_15_still_needs_them() -> None:
    assert min(radix for radix in range(3, 258, 2) if digits_for_bits(radix, 8) == 3) == 7
    assert digits_for_bits(15, 8) == 3


@pytest.mark.parametrize("bits", range(2, 17))
def test_digits_for_bits_is_the_least_width_and_misses_the_lowest_value_once(bits: int) -> None:
    """Least by trying one digit fewer; -2**(bits-1) is missed for radix 2**bits - 1 only."""
    highest = 2 ** (bits - 1) - 1
    missed = []
    for radix in range(3, 2**bits + 2, 2):
        width = digits_for_bits(radix, bits)
        assert BalancedNumeral(radix, width).max_value >= highest
        assert width == 1 or BalancedNumeral(radix, width - 1).max_value < highest
        if BalancedNumeral(radix, width).max_value == highest:
            missed.append(radix)
    assert missed == [2**bits - 1]


def test_the_lowest_int8_value_is_refused_in_base_255() -> None:
    with pytest.raises(NumeralError, match="value is -128: allowed is -127 to 127"):
        BalancedNumeral(255, digits_for_bits(255, 8)).encode(torch.tensor([5, -128]))


@pytest.mark.parametrize("radix", [4, 2, 1, 0, -3])
def test_a_radix_without_balanced_digits_is_refused(radix: int) -> None:
    for construct in (lambda: BalancedNumeral(radix, 3), lambda: digits_for_bits(radix, 8)):
        with pytest.raises(NumeralError, match=f"radix is {radix}: .* odd radix of at least 3") as caught:
            construct()
        assert isinstance(caught.value, UserError)
        assert isinstance(caught.value, ValueError)


def test_other_refusals_name_the_value_and_the_bound() -> None:
    numeral = BalancedNumeral(7, 3)
    with pytest.raises(NumeralError, match="width is 0: .* at least 1 digit"):
        BalancedNumeral(7, 0)
    with pytest.raises(NumeralError, match="bits is 1: .* at least 2"):
        digits_for_bits(7, 1)
    with pytest.raises(NumeralError, match="value is 172: allowed is -171 to 171"):
        numeral.encode(torch.tensor([[0, 172]]))
    with pytest.raises(NumeralError, match=r"value is torch.float32: an integer"):
        numeral.encode(torch.tensor([1.0]))
    with pytest.raises(NumeralError, match=r"value is torch.bool"):
        numeral.encode(torch.tensor([True]))
    with pytest.raises(NumeralError, match="digit is 4: allowed is -3 to 3"):
        numeral.decode(torch.tensor([0, 4, 0]))
    with pytest.raises(NumeralError, match="last axis must hold 3 digits"):
        numeral.decode(torch.tensor([0, 1]))
    with pytest.raises(NumeralError, match="last axis must hold 3 digits"):
        numeral.decode(torch.tensor(1))
