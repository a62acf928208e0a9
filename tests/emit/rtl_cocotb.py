"""Build a module with Icarus and run a bench of this folder in it through cocotb."""

import json
from pathlib import Path

from cocotb_tools.runner import get_runner

from ohmformer.emit.rtl_text import RtlModule


def simulate(module: RtlModule, bench: str, case: dict, folder: Path) -> dict:
    """What the bench writes after playing the case; fails where it fails."""
    source, given, found = folder / "design.v", folder / "case.json", folder / "results.json"
    source.write_text(module.source)
    given.write_text(json.dumps(case))
    runner = get_runner("icarus")
    runner.build(
        sources=[source],
        hdl_toplevel=module.name,
        build_dir=folder / "build",
        build_args=["-g2005"],
        timescale=("1ns", "1ps"),
        always=True,
    )
    runner.test(
        hdl_toplevel=module.name,
        test_module=bench,
        build_dir=folder / "build",
        test_dir=folder,
        extra_env={
            "TILE_CASE": str(given),
            "TILE_RESULTS": str(found),
            "PYTHONPATH": str(Path(__file__).parent),
        },
    )
    return json.loads(found.read_text())
