"""The shift-add behind a converter: codes of planes, groups and digits summed to accumulator words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.crossbars import digit_weights, plane_weights
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits, signed_bits, times
from ohmformer.numerals import digits_for_bits
from ohmformer.specs import TileSpec

__all__ = ["TileLayout", "chosen", "shift_add"]


@dataclass(frozen=True, kw_only=True)
class TileLayout:
    """What the digital part of a tile has to walk and to hold.

    Walk: digits from the most significant down, the groups of wordlines of each, the outputs of a converter,
    the planes of an output from the most significant down (the sum is the same in any order; in this one each
    step multiplies by a constant and adds).

    The bitlines in use (pairs of them, for ``digits``) are shared out evenly and in order: each of the
    ceil(bitlines / bitlines_per_adc) converters takes ``visits`` of them, the last one what is left. Where
    that cuts outputs, the tile is ``split``: its converters hold sums of parts (``rtl_part_sums``).

    streamed_bits, resident_bits: of the operands
    word_bits:                    of an accumulator word (``BufferSpec.word_bits``)
    """

    tile: TileSpec
    streamed_bits: int
    resident_bits: int
    word_bits: int = 32

    def __post_init__(self) -> None:
        tile, needed = self.tile, self.tile.bitlines_per_output(self.resident_bits)
        for name in ("streamed_bits", "resident_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise EmitError(f"{name} is {getattr(self, name)}: allowed is 2 to 16.")
        if tile.elements < 1:
            raise EmitError(f"wordlines is {tile.wordlines}: one digit drives more of them.")
        if tile.outputs(self.resident_bits) < 1:
            raise EmitError(
                f"bitlines is {tile.bitlines}: one {self.resident_bits}-bit resident operand takes {needed}."
            )
        needed_bits = self.needed_bits()
        if needed_bits > self.word_bits:
            raise EmitError(
                f"buffer.word_bits is {self.word_bits}: sums of this tile take up to {needed_bits} bits; "
                "set it to that or more."
            )

    @property
    def conversions(self) -> int:
        """Conversions of a cycle: a bitline each, or a pair of them."""
        return self.tile.outputs(self.resident_bits) * len(self.planes)

    @property
    def visits(self) -> int:
        """Conversions of a cycle by one converter."""
        return -(-self.conversions // -(-self.tile.bitlines // self.tile.adc.bitlines_per_adc))

    @property
    def converters(self) -> int:
        """Converters of the tile that see an output."""
        return -(-self.conversions // self.visits)

    @property
    def split(self) -> bool:
        """Whether a converter sees a part of an output and another one the rest of it."""
        return self.converters > 1 and self.visits % len(self.planes) > 0

    @property
    def lanes(self) -> int:
        """Results that are read at once: one of each converter, or of the tile where that is ``split``."""
        return 1 if self.split else self.converters

    @property
    def outputs(self) -> int:
        """Outputs of one lane."""
        if self.lanes == 1:
            return self.tile.outputs(self.resident_bits)
        return self.visits // len(self.planes)

    def visits_for(self, outputs: int) -> int:
        """Conversions of a cycle by one converter where so many outputs of a lane are wanted."""
        return min(self.visits, outputs * len(self.planes))

    def visited(self, converter: int) -> tuple[tuple[int, int], ...]:
        """Output and plane of each of a converter's visits, in their order."""
        order = {plane: step for step, plane in enumerate(self.planes)}
        first = converter * self.visits
        mine = range(first, min(first + self.visits, self.conversions))
        places = (divmod(place, len(self.planes)) for place in mine)
        return tuple(sorted(places, key=lambda place: (place[0], order[place[1]])))

    def seen(self, converter: int) -> dict[int, tuple[int, int]]:
        """Output and plane that a converter converts by ``plane_select`` (see ``rtl_tile``)."""
        visited = self.visited(converter)
        if self.split:
            return dict(enumerate(visited))
        planes, first = len(self.planes), converter * self.outputs
        return {(output - first) * planes + plane: (output, plane) for output, plane in visited}

    @property
    def digits(self) -> int:
        """Digits of a streamed operand."""
        return digits_for_bits(self.tile.numeral.radix, self.streamed_bits)

    @property
    def groups(self) -> int:
        """Groups of wordlines of the tile."""
        return -(-self.tile.elements // self.tile.group_elements)

    @property
    def code_bits(self) -> int:
        """Width of a code, two's complement."""
        return signed_bits(self.tile.adc.max_code)

    @property
    def planes(self) -> tuple[int, ...]:
        """Planes of an output in the order of the walk."""
        weights = plane_weights(self.tile, self.resident_bits)
        if self.tile.resident_code == "bits":
            return tuple(reversed(range(len(weights))))
        resistors = self.tile.numeral.resistors_per_digit
        starts = reversed(range(0, len(weights), resistors))
        return tuple(start + resistor for start in starts for resistor in range(resistors))

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """Factor on the sum of the planes so far and weight of the code, for each step of an output.

        sum = factor * sum + weight * code: for ``bits`` 2 and 1, but -1 for the top bit; for ``digits`` the
        radix ahead of each digit, and the weights of its resistors.
        """
        if self.tile.resident_code == "bits":
            return ((0, -1), *((2, 1) for _ in self.planes[1:]))
        resistors = self.tile.numeral.resistors_per_digit
        weights = plane_weights(self.tile, self.resident_bits)[:resistors]
        factors = (self.tile.numeral.radix, *([1] * (resistors - 1)))
        whole = [*zip(factors, weights, strict=True)] * (len(self.planes) // resistors)
        return ((0, weights[0]), *whole[1:])

    @property
    def plane_bits(self) -> int:
        """Width of the sum of the planes of an output."""
        return signed_bits(self._planes_bound)

    @property
    def sum_bits(self) -> int:
        """Width of the sum over digits, groups and planes, in steps of the converter."""
        return min(signed_bits(self._planes_bound * self._cycles_weight), self.word_bits)

    @property
    def result_bits(self) -> int:
        """Width of a result, in unit currents."""
        return min(signed_bits(self.largest_result), self.word_bits)

    @property
    def largest_result(self) -> int:
        """Largest magnitude of what codes could sum to, in unit currents."""
        return self._planes_bound * self._cycles_weight * self.tile.adc.step

    def needed_bits(self, tiles: int = 1) -> int:
        """Bits of an accumulator word that holds every sum over so many tiles, without noise and mismatch.

        |sum| <= tiles * min(what codes could sum to, elements * 2^(streamed_bits - 1) * 2^(resident_bits - 1)
        + (what converters round, bend and clip) * (weights of all conversions)).  On the way there a word of
        so many bits may wrap; the sum is right modulo 2^bits, and it fits.
        """
        tile = self.tile
        operands = tile.elements << self.streamed_bits + self.resident_bits - 2
        clipped = max(0, tile.max_sum - tile.adc.max_code * tile.adc.step)
        bent = math.ceil(tile.adc.nonlinearity * tile.adc.step)
        off = (0 if tile.lossless and not bent else tile.adc.step) + bent + clipped
        weights = self._planes_bound // tile.adc.max_code * self._cycles_weight
        return signed_bits(tiles * min(self.largest_result, operands + off * weights))

    @property
    def _cycles_weight(self) -> int:
        """Sum of the weights of all cycles of a row: digits, groups of each."""
        return sum(digit_weights(self.tile, self.streamed_bits)) * self.groups

    @property
    def _planes_bound(self) -> int:
        weights = plane_weights(self.tile, self.resident_bits)
        return self.tile.adc.max_code * sum(abs(weight) for weight in weights)


def shift_add(layout: TileLayout, *, outputs: int | None = None) -> RtlModule:
    """Shift-add of one converter, with a word for each of its outputs.

    planes = factor * planes + weight * code                                   (a plane each)
    word = planes + (0 if clear, else word * radix if new_digit, else word)    (behind the last plane)
    result = word * step

    The largest sum of codes fits, or the largest of operands does (``TileLayout.needed_bits``).

    Ports: clk; valid with code, step (of ``layout.steps``), output_index, clear (first group of the first
    digit), new_digit (first group of any other); read_index gives result.
    outputs: words to hold; None: all of the converter's
    """
    count = layout.outputs if outputs is None else outputs
    planes, total, bits = layout.plane_bits, layout.sum_bits, layout.code_bits
    step_bits, output_bits = index_bits(len(layout.steps)), index_bits(count)
    radix, scale = layout.tile.numeral.radix, layout.tile.adc.step
    factors = chosen([factor for factor, _ in layout.steps], "planes", planes, step_bits)
    weights = chosen([weight for _, weight in layout.steps], "wide_code", planes, step_bits)
    body = f"""
  reg signed {bus(planes)}planes;
  reg signed {bus(total)}words [0:{count - 1}];
  wire signed {bus(planes)}wide_code = code;
  wire signed {bus(planes)}next_planes = {factors} + {weights};
  wire signed {bus(total)}word = words[output_index];
  wire signed {bus(total)}grown = new_digit ? {times("word", radix, total)} : word;
  wire signed {bus(total)}base = clear ? {binary(0, total)} : grown;
  wire signed {bus(total)}wide_planes = next_planes;
  always @(posedge clk)
    if (valid) begin
      planes <= next_planes;
      if (step == {binary(len(layout.steps) - 1, step_bits)})
        words[output_index] <= base + wide_planes;
    end
  wire signed {bus(layout.result_bits)}read_word = words[read_index];
  assign result = {times("read_word", scale, layout.result_bits)};
"""
    return RtlModule(
        name=f"shift_add_r{radix}_c{bits}_p{len(layout.steps)}_n{count}",
        ports=(
            Port(name="clk", width=1),
            Port(name="valid", width=1),
            Port(name="code", width=bits, signed=True),
            Port(name="step", width=step_bits),
            Port(name="output_index", width=output_bits),
            Port(name="clear", width=1),
            Port(name="new_digit", width=1),
            Port(name="read_index", width=output_bits),
            Port(name="result", width=layout.result_bits, output=True, signed=True),
        ),
        body=body,
    )


def chosen(factors: list[int], name: str, width: int, step_bits: int) -> str:
    """``name`` times the factor of the present step; the commonest factor needs no comparison."""
    common = max(factors, key=factors.count)
    text = times(name, common, width)
    for factor in sorted({*factors} - {common}):
        at = [binary(step, step_bits) for step, other in enumerate(factors) if other == factor]
        here = " | ".join(f"step == {place}" for place in at)
        text = f"({here}) ? {times(name, factor, width)} : {text}"
    return f"({text})"
