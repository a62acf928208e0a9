"""The contract of a product on computation crossbars, and the mode that a tile's physics allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ohmformer.engine.collapsed import collapsed_product
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.specs import TileSpec

Mode = Literal["collapsed", "digit-serial"]


class ProductEngine(Protocol):
    """Multiplies integer codes the way a computation crossbar does."""

    def product(
        self,
        streamed: Tensor,
        resident: Tensor,
        *,
        streamed_bits: int,
        resident_bits: int,
        generator: torch.Generator,
    ) -> Tensor:
        """streamed [..., row, inner] x resident [..., inner, column], whole numbers in a floating dtype.

        returns: [..., row, column], whole numbers; equal to the integer product where nothing is lost
        and no conversion goes wrong.
        """
        ...


def mode_of(tile: TileSpec) -> Mode:
    """The cheapest mode that the physics of ``tile`` allows.

    ``collapsed``:    converters resolve every sum; what noise does to a conversion has a closed form
    ``digit-serial``: converters lose information (clipping, steps above 1), or cut instead of rounding
                      while there is noise: every conversion is computed
    """
    noisy = tile.environment_noise > 0 or tile.adc.noise > 0 or tile.resistor.mismatch > 0
    if tile.lossless and not (tile.adc.rounding == "floor" and noisy):
        return "collapsed"
    return "digit-serial"


def product_shape(streamed: Tensor, resident: Tensor) -> torch.Size:
    """Shape of streamed [..., row, inner] x resident [..., inner, column] with broadcast batch axes."""
    batch = torch.broadcast_shapes(streamed.shape[:-2], resident.shape[:-2])
    return torch.Size((*batch, streamed.shape[-2], resident.shape[-1]))


@dataclass(frozen=True)
class FastEngine:
    """Plain torch kernels, by mode.

    Error: collapsed: bit-exact without noise; with noise the law of the conversion errors is kept
    (``collapsed.py`` states the approximations). digit-serial: every conversion is computed, resistor
    mismatch enters as noise of the same variance instead of a fixed pattern.
    """

    tile: TileSpec

    def product(
        self,
        streamed: Tensor,
        resident: Tensor,
        *,
        streamed_bits: int,
        resident_bits: int,
        generator: torch.Generator,
    ) -> Tensor:
        """See ``ProductEngine.product``; tensors on the meta device give the shape alone."""
        if streamed.is_meta or resident.is_meta:
            return torch.empty(product_shape(streamed, resident), device="meta")
        run = collapsed_product if mode_of(self.tile) == "collapsed" else digit_serial_product
        return run(streamed, resident, self.tile, streamed_bits, resident_bits, generator)
