"""The extended Hamming code against its definition: every error of small words, samples of (72, 64)."""

from __future__ import annotations

import itertools

import pytest
import torch

from ohmformer.numerals import NumeralError, check_bits, secded
from ohmformer.numerals.secded import CLEAN, CORRECTED, DETECTED, correct, encode


@pytest.mark.parametrize(
    ("data", "check"),
    # Hamming (1950), extended by one: (4, 1), (8, 4), (16, 11), (32, 26), (64, 57), (72, 64), (128, 120)
    [
        (1, 3),
        (2, 4),
        (4, 4),
        (5, 5),
        (11, 5),
        (12, 6),
        (26, 6),
        (57, 7),
        (58, 8),
        (64, 8),
        (120, 8),
        (1024, 12),
    ],
)
def test_numbers_of_check_bits(data, check):
    assert check_bits(data) == check
    assert encode(torch.zeros(data, dtype=torch.int8)).shape == (check,)


def _all_words(bits: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0, 1), repeat=bits)), dtype=torch.int8)


def test_hamming_7_4_by_hand():
    """Positions 3, 5, 6, 7: data 1011 gives p1 = 1^0^1, p2 = 1^1^1, p4 = 0^1^1, then all seven: 3 + 1."""
    assert encode(torch.tensor([1, 0, 1, 1])).tolist() == [0, 1, 0, 0]
    assert encode(torch.tensor([0, 0, 0, 1])).tolist() == [1, 1, 1, 0]
    assert encode(torch.tensor([1, 0, 0, 0])).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("data", [1, 2, 3, 4, 5, 8])
def test_codewords_differ_in_at_least_four_bits(data):
    """Distance 4 is what corrects one error and detects two."""
    words = _all_words(data)
    whole = torch.cat([words, encode(words)], 1)
    assert (whole.sum(1) % 2 == 0).all()
    distance = (whole[:, None] != whole).sum(-1) + 100 * torch.eye(len(whole), dtype=torch.int64)
    assert int(distance.min()) == 4


@pytest.mark.parametrize("data", [1, 3, 4, 7, 8, 11])
def test_every_word_without_error_with_one_and_with_two(data):
    words = _all_words(data)
    clean = torch.cat([words, encode(words)], 1)
    fixed, status = correct(words, encode(words))
    assert torch.equal(fixed, words)
    assert (status == CLEAN).all()
    width = clean.shape[1]
    for flips in [*itertools.combinations(range(width), 1), *itertools.combinations(range(width), 2)]:
        seen = clean.clone()
        seen[:, list(flips)] ^= 1
        fixed, status = correct(seen[:, :data], seen[:, data:])
        if len(flips) == 1:
            assert torch.equal(fixed, words)
            assert (status == CORRECTED).all()
        else:
            assert torch.equal(fixed, seen[:, :data])
            assert (status == DETECTED).all()


def test_every_single_error_of_72_64_and_sampled_double_ones():
    generator = torch.Generator().manual_seed(9)
    words = torch.randint(0, 2, (5, 64), generator=generator, dtype=torch.int8)
    clean = torch.cat([words, encode(words)], 1)
    assert clean.shape[1] == 72
    seen = clean[:, None] ^ torch.eye(72, dtype=torch.int8)  # [word, flipped, bit]
    fixed, status = correct(seen[..., :64], seen[..., 64:])
    assert torch.equal(fixed, words[:, None].expand(-1, 72, -1))
    assert (status == CORRECTED).all()
    pairs = torch.rand(4000, 72, generator=generator).argsort(1)[:, :2]
    seen = clean[torch.randint(0, 5, (4000,), generator=generator)].scatter_add(
        1, pairs, torch.ones(4000, 2, dtype=torch.int8)
    )
    seen = seen & 1
    fixed, status = correct(seen[:, :64], seen[:, 64:])
    assert (status == DETECTED).all()
    assert torch.equal(fixed, seen[:, :64])


def test_three_errors_that_point_behind_the_word_are_detected():
    """12 data bits reach position 17; checks 1, 2 and 16 together say 19, where there is no bit."""
    words = torch.zeros(12, dtype=torch.int8)
    check = torch.tensor([1, 1, 0, 0, 1, 0], dtype=torch.int8)
    fixed, status = correct(words, check)
    assert int(status) == DETECTED
    assert torch.equal(fixed, words)


def test_any_integer_type_and_any_leading_axes():
    words = _all_words(5).view(4, 8, 5)
    for dtype in (torch.uint8, torch.int16, torch.int64):
        check = encode(words.to(dtype))
        assert check.dtype == torch.int8
        assert torch.equal(check, encode(words))
        fixed, status = correct(words.to(dtype), check.to(dtype))
        assert torch.equal(fixed, words)
        assert fixed.dtype == status.dtype == torch.int8
        assert status.shape == (4, 8)
    assert encode(torch.zeros(0, 5, dtype=torch.int8)).shape == (0, 5)


def test_what_is_no_word_is_refused():
    for bits in (0, 1025):
        with pytest.raises(NumeralError, match=f"data_bits is {bits}: allowed is 1 to 1024"):
            secded.check_bits(bits)
    with pytest.raises(NumeralError, match="a bit of words is 2"):
        encode(torch.tensor([0, 2]))
    with pytest.raises(NumeralError, match="words is torch.float32"):
        encode(torch.zeros(4))
    with pytest.raises(NumeralError, match="no axis of bits"):
        encode(torch.tensor(1))
    with pytest.raises(NumeralError, match="check has shape"):
        correct(torch.zeros(2, 8, dtype=torch.int8), torch.zeros(2, 4, dtype=torch.int8))
    with pytest.raises(NumeralError, match="a bit of check is -1"):
        correct(torch.zeros(8, dtype=torch.int8), torch.full((5,), -1))
