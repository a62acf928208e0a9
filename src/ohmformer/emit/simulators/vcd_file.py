"""Reads a value change dump (IEEE 1364), the record that a Verilog simulator keeps of its signals."""

from __future__ import annotations

import os
from pathlib import Path

from ohmformer.emit.checks import SimulatorError

__all__ = ["read_vcd"]


def read_vcd(path: str | os.PathLike[str]) -> dict[str, list[int | None]]:
    """Values of each signal of the topmost recorded scope at every time from 0 on.

    returns: unsigned words, None where a bit is neither 0 nor 1; all lists are of one length
    Error:   SimulatorError where the file cannot be read or is no such record.
    """
    try:
        tokens = Path(path).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"Cannot read {path}: it is no value change dump.") from error
    names: dict[str, str] = {}
    changes: dict[str, list[tuple[int, int | None]]] = {}
    time, place = 0, 0
    while place < len(tokens):
        token = tokens[place]
        if token == "$var":
            code, name = tokens[place + 3 : place + 5]
            names.setdefault(code, name)
            changes.setdefault(code, [])
        if token.startswith("$") and token not in ("$dumpvars", "$end"):
            place = tokens.index("$end", place)
        elif token[0] == "#":
            time = int(token[1:])
        elif token[0] in "bB":
            place += 1
            changes[tokens[place]].append((time, _word(token[1:])))
        elif token[0] in "01xzXZ":
            changes[token[1:]].append((time, _word(token[0])))
        place += 1
    if not names:
        raise SimulatorError(f"{path} is no value change dump: it names no signal.")
    return {name: _held(changes[code], time + 1) for code, name in names.items()}


def _word(bits: str) -> int | None:
    return None if bits.strip("01") else int(bits, 2)


def _held(changes: list[tuple[int, int | None]], count: int) -> list[int | None]:
    """The value at each time from those of its changes."""
    values: list[int | None] = [None] * count
    for (start, value), (stop, _) in zip(changes, [*changes[1:], (count, None)], strict=True):
        values[start:stop] = [value] * (stop - start)
    return values
