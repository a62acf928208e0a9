"""Pictures of docs/checks: a settling waveform out of ngspice, and what wires take over a tile.

python scripts/circuit_pictures.py [FOLDER]     default: docs/pictures
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ohmformer.devices import branch_conductance, effective_conductance, settling_time_s
from ohmformer.devices.wire_compensation import compensation_factors
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.spice_circuit import Transient
from ohmformer.emit.spice_tile import tile_circuit
from ohmformer.errors import write_atomically
from ohmformer.specs import TileSpec, preset

STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#555}.a{stroke:#888;fill:none}"
    ".c{fill:none;stroke-width:1.8}.f{stroke:#888;stroke-dasharray:4 3}</style>"
)
COLOURS = ("#1f6feb", "#d1560f", "#1a7f37")
UNITS_OHM = (1e5, 1e6, 1e7)
BLOCK = 8  # cells each way of one field of the map


def tile_of(rows: int, columns: int, unit_ohm: float, wire_ohm: float) -> TileSpec:
    """The preset's tile in another size."""
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=rows,
        bitlines=columns,
        active_wordlines=rows,
        resistor=replace(tile.resistor, unit_resistance_ohm=unit_ohm, wire_resistance_ohm=wire_ohm),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


def waveform() -> str:
    """Output of a sense amplifier after the wordlines are switched, for three unit resistors."""
    width, height, left, top, right, bottom = 640, 300, 58, 34, 620, 250
    end_s = 7e-9
    parts = []
    for index, (colour, unit) in enumerate(zip(COLOURS, UNITS_OHM, strict=True)):
        tile = tile_of(32, 2, unit, 1.0)
        digits, planes = torch.full((tile.elements,), 3), torch.ones(1, tile.elements, 1, dtype=torch.int8)
        over = run_ngspice(
            tile_circuit(tile, digits, planes, sense="amplifier", transient=Transient(1e-11, end_s))
        )
        step = max(1, len(over) // 300)
        settled = settling_time_s(tile)

        def x(time_s: float) -> float:
            return left + (right - left) * time_s / end_s

        points = " ".join(
            f"{x(float(t)):.1f},{bottom - (bottom - top) * abs(float(v)) / 0.2:.1f}"
            for t, v in over[::step, :2]
        )
        name = f"{unit / 1e6:g} MΩ"
        parts += [
            f'<polyline class="c" stroke="{colour}" points="{points}"/>',
            f'<path class="f" d="M{x(settled):.1f} {top}V{bottom}"/>',
            f'<text x="{x(settled) + 4:.1f}" y="{bottom - 8 - 17 * index}" style="fill:{colour}">{name}: '
            f"{settled * 1e9:.2f} ns</text>",
        ]
    ticks = "".join(
        f'<text x="{left + (right - left) * t / 7:.0f}" y="{bottom + 16}" text-anchor="middle">{t}</text>'
        for t in range(8)
    )
    volts = "".join(
        f'<text x="{left - 8}" y="{bottom - (bottom - top) * v / 0.2 + 4:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.1, 0.2)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">{STYLE}'
        "<title>Settling of a bitline of 32 cells, all switches closed, for three unit resistors</title>"
        f'<text x="{left}" y="18">output of the sense amplifier, V; dashed: settled by the formula</text>'
        f'<path class="a" d="M{left} {top}V{bottom}H{right}"/>{ticks}{volts}'
        f'<text x="{(left + right) / 2}" y="{height - 12}" text-anchor="middle">time, ns (ngspice)</text>'
        + "".join(parts)
        + "</svg>"
    )


def loss_map() -> str:
    """Mean loss of a closed cell by its place, before and after drivers and gains make it good."""
    size, wire, loadings, cell = 128, 1.0, 12, 2
    tile = tile_of(size, size, 1e6, wire)
    generator = torch.Generator().manual_seed(1)
    units = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(size // 2)[:, None]
    closed = torch.randint(0, 2, (loadings, size // 2, size), generator=generator)
    closed = closed.repeat_interleave(2, 1).double()
    unit_S = branch_conductance(1, tile.resistor)
    through = effective_conductance(closed * units * unit_S, wire) / (units * unit_S)
    drive, gain = compensation_factors(tile, "both")

    def mean(relative: Tensor) -> Tensor:
        lost = ((1 - relative) * closed).sum(0) / closed.sum(0).clamp(min=1)
        return lost.view(size // BLOCK, BLOCK, size // BLOCK, BLOCK).mean((1, 3))

    maps = (
        ("without compensation", mean(through)),
        ("drivers and gains", mean(through * drive[:, None] * gain)),
    )
    largest = float(maps[0][1].abs().max())
    parts = []
    for index, (name, lost) in enumerate(maps):
        left = 46 + index * 310
        parts.append(f'<text x="{left}" y="18">{name}: {100 * float(lost.min()):.2f} to ')
        parts.append(f"{100 * float(lost.max()):.2f} % lost</text>")
        for row in range(len(lost)):
            for column in range(len(lost)):
                share = float(lost[row, column]) / largest
                paint = f"rgb({255 - int(max(-share, 0) * 224)},{int(255 - abs(share) * 170)},"
                paint += f"{int(255 - max(share, 0) * 240)})"
                side = BLOCK * cell
                parts.append(
                    f'<rect x="{left + column * side}" y="{28 + row * side}" width="{side}" '
                    f'height="{side}" fill="{paint}"/>'
                )
        parts.append(f'<text x="{left}" y="{28 + size * cell + 18}">bitline 0 (driver) … 127</text>')
    parts.append('<text transform="translate(34,284) rotate(-90)">wordline 127 (sense) … 0</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 650 316" role="img">{STYLE}'
        "<title>What 1 ohm wires take from the cells of a 128 x 128 tile of 1 Mohm units</title>"
        + "".join(parts)
        + "</svg>"
    )


def main() -> None:
    """Write both pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/pictures")
    for name, picture in (("settling.svg", waveform()), ("wires.svg", loss_map())):
        print(write_atomically(folder / name, picture + "\n"))


if __name__ == "__main__":
    main()
