"""A matrix product over several tiles: one tile's control walks them, and their sums are added behind it."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits, signed_bits
from ohmformer.emit.rtl_tile import analog_ports, tile_control

__all__ = ["MAX_TILES", "ProductLayout", "product_control"]

MAX_TILES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class ProductLayout:
    """Tiles of a resident matrix [inner, columns], as ``crossbars.compute`` cuts it.

    Tile number k * column_blocks + n holds elements k * tile.elements ... of the inner axis and the columns
    n * tile.outputs ... A column's sums over k are added in one accumulator word.
    """

    layout: TileLayout
    inner: int
    columns: int

    def __post_init__(self) -> None:
        for name in ("inner", "columns"):
            if getattr(self, name) < 1:
                raise EmitError(f"{name} is {getattr(self, name)}: a product has at least 1.")
        if self.tiles > MAX_TILES:
            raise EmitError(f"inner x columns take {self.tiles} tiles: allowed are {MAX_TILES}.")
        needed = self.layout.needed_bits(self.inner_blocks)
        if needed > self.layout.word_bits:
            raise EmitError(
                f"buffer.word_bits is {self.layout.word_bits}: sums of {self.inner_blocks} tiles take up to "
                f"{needed} bits; set it to that or more."
            )

    @property
    def inner_blocks(self) -> int:
        """Tiles along the inner axis."""
        return -(-self.inner // self.layout.tile.elements)

    @property
    def block_columns(self) -> int:
        """Columns of a full tile."""
        return self.layout.tile.outputs(self.layout.resident_bits)

    @property
    def column_blocks(self) -> int:
        """Tiles along the columns."""
        return -(-self.columns // self.block_columns)

    @property
    def tiles(self) -> int:
        """Tiles of the matrix."""
        return self.inner_blocks * self.column_blocks

    @property
    def last_columns(self) -> int:
        """Columns of the last tile."""
        return self.columns - (self.column_blocks - 1) * self.block_columns

    @property
    def value_bits(self) -> int:
        """Width of a sum over the inner axis, in unit currents."""
        return min(signed_bits(self.layout.largest_result * self.inner_blocks), self.layout.word_bits)


def product_control(product: ProductLayout, clock_Hz: float) -> RtlModule:
    """Sequencer of a product over tiles, one tile at work at a time.

    A row is loaded, one element a clock. For each block of columns, for each block of the inner axis: its
    elements go into the tile's control (``rtl_tile``) with ``tile_select`` on that tile, the control walks
    digits, groups and planes, and its results are added to the words of the columns. Behind the last block of
    the inner axis the columns come out, one a clock.

    Ports: element_valid with element while ready (``inner`` of them make a row); tile_select, and the ports
    of a tile's crossbar and converters; value_valid with value, columns in order, value_last with the last;
    out_of_range: an element of the row had no numeral.
    """
    layout = product.layout
    tile = tile_control(layout, clock_Hz)
    inner, elements, outputs = product.inner, layout.tile.elements, layout.outputs
    blocks, column_blocks = product.inner_blocks, product.column_blocks
    bits, result, wide = layout.streamed_bits, layout.result_bits, product.value_bits
    last_elements = inner - (blocks - 1) * elements
    at_bits, place_bits = index_bits(inner + 1), index_bits(elements + 1)
    k_bits, n_bits, tile_bits = index_bits(blocks), index_bits(column_blocks), index_bits(product.tiles)
    output_bits, lane_bits = index_bits(outputs), index_bits(layout.lanes)
    column_bits = index_bits(product.block_columns)
    last_output = binary(min(outputs, product.last_columns) - 1, output_bits)
    body = f"""
  localparam LOAD = 3'd0, FEED = 3'd1, RUN = 3'd2, ADD = 3'd3, GIVE = 3'd4;
  reg [2:0] state;
  reg signed {bus(bits)}row [0:{inner - 1}];
  reg {bus(at_bits)}at;
  reg {bus(place_bits)}place;
  reg {bus(k_bits)}k;
  reg {bus(n_bits)}n;
  reg {bus(tile_bits)}chosen;
  reg {bus(output_bits)}word;
  reg {bus(lane_bits)}lane;
  reg {bus(column_bits)}column;
  reg missed;
  wire last_k = k == {binary(blocks - 1, k_bits)};
  wire last_n = n == {binary(column_blocks - 1, n_bits)};
  wire {bus(place_bits)}last_place = last_k ? {binary(last_elements - 1, place_bits)} :
    {binary(elements - 1, place_bits)};
  wire {bus(output_bits)}last_output = last_n ? {last_output} :
    {binary(min(outputs, product.block_columns) - 1, output_bits)};
  wire {bus(column_bits)}last_column = last_n ? {binary(product.last_columns - 1, column_bits)} :
    {binary(product.block_columns - 1, column_bits)};

  wire tile_ready, tile_done, refused;
  wire {bus(layout.lanes * result)}results;
  {tile.name} tile (
    .clk(clk), .reset(reset), .element_valid(state == FEED & tile_ready), .element(row[at]),
    .element_last(place == last_place), .last_output(last_output), .ready(tile_ready),
    .wordline_on(wordline_on), .wordline_minus(wordline_minus), .plane_select(plane_select),
    .convert(convert), .codes(codes), .codes_valid(codes_valid), .done(tile_done), .out_of_range(refused),
    .read_index(word), .results(results)
  );

  wire {bus(layout.lanes * wide)}words;
  genvar c;
  generate
    for (c = 0; c < {layout.lanes}; c = c + 1) begin : columns
      reg signed {bus(wide)}sums [0:{outputs - 1}];
      wire signed {bus(result)}one = results[c * {result} +: {result}];
      wire signed {bus(wide)}more = one;
      wire signed {bus(wide)}sum = sums[word];
      assign words[c * {wide} +: {wide}] = sum;
      always @(posedge clk)
        if (state == ADD) sums[word] <= k == {k_bits}'d0 ? more : sum + more;
    end
  endgenerate

  assign ready = state == LOAD;
  assign tile_select = chosen;
  assign value_valid = state == GIVE;
  assign value = words[lane * {wide} +: {wide}];
  assign value_last = state == GIVE & last_n & column == last_column;
  assign out_of_range = missed;

  always @(posedge clk)
    if (reset) begin
      state <= LOAD;
      at <= {at_bits}'d0;
    end else case (state)
      LOAD: if (element_valid) begin
        row[at] <= element;
        at <= at + {at_bits}'d1;
        missed <= 1'b0;
        if (at == {binary(inner - 1, at_bits)}) begin
          at <= {at_bits}'d0;
          place <= {place_bits}'d0;
          k <= {k_bits}'d0;
          n <= {n_bits}'d0;
          chosen <= {tile_bits}'d0;
          state <= FEED;
        end
      end
      FEED: if (tile_ready) begin
        at <= at + {at_bits}'d1;
        place <= place + {place_bits}'d1;
        if (place == last_place) begin
          place <= {place_bits}'d0;
          state <= RUN;
        end
      end
      RUN: if (tile_done) begin
        missed <= missed | refused;
        word <= {output_bits}'d0;
        state <= ADD;
      end
      ADD: begin
        word <= word + {output_bits}'d1;
        if (word == last_output) begin
          word <= {output_bits}'d0;
          k <= k + {k_bits}'d1;
          chosen <= chosen + {binary(column_blocks, tile_bits + 1)};
          state <= FEED;
          if (last_k) begin
            k <= {k_bits}'d0;
            at <= {at_bits}'d0;
            lane <= {lane_bits}'d0;
            column <= {column_bits}'d0;
            state <= GIVE;
          end
        end
      end
      default: begin
        column <= column + {column_bits}'d1;
        word <= word + {output_bits}'d1;
        if (word == {binary(outputs - 1, output_bits)}) begin
          word <= {output_bits}'d0;
          lane <= lane + {lane_bits}'d1;
        end
        if (column == last_column) begin
          n <= n + {n_bits}'d1;
          chosen <= n + {n_bits + 1}'d1;
          state <= last_n ? LOAD : FEED;
        end
      end
    endcase
"""
    return RtlModule(
        name="product_control",
        ports=(
            Port(name="clk", width=1),
            Port(name="reset", width=1),
            Port(name="element_valid", width=1),
            Port(name="element", width=bits, signed=True),
            Port(name="ready", width=1, output=True),
            Port(name="tile_select", width=tile_bits, output=True),
            *analog_ports(layout),
            Port(name="value_valid", width=1, output=True),
            Port(name="value", width=wide, output=True, signed=True),
            Port(name="value_last", width=1, output=True),
            Port(name="out_of_range", width=1, output=True),
        ),
        body=body,
        parts=(tile,),
    )
