"""The computation crossbar: fixed resistors, operands brought by switches and digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ohmformer.specs.checks import (
    refuse,
    require_between,
    require_choice,
    require_count,
    require_positive,
)

Polarity = Literal["shared", "per_resistor"]
ResidentCode = Literal["bits", "digits"]
Rounding = Literal["half_even", "half_up", "floor"]

MAX_RADIX = 257


@dataclass(frozen=True, kw_only=True)
class NumeralSpec:
    """The balanced numeral system of the streamed operand.

    radix:    odd, 3 ... 257
    polarity: ``shared`` (one sign per digit, binary-weighted resistors) or ``per_resistor``
              (a sign per resistor, weights 1, 3, 9, ...)
    """

    radix: int
    polarity: Polarity

    def __post_init__(self) -> None:
        require_count(self, 3, MAX_RADIX, "radix")
        if self.radix % 2 == 0:
            refuse(self, "radix", f"a balanced numeral needs an odd radix between 3 and {MAX_RADIX}")
        require_choice(self, ("shared", "per_resistor"), "polarity")

    @property
    def max_digit(self) -> int:
        """Largest digit magnitude, (radix − 1) / 2."""
        return (self.radix - 1) // 2

    @property
    def resistors_per_digit(self) -> int:
        """Wordlines of one streamed element (the code itself is ``numerals.resistors``)."""
        if self.polarity == "shared":
            return self.max_digit.bit_length()
        count, reach = 0, 0
        while reach < self.max_digit:
            reach += 3**count
            count += 1
        return count

    def digits_for(self, bits: int) -> int:
        """Digits that cover the symmetric ``bits``-bit range ±(2^(bits−1) − 1)."""
        reach = (1 << (bits - 1)) - 1
        width = 1
        while (self.radix**width - 1) // 2 < reach:
            width += 1
        return width


@dataclass(frozen=True, kw_only=True)
class ResistorSpec:
    """One fixed resistor and its switch.

    unit_resistance_ohm:   resistance of weight 1; weight w has 1/w of it
    switch_resistance_ohm: on-resistance of a unit's switch (a weight-w branch has w parallel units)
    mismatch:              relative sd of a branch's conductance, fixed by location
    wire_resistance_ohm:   resistance of one segment of wire between neighbouring cells, the same on wordlines
                           and bitlines; 0 switches the wires off
    """

    unit_resistance_ohm: float
    switch_resistance_ohm: float
    mismatch: float
    wire_resistance_ohm: float

    def __post_init__(self) -> None:
        require_positive(self, "unit_resistance_ohm")
        require_between(self, 0, self.unit_resistance_ohm, "switch_resistance_ohm")
        require_between(self, 0, 0.5, "mismatch")
        require_between(self, 0, self.unit_resistance_ohm, "wire_resistance_ohm")


@dataclass(frozen=True, kw_only=True)
class AdcSpec:
    """The converter of a computation crossbar: a polarity comparator, then a magnitude of ``bits`` bits.

    Codes run from −(2^bits − 1) to 2^bits − 1; a sum s, in unit currents, becomes
    clip(round(s / step)) · step.

    step:             unit currents per code; 1 resolves every integer
    rounding:         ``half_even``, ``half_up`` (towards +∞, biased) or ``floor``
    noise:            sd of the converter's own input noise, in steps
    nonlinearity:     peak integral nonlinearity, in steps: a magnitude of m steps is converted as
                      m + nonlinearity · 4u(1 − u), u = min(1, m / max_code), in either polarity; at most
                      max_code / 4, above which two levels would come in the wrong order
    bitlines_per_adc: bitlines that share one converter
    rate_Hz:          conversions per second
    """

    bits: int
    step: int
    rounding: Rounding
    noise: float
    nonlinearity: float
    bitlines_per_adc: int
    rate_Hz: float

    def __post_init__(self) -> None:
        require_count(self, 1, 16, "bits")
        require_count(self, 1, 1 << 16, "step")
        require_choice(self, ("half_even", "half_up", "floor"), "rounding")
        require_between(self, 0, 100, "noise")
        require_between(self, 0, self.max_code / 4, "nonlinearity")
        require_count(self, 1, 1 << 16, "bitlines_per_adc")
        require_positive(self, "rate_Hz")

    @property
    def max_code(self) -> int:
        """Largest code magnitude, 2^bits − 1."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """One computation crossbar with its periphery.

    wordlines, bitlines: size; an element of the streamed operand takes ``resistors_per_digit`` wordlines
    active_wordlines:    wordlines driven at once; a tile with fewer works in several groups
    resident_code:       ``bits``: two's complement, one bitline per bit;
                         ``digits``: balanced digits, a pair of bitlines per resistor
    environment_noise:   sd of the noise on a bitline per conversion, in unit currents
    settling_time_s:     time from switching to a settled bitline that the design states; the tile waits
                         for it, or for what its circuit needs (``devices.settling_time_s``) if that is
                         longer; 0: nothing is stated
    """

    wordlines: int
    bitlines: int
    active_wordlines: int
    resident_code: ResidentCode
    environment_noise: float
    settling_time_s: float
    numeral: NumeralSpec
    resistor: ResistorSpec
    adc: AdcSpec

    def __post_init__(self) -> None:
        require_count(self, 1, 1 << 14, "wordlines", "bitlines")
        require_count(self, 1, self.wordlines, "active_wordlines")
        require_choice(self, ("bits", "digits"), "resident_code")
        require_between(self, 0, 1000, "environment_noise")
        require_between(self, 0, 1000, "settling_time_s")
        if self.active_wordlines < self.numeral.resistors_per_digit:
            refuse(
                self,
                "active_wordlines",
                f"one radix-{self.numeral.radix} digit alone drives "
                f"{self.numeral.resistors_per_digit} wordlines",
            )
        if self.adc.bitlines_per_adc > self.bitlines:
            refuse(self.adc, "bitlines_per_adc", f"the tile has {self.bitlines} bitlines")
        # the smallest word (2 bits) must fit the bitlines; wider words are checked against the precision
        if self.bitlines < 2:
            refuse(self, "bitlines", "a resident operand needs at least 2")

    @property
    def elements(self) -> int:
        """Streamed elements that fit the wordlines of a tile."""
        return self.wordlines // self.numeral.resistors_per_digit

    @property
    def group_elements(self) -> int:
        """Streamed elements driven at once."""
        return min(self.elements, self.active_wordlines // self.numeral.resistors_per_digit)

    @property
    def max_sum(self) -> int:
        """Largest magnitude of a bitline sum of one group, in unit currents."""
        return self.group_elements * self.numeral.max_digit

    @property
    def lossless(self) -> bool:
        """Whether the converter resolves all sums of a group, were there no noise, wires, nonlinearity."""
        return self.adc.step == 1 and self.adc.max_code >= self.max_sum

    def bitlines_per_output(self, bits: int) -> int:
        """Bitlines that hold one resident element of ``bits`` bits."""
        if self.resident_code == "bits":
            return bits
        return 2 * self.numeral.digits_for(bits) * self.numeral.resistors_per_digit

    def outputs(self, bits: int) -> int:
        """Resident columns of ``bits`` bits that fit a tile."""
        return self.bitlines // self.bitlines_per_output(bits)
