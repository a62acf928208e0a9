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

__all__ = ["SymbolCode", "bit_weights", "from_bits", "from_symbols", "symbols_per_value", "to_bits", "to_symbols"]

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
    bit_index = torch.arange(bits, device=values.device)
    return ((values.to(torch.int64).unsqueeze(-1) >> bit_index) & 1).to(torch.int8)


def from_bits(digits: Tensor, bits: int) -> Tensor:
    """Signed integers from their two's complement bits: the inverse of to_bits.

    digits:  [..., bit], integers 0 and 1, bit_index 0 least significant
    returns: [...], the smallest of int8, int16, int64 that holds ``bits`` bits
    """
    _require_bits(bits)
    _require_last_axis(digits, bits, "bits")
    require_range(digits, 0, 1, "bit")
    weights = torch.tensor(bit_weights(bits), device=digits.device)
    return (digits.to(torch.int64) * weights).sum(-1).to(_signed_dtype(bits))


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
    word = values.to(torch.int64)
    if code == "offset_binary":
        word = word + 2 ** (bits - 1)
    shifts = torch.arange(count, device=values.device) * bits_per_cell
    used = _used_levels(bits, bits_per_cell, count, values.device)
    groups = (word.unsqueeze(-1) >> shifts) & (used - 1)
    if gray:
        groups = _gray_codes(bits_per_cell, values.device).argsort()[groups]
    return groups.to(torch.uint8)


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
    groups = torch.minimum(
        symbols.to(torch.int64), _used_levels(bits, bits_per_cell, count, symbols.device) - 1
    )
    if gray:
        groups = _gray_codes(bits_per_cell, symbols.device)[groups]
    shifts = torch.arange(count, device=symbols.device) * bits_per_cell
    word = (groups << shifts).sum(-1)
    half = 2 ** (bits - 1)
    if code == "offset_binary":
        values = word - half
    else:
        values = ((word + half) & (2**bits - 1)) - half
    return values.to(_signed_dtype(bits))


def _used_levels(bits: int, bits_per_cell: int, count: int, device: torch.device) -> Tensor:
    """Levels in use in each cell, [symbol]: 2**bits_per_cell, fewer in a partly used top cell."""
    bits_in_cell = [bits_per_cell] * (count - 1) + [bits - bits_per_cell * (count - 1)]
    return torch.tensor([2**number for number in bits_in_cell], device=device)


def _gray_codes(bits_per_cell: int, device: torch.device) -> Tensor:
    """Gray code of each level, [level]."""
    levels = torch.arange(2**bits_per_cell, device=device)
    return levels ^ (levels >> 1)


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
        raise NumeralError(f"{name} have shape {tuple(digits.shape)}: the last axis must hold {count} {name}.")
