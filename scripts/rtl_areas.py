"""Gate counts and areas of the digital blocks, beside the figures of the cost library that they replace.

    python scripts/rtl_areas.py                      # the table of docs/checks/gates.md (half a minute)
    python scripts/rtl_areas.py --write              # the grid into costs/rtl_gates.json (ten minutes, yosys)
        --jobs 2 --known FILE.json                   #   two at once; FILE keeps counts by the Verilog text
    python scripts/rtl_areas.py --page docs/cost-model.md  # the tables there, from that file (no yosys)
    python scripts/rtl_areas.py --chip wang2024_2bit_serial
    python scripts/rtl_areas.py --liberty cells.lib  # mapped to the cells of a liberty file, areas in µm²

Areas are sums of cells at 45 nm, scaled to 32 nm as the cost library scales (.46, Stillmaker and Baas).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ohmformer.costs import LEVELS, LIBRARY, estimate
from ohmformer.costs.digital import digital_markdown, replaced
from ohmformer.costs.gates import LANE_FUNCTIONS, ShiftAddShape, shift_add_shape
from ohmformer.emit.rtl_areas import CELL_SOURCE, NODE_nm, block_gates, gate_area_m2
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.errors import UserError, write_atomically
from ohmformer.reports.markdown import rewrite
from ohmformer.specs import NumeralSpec, TileSpec, override, preset
from ohmformer.units import MILLI, MM2, UM2
from ohmformer.verbs.estimating import program_of

GATES = Path(__file__).parents[1] / "src" / "ohmformer" / "costs" / "rtl_gates.json"
TO_32_NM = 0.46
MODEL, TOKENS = "bert-large", 128
REPLACES = {
    "encoder": "encoder",
    "shift_add": "shift_add",
    **dict.fromkeys(("exp", "reciprocal", "rsqrt", "gelu", "silu"), "function_lane"),
}
BASE = preset("wang2024")
WORD_BITS = 64

ENCODER_BITS = tuple(range(2, 17))
ENCODER_RADICES = {
    "shared": (*range(3, 33, 2), 45, 63, 91, 127, 181, 257),
    "per_resistor": (3, 5, 7, 9, 13, 27, 81, 257),
}
ENCODERS_BESIDE = (
    (37, "shared", 8),
    (53, "shared", 8),
    (53, "shared", 10),
    (75, "shared", 9),
    (101, "shared", 12),
    (151, "shared", 16),
    (211, "shared", 11),
    (11, "per_resistor", 7),
    (15, "per_resistor", 8),
    (21, "per_resistor", 10),
    (45, "per_resistor", 13),
    (121, "per_resistor", 8),
)
# radix, polarity, converter bits, step, resident code, streamed bits, resident bits, active wordlines
SHIFT_ADDS = (
    *(
        (radix, "shared", adc, 1, code, bits, bits, 128)
        for radix in (3, 7, 9, 15)
        for adc in (2, 5, 8)
        for code, bits in (("bits", 4), ("bits", 8), ("bits", 12), ("digits", 8))
    ),
    *((11, "shared", 8, 1, code, 8, 8, 128) for code in ("bits", "digits")),
    *((27, "per_resistor", 8, 1, code, 8, 8, 128) for code in ("bits", "digits")),
    *((7, "shared", adc, step, "bits", 8, 8, 128) for adc in (2, 6) for step in (5, 7)),
    (7, "shared", 2, 1, "bits", 8, 8, 2),
)  # fmt: skip
SHIFT_ADDS_BESIDE = (
    (5, "shared", 7, 1, "bits", 8, 8, 128),
    (13, "shared", 6, 1, "bits", 10, 6, 64),
    (17, "shared", 8, 1, "bits", 16, 16, 128),
    (7, "shared", 3, 3, "bits", 6, 10, 128),
    (7, "shared", 4, 1, "bits", 5, 5, 32),
    (9, "per_resistor", 8, 1, "digits", 8, 8, 128),
    (5, "shared", 6, 1, "digits", 12, 12, 128),
    (257, "shared", 10, 1, "bits", 8, 8, 128),
)
LANE_SEGMENTS, LANE_FRACTION_BITS = (16, 128, 256), (8, 16, 20)
LANES_BESIDE = ((64, 16), (32, 12), (512, 16))

Point = tuple[dict[str, Any], Callable[[], RtlModule]]


def encoder_point(radix: int, polarity: str, bits: int) -> Point:
    """An encoder of the grid."""
    numeral = NumeralSpec(radix=radix, polarity=polarity)  # type: ignore[arg-type]
    return {"radix": radix, "polarity": polarity, "bits": bits}, lambda: encoder(numeral, bits)


def shift_add_tile(
    radix: int, polarity: str, adc: int, step: int, code: str, streamed: int, resident: int, active: int
) -> tuple[TileSpec, int, int]:
    """The tile around a shift-add of the grid, and the bits of its operands."""
    tile = replace(
        BASE.tile,
        numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
        resident_code=code,  # type: ignore[arg-type]
        active_wordlines=active,
        adc=replace(BASE.tile.adc, bits=adc, step=step),
    )
    return tile, streamed, resident


def shift_add_point(*choice: Any) -> Point:
    """A shift-add of the grid, with one word."""
    tile, streamed, resident = shift_add_tile(*choice)
    layout = TileLayout(tile=tile, streamed_bits=streamed, resident_bits=resident, word_bits=WORD_BITS)
    shape = asdict(shift_add_shape(tile, streamed, resident))
    return {"shape": shape}, lambda: shift_add(layout, outputs=1)


def lane_points(segments: int, fraction_bits: int) -> Iterator[Point]:
    """The lanes of all functions."""
    unit = replace(BASE.function_unit, segments=segments, fraction_bits=fraction_bits)
    for name in LANE_FUNCTIONS:
        core = FixedPointFunction(name=name, unit=unit)
        what = {"function": name, "segments": segments, "fraction_bits": fraction_bits}
        yield what, lambda core=core: function_lane(core)  # type: ignore[misc]


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lanes of one size as one row of counts."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for row in rows:
        total = found.setdefault((row["segments"], row["fraction_bits"]), {})
        for kind, count in row["cells"].items():
            total[kind] = total.get(kind, 0) + count
    return [
        {"segments": segments, "fraction_bits": bits, "cells": cells}
        for (segments, bits), cells in found.items()
    ]


class Synthesiser:
    """Counts of modules, several at once; those of a text that ``known`` has are not made again."""

    def __init__(self, jobs: int, known: Path | None) -> None:
        self.jobs, self.known = jobs, known
        self.counts: dict[str, dict[str, int]] = {}
        if known is not None and known.exists():
            self.counts = json.loads(known.read_text())

    def rows(self, points: list[Point]) -> list[dict[str, Any]]:
        """What yosys makes of each."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(self._row, points))

    def _row(self, point: Point) -> dict[str, Any]:
        what, module = point
        made = module()
        key = hashlib.sha256(made.source.encode()).hexdigest()
        if key not in self.counts:
            self.counts[key] = synthesise(made).cells
            if self.known is not None:
                write_atomically(self.known, json.dumps(dict(self.counts)))
        print(what, sum(self.counts[key].values()), flush=True)
        return {**what, "cells": self.counts[key]}


