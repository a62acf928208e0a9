"""Extended Hamming code: corrects one wrong bit of a protected word and detects two.

A codeword has positions 1, 2, 3, ...: check bit j stands at position 2^j, the data bits fill the other
positions in order. The exclusive or of the positions of all ones is 0. One more check bit makes the number
of ones of the whole word even.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ohmformer.numerals.checks import NumeralError, require_integers, require_range

__all__ = ["CLEAN", "CORRECTED", "DETECTED", "check_bits", "correct", "encode"]

CLEAN, CORRECTED, DETECTED = 0, 1, 2
MAX_DATA_BITS = 1024


def check_bits(data_bits: int) -> int:
    """Number of check bits: m + 1 with the smallest m such that 2^m >= data_bits + m + 1.

    64 data bits take 8, a word of 72.
    """
    if not 1 <= data_bits <= MAX_DATA_BITS:
        raise NumeralError(f"data_bits is {data_bits}: allowed is 1 to {MAX_DATA_BITS}.")
    parities = 2
    while 2**parities < data_bits + parities + 1:
        parities += 1
    return parities + 1


def encode(words: Tensor) -> Tensor:
    """Check bits of data words.

    check_j = parity of the data bits whose position has bit j;  the last one = parity of all other bits

    words:   [..., data_bit], integers 0 and 1
    returns: [..., check_bit], int8
    """
    _require_words(words, "words")
    parities = _parities(words)
    overall = (words.sum(-1, keepdim=True) + parities.sum(-1, keepdim=True)) & 1
    return torch.cat([parities, overall], -1).to(torch.int8)


def correct(words: Tensor, check: Tensor) -> tuple[Tensor, Tensor]:
    """Data words as read, with single errors put right.

    syndrome = encode(words) XOR check, without the last bit, as a number; parity = that of all bits read

        syndrome 0, parity even    nothing wrong                                    CLEAN
        parity odd                 one error at position ``syndrome`` (at the last  CORRECTED
                                   check bit for 0), data or check bit; a position
                                   behind the word takes three errors or more       DETECTED
        syndrome > 0, parity even  two errors: left as they are                     DETECTED

    words:   [..., data_bit], check: [..., check_bit], integers 0 and 1
    returns: words [..., data_bit], int8; status [...], int8
    Error:   three and more errors may look like one, and are then made worse.
    """
    _require_words(words, "words")
    _require_words(check, "check")
    data_bits = words.shape[-1]
    count = check_bits(data_bits)
    if check.shape != (*words.shape[:-1], count):
        raise NumeralError(
            f"check has shape {tuple(check.shape)}: words of shape {tuple(words.shape)} have "
            f"{count} check bits each."
        )
    positions = _positions(data_bits, words.device)
    powers = 2 ** torch.arange(count - 1, device=words.device)
    syndrome = ((_parities(words) ^ check[..., :-1].long()) * powers).sum(-1)
    odd = ((words.sum(-1) + check.sum(-1)) & 1).bool()
    wrong = odd[..., None] & (syndrome[..., None] == positions)
    in_check = (syndrome & (syndrome - 1)) == 0  # a power of two, or 0: the overall bit
    status = torch.full_like(syndrome, DETECTED, dtype=torch.int8)
    status[odd & (in_check | wrong.any(-1))] = CORRECTED
    status[~odd & (syndrome == 0)] = CLEAN
    return words.to(torch.int8) ^ wrong, status


@cache
def _data_positions(data_bits: int) -> tuple[int, ...]:
    """Positions of the data bits: all that are no power of two, in order."""
    last = data_bits + check_bits(data_bits) - 1
    return tuple(position for position in range(1, last + 1) if position & (position - 1))


def _positions(data_bits: int, device: torch.device) -> Tensor:
    return torch.tensor(_data_positions(data_bits), device=device)


def _parities(words: Tensor) -> Tensor:
    """Parity of the data bits whose position has bit j, [..., j], int64."""
    data_bits = words.shape[-1]
    count = check_bits(data_bits) - 1
    member = _positions(data_bits, words.device)[:, None] >> torch.arange(count, device=words.device) & 1
    # sums of at most 1024 ones are exact in float32, whose product is the fast one
    return (words.float() @ member.float()).long() & 1


def _require_words(words: Tensor, name: str) -> None:
    require_integers(words, name)
    if words.ndim == 0:
        raise NumeralError(f"{name} has no axis of bits.")
    require_range(words, 0, 1, f"a bit of {name}")
