"""Error and speed of the batched solver of the wires: prints the tables of docs/checks/wires.md.

    python scripts/wire_solver.py [--peer PYTHON] [--threads N]

Tiles of 128 x 128, base-7 weights 1 and 2 on alternate wordlines, switches closed at random or all.

    error     largest error of an entry, share of the largest entry, against the sparse solution of one tile
    tiles/s   of a batch of TILES on N threads, a second of wall time; best of ROUNDS
    a core    the same, a second of processor time

With --peer, an interpreter that has badcrossbar 1.1.0 (it needs the Debian packages libcairo2-dev and
pkg-config), both solve one tile for 64 input vectors; ours forms the effective conductances and multiplies.
Both times are processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ohmformer.devices import effective_conductance, nodal_conductance
from ohmformer.devices.wire_solver import _native_walk

CASES = (  # wire ohm, unit ohm, share of the switches that are closed
    (0.5, 1e6, 0.5),
    (1.0, 1e6, 0.5),
    (5.0, 1e6, 0.5),
    (1.0, 1e5, 0.5),
    (5.0, 1e5, 0.1),
    (5.0, 1e5, 0.5),
    (5.0, 1e5, 1.0),
)
SIZE, TILES, ROUNDS, INPUTS = 128, 64, 5, 64

PEER = """
import json, sys, time
import numpy as np, badcrossbar
ohm, volts, wire = (np.array(part) for part in json.load(sys.stdin))
ohm[ohm == 0] = np.inf
seconds = []
for _ in range(3):
    begin = time.process_time()
    found = badcrossbar.compute(volts, ohm, float(wire), node_voltages=False, all_currents=False)
    seconds.append(time.process_time() - begin)
print(json.dumps([min(seconds), np.asarray(found.currents.output).tolist()]))
"""


def cells(count: int, unit_ohm: float, share: float, generator: torch.Generator) -> Tensor:
    """Conductances of random tiles, [tile, wordline, bitline], S."""
    closed = (torch.rand(count, SIZE, SIZE, generator=generator) < share).double()
    return closed * torch.tensor([1.0, 2.0]).double().repeat(SIZE // 2)[:, None] / unit_ohm


def speed(walk: Callable[[Tensor], object], scaled: Tensor, clock: Callable[[], float]) -> float:
    """Tiles a second, best of ROUNDS."""
    seconds = []
    for _ in range(ROUNDS):
        begin = clock()
        walk(scaled)
        seconds.append(clock() - begin)
    return len(scaled) / min(seconds)


def row(wire_ohm: float, unit_ohm: float, share: float, generator: torch.Generator) -> str:
    """Error and speed of one case."""
    batch = cells(TILES, unit_ohm, share, generator)
    sparse = nodal_conductance(batch[0], wire_ohm)
    error = (effective_conductance(batch[0], wire_ohm) - sparse).abs().max() / sparse.max()
    scaled = batch * wire_ohm
    return (
        f"| {wire_ohm:g} Ω | {unit_ohm / 1e6:g} MΩ | {100 * share:g} % | {float(error):.0e} "
        f"| {speed(_native_walk, scaled, time.perf_counter):.0f} "
        f"| {speed(_native_walk, scaled, time.process_time):.0f} |"
    )


def against_peer(python: str, generator: torch.Generator) -> str:
    """One tile, 64 input vectors, both solvers."""
    torch.set_num_threads(1)
    tile, wire_ohm = cells(1, 1e6, 0.5, generator)[0], 1.0
    volts = 0.2 * torch.randint(-1, 2, (SIZE, INPUTS), generator=generator).double()
    resistances = torch.where(tile > 0, 1 / tile, 0.0)
    given = json.dumps([resistances.tolist(), volts.tolist(), wire_ohm])
    done = subprocess.run(
        [python, "-c", PEER],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    peer_s, currents = json.loads(done.stdout.splitlines()[-1])
    theirs = torch.tensor(currents, dtype=torch.float64)
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        ours = volts.T @ effective_conductance(tile, wire_ohm)
        seconds.append(time.process_time() - begin)
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    return (
        f"one tile, {INPUTS} input vectors: {min(seconds):.4f} s, badcrossbar {peer_s:.3f} s: "
        f"{peer_s / min(seconds):.0f}x; "
        f"currents differ by {off:.1e} of the largest"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter that has badcrossbar")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(3)
    effective_conductance(cells(2, 1e6, 0.5, generator), 1.0)  # loads libraries
    print("| wire | unit | closed | error | tiles/s | a core |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        print(row(*case, generator), flush=True)
    if arguments.peer:
        print(against_peer(arguments.peer, generator))


if __name__ == "__main__":
    main()
