"""Draws, tiles with wires and operands of layers that the tests of the calibrated mode share."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.engine import ResidentCodes
from ohmformer.engine.calibrated import calibrated_product, without_wires
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.randomness import Draw
from ohmformer.specs import TileSpec, preset


def at(rows: int, seed: int = 1, first: int = 0) -> Draw:
    return Draw(seed=seed, stream=5, keys=torch.arange(first, first + rows))


def tile_of(ohm: float = 1.0, **changes: float) -> TileSpec:
    """``wang2024`` with its noise and with wires."""
    tile = preset("wang2024").tile
    return replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=ohm, **changes))


def quantised(values: Tensor, axis: int) -> Tensor:
    return (values / (values.abs().amax(axis, keepdim=True) / 127)).round()


def operands(
    kind: str, rows: int, inner: int = 384, columns: int = 96, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Codes of a layer: normal ones; after GELU; with shifted means; Laplace weights."""
    generator = torch.Generator().manual_seed(seed)
    streamed = torch.randn(rows, inner, generator=generator)
    resident = torch.randn(inner, columns, generator=generator)
    if kind == "gelu":
        streamed = torch.nn.functional.gelu(streamed)
    if kind == "shifted":
        streamed = streamed + 0.5
    if kind == "heavy":
        resident = resident * torch.empty_like(resident).exponential_(generator=generator).sqrt()
    return quantised(streamed, 1), quantised(resident, 0)


def compared(streamed: Tensor, resident: Tensor, tile: TileSpec, law: TileSpec | None = None) -> Tensor:
    """Share of wrong outputs, mean and mean square of the errors, calibrated minus digit-serial.

    Wrong is what differs from the product without wires and noise. In standard errors of the mean over rows.
    """
    rows = len(streamed)
    clipped = digit_serial_product(streamed, resident, without_wires(tile), 8, 8, at(rows)).double()
    codes = ResidentCodes(resident.t(), 8)
    serial = digit_serial_product(streamed, resident, tile, 8, 8, at(rows)).double() - clipped
    drawn = calibrated_product(streamed, codes, law or tile, 8, 8, at(rows, 2)).double() - clipped
    assert serial.std() > 0
    found = []
    for kept in ((serial != 0, drawn != 0), (serial, drawn), (serial.square(), drawn.square())):
        difference = (kept[1].double() - kept[0].double()).mean(1)
        found.append(difference.mean() / (difference.std() / rows**0.5))
    return torch.stack(found)
