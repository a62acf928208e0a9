"""The read controller of a dense bank: walks the cells of a protected word and puts it right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import gcd

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits
from ohmformer.numerals import check_bits, symbols_per_value
from ohmformer.specs import DenseSpec

__all__ = ["WordLayout", "corrector", "dense_control"]

MAX_READ_BITS = 4096


def corrector(data_bits: int) -> RtlModule:
    """Extended Hamming decoder, combinational: ``numerals.secded.correct`` for one word.

    Ports: data[data_bits], check[check_bits]; corrected[data_bits], status (0 clean, 1 corrected,
    2 detected).
    """
    count = check_bits(data_bits)
    positions = [place for place in range(1, data_bits + count) if place & (place - 1)][:data_bits]
    parities = [
        " ^ ".join(
            [f"check[{bit}]", *(f"data[{k}]" for k, place in enumerate(positions) if place >> bit & 1)]
        )
        for bit in range(count - 1)
    ]
    wrong = [f"(syndrome == {binary(place, count - 1)})" for place in positions]
    body = f"""
  wire {bus(count - 1)}syndrome;
{chr(10).join(f"  assign syndrome[{bit}] = {parity};" for bit, parity in enumerate(parities))}
  wire odd = ^{{data, check}};
  wire {bus(data_bits)}hit;
{chr(10).join(f"  assign hit[{k}] = {one};" for k, one in enumerate(wrong))}
  wire in_check = (syndrome & (syndrome - {count - 1}'d1)) == {count - 1}'d0;
  assign corrected = odd ? data ^ hit : data;
  assign status = odd ? ((in_check | (|hit)) ? 2'd1 : 2'd2) : (syndrome == {count - 1}'d0 ? 2'd0 : 2'd2);
"""
    return RtlModule(
        name=f"corrector_{data_bits}",
        ports=(
            Port(name="data", width=data_bits),
            Port(name="check", width=count),
            Port(name="corrected", width=data_bits, output=True),
            Port(name="status", width=2, output=True),
        ),
        body=body,
    )


@dataclass(frozen=True, kw_only=True)
class WordLayout:
    """What one read of a bank fetches: the fewest protected words that end where a number ends.

    numbers = secded_data_bits / gcd(secded_data_bits, bits) and words = bits / gcd of them; one number and no
    word where nothing is protected.

    bits: of a stored number, 2 to 16
    """

    dense: DenseSpec
    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise EmitError(f"bits is {self.bits}: a dense cell holds numbers of 2 to 16 bits.")
        if self.data_bits > MAX_READ_BITS:
            raise EmitError(
                f"secded_data_bits is {self.dense.secded_data_bits}: with numbers of {self.bits} bits a read "
                f"fetches {self.data_bits} bits; allowed are {MAX_READ_BITS}."
            )
        if self.dense.cells < self.cells:
            raise EmitError(f"wordlines x bitlines is {self.dense.cells}: one read takes {self.cells} cells.")

    @property
    def word_bits(self) -> int:
        """Data bits of a protected word, or of a number."""
        return self.dense.secded_data_bits or self.bits

    @property
    def words(self) -> int:
        """Protected words of a read."""
        return self.bits // gcd(self.word_bits, self.bits) if self.dense.secded_data_bits else 0

    @property
    def numbers(self) -> int:
        """Numbers of a read."""
        return self.word_bits // gcd(self.word_bits, self.bits)

    @property
    def data_bits(self) -> int:
        """Data bits of a read."""
        return self.numbers * self.bits

    @property
    def number_cells(self) -> int:
        """Cells of a number."""
        return symbols_per_value(self.bits, self.dense.cell.bits)

    @property
    def check_bits(self) -> int:
        """Check bits of a word."""
        return check_bits(self.word_bits) if self.words else 0

    @property
    def check_cells(self) -> int:
        """Cells of the check bits of a word."""
        return symbols_per_value(self.check_bits, self.dense.cell.bits) if self.words else 0

    @property
    def cells(self) -> int:
        """Cells of a read."""
        return self.numbers * self.number_cells + self.words * self.check_cells

    def words_of(self, numbers: int) -> int:
        """Words that hold the first so many numbers of a read."""
        return -(-numbers * self.bits // self.word_bits) if self.words else 0


def dense_control(dense: DenseSpec, bits: int, clock_Hz: float) -> RtlModule:
    """Read controller of one bank of numbers of ``bits`` bits.

    A read fetches the numbers of a ``WordLayout``. Its cells are read one after the other, data first, then
    check cells, which stand behind all data from cell ``check_base``; line and column of either come out of a
    division, a bit a clock, and the wordline settles anew whenever it changes. A level becomes its group of
    bits (Gray code undone, a level above the highest of a partly used top cell read as that one), the decoder
    puts each word right, and offset binary becomes two's complement.

    Ports: start with read (its number in the bank), count (numbers of it that are stored: less only in the
    last; the others count as 0) and check_base; wordline, bitline and sense until level_valid brings level;
    done for one clock, with values [number] and status [word] (``numerals.secded``) held until the next.
    """
    whole = WordLayout(dense=dense, bits=bits)
    numbers, words, per_number = whole.numbers, whole.words, whole.number_cells
    data_bits, cell_bits = whole.data_bits, dense.cell.bits
    data_cells, check_cells = numbers * per_number, whole.check_cells
    cycles = max(1, math.ceil(dense.wordline_time_s * clock_Hz - 1e-9))
    if cycles > 1 << 24:
        raise EmitError(f"wordline_time_s is {dense.wordline_time_s}: that is {cycles} clocks, over 2^24.")
    address_bits = index_bits(dense.cells)
    read_bits, slot_bits = index_bits(max(1, dense.cells // whole.cells)), index_bits(whole.cells + 1)
    line_bits, column_bits = index_bits(dense.wordlines), index_bits(dense.bitlines)
    timer_bits, count_bits, seek_bits = index_bits(cycles), numbers.bit_length(), index_bits(line_bits)
    wide = max(address_bits, line_bits + column_bits) + 1
    lines = []
    for number in range(numbers):
        lines += _groups(dense, bits, number * per_number, f"n{number}_")
        cells = ", ".join(f"n{number}_{cell}" for cell in reversed(range(per_number)))
        kept = f"{{{bits}{{held > {binary(number, count_bits)}}}}}"
        lines.append(f"  assign data[{number * bits} +: {bits}] = {{{cells}}} & {kept};")
    parts: tuple[RtlModule, ...] = ()
    ends = [f"{slot_bits}'d0"]  # slot behind the last one, by words that are there
    for word in range(words):
        part = corrector(whole.word_bits)
        parts = (part,)
        first = word * whole.word_bits // bits  # number in which the word begins
        lines += _groups(dense, whole.check_bits, data_cells + word * check_cells, f"c{word}_")
        cells = ", ".join(f"c{word}_{cell}" for cell in reversed(range(check_cells)))
        lines.append(f"  wire there{word} = held > {binary(first, count_bits)};")
        kept = f"{{{whole.check_bits}{{there{word}}}}}"
        lines.append(f"  wire {bus(whole.check_bits)}check{word} = {{{cells}}} & {kept};")
        lines.append(
            f"  {part.name} correct{word} (.data(data[{word * whole.word_bits} +: {whole.word_bits}]), "
            f".check(check{word}), .corrected(corrected[{word * whole.word_bits} +: {whole.word_bits}]), "
            f".status(found[{2 * word} +: 2]));"
        )
        ends.append(f"(there{word} ? {binary(check_cells, slot_bits)} : {slot_bits}'d0)")
    if not words:
        lines.append("  assign corrected = data;\n  assign found = 2'd0;")
    offset = dense.weight_code == "offset_binary"
    flip = "".join("1" + "0" * (bits - 1) for _ in range(numbers)) if offset else "0" * data_bits
    # one that is not stored is 0, and 0 it stays
    fixed = "\n".join(
        f"        values_register[{number * bits} +: {bits}] <= held > {binary(number, count_bits)} ? "
        f"corrected[{number * bits} +: {bits}] ^ {bits}'b{flip[:bits]} : {bits}'d0;"
        for number in range(numbers)
    )
    finish = "state <= FINISH;"
    jump = (
        f"""begin
          slot <= {binary(data_cells, slot_bits)};
          rest <= check_address;
          state <= SEEK;
        end"""
        if words
        else finish
    )
    body = f"""
  localparam IDLE = 3'd0, SEEK = 3'd1, SETTLE = 3'd2, SENSE = 3'd3, FINISH = 3'd4;
  reg [2:0] state;
  reg {bus(slot_bits)}slot, last_data;
  reg {bus(count_bits)}held;
  reg {bus(wide)}rest, check_address, scaled;
  reg {bus(line_bits)}line;
  reg {bus(column_bits)}column;
  reg {bus(seek_bits)}seek;
  reg {bus(timer_bits)}timer;
  reg finished;
  reg {bus(data_bits)}values_register;
  reg {bus(max(1, words) * 2)}status_register;
  reg {bus(cell_bits * whole.cells)}levels;
  assign ready = state == IDLE;
  assign sense = state == SENSE;
  assign done = finished;
  assign values = values_register;
  assign status = status_register;
  assign wordline = line;
  assign bitline = column;
  wire {bus(data_bits)}data, corrected;
  wire {bus(max(1, words) * 2)}found;
{chr(10).join(lines)}
  wire {bus(slot_bits)}last_check = {binary(data_cells - 1, slot_bits)} + {" + ".join(ends)};
  wire fits = rest >= scaled;
  wire {bus(wide)}less = rest - scaled;
  wire last_column = column == {binary(dense.bitlines - 1, column_bits)};
  always @(posedge clk) begin
    finished <= 1'b0;
    if (reset) begin
      state <= IDLE;
      scaled <= {binary(dense.bitlines << line_bits - 1, wide)};
      seek <= {binary(line_bits - 1, seek_bits)};
    end else case (state)
      IDLE: if (start) begin
        rest <= read * {binary(data_cells, wide)};
        check_address <= check_base + read * {binary(words * check_cells, wide)};
        held <= count;
        last_data <= count * {binary(per_number, slot_bits)} - {slot_bits}'d1;
        slot <= {slot_bits}'d0;
        state <= SEEK;
      end
      SEEK: begin
        line[seek] <= fits;
        if (fits) rest <= less;
        scaled <= scaled >> 1;
        seek <= seek - {seek_bits}'d1;
        timer <= {binary(cycles - 1, timer_bits)};
        if (seek == {seek_bits}'d0) begin
          column <= fits ? less : rest;
          scaled <= {binary(dense.bitlines << line_bits - 1, wide)};
          seek <= {binary(line_bits - 1, seek_bits)};
          state <= SETTLE;
        end
      end
      SETTLE: begin
        timer <= timer - {timer_bits}'d1;
        if (timer == {timer_bits}'d0) state <= SENSE;
      end
      SENSE: if (level_valid) begin
        levels[slot * {cell_bits} +: {cell_bits}] <= level;
        slot <= slot + {slot_bits}'d1;
        column <= column + {column_bits}'d1;
        timer <= {binary(cycles - 1, timer_bits)};
        if (slot == last_data) {jump}
        else if (slot == last_check) {finish}
        else if (last_column) begin
          column <= {column_bits}'d0;
          line <= line + {line_bits}'d1;
          state <= SETTLE;
        end
      end
      default: begin
{fixed}
        status_register <= found;
        finished <= 1'b1;
        state <= IDLE;
      end
    endcase
  end
"""
    return RtlModule(
        name="dense_control",
        ports=(
            Port(name="clk", width=1),
            Port(name="reset", width=1),
            Port(name="start", width=1),
            Port(name="read", width=read_bits),
            Port(name="count", width=count_bits),
            Port(name="check_base", width=address_bits),
            Port(name="ready", width=1, output=True),
            Port(name="wordline", width=line_bits, output=True),
            Port(name="bitline", width=column_bits, output=True),
            Port(name="sense", width=1, output=True),
            Port(name="level", width=cell_bits),
            Port(name="level_valid", width=1),
            Port(name="done", width=1, output=True),
            Port(name="values", width=data_bits, output=True),
            Port(name="status", width=max(1, words) * 2, output=True),
        ),
        body=body,
        parts=parts,
    )


def _groups(dense: DenseSpec, bits: int, first: int, name: str) -> list[str]:
    """Wires ``name`` 0, 1, ...: the bits in each cell of a number of ``bits`` bits, from cell ``first``."""
    lines = []
    cell_bits = dense.cell.bits
    for cell in range(symbols_per_value(bits, cell_bits)):
        held = min(cell_bits, bits - cell * cell_bits)
        raw, level = f"raw_{name}{cell}", f"level_{name}{cell}"
        lines.append(f"  wire {bus(cell_bits)}{raw} = levels[{(first + cell) * cell_bits} +: {cell_bits}];")
        highest = binary((1 << held) - 1, cell_bits)
        limited = f"{raw} > {highest} ? {highest} : {raw}" if held < cell_bits else raw
        lines.append(f"  wire {bus(cell_bits)}{level} = {limited};")
        gray = f"{level} ^ ({level} >> 1)" if dense.gray else level
        lines.append(f"  wire {bus(held)}{name}{cell} = {gray};")
    return lines
