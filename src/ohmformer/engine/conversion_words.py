"""Random bits of conversions, as in kernels/digit_serial_noise.hpp: counters are (key of the row, place)."""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.engine.conversion_law import BYTE_WEIGHTS, points
from ohmformer.engine.conversion_plan import WIDTH
from ohmformer.engine.randomness import MASK32, MASK64, ROUNDS, WEYL, Draw, aes_round

NOISE_ROUNDS = 5  # of the cipher that makes dense noise: five pass BigCrush (see randomness.py)
CODES_PER_BLOCK = 8  # of dense noise: 128 random bits, 16 for each conversion
BYTES = 16  # of a block
SHARED = 1 << 31  # added to the number of (group, digit, plane): bytes that all planes have in common


def _split(word: int) -> tuple[int, int]:
    return word & MASK32, (word >> 32) & MASK32


def _cipher(draw: Draw, keys: Tensor, low: Tensor, high: Tensor, rounds: int) -> list[Tensor]:
    """Four words of each block, int64; the counter is (key, high·2^32 + low)."""
    shape = torch.broadcast_shapes(keys.shape, low.shape, high.shape)
    seed, stream = draw.seed & MASK64, draw.stream & MASK64
    counter = (keys & MASK32, (keys >> 32) & MASK32, low, high)
    parts = (*_split(seed), *_split(stream))
    words = [part.expand(shape) ^ own for part, own in zip(counter, parts, strict=True)]
    for turn in range(rounds):
        seed, stream = (seed + WEYL[0]) & MASK64, (stream + WEYL[1]) & MASK64
        words = aes_round(words, (*_split(seed), *_split(stream)), last=turn == rounds - 1)
    return words


def dense_deviates(draw: Draw, slot: int, planes: int, columns: int) -> Tensor:
    """[row, plane, column], int64: deviates of one group and digit, see ``deviate_law``.

    The counter of a block is (key of the row, (slot + plane)·2^32 + column // 8).
    """
    device = draw.keys.device
    block = torch.arange(-(-columns // CODES_PER_BLOCK), device=device)
    place = (slot + torch.arange(planes, device=device))[:, None]
    words = _cipher(draw, draw.keys[:, None, None], block, place, NOISE_ROUNDS)
    pairs = torch.stack([part for word in words for part in (word & 0xFFFF, word >> 16)], -1)
    pairs = pairs.flatten(-2)[..., :columns]
    first, second = points().to(device).long()
    total = torch.zeros_like(pairs)
    for place_of_byte, weight in enumerate(BYTE_WEIGHTS):
        byte = pairs >> (8 * place_of_byte)
        total += weight * (first[byte & 15] + second[(byte >> 4) & 15])
    return total


def _bytes(draw: Draw, place: Tensor, columns: int) -> Tensor:
    """[row, place, block of 64 columns, byte], uint8, in the order of the kernels' vectors."""
    blocks = -(-columns // WIDTH)
    number = torch.arange(blocks * WIDTH // BYTES, device=draw.keys.device)
    words = _cipher(draw, draw.keys[:, None, None], number, place[:, None], NOISE_ROUNDS)
    made = torch.stack([word >> (8 * i) & 255 for word in words for i in range(4)], -1)
    return made.to(torch.uint8).view(len(draw.keys), len(place), blocks, WIDTH)


def _in_order(found: Tensor, turns: Tensor, columns: int) -> Tensor:
    """[row, plane, column], int8: bytes [row, plane or 1, block, byte], turned for each plane."""
    byte = (byte_of(torch.arange(WIDTH, device=found.device)) + turns[:, None]) & (WIDTH - 1)
    byte = byte[None, :, None].expand(len(found), -1, found.shape[2], -1)
    return found.expand(-1, len(turns), -1, -1).gather(3, byte).flatten(2)[..., :columns].view(torch.int8)


def plane_bytes(draw: Draw, slot: int, planes: int, columns: int) -> Tensor:
    """[row, plane, column], int8: a byte of each conversion of one group and digit."""
    place = torch.arange(planes, device=draw.keys.device)
    return _in_order(_bytes(draw, slot + place, columns), 0 * place, columns)


def shared_bytes(draw: Draw, slot: int, columns: int) -> Tensor:
    """[row, 1, column], int8: a byte that all planes of one group and digit have in common."""
    place = torch.tensor([slot + SHARED], device=draw.keys.device)
    return _in_order(_bytes(draw, place, columns), torch.zeros_like(place), columns)


def turned_bytes(draw: Draw, slot: int, planes: int, columns: int) -> Tensor:
    """[row, plane, column], int8: the bytes of ``shared_bytes``, those of a block turned for each plane."""
    place = torch.arange(planes, device=draw.keys.device)
    shared = torch.tensor([slot + SHARED], device=draw.keys.device)
    return _in_order(_bytes(draw, shared, columns), 8 * place + place // 8, columns)


def alone_words(draw: Draw, row: Tensor, place: Tensor, column: Tensor) -> Tensor:
    """[n], int64: a word for each of some conversions; place is the number of (group, digit, plane)."""
    return _cipher(draw, draw.keys[row], column, place, ROUNDS)[0]


def byte_of(column: Tensor) -> Tensor:
    """Byte of a vector of 64 at which a column lies, as in kernels/digit_serial_pack.hpp."""
    return (column & 32) + (column & 7) + (column >> 4 & 1) * 8 + (column >> 3 & 1) * 16


__all__ = ["alone_words", "byte_of", "dense_deviates", "plane_bytes", "shared_bytes", "turned_bytes"]
