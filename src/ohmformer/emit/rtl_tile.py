"""The digital part of a tile: encoder, digit registers, sequencer and the shift-adds of its converters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.devices import settling_time_s
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_encoder import encoder, sign_lines
from ohmformer.emit.rtl_part_sums import part_sums
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits

__all__ = ["analog_ports", "settle_cycles", "tile_control"]


def settle_cycles(layout: TileLayout, clock_Hz: float) -> int:
    """Clocks from switching the wordlines to settled bitlines, at least 1.

    The time that the tile states, or what its circuit needs if that is longer.
    """
    settled_s = max(layout.tile.settling_time_s, settling_time_s(layout.tile))
    return max(1, math.ceil(settled_s * clock_Hz - 1e-9))


def analog_ports(layout: TileLayout) -> tuple[Port, ...]:
    """Ports between the digital part of a tile and its crossbar and converters."""
    wordlines = layout.tile.elements * layout.tile.numeral.resistors_per_digit
    return (
        Port(name="wordline_on", width=wordlines, output=True),
        Port(name="wordline_minus", width=wordlines, output=True),
        Port(name="plane_select", width=index_bits(layout.visits), output=True),
        Port(name="convert", width=1, output=True),
        Port(name="codes", width=layout.converters * layout.code_bits),
        Port(name="codes_valid", width=1),
    )


def tile_control(layout: TileLayout, clock_Hz: float) -> RtlModule:
    """Encoder, digit registers, sequencer and shift-adds: all of a tile but crossbar and converters.

    A row is loaded, one element a clock, encoded on its way. Then for each digit (most significant first) and
    each group of wordlines: the switch lines of the group are set, the settling time passes, and each
    converter converts its planes in turn.

    Ports: element_valid with element and element_last while ready; last_output, the last output of each
    converter that is wanted; wordline_on and wordline_minus [element * resistors + resistor];
    plane_select = output * planes + plane (the bitline of the converter, or the pair of them) with convert
    until codes_valid brings codes [converter]; done for one clock behind the last; read_index gives results
    [converter]; out_of_range: an element of the row had no numeral.

    Of a ``split`` tile plane_select counts the visits (``TileLayout.visited`` says of which bitline),
    last_output and read_index are outputs of the tile, and results is the one of read_index.
    """
    tile, numeral = layout.tile, layout.tile.numeral
    cycles = settle_cycles(layout, clock_Hz)
    if cycles > 1 << 24:
        raise EmitError(f"settling_time_s is {tile.settling_time_s}: that is {cycles} clocks, over 2^24.")
    part_encoder = encoder(numeral, layout.streamed_bits)
    walk = _walk_of_parts(layout) if layout.split else _walk_of_outputs(layout)
    resistors, signs, digits = numeral.resistors_per_digit, sign_lines(numeral), layout.digits
    place_bits = index_bits(tile.elements + tile.group_elements + 1)
    digit_bits, timer_bits, output_bits = index_bits(digits), index_bits(cycles), index_bits(layout.outputs)
    minus = (
        f"{{{resistors}{{sign_register[digit]}}}}"
        if signs == 1
        else f"sign_register[digit * {resistors} +: {resistors}]"
    )
    body = f"""
  localparam LOAD = 2'd0, SETTLE = 2'd1, CONVERT = 2'd2;
  reg [1:0] state;
  reg {bus(place_bits)}place, count, group_start;
  reg {bus(digit_bits)}digit;
{walk.registers}
  reg {bus(timer_bits)}timer;
  reg clear, new_digit, finished, missed;
  assign ready = state == LOAD;
  assign convert = state == CONVERT;
  assign done = finished;
  assign out_of_range = missed;

  wire {bus(digits * resistors)}on;
  wire {bus(digits * signs)}sign;
  wire refused;
  {part_encoder.name} encode (.value(element), .on(on), .sign(sign), .out_of_range(refused));

  wire {bus(place_bits)}group_stop = group_start + {binary(tile.group_elements, place_bits)};
  genvar e;
  generate
    for (e = 0; e < {tile.elements}; e = e + 1) begin : elements
      reg {bus(digits * resistors)}on_register;
      reg {bus(digits * signs)}sign_register;
      always @(posedge clk)
        if (element_valid & ready & place == e) begin
          on_register <= on;
          sign_register <= sign;
        end
      wire active = ~ready & e >= group_start & e < group_stop & e < count;
      wire {bus(resistors)}lines = active ? on_register[digit * {resistors} +: {resistors}] : {resistors}'d0;
      assign wordline_on[e * {resistors} +: {resistors}] = lines;
      assign wordline_minus[e * {resistors} +: {resistors}] = lines & {minus};
    end
  endgenerate

