"""Pictures of docs/checks that show a check each: out of ngspice and VACASK, against the physics.

python scripts/circuit_evidence.py [FOLDER]     default: docs/pictures

read.svg         a dense read: outputs of the sense amplifiers and the thresholds, over time
conversion.svg   a cycle of a tile: outputs of the sense amplifiers in codes, over time
spice_error.svg  currents out of simulators against the physics, a histogram
wire_forms.svg   closed forms of the wires against the exact network, a histogram
settling_error.svg  settling time by the formula over the one by transients, drawn tiles and peripheries
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from ohmformer.crossbars import draw_mismatch, resident_planes
from ohmformer.devices import convert, effective_conductance, level_conductances, settling_time_s
from ohmformer.devices.periphery import PERIPHERY
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.simulators.vacask import run_vacask
from ohmformer.emit.spice_circuit import GROUND, Capacitor, Element, Probe, Resistor, Transient, VoltageSource
from ohmformer.emit.spice_dense import SENSE_OHM, dense_circuit
from ohmformer.emit.spice_settling import settled_after_s
from ohmformer.emit.spice_tile import cell_conductance, sums_of, tile_circuit, wordline_states
from ohmformer.errors import write_atomically
from ohmformer.specs import TileSpec, preset
from ohmformer.studies.wire_forms import FORMS, form_levels
from ohmformer.studies.wires import resized

STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#555}.a{stroke:#888;fill:none}"
    ".c{fill:none;stroke-width:1.6}.f{stroke:#888;stroke-dasharray:4 3}</style>"
)
COLOURS = ("#1f6feb", "#d1560f", "#1a7f37", "#8250df")
LEFT, TOP, RIGHT, BOTTOM, WIDTH, HEIGHT = 58, 34, 610, 240, 680, 290
BELOW_TEXT = "time, ns (ngspice)"


class Axes:
    """Places of values in a picture, and its frame."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.ends_x, self.ends_y = x, y

    def x(self, value: float) -> float:
        low, high = self.ends_x
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.ends_y
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    def line(self, xs: Iterable[float], ys: Iterable[float], colour: str) -> str:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        return f'<polyline class="c" stroke="{colour}" points="{points}"/>'

    def level(self, value: float, label: str) -> str:
        at = self.y(value)
        text = f'<text x="{RIGHT + 4}" y="{at + 4:.1f}">{label}</text>'
        return f'<path class="f" d="M{LEFT} {at:.1f}H{RIGHT}"/>{text}'

    def note(self, x: float, y: float, colour: str, text: str) -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" style="fill:{colour}">{text}</text>'

    def picture(
        self,
        title: str,
        above: str,
        below: str,
        parts: Sequence[str],
        ticks_x: Sequence[float],
        ticks_y: Sequence[float],
        log_x: bool = False,
    ) -> str:
        def mark(value: float) -> str:
            return f"{10**value:g}" if log_x else f"{value:g}"

        frame = "".join(
            f'<text x="{self.x(tick):.0f}" y="{BOTTOM + 16}" text-anchor="middle">{mark(tick)}</text>'
            for tick in ticks_x
        ) + "".join(
            f'<text x="{LEFT - 8}" y="{self.y(tick) + 4:.0f}" text-anchor="end">{tick:g}</text>'
            for tick in ticks_y
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{STYLE}'
            f'<title>{title}</title><text x="{LEFT}" y="18">{above}</text>'
            f'<path class="a" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>{frame}'
            f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{below}</text>'
            + "".join(parts)
            + "</svg>"
        )


