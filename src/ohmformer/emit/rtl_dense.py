"""The read controller of a dense bank: walks the cells of a protected word and puts it right."""

from __future__ import annotations

import math

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_text import Port, RtlModule, binary, bus, index_bits
from ohmformer.numerals import check_bits, symbols_per_value
from ohmformer.specs import DenseSpec

__all__ = ["corrector", "dense_control"]


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


def dense_control(dense: DenseSpec, bits: int, clock_Hz: float) -> RtlModule:
    """Read controller of one bank of numbers of ``bits`` bits.

    A word is ``secded_data_bits`` bits of successive numbers and their check bits (one number where nothing
    is protected). Its cells are read one after the other, data first, then check cells, which stand
    behind all data from cell ``check_base``; the wordline settles anew whenever it changes. A level becomes
    its group of bits (Gray code undone, a level above the highest of a partly used top cell read as that
    one), the decoder puts the word right, and offset binary becomes two's complement.

    Ports: start with word (its number in the bank) and check_base; wordline, bitline and sense until
    level_valid brings level; done for one clock, with values [number] and status (``numerals.secded``) held
    until the next word.
    """
    if not 2 <= bits <= 16:
        raise EmitError(f"bits is {bits}: a dense cell holds numbers of 2 to 16 bits.")
    protected = dense.secded_data_bits > 0
    data_bits = dense.secded_data_bits or bits
    if data_bits % bits:
        raise EmitError(
            f"secded_data_bits is {data_bits}: this controller reads whole numbers, so it must be a multiple "
            f"of {bits}."
        )
    cell_bits = dense.cell.bits
    per_number, numbers = symbols_per_value(bits, cell_bits), data_bits // bits
    data_cells = per_number * numbers
    check_count = check_bits(data_bits) if protected else 0
    check_cells = symbols_per_value(check_count, cell_bits) if protected else 0
    total = data_cells + check_cells
    if dense.cells < total:
        raise EmitError(f"wordlines x bitlines is {dense.cells}: one word takes {total} cells.")
    cycles = max(1, math.ceil(dense.wordline_time_s * clock_Hz - 1e-9))
    if cycles > 1 << 24:
        raise EmitError(f"wordline_time_s is {dense.wordline_time_s}: that is {cycles} clocks, over 2^24.")
    address_bits = index_bits(dense.cells)
    words = max(1, dense.cells // total)
    word_bits, cell_index = index_bits(words), index_bits(total + 1)
    line_bits, column_bits = index_bits(dense.wordlines), index_bits(dense.bitlines)
    timer_bits = index_bits(cycles)
    wide = address_bits + 1
    stored = [
        f"{{{', '.join(f'group{number * per_number + cell}' for cell in reversed(range(per_number)))}}}"
        for number in range(numbers)
    ]
    check = f"{{{', '.join(f'group{data_cells + cell}' for cell in reversed(range(check_cells)))}}}"
    lines = _groups(dense, bits, per_number, data_cells)
    lines += _groups(dense, check_count, check_cells, check_cells, data_cells)
    offset = dense.weight_code == "offset_binary"
    flip = sum(1 << (number * bits + bits - 1) for number in range(numbers)) if offset else 0
    fix = f"""
  wire {bus(data_bits)}data = {{{", ".join(reversed(stored))}}};
  wire {bus(data_bits)}corrected;
  wire [1:0] found;
"""
    parts: tuple[RtlModule, ...] = ()
    if protected:
        part = corrector(data_bits)
        parts = (part,)
        fix += f"  wire {bus(check_count)}check = {check};\n"
        fix += f"  {part.name} correct (.data(data), .check(check), .corrected(corrected), .status(found));\n"
    else:
        fix += "  assign corrected = data;\n  assign found = 2'd0;\n"
    columns = binary(dense.bitlines, wide)
    jump = "last_data ? check_address : " if protected else ""
    body = f"""
  localparam IDLE = 2'd0, SETTLE = 2'd1, SENSE = 2'd2, FINISH = 2'd3;
  reg [1:0] state;
  reg {bus(cell_index)}cell_number;
  reg {bus(wide)}address, check_address;
  reg {bus(timer_bits)}timer;
  reg finished;
  reg {bus(data_bits)}values_register;
  reg [1:0] status_register;
  reg {bus(cell_bits * total)}levels;
  assign ready = state == IDLE;
  assign sense = state == SENSE;
  assign done = finished;
  assign values = values_register;
  assign status = status_register;
  wire {bus(wide)}line = address / {columns};
  wire {bus(wide)}column = address - line * {columns};
  assign wordline = line[{line_bits - 1}:0];
  assign bitline = column[{column_bits - 1}:0];
  wire last_data = cell_number == {binary(data_cells - 1, cell_index)};
  wire {bus(wide)}next_address = {jump}address + {binary(1, wide)};
  wire {bus(wide)}next_line = next_address / {columns};
{chr(10).join(lines)}
{fix}
  always @(posedge clk) begin
    finished <= 1'b0;
    if (reset) state <= IDLE;
    else case (state)
      IDLE: if (start) begin
        address <= word * {binary(data_cells, wide)};
        check_address <= check_base + word * {binary(check_cells, wide)};
        cell_number <= {cell_index}'d0;
        timer <= {binary(cycles - 1, timer_bits)};
        state <= SETTLE;
      end
      SETTLE: begin
        timer <= timer - {timer_bits}'d1;
        if (timer == {timer_bits}'d0) state <= SENSE;
      end
      SENSE: if (level_valid) begin
        levels[cell_number * {cell_bits} +: {cell_bits}] <= level;
        cell_number <= cell_number + {cell_index}'d1;
        address <= next_address;
        timer <= {binary(cycles - 1, timer_bits)};
        if (cell_number == {binary(total - 1, cell_index)}) state <= FINISH;
        else if (next_line != line) state <= SETTLE;
      end
      default: begin
        values_register <= corrected ^ {binary(flip, data_bits)};
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
            Port(name="word", width=word_bits),
            Port(name="check_base", width=address_bits),
            Port(name="ready", width=1, output=True),
            Port(name="wordline", width=line_bits, output=True),
            Port(name="bitline", width=column_bits, output=True),
            Port(name="sense", width=1, output=True),
            Port(name="level", width=cell_bits),
            Port(name="level_valid", width=1),
            Port(name="done", width=1, output=True),
            Port(name="values", width=data_bits, output=True),
            Port(name="status", width=2, output=True),
        ),
        body=body,
        parts=parts,
    )


def _groups(dense: DenseSpec, bits: int, per_number: int, cells: int, first: int = 0) -> list[str]:
    """Wires ``group{cell}``: the bits that each cell of numbers of ``bits`` bits holds."""
    lines = []
    cell_bits = dense.cell.bits
    for cell in range(cells):
        held = min(cell_bits, bits - cell % per_number * cell_bits)
        name = f"levels[{(first + cell) * cell_bits} +: {cell_bits}]"
        highest = binary((1 << held) - 1, cell_bits)
        lines.append(f"  wire {bus(cell_bits)}raw{first + cell} = {name};")
        lines.append(
            f"  wire {bus(cell_bits)}level{first + cell} = raw{first + cell} > {highest} ? {highest} : "
            f"raw{first + cell};"
        )
        gray = f" ^ (level{first + cell} >> 1)" if dense.gray else ""
        lines.append(f"  wire {bus(held)}group{first + cell} = level{first + cell}{gray};")
    return lines
