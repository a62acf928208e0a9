"""ZigZag's environment, made on demand, and one run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from benchmarks.engine.machine import ROOT

ENVIRONMENT = ROOT / "benchmarks" / ".peers" / "zigzag"
# the wheel leaves `six` out of what it needs; it takes no torch
PACKAGES = ("zigzag-dse==3.9.1", "six")
SECONDS = 900


class ZigZagError(RuntimeError):
    """It could not be run; the message is a sentence."""


def python_of(make: bool, folder: Path = ENVIRONMENT) -> Path | None:
    """The environment's python; None where there is none and none is to be made."""
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists():
        return python
    if not make:
        return None
    print("peers: installing zigzag-dse ...", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise ZigZagError(f"zigzag-dse could not be installed: {lines[-1].strip()[:300]}")
    ready.touch()
    return python


def run(python: Path) -> dict[str, Any]:
    """One run with one thread in its own process."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                [str(python), "-P", str(Path(__file__).with_name("peer_child.py")), scratch],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd=scratch,
            )
        except subprocess.TimeoutExpired as error:
            raise ZigZagError(f"ZigZag did not end within {SECONDS} s.") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise ZigZagError(f"ZigZag failed: {lines[-1].strip()[:300]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
