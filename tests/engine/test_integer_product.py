"""The product of whole numbers in floating point is the integer product, bit for bit, at every size."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from ohmformer.engine import collapsed
from ohmformer.engine.collapsed import EXACT_FLOAT32, integer_product


def exact(streamed: Tensor, resident: Tensor) -> Tensor:
    return torch.matmul(streamed.to(torch.int64), resident.to(torch.int64))


@pytest.mark.parametrize("bits", [2, 8, 12, 16])
@pytest.mark.parametrize("inner", [1, 3, 1040, 1041, 1500, 5000])
@pytest.mark.parametrize("signs", ["same", "alternating", "opposite"])
def test_all_largest_operands_are_exact(bits, inner, signs):
    """The worst operands there are; 1040 elements of 8 bits are the last with 1040·2^14 < 2^24."""
    largest = 2 ** (bits - 1) - 1
    left = torch.full((2, inner), float(largest))
    right = torch.full((inner, 3), float(-largest if signs == "opposite" else largest))
    left[1, 0] -= 1  # an odd sum needs the last bit of the mantissa
    if signs == "alternating":
        left[:, ::2] *= -1
    found = integer_product(left, right, bits, bits)
    assert torch.equal(found.to(torch.int64), exact(left, right))


def test_odd_sums_beyond_float32_are_kept():
    """A float32 product rounds here, so the test would see a fallback that is not taken."""
    left, right = torch.full((1, 1100), 127.0), torch.full((1100, 1), 127.0)
    left[0, 0] = 126
    total = int(exact(left, right))
    assert total > EXACT_FLOAT32
    assert total % 2 == 1
    assert int(torch.matmul(left, right)) != total
    found = integer_product(left, right, 8, 8)
    assert found.dtype == torch.float64
    assert int(found) == total


def test_ordinary_operands_stay_in_float32(codes):
    """Norms of random codes are about 73·√inner: 73²·3072 = 1.6e7 lies just below 2^24."""
    left, right = codes(4, 2900), codes(2900, 5, seed=1)
    found = integer_product(left, right, 8, 8)
    assert found.dtype == torch.float32
    assert torch.equal(found.to(torch.int64), exact(left, right))
    assert integer_product(codes(4, 4000), codes(4000, 5, seed=1), 8, 8).dtype == torch.float64


@given(
    st.integers(2, 16),
    st.integers(2, 16),
    st.integers(1, 40),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_random_products_are_exact(streamed_bits, resident_bits, inner, seed, extreme):
    generator = torch.Generator().manual_seed(seed)

    def draw(bits: int, *shape: int) -> Tensor:
        largest = 2 ** (bits - 1) - 1
        if extreme:
            return (torch.randint(2, shape, generator=generator) * 2 - 1).float() * largest
        return torch.randint(-largest, largest + 1, shape, generator=generator).float()

    left, right = draw(streamed_bits, 3, inner), draw(resident_bits, inner, 2)
    found = integer_product(left, right, streamed_bits, resident_bits)
    assert torch.equal(found.to(torch.int64), exact(left, right))


def test_batches_and_empty_operands(codes):
    left, right = codes(3, 1, 4, 1200), codes(2, 1200, 5)
    assert torch.equal(integer_product(left, right, 8, 8).to(torch.int64), exact(left, right))
    for shape in ((0, 1200), (4, 1200)):
        empty = integer_product(torch.ones(shape), torch.ones(1200, 0), 8, 8)
        assert empty.shape == (shape[0], 0)
    assert integer_product(torch.ones(0, 1200), torch.ones(1200, 2), 8, 8).shape == (0, 2)


def test_a_product_beyond_float64_is_refused(monkeypatch):
    """2^23 elements of 16 bits reach 2^53; the bound is lowered here to keep the operands small."""
    monkeypatch.setattr(collapsed, "EXACT_FLOAT64", 1 << 30)
    big = torch.full((1, 8), 32767.0)
    with pytest.raises(OverflowError, match=r"over 8 elements may exceed"):
        integer_product(big, big.t(), 16, 16)
