"""Frozen tables of memories and converters for the cost library, written from published models.

    python3.12 -m venv tables && tables/bin/pip install hwcomponents==1.0.114 hwcomponents-adc==1.0.21 \
        hwcomponents-cacti==1.0.40
    tables/bin/python scripts/cost_tables.py            # writes src/ohmformer/costs/*_table.json
    tables/bin/python scripts/cost_tables.py --check    # compares instead, exit code 1 if they differ

Run by hand: these packages need Python 3.12 and bring pandas, and the program in the CACTI package is linked
against a newer C library than most systems have, so it is built here from the sources beside it (a C++
compiler and make, half a minute). The tables are read by costs/memory.py and costs/converter.py.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

COSTS = Path(__file__).parents[1] / "src" / "ohmformer" / "costs"
NODE_M = 32e-9
CAPACITIES = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576)
PORT_BITS = 256
# name: (cell, periphery)
MEMORIES = {
    "sram, low operating power": ("itrs-lop", "itrs-lop"),
    "sram, low standby power": ("itrs-lstp", "itrs-lstp"),
    "sram, high performance": ("itrs-hp", "itrs-hp"),
    "edram, low power": ("lp-dram", "itrs-lop"),
}
KELVIN = 350
CONVERTER_BITS = range(4, 17)
CONVERTER_RATES = (1e7, 1e8, 3.2e8, 6.4e8, 1.28e9, 2.56e9, 1e10)
EDITS = {
    "Data array cell type": '"{cell}"',
    "Data array peripheral type": '"{periphery}"',
    "Tag array cell type": '"{cell}"',
    "Tag array peripheral type": '"{periphery}"',
}
CONFIGURATION = """
-size (bytes) {size}
-block size (bytes) {block}
-associativity 1
-read-write port 1
-UCA bank count 1
-technology (u) {node_um}
-output/input bus width {port}
-cache type "ram"
-tag size (b) 0
"""


def build_cacti(folder: Path) -> Path:
    """CACTI of the installed package, built in ``folder``."""
    spec = find_spec("hwcomponents_cacti")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "cacti"
    built = folder / "cacti"
    shutil.copytree(source, built, ignore=shutil.ignore_patterns("obj_*", "cacti"))
    subprocess.run(["make", "opt"], cwd=built, check=True, capture_output=True)
    return built


def default_configuration() -> str:
    spec = find_spec("hwcomponents_cacti")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "default_cfg.cfg").read_text()


def run_cacti(built: Path, size: int, cell: str, periphery: str) -> dict[str, float]:
    """One memory: read energy, leakage, area, access and cycle time, SI."""
    lines = []
    for line in default_configuration().splitlines():
        for field, value in EDITS.items():
            if line.startswith(f"-{field}"):
                line = f"-{field} - {value.format(cell=cell, periphery=periphery)}"
        if line.startswith("-operating temperature"):
            line = f"-operating temperature (K) {KELVIN}"
        lines.append(line)
    text = "\n".join(lines) + CONFIGURATION.format(
        size=size, block=PORT_BITS // 8, port=PORT_BITS, node_um=NODE_M * 1e6
    )
    (built / "case.cfg").write_text(text)
    out = subprocess.run(
        ["./cacti", "-infile", "case.cfg"], cwd=built, check=True, capture_output=True, text=True
    ).stdout

    def number(pattern: str) -> float:
        found = re.search(pattern + r"\s*:\s*([-+.\deE]+)", out)
        if not found:
            sys.exit(f"CACTI printed no {pattern!r} for {size} bytes of {cell}:\n{out[-2000:]}")
        return float(found.group(1))

    sides = re.search(r"Cache height x width \(mm\): ([\d.]+) x ([\d.]+)", out)
    assert sides is not None
    return {
        "read_J": number(r"Total dynamic read energy per access \(nJ\)") * 1e-9,
        "write_J": number(r"Total dynamic write energy per access \(nJ\)") * 1e-9,
        "leakage_W": number(r"Total leakage power of a bank \(mW\)") * 1e-3,
        "area_m2": float(sides.group(1)) * float(sides.group(2)) * 1e-6,
        "access_s": number(r"Access time \(ns\)") * 1e-9,
        "cycle_s": number(r"Cycle time \(ns\)") * 1e-9,
    }


def memory_table() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        built = build_cacti(Path(folder))
        rows = {
            name: {str(size): run_cacti(built, size, *cells) for size in CAPACITIES}
            for name, cells in MEMORIES.items()
        }
    return {
        "source": f"CACTI 7 as in hwcomponents-cacti {version('hwcomponents-cacti')}, 32 nm, one bank, one "
        f"port of {PORT_BITS} bits, {KELVIN} K, objective ED^2",
        "port_bits": PORT_BITS,
        "rows": rows,
    }


def converter_table() -> dict[str, object]:
    """The survey-based model: energy per conversion and area; below 4 bits its refusal."""
    from hwcomponents_adc import ADC

    rows = {}
    for bits in CONVERTER_BITS:
        for rate in CONVERTER_RATES:
            part = ADC(bits, NODE_M, rate)
            rows[f"{bits} bits {rate:.3g} Hz"] = {
                "bits": bits, "rate_Hz": rate, "energy_J": part.get_energy(), "area_m2": part.area,
            }  # fmt: skip
    try:
        ADC(3, NODE_M, 1.28e9)
    except AssertionError as error:
        refusal = str(error)
    else:
        sys.exit("the model accepts 3 bits now: see costs/converter.py")
    return {
        "source": f"Andrulis et al., arXiv 2404.06553, as in hwcomponents-adc {version('hwcomponents-adc')}, "
        "32 nm",
        "refusal_below_4_bits": refusal,
        "rows": list(rows.values()),
    }


def rounded(value: object) -> object:
    """Six digits: what the tables are compared in."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Write (or check) the tables of the cost library.")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    differ = []
    for name, table in (("memory", memory_table()), ("converter", converter_table())):
        path = COSTS / f"{name}_table.json"
        text = json.dumps(rounded(table), indent=1, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            differ.append(path.name)
    if differ:
        sys.exit(f"these tables differ from what the models say now: {', '.join(differ)}")


if __name__ == "__main__":
    main()
