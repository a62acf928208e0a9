"""The product of whole numbers in floating point is the integer product, bit for bit, at every size."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from ohmformer.engine import collapsed
from ohmformer.engine.collapsed import EXACT_FLOAT32, integer_product
from ohmformer.engine.native import Kernels
from ohmformer.engine.resident import ResidentCodes

from .conftest import INSTRUCTION_SETS


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


# --- the kernels: where sums of 16 bits are at their limits ------------------------------------------------


def pattern(kind: str, rows: int, inner: int, seed: int) -> Tensor:
    """Codes [row, inner], int8, that drive pairs and short sums of products to their bounds."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.ones(rows, inner)
    signs[:, 1::2] = -1.0
    made = {
        "one sign": torch.full((rows, inner), 127.0),
        "lowest": torch.full((rows, inner), -128.0),
        "alternating": 127.0 * signs,
        "alternating, lowest": torch.where(signs > 0, 127.0, -128.0),
        "lowest, alternating": torch.where(signs > 0, -128.0, 127.0),
        "halves": 64.0 * signs,  # 8 · 64 · 63 < 2^15 <= 16 · 64 · 63
        "three too many": 107.0 * signs,  # past 128 by 86 in a pair: 2 · 86 < 255 < 3 · 86
        "nearly halves": torch.full((rows, inner), 63.0),
        "any": torch.randint(-128, 128, (rows, inner), generator=generator).float(),
        "normal": (39.0 * torch.randn(rows, inner, generator=generator)).round().clamp(-127.0, 127.0),
        "narrow": (12.0 * torch.randn(rows, inner, generator=generator)).round().clamp(-127.0, 127.0),
        "few": torch.randint(-128, 128, (rows, inner), generator=generator).float()
        * (torch.rand(rows, inner, generator=generator) < 0.05),
        "zeros": torch.zeros(rows, inner),
    }[kind]
    return made.to(torch.int8)


PATTERNS = (
    "one sign",
    "lowest",
    "alternating",
    "alternating, lowest",
    "lowest, alternating",
    "halves",
    "three too many",
    "nearly halves",
    "any",
    "normal",
    "narrow",
    "few",
    "zeros",
)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("kind", PATTERNS)
def test_kernels_are_exact_at_the_bounds_of_short_sums(name, kind):
    """Every pattern times every other; inner sizes around pairs, steps of 4, spans of 16, blocks of 1024."""
    found = Kernels(name)
    for inner in (1, 2, 7, 16, 31, 33, 48, 1040):
        left = pattern(kind, 7, inner, seed=inner)
        right = torch.cat([pattern(other, 3, inner, seed=inner + 1) for other in PATTERNS])
        y = found.product(left, found.packed(right), len(right))
        assert torch.equal(y.long(), left.long() @ right.long().T)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 8, 103])
def test_rows_of_all_sizes_meet_in_one_block(name, rows):
    """Rows that need other sums than their neighbours: what one of them needs must not reach the others."""
    found, inner = Kernels(name), 200
    left = torch.cat([pattern(PATTERNS[i % len(PATTERNS)], 1, inner, seed=i) for i in range(rows)])
    right = torch.cat([pattern(other, 2, inner, seed=5) for other in PATTERNS])
    y = found.product(left, found.packed(right), len(right))
    assert torch.equal(y.long(), left.long() @ right.long().T)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("before", ["narrow", "normal"])
def test_codes_that_grow_under_a_patch_stay_exact(name, before):
    """A misread may turn a small code into the largest: the bounds kept with the codes follow, and back."""
    found, columns, inner = Kernels(name), 20, 70
    codes = pattern(before, columns, inner, seed=2)
    resident = ResidentCodes(codes, 8)
    resident.kernels, resident._data = found, found.packed(codes)
    grown = pattern("alternating, lowest", columns, inner, seed=0)
    left = torch.cat([pattern(kind, 1, inner, seed=9) for kind in PATTERNS])
    deltas = (grown.int() - codes.int()).view(-1)
    with resident.patched(torch.arange(columns * inner), deltas):
        y = found.product(left, resident.packed, columns)
        assert torch.equal(y.long(), left.long() @ grown.long().T)
        assert torch.equal(resident.packed, found.packed(grown))
    packed = resident.packed.clone()
    assert torch.equal(packed, found.packed(codes))  # to the last byte
    assert torch.equal(found.product(left, packed, columns).long(), left.long() @ codes.long().T)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_one_patched_code_is_packed_as_if_it_had_always_been_so(name):
    """One code after another, larger and smaller: the packed bytes are those of the codes packed anew."""
    found, columns, inner = Kernels(name), 17, 40
    codes = pattern("narrow", columns, inner, seed=4)
    packed = found.packed(codes)
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        place = torch.randint(columns * inner, (1,), generator=generator)
        wanted = torch.randint(-128, 128, (1,), generator=generator)
        found.patch(packed, (columns, inner), place, wanted - codes.view(-1)[place])
        codes.view(-1)[place] = wanted.to(torch.int8)
        assert torch.equal(packed, found.packed(codes))


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_division_of_the_work_gives_the_same_numbers(name, threads):
    """1 to 7 blocks of 96 rows on up to 3 threads: laid out for all columns, or shared by the threads."""
    found, inner = Kernels(name), 40
    right = pattern("normal", 150, inner, seed=3)
    packed = found.packed(right)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for rows in (1, 96, 97, 200, 600):
            left = pattern("normal", rows, inner, seed=rows)
            assert torch.equal(found.product(left, packed, 150).long(), left.long() @ right.long().T)
    finally:
        torch.set_num_threads(before)
