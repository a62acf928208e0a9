"""Counter-based random numbers: the cipher by its standard, bits by statistics, deviates by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import fft, stats
from torch import Tensor

from ohmformer.engine.native import Kernels
from ohmformer.engine.randomness import (
    DEVIATE_UNIT,
    MASK32,
    MASK64,
    ROUNDS,
    WEYL,
    Draw,
    aes_round,
    deviate_table,
    deviates,
    largest_deviate,
    mix,
    mix_keys,
    poisson_counts,
    random_words,
    signed,
    uniforms,
    uniforms64,
)

from .conftest import INSTRUCTION_SETS

SIGMAS = 4.5  # a normal statistic exceeds them once in 150,000; about 200 are looked at here

# --- AES as FIPS 197 writes it, byte by byte ---------------------------------------------------------


def times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2)."""
    found = 0
    for place in range(8):
        if b >> place & 1:
            found ^= a << place
    for place in range(14, 7, -1):
        if found >> place & 1:
            found ^= 0x11B << (place - 8)
    return found


def substitution() -> list[int]:
    """FIPS 197, 5.1.1: the multiplicative inverse found by trial, then the affine map bit by bit."""
    inverse = [0] * 256
    for a in range(1, 256):
        inverse[a] = next(b for b in range(1, 256) if times(a, b) == 1)
    box = []
    for b in inverse:
        bits = [
            (b >> i ^ b >> (i + 4) % 8 ^ b >> (i + 5) % 8 ^ b >> (i + 6) % 8 ^ b >> (i + 7) % 8 ^ 0x63 >> i)
            & 1
            for i in range(8)
        ]
        box.append(sum(bit << i for i, bit in enumerate(bits)))
    return box


BOX = substitution()


def plain_round(state: bytes, key: bytes, last: bool) -> bytes:
    """SubBytes, ShiftRows, MixColumns, AddRoundKey on 16 bytes, column after column."""
    shifted = [BOX[state[4 * ((c + r) % 4) + r]] for c in range(4) for r in range(4)]
    if not last:
        mixed = []
        for c in range(4):
            a = shifted[4 * c : 4 * c + 4]
            mixed += [
                times(2, a[r]) ^ times(3, a[(r + 1) % 4]) ^ a[(r + 2) % 4] ^ a[(r + 3) % 4] for r in range(4)
            ]
        shifted = mixed
    return bytes(a ^ b for a, b in zip(shifted, key, strict=True))


def plain_words(seed: int, stream: int, key: int, number: int) -> list[int]:
    """One block of ARS with seven rounds, after the paper: counter (key, number), Weyl round keys."""

    def low_first(low: int, high: int) -> bytes:
        return (low & MASK64).to_bytes(8, "little") + (high & MASK64).to_bytes(8, "little")

    state = bytes(a ^ b for a, b in zip(low_first(key, number), low_first(seed, stream), strict=True))
    for turn in range(1, 8):
        round_key = low_first(seed + turn * 0x9E3779B97F4A7C15, stream + turn * 0xBB67AE8584CAA73B)
        state = plain_round(state, round_key, last=turn == 7)
    return [int.from_bytes(state[i : i + 4], "little") for i in range(0, 16, 4)]


