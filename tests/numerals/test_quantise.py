"""Quantisers: the rule by hand, the error bound, idempotence, clipping, dtypes, refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ohmformer.numerals import (
    NumeralError,
    dequantise,
    max_code,
    quantise,
    quantise_per_row,
    quantise_per_tensor,
    quantise_with_scale,
)

BITS = range(2, 17)


def matrix(seed: int, rows: int, columns: int, exponent: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 10.0**exponent


def test_the_rule_by_hand() -> None:
    """Row 1: scale 1.27/127 = .01; row 2 all zero: scale 1; row 3, 127 = max: ties go to even."""
    values = torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0], [127.0, 2.5, -3.5]])
    result = quantise_per_row(values, 8)
    assert result.codes.tolist() == [[127, -50, 0], [0, 0, 0], [127, 2, -4]]
    assert result.scale.shape == (3, 1)
    assert result.scale[1:, 0].tolist() == [1.0, 1.0]
    assert result.scale[0, 0] == torch.tensor(1.27) / 127
    assert result.bits == 8


@given(
    bits=st.sampled_from(BITS),
    rows=st.integers(1, 5),
    columns=st.integers(1, 40),
    exponent=st.floats(-28, 35),
    seed=st.integers(0, 2**31),
)
def test_error_is_at_most_half_a_step(bits: int, rows: int, columns: int, exponent: float, seed: int) -> None:
    """Codes and bound checked in float64, where codes * scale (15 + 24 bits) is exact. Beyond scale/2
    comes only the float32 division: half an ulp of x/scale, so |x| * 2**-24, and on values that close
    to a tie. The largest element of each row takes the largest code; from 1e-28 on every scale is a
    normal number, as 1e-28 * 1e-3 / 32767 > 1e-38."""
    values = matrix(seed, rows, columns, exponent)
    for result in (quantise_per_row(values, bits), quantise_per_tensor(values, bits)):
        assert int(result.codes.abs().max()) == max_code(bits)
        error = (values.double() - result.codes.double() * result.scale.double()).abs()
        assert bool((error <= result.scale.double() / 2 + values.double().abs() * 2.0**-24).all())


@given(
    bits=st.sampled_from(BITS),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=9),
)
def test_any_finite_float_stays_in_range_and_keeps_the_bound(bits: int, values: list[float]) -> None:
    """Also subnormal numbers and rows whose scale would underflow; no clamp is needed for the range."""
    x = torch.tensor(values)
    result = quantise_per_row(x, bits)
    assert int(result.codes.long().abs().max()) <= max_code(bits)
    assert float(result.scale) > 0
    error = (x.double() - result.codes.double() * result.scale.double()).abs()
    assert bool((error <= result.scale.double() / 2 + x.double().abs() * 2.0**-24).all())


def test_a_scale_that_would_underflow_is_raised_to_the_smallest_normal_number() -> None:
    """180 * 2**-149: a scale of 180/127 rounds to 1 * 2**-149 and would give the code 180, out of range."""
    values = torch.tensor([180 * 2.0**-149, 2.0**-126, -(2.0**-127) * 1.5])
    tiny = quantise_per_row(values[:1], 8)
    assert float(tiny.scale) == 2.0**-126
    assert tiny.codes.tolist() == [0]
    assert quantise_per_row(values[1:], 8).codes.tolist() == [1, -1]


@pytest.mark.parametrize("bits", BITS)
def test_quantising_a_dequantised_tensor_returns_the_codes(bits: int) -> None:
    """codes * scale rounds to within half an ulp, so the second scale and quotient lie within 2**-22 of
    the first, and 32767 * 2**-22 < 1/2 leaves every code where it was."""
    first = quantise_per_row(matrix(bits, 7, 33), bits)
    second = quantise_per_row(dequantise(first), bits)
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(quantise_with_scale(dequantise(first), first.scale, bits).codes, first.codes)


@pytest.mark.parametrize("bits", BITS)
def test_integers_up_to_the_largest_code_survive_exactly(bits: int) -> None:
    highest = max_code(bits)
    values = torch.arange(-highest, highest + 1).float()
    result = quantise_per_tensor(values, bits)
    assert float(result.scale) == 1.0
    assert torch.equal(result.codes.float(), values)
    assert torch.equal(dequantise(result), values)


@given(seed=st.integers(0, 2**31), bits=st.sampled_from(BITS))
def test_sign_and_powers_of_two_pass_through(seed: int, bits: int) -> None:
    """Both are exact in floating point: codes flip sign or stay, the scale is multiplied."""
    values = matrix(seed, 3, 11)
    result = quantise_per_row(values, bits)
    assert torch.equal(quantise_per_row(-values, bits).codes, -result.codes)
    quadruple = quantise_per_row(4 * values, bits)
    assert torch.equal(quadruple.codes, result.codes)
    assert torch.equal(quadruple.scale, 4 * result.scale)


def test_granularity_is_the_axes_that_share_a_scale() -> None:
    values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert quantise(values, 8, dims=(-1,)).scale.shape == (2, 3, 1)
    assert quantise(values, 8, dims=(0, 2)).scale.shape == (1, 3, 1)
    assert quantise(values, 8, dims=None).scale.shape == ()
    for channel in range(3):
        alone = quantise_per_tensor(values[:, channel], 8)
        together = quantise(values, 8, dims=(0, 2))
        assert torch.equal(together.codes[:, channel], alone.codes)
        assert torch.equal(together.scale[0, channel, 0], alone.scale)
    assert torch.equal(quantise_per_tensor(torch.tensor(-3.0), 8).codes, torch.tensor(-127, dtype=torch.int8))


def test_a_given_scale_clips() -> None:
    """Steps of .5: 63.5 is the last value in range, 1.25/.5 = 2.5 ties to 2."""
    values = torch.tensor([63.5, 64.0, 1e30, -1e30, 1.25, -0.75])
    result = quantise_with_scale(values, 0.5, 8)
    assert result.codes.tolist() == [127, 127, 127, -127, 2, -2]
    assert result.codes.dtype == torch.int8
    per_row = quantise_with_scale(torch.ones(2, 2), torch.tensor([[1.0], [0.25]]), 4)
    assert per_row.codes.tolist() == [[1, 1], [4, 4]]


def test_the_dynamic_scale_given_back_gives_the_same_codes() -> None:
    values = matrix(1, 5, 64)
    dynamic = quantise_per_row(values, 8)
    assert torch.equal(quantise_with_scale(values, dynamic.scale, 8).codes, dynamic.codes)


@pytest.mark.parametrize("bits", BITS)
def test_codes_take_the_smallest_integer_dtype_or_the_one_asked_for(bits: int) -> None:
    values = matrix(2, 4, 50)
    plain = quantise_per_row(values, bits).codes
    assert plain.dtype == (torch.int8 if bits <= 8 else torch.int16)
    for dtype in (torch.int16, torch.int32, torch.int64, torch.float32, torch.float64):
        codes = quantise_per_row(values, bits, dtype=dtype).codes
        assert codes.dtype == dtype
        assert torch.equal(codes.long(), plain.long())


@pytest.mark.parametrize(
    ("dtype", "widest"), [(torch.int8, 8), (torch.bfloat16, 9), (torch.float16, 12), (torch.float32, 16)]
)
def test_a_dtype_that_cannot_hold_the_codes_is_refused(dtype: torch.dtype, widest: int) -> None:
    values = matrix(3, 2, 9)
    for bits in BITS:
        if bits <= widest:
            codes = quantise_per_tensor(values, bits, dtype=dtype).codes
            assert torch.equal(codes.long(), quantise_per_tensor(values, bits).codes.long())
        else:
            with pytest.raises(NumeralError, match=f"dtype is {dtype}: it holds whole numbers up to"):
                quantise_per_tensor(values, bits, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    values = matrix(4, 3, 20).to(dtype)
    result = quantise_per_row(values, 8)
    assert result.scale.dtype == torch.float32
    assert torch.equal(result.codes, quantise_per_row(values.float(), 8).codes)


def test_float64_stays_float64() -> None:
    result = quantise_per_row(matrix(5, 3, 20).double(), 16)
    assert result.scale.dtype == torch.float64
    assert dequantise(result).dtype == torch.float64


def test_not_a_number_is_refused_on_request() -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        values = torch.tensor([1.0, bad])
        for call in (
            lambda values: quantise_per_row(values, 8, check=True),
            lambda values: quantise_per_tensor(values, 8, check=True),
            lambda values: quantise_with_scale(values, 1.0, 8, check=True),
        ):
            with pytest.raises(NumeralError, match="NaN or infinity"):
                call(values)
    assert quantise_per_row(torch.tensor([1.0, -2.0]), 8, check=True).codes.tolist() == [64, -127]


def test_no_rows_is_no_error_but_empty_rows_are() -> None:
    assert quantise_per_row(torch.zeros(0, 5), 8).codes.shape == (0, 5)
    with pytest.raises(NumeralError, match="nothing to take a scale from"):
        quantise_per_row(torch.zeros(5, 0), 8)
    with pytest.raises(NumeralError, match="nothing to take a scale from"):
        quantise_per_tensor(torch.zeros(0), 8)


def test_refusals_name_the_value_and_the_bound() -> None:
    values = torch.ones(2, 3)
    for bits in (-1, 0, 1, 17):
        with pytest.raises(NumeralError, match=f"bits is {bits}: allowed is 2 to 16"):
            quantise_per_row(values, bits)
    with pytest.raises(NumeralError, match="torch.int64: a quantiser needs floating-point"):
        quantise_per_tensor(torch.ones(2, dtype=torch.int64), 8)
    with pytest.raises(NumeralError, match="dtype is torch.uint8"):
        quantise_per_row(values, 8, dtype=torch.uint8)
    for dims in ((), (2,), (-3,)):
        with pytest.raises(NumeralError, match="at least one axis"):
            quantise(values, 8, dims=dims)
    with pytest.raises(NumeralError, match="at least one axis"):
        quantise_per_row(torch.tensor(1.0), 8)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(NumeralError, match="not a positive finite number"):
            quantise_with_scale(values, scale, 8)
    for shape in ((2,), (4, 2, 3)):
        with pytest.raises(NumeralError, match="must broadcast"):
            quantise_with_scale(values, torch.ones(shape), 8)
