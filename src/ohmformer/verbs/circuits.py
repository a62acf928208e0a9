"""Circuits of a chip's crossbars for given or drawn operands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ohmformer.crossbars import draw_mismatch, resident_planes
from ohmformer.devices import draw_stuck, program
from ohmformer.devices.settling import settling_time_s
from ohmformer.emit.spice_circuit import Circuit, Transient
from ohmformer.emit.spice_dense import dense_circuit
from ohmformer.emit.spice_tile import Sense, tile_circuit
from ohmformer.errors import UserError
from ohmformer.specs import DenseSpec, TileSpec

__all__ = ["POINTS", "dense_read_circuit", "read_operands", "shrink", "tile_cycle_circuit"]

MOST_CELLS = 1 << 18  # of a netlist: 512 x 512 are a million elements with their wires
PATCH = (4, 16)  # wordlines and bitlines of a dense read
POINTS = 400  # steps of a transient over twice the settling time


def shrink(tile: TileSpec, wordlines: int | None, bitlines: int | None) -> TileSpec:
    """The same tile with fewer (or more) lines; all wordlines that were active stay so, if they are there."""
    rows, columns = wordlines or tile.wordlines, bitlines or tile.bitlines
    return replace(
        tile,
        wordlines=rows,
        bitlines=columns,
        active_wordlines=rows
        if tile.active_wordlines == tile.wordlines
        else min(rows, tile.active_wordlines),
        adc=replace(tile.adc, bitlines_per_adc=min(columns, tile.adc.bitlines_per_adc)),
    )


def tile_cycle_circuit(
    tile: TileSpec,
    *,
    operands: str | Path | None = None,
    bits: int = 8,
    mismatch: bool = False,
    sense: Sense = "ideal",
    transient: bool = False,
    seed: int = 0,
) -> Circuit:
    """One cycle of a tile with the operands of a file, or with random ones that fill the tile.

    operands: JSON with ``digits``, [element], and ``resident``, [element][output], integers of ``bits`` bits
    mismatch: draw the tile's resistors from ``seed``
    """
    _check_size(tile.wordlines, tile.bitlines)
    generator = torch.Generator().manual_seed(seed)
    if operands is None:
        most, largest = tile.numeral.max_digit, 2 ** (bits - 1) - 1
        outputs = tile.outputs(bits)
        if outputs < 1:
            raise UserError(
                f"The tile has {tile.bitlines} bitlines: one {bits}-bit resident operand needs "
                f"{tile.bitlines_per_output(bits)}."
            )
        digits = torch.randint(-most, most + 1, (tile.elements,), generator=generator)
        resident = torch.randint(-largest, largest + 1, (tile.elements, outputs), generator=generator)
    else:
        found = read_operands(operands, "digits", "resident")
        digits, resident = _integers(found, "digits", 1), _integers(found, "resident", 2)
    planes, _ = resident_planes(resident, bits, tile)
    times = None
    if transient:
        stop = 2 * settling_time_s(tile)
        times = Transient(stop / POINTS, stop)
    return tile_circuit(
        tile,
        digits,
        planes,
        mismatch=draw_mismatch(tile, generator) if mismatch else None,
        sense=sense,
        transient=times,
    )


def dense_read_circuit(
    dense: DenseSpec,
    *,
    operands: str | Path | None = None,
    wordlines: int | None = None,
    bitlines: int | None = None,
    selected: int = 0,
    seed: int = 0,
) -> Circuit:
    """One read of a patch of a dense bank, its cells written with the programming noise of ``seed``.

    operands: JSON with ``symbols``, [wordline][bitline], the levels; random levels of 4 x 16, or of
              ``wordlines`` x ``bitlines``, without it
    """
    generator = torch.Generator().manual_seed(seed)
    if operands is None:
        rows, columns = wordlines or PATCH[0], bitlines or PATCH[1]
        _check_size(rows, columns)
        symbols = torch.randint(0, dense.cell.levels, (rows, columns), generator=generator)
    else:
        symbols = _integers(read_operands(operands, "symbols"), "symbols", 2)
        rows, columns = symbols.shape
        if (wordlines or rows, bitlines or columns) != (rows, columns):
            raise UserError(
                f"{operands} is {rows} x {columns} symbols: --wordlines and --bitlines are for random ones."
            )
        _check_size(rows, columns)
    stuck = draw_stuck(tuple(symbols.shape), dense.cell, generator)
    return dense_circuit(dense, program(symbols, dense.cell, generator, stuck=stuck), selected)


def _check_size(wordlines: int, bitlines: int) -> None:
    if wordlines * bitlines > MOST_CELLS:
        raise UserError(
            f"{wordlines} x {bitlines} cells are {wordlines * bitlines}: a netlist holds at most "
            f"{MOST_CELLS}; write a part of the crossbar."
        )


def read_operands(file: str | Path, *names: str) -> dict[str, Any]:
    """The named lists of a JSON file of operands.

    Error: UserError where the file cannot be read, is not such an object, or has other names.
    """
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the operands {file}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON: operands are {', '.join(names)}.") from error
    if not isinstance(found, dict) or set(found) != set(names):
        raise UserError(f"{file} must hold an object of exactly {', '.join(names)}.")
    return found


def _integers(found: dict[str, Any], name: str, dimensions: int) -> Tensor:
    """A list of integers, or a list of as long lists of them."""
    rows = found[name] if dimensions == 2 else [found[name]]
    right = (
        isinstance(rows, list)
        and all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows)
        and all(type(value) is int and abs(value) < 2**31 for row in rows for value in row)
    )
    if not right or not rows:
        shape = "a list of integers" if dimensions == 1 else "a list of lists of integers, all as long"
        raise UserError(f"{name} must be {shape}.")
    values = torch.tensor(rows, dtype=torch.int64)
    return values if dimensions == 2 else values[0]
