"""Counter-based random numbers: what is drawn depends on a seed and a place, never on what was drawn before.

A block of 128 random bits is the ARS cipher, seven rounds, of a counter (key of the row, number of the
block) under a key (seed, stream). Every row of an operand has a key of its own, so that its noise is the
same in whatever batch, order or thread it is computed.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (ARS: rounds of
AES, FIPS 197, with a Weyl sequence as round keys; five rounds pass BigCrush, seven are recommended).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ohmformer.numerals import on_host

ROUNDS = 7
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # low and high half of the step between round keys
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
DEVIATE_UNIT = 2.0**-20


def signed(value: int) -> int:
    """The 64-bit pattern of a whole number, as torch's int64 holds it."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


def mix(*parts: int) -> int:
    """One 64-bit key made of several whole numbers (splitmix64's finaliser after each)."""
    state = 0
    for part in parts:
        state = (state + part + WEYL[0]) & MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK64
        state ^= state >> 31
    return state


def _shift(value: Tensor, places: int) -> Tensor:
    """Logical shift right of 64-bit patterns."""
    return (value >> places) & ((1 << (64 - places)) - 1)


def mix_keys(keys: Tensor, parts: Tensor) -> Tensor:
    """``mix`` of a state made before and one more part, element by element, int64."""
    state = keys + parts + signed(WEYL[0])
    state = (state ^ _shift(state, 30)) * signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shift(state, 27)) * signed(0x94D049BB133111EB)
    return state ^ _shift(state, 31)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Where the noise of one operation comes from.

    seed:   of the physical chip and its reads
    stream: which operation (any 64-bit number; no two operations of a run share one)
    keys:   [row], int64, one key for each streamed row; batch axes are flattened in front of the rows. They
            lie in host memory, where all that is drawn sparsely is drawn, wherever the operands lie.
    """

    seed: int
    stream: int
    keys: Tensor

    def on(self, device: torch.device) -> Draw:
        """The same with the keys on a device."""
        keys = self.keys.to(device)
        return self if keys is self.keys else Draw(seed=self.seed, stream=self.stream, keys=keys)

    def sub(self, purpose: int) -> Draw:
        """Another, independent stream of the same operation."""
        return Draw(seed=self.seed, stream=self.stream ^ (purpose * WEYL[0] & MASK64), keys=self.keys)


@cache
def _substitution() -> tuple[int, ...]:
    """The S-box of FIPS 197: the inverse in GF(2^8), then an affine map."""
    box = [0x63] * 256
    p = q = 1
    while True:  # p runs through all non-zero elements as powers of 3, q through their inverses
        p ^= ((p << 1) & 0xFF) ^ (0x1B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q = (q ^ (q << 4)) & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rotated = q
        value = 0x63
        for _ in range(5):
            value ^= rotated
            rotated = ((rotated << 1) | (rotated >> 7)) & 0xFF
        box[p] = value
        if p == 1:
            return tuple(box)


@cache
def _round_tables(device: torch.device) -> tuple[tuple[Tensor, ...], Tensor]:
    """S-box and MixColumns in one: what byte x of row r adds to its column, as a little-endian word."""
    box = torch.tensor(_substitution(), dtype=torch.int64, device=device)
    twice = ((box << 1) ^ torch.where(box >= 128, 0x11B, 0)) & 0xFF
    thrice = twice ^ box
    columns = (
        (twice, box, box, thrice),
        (thrice, twice, box, box),
        (box, thrice, twice, box),
        (box, box, thrice, twice),
    )
    return tuple(a | (b << 8) | (c << 16) | (d << 24) for a, b, c, d in columns), box


def aes_round(words: list[Tensor], key: tuple[int, ...], *, last: bool = False) -> list[Tensor]:
    """One round of AES: ShiftRows, SubBytes, MixColumns (not in the last), AddRoundKey.

    words: four tensors of 32-bit words as int64, one for each column, byte 0 (the top row) lowest
    """
    tables, box = _round_tables(words[0].device)
    found = []
    for column in range(4):
        state = torch.full_like(words[0], key[column])
        for row in range(4):
            byte = (words[(column + row) % 4] >> (8 * row)) & 0xFF
            state ^= (box[byte] << (8 * row)) if last else tables[row][byte]
        found.append(state)
    return found


def _as_words(low: int, high: int) -> tuple[int, int, int, int]:
    return low & MASK32, (low >> 32) & MASK32, high & MASK32, (high >> 32) & MASK32


def random_words(seed: int, stream: int, keys: Tensor, blocks: int, first: int = 0) -> Tensor:
    """[row, 4·blocks] random 32-bit words, as int64: blocks ``first`` ... ``first + blocks`` of each row.

    keys: [row], int64
    """
    count = len(keys)
    number = torch.arange(first, first + blocks, dtype=torch.int64, device=keys.device).expand(count, blocks)
    row = keys.unsqueeze(-1).expand(count, blocks)
    low, high = seed & MASK64, stream & MASK64
    start = _as_words(low, high)
    counter = (row & MASK32, (row >> 32) & MASK32, number & MASK32, (number >> 32) & MASK32)
    words = [part ^ key for part, key in zip(counter, start, strict=True)]
    for turn in range(ROUNDS):
        low, high = (low + WEYL[0]) & MASK64, (high + WEYL[1]) & MASK64
        words = aes_round(words, _as_words(low, high), last=turn == ROUNDS - 1)
    return torch.stack(words, -1).reshape(count, 4 * blocks)


def uniforms(words: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), float64: (word + 1/2)·2^-32."""
    return (words.double() + 0.5) * 2.0**-32


