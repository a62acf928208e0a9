"""Products beside wires: the product without them, and the conversions that wires and noise make wrong.

    y = Σ radix^i·c_j·clip(s) + Σ radix^i·c_j·(code - clip(s)),   clip(s) = s within ±max_code

The second sum is rare and drawn one by one from ``wire_law``, noise included. The first is the integer
product where converters resolve every sum, else every conversion without wires and noise, in whole numbers.

Error: that of ``wire_law``; the first sum is exact.
"""

from __future__ import annotations

from torch import Tensor

from ohmformer.engine.collapsed import add_wrong_outputs, collapsed_product
from ohmformer.engine.digit_serial import every_conversion
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.wire_errors import product_law, without_wires
from ohmformer.specs import TileSpec


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


__all__ = ["calibrated_product", "without_wires"]
