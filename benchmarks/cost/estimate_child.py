"""One estimate in a process of its own: ``python -m benchmarks.cost.estimate_child NAME``; prints JSON.

Imports, and a tiny model of the same family that makes all of them happen, come first and are not timed.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cost import works


def main(name: str) -> dict[str, float]:
    """Seconds of CPU and wall, peak resident memory in MiB, and figures of the result."""
    import torch

    from ohmformer import verbs

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = works.folder_of(works.TINY[name], Path(scratch), "tiny")
        model = works.model_of(name, Path(scratch))
        verbs.estimate(str(tiny), works.chip(), tokens=8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        result = verbs.estimate(model, works.chip(), tokens=works.TOKENS)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    own = result.comparison.chip["typical"]
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "imports_MiB": before / 1024,
        "macs": result.macs,
        "latency_s": own.latency_s,
        "energy_J": own.energy_J,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
