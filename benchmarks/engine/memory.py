"""Peak memory of deploying and running, above a process that holds the fp32 model; in a process of its own.

    python -m benchmarks.engine.memory MODEL TASK deploy|fp32

prints JSON. The base is the resident set with the model loaded and every weight touched. The peak is the
kernel's high-water mark, reset at the base, after deploying and one forward run of 128 tokens (``fp32``:
the forward run of the original alone).
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.engine.machine import ROOT

TOKENS = 128


def resident_bytes(key: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel states no {key}")


def _reset_peak() -> None:
    """Set the high-water mark to what is resident now, unused heap given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(name: str, task: Any, what: str) -> dict[str, float]:
    """Bytes of the weights, of the base and of the peak."""
    import torch

    from benchmarks.engine import chips
    from benchmarks.engine.works import deployed, token_ids
    from ohmformer.workloads import load_model

    model: Any = load_model(name, task=task).model
    weights = {id(p): p.numel() * p.element_size() for p in model.parameters()}
    touched = sum(float(p.double().abs().amax()) for p in model.parameters())
    assert touched > 0
    ids = token_ids(model, 1, TOKENS)
    _reset_peak()
    base = resident_bytes("VmRSS")
    with torch.no_grad():
        running = deployed(model, chips.collapsed()) if what == "deploy" else model
        running(input_ids=ids)
    peak = resident_bytes("VmHWM")
    return {"weights_bytes": sum(weights.values()), "base_bytes": base, "peak_bytes": peak}


def in_child(name: str, task: str, what: str) -> dict[str, float]:
    """``measure`` in a fresh process; its figures, and ``ratio`` = (peak - base) / weights."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine.memory", name, task, what],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the memory of {name} was not measured: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    found["ratio"] = (found["peak_bytes"] - found["base_bytes"]) / found["weights_bytes"]
    return found


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