def tile_of(size: int, unit_ohm: float = 1e6, wire_ohm: float = 1.0, columns: int | None = None) -> TileSpec:
    """The preset's tile in another size."""
    tile = preset("wang2024").tile
    return replace(
        tile,
        wordlines=size,
        bitlines=columns or size,
        active_wordlines=size,
        resistor=replace(tile.resistor, unit_resistance_ohm=unit_ohm, wire_resistance_ohm=wire_ohm),
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


def operands(tile: TileSpec, seed: int) -> tuple[Tensor, Tensor]:
    """Random digits and 8-bit operands that fill the tile."""
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(-3, 4, (tile.elements,), generator=generator)
    resident = torch.randint(-127, 128, (tile.elements, tile.outputs(8)), generator=generator)
    return digits, resident_planes(resident, 8, tile)[0]


def read() -> str:
    """One cell of every level; the wordline of 1024 cells charges through a driver of 1 kohm."""
    dense = preset("wang2024").dense
    levels = level_conductances(dense.cell)
    plain = dense_circuit(dense, levels[None], 0)
    charge_F = 1024 * PERIPHERY.wordline_capacitance_F
    parts: list[Element] = [part for part in plain.elements if part.name != "w0"]
    parts += [
        VoltageSource("w0", "d0", GROUND, dense.read_voltage_V, 1e-12),
        Resistor("driver", "d0", "w0", 1e3),
        Capacitor("line", "w0", GROUND, charge_F),
    ]
    limits = dense.cell.levels - 1
    probes = tuple(Probe("voltage", f"out{b}") for b in range(len(levels)))
    probes += tuple(Probe("voltage", f"ref{t}") for t in range(limits))
    end = 8e3 * charge_F
    over = run_ngspice(
        replace(plain, elements=tuple(parts), probes=probes, transient=Transient(end / 200, end))
    )
    time, current = over[:, 0] * 1e9, -over[:, 1:] / SENSE_OHM * 1e6
    top = float(current.max())
    axes = Axes((0, end * 1e9), (0, 1.1 * top))
    lines = [axes.line(time.tolist(), current[:, b].tolist(), COLOURS[b]) for b in range(len(levels))]
    for limit in range(limits):
        values = current[:, len(levels) + limit]
        line = axes.line(time.tolist(), values.tolist(), "#888")
        lines.append(line.replace('class="c"', 'class="c" stroke-dasharray="4 3"'))
    lines += [
        axes.note(RIGHT + 4, axes.y(float(current[-1, b])) + 4, COLOURS[b], f"level {b}")
        for b in range(len(levels))
    ]
    return axes.picture(
        "A dense read: four cells, one of every level, and the three thresholds",
        "current of the bitline, µA; dashed: thresholds",
        BELOW_TEXT,
        lines,
        [0, 0.2, 0.4, 0.6, 0.8],
        [round(top * share, 1) for share in (0, 0.5, 1)],
    )


def conversion() -> str:
    """Four bitlines of a cycle, their levels in codes, and the codes that the converter says at the end."""
    tile = tile_of(32, columns=8)
    digits, planes = operands(tile, 8)
    settled = settling_time_s(tile)
    end = 1.6 * settled
    over = run_ngspice(
        tile_circuit(tile, digits, planes, sense="amplifier", transient=Transient(end / 300, end))
    )
    codes = sums_of(over[:, 1:], tile, "amplifier")
    said = convert(codes[-1], replace(tile.adc, noise=0.0)).tolist()
    shown = sorted({said[b]: b for b in range(len(said))}.values(), key=lambda b: said[b])[::2][:4]
    low, high = float(codes.min()) - 2, float(codes.max()) + 2
    axes = Axes((0, end * 1e9), (low, high))
    time = (over[:, 0] * 1e9).tolist()
    parts = [axes.line(time[::2], codes[::2, b].tolist(), COLOURS[i]) for i, b in enumerate(shown)]
    parts += [axes.level(said[b], f"code {said[b]:.0f}") for b in shown]
    at = axes.x(settled * 1e9)
    parts.append(f'<path class="f" d="M{at:.1f} {TOP}V{BOTTOM}"/>')
    parts.append(f'<text x="{at - 4:.1f}" y="{TOP + 10}" text-anchor="end">settled by the formula</text>')
    return axes.picture(
        "A conversion: four bitlines of a 32 x 8 tile after its wordlines are switched, and their codes",
        "output of the sense amplifier, codes; dashed: what the converter says",
        BELOW_TEXT,
        parts,
        [0, 0.5, 1, 1.5, 2, 2.5],
        [value for value in range(-40, 60, 5) if low < value < high],
    )


def spice_error() -> str:
    """Differences of currents as shares of the largest one, tenths of a decade."""
    kinds = (
        ("ngspice 32 x 32, no wires", 32, 0.0, run_ngspice, 4),
        ("ngspice 32 x 32, 1 Ω", 32, 1.0, run_ngspice, 4),
        ("VACASK 128 x 128, 1 Ω", 128, 1.0, run_vacask, 1),
    )
    axes = Axes((-18, -5), (0, 40))
    parts = []
    for index, (name, size, wire, run, times) in enumerate(kinds):
        tile, errors = tile_of(size, wire_ohm=wire), []
        for seed in range(times):
            digits, planes = operands(tile, seed)
            off = draw_mismatch(tile, torch.Generator().manual_seed(seed))
            volts = PERIPHERY.read_voltage_V * wordline_states(tile, digits).double()
            right = volts @ effective_conductance(cell_conductance(tile, planes, off), wire)
            found = run(tile_circuit(tile, digits, planes, mismatch=off))
            errors.append((found - right).abs() / right.abs().max())
        powers = torch.cat(errors).clamp(min=1e-18).log10()
        share = 100 * torch.histc(powers, 52, -18, -5) / len(powers)
        edges = torch.arange(53) / 4 - 18
        steps = [value for edge in edges[:-1].tolist() for value in (edge, edge + 0.25)]
        heights = [value for height in share.clamp(max=40).tolist() for value in (height, height)]
        parts.append(axes.line(steps, heights, COLOURS[index]))
        parts.append(
            axes.note(
                axes.x(-11.6),
                TOP + 14 + 17 * index,
                COLOURS[index],
                f"{name}: largest {10 ** float(powers.max()):.0e}, {len(powers)} currents",
            )
        )
    bound = axes.x(-6)
    parts.append(f'<path class="f" d="M{bound:.0f} {TOP + 60}V{BOTTOM}"/>')
    parts.append(f'<text x="{bound - 4:.0f}" y="{BOTTOM - 8}" text-anchor="end">promised: 1e-6</text>')
    return axes.picture(
        "Bitline currents out of simulators against the physics",
        "share of the currents, % a quarter of a decade; mismatch and switches in",
        "difference, share of the largest current",
        parts,
        [-18, -16, -14, -12, -10, -8, -6],
        [0, 10, 20, 30, 40],
        log_x=True,
    )


def wire_forms() -> str:
    """Errors of each form on 128 x 128, 1 ohm, 1 Mohm; the exact network is 0."""
    tile = resized(tile_of(128), 128, 1e6)
    levels = form_levels(tile, loadings=4, rows=1000, seed=0)
    exact = levels.pop("exact")
    axes = Axes((-6, 0.5), (0, 12))
    parts = []
    for index, form in enumerate(FORMS):
        error = (levels[form] - exact).abs().flatten()
        share = 100 * torch.histc(error.clamp(1e-6, 3).log10(), 65, -6, 0.5) / len(error)
        places = (torch.arange(65) / 10 - 5.95).tolist()
        parts.append(axes.line(places, share.clamp(max=12).tolist(), COLOURS[index]))
        parts.append(
            axes.note(
                LEFT + 10,
                TOP + 14 + 17 * index,
                COLOURS[index],
                f"{form}: largest {float(error.max()):.2g}, sd {float(error.square().mean().sqrt()):.2g}",
            )
        )
    half = axes.x(math.log10(0.5))
    parts.append(f'<path class="f" d="M{half:.0f} {TOP}V{BOTTOM}"/>')
    parts.append(f'<text x="{half - 4:.0f}" y="{TOP + 10}" text-anchor="end">½ code</text>')
    return axes.picture(
        "Closed forms of the wires against the exact network, 128 x 128, 1 ohm, 1 Mohm, random operands",
        "share of the levels, % a tenth of a decade",
        "error, codes",
        parts,
        [-6, -5, -4, -3, -2, -1, 0],
        [0, 3, 6, 9, 12],
        log_x=True,
    )


def settling_error() -> str:
    """Ratios of drawn tiles whose wires take less than 1 %, and of ones whose wires take more."""
    axes = Axes((-1, 1.2), (0.98, 1.24))
    parts, ratios = [], []
    for seed in range(32):
        draw = random.Random(seed)
        rows, unit = draw.randint(4, 36), 10 ** draw.uniform(4.5, 7)
        heavy = seed >= 24
        wire = 10 ** draw.uniform(0.5, 1.5) if heavy else draw.choice((0.0, 10 ** draw.uniform(-1, 0)))
        unit = 10 ** draw.uniform(4, 4.7) if heavy else unit
        tile = tile_of(rows, unit, wire, draw.choice((2, 8)))
        varied = {
            field.name: getattr(PERIPHERY, field.name) * 10 ** draw.uniform(-0.5, 0.5)
            for field in fields(PERIPHERY)
            if field.name != "sense_gain"
        }
        periphery, error = replace(PERIPHERY, **varied), draw.choice((0.1, 0.25, 0.5))
        formula = settling_time_s(tile, error_codes=error, periphery=periphery)
        ratio = formula / settled_after_s(tile, error_codes=error, periphery=periphery)
        ratios.append((heavy, ratio))
        at = (axes.x(math.log10(formula * 1e9)), axes.y(ratio))
        parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3.5" fill="{COLOURS[heavy]}"/>')
    for index, name in enumerate(("wires take less than 1 %", "wires of 3 to 30 Ω on units of 10 to 50 kΩ")):
        own = [ratio for heavy, ratio in ratios if heavy == bool(index)]
        parts.append(
            axes.note(
                LEFT + 10, TOP + 14 + 17 * index, COLOURS[index], f"{name}: {min(own):.3f} to {max(own):.3f}"
            )
        )
    parts.append(axes.level(1.0, ""))
    return axes.picture(
        "Settling time: formula over transient, drawn tiles and peripheries",
        "formula / ngspice",
        "settling time, ns",
        parts,
        [-1, 0, 1],
        [1, 1.05, 1.1, 1.15, 1.2],
        log_x=True,
    )


def main() -> None:
    """Write the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/pictures")
    for make in (read, conversion, spice_error, wire_forms, settling_error):
        print(write_atomically(folder / f"{make.__name__}.svg", make() + "\n"))


if __name__ == "__main__":
    main()
