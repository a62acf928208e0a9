"""Gates of the digital blocks at any parameters of a chip, from synthesised ones.

``rtl_gates.json`` holds what yosys made of the Verilog at a grid of parameters, gate by gate, and the area
of each kind of gate in a published cell library at 45 nm (``scripts/rtl_areas.py --write``). On the grid a
block has the gates that were counted; between, encoders and function lanes are interpolated, and a shift-add
follows a sum over its widths that was fitted to its grid. How far that is off was measured at points beside
the grid, which are in the file too.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from ohmformer.crossbars import digit_weights, plane_weights
from ohmformer.specs import FunctionUnitSpec, NumeralSpec, TileSpec
from ohmformer.units import UM2

__all__ = [
    "Gates",
    "LaneShape",
    "ShiftAddShape",
    "beyond_grid",
    "encoder_gates",
    "gate_file",
    "grid_points",
    "lane_gates",
    "lane_shape",
    "off_grid",
    "shift_add_gates",
    "shift_add_shape",
]

LANE_FUNCTIONS = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")


class Gates(NamedTuple):
    """Gates and flip-flops of a block, their area at 45 nm, and whether just these were synthesised."""

    cells: float
    area_m2: float
    counted: bool


@dataclass(frozen=True, kw_only=True)
class ShiftAddShape:
    """What of a tile decides about the shift-add of a converter, with one word.

    planes, word, result: bits of the sum of an output's planes, of the sum over digits and groups, and of a
                          result in unit currents
    choices:   constants between which a multiplexer chooses, ahead of the first
    plane_additions, word_additions, result_additions: adders that multiply by the constants: of the planes,
               by the radix, by the step of the converter
    """

    planes: int
    word: int
    result: int
    choices: int
    plane_additions: int
    word_additions: int
    result_additions: int

    def features(self) -> tuple[float, ...]:
        """The terms whose sum is fitted: bits times what is done to each of them."""
        return (
            self.planes,
            self.planes * self.choices,
            self.planes * self.plane_additions,
            self.word,
            self.word * self.word_additions,
            self.result * self.result_additions,
        )


class LaneShape(NamedTuple):
    """What decides about a function lane."""

    segments: int
    fraction_bits: int


@lru_cache(maxsize=1)
def gate_file() -> dict[str, Any]:
    """The frozen counts."""
    found: dict[str, Any] = json.loads((files("ohmformer.costs") / "rtl_gates.json").read_text("utf-8"))
    return found


def _cells(row: Sequence[int]) -> tuple[float, float]:
    """Number of gates and area (m²) of a row of counts by kind."""
    kinds = gate_file()["kinds"]
    each = gate_file()["cell_area_um2"]
    return float(sum(row)), sum(count * each[kind] for count, kind in zip(row, kinds, strict=True)) * UM2


def additions(factor: int) -> int:
    """Adders that multiply by a constant: none for a power of two, one for 2^n − 1, else its ones less 1."""
    size = abs(factor)
    if size & (size - 1) == 0:
        return 0
    return 1 if (size + 1) & size == 0 else size.bit_count() - 1


def _width(magnitude: int) -> int:
    """Bits of a two's complement number of at most this magnitude."""
    return magnitude.bit_length() + 1


