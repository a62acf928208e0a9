"""The function unit in Verilog: table, linear interpolation and what puts the result back into place."""

from __future__ import annotations

from bisect import bisect_left

from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits, signed_bits, times

__all__ = ["function_lane", "power_bits"]


def power_bits(core: FixedPointFunction) -> int:
    """Width of the power of two that goes with a result of a ``normalised`` function."""
    return signed_bits(core.input_bits + core.input_fraction_bits)


def function_lane(core: FixedPointFunction) -> RtlModule:
    """One lane of a function unit, combinational; equal to ``core.evaluate`` for every word.

    Ports: word[input_bits], signed for ``magnitude``; result[result_bits]; for reciprocal and rsqrt also
    power (signed) and infinite, for the word 0.
    """
    body = {"exponential": _exponential, "normalised": _normalised, "magnitude": _magnitude}[core.kind](core)
    signed = core.kind == "magnitude"
    ports = [
        Port(name="word", width=core.input_bits, signed=signed),
        Port(name="result", width=core.result_bits, output=True, signed=signed),
    ]
    if core.kind == "normalised":
        ports.append(Port(name="power", width=power_bits(core), output=True, signed=True))
        ports.append(Port(name="infinite", width=1, output=True))
    unit = core.unit
    return RtlModule(
        name=f"{core.name}_s{unit.segments}_f{unit.fraction_bits}_b{core.input_bits}_{core.input_fraction_bits}"
        + (f"_m{core.mantissa_bits}" if core.significant_bits else ""),
        ports=tuple(ports),
        body=body,
    )


def _position(core: FixedPointFunction, source: str, largest: int) -> tuple[list[str], int]:
    """Wire ``position`` from an unsigned wire ``source`` of at most ``largest``, and its width."""
    multiplier, shift = core.scale
    half = (1 << shift) >> 1
    product_bits = (largest * multiplier + half).bit_length()
    rounding = f" + {binary(half, product_bits)}" if shift else ""
    needed = core.index_bits + core.position_bits
    bits = max(product_bits - shift, needed)
    padding = bits - (product_bits - shift)
    taken = f"product[{product_bits - 1}:{shift}]"
    return [
        f"  wire {bus(product_bits)}factor = {source};",
        f"  wire {bus(product_bits)}product = {times('factor', multiplier, product_bits)}{rounding};",
        f"  wire {bus(bits)}position = {f'{{{padding}{chr(39)}d0, {taken}}}' if padding else taken};",
    ], bits


def _table(core: FixedPointFunction, *, mirrored: bool = False) -> tuple[list[str], int]:
    """Wire ``interpolated`` from wires ``index`` and ``fraction``, and its width.

    mirrored: the segment and the place in it are counted from the end of the table
    """
    place = core.position_bits
    pairs = [*zip(core.entries[:-1], core.rises, strict=True)]
    if mirrored:
        pairs = [*zip(reversed(core.entries[1:]), (-rise for rise in reversed(core.rises)), strict=True)]
    rises = [rise for _, rise in pairs]
    sign = "" if min(rises) < 0 < max(rises) else "-" if min(rises) < 0 else "+"  # one of all, or none
    entry_bits = max(entry for entry, _ in pairs).bit_length()
    rise_bits = max(signed_bits(abs(rise)) for rise in rises) - (sign != "")
    both = entry_bits + rise_bits
    bits = entry_bits + place
    rows = [
        f"      {binary(index, core.index_bits)}: table_row = "
        f"{{{binary(entry, entry_bits)}, {binary(abs(rise) if sign else rise, rise_bits)}}};"
        for index, (entry, rise) in enumerate(pairs)
    ]
    climb = (
        [
            f"  wire signed {bus(rise_bits)}rise = looked_up[{rise_bits - 1}:0];",
            f"  wire signed {bus(place + 1)}along = {{1'b0, fraction}};",
            f"  wire signed {bus(bits + 1)}climbed = rise * along;",
        ]
        if not sign
        else [
            f"  wire {bus(bits + 1)}climbed = looked_up[{rise_bits - 1}:0] * fraction;",
        ]
    )
    return [
        f"  function {bus(both)}table_row;",
        f"    input {bus(core.index_bits)}at;",
        "    case (at)",
        *rows,
        f"      default: table_row = {both}'d0;",
        "    endcase",
        "  endfunction",
        f"  wire {bus(both)}looked_up = table_row(index);",
        f"  wire {bus(entry_bits)}entry = looked_up[{both - 1}:{rise_bits}];",
        *climb,
        f"  wire {bus(bits)}interpolated = {{entry, {place}'d0}} {sign or '+'} climbed[{bits - 1}:0];",
    ], bits


