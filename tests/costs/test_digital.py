"""Encoder, shift-add and function lanes: gates of the chip's own parameters, and what they cost."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.optimize import nnls

from ohmformer.costs import LEVELS, LIBRARY, estimate
from ohmformer.costs.digital import digital_markdown, digital_parts, replaced, table_bits
from ohmformer.costs.gates import (
    LANE_FUNCTIONS,
    LaneShape,
    ShiftAddShape,
    additions,
    encoder_gates,
    gate_file,
    lane_gates,
    off_grid,
    shift_add_gates,
    shift_add_shape,
)
from ohmformer.emit.rtl_areas import gate_area_m2
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.simulators.yosys import synthesise, version
from ohmformer.functions import function_names
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, NumeralSpec, names, override, preset
from ohmformer.units import PICO, UM2

CHIP = preset("wang2024")
FILE = gate_file()
Bert = Callable[..., Program]


def area_um2(row: list[int]) -> float:
    """Area of a row of counts by the areas that ``emit`` cites, not by those of the file."""
    return gate_area_m2(dict(zip(FILE["kinds"], row, strict=True))) / UM2


def same_or_alike(cells: dict[str, int], row: list[int]) -> None:
    """New counts beside frozen ones: another yosys maps otherwise, but not to half or double."""
    if version() == FILE["tool"]:
        assert [cells.get(kind, 0) for kind in FILE["kinds"]] == row
    else:
        assert 0.5 < sum(cells.values()) / sum(row) < 2


# gates


def test_the_grid_gives_back_what_was_counted() -> None:
    for point in FILE["encoder"]:
        found = encoder_gates(NumeralSpec(radix=point["radix"], polarity=point["polarity"]), point["bits"])
        assert found.counted
        assert found.cells == pytest.approx(sum(point["cells"]), rel=1e-12)
        assert found.area_m2 / UM2 == pytest.approx(area_um2(point["cells"]), rel=1e-12)
    sizes = {(point["segments"], point["fraction_bits"]) for point in FILE["lanes"]}
    for size in sizes:
        rows = [p["cells"] for p in FILE["lanes"] if (p["segments"], p["fraction_bits"]) == size]
        assert len(rows) == len(LANE_FUNCTIONS)
        found = lane_gates(LaneShape(*size))
        assert found.counted
        assert found.area_m2 / UM2 == pytest.approx(sum(map(area_um2, rows)), rel=1e-12)


def test_every_preset_has_counted_parts_but_for_the_lossy_ones_shift_add() -> None:
    blocks = FILE["blocks"]
    for name in names():
        chip = preset(name)
        numeral, bits = chip.tile.numeral, chip.precision.activation_bits
        assert encoder_gates(numeral, bits).cells == sum(blocks["encoder"]["cells"].values())
        assert lane_gates(LaneShape(128, 16)).counted
        assert shift_add_gates(shift_add_shape(chip.tile, 8, 8)).counted
    one = shift_add_gates(shift_add_shape(CHIP.tile, 8, 8))
    assert one.area_m2 / UM2 == pytest.approx(gate_area_m2(blocks["shift_add"]["cells"]) / UM2, rel=1e-12)


def test_lanes_are_of_all_functions_with_a_table() -> None:
    assert sorted(LANE_FUNCTIONS) == sorted(set(function_names()) - {"relu"})


def test_the_fit_is_the_least_squares_of_the_grid() -> None:
    features = np.array([ShiftAddShape(**point["shape"]).features() for point in FILE["shift_add"]])
    areas = np.array([area_um2(point["cells"]) for point in FILE["shift_add"]])
    found, _ = nnls(features / areas[:, None], np.ones(len(areas)))
    # the file keeps four decimals
    assert FILE["shift_add_fit"]["area_um2"] == pytest.approx(found.tolist(), abs=5.1e-5)


def drawn(source: random.Random) -> ChipSpec:
    """A chip with other numerals, converters and operands."""
    polarity = source.choice(["shared", "per_resistor"])
    changes = {
        "tile.numeral.radix": source.choice([3, 5, 7, 9, 15, 27]),
        "tile.numeral.polarity": polarity,
        "tile.resident_code": source.choice(["bits", "digits"]),
        "tile.active_wordlines": source.choice([8, 30, 128]),
        "tile.adc.bits": source.randint(2, 9),
        "tile.adc.step": source.choice([1, 1, 3, 4]),
        "precision.activation_bits": source.randint(2, 10),
        "precision.weight_bits": source.randint(2, 8),
        "buffer.word_bits": 64,
    }
    return override(CHIP, changes)


@pytest.mark.parametrize("seed", range(6))
def test_widths_are_those_of_the_hardware(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(20):
        chip = drawn(source)
        precision = chip.precision
        shape = shift_add_shape(chip.tile, precision.activation_bits, precision.weight_bits)
        layout = TileLayout(
            tile=chip.tile,
            streamed_bits=precision.activation_bits,
            resident_bits=precision.weight_bits,
            word_bits=64,
        )
        assert (shape.planes, shape.word, shape.result) == (
            layout.plane_bits,
            layout.sum_bits,
            layout.result_bits,
        )
        factors, weights = ({step[side] for step in layout.steps} for side in (0, 1))
        assert shape.choices == len(factors) + len(weights) - 2
        assert shape.plane_additions == sum(map(additions, factors | weights))


def test_adders_of_a_constant() -> None:
    assert [additions(factor) for factor in (0, 1, 2, -1, 3, 7, 9, 11, 27)] == [0, 0, 0, 0, 1, 1, 1, 2, 3]


# beside the grid, synthesised again


def test_an_encoder_beside_the_grid() -> None:
    bound = max(map(abs, off_grid("encoder")))
    for point in FILE["beside"]["encoder"][:4]:
        numeral = NumeralSpec(radix=point["radix"], polarity=point["polarity"])
        cells = synthesise(encoder(numeral, point["bits"])).cells
        same_or_alike(cells, point["cells"])
        found = encoder_gates(numeral, point["bits"])
        assert not found.counted
        if version() == FILE["tool"]:
            assert abs(found.area_m2 / gate_area_m2(cells) - 1) <= bound


def test_a_shift_add_beside_the_grid() -> None:
    bound = max(map(abs, off_grid("shift_add")))
    chip = override(CHIP, {"tile.numeral.radix": 5, "tile.adc.bits": 7})
    layout = TileLayout(tile=chip.tile, streamed_bits=8, resident_bits=8)
    shape = shift_add_shape(chip.tile, 8, 8)
    (point,) = (point for point in FILE["beside"]["shift_add"] if point["shape"] == asdict(shape))
    cells = synthesise(shift_add(layout, outputs=1)).cells
    same_or_alike(cells, point["cells"])
    found = shift_add_gates(shape)
    assert not found.counted
    if version() == FILE["tool"]:
        assert abs(found.area_m2 / gate_area_m2(cells) - 1) <= bound


def test_a_lane_of_the_grid() -> None:
    unit = replace(CHIP.function_unit, segments=16, fraction_bits=8)
    (point,) = (
        point
        for point in FILE["lanes"]
        if (point["function"], point["segments"], point["fraction_bits"]) == ("reciprocal", 16, 8)
    )
    made = synthesise(function_lane(FixedPointFunction(name="reciprocal", unit=unit)))
    same_or_alike(made.cells, point["cells"])


@pytest.mark.parametrize(("part", "mean"), [("encoder", 0.15), ("shift_add", 0.05), ("lanes", 0.1)])
def test_figures_between_are_near(part: str, mean: float) -> None:
    """The means that the documentation promises to be below."""
    errors = off_grid(part)
    assert any(errors)  # a point of the grid would be no test
    assert np.mean(np.abs(errors)) < mean


# laws


def test_more_bits_are_more_gates() -> None:
    for polarity in ("shared", "per_resistor"):
        for radix in (3, 7, 13, 101):
            numeral = NumeralSpec(radix=radix, polarity=polarity)  # type: ignore[arg-type]
            areas = [encoder_gates(numeral, bits).area_m2 for bits in range(2, 17)]
            assert all(few <= many for few, many in itertools.pairwise(areas)), (polarity, radix, areas)
    tiles = [override(CHIP, {"tile.adc.bits": bits}).tile for bits in range(2, 13)]
    areas = [shift_add_gates(shift_add_shape(tile, 8, 8)).area_m2 for tile in tiles]
    # counted and fitted figures lie beside each other: up to the errors of the fit
    slack = 1 + max(map(abs, off_grid("shift_add")))
    assert all(few <= many * slack for few, many in itertools.pairwise(areas))
    assert areas[0] < areas[-1]
    lanes = [lane_gates(LaneShape(128, bits)).area_m2 for bits in range(4, 25)]
    assert all(few < many for few, many in itertools.pairwise(lanes))


# components


def test_prices_by_hand() -> None:
    cells = FILE["blocks"]["encoder"]["cells"]
    um2 = sum(FILE["cell_area_um2"][kind] * count for kind, count in cells.items())
    part = digital_parts(CHIP, LIBRARY).encoder
    assert part.area_m2.typical == pytest.approx(um2 * 0.46 * UM2, rel=1e-12)
    # .1 pJ on 137 µm² at 45 nm
    assert part.energy_J.typical == pytest.approx(um2 * 0.1 / 137 * 0.659 * PICO, rel=1e-12)
    assert part.source.kind == "derived"
    assert f"{sum(cells.values()):,} gates (counted)" in part.source.text
    lane = digital_parts(CHIP, LIBRARY).function_lane
    assert lane.energy_J.typical == pytest.approx(
        lane.area_m2.typical / UM2 / 0.46 / len(LANE_FUNCTIONS) * 0.1 / 137 * 0.659 * PICO, rel=1e-12
    )


@pytest.mark.parametrize("name", names())
def test_the_interval_holds_both_figures(name: str) -> None:
    chip = preset(name)
    parts, before = digital_parts(chip, LIBRARY), replaced(chip)
    for part in ("encoder", "shift_add", "function_lane"):
        for now, then in (
            (getattr(parts, part).area_m2, before[part].area_m2),
            (getattr(parts, part).energy_J, before[part].energy_J),
        ):
            assert now.low <= then.low <= then.high <= now.high
            assert now.low <= now.typical <= now.high
    assert parts.tables == 0


def test_published_figures_can_be_taken(bert_large: Bert) -> None:
    """What stood before: 92, 60 and 366 µm² at 32 nm, and tables as memory."""
    published = replace(LIBRARY, digital="published")
    report = estimate(bert_large(128, 1), CHIP, library=published)
    each = {term.component: (term.count, term.unit_value / UM2) for term in report.area}
    assert each["encoders"] == (20480, pytest.approx(92.0))
    assert each["shift-add"] == (20480, pytest.approx(60.0))
    assert each["function units"] == (256, pytest.approx(366.16))
    assert each["function tables"] == (256 * 8 * 129 * 16, pytest.approx(0.171))
    assert table_bits(CHIP) == 8 * 129 * 16
    now = {term.component: term for term in estimate(bert_large(128, 1), CHIP).area}
    assert now["function tables"].total == 0
    assert now["shift-add"].unit_value > 2 * 60 * UM2


def test_another_node_and_other_parameters_have_their_own_figures(bert_large: Bert) -> None:
    """At 45 nm an area is that of the counted cells; each parameter of the gates moves the price."""
    um2 = sum(FILE["cell_area_um2"][kind] * n for kind, n in FILE["blocks"]["shift_add"]["cells"].items())
    terms = {t.component: t for t in estimate(bert_large(128, 1), override(CHIP, {"node_nm": 45.0})).area}
    assert terms["shift-add"].unit_value == pytest.approx(um2 * UM2, rel=1e-12)
    base = digital_parts(CHIP, LIBRARY)
    for path, value, part in (
        ("tile.numeral.radix", 9, "encoder"),
        ("precision.activation_bits", 7, "encoder"),
        ("tile.adc.bits", 9, "shift_add"),
        ("precision.weight_bits", 7, "shift_add"),
        ("tile.active_wordlines", 32, "shift_add"),
        ("tile.adc.step", 3, "shift_add"),
        ("tile.resident_code", "digits", "shift_add"),
        ("function_unit.segments", 64, "function_lane"),
        ("function_unit.fraction_bits", 14, "function_lane"),
    ):
        other = digital_parts(override(CHIP, {path: value}), LIBRARY)
        assert getattr(other, part).area_m2.typical != getattr(base, part).area_m2.typical, path


def test_what_was_not_counted_says_so() -> None:
    def told(path: str, value: object) -> str:
        chip = override(CHIP, {path: value})  # type: ignore[arg-type]
        return digital_parts(chip, LIBRARY).function_lane.source.text

    assert "gates (counted)" in told("function_unit.segments", 128)
    assert "(between synthesised parameters, where up to" in told("function_unit.segments", 64)
    assert "(beyond synthesised parameters" in told("function_unit.segments", 4096)
    assert "(beyond synthesised parameters" in told("function_unit.fraction_bits", 24)
    wide = override(CHIP, {"function_unit.segments": 64})
    lane, off = digital_parts(wide, LIBRARY).function_lane.area_m2, max(map(abs, off_grid("lanes")))
    assert lane.high >= lane.typical * (1 + off) / 0.7


def test_both_ends_are_reached(bert_large: Bert) -> None:
    for level in LEVELS:
        report = estimate(bert_large(128, 1), CHIP, level=level)
        encoders = next(term for term in report.area if term.component == "encoders")
        assert encoders.unit_value == digital_parts(CHIP, LIBRARY).encoder.area_m2.at(level)


def test_the_page_shows_both() -> None:
    text = digital_markdown()
    first = next(line for line in text.splitlines() if "encoder" in line)
    counted = sum(FILE["blocks"]["encoder"]["cells"].values())
    assert f"| {counted} |" in first
    assert "| 92 (92 … 92) |" in first
    assert json.dumps(FILE["tool"])  # the file names its tool