{walk.select}

  wire full = place == {binary(tile.elements - 1, place_bits)};
  always @(posedge clk) begin
    finished <= 1'b0;
    if (reset) begin
      state <= LOAD;
      place <= {place_bits}'d0;
      missed <= 1'b0;
    end else case (state)
      LOAD: if (element_valid) begin
        missed <= refused | (missed & place != {place_bits}'d0);
        place <= place + {place_bits}'d1;
        if (element_last | full) begin
          state <= SETTLE;
          count <= place + {place_bits}'d1;
          group_start <= {place_bits}'d0;
          digit <= {binary(digits - 1, digit_bits)};
          timer <= {binary(cycles - 1, timer_bits)};
{walk.restart}
          clear <= 1'b1;
          new_digit <= 1'b0;
        end
      end
      SETTLE: begin
        timer <= timer - {timer_bits}'d1;
        if (timer == {timer_bits}'d0) state <= CONVERT;
      end
      default: if (codes_valid) begin
{walk.advance}
        if (all_converted) begin
{walk.restart}
          clear <= 1'b0;
          timer <= {binary(cycles - 1, timer_bits)};
          state <= SETTLE;
          group_start <= group_stop;
          new_digit <= 1'b0;
          if (group_stop >= count) begin
            group_start <= {place_bits}'d0;
            digit <= digit - {digit_bits}'d1;
            new_digit <= 1'b1;
            if (digit == {digit_bits}'d0) begin
              state <= LOAD;
              place <= {place_bits}'d0;
              finished <= 1'b1;
            end
          end
        end
      end
    endcase
  end

{walk.sums}
"""
    return RtlModule(
        name="tile_control",
        ports=(
            Port(name="clk", width=1),
            Port(name="reset", width=1),
            Port(name="element_valid", width=1),
            Port(name="element", width=layout.streamed_bits, signed=True),
            Port(name="element_last", width=1),
            Port(name="last_output", width=output_bits),
            Port(name="ready", width=1, output=True),
            *analog_ports(layout),
            Port(name="done", width=1, output=True),
            Port(name="out_of_range", width=1, output=True),
            Port(name="read_index", width=output_bits),
            Port(name="results", width=layout.lanes * layout.result_bits, output=True),
        ),
        body=body,
        parts=(part_encoder, walk.part),
    )


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """How the converters' visits of a cycle are counted and what sums their codes, as Verilog.

    registers, select: declarations, and plane_select and all_converted made of them
    restart, advance:  statements ahead of the first conversion, and behind each
    sums:              instances of ``part``
    """

    registers: str
    select: str
    restart: str
    advance: str
    sums: str
    part: RtlModule


def _walk_of_outputs(layout: TileLayout) -> _Walk:
    """Every converter holds whole outputs: output by output, plane by plane."""
    planes, part, code, result = len(layout.planes), shift_add(layout), layout.code_bits, layout.result_bits
    step_bits, output_bits = index_bits(planes), index_bits(layout.outputs)
    select_bits = index_bits(layout.visits)
    rows = "\n".join(
        f"      {binary(step, step_bits)}: plane_of = {binary(plane, select_bits)};"
        for step, plane in enumerate(layout.planes)
    )
    last = binary(planes - 1, step_bits)
    return _Walk(
        registers=f"  reg {bus(step_bits)}step;\n  reg {bus(output_bits)}output_index;",
        select=f"""  function {bus(select_bits)}plane_of;
    input {bus(step_bits)}at;
    case (at)
{rows}
      default: plane_of = {select_bits}'d0;
    endcase
  endfunction
  wire {bus(select_bits)}first_plane = output_index * {binary(planes, select_bits + 1)};
  assign plane_select = first_plane + plane_of(step);
  wire all_converted = step == {last} & output_index == last_output;""",
        restart=f"          step <= {step_bits}'d0;\n          output_index <= {output_bits}'d0;",
        advance=f"""        step <= step == {last} ? {step_bits}'d0 : step + {step_bits}'d1;
        if (step == {last}) output_index <= output_index + {output_bits}'d1;""",
        sums=f"""  genvar c;
  generate
    for (c = 0; c < {layout.converters}; c = c + 1) begin : converters
      {part.name} sum (
        .clk(clk), .valid(convert & codes_valid), .code(codes[c * {code} +: {code}]),
        .step(step), .output_index(output_index), .clear(clear), .new_digit(new_digit),
        .read_index(read_index), .result(results[c * {result} +: {result}])
      );
    end
  endgenerate""",
        part=part,
    )


def _walk_of_parts(layout: TileLayout) -> _Walk:
    """Converters hold parts of outputs: visit by visit, up to where the last wanted output ends."""
    planes, part, step_bits = len(layout.planes), part_sums(layout), index_bits(layout.visits)
    wide = index_bits(max(layout.conversions, layout.visits) + 1)
    return _Walk(
        registers=f"  reg {bus(step_bits)}step;",
        select=f"""  assign plane_select = step;
  wire {bus(wide)}wanted = (last_output + {binary(1, wide)}) * {binary(planes, wide)};
  wire {bus(wide)}visit = step + {binary(1, wide)};
  wire all_converted = visit == {binary(layout.visits, wide)} | visit == wanted;""",
        restart=f"          step <= {step_bits}'d0;",
        advance=f"        step <= step + {step_bits}'d1;",
        sums=f"""  {part.name} sums (
    .clk(clk), .valid(convert & codes_valid), .codes(codes), .step(step), .clear(clear),
    .new_digit(new_digit), .read_index(read_index), .result(results)
  );""",
        part=part,
    )