def _fields(core: FixedPointFunction, source: str) -> list[str]:
    """Wires ``index`` and ``fraction`` of a place in the table."""
    place = core.position_bits
    return [
        f"  wire {bus(core.index_bits)}index = {source}[{place + core.index_bits - 1}:{place}];",
        f"  wire {bus(place)}fraction = {source}[{place - 1}:0];",
    ]


def _rounded(
    core: FixedPointFunction, source: str, bits: int, lost: str = "1'b0", more: int = 0
) -> list[str]:
    """Wire ``rounded``: ``source`` without its position bits, half to even.

    lost: bits already cut; more: places to cut beyond the position bits
    """
    place, whole = core.position_bits + more, bits - core.position_bits - more
    return [
        f"  wire {bus(whole)}kept = {source}[{bits - 1}:{place}];",
        f"  wire up = {source}[{place - 1}] & (kept[0] | {lost} | (|{source}[{place - 2}:0]));",
        f"  wire {bus(whole + 1)}rounded = {{1'b0, kept}} + {{{whole}'d0, up}};",
    ]


def _beyond(core: FixedPointFunction, source: str, width: int, most: int) -> tuple[str, int]:
    """Wire ``outside``: whether a reduced word lies behind the last segment; and the largest inside."""
    end = core.unit.segments << core.position_bits
    least = bisect_left(range(most + 1), True, key=lambda word: core.position(word) >= end)
    behind = f"{source} >= {binary(least, width)}" if least <= most else "1'b0"
    return f"  wire outside = {behind};", least - 1


def _fitted(name: str, have: int, need: int) -> str:
    """``name`` of ``have`` bits, unsigned, as ``need`` bits."""
    if need > have:
        return f"{{{need - have}'d0, {name}}}"
    return name if need == have else f"{name}[{need - 1}:0]"


def _exponential(core: FixedPointFunction) -> str:
    """2^-p = 2^-(whole + 1) * 2^(1 - fraction): the table counted from its end, no subtraction."""
    words = 1 << core.input_bits
    least = bisect_left(range(words), True, key=lambda word: core.evaluate(word).word == 0)
    lines, bits = _position(core, "word", least - 1)
    power = core.index_bits + core.position_bits
    table, wide = _table(core, mirrored=True)
    steps = max(bits - power, 0)
    too_small = f"word >= {binary(least, core.input_bits)}" if least < words else "1'b0"
    shifts, name, lost = [], "interpolated", []
    for step in range(steps):
        count = min(1 << step, wide)
        chosen, rest = f"position[{power + step}]", f"{name}[{wide - 1}:{count}]" if count < wide else ""
        moved = f"{{{count}'d0{', ' if rest else ''}{rest}}}"
        shifts.append(f"  wire {bus(wide)}shifted{step} = {chosen} ? {moved} : {name};")
        lost.append(f"({chosen} & (|{name}[{count - 1}:0]))")
        name = f"shifted{step}"
    return "\n".join(
        [
            *lines,
            f"  wire too_small = {too_small};",
            *_fields(core, "position"),
            *table,
            *shifts,
            f"  wire cut = {' | '.join(lost) or chr(49) + chr(39) + 'b0'};",
            *_rounded(core, name, wide, "cut", more=1),
            f"  assign result = too_small ? {core.result_bits}'d0 : "
            f"{_fitted('rounded', wide - core.position_bits, core.result_bits)};",
        ]
    )


