"""Gate counts and areas of the digital blocks, beside the figures of the cost library.

    python scripts/rtl_areas.py                      # prints the table of docs/rtl.md (half a minute, yosys)
    python scripts/rtl_areas.py --write              # writes src/ohmformer/costs/rtl_gates.json too
    python scripts/rtl_areas.py --chip wang2024_2bit_serial
    python scripts/rtl_areas.py --liberty cells.lib  # mapped to the cells of a liberty file, areas in µm²

Areas are sums of cells at 45 nm, scaled to 32 nm as the cost library scales (.46, Stillmaker and Baas).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ohmformer.costs.library import LIBRARY
from ohmformer.emit.rtl_areas import CELL_SOURCE, NODE_nm, block_gates
from ohmformer.errors import UserError, write_atomically
from ohmformer.specs import preset
from ohmformer.units import UM2

GATES = Path(__file__).parents[1] / "src" / "ohmformer" / "costs" / "rtl_gates.json"
TO_32_NM = 0.46
REPLACES = {
    "encoder": "encoder",
    "shift_add": "shift_add",
    **dict.fromkeys(("exp", "exp, coarse", "reciprocal", "rsqrt", "gelu", "silu"), "function_lane"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chip", default="wang2024")
    parser.add_argument("--liberty")
    parser.add_argument("--write", action="store_true")
    choice = parser.parse_args()
    if choice.write and (choice.liberty or choice.chip != "wang2024"):
        raise UserError("--write is for the generic gates of wang2024: leave --chip and --liberty out.")
    found = block_gates(preset(choice.chip), liberty=choice.liberty)
    area_at = "in the liberty file" if choice.liberty else "at 45 nm"
    print(f"{found[0].synthesis.tool}, {choice.chip}; areas in µm², without wiring\n")
    print(f"| block | what | cells | flip-flops | area {area_at} | at 32 nm | cost library, 32 nm |")
    print("|---|---|---|---|---|---|---|")
    for block in found:
        library = getattr(LIBRARY, REPLACES[block.name]).area_m2 if block.name in REPLACES else None
        beside = (
            f"{library.typical / UM2:.0f} ({library.low / UM2:.0f} – {library.high / UM2:.0f})"
            if library
            else "–"
        )
        area = block.area_m2 / UM2
        scaled = "–" if choice.liberty else f"{area * TO_32_NM:.0f}"
        made, name = block.synthesis, block.name
        print(
            f"| {name} | {block.what} | {made.total} | {made.registers} | {area:.0f} | {scaled} | {beside} |"
        )
    if choice.write:
        content = {
            "tool": found[0].synthesis.tool,
            "chip": choice.chip,
            "node_nm": NODE_nm,
            "cell_source": CELL_SOURCE.text,
            "blocks": {
                block.name: {
                    "what": block.what,
                    "cells": dict(sorted(block.synthesis.cells.items())),
                    "area_um2": round(block.area_m2 / UM2, 3),
                }
                for block in found
            },
        }
        write_atomically(GATES, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