def uniforms64(words: Tensor) -> Tensor:
    """[..., n] uniform numbers in (0, 1), float64, of the upper 53 bits of pairs of words [..., 2n]."""
    low, high = words[..., 0::2], words[..., 1::2]
    return ((high << 21 | low >> 11).double() + 0.5) * 2.0**-53


@cache
@on_host
def deviate_table() -> Tensor:
    """[256], float32: what each byte of a word adds to a normal deviate.

    256 equally likely points with the 2nd and 4th moment of a normal, scaled by 1/2, whole multiples of
    2^-20: the sum of four is exact in float32 in any order. The points are quantiles of the normal, the
    outermost pair moved outwards until the 4th moment fits.
    """
    points = torch.special.ndtri((torch.arange(128, 256, dtype=torch.float64) + 0.5) / 256)

    def excess(edge: float) -> float:
        moved = torch.cat((points[:-1], torch.tensor([edge], dtype=torch.float64)))
        second = float(moved.square().mean())
        return float(moved.pow(4).mean()) / second**2 - 3

    low, high = float(points[-1]), 8.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    points[-1] = low
    points = points / float(points.square().mean()) ** 0.5
    whole = (points / 2 / DEVIATE_UNIT).round()
    return (torch.cat((-whole.flip(0), whole)) * DEVIATE_UNIT).float()


@cache
def _deviate_table_on(device: torch.device) -> Tensor:
    return deviate_table().to(device)


def deviates(words: Tensor) -> Tensor:
    """Standard normal deviates, one for each 32-bit word, float32.

    z = Σ over the four bytes of ``deviate_table``

    Error: moments 1 to 5 of the normal but for rounding to 2^-20; the distribution function is off by less
    than 1e-4 (the law is finite and the tests enumerate it); |z| is at most four times the largest point.
    """
    table = _deviate_table_on(words.device)
    total = table[words & 0xFF]
    for place in (8, 16, 24):
        total = total + table[(words >> place) & 0xFF]
    return total


def largest_deviate() -> float:
    """The largest number that ``deviates`` can give."""
    return 4 * float(deviate_table().max())


def poisson_counts(rate: Tensor, uniform: Tensor) -> Tensor:
    """Poisson counts by inversion of uniform numbers: the smallest n with P(N <= n) >= u.

    rate: [...], float64, up to 500; uniform: [...], float64 in (0, 1); returns int64
    """
    if rate.numel() and float(rate.max()) > 500:
        raise ValueError("inversion is meant for rates up to 500")
    term = torch.exp(-rate)
    below = term.clone()
    count = torch.zeros(uniform.shape, dtype=torch.int64, device=uniform.device)
    limit = 0 if not rate.numel() else math.ceil(float(rate.max()) + 12 * float(rate.max()) ** 0.5 + 40)
    for n in range(1, limit + 1):
        more = uniform > below
        if not bool(more.any()):
            break
        count += more
        term = term * rate / n
        below = below + term
    return count
