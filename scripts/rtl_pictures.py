"""Draws the pictures of the digital checks into docs/pictures, each from what simulator or synthesiser gave.

    python scripts/rtl_pictures.py            # all, some twenty seconds; needs iverilog
    python scripts/rtl_pictures.py tile       # one of those below

tile, product, softmax, read: a row through a small tile, a product over four, a row of softmax, a read of
         a protected word, clock by clock from the simulator's own value change dump
encoder: switch lines of all numbers of 8 bits, from the RTL
lanes:   errors of the RTL of the function lanes against the exact functions, all words of 16 bits
areas:   gates of the blocks as counted in costs/rtl_gates.json, in µm² at 45 nm
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import torch

from ohmformer.crossbars.protection import check_symbols, data_words
from ohmformer.emit.rtl_dense import dense_control
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_play import Played, play_matrix, play_product, play_softmax
from ohmformer.emit.rtl_product import ProductLayout
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_softmax import SoftmaxRow
from ohmformer.emit.simulators.icarus import run, sweep
from ohmformer.emit.simulators.vcd_file import read_vcd
from ohmformer.errors import UserError, write_atomically
from ohmformer.numerals import secded, to_symbols
from ohmformer.specs import preset

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
GATES = Path(__file__).parents[1] / "src" / "ohmformer" / "costs" / "rtl_gates.json"
CLOCK_Hz = 1e8
INK, BLUE, PALE, RED = "#1f2937", "#1d4ed8", "#e0e7ff", "#b91c1c"
ROW, LEFT, TOP = 34, 150, 40
Signals = dict[str, list[int | None]]
Show = Callable[[int], str] | None  # how to print a value; None draws a level


def write(name: str, title: str, width: float, height: float, parts: Sequence[str]) -> None:
    """One picture, complete or not at all."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>'
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    )
    write_atomically(FOLDER / f"rtl_{name}.svg", "\n".join([head, *parts, "</svg>"]) + "\n")
    print(f"rtl_{name}.svg")


def text(x: float, y: float, words: str, *, size: float = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{INK}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str = "none") -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{stroke}"/>'
    )


def small_tile(per_adc: int = 8):
    """A tile of four elements in two groups and two outputs of four planes, base 7, 4-bit operands."""
    chip = preset("wang2024").tile
    adc = replace(chip.adc, noise=0.0, bitlines_per_adc=per_adc)
    tile = replace(chip, wordlines=8, bitlines=8, active_wordlines=4, environment_noise=0.0, adc=adc)
    return TileLayout(tile=tile, streamed_bits=4, resident_bits=4)


def recorded(play: Callable[[Path], Played], signed: dict[str, int]) -> tuple[Played, Signals]:
    """What was played, and the simulator's record of it, a value a clock; ``signed``: widths of ports."""
    with tempfile.TemporaryDirectory() as name:
        played = play(Path(name) / "record.vcd")
        # a vector stands for a time step, then the clock is high for one
        signals = {port: values[0::2] for port, values in read_vcd(Path(name) / "record.vcd").items()}
    for port, bits in signed.items():
        signals[port] = [word and word - (word >> bits - 1 << bits) for word in signals[port]]
    return played, signals


def waves(
    name: str,
    title: str,
    words: str,
    signals: Signals,
    lines: dict[str, Show],
    when: dict[str, str],
    wide: float,
) -> None:
    """Levels and values of ports by clock; ``when``: the port that says that a value means something."""
    clocks = len(signals[next(iter(lines))])
    parts = [text(10, 22, words, size=14)]
    for place, (port, show) in enumerate(lines.items()):
        top = TOP + place * ROW
        parts.append(text(10, top + 18, port))
        if show is None:
            parts += level(signals[port], top, wide)
            continue
        valid = signals[when[port]] if port in when else [1] * clocks
        values = [
            None if value is None or on != 1 else show(value)
            for value, on in zip(signals[port], valid, strict=True)
        ]
        parts += boxes(values, top, wide)
    write(name, title, LEFT + clocks * wide + 20, TOP + len(lines) * ROW + 20, parts)


