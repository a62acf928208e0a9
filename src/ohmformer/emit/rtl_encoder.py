"""The encoder: a two's complement number in, the switch lines of its balanced digits out."""

from __future__ import annotations

import torch

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus
from ohmformer.numerals import BalancedNumeral, ResistorCode, digits_for_bits
from ohmformer.specs import NumeralSpec

__all__ = ["encoder", "sign_lines"]

MAX_BITS = 32


def sign_lines(numeral: NumeralSpec) -> int:
    """Sign lines of a digit: one of its own, or one for each resistor."""
    return 1 if numeral.polarity == "shared" else numeral.resistors_per_digit


def encoder(numeral: NumeralSpec, bits: int) -> RtlModule:
    """Encoder of ``bits``-bit numbers, combinational.

    u = value + (radix^width - 1)/2 = sum_i (d_i + h) * radix^i with h = (radix - 1)/2: the plain digits of u
    are the balanced ones of the value, shifted. They come out of long divisions by the radix, a compare and
    a subtraction for each bit; a table turns each into the lines of its resistors (``ResistorCode``).

    Ports: value[bits]; on[digit * resistors + resistor]; sign[digit * sign_lines + resistor or 0], 1 for
    minus (0 where nothing is on); out_of_range, for a value without a numeral (all lines are then off).
    """
    if not 2 <= bits <= MAX_BITS:
        raise EmitError(f"bits is {bits}: an encoder takes numbers of 2 to {MAX_BITS} bits.")
    whole = BalancedNumeral(numeral.radix, digits_for_bits(numeral.radix, bits))
    resistors, signs = numeral.resistors_per_digit, sign_lines(numeral)
    lowest = -(1 << (bits - 1))
    largest = whole.max_value - lowest - 1
    width = largest.bit_length()
    offset = binary(whole.max_value, width)
    refused = f"value == {binary(lowest, bits)}" if whole.max_value < -lowest else "1'b0"
    padding = "" if width == bits else f"{{{width - bits}{{value[{bits - 1}]}}}}, "
    lines = [
        f"  assign out_of_range = {refused};",
        f"  wire {bus(width)}u0 = {{{padding}value}} + {offset};",
    ]
    places: list[tuple[str, int]] = []
    for digit in range(whole.width - 1):
        lines += _division(digit, largest, numeral.radix)
        places.append((f"rest{digit}", (numeral.radix - 1).bit_length()))
        largest //= numeral.radix
    places.append((f"u{whole.width - 1}", max(1, largest.bit_length())))
    place_bits = max((numeral.radix - 1).bit_length(), *(size for _, size in places))
    lines.append(_table(numeral, place_bits))
    for digit, (name, size) in enumerate(places):
        place = name if size == place_bits else f"{{{place_bits - size}'d0, {name}}}"
        high = f"{{sign[{digit * signs} +: {signs}], on[{digit * resistors} +: {resistors}]}}"
        lines.append(f"  assign {high} = out_of_range ? {signs + resistors}'d0 : switches({place});")
    return RtlModule(
        name=f"encoder_r{numeral.radix}_{numeral.polarity}_b{bits}",
        ports=(
            Port(name="value", width=bits, signed=True),
            Port(name="on", width=whole.width * resistors, output=True),
            Port(name="sign", width=whole.width * signs, output=True),
            Port(name="out_of_range", width=1, output=True),
        ),
        body="\n".join(lines),
    )


def _division(digit: int, largest: int, radix: int) -> list[str]:
    """``u{digit}``, at most ``largest``, by the radix: ``u{digit + 1}`` and ``rest{digit}``, bit by bit."""
    count, rest_bits = largest.bit_length(), (radix - 1).bit_length()
    quotient = max(1, (largest // radix).bit_length())
    wide, rest = rest_bits + 1, f"{rest_bits}'d0"
    lines = [f"  wire {bus(count)}q{digit};", f"  wire {bus(quotient)}u{digit + 1} = q{digit};"]
    for bit in reversed(range(count)):
        part = f"t{digit}_{bit}"
        lines += [
            f"  wire {bus(wide)}{part} = {{{rest}, u{digit}[{bit}]}};",
            f"  assign q{digit}[{bit}] = {part} >= {binary(radix, wide)};",
            f"  wire {bus(rest_bits)}s{digit}_{bit} = q{digit}[{bit}] ? "
            f"{part} - {binary(radix, wide)} : {part};",
        ]
        rest = f"s{digit}_{bit}"
    return [*lines, f"  wire {bus(rest_bits)}rest{digit} = {rest};"]


def _table(numeral: NumeralSpec, place_bits: int) -> str:
    """Function ``switches``: {sign lines, on lines} of the digit place - h."""
    code = ResistorCode(numeral.radix, numeral.polarity)
    digits = torch.arange(-numeral.max_digit, numeral.max_digit + 1)
    signs, resistors = sign_lines(numeral), numeral.resistors_per_digit
    rows = []
    for place, states in enumerate(code.switch_states(digits).tolist()):
        on = sum(1 << index for index, state in enumerate(states) if state)
        minus = sum(1 << index for index, state in enumerate(states) if state < 0)
        sign = int(minus > 0) if signs == 1 else minus
        rows.append(
            f"      {binary(place, place_bits)}: switches = "
            f"{{{binary(sign, signs)}, {binary(on, resistors)}}};"
        )
    return "\n".join(
        [
            f"  function {bus(signs + resistors)}switches;",
            f"    input {bus(place_bits)}place;",
            "    case (place)",
            *rows,
            f"      default: switches = {signs + resistors}'d0;",
            "    endcase",
            "  endfunction",
        ]
    )