def key_schedule(key: bytes) -> list[bytes]:
    """FIPS 197, 5.2, for 128 bits: eleven round keys."""
    words = [key[i : i + 4] for i in range(0, 16, 4)]
    constant = 1
    for i in range(4, 44):
        word = words[-1]
        if i % 4 == 0:
            word = bytes(BOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ constant, *word[1:]])
            constant = times(2, constant)
        words.append(bytes(a ^ b for a, b in zip(words[i - 4], word, strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]


def as_words(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, 16, 4))


@pytest.mark.parametrize(
    ("plain", "key", "cipher"),
    [
        (  # FIPS 197, appendix B
            "3243f6a8885a308d313198a2e0370734",
            "2b7e151628aed2a6abf7158809cf4f3c",
            "3925841d02dc09fbdc118597196a0b32",
        ),
        (  # FIPS 197, appendix C.1
            "00112233445566778899aabbccddeeff",
            "000102030405060708090a0b0c0d0e0f",
            "69c4e0d86a7b0430d8cdb78070b4c55a",
        ),
    ],
)
def test_ten_rounds_are_aes_128(plain, key, cipher):
    keys = key_schedule(bytes.fromhex(key))
    start = zip(as_words(bytes.fromhex(plain)), as_words(keys[0]), strict=True)
    words = [torch.tensor([a ^ b]) for a, b in start]
    for turn in range(1, 11):
        words = aes_round(words, as_words(keys[turn]), last=turn == 10)
    assert tuple(int(word) for word in words) == as_words(bytes.fromhex(cipher))


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 0x0123456789ABCDEF])
def test_a_block_is_seven_rounds_of_the_counter(seed):
    """Against bytes, with keys and numbers of all sizes, negative ones among them."""
    assert ROUNDS == 7
    assert WEYL == (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
    keys = [0, -1, 2**63 - 1, -(2**63), 123456789, 1 << 32, 0x1122334455667788]
    for stream, first in ((0, 0), (2**64 - 1, 5), (0xFEDCBA9876543210, 1 << 40), (7, (1 << 32) - 1)):
        found = random_words(seed, stream, torch.tensor(keys), 2, first)
        wanted = [
            plain_words(seed, stream, key, first) + plain_words(seed, stream, key, first + 1) for key in keys
        ]
        assert found.tolist() == wanted


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize(("rows", "blocks", "first"), [(1, 1, 0), (7, 3, 5), (33, 1, 1 << 40), (2, 130, 1)])
def test_kernels_give_the_same_bits(name, rows, blocks, first):
    keys = torch.randint(-(2**62), 2**62, (rows,), generator=torch.Generator().manual_seed(rows)) * 2
    for seed, stream in ((0, 0), (3, 2**64 - 1), (2**64 - 1, 1 << 63)):
        draw = Draw(seed=seed, stream=stream, keys=keys)
        found = Kernels(name).words(draw, blocks, first)
        assert torch.equal(found, random_words(seed, stream, keys, blocks, first))


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("below", [0, 1 << 40, 1 << 58, 1 << 63, MASK64])
def test_hit_rows_are_those_whose_first_bits_lie_below(name, below):
    """64 unsigned bits of block 0, word 1 on top; more hits than the first room of 64 among the cases."""
    draw = Draw(seed=5, stream=6, keys=torch.arange(-500, 500))
    words = random_words(5, 6, draw.keys, 1)[:, :2].tolist()
    wanted = [row for row, (low, high) in enumerate(words) if (high << 32 | low) < below]
    found = Kernels(name).hits(draw, below)
    assert ([] if found is None else found.tolist()) == wanted
    assert Kernels(name).any_hit(draw, below) == bool(wanted)
    assert len(wanted) in {0: (0,), MASK64: (1000,)}.get(below, range(1000))


# --- statistics of the bits ------------------------------------------------------------------------


def along(what: str, count: int) -> Tensor:
    """[count, 4] blocks that follow each other along one axis."""
    one = torch.zeros(1, dtype=torch.int64)
    if what == "rows":
        return random_words(1, 2, torch.arange(count), 1)
    if what == "mixed rows":
        return random_words(1, 2, mix_keys(torch.zeros(count, dtype=torch.int64), torch.arange(count)), 1)
    if what == "blocks":
        return random_words(1, 2, one, count).view(count, 4)
    if what == "streams":
        return torch.cat([random_words(1, stream, one, 1) for stream in range(count)])
    return torch.cat([random_words(seed, 2, one, 1) for seed in range(count)])


@pytest.mark.parametrize(
    ("what", "count"),
    [("rows", 1 << 16), ("mixed rows", 1 << 16), ("blocks", 1 << 16), ("streams", 250), ("seeds", 250)],
)
def test_bits_are_uniform_and_independent_along_every_axis(what, count):
    """Chi-square of all bytes (255 degrees: mean 255, variance 510), and neighbours that agree bit by bit.

    The XOR of two independent uniform words is uniform: each of its 32 bits is set count/2 ± √count/2 times,
    and the whole of it has a chi-square of bytes as above.
    """
    words = along(what, count)
    pairs = {
        "itself": words,
        "next word": words[:, :3] ^ words[:, 1:],
        "next": words[:-1] ^ words[1:],
        "seventh": words[:-7] ^ words[7:],
    }
    for found in pairs.values():
        flat = found.flatten()
        octets = torch.stack([flat >> place & 0xFF for place in (0, 8, 16, 24)])
        seen = torch.bincount(octets.flatten(), minlength=256).double()
        expected = octets.numel() / 256
        assert abs(float((seen - expected).square().sum() / expected) - 255) < SIGMAS * math.sqrt(510)
        for place in range(32):
            ones = int((flat >> place & 1).sum())
            assert abs(ones - len(flat) / 2) < SIGMAS * math.sqrt(len(flat)) / 2
    assert len(words.flatten(1).unique(dim=0)) == count


def test_one_bit_of_any_input_moves_half_of_the_output():
    """Avalanche: of 128 output bits 64 ± 5.66 change; over 256 inputs the mean has a se of 5.66/16."""
    changed = []
    base = torch.tensor(plain_words(9, 8, 7, 6))
    for place in range(64):
        flip = 1 << place
        for inputs in ((9 ^ flip, 8, 7, 6), (9, 8 ^ flip, 7, 6), (9, 8, 7 ^ flip, 6), (9, 8, 7, 6 ^ flip)):
            seed, stream, key, number = inputs
            found = random_words(seed, stream, torch.tensor([signed(key)]), 1, signed(number))[0]
            changed.append(sum(bin(int(x)).count("1") for x in (found ^ base)))
    counts = torch.tensor(changed, dtype=torch.float64)
    assert abs(float(counts.mean()) - 64) < SIGMAS * math.sqrt(32 / len(counts))
    assert float((counts - 64).abs().max()) < 6 * math.sqrt(32)


def test_purposes_are_streams_of_their_own():
    draw = Draw(seed=3, stream=4, keys=torch.arange(2000))
    parts = [draw.sub(purpose) for purpose in (0, 1, 2, 3)]
    assert parts[0] == draw
    assert len({part.stream for part in parts}) == 4
    assert all(part.keys is draw.keys and part.seed == 3 for part in parts)
    words = [random_words(part.seed, part.stream, part.keys, 1) for part in parts]
    for one, other in itertools.combinations(words, 2):
        ones = sum(int(((one ^ other) >> place & 1).sum()) for place in range(32))
        bits = one.numel() * 32
        assert abs(ones - bits / 2) < SIGMAS * math.sqrt(bits) / 2


# --- keys ------------------------------------------------------------------------------------------


def test_mix_is_splitmix64():
    """Its published first outputs for the seeds 0 and 1234567 (the state advances by the golden ratio)."""
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(1234567) == 6457827717110365317
    assert mix() == 0
    assert mix(5, 3) != mix(3, 5)


def test_keys_are_mixed_as_whole_numbers_are():
    parts = [0, 1, -1, 2**63 - 1, -(2**63), 1 << 48, 987654321987654321]
    for first in parts:
        start = torch.full((len(parts),), signed(mix(first)))
        found = mix_keys(start, torch.tensor(parts)).tolist()
        assert found == [signed(mix(first, part)) for part in parts]
    zero = torch.zeros(len(parts), dtype=torch.int64)
    assert mix_keys(zero, torch.tensor(parts)).tolist() == [signed(mix(part)) for part in parts]


def test_signed_is_the_same_pattern():
    for value in (0, 1, 2**63 - 1, 2**63, MASK64, -1, -(2**63), 1 << 64):
        assert -(2**63) <= signed(value) < 2**63
        assert (signed(value) - value) % 2**64 == 0


# --- uniform numbers and deviates --------------------------------------------------------------------


def test_uniform_numbers_are_the_middles_of_equal_parts():
    ends = uniforms(torch.tensor([0, 1, MASK32]))
    assert ends.tolist() == [2.0**-33, 3 * 2.0**-33, 1 - 2.0**-33]
    pairs = torch.tensor([[0, 0, 1 << 11, 0, MASK32, MASK32, (1 << 11) - 1, 5]])
    assert uniforms64(pairs).tolist() == [
        [2.0**-54, 3 * 2.0**-54, 1 - 2.0**-54 if 1 - 2.0**-54 < 1 else 1.0, (5 * 2**21 + 0.5) * 2.0**-53]
    ]


def test_bytes_are_drawn_from_the_table():
    """Every byte at every place, and a deviate is the exact sum of four in any order."""
    table = deviate_table()
    for place in (0, 8, 16, 24):
        words = torch.arange(256) << place
        rest = 3 * table[0]
        assert torch.equal(deviates(words), table + rest)
    words = random_words(1, 1, torch.arange(500), 1).flatten()
    octets = torch.stack([words >> place & 0xFF for place in (24, 0, 16, 8)])
    exact = table.double()[octets].sum(0)
    assert torch.equal(deviates(words).double(), exact)
    assert largest_deviate() == 4 * float(table.max())
    assert largest_deviate() / DEVIATE_UNIT < 1 << 24  # so every sum is exact in float32


def test_moments_of_the_deviates_are_those_of_the_normal():
    """Enumerated: Var z = 4·m2, E z⁴ = 4·m4 + 36·m2²; odd moments vanish by symmetry.

    Before rounding to 2^-20 they are 1 and 3, a point has m2 = 1/4 and m4 = 3/16. Rounding moves a point by
    at most 2^-21: m2 by 2·E|x|·2^-21 <= 2^-21 (E|x| <= sd), m4 by 4·E|x|³·2^-21 <= 4·m4^(3/4)·2^-21 =
    1.14·2^-21. Hence Var z by 4·2^-21 and E z⁴ by (4·1.14 + 72·m2)·2^-21 = 22.6·2^-21; a tenth more covers
    the second order.
    """
    table = deviate_table().double()
    whole = table / DEVIATE_UNIT
    assert torch.equal(whole, whole.round())
    assert len(table) == 256
    assert torch.equal(table, -table.flip(0))
    assert bool((table[1:] > table[:-1]).all())
    m2, m4 = float(table.square().mean()), float(table.pow(4).mean())
    assert abs(4 * m2 - 1) < 4.4 * 2.0**-21
    assert abs(4 * m4 + 36 * m2**2 - 3) < 25 * 2.0**-21


def test_the_law_of_the_deviates_is_the_normal_within_what_is_stated():
    """All 2^32 sums of four by convolution, on a grid of h = 2^-16; the largest distance of both laws.

    The grid moves a point by at most h/2, a sum by 2·h, so that its distribution function at a place lies
    between that of the sum on the grid at the place -+ 2·h; the normal changes by 2·h·0.4 there at most.
    """
    step = 2.0**-16
    whole = (deviate_table().double() / step).round().long()
    reach = int(whole.max())
    size = fft.next_fast_len(8 * reach + 1, real=True)
    law = torch.zeros(size, dtype=torch.float64)
    law[whole + reach] += 1 / 256
    four = fft.irfft(fft.rfft(law.numpy()) ** 4, size)[: 8 * reach + 1]
    below = torch.from_numpy(four.cumsum())
    assert abs(float(below[-1]) - 1) < 1e-12
    places = torch.arange(-4 * reach, 4 * reach + 1, dtype=torch.float64) * step
    normal = torch.special.ndtr(places)
    above, under = (below - normal).abs().max(), (below[:-1] - normal[1:]).abs().max()
    assert max(float(above), float(under)) + 2 * step * 0.4 < 1e-4


def test_drawn_deviates_have_that_law():
    """Kolmogorov's distance of n draws from the normal: √n·D < 2.5 but for 2·exp(−2·2.5²) = 7e-6."""
    z = deviates(random_words(4, 4, torch.arange(1000), 25)).flatten().double()
    n = len(z)
    order = torch.special.ndtr(z.sort().values)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = max(float((steps[1:] - order).max()), float((order - steps[:-1]).max()))
    assert distance < 2.5 / math.sqrt(n) + 1e-4


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (3, 64), (2, 1025)])
def test_kernels_add_the_same_deviates(name, rows, columns):
    keys = torch.arange(rows) * 77 - 5
    draw = Draw(seed=1, stream=2, keys=keys)
    sd = torch.tensor([0.0, 0.3, 20.5, 1e4, 3.7])[:rows] if rows > 1 else torch.tensor([7.25])
    start = (torch.arange(rows * columns, dtype=torch.float32) - 9).view(rows, columns)
    found = Kernels(name).add_deviates(draw, start.clone(), sd)
    z = deviates(random_words(1, 2, keys, -(-columns // 4))[:, :columns])
    assert torch.equal(found, start + (z * sd[:, None]).round())


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 31), (33, 65)])
def test_kernels_scale_noisy_outputs_as_torch_does(name, rows, columns, biased):
    generator = torch.Generator().manual_seed(rows)
    draw = Draw(seed=1, stream=2, keys=torch.arange(rows) * 77 - 5)
    values = torch.randint(-(1 << 23), 1 << 23, (rows, columns), generator=generator, dtype=torch.int32)
    sd, scale = torch.rand(rows, generator=generator) * 40, torch.rand(rows, generator=generator)
    columns_scale = torch.rand(columns, generator=generator)
    bias = torch.randn(columns, generator=generator) if biased else None
    z = deviates(random_words(1, 2, draw.keys, -(-columns // 4))[:, :columns])
    wanted = (values.float() + (z * sd[:, None]).round()) * scale[:, None] * columns_scale
    if bias is not None:
        wanted = wanted + bias
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found = torch.empty(rows, columns)
        Kernels(name).noisy_outputs(draw, values, sd, (scale, columns_scale), bias, found)
        torch.set_num_threads(1)
        assert torch.equal(found, wanted)


def test_counts_are_poisson_by_inversion():
    """Against scipy's inverse; at the middle of each step of the distribution function both must agree."""
    for rate in (1e-9, 0.3, 1.0, 17.5, 499.0):
        counts = torch.arange(0, int(rate + 6 * math.sqrt(rate) + 6))
        law = stats.poisson(rate)
        middle = torch.from_numpy((law.cdf(counts - 1) + law.cdf(counts)) / 2)
        known = torch.from_numpy(law.pmf(counts)) > 1e-11  # below, the middle is lost in rounding
        found = poisson_counts(torch.full((len(counts),), rate, dtype=torch.float64), middle)
        assert torch.equal(found[known], counts[known])
    assert poisson_counts(
        torch.zeros(3, dtype=torch.float64), torch.tensor([1e-9, 0.5, 1 - 1e-16])
    ).tolist() == [
        0,
        0,
        0,
    ]
    with pytest.raises(ValueError, match="up to 500"):
        poisson_counts(torch.tensor([501.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))
