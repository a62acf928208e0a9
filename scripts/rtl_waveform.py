"""Draws docs/pictures/rtl_tile.svg: one row through a small tile in RTL, clock by clock, as simulated.

    python scripts/rtl_waveform.py            # needs iverilog

Base 7, four elements in two groups, 4-bit operands (two digits), two outputs of four planes, settling of two
clocks.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import torch

from ohmformer.emit.rtl_play import play_product
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.errors import write_atomically
from ohmformer.specs import preset

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "rtl_tile.svg"
CLOCK_Hz = 2e8
WIDTH, ROW, LEFT, TOP = 22, 34, 150, 40
LINES = {  # port: how to print a value; None draws a level
    "ready": None,
    "element_valid": None,
    "element": str,
    "wordline_on": lambda value: f"{value:08b}",
    "wordline_minus": lambda value: f"{value:08b}",
    "convert": None,
    "plane_select": str,
    "codes": str,
    "done": None,
    "results": str,
}


def main() -> None:
    chip = preset("wang2024").tile
    adc = replace(chip.adc, noise=0.0, bitlines_per_adc=8)
    tile = replace(chip, wordlines=8, bitlines=8, active_wordlines=4, environment_noise=0.0, adc=adc)
    layout = TileLayout(tile=tile, streamed_bits=4, resident_bits=4)
    streamed = torch.tensor([[5, -3, 7, -6]])
    resident = torch.tensor([[3, -7], [2, 6], [-5, 1], [4, 4]])
    played = play_product(layout, streamed, resident, CLOCK_Hz)
    assert torch.equal(played.values, streamed @ resident)
    signals = played.signals
    for name, bits in (("codes", layout.code_bits), ("results", layout.result_bits)):
        signals[name] = [word and word - (word >> bits - 1 << bits) for word in signals[name]]
    clocks = len(signals["ready"])
    width, height = LEFT + clocks * WIDTH + 20, TOP + len(LINES) * ROW + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>A row through a tile in RTL</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="14" fill="#1f2937">{escape(str(streamed.tolist()[0]))} times '
        f"{escape(str(resident.tolist()))} = {escape(str(played.values.tolist()[0]))}</text>",
    ]
    for place, (name, show) in enumerate(LINES.items()):
        top = TOP + place * ROW
        parts.append(f'<text x="10" y="{top + 18}" fill="#1f2937">{name}</text>')
        values = signals[name]
        parts += _level(values, top) if show is None else _bus(name, values, top, show, signals)
    parts.append("</svg>")
    write_atomically(PICTURE, "\n".join(parts) + "\n")
    print(f"{PICTURE.name}: {clocks} clocks")


def _level(values: list[int | None], top: int) -> list[str]:
    points = []
    for clock, value in enumerate(values):
        y = top + (6 if value else 24)
        points += [f"{LEFT + clock * WIDTH},{y}", f"{LEFT + (clock + 1) * WIDTH},{y}"]
    return [f'<polyline points="{" ".join(points)}" fill="none" stroke="#1d4ed8" stroke-width="1.5"/>']


def _bus(name: str, values: list[int | None], top: int, show, signals) -> list[str]:
    """Boxes of equal successive values, those that mean nothing left out."""
    enable = {"element": "element_valid", "codes": "convert", "plane_select": "convert"}.get(name)
    shown = [
        None if value is None or (enable and signals[enable][clock] != 1) else show(value)
        for clock, value in enumerate(values)
    ]
    if name == "results":  # read behind the last clock of the row
        done = max(clock for clock, value in enumerate(signals["done"]) if value == 1)
        shown = [value if clock >= done else None for clock, value in enumerate(shown)]
    parts, start = [], 0
    for clock in range(1, len(shown) + 1):
        if clock < len(shown) and shown[clock] == shown[start]:
            continue
        if shown[start] is not None:
            x, wide = LEFT + start * WIDTH, (clock - start) * WIDTH
            text = shown[start]
            size = 11 if len(text) * 7 < wide else max(6, int(wide / len(text) / 0.6))
            parts.append(
                f'<rect x="{x}" y="{top + 5}" width="{wide}" height="20" fill="#e0e7ff" stroke="#1d4ed8"/>'
                f'<text x="{x + wide / 2}" y="{top + 19}" text-anchor="middle" font-size="{size}" '
                f'fill="#1f2937">{text}</text>'
            )
        start = clock
    return parts


if __name__ == "__main__":
    main()
