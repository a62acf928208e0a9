"""A row of softmax in hardware: exponential lane, encoder and tile for the sum, reciprocal lane, products."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_function import function_lane, power_bits
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits, times
from ohmformer.emit.rtl_tile import analog_ports, tile_control
from ohmformer.specs import FunctionUnitSpec

__all__ = ["SoftmaxRow", "softmax_row"]

FLOAT32_BITS = 24


@dataclass(frozen=True, kw_only=True)
class SoftmaxRow:
    """The arithmetic of ``functions.softmax`` in float32 on score words, its sum taken on a tile of ones.

    e = F:exp(x - max x);  code = round half even (e * c), c = 2^(streamed_bits - 1) - 1;  n = sum of the
    codes, from the tile;  p = e * F:reciprocal(max(n, c)/c).  The largest e is 1, hence the scale 1/c.

    unit:                of the lanes
    layout:              of the tile; a row has at most its elements
    score_bits:          width of a score, two's complement
    score_fraction_bits: of a score
    """

    unit: FunctionUnitSpec
    layout: TileLayout
    score_bits: int = 16
    score_fraction_bits: int = 11

    def __post_init__(self) -> None:
        if self.layout.resident_bits < 2 or self.layout.result_bits < 2:
            raise EmitError("layout holds no ones: a resident operand has at least 2 bits.")

    @property
    def max_code(self) -> int:
        """Largest code c of an exponential."""
        return (1 << self.layout.streamed_bits - 1) - 1

    @property
    def exponential(self) -> FixedPointFunction:
        """The lane that takes max - x, a bit wider in range than a score but no wider in bits."""
        return FixedPointFunction(
            name="exp",
            unit=self.unit,
            input_bits=self.score_bits,
            input_fraction_bits=self.score_fraction_bits,
        )

    @property
    def largest_sum(self) -> int:
        """Largest sum of codes."""
        return self.layout.tile.elements * self.max_code

    @property
    def scale(self) -> tuple[int, int]:
        """1/c as float32 has it: a whole number of 24 bits, and its fraction bits."""
        place = self.max_code.bit_length() + FLOAT32_BITS - 1
        if self.max_code & (self.max_code - 1) == 0:
            place -= 1
        return round(Fraction(1 << place, self.max_code)), place

    @property
    def reciprocal(self) -> FixedPointFunction:
        """The lane that takes the sum, which float32 rounds to 24 bits."""
        scale, place = self.scale
        return FixedPointFunction(
            name="reciprocal",
            unit=self.unit,
            input_bits=max(self.largest_sum * scale, 1 << place).bit_length(),
            input_fraction_bits=place,
            significant_bits=FLOAT32_BITS,
        )

    def code(self, exponential: int) -> int:
        """The code of an exponential, as it streams into the tile."""
        place = self.unit.fraction_bits
        product = exponential * self.max_code
        whole, rest, half = product >> place, product & ((1 << place) - 1), 1 << (place - 1)
        return whole + (rest > half or (rest == half and whole & 1))

    def share(self, total: int) -> tuple[int, int]:
        """Word and power of 1/(total/c), for a sum of codes; below c it counts as c."""
        scale, place = self.scale
        word = min(total, self.largest_sum) * scale if total > self.max_code else 1 << place
        result = self.reciprocal.evaluate(word)
        return result.word, result.power


def softmax_row(row: SoftmaxRow, clock_Hz: float) -> RtlModule:
    """Softmax of a row of scores, one score a clock in, one product a clock out.

    Ports: score_valid with score and score_last while ready; those of the tile's crossbar and converters;
    probability_valid with product and power: p = product * 2^(power - 2 fraction_bits), in the order of the
    scores; probability_last with the last.
    """
    layout, unit = row.layout, row.unit
    exp, reciprocal = function_lane(row.exponential), function_lane(row.reciprocal)
    tile = tile_control(layout, clock_Hz)
    elements, bits, fraction = layout.tile.elements, row.score_bits, unit.fraction_bits
    place = index_bits(elements + 1)
    word, total = fraction + 1, layout.result_bits
    code_product = word + layout.streamed_bits
    sum_bits = max(total, row.largest_sum.bit_length() + 1)
    reciprocal_bits = row.reciprocal.input_bits
    power = power_bits(row.reciprocal)
    scale, place_of_one = row.scale
    sum_index = index_bits(layout.outputs)
    body = f"""
  localparam LOAD = 3'd0, EXP = 3'd1, WAIT = 3'd2, SHARE = 3'd3, OUT = 3'd4;
  reg [2:0] state;
  reg {bus(place)}at, count;
  reg signed {bus(bits)}largest;
  reg signed {bus(bits)}scores [0:{elements - 1}];
  reg {bus(word)}exponentials [0:{elements - 1}];
  reg {bus(word)}share;
  reg signed {bus(power)}share_power;
  reg {bus(sum_bits)}clamped;

  wire signed {bus(bits)}score_now = scores[at];
  wire {bus(bits)}below = largest - score_now;
  wire {bus(word)}exponential;
  {exp.name} exp_lane (.word(below), .result(exponential));
  wire {bus(code_product)}scaled = exponential * {binary(row.max_code, code_product)};
  wire {bus(code_product - fraction)}whole = scaled[{code_product - 1}:{fraction}];
  wire up = scaled[{fraction - 1}] & (whole[0] | (|scaled[{fraction - 2}:0]));
  wire {bus(layout.streamed_bits)}code = whole + up;

  wire tile_ready, tile_done, missed;
  wire {bus(layout.lanes * total)}sums;
  wire last = at + {place}'d1 == count;
  tile_control tile (
    .clk(clk), .reset(reset), .element_valid(state == EXP & tile_ready), .element(code), .element_last(last),
    .last_output({sum_index}'d0), .ready(tile_ready), .wordline_on(wordline_on),
    .wordline_minus(wordline_minus), .plane_select(plane_select), .convert(convert), .codes(codes),
    .codes_valid(codes_valid), .done(tile_done), .out_of_range(missed), .read_index({sum_index}'d0),
    .results(sums)
  );
  wire signed {bus(total)}first_sum = sums[{total - 1}:0];
  wire signed {bus(sum_bits)}sum = first_sum;
  wire signed {bus(sum_bits)}lowest = {binary(row.max_code, sum_bits)};
  wire signed {bus(sum_bits)}highest = {binary(row.largest_sum, sum_bits)};

  wire {bus(reciprocal_bits)}wide_sum = clamped;
  wire {bus(reciprocal_bits)}reduced = clamped == {binary(row.max_code, sum_bits)} ?
    {binary(1 << place_of_one, reciprocal_bits)} : {times("wide_sum", scale, reciprocal_bits)};
  wire {bus(word)}inverse;
  wire signed {bus(power)}inverse_power;
  wire unbounded;
  {reciprocal.name} reciprocal_lane (
    .word(reduced), .result(inverse), .power(inverse_power), .infinite(unbounded)
  );

  wire {bus(word)}exponential_now = exponentials[at];
  assign ready = state == LOAD;
  assign probability_valid = state == OUT;
  assign probability_last = state == OUT & last;
  assign product = exponential_now * share;
  assign power = share_power;

  always @(posedge clk)
    if (reset) begin
      state <= LOAD;
      at <= {place}'d0;
    end else case (state)
      LOAD: if (score_valid) begin
        scores[at] <= score;
        if (at == {place}'d0 | score > largest) largest <= score;
        at <= at + {place}'d1;
        if (score_last | at == {binary(elements - 1, place)}) begin
          count <= at + {place}'d1;
          at <= {place}'d0;
          state <= EXP;
        end
      end
      EXP: if (tile_ready) begin
        exponentials[at] <= exponential;
        at <= at + {place}'d1;
        if (last) state <= WAIT;
      end
      WAIT: if (tile_done) begin
        clamped <= sum < lowest ? lowest : sum > highest ? highest : sum;
        state <= SHARE;
      end
      SHARE: begin
        share <= inverse;
        share_power <= inverse_power;
        at <= {place}'d0;
        state <= OUT;
      end
      default: begin
        at <= at + {place}'d1;
        if (last) begin
          at <= {place}'d0;
          state <= LOAD;
        end
      end
    endcase
"""
    return RtlModule(
        name="softmax_row",
        ports=(
            Port(name="clk", width=1),
            Port(name="reset", width=1),
            Port(name="score_valid", width=1),
            Port(name="score", width=bits, signed=True),
            Port(name="score_last", width=1),
            Port(name="ready", width=1, output=True),
            *analog_ports(layout),
            Port(name="probability_valid", width=1, output=True),
            Port(name="probability_last", width=1, output=True),
            Port(name="product", width=2 * word, output=True),
            Port(name="power", width=power, output=True, signed=True),
        ),
        body=body,
        parts=(exp, reciprocal, tile),
    )