def _normalised(core: FixedPointFunction) -> str:
    bits, root = core.input_bits, core.name == "rsqrt"
    lines, name, zeros = [], "word", []
    step = 1 << (index_bits(bits) - 1)
    while step:
        empty, shifted = f"empty{step}", f"left{step}"
        lines += [
            f"  wire {empty} = ~(|{name}[{bits - 1}:{bits - step}]);",
            f"  wire {bus(bits)}{shifted} = {empty} ? {name} << {step} : {name};",
        ]
        zeros.append(empty)
        name, step = shifted, step // 2
    width = power_bits(core)
    count = index_bits(bits)
    lines += [
        f"  wire {bus(count)}zeros = {{{', '.join(zeros)}}};",
        f"  wire signed {bus(width)}first = {binary(bits - 1 - core.input_fraction_bits, width)} - "
        f"{{{width - count}'d0, zeros}};",
        "  assign infinite = word == 0;",
    ]
    if core.mantissa_bits < bits:
        kept, cut = core.mantissa_bits, bits - core.mantissa_bits
        rest = f" | (|{name}[{cut - 2}:0])" if cut > 1 else ""
        lines += [
            f"  wire carry = {name}[{cut - 1}] & ({name}[{cut}]{rest});",
            f"  wire {bus(kept + 1)}mantissa = {{1'b0, {name}[{bits - 1}:{cut}]}} + {{{kept}'d0, carry}};",
            f"  wire signed {bus(width)}exponent = first + {{{width - 1}'d0, mantissa[{kept}]}};",
        ]
        name, bits = "mantissa", kept
    else:
        lines.append(f"  wire signed {bus(width)}exponent = first;")
    if root:
        lines += [
            f"  wire {bus(bits)}reduced = {{exponent[0], {name}[{bits - 2}:0]}};",
            f"  wire signed {bus(width)}root = exponent >>> 1;",
        ]
        exponent, reduced_bits = "root", bits
    else:
        lines.append(f"  wire {bus(bits - 1)}reduced = {name}[{bits - 2}:0];")
        exponent, reduced_bits = "exponent", bits - 1
    outside, largest = _beyond(core, "reduced", reduced_bits, (1 << reduced_bits) - 1)
    place, _ = _position(core, "reduced", largest)
    table, wide = _table(core)
    fitted = _fitted("rounded", wide - core.position_bits + 1, core.result_bits)
    nothing, last = f"{core.result_bits}'d0", binary(core.beyond, core.result_bits)
    return "\n".join(
        [
            *lines,
            *place,
            *_fields(core, "position"),
            *table,
            *_rounded(core, "interpolated", wide),
            outside,
            f"  assign result = infinite ? {nothing} : outside ? {last} : {fitted};",
            f"  assign power = infinite ? {width}'d0 : -{exponent};",
        ]
    )


def _magnitude(core: FixedPointFunction) -> str:
    bits, width, fraction = core.input_bits, core.result_bits, core.unit.fraction_bits
    outside, largest = _beyond(core, "size", bits, 1 << bits - 1)
    lines, _ = _position(core, "size", largest)
    table, wide = _table(core)
    rounded_bits = wide - core.position_bits + 1
    value = f"outside ? {binary(core.beyond, width)} : {_fitted('rounded', rounded_bits, width)}"
    if core.name == "sigmoid":
        result = f"positive ? {binary(1 << fraction, width)} - value : value"
    elif core.name == "tanh":
        result = "minus ? -value : value"
    else:
        place = core.result_fraction_bits
        value_place, word_place = place - fraction, place - core.input_fraction_bits
        rectified = f"{{{width - bits}'d0, size}}" if width > bits else f"size[{width - 1}:0]"
        result = f"(positive ? {rectified} << {word_place} : {width}'d0) - (value << {value_place})"
    return "\n".join(
        [
            f"  wire minus = word[{bits - 1}];",
            "  wire positive = ~minus & (|word);",
            f"  wire {bus(bits)}size = minus ? ~word + {bits}'d1 : word;",
            *lines,
            outside,
            *_fields(core, "position"),
            *table,
            *_rounded(core, "interpolated", wide),
            f"  wire {bus(width)}value = {value};",
            f"  assign result = {result};",
        ]
    )
