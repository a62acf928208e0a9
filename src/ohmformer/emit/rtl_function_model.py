"""The fixed-point core of the function unit as an integer function: what its RTL computes, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_text import signed_bits
from ohmformer.functions import LOG2_E, POSITION_BITS, FunctionTable, canonical_name, table_of
from ohmformer.specs import FunctionUnitSpec

__all__ = ["FixedPointFunction", "Kind", "Result"]

Kind = Literal["exponential", "normalised", "magnitude"]
MAX_INPUT_BITS = 48
_NORMALISED = ("reciprocal", "rsqrt")
_LESS_THAN_RELU = ("gelu", "gelu_tanh", "silu", "quick_gelu")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result word and what it stands for: word * 2^(power - fraction bits)."""

    word: int
    power: int = 0
    infinite: bool = False


@dataclass(frozen=True, kw_only=True)
class FixedPointFunction:
    """A function of the unit for input words of a fixed point, in whole numbers.

    The same as ``functions.evaluate`` of the word's value, bit for bit and for every word (float32 where it
    holds the word, float64): place, interpolation and rounding are those of ``functions.FunctionTable``.

    place = round(u * segments per unit * 2^POSITION_BITS), half up, u the reduced input
    T = entry + rise * (place below its binary point), rounded half to even to ``unit.fraction_bits``; beyond
    the table the asymptote

    ``exponential``: the input word is -x >= 0 (softmax subtracts the maximum, an argument above 0 does not
                     occur); result 2^whole * T(fraction), rounded once, after the shift
    ``normalised``:  reciprocal and rsqrt of an unsigned word; T(m) of m in 1 ... 2 (1 ... 4 for rsqrt), and
                     the power of two that goes with it
    ``magnitude``:   signed word; relu(x) - T(|x|), sigmoid and tanh by symmetry

    name:       of the function, not relu
    input_bits: width of the input word; its value is word * 2^-input_fraction_bits
    significant_bits: reciprocal and rsqrt round their word to so many bits first, half to even: 24, as
                float32 does; 0: they do not
    """

    name: str
    unit: FunctionUnitSpec
    input_bits: int = 16
    input_fraction_bits: int = 11
    significant_bits: int = 0

    def __post_init__(self) -> None:
        if canonical_name(self.name) != self.name or self.name == "relu":
            raise EmitError(
                f"name is {self.name!r}: a table is made of a function by its own name, not relu."
            )
        if not 4 <= self.input_bits <= MAX_INPUT_BITS:
            raise EmitError(f"input_bits is {self.input_bits}: allowed is 4 to {MAX_INPUT_BITS}.")
        if self.significant_bits and not 4 <= self.significant_bits <= MAX_INPUT_BITS:
            raise EmitError(
                f"significant_bits is {self.significant_bits}: allowed is 4 to {MAX_INPUT_BITS}, and 0."
            )
        if not 0 <= self.input_fraction_bits <= self.input_bits:
            raise EmitError(
                f"input_fraction_bits is {self.input_fraction_bits}: allowed is 0 to {self.input_bits}, "
                "the width of the input."
            )

    @property
    def kind(self) -> Kind:
        """Which of the three datapaths."""
        if self.name == "exp":
            return "exponential"
        return "normalised" if self.name in _NORMALISED else "magnitude"

    @cached_property
    def table(self) -> FunctionTable:
        """The table that the simulator uses."""
        return table_of(self.name, self.unit)

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """[segments + 1] entries, in units of 2^-fraction_bits."""
        return tuple(round(value * 2**self.unit.fraction_bits) for value in self.table.entries.tolist())

    @cached_property
    def rises(self) -> tuple[int, ...]:
        """[segments] from each entry to the next."""
        return tuple(high - low for low, high in zip(self.entries[:-1], self.entries[1:], strict=True))

    @property
    def beyond(self) -> int:
        """The asymptote, in units of 2^-fraction_bits."""
        return round(self.table.beyond * (1 << self.unit.fraction_bits))

    @property
    def index_bits(self) -> int:
        """Bits of a position ahead of its binary point: it counts segments."""
        return self.unit.segments.bit_length() - 1

    @cached_property
    def _factor(self) -> Fraction:
        """Segments for each unit of a reduced word; a normalised word's point is behind the leading one."""
        fraction = self.mantissa_bits - 1 if self.kind == "normalised" else self.input_fraction_bits
        steps = Fraction(self.table.per_unit) * (Fraction(LOG2_E) if self.kind == "exponential" else 1)
        return steps / (1 << fraction)

    @property
    def mantissa_bits(self) -> int:
        """Bits of a normalised word, the leading one with them."""
        return min(self.input_bits, self.significant_bits or self.input_bits)

    @cached_property
    def position_bits(self) -> int:
        """Bits of a place behind its binary point: POSITION_BITS, without those that are 0 for every word."""
        needed = self._factor.denominator.bit_length() - 1
        return max(2, min(POSITION_BITS, needed))

    @cached_property
    def scale(self) -> tuple[int, int]:
        """Multiplier and shift: place = (word * multiplier + 2^(shift - 1)) >> shift; shift 0: exact."""
        steps = self._factor * 2**self.position_bits
        return steps.numerator, steps.denominator.bit_length() - 1

    def position(self, word: int) -> int:
        """Place in the table of a reduced word, in 2^-position_bits of a segment."""
        multiplier, shift = self.scale
        return (word * multiplier + ((1 << shift) >> 1)) >> shift

    def interpolate(self, position: int) -> int:
        """T, not yet rounded: units of 2^-(fraction_bits + position_bits)."""
        index = position >> self.position_bits
        if index >= self.unit.segments:
            return self.beyond << self.position_bits
        fraction = position & ((1 << self.position_bits) - 1)
        return (self.entries[index] << self.position_bits) + self.rises[index] * fraction

    @property
    def result_fraction_bits(self) -> int:
        """Fraction bits of a result word."""
        if self.kind == "magnitude" and self.name in _LESS_THAN_RELU:
            return max(self.unit.fraction_bits, self.input_fraction_bits)
        return self.unit.fraction_bits

    @property
    def result_bits(self) -> int:
        """Width of a result word (two's complement for ``magnitude``)."""
        if self.kind != "magnitude":
            return self.unit.fraction_bits + 1  # at most 1
        place = self.result_fraction_bits
        if self.name not in _LESS_THAN_RELU:
            return place + 2
        return max(self.input_bits + place - self.input_fraction_bits, signed_bits(max(self.entries))) + 1

    def evaluate(self, word: int) -> Result:
        """The result for an input word."""
        signed = self.kind == "magnitude"
        low, high = (
            (-(1 << self.input_bits - 1), 1 << self.input_bits - 1) if signed else (0, 1 << self.input_bits)
        )
        if not low <= word < high:
            raise EmitError(f"word is {word}: allowed is {low} to {high - 1}.")
        if self.kind == "exponential":
            return Result(word=self._exponential(word))
        if self.kind == "normalised":
            return self._normalised(word)
        return Result(word=self._magnitude(word))

    def _exponential(self, word: int) -> int:
        scaled = -self.position(word)  # in segments, 2^index_bits of them to a power of two
        power_bits = self.index_bits + self.position_bits
        whole = scaled >> power_bits
        if -whole > self.unit.fraction_bits + 1:
            return 0
        mantissa = self.interpolate(scaled - (whole << power_bits))
        return half_even(mantissa, self.position_bits - whole)

    def _normalised(self, word: int) -> Result:
        if word == 0:
            return Result(word=0, infinite=True)
        top = word.bit_length() - 1
        point = self.mantissa_bits - 1
        mantissa = word << (point - top) if top <= point else half_even(word, top - point)
        if mantissa >> point == 2:
            mantissa, top = mantissa >> 1, top + 1
        reduced = mantissa - (1 << point)
        exponent = top - self.input_fraction_bits
        if self.name == "rsqrt":  # u is the mantissa - 1 of an even power of two, the mantissa of an odd one
            reduced += exponent % 2 << point
            exponent >>= 1
        result = half_even(self.interpolate(self.position(reduced)), self.position_bits)
        return Result(word=result, power=-exponent)

    def _magnitude(self, word: int) -> int:
        fraction_bits = self.unit.fraction_bits
        value = half_even(self.interpolate(self.position(abs(word))), self.position_bits)
        if self.name == "sigmoid":
            return (1 << fraction_bits) - value if word > 0 else value
        if self.name == "tanh":
            return -value if word < 0 else value
        place = self.result_fraction_bits
        return (max(word, 0) << (place - self.input_fraction_bits)) - (value << (place - fraction_bits))


def half_even(value: int, bits: int) -> int:
    """value / 2^bits, rounded half to even; bits >= 1."""
    whole, rest, half = value >> bits, value & ((1 << bits) - 1), 1 << (bits - 1)
    return whole + (rest > half or (rest == half and whole & 1))
