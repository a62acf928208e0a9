"""Verilog modules as text: names, ports, literals, and how wide a number is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ohmformer.emit.checks import EmitError
from ohmformer.errors import write_atomically

__all__ = ["Port", "RtlModule", "binary", "bus", "index_bits", "signed_bits", "times"]


@dataclass(frozen=True, kw_only=True)
class Port:
    """One port of a module; ``signed`` says how its bits are to be read."""

    name: str
    width: int
    output: bool = False
    signed: bool = False

    def declaration(self) -> str:
        """The port as a Verilog header states it."""
        direction = "output" if self.output else "input"
        return f"{direction} {'signed ' if self.signed else ''}{bus(self.width)}{self.name}"


@dataclass(frozen=True, kw_only=True)
class RtlModule:
    """A synthesizable module in Verilog-2005, and the modules that it instantiates.

    name:  of the module
    ports: in order; a port named ``clk`` is its clock
    body:  statements between header and ``endmodule``
    parts: modules that the body instantiates
    whole: source to use instead of header, body and parts: a netlist of the same ports
    """

    name: str
    ports: tuple[Port, ...]
    body: str
    parts: tuple[RtlModule, ...] = ()
    whole: str | None = None

    @property
    def source(self) -> str:
        """Verilog of the module and of everything below it, each module once."""
        return self.whole or "\n".join(self._texts().values())

    def _texts(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for part in self.parts:
            texts.update(part._texts())
        header = ",\n".join(f"  {port.declaration()}" for port in self.ports)
        texts[self.name] = f"module {self.name} (\n{header}\n);\n{self.body.strip()}\nendmodule\n"
        return texts

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Ports that are driven, the clock not among them."""
        return tuple(port for port in self.ports if not port.output and port.name != "clk")

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Ports that the module drives."""
        return tuple(port for port in self.ports if port.output)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the source to a file, completely or not at all."""
        return write_atomically(path, self.source)


def bus(width: int) -> str:
    """``[width-1:0]`` and a space; one bit is a bus too, so that it can be indexed."""
    return f"[{width - 1}:0] "


def binary(value: int, width: int) -> str:
    """A sized literal, two's complement below 0."""
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise EmitError(f"{value} does not fit {width} bits.")
    return f"{width}'d{value & ((1 << width) - 1)}"


def index_bits(count: int) -> int:
    """Bits that tell ``count`` things apart, at least 1."""
    return max(1, (count - 1).bit_length())


def signed_bits(magnitude: int) -> int:
    """Bits of a two's complement number of at most this magnitude."""
    return magnitude.bit_length() + 1


def times(name: str, factor: int, width: int) -> str:
    """A wire of ``width`` bits times a constant, modulo 2^width: shifts, and an addition or subtraction less
    than the constant has digits of 1 and -1 (no two beside each other, the fewest that there are)."""
    terms, place = [], 0
    while factor:
        if factor & 1:
            digit = 2 - (factor & 3)
            factor -= digit
            terms.append(("+" if digit > 0 else "-", f"({name} << {place})" if place else name))
        factor, place = factor >> 1, place + 1
    if not terms:
        return binary(0, width)
    terms.sort()  # those to add first
    (sign, first), *rest = terms
    if sign == "+" and not rest:
        return first
    text = " ".join(f"{sign} {term}" for sign, term in rest)
    return f"({'-' if sign == '-' else ''}{first}{' ' if rest else ''}{text})"