def shift_add_shape(tile: TileSpec, streamed_bits: int, resident_bits: int) -> ShiftAddShape:
    """Widths and constants of the shift-add of ``tile``: no code of its converter overflows them."""
    weights = plane_weights(tile, resident_bits)
    digits = sum(digit_weights(tile, streamed_bits))
    groups = -(-tile.elements // tile.group_elements)
    planes = tile.adc.max_code * sum(abs(weight) for weight in weights)
    whole = planes * digits * groups
    if tile.resident_code == "bits":
        factors, signs = {0, 2}, {1, -1}
    else:
        resistors = tile.numeral.resistors_per_digit
        factors = {0} | ({1} if resistors > 1 else set())
        if len(weights) > resistors:
            factors.add(tile.numeral.radix)
        signs = set(weights[:resistors])
    return ShiftAddShape(
        planes=_width(planes),
        word=_width(whole),
        result=_width(whole * tile.adc.step),
        choices=len(factors) + len(signs) - 2,
        plane_additions=sum(map(additions, factors | signs)),
        word_additions=additions(tile.numeral.radix),
        result_additions=additions(tile.adc.step),
    )


@lru_cache(maxsize=1)
def _counted_shift_adds() -> dict[ShiftAddShape, tuple[float, float]]:
    """Mean counts and areas of the synthesised shift-adds by shape."""
    found: dict[ShiftAddShape, list[tuple[float, float]]] = {}
    for point in gate_file()["shift_add"]:
        found.setdefault(ShiftAddShape(**point["shape"]), []).append(_cells(point["cells"]))
    return {
        shape: (sum(one[0] for one in many) / len(many), sum(one[1] for one in many) / len(many))
        for shape, many in found.items()
    }


def shift_add_gates(shape: ShiftAddShape) -> Gates:
    """Gates of a shift-add with one word: those that were counted, else Σ coefficient · feature."""
    counted = _counted_shift_adds().get(shape)
    if counted is not None:
        return Gates(*counted, True)
    return fitted_shift_add(shape)


def fitted_shift_add(shape: ShiftAddShape) -> Gates:
    """The fitted sum, whether or not the shape was synthesised."""
    fit = gate_file()["shift_add_fit"]

    def value(coefficients: Iterable[float]) -> float:
        return sum(one * term for one, term in zip(coefficients, shape.features(), strict=True))

    return Gates(value(fit["cells"]), value(fit["area_um2"]) * UM2, False)


Table = dict[tuple[float, float], tuple[float, float]]


@lru_cache(maxsize=2)
def _encoders(polarity: str) -> Table:
    """(log radix, bits): gates and area."""
    return {
        (math.log(point["radix"]), float(point["bits"])): _cells(point["cells"])
        for point in gate_file()["encoder"]
        if point["polarity"] == polarity
    }


def encoder_gates(numeral: NumeralSpec, bits: int) -> Gates:
    """Gates of an encoder of ``bits`` bits; straight in bits and in the logarithm of the radix between."""
    return _between(_encoders(numeral.polarity), math.log(numeral.radix), float(bits))


@lru_cache(maxsize=1)
def _lanes() -> Table:
    """(log2 segments, fraction bits): logarithms of gates and of area, all functions together."""
    sums: dict[tuple[float, float], tuple[float, float]] = {}
    for point in gate_file()["lanes"]:
        at = (math.log2(point["segments"]), float(point["fraction_bits"]))
        cells, area_m2 = _cells(point["cells"])
        before = sums.get(at, (0.0, 0.0))
        sums[at] = (before[0] + cells, before[1] + area_m2)
    return {at: (math.log(cells), math.log(area_m2)) for at, (cells, area_m2) in sums.items()}


def lane_gates(shape: LaneShape) -> Gates:
    """Gates of the lanes of all of ``LANE_FUNCTIONS``, one beside the other, each with its table as logic.

    Between the grid, and beyond it, logarithms are straight in fraction bits and in the logarithm of the
    segments.
    """
    found = _between(_lanes(), math.log2(shape.segments), float(shape.fraction_bits))
    return Gates(math.exp(found.cells), math.exp(found.area_m2), found.counted)


def _between(table: Table, x: float, y: float) -> Gates:
    """Bilinear on a full grid; beyond its ends the line of the last two points goes on."""
    xs, ys = sorted({at[0] for at in table}), sorted({at[1] for at in table})
    left, share_x = _place(xs, x)
    low, share_y = _place(ys, y)
    cells = area = 0.0
    for i, wx in ((left, 1 - share_x), (left + 1, share_x)):
        for j, wy in ((low, 1 - share_y), (low + 1, share_y)):
            if wx * wy:
                one = table[xs[i], ys[j]]
                cells += wx * wy * one[0]
                area += wx * wy * one[1]
    return Gates(cells, area, (x, y) in table)


def _place(grid: list[float], value: float) -> tuple[int, float]:
    """Interval of the grid that ``value`` belongs to, and its place in it (outside: below 0, above 1)."""
    index = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return index, (value - grid[index]) / (grid[index + 1] - grid[index])


def lane_shape(unit: FunctionUnitSpec) -> LaneShape:
    """What of a function unit decides about its lanes."""
    return LaneShape(unit.segments, unit.fraction_bits)


def grid_points(part: str) -> int:
    """Synthesised points of a part."""
    return len(gate_file()[part])


def beyond_grid(shape: LaneShape) -> bool:
    """Whether a lane is smaller or larger than any that was synthesised."""
    points = [
        (point["segments"], point["fraction_bits"])
        for point in (*gate_file()["lanes"], *gate_file()["beside"]["lanes"])
    ]
    return any(
        not min(sizes) <= one <= max(sizes)
        for one, sizes in zip(shape, zip(*points, strict=True), strict=True)
    )


@lru_cache(maxsize=3)
def off_grid(part: str) -> tuple[float, ...]:
    """What the figure is over what synthesis gives, less 1, at each point measured beside the grid."""
    errors = []
    for point in gate_file()["beside"][part]:
        _, area_m2 = _cells(point["cells"])
        if part == "encoder":
            numeral = NumeralSpec(radix=point["radix"], polarity=point["polarity"])
            found = encoder_gates(numeral, point["bits"])
        elif part == "shift_add":
            found = shift_add_gates(ShiftAddShape(**point["shape"]))
        else:
            found = lane_gates(LaneShape(point["segments"], point["fraction_bits"]))
        errors.append(found.area_m2 / area_m2 - 1)
    return tuple(errors)
