"""Error and speed of the batched solver of the wires: prints the tables of docs/circuits.md.

    python scripts/wire_solver.py [--peer PYTHON] [--threads N]

Tiles of 128 x 128, base-7 weights 1 and 2 on alternate wordlines, half of the switches closed at random.

    entry     largest error of an entry, share of the largest entry, against the exact form
    bitline   largest error of a bitline current, all wordlines driven alike, share of the largest one
    estimate  what ``walk_error`` says
    tiles/s   of a batch of TILES

With --peer, an interpreter that has badcrossbar 1.1.0 (it needs the Debian packages libcairo2-dev and
pkg-config), both solve one tile for 64 input vectors; ours forms the effective conductances and multiplies.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time

import torch
from torch import Tensor

from ohmformer.devices import effective_conductance, nodal_conductance
from ohmformer.devices.wire_solver import stretch_for, walk_error

CASES = ((0.5, 1e6), (1.0, 1e6), (5.0, 1e6), (0.5, 1e5), (1.0, 1e5), (5.0, 1e5))  # wire ohm, unit ohm
SIZE, TILES, INPUTS, TOLERANCE = 128, 32, 64, 1e-3

PEER = """
import json, sys, time
import numpy as np, badcrossbar
ohm, volts, wire = (np.array(part) for part in json.load(sys.stdin))
ohm[ohm == 0] = np.inf
seconds = []
for _ in range(3):
    begin = time.perf_counter()
    found = badcrossbar.compute(volts, ohm, float(wire), node_voltages=False, all_currents=False)
    seconds.append(time.perf_counter() - begin)
print(json.dumps([min(seconds), np.asarray(found.currents.output).tolist()]))
"""


def cells(count: int, unit_ohm: float, generator: torch.Generator) -> Tensor:
    """Conductances of random tiles, [tile, wordline, bitline], S."""
    closed = torch.randint(0, 2, (count, SIZE, SIZE), generator=generator)
    return closed * torch.tensor([1.0, 2.0]).double().repeat(SIZE // 2)[:, None] / unit_ohm


def row(wire_ohm: float, unit_ohm: float, generator: torch.Generator) -> str:
    """Error and speed of one case."""
    batch = cells(TILES, unit_ohm, generator)
    begin = time.perf_counter()
    exact = effective_conductance(batch[:8], wire_ohm)
    exact_s = (time.perf_counter() - begin) / 8
    begin = time.perf_counter()
    fast = effective_conductance(batch, wire_ohm, tolerance=TOLERANCE)
    fast_s = (time.perf_counter() - begin) / TILES
    sparse = nodal_conductance(batch[0], wire_ohm)
    rounding = (exact[0] - sparse).abs().max() / sparse.max()
    entry = ((fast[:8] - exact).abs().amax((1, 2)) / exact.amax((1, 2))).max()
    bitline = ((fast[:8].sum(1) - exact.sum(1)).abs().amax(1) / exact.sum(1).amax(1)).max()
    scaled = batch * wire_ohm
    stretch = stretch_for(scaled, TOLERANCE)
    return (
        f"| {wire_ohm:g} Ω | {unit_ohm / 1e6:g} MΩ | {float(rounding):.0e} | {1 / exact_s:.0f} "
        f"| {int(stretch[0])} | {float(entry):.1e} | {float(bitline):.1e} "
        f"| {float(walk_error(scaled, stretch).max()):.1e} | {1 / fast_s:.0f} |"
    )


def against_peer(python: str, generator: torch.Generator) -> str:
    """One tile, 64 input vectors, both solvers."""
    tile, wire_ohm = cells(1, 1e6, generator)[0], 1.0
    volts = 0.2 * torch.randint(-1, 2, (SIZE, INPUTS), generator=generator).double()
    resistances = torch.where(tile > 0, 1 / tile, 0.0)
    given = json.dumps([resistances.tolist(), volts.tolist(), wire_ohm])
    done = subprocess.run([python, "-c", PEER], input=given, capture_output=True, text=True, check=True)
    peer_s, currents = json.loads(done.stdout.splitlines()[-1])
    theirs = torch.tensor(currents, dtype=torch.float64)
    lines = []
    for name, tolerance in (("exact", 0.0), ("0.1 %", TOLERANCE)):
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            ours = volts.T @ effective_conductance(tile, wire_ohm, tolerance=tolerance)
            seconds.append(time.perf_counter() - begin)
        off = float((ours - theirs).abs().max() / theirs.abs().max())
        lines.append(
            f"{name}: {min(seconds):.4f} s, badcrossbar {peer_s:.3f} s: {peer_s / min(seconds):.0f}x; "
            f"currents differ by {off:.1e} of the largest"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter that has badcrossbar")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(3)
    effective_conductance(cells(2, 1e6, generator), 1.0)  # loads libraries
    print("| wire | unit | exact: rounding | exact: tiles/s | n | entry | bitline | estimate | tiles/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(row(*case, generator), flush=True)
    if arguments.peer:
        print(against_peer(arguments.peer, generator))


if __name__ == "__main__":
    main()
