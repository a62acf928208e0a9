"""The shift-adds of converters that see parts of outputs, and the sums of these parts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from ohmformer.crossbars import plane_weights
from ohmformer.emit.rtl_shift_add import TileLayout, chosen
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits, times

__all__ = ["Part", "part_sums", "parts_of"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one converter sees of one output.

    steps: factor on the sum of the planes so far and weight of the code, for each visit
    scale: weight of their sum: a power of 2, or of the radix
    """

    output: int
    steps: tuple[tuple[int, int], ...]
    scale: int


def parts_of(layout: TileLayout, converter: int) -> tuple[Part, ...]:
    """The parts that a converter sees, in the order of its visits.

    The sum of a part is sum_j c_j * code_j / scale with c_j the weights of its planes (``plane_weights``).
    """
    tile, weights = layout.tile, plane_weights(layout.tile, layout.resident_bits)
    bits = tile.resident_code == "bits"
    base = 2 if bits else tile.numeral.radix
    share = 1 if bits else tile.numeral.resistors_per_digit  # planes of one power of the base
    found = []
    for output, visits in groupby(layout.visited(converter), key=lambda visit: visit[0]):
        powers: list[int] = []
        steps: list[tuple[int, int]] = []
        for _, plane in visits:
            power = plane // share
            factor = base ** (powers[-1] - power) if powers else 0
            powers.append(power)
            steps.append((factor, weights[plane] // base**power))
        found.append(Part(output=output, steps=tuple(steps), scale=base ** powers[-1]))
    return tuple(found)


def part_sums(layout: TileLayout) -> RtlModule:
    """Shift-adds of all converters of a ``split`` tile; the parts of an output are added where it is read.

    planes = factor * planes + weight * code                                     (a visit each)
    word = scale * planes + (0 if clear, else word * radix if new_digit, else word)  (behind a part)
    result = step * sum of the words of an output

    Ports: as of ``rtl_shift_add.shift_add``, but codes [converter], step counts the visits, and read_index is
    an output of the tile.
    """
    total, bits, result = layout.sum_bits, layout.code_bits, layout.result_bits
    count = layout.tile.outputs(layout.resident_bits)
    step_bits, output_bits = index_bits(layout.visits), index_bits(count)
    modules: dict[tuple[object, ...], RtlModule] = {}
    lines: list[str] = []
    words: list[list[str]] = [[] for _ in range(count)]  # by output, those of its parts
    for converter in range(layout.converters):
        parts = parts_of(layout, converter)
        kind = tuple((part.steps, part.scale) for part in parts)
        module = modules.setdefault(kind, _converter_sums(layout, parts, len(modules)))
        lines += [
            f"  wire {bus(len(parts) * total)}words{converter};",
            f"  {module.name} sum{converter} (.clk(clk), .valid(valid), "
            f".code(codes[{converter * bits} +: {bits}]), .step(step), .clear(clear), .new_digit(new_digit), "
            f".words(words{converter}));",
        ]
        for place, part in enumerate(parts):
            words[part.output].append(f"words{converter}[{place * total} +: {total}]")
    slots = max(map(len, words))
    for slot in range(slots):
        rows = "\n".join(
            f"      {binary(output, output_bits)}: slot{slot} = {own[slot]};"
            for output, own in enumerate(words)
            if slot < len(own)
        )
        lines.append(
            f"  reg {bus(total)}slot{slot};\n  always @*\n    case (read_index)\n{rows}\n"
            f"      default: slot{slot} = {binary(0, total)};\n    endcase"
        )
    lines += [
        f"  wire signed {bus(total)}whole = {' + '.join(f'slot{slot}' for slot in range(slots))};",
        f"  wire signed {bus(result)}read_word = whole;",
        f"  assign result = {times('read_word', layout.tile.adc.step, result)};",
    ]
    return RtlModule(
        name=f"part_sums_r{layout.tile.numeral.radix}_c{bits}_v{layout.visits}_n{count}",
        ports=(
            Port(name="clk", width=1),
            Port(name="valid", width=1),
            Port(name="codes", width=layout.converters * bits),
            Port(name="step", width=step_bits),
            Port(name="clear", width=1),
            Port(name="new_digit", width=1),
            Port(name="read_index", width=output_bits),
            Port(name="result", width=result, output=True, signed=True),
        ),
        body="\n".join(lines),
        parts=tuple(modules.values()),
    )


def _converter_sums(layout: TileLayout, parts: tuple[Part, ...], number: int) -> RtlModule:
    """Shift-add of one converter with a word for each of its parts; ``words`` are all of them."""
    planes, total, bits = layout.plane_bits, layout.sum_bits, layout.code_bits
    step_bits, place_bits = index_bits(layout.visits), index_bits(len(parts))
    steps = [step for part in parts for step in part.steps]
    scales = [part.scale for part in parts for _ in part.steps]
    lasts, places = [], []
    for place, part in enumerate(parts):
        places += [place] * len(part.steps)
        lasts.append(binary(len(places) - 1, step_bits))
    factors = chosen([factor for factor, _ in steps], "planes", planes, step_bits)
    weights = chosen([weight for _, weight in steps], "wide_code", planes, step_bits)
    rows = "\n".join(
        f"      {binary(step, step_bits)}: part_of = {binary(place, place_bits)};"
        for step, place in enumerate(places)
    )
    body = f"""
  reg signed {bus(planes)}planes;
  reg signed {bus(total)}kept [0:{len(parts) - 1}];
  wire signed {bus(planes)}wide_code = code;
  wire signed {bus(planes)}next_planes = {factors} + {weights};
  wire signed {bus(total)}wide_planes = next_planes;
  wire signed {bus(total)}scaled = {chosen(scales, "wide_planes", total, step_bits)};
  function {bus(place_bits)}part_of;
    input {bus(step_bits)}at;
    case (at)
{rows}
      default: part_of = {place_bits}'d0;
    endcase
  endfunction
  wire {bus(place_bits)}part = part_of(step);
  wire ends = {" | ".join(f"step == {last}" for last in lasts)};
  wire signed {bus(total)}word = kept[part];
  wire signed {bus(total)}grown = new_digit ? {times("word", layout.tile.numeral.radix, total)} : word;
  wire signed {bus(total)}base = clear ? {binary(0, total)} : grown;
  always @(posedge clk)
    if (valid) begin
      planes <= next_planes;
      if (ends) kept[part] <= base + scaled;
    end
  genvar k;
  generate
    for (k = 0; k < {len(parts)}; k = k + 1) begin : parts
      assign words[k * {total} +: {total}] = kept[k];
    end
  endgenerate
"""
    return RtlModule(
        name=f"part_sum_{number}",
        ports=(
            Port(name="clk", width=1),
            Port(name="valid", width=1),
            Port(name="code", width=bits, signed=True),
            Port(name="step", width=step_bits),
            Port(name="clear", width=1),
            Port(name="new_digit", width=1),
            Port(name="words", width=len(parts) * total, output=True),
        ),
        body=body,
    )
