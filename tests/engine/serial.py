"""Tiles, draws and single conversions that the tests of digit-serial products share."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.native import _native
from ohmformer.engine.randomness import Draw
from ohmformer.specs import TileSpec

PATHS = [*(_native.names() if _native is not None else []), "torch"]
DENSE = {"environment_noise": 0.4, "adc_noise": 0.1, "mismatch": 0.02}
SPARSE = {"environment_noise": 0.1, "adc_noise": 0.09, "mismatch": 0.002}
WILD = {"environment_noise": 1.5, "mismatch": 0.02}  # more than whole noise has thresholds for
RARE = {"environment_noise": 0.05, "adc_noise": 0.05}  # beside wires


def draw(rows: int, seed: int = 1, first: int = 0) -> Draw:
    return Draw(seed=seed, stream=3, keys=torch.arange(first, first + rows))


def wired(tile: TileSpec, ohm: float) -> TileSpec:
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=ohm))


def one_conversion(tile: TileSpec, total: int, rows: int) -> Tensor:
    """Codes of ``rows`` conversions of the whole sum ``total``, times the step: digits 3, switches 1."""
    elements = torch.zeros(1, 64)
    elements[0, : total // 3] = 3.0
    if total % 3:
        elements[0, 63] = float(total % 3)
    resident = torch.zeros(64, 1)
    resident[:] = 1.0
    # 2-bit operands: one digit; of the two planes only the lower is closed, the upper converts 0
    streamed = elements.expand(rows, -1).contiguous()
    return digit_serial_product(streamed, resident, tile, 3, 2, draw(rows, seed=7)).double()
