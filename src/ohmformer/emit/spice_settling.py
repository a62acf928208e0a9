"""How long a tile's circuit takes to settle, by a transient in ngspice."""

from __future__ import annotations

import torch

from ohmformer.devices import settling_time_s
from ohmformer.devices.periphery import PERIPHERY, Periphery
from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.simulators.ngspice import run_ngspice
from ohmformer.emit.spice_circuit import Transient
from ohmformer.emit.spice_tile import tile_circuit
from ohmformer.specs import TileSpec

__all__ = ["settled_after_s"]

STEPS = 1000  # over the time that is simulated


def settled_after_s(
    tile: TileSpec,
    *,
    error_codes: float = 0.25,
    periphery: Periphery = PERIPHERY,
    limit_s: float = 300.0,
) -> float:
    """Last time at which the first bitline is more than ``error_codes`` from where it ends.

    Every switch closed, the largest digit on every element: the largest sum. Twice what the formula says is
    simulated; the end is the operating point of the same circuit.

    returns: s, linear between two steps
    """
    digits = torch.full((tile.elements,), tile.numeral.max_digit)
    planes = torch.ones(1, tile.elements, 1, dtype=torch.int8)
    stop = 2 * settling_time_s(tile, error_codes=error_codes, periphery=periphery)
    times = Transient(stop / STEPS, stop)
    moving, still = (
        tile_circuit(tile, digits, planes, sense="amplifier", transient=when, periphery=periphery)
        for when in (times, None)
    )
    over, end = run_ngspice(moving, limit_s=limit_s), run_ngspice(still, limit_s=limit_s)[0]
    apart = (over[:, 1] / end - 1).abs()
    share = error_codes * tile.adc.step / tile.max_sum
    outside = (apart > share).nonzero()
    last = int(outside.max()) if len(outside) else -1
    if last < 0 or last == len(apart) - 1:
        raise SimulatorError(f"ngspice's transient of {stop:g} s does not show where the tile settles.")
    part = (apart[last] - share) / (apart[last] - apart[last + 1])
    return float(over[last, 0] + part * (over[last + 1, 0] - over[last, 0]))
