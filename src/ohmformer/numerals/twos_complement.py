"""Integers as bits (for switch latches) and as symbols of several bits (for dense cells)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ohmformer.numerals.checks import (
    NumeralError,
    require_integers,
    require_range,
    smallest_integer_dtype,
)

__all__ = [
    "SymbolCode",
    "bit_weights",
    "from_bits",
    "from_symbols",
    "symbols_per_value",
    "to_bits",
    "to_symbols",
]

SymbolCode = Literal["offset_binary", "twos_complement"]
MAX_BITS = 32
MAX_BITS_PER_CELL = 8


def bit_weights(bits: int) -> tuple[int, ...]:
    """Weight c_j of each two's complement bit, by bit_index: 2**j, and -2**(bits-1) for the top one."""
    _require_bits(bits)
    return (*(2**bit_index for bit_index in range(bits - 1)), -(2 ** (bits - 1)))


def to_bits(values: Tensor, bits: int) -> Tensor:
    """Two's complement bits of signed integers, least significant first.

    value = sum_j c_j * bit_j  with c = bit_weights(bits)

    values:  [...], integers from -2**(bits-1) to 2**(bits-1) - 1
    returns: [..., bit], int8 of 0 and 1
    Error:   none; a value out of range is refused.
    """
    _require_signed(values, bits)
    word = values.to(_word_dtype(bits))
    digits = torch.empty((*values.shape, bits), dtype=torch.int8, device=values.device)
    for bit_index in range(bits):
        digits[..., bit_index] = (word >> bit_index) & 1
    return digits


def from_bits(digits: Tensor, bits: int) -> Tensor:
    """Signed integers from their two's complement bits: the inverse of to_bits.

    digits:  [..., bit], integers 0 and 1, bit_index 0 least significant
    returns: [...], the smallest of int8, int16, int64 that holds ``bits`` bits
    """
    _require_bits(bits)
    _require_last_axis(digits, bits, "bits")
    require_range(digits, 0, 1, "bit")
    values = torch.zeros(digits.shape[:-1], dtype=_word_dtype(bits), device=digits.device)
    for bit_index, weight in enumerate(bit_weights(bits)):
        values += digits[..., bit_index].to(values.dtype) * weight
    return values.to(_signed_dtype(bits))


def symbols_per_value(bits: int, bits_per_cell: int) -> int:
    """Number of cells one value occupies: ceil(bits / bits_per_cell)."""
    _require_bits(bits)
    if not 1 <= bits_per_cell <= MAX_BITS_PER_CELL:
        raise NumeralError(f"bits_per_cell is {bits_per_cell}: allowed is 1 to {MAX_BITS_PER_CELL}.")
    return -(-bits // bits_per_cell)


def to_symbols(values: Tensor, bits: int, bits_per_cell: int, code: SymbolCode, gray: bool) -> Tensor:
    """Cell levels that store signed integers, least significant cell first.

    word   = value + 2**(bits-1)   (offset_binary), or value mod 2**bits (twos_complement)
    group  = bits_per_cell successive bits of the word
    symbol = group, or with ``gray`` the level whose Gray code ``level XOR level >> 1`` is the group, so
             that a read one level off flips exactly one bit of the word

    If bits_per_cell does not divide bits, the most significant cell holds the bits left over and uses
    only its lowest levels.

    values:  [...], integers from -2**(bits-1) to 2**(bits-1) - 1
    returns: [..., symbol], uint8 levels; symbol_index 0 is least significant
    Error:   none; a value out of range is refused.
    """
    count = symbols_per_value(bits, bits_per_cell)
    _require_code(code)
    _require_signed(values, bits)
    word = values.to(_word_dtype(bits))
    if code == "offset_binary":
        word = word + 2 ** (bits - 1)
    symbols = torch.empty((*values.shape, count), dtype=torch.uint8, device=values.device)
    for symbol_index in range(count):
        highest = _highest_level(symbol_index, bits, bits_per_cell)
        group = (word >> symbol_index * bits_per_cell) & highest
        symbols[..., symbol_index] = _level_of_gray_code(group) if gray else group
    return symbols


def from_symbols(symbols: Tensor, bits: int, bits_per_cell: int, code: SymbolCode, gray: bool) -> Tensor:
    """Signed integers from the levels read in their cells: the inverse of to_symbols.

    A level above the highest used one of a partly used top cell is read as that highest one: no
    comparator stands above it.

    symbols: [..., symbol], integers from 0 to 2**bits_per_cell - 1
    returns: [...], the smallest of int8, int16, int64 that holds ``bits`` bits
    """
    count = symbols_per_value(bits, bits_per_cell)
    _require_code(code)
    _require_last_axis(symbols, count, "symbols")
    require_range(symbols, 0, 2**bits_per_cell - 1, "symbol")
    word = torch.zeros(symbols.shape[:-1], dtype=_word_dtype(bits), device=symbols.device)
    for symbol_index in range(count):
        highest = _highest_level(symbol_index, bits, bits_per_cell)
        level = symbols[..., symbol_index].to(word.dtype).clamp_(max=highest)
        word += (level ^ (level >> 1) if gray else level) << symbol_index * bits_per_cell
    word -= 2 ** (bits - 1) if code == "offset_binary" else (word >> (bits - 1)) << bits
    return word.to(_signed_dtype(bits))


def _highest_level(symbol_index: int, bits: int, bits_per_cell: int) -> int:
    """Highest level in use in a cell: 2**bits_per_cell - 1, lower in a partly used top cell."""
    return int(2 ** min(bits_per_cell, bits - symbol_index * bits_per_cell) - 1)


def _level_of_gray_code(group: Tensor) -> Tensor:
    """Level whose Gray code is ``group`` (up to 8 bits): each bit is the parity of those above it."""
    for shift in (1, 2, 4):
        group = group ^ (group >> shift)
    return group


def _word_dtype(bits: int) -> torch.dtype:
    """A type in which a word of ``bits`` bits stays positive and can be offset without overflow."""
    return torch.int32 if bits < 31 else torch.int64


def _signed_dtype(bits: int) -> torch.dtype:
    return smallest_integer_dtype(2 ** (bits - 1) - 1)


def _require_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise NumeralError(f"bits is {bits}: allowed is 1 to {MAX_BITS}.")


def _require_code(code: str) -> None:
    if code not in ("offset_binary", "twos_complement"):
        raise NumeralError(f"code is {code!r}: allowed is 'offset_binary' or 'twos_complement'.")


def _require_signed(values: Tensor, bits: int) -> None:
    _require_bits(bits)
    require_integers(values, "value")
    require_range(values, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, "value")


def _require_last_axis(digits: Tensor, count: int, name: str) -> None:
    require_integers(digits, name)
    if digits.ndim == 0 or digits.shape[-1] != count:
        raise NumeralError(
            f"{name} have shape {tuple(digits.shape)}: the last axis must hold {count} {name}."
        )
