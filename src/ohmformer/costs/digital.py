"""Encoder, shift-add and function lanes of a chip: areas and energies from synthesised gates.

    area   = Σ gates · area of the cell that does the same at 45 nm · .46
    energy = that area at 45 nm · energy per area of published arithmetic at 45 nm · .659

Each stands beside the figure that it replaces; its interval holds both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ohmformer.costs.component import Component, Interval
from ohmformer.costs.gates import (
    LANE_FUNCTIONS,
    Gates,
    beyond_grid,
    encoder_gates,
    gate_file,
    grid_points,
    lane_gates,
    lane_shape,
    off_grid,
    shift_add_gates,
    shift_add_shape,
)
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.specs import ChipSpec, Source, names, preset
from ohmformer.units import PICO, UM2

__all__ = ["DigitalParts", "digital_markdown", "digital_parts", "replaced", "table_bits"]

TO_32_NM, ENERGY_TO_32_NM = 0.46, 0.659
FILL = 0.7  # share of its floor that a placed block fills, at least
# exp, reciprocal, rsqrt, gelu, gelu_tanh, silu, tanh, sigmoid; relu and max need none
FUNCTION_TABLES = 8
ENCODER_DIGIT_BITS = 3 * 8
# J/m² and operation at 45 nm: an 8-bit multiplier .2 pJ on 282 µm², a 32-bit adder .1 pJ on 137 µm²; an own
# exponential unit with registers, .8 mW at 500 MHz on 796 µm²
ENERGY_PER_AREA = Interval(0.2 / 282, 0.1 / 137, 1.6 / 796) * (PICO / UM2)
ENERGY_SOURCE = (
    "energy: area at 45 nm x .73 fJ/µm², that of a 32-bit adder (Horowitz, ISSCC 2014: .1 pJ, 137 µm²), "
    "x .659; low: of an 8-bit multiplier there (.2 pJ, 282 µm²), high: of an own exponential unit with "
    "registers (.8 mW at 500 MHz, 796 µm²)"
)


class DigitalParts(NamedTuple):
    """The components of one chip.

    tables: bits of function tables counted beside the lanes; 0 where the lanes hold them as logic
    """

    encoder: Component
    shift_add: Component
    function_lane: Component
    tables: int


def table_bits(chip: ChipSpec) -> int:
    """Bits of the function tables of one lane, as memory: functions x (segments + 1) x fraction bits."""
    unit = chip.function_unit
    return FUNCTION_TABLES * (unit.segments + 1) * unit.fraction_bits


def _encoder_scale(chip: ChipSpec) -> float:
    """Size of an encoder relative to one of 3 digits and 8 bits: digits x bits."""
    bits = chip.precision.activation_bits
    return chip.tile.numeral.digits_for(bits) * bits / ENCODER_DIGIT_BITS


def _scaled(component: Component, factor: float) -> Component:
    return replace(component, area_m2=component.area_m2 * factor, energy_J=component.energy_J * factor)


def replaced(chip: ChipSpec, library: Library = LIBRARY) -> dict[str, Component]:
    """The figures that synthesis replaces, at the parameters of ``chip``; a lane with its tables."""
    lane = library.function_lane
    tables = library.table_bit.area_m2 * table_bits(chip)
    return {
        "encoder": _scaled(library.encoder, _encoder_scale(chip)),
        "shift_add": library.shift_add,
        "function_lane": replace(lane, area_m2=lane.area_m2 + tables),
    }


def _both(new: Interval, old: Interval) -> Interval:
    """``new``, its ends moved out to those of ``old``."""
    return Interval(min(new.low, old.low), new.typical, max(new.high, old.high))


def _synthesised(
    gates: Gates, before: Component, part: str, *, share: float = 1.0, beyond: bool = False
) -> Component:
    """The part made of ``gates``; share: of its area, what one operation moves."""
    typical = gates.area_m2 * TO_32_NM
    if gates.counted:
        off, how = 0.0, "counted"
    else:
        off = max(map(abs, off_grid(part)))
        how = f"between synthesised parameters, where up to {off:.0%} off"
        if beyond:
            how = "beyond synthesised parameters: by the trend of the last ones, not checked"
    around = Interval(1 - off, 1.0, 1 + off)
    area = _both(Interval(typical * around.low, typical, typical * around.high / FILL), before.area_m2)
    moved_m2 = gates.area_m2 * share * ENERGY_TO_32_NM
    energy = _both(
        Interval(
            ENERGY_PER_AREA.low * moved_m2 * around.low,
            ENERGY_PER_AREA.typical * moved_m2,
            ENERGY_PER_AREA.high * moved_m2 * around.high,
        ),
        before.energy_J,
    )
    moved = "" if share == 1 else f", x {share:.3g}: one of the functions works, the others hold"
    area_um2, old_um2, old_pJ = (
        gates.area_m2 / UM2,
        before.area_m2.typical / UM2,
        before.energy_J.typical / PICO,
    )
    text = (
        f"synthesised ({gate_file()['tool']}): {gates.cells:,.0f} gates ({how}), {area_um2:,.0f} µm² of "
        f"NanGate 45 nm cells (NAND2 .798 µm², others partly from memory) x .46; high: placed at {FILL:.0%}, "
        f"and low and high hold the figure that this replaces, {old_um2:,.0f} µm² and {old_pJ:.3g} pJ "
        f"({before.source.text}); {ENERGY_SOURCE}{moved}"
    )
    return replace(before, area_m2=area, energy_J=energy, source=Source("derived", text))


_KEPT: dict[tuple[object, ...], tuple[Library, DigitalParts]] = {}


def digital_parts(chip: ChipSpec, library: Library) -> DigitalParts:
    """The components of ``chip``; found once for chips that are alike in what decides about them."""
    tile, precision, unit = chip.tile, chip.precision, chip.function_unit
    key = (
        id(library), tile.numeral, tile.wordlines, tile.active_wordlines, tile.resident_code, tile.adc.bits,
        tile.adc.step, precision.activation_bits, precision.weight_bits, unit.segments, unit.fraction_bits,
    )  # fmt: skip
    kept = _KEPT.get(key)
    if kept is None or kept[0] is not library:
        if len(_KEPT) >= 4096:
            _KEPT.clear()
        kept = _KEPT[key] = (library, _parts(chip, library))
    return kept[1]


def _gates(chip: ChipSpec) -> dict[str, Gates]:
    tile, precision = chip.tile, chip.precision
    shape = shift_add_shape(tile, precision.activation_bits, precision.weight_bits)
    return {
        "encoder": encoder_gates(tile.numeral, precision.activation_bits),
        "shift_add": shift_add_gates(shape),
        "function_lane": lane_gates(lane_shape(chip.function_unit)),
    }


def _parts(chip: ChipSpec, library: Library) -> DigitalParts:
    before = replaced(chip, library)
    if library.digital == "published":
        return DigitalParts(before["encoder"], before["shift_add"], library.function_lane, table_bits(chip))
    gates, beyond = _gates(chip), beyond_grid(lane_shape(chip.function_unit))
    lane = before["function_lane"]
    return DigitalParts(
        _synthesised(gates["encoder"], before["encoder"], "encoder"),
        _synthesised(gates["shift_add"], before["shift_add"], "shift_add"),
        _synthesised(gates["function_lane"], lane, "lanes", share=1 / len(LANE_FUNCTIONS), beyond=beyond),
        0,
    )


_TITLES = {
    "encoder": "encoder",
    "shift_add": "shift-add, one word",
    "function_lane": f"function lane, {len(LANE_FUNCTIONS)} functions with tables",
}


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _range(value: Interval, unit: float) -> str:
    low, typical, high = (_figure(one / unit) for one in (value.low, value.typical, value.high))
    return f"{typical} ({low} … {high})"


def digital_markdown() -> str:
    """Synthesised figures of the presets' parts at 32 nm beside those that they replace, a line each.

    A part of a preset that is that of ``wang2024`` is left out. Below: how far figures between synthesised
    parameters are off.
    """
    lines = [
        "| chip | part | gates | µm² of cells at 45 nm | µm² at 32 nm | before | pJ | before |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    seen = set()
    for name in names():
        chip = preset(name)
        before, after = replaced(chip), digital_parts(chip, LIBRARY)
        counts = _gates(chip)
        for part, title in _TITLES.items():
            now, then, gates = getattr(after, part), before[part], counts[part]
            if (part, gates) in seen:
                continue
            seen.add((part, gates))
            cells = f"{gates.cells:,.0f}" + ("" if gates.counted else " (between)")
            figures = [_range(part_of.area_m2, UM2) for part_of in (now, then)] + [
                _range(part_of.energy_J, PICO) for part_of in (now, then)
            ]
            lines.append(
                f"| `{name}` | {title} | {cells} | {gates.area_m2 / UM2:,.0f} | {' | '.join(figures)} |"
            )
    parts = (("encoder", "encoders"), ("shift_add", "shift-adds"), ("lanes", "lanes of all functions"))
    for part, title in parts:
        errors = off_grid(part)
        mean = sum(map(abs, errors)) / len(errors)
        lines.append(
            f"\n{title[0].upper()}{title[1:]}: {grid_points(part)} synthesised; at {len(errors)} others the "
            f"figure is {mean:.1%} off in the mean, {max(map(abs, errors)):.1%} at most."
        )
    return "\n".join(lines)
