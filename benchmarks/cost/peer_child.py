"""ZigZag on one layer of BERT-base: run by the python of its own environment; prints JSON.

Eight GEMMs of one layer at 128 tokens, the analog in-memory hardware of the wheel, the mapping of the wheel,
energy as the aim, loop factors up to 6. Twelve equal layers make the model: energy and cycles times 12.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

LAYERS = 12


def gemms(tokens: int = 128) -> list[tuple[str, int, int, int]]:
    """(name, rows, inner, columns) of one layer; the heads stand one below the other."""
    hidden, feed, heads, size = 768, 3072, 12, 64
    return [
        ("query", tokens, hidden, hidden),
        ("key", tokens, hidden, hidden),
        ("value", tokens, hidden, hidden),
        ("scores", tokens * heads, size, tokens),
        ("context", tokens * heads, tokens, size),
        ("output", tokens, hidden, hidden),
        ("intermediate", tokens, hidden, feed),
        ("feed-forward output", tokens, feed, hidden),
    ]


def workload() -> list[dict[str, object]]:
    """The GEMMs as ZigZag's layers, each fed by the one before."""
    return [
        {
            "id": index,
            "name": name,
            "operator_type": "Gemm",
            "equation": "O[b][k]+=I[b][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["B", "C", "K"],
            "loop_sizes": [rows, inner, columns],
            "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
            "operand_source": {"I": max(index - 1, 0), "W": index},
        }
        for index, (name, rows, inner, columns) in enumerate(gemms())
    ]


def main(out: str) -> dict[str, object]:
    """Seconds of CPU and wall, energy and cycles of the whole model."""
    import zigzag
    from zigzag.api import get_hardware_performance_zigzag

    inputs = Path(zigzag.__file__).parent / "inputs"
    logging.disable(logging.CRITICAL)
    wall, cpu = time.perf_counter(), time.process_time()
    energy_pJ, cycles, *_ = get_hardware_performance_zigzag(
        workload=workload(),
        accelerator=str(inputs / "hardware" / "aimc.yaml"),
        mapping=str(inputs / "mapping" / "default_imc.yaml"),
        opt="energy",
        lpf_limit=6,
        dump_folder=out,
        in_memory_compute=True,
        loma_show_progress_bar=False,
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "energy_J": LAYERS * energy_pJ * 1e-12,
        "cycles": LAYERS * cycles,
        "version": version("zigzag-dse"),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
