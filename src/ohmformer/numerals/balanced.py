"""Balanced numerals: an integer as signed digits of an odd radix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ohmformer.numerals.checks import (
    NumeralError,
    require_integers,
    require_range,
    smallest_integer_dtype,
)
from ohmformer.numerals.places import on_host

__all__ = ["BalancedNumeral", "digits_for_bits", "require_balanced_radix"]

INT64_MAX = 2**63 - 1
TABLE_LIMIT = 2**16  # up to so many values, digits are looked up: an order of magnitude faster


def require_balanced_radix(radix: int) -> None:
    """Refuse a radix that has no balanced digit set: even, or below 3."""
    if radix < 3 or radix % 2 == 0:
        raise NumeralError(f"radix is {radix}: a balanced numeral needs an odd radix of at least 3.")


@dataclass(frozen=True)
class BalancedNumeral:
    """Numerals of ``width`` digits d_i, each from -(radix-1)/2 to +(radix-1)/2.

    value = sum_i d_i * radix**i,  i = 0 (least significant) ... width-1

    Every integer of magnitude <= (radix**width - 1)/2 has exactly one such numeral, so encode and
    decode are inverse to each other without error. Base 7 with 3 digits holds int8: arXiv 2410.15977.
    """

    radix: int
    width: int

    def __post_init__(self) -> None:
        require_balanced_radix(self.radix)
        if self.width < 1:
            raise NumeralError(f"width is {self.width}: a balanced numeral needs at least 1 digit.")

    @property
    def max_digit(self) -> int:
        """Largest digit, (radix-1)/2."""
        return (self.radix - 1) // 2

    @property
    def max_value(self) -> int:
        """Largest value, (radix**width - 1)/2; the smallest is its negative."""
        return int((self.radix**self.width - 1) // 2)

    @property
    def weights(self) -> tuple[int, ...]:
        """Weight radix**i of each digit, by digit_index."""
        return tuple(self.radix**digit_index for digit_index in range(self.width))

    @property
    def digit_dtype(self) -> torch.dtype:
        """Smallest of int8, int16, int64 that holds a digit."""
        return smallest_integer_dtype(self.max_digit)

    def encode(self, values: Tensor) -> Tensor:
        """Split integers into balanced digits, least significant first.

        values:  [...], any integer dtype, magnitude <= max_value
        returns: [..., digit], ``digit_dtype``
        Error:   none; a value out of range is refused.
        """
        require_integers(values, "value")
        require_range(values, -self.max_value, self.max_value, "value")
        if self.radix**self.width > TABLE_LIMIT:
            return _split(values, self)
        row = (values.to(torch.int32) + self.max_value).flatten()
        digits = _table(self).to(values.device).index_select(0, row)
        return digits.reshape(*values.shape, self.width)

    def decode(self, digits: Tensor) -> Tensor:
        """Sum the weighted digits back to integers.

        digits:  [..., digit], any integer dtype, magnitude <= max_digit
        returns: [...], int64
        Error:   none; a digit out of range, or a sum beyond int64, is refused.
        """
        require_integers(digits, "digit")
        if digits.ndim == 0 or digits.shape[-1] != self.width:
            raise NumeralError(
                f"digits have shape {tuple(digits.shape)}: the last axis must hold {self.width} digits."
            )
        require_range(digits, -self.max_digit, self.max_digit, "digit")
        values = torch.zeros(digits.shape[:-1], dtype=torch.int64, device=digits.device)
        for digit_index in reversed(range(self.width)):
            values = values * self.radix + digits[..., digit_index]
        # Beyond 64 bits the sum wraps; the numeral of the wrapped value then differs, being unique.
        if self.max_value > INT64_MAX and not torch.equal(self.encode(values), digits.to(self.digit_dtype)):
            raise NumeralError(f"digits of radix {self.radix} and width {self.width} exceed int64.")
        return values


def _split(values: Tensor, numeral: BalancedNumeral) -> Tensor:
    """Digits by repeated floor division: [...] -> [..., digit]."""
    rest = values.to(torch.int64)
    digits = torch.empty((*values.shape, numeral.width), dtype=numeral.digit_dtype, device=values.device)
    for digit_index in range(numeral.width):
        quotient = torch.div(rest, numeral.radix, rounding_mode="floor")
        remainder = rest - quotient * numeral.radix  # 0 ... radix-1
        borrow = remainder > numeral.max_digit
        digits[..., digit_index] = torch.where(borrow, remainder - numeral.radix, remainder)
        rest = quotient + borrow
    return digits


@cache
@on_host
def _table(numeral: BalancedNumeral) -> Tensor:
    """Digits of every value from -max_value to max_value, [value, digit]."""
    return _split(torch.arange(-numeral.max_value, numeral.max_value + 1), numeral)


def digits_for_bits(radix: int, bits: int) -> int:
    """Fewest balanced digits that hold every symmetric ``bits``-bit integer.

    smallest n with (radix**n - 1)/2 >= 2**(bits-1) - 1

    For 8 bits: radix 3 -> 6, 5 -> 4, 7 -> 3, 9 -> 3, 17 -> 2, 257 -> 1.
    The value -2**(bits-1), which the symmetric quantisers never produce, fits as well, with one
    exception: for radix = 2**bits - 1 the single digit ends exactly at -(2**(bits-1) - 1), and encode
    refuses it. (No higher power of an integer equals 2**bits - 1, so there is no other exact fit.)
    """
    require_balanced_radix(radix)
    if bits < 2:
        raise NumeralError(f"bits is {bits}: a symmetric integer needs at least 2 bits.")
    needed = 2 ** (bits - 1) - 1
    width = 1
    while (radix**width - 1) // 2 < needed:
        width += 1
    return width
