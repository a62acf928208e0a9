"""Balanced digits and their resistors, bits and symbols, quantisers, the code of protected words."""

from ohmformer.numerals import secded
from ohmformer.numerals.balanced import BalancedNumeral, digits_for_bits
from ohmformer.numerals.checks import NumeralError
from ohmformer.numerals.places import HOST, divide, on_host
from ohmformer.numerals.quantise import (
    Quantised,
    dequantise,
    max_code,
    quantise,
    quantise_per_row,
    quantise_per_tensor,
    quantise_with_scale,
)
from ohmformer.numerals.resistors import Polarity, ResistorCode
from ohmformer.numerals.secded import check_bits
from ohmformer.numerals.twos_complement import (
    SymbolCode,
    bit_weights,
    from_bits,
    from_symbols,
    symbols_per_value,
    to_bits,
    to_symbols,
)

__all__ = [
    "HOST",
    "BalancedNumeral",
    "NumeralError",
    "Polarity",
    "Quantised",
    "ResistorCode",
    "SymbolCode",
    "bit_weights",
    "check_bits",
    "dequantise",
    "digits_for_bits",
    "divide",
    "from_bits",
    "from_symbols",
    "max_code",
    "on_host",
    "quantise",
    "quantise_per_row",
    "quantise_per_tensor",
    "quantise_with_scale",
    "secded",
    "symbols_per_value",
    "to_bits",
    "to_symbols",
]