def shift_add_fit(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Coefficients, none negative, of the least squares of relative errors."""
    features = np.array([ShiftAddShape(**row["shape"]).features() for row in rows])
    fits = {}
    for name, values in (
        ("area_um2", [gate_area_m2(row["cells"]) / UM2 for row in rows]),
        ("cells", [float(sum(row["cells"].values())) for row in rows]),
    ):
        found, _ = nnls(features / np.array(values)[:, None], np.ones(len(values)))
        fits[name] = [round(float(one), 4) for one in found]
    return fits


def write_grid(made: Synthesiser) -> None:
    """Synthesise everything and write the file of the cost library."""
    blocks = block_gates(BASE)
    parts = {
        "encoder": [
            encoder_point(radix, polarity, bits)
            for polarity, radices in ENCODER_RADICES.items()
            for radix in radices
            for bits in ENCODER_BITS
        ],
        "shift_add": [shift_add_point(*choice) for choice in SHIFT_ADDS],
        "lanes": [
            point
            for size in LANE_SEGMENTS
            for bits in LANE_FRACTION_BITS
            for point in lane_points(size, bits)
        ],
    }
    beside = {
        "encoder": [encoder_point(*choice) for choice in ENCODERS_BESIDE],
        "shift_add": [shift_add_point(*choice) for choice in SHIFT_ADDS_BESIDE],
        "lanes": [point for choice in LANES_BESIDE for point in lane_points(*choice)],
    }
    rows = {name: made.rows(points) for name, points in parts.items()}
    rows_beside = {name: made.rows(points) for name, points in beside.items()}
    fit = shift_add_fit(rows["shift_add"])
    rows_beside["lanes"] = summed(rows_beside["lanes"])
    kinds = sorted({kind for part in (rows, rows_beside) for many in part.values() for row in many
                    for kind in row["cells"]})  # fmt: skip

    def lines(many: list[dict[str, Any]], indent: str) -> str:
        plain = [{**row, "cells": [row["cells"].get(kind, 0) for kind in kinds]} for row in many]
        return f",\n{indent}".join(json.dumps(row) for row in plain)

    head = {
        "tool": blocks[0].synthesis.tool,
        "chip": BASE.name,
        "node_nm": NODE_nm,
        "cell_source": CELL_SOURCE.text,
        "blocks": {
            block.name: {
                "what": block.what,
                "cells": dict(sorted(block.synthesis.cells.items())),
                "area_um2": round(block.area_m2 / UM2, 3),
            }
            for block in blocks
        },
        "cell_area_um2": {kind: round(gate_area_m2({kind: 1}) / UM2, 6) for kind in kinds},
        "kinds": kinds,
        "shift_add_fit": fit,
    }
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    for name, many in rows.items():
        text += f',\n "{name}": [\n  {lines(many, "  ")}\n ]'
    text += ',\n "beside": {\n'
    text += ",\n".join(f'  "{name}": [\n   {lines(many, "   ")}\n  ]' for name, many in rows_beside.items())
    write_atomically(GATES, text + "\n }\n}\n")


def print_blocks(chip: str, liberty: str | None) -> None:
    """The table of docs/checks/gates.md."""
    found = block_gates(preset(chip), liberty=liberty)
    area_at = "in the liberty file" if liberty else "at 45 nm"
    print(f"{found[0].synthesis.tool}, {chip}; areas in µm², without wiring\n")
    print(f"| block | what | cells | flip-flops | area {area_at} | at 32 nm | replaced figure, 32 nm |")
    print("|---|---|---|---|---|---|---|")
    before = replaced(preset(chip))
    for block in found:
        old = before[REPLACES[block.name]].area_m2 if block.name in REPLACES else None
        beside = f"{old.typical / UM2:.0f} ({old.low / UM2:.0f} – {old.high / UM2:.0f})" if old else "–"
        area = block.area_m2 / UM2
        scaled = "–" if liberty else f"{area * TO_32_NM:.0f}"
        made, name = block.synthesis, block.name
        print(
            f"| {name} | {block.what} | {made.total} | {made.registers} | {area:.0f} | {scaled} | {beside} |"
        )


def totals_markdown() -> str:
    """BERT-Large, 128 tokens, with the figures as they are, and with each of what they replaced."""
    program = program_of(MODEL, BASE, tokens=TOKENS)
    ten_ns = override(BASE, {"tile.settling_time_s": 10e-9})
    published = replace(LIBRARY, digital="published")
    rows = (
        ("synthesised parts, settling by the circuit", BASE, LIBRARY),
        ("published parts", BASE, published),
        ("10 ns of settling", ten_ns, LIBRARY),
        ("both, as before", ten_ns, published),
    )
    lines = [
        "| BERT-Large, 128 tokens, `wang2024` | mm² | mJ | ms | mm²·s (low … high) |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, chip, library in rows:
        low, found, high = (estimate(program, chip, level=level, library=library) for level in LEVELS)
        lines.append(
            f"| {name} | {found.area_m2 / MM2:.1f} | {found.energy_J / MILLI:.1f} | "
            f"{found.latency_s / MILLI:.3f} | {found.area_delay_mm2_s:.3g} "
            f"({low.area_delay_mm2_s:.3g} … {high.area_delay_mm2_s:.3g}) |"
        )
    return "\n".join(lines)


def write_page(page: Path) -> None:
    """The tables of counts, areas, what they replace, and what both make of a model."""
    rewrite(page, {"gates": digital_markdown(), "replaced": totals_markdown()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chip", default="wang2024")
    parser.add_argument("--liberty")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="syntheses at once")
    parser.add_argument("--known", type=Path, help="counts of earlier runs, by the text of the module")
    choice = parser.parse_args()
    if choice.write and (choice.liberty or choice.chip != BASE.name):
        raise UserError("--write is for the generic gates of wang2024: leave --chip and --liberty out.")
    if choice.write:
        write_grid(Synthesiser(max(1, choice.jobs), choice.known))
    elif choice.page:
        write_page(choice.page)
    else:
        print_blocks(choice.chip, choice.liberty)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
