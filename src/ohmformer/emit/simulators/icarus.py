"""Icarus Verilog: vectors through a module, one a step or one a clock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ohmformer.emit.checks import EmitError, SimulatorError
from ohmformer.emit.rtl_text import Port, RtlModule, bus
from ohmformer.emit.simulators.process import find_tool, last_lines, run_tool, version_line
from ohmformer.errors import write_atomically

__all__ = ["run", "sweep", "version"]

PACKAGE = "Debian package iverilog"
LIMIT_s = 600.0


def version() -> str:
    """Name and version of the simulator."""
    words = version_line((find_tool("iverilog", PACKAGE), "-V"), "version").split()
    return f"Icarus Verilog {words[words.index('version') + 1]}" if "version" in words else "Icarus Verilog"


def sweep(module: RtlModule, inputs: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Outputs of a module for a list of input vectors.

    A module without a clock sees each vector for a time step. With one, a vector is applied, outputs are
    sampled, and the clock rises: a sequence, whose first vectors must reset what needs it.

    inputs:  values of each input port, all lists of one length
    returns: values of each output port; a signed port gives signed numbers
    Error:   EmitError for an operand out of range; SimulatorError where the tool is missing or fails, or
             where a bit is neither 0 nor 1.
    """
    found: dict[str, list[int]] = {}
    for name, values in run(module, inputs).items():
        found[name] = [value for value in values if value is not None]
        if len(found[name]) < len(values):
            raise SimulatorError(f"{name} of {module.name} is undefined for vector {values.index(None)}.")
    return found


def run(
    module: RtlModule,
    inputs: Mapping[str, Sequence[int]],
    *,
    vcd: str | os.PathLike[str] | None = None,
) -> dict[str, list[int | None]]:
    """As ``sweep``, with None where a bit of a port is neither 0 nor 1: before a register is defined.

    vcd: file for the simulator's record of all ports, a value change dump; the clock rises at odd times
    """
    names = [port.name for port in module.inputs]
    if sorted(inputs) != sorted(names):
        raise EmitError(f"{module.name} has inputs {', '.join(names)}: vectors are for {', '.join(inputs)}.")
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or 0 in counts:
        raise EmitError(f"{module.name}: input vectors must have one length, above 0.")
    count = counts.pop()
    words = [0] * count
    for port in module.inputs:
        for place, value in enumerate(inputs[port.name]):
            words[place] = words[place] << port.width | _word(value, port, module.name)
    with tempfile.TemporaryDirectory(prefix="ohmformer-rtl-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(module.source)
        (folder / "bench.v").write_text(_bench(module, count, vcd is not None))
        (folder / "inputs.hex").write_text("".join(f"{word:x}\n" for word in words))
        build = ("-g2005", "-s", "bench", "-o", "bench.vvp", "design.v", "bench.v")
        run_tool([find_tool("iverilog", PACKAGE), *build], folder, "iverilog", LIMIT_s)
        printed = run_tool([find_tool("vvp", PACKAGE), "-n", "bench.vvp"], folder, "vvp", LIMIT_s)
        lines = (folder / "outputs.hex").read_text().split() if (folder / "outputs.hex").exists() else []
        if vcd is not None and len(lines) == count:
            write_atomically(vcd, (folder / "record.vcd").read_bytes())
    if len(lines) != count:
        raise SimulatorError(f"vvp gave {len(lines)} of {count} results. {last_lines(printed)}")
    return _unpack(lines, module)


def _bench(module: RtlModule, count: int, record: bool) -> str:
    """Test bench that reads inputs.hex and writes outputs.hex."""
    in_bits = sum(port.width for port in module.inputs)
    out_bits = sum(port.width for port in module.outputs)
    clocked = any(port.name == "clk" for port in module.ports)
    wires = "\n".join(f"  wire {bus(port.width)}{port.name};" for port in (*module.inputs, *module.outputs))
    connections = ", ".join(f".{port.name}({port.name})" for port in module.ports)
    edge = "clk = 1; #1 clk = 0;" if clocked else ""
    dump = '\n    $dumpfile("record.vcd");\n    $dumpvars(1, dut);' if record else ""
    return f"""module bench;
  reg clk;
  reg {bus(in_bits)}vectors [0:{count - 1}];
  reg {bus(in_bits)}vector;
{wires}
  assign {{{", ".join(port.name for port in module.inputs)}}} = vector;
  {module.name} dut ({connections});
  wire {bus(out_bits)}seen = {{{", ".join(port.name for port in module.outputs)}}};
  integer place, file;
  initial begin
    clk = 0;{dump}
    $readmemh("inputs.hex", vectors);
    file = $fopen("outputs.hex", "w");
    for (place = 0; place < {count}; place = place + 1) begin
      vector = vectors[place];
      #1 $fdisplay(file, "%b", seen);
      {edge}
    end
    $fclose(file);
    $finish;
  end
endmodule
"""


def _word(value: int, port: Port, module: str) -> int:
    """A port's value as an unsigned word."""
    low, high = (
        (-(1 << port.width - 1), (1 << port.width - 1) - 1) if port.signed else (0, (1 << port.width) - 1)
    )
    if not low <= value <= high:
        raise EmitError(f"{port.name} of {module} is {value}: allowed is {low} to {high}.")
    return value & ((1 << port.width) - 1)


def _unpack(lines: list[str], module: RtlModule) -> dict[str, list[int | None]]:
    """Values of each output port from lines of its bits, first port first."""
    found: dict[str, list[int | None]] = {}
    start = 0
    for port in module.outputs:
        stop, lift = start + port.width, 1 << port.width
        values: list[int | None] = []
        for line in lines:
            bits = line[start:stop]
            if bits.strip("01"):
                values.append(None)
                continue
            value = int(bits, 2)
            values.append(value - lift if port.signed and bits[0] == "1" else value)
        found[port.name] = values
        start = stop
    return found