def draw_tile() -> None:
    """One row through a tile."""
    layout = small_tile()
    streamed, resident = torch.tensor([[5, -3, 7, -6]]), torch.tensor([[3, -7], [2, 6], [-5, 1], [4, 4]])
    played, signals = recorded(
        lambda vcd: play_product(layout, streamed, resident, CLOCK_Hz, vcd=vcd),
        {"codes": layout.code_bits, "results": layout.result_bits, "element": 4},
    )
    assert torch.equal(played.values, streamed @ resident)
    last = max(clock for clock, value in enumerate(signals["done"]) if value == 1)
    signals["behind"] = [int(clock >= last) for clock in range(len(signals["done"]))]
    lines: dict[str, Show] = {
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
    when = {"element": "element_valid", "codes": "convert", "plane_select": "convert", "results": "behind"}
    words = f"{streamed.tolist()[0]} times {resident.tolist()} = {played.values.tolist()[0]}"
    waves("tile", "A row through a tile in RTL", words, signals, lines, when, 22)


def draw_product() -> None:
    """Six elements and three columns: two by two tiles."""
    product = ProductLayout(layout=small_tile(), inner=6, columns=3)
    streamed = torch.tensor([[5, -3, 7, -6, 2, -7]])
    resident = torch.tensor([[3, -7, 1], [2, 6, 0], [-5, 1, -4], [4, 4, 7], [7, -7, 2], [-1, 0, 5]])
    played, signals = recorded(
        lambda vcd: play_matrix(product, streamed, resident, CLOCK_Hz, vcd=vcd),
        {"value": product.value_bits, "element": 4},
    )
    assert torch.equal(played.values, streamed @ resident)
    last = max(clock for clock, value in enumerate(signals["value_last"]) if value == 1) + 3
    signals = {port: values[:last] for port, values in signals.items()}
    lines: dict[str, Show] = {
        "element_valid": None,
        "tile_select": str,
        "wordline_on": lambda value: f"{value:08b}",
        "convert": None,
        "value_valid": None,
        "value": str,
    }
    when = {"tile_select": "convert", "wordline_on": "convert", "value": "value_valid"}
    words = f"6 elements, 3 columns on tiles 0 to 3, sums added: {played.values.tolist()[0]}"
    waves("product", "A product over four tiles in RTL", words, signals, lines, when, 9)


def draw_softmax() -> None:
    """Four scores through exponentials, their sum on a tile, and the products."""
    row = SoftmaxRow(unit=preset("wang2024").function_unit, layout=small_tile())
    scores = [[2048, -1024, 0, 3072]]
    played, signals = recorded(
        lambda vcd: play_softmax(row, scores, CLOCK_Hz, vcd=vcd), {"score": row.score_bits}
    )
    last = max(clock for clock, value in enumerate(signals["probability_last"]) if value == 1) + 3
    place = 2 * row.unit.fraction_bits
    signals = {port: values[:last] for port, values in signals.items()}
    lines: dict[str, Show] = {
        "score_valid": None,
        "score": lambda value: f"{value / 2048:g}",
        "convert": None,
        "plane_select": str,
        "probability_valid": None,
        "product": lambda value: f"{value / 2**place:.3f}",
    }
    when = {"score": "score_valid", "plane_select": "convert", "product": "probability_valid"}
    shares = ", ".join(f"{value:.4f}" for value in played.values[0].tolist())
    words = (
        f"softmax of 1, -0.5, 0, 1.5 with 4-bit codes: {shares} (products stand ahead of their power of 2)"
    )
    waves("softmax", "A row of softmax in RTL", words, signals, lines, when, 26)


def draw_read() -> None:
    """Two 8-bit numbers of a word of 16 bits with 6 check bits, one cell of it misread."""
    chip = preset("wang2024").dense
    cell = replace(chip.cell, bits=2)
    dense = replace(
        chip, wordlines=4, bitlines=8, bitlines_per_adc=8, cell=cell, secded_data_bits=16, gray=False
    )
    numbers = torch.tensor([[93, -58]])
    levels = to_symbols(numbers, 8, 2, dense.weight_code, False).flatten().tolist()
    levels += check_symbols(secded.encode(data_words(numbers, 8, dense)), dense, 2).flatten().tolist()
    levels[2] ^= 2
    clocks = 48
    idle = {"reset": 0, "start": 0, "read": 0, "count": 2, "check_base": 8, "level": 0, "level_valid": 1}
    inputs = {port: [value] * clocks for port, value in idle.items()}
    inputs["reset"][0], inputs["start"][2] = 1, 1
    module = dense_control(dense, 8, CLOCK_Hz)
    seen = run(module, inputs)
    for clock, on in enumerate(seen["sense"]):
        if on == 1:
            inputs["level"][clock] = levels[seen["wordline"][clock] * 8 + seen["bitline"][clock]]
    with tempfile.TemporaryDirectory() as name:
        run(module, inputs, vcd=Path(name) / "record.vcd")
        signals = {port: values[0::2] for port, values in read_vcd(Path(name) / "record.vcd").items()}
    stop = signals["done"].index(1) + 2
    signals = {port: values[:stop] for port, values in signals.items()}
    lines: dict[str, Show] = {
        "start": None,
        "sense": None,
        "wordline": str,
        "bitline": str,
        "level": str,
        "done": None,
        "values": lambda value: ", ".join(
            str((value >> at & 255) - ((value >> at + 7 & 1) << 8)) for at in (0, 8)
        ),
        "status": lambda value: ["clean", "corrected", "detected"][value],
    }
    when = {"wordline": "sense", "bitline": "sense", "level": "sense", "values": "done", "status": "done"}
    words = "A word with the numbers 93 and -58; the level of cell 2 is read wrong and put right"
    waves("read", "A protected word read by the dense controller in RTL", words, signals, lines, when, 30)


def level(values: Sequence[int | None], top: int, wide: float) -> list[str]:
    points = []
    for clock, value in enumerate(values):
        y = top + (6 if value else 24)
        points += [f"{LEFT + clock * wide:g},{y}", f"{LEFT + (clock + 1) * wide:g},{y}"]
    return [f'<polyline points="{" ".join(points)}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>']


def boxes(shown: Sequence[str | None], top: int, wide: float) -> list[str]:
    """Boxes of equal successive values."""
    parts, start = [], 0
    for clock in range(1, len(shown) + 1):
        words = shown[start]
        if clock < len(shown) and shown[clock] == words:
            continue
        if words is not None:
            x, span = LEFT + start * wide, (clock - start) * wide
            size = 11 if len(words) * 7 < span else max(4, int(span / len(words) / 0.6))
            parts.append(box(x, top + 5, span, 20, PALE, BLUE))
            parts.append(text(x + span / 2, top + 19, words, size=size, anchor="middle"))
        start = clock
    return parts


def draw_encoder() -> None:
    """Lines that are on over all numbers, blue for plus and red for minus."""
    numeral = preset("wang2024").tile.numeral
    module, values = encoder(numeral, 8), list(range(-128, 128))
    seen = sweep(module, {"value": values})
    count, lines = numeral.resistors_per_digit, module.outputs[0].width
    parts = [text(10, 20, "Switch lines of the numbers of 8 bits, base 7: plus blue, minus red", size=14)]
    left, cell = 150, 2.6
    for line in range(lines):
        y = 36 + 20 * (lines - 1 - line)
        parts.append(text(10, y + 12, f"digit {line // count}, resistor of {1 << line % count}"))
        start = 0
        states = [(on >> line & 1) * (1 - 2 * (sign >> line // count & 1))
                  for on, sign in zip(seen["on"], seen["sign"], strict=True)]  # fmt: skip
        for place in range(1, len(states) + 1):
            if place < len(states) and states[place] == states[start]:
                continue
            if states[start]:
                fill = BLUE if states[start] > 0 else RED
                parts.append(box(left + start * cell, y, (place - start) * cell, 16, fill))
            start = place
    bottom = 36 + 20 * lines
    parts += [
        text(left + (value + 128) * cell, bottom + 14, str(value), anchor="middle")
        for value in (-128, -64, 0, 64, 127)
    ]
    write("encoder", "Switch lines of all numbers", left + 256 * cell + 20, bottom + 26, parts)


EXACT = {
    "exp": lambda x: torch.exp(-x),
    "reciprocal": torch.reciprocal,
    "rsqrt": torch.rsqrt,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


def draw_lanes() -> None:
    """Histograms of error over stated largest error; relative for reciprocal and rsqrt."""
    unit, bins = preset("wang2024").function_unit, 40
    parts = [
        text(10, 20, "RTL against the exact function, all words of 16 bits: error / stated largest", size=14)
    ]
    for place, (name, exact) in enumerate(EXACT.items()):
        core = FixedPointFunction(name=name, unit=unit)
        half = 1 << 15
        inputs = list(range(-half, half) if core.kind == "magnitude" else range(1, 2 * half))
        seen = sweep(function_lane(core), {"word": inputs})
        powers = seen.get("power", [0] * len(inputs))
        found = torch.tensor(
            [math.ldexp(word, power - core.result_fraction_bits)
             for word, power in zip(seen["result"], powers, strict=True)],
            dtype=torch.float64,
        )  # fmt: skip
        right = exact(torch.tensor(inputs, dtype=torch.float64) * 2.0**-core.input_fraction_bits)
        error = (found - right) / (right if core.table.relative else 1) / core.table.max_error
        assert float(error.abs().max()) <= 1 + 1e-12  # rounding of float64
        counts = torch.histc(error, bins, -1, 1)
        left, bottom = 40 + place * 170, 150
        for bar, count in enumerate(counts.tolist()):
            tall = 100 * math.log10(1 + count) / math.log10(1 + len(inputs))
            if count:
                parts.append(box(left + bar * 3.5, bottom - tall, 3.2, tall, BLUE))
        stated = f"{core.table.max_error:.1e}{' of it' if core.table.relative else ''}"
        parts += [
            *(text(left + 70 + 70 * end, bottom + 14, str(end), anchor="middle") for end in (-1, 0, 1)),
            text(left + 70, bottom + 30, f"{name}, stated {stated}", anchor="middle"),
            text(left + 70, bottom + 44, f"largest {float(error.abs().max()):.2f} of it", anchor="middle"),
        ]
    parts.append(text(10, 40, "counts, log scale up to 65,536"))
    write("lanes", "Errors of the function lanes in RTL", 40 + 5 * 170, 205, parts)


def draw_areas() -> None:
    """Bars of the blocks' areas."""
    blocks = json.loads(GATES.read_text())["blocks"]
    widest = max(block["area_um2"] for block in blocks.values())
    parts = [text(10, 20, "Cells of each block, µm² at 45 nm, without wiring", size=14)]
    for place, (name, block) in enumerate(blocks.items()):
        y, wide = 36 + 22 * place, 420 * block["area_um2"] / widest
        parts += [
            text(10, y + 12, name),
            box(130, y, wide, 16, BLUE),
            text(136 + wide, y + 12, f"{block['area_um2']:.0f} ({sum(block['cells'].values())} gates)"),
        ]
    write("areas", "Areas of the digital blocks", 700, 44 + 22 * len(blocks), parts)


DRAW = {
    "tile": draw_tile,
    "product": draw_product,
    "softmax": draw_softmax,
    "read": draw_read,
    "encoder": draw_encoder,
    "lanes": draw_lanes,
    "areas": draw_areas,
}


if __name__ == "__main__":
    try:
        for chosen in sys.argv[1:] or DRAW:
            if chosen not in DRAW:
                raise UserError(f"There is no picture {chosen!r}: the pictures are {', '.join(DRAW)}.")
            DRAW[chosen]()
    except UserError as error:
        sys.exit(str(error))
