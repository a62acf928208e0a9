"""Products beside wires: the product without them, and the conversions that wires and noise make wrong.

    y = Σ radix^i·c_j·clip(s) + Σ radix^i·c_j·(code - clip(s)),   clip(s) = s within ±max_code

The second sum is rare and drawn one by one from ``wire_law``, noise included. The first is the integer
product where converters resolve every sum, else every conversion without wires and noise, in whole numbers.

Error: that of ``wire_law``; the first sum is exact.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from ohmformer.engine.collapsed import add_wrong_outputs, collapsed_product
from ohmformer.engine.digit_serial import digit_serial_product, pack_switches
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.wire_errors import product_law
from ohmformer.specs import TileSpec


@lru_cache(maxsize=256)
def without_wires(tile: TileSpec) -> TileSpec:
    """The same tile without wires, nonlinearity and noise: its converters only clip."""
    return replace(
        tile,
        environment_noise=0.0,
        resistor=replace(tile.resistor, wire_resistance_ohm=0.0, mismatch=0.0),
        adc=replace(tile.adc, noise=0.0, nonlinearity=0.0),
    )


def every_conversion(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
) -> Tensor:
    """``digit_serial_product``; the switches of stored codes are packed once and kept with them.

    Codes that are others for a while (``ResidentCodes.patched``) are packed for this product alone.
    """
    if isinstance(resident, ResidentCodes):
        switches = None if resident.is_patched else resident.cache.get(tile)
        if switches is None:
            switches = pack_switches(resident.codes(), tile, resident_bits)
            if not resident.is_patched:
                resident.cache[tile] = switches
        return digit_serial_product(streamed, switches, tile, streamed_bits, resident_bits, draw, resident)
    return digit_serial_product(streamed, resident, tile, streamed_bits, resident_bits, draw)


def calibrated_product(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
) -> Tensor:
    """The product of a tile whose converters at most clip (see ``ProductEngine.product``)."""
    if tile.lossless:
        return collapsed_product(streamed, resident, tile, streamed_bits, resident_bits, draw)
    quiet = without_wires(tile)
    values = every_conversion(streamed, resident, quiet, streamed_bits, resident_bits, draw)
    if not values.numel():
        return values
    law = product_law(tile, streamed_bits, resident_bits, streamed.shape[-1], values.shape[-1])
    return add_wrong_outputs(values, streamed, resident, law, draw)


__all__ = ["calibrated_product", "every_conversion", "without_wires"]
