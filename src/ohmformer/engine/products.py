"""The contract of a product on computation crossbars, and the mode that a tile's physics allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ohmformer.engine.calibrated import calibrated_product
from ohmformer.engine.collapsed import collapsed_product
from ohmformer.engine.digit_serial import every_conversion
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.statistical import statistical_product
from ohmformer.engine.wire_errors import takes_every_conversion
from ohmformer.engine.wire_law import calibrated, levels_hold
from ohmformer.errors import UserError
from ohmformer.numerals import on_host
from ohmformer.specs import TileSpec

Mode = Literal["collapsed", "calibrated", "digit-serial", "statistical"]
MODES: tuple[Mode, ...] = get_args(Mode)


class ProductEngine(Protocol):
    """Multiplies integer codes the way a computation crossbar does."""

    def product(
        self,
        streamed: Tensor,
        resident: Tensor | ResidentCodes,
        *,
        streamed_bits: int,
        resident_bits: int,
        draw: Draw,
    ) -> Tensor:
        """streamed [..., row, inner] x resident [..., inner, column], whole numbers in a floating dtype.

        resident: may also be the codes of a stored operand, one for all rows
        draw:     where noise comes from; one key for each row, batch axes flattened in front
        returns:  [..., row, column], whole numbers; equal to the integer product where nothing is lost
        and no conversion goes wrong.
        """
        ...


@lru_cache(maxsize=256)
@on_host
def mode_of(tile: TileSpec) -> Mode:
    """The cheapest mode that the physics of ``tile`` allows.

    ``collapsed``:    converters resolve every sum; what noise does to a conversion has a closed form
    ``calibrated``:   converters lose nothing, or clip and lose nothing else, but for wires and nonlinearity,
                      which make few conversions wrong: these are drawn one by one from a law derived from
                      the tile (``wire_law``) and added to the product without wires (``calibrated.py``)
    ``digit-serial``: converters clip and no wires move levels, or they lose more (steps above 1), cut
                      instead of rounding while there is noise, or wires and nonlinearity move levels so far
                      that they may be read as their neighbours, without noise or too often for the law:
                      every conversion is computed
    """
    noisy = tile.environment_noise > 0 or tile.adc.noise > 0 or tile.resistor.mismatch > 0
    cuts = tile.adc.rounding == "floor" and noisy
    if tile.lossless and not cuts and levels_hold(tile):
        return "collapsed"
    return "calibrated" if calibrated(tile) else "digit-serial"


def product_shape(streamed: Tensor, resident: Tensor | ResidentCodes) -> torch.Size:
    """Shape of streamed [..., row, inner] x resident [..., inner, column] with broadcast batch axes."""
    if isinstance(resident, ResidentCodes):
        return torch.Size((*streamed.shape[:-1], resident.shape[0]))
    batch = torch.broadcast_shapes(streamed.shape[:-2], resident.shape[:-2])
    return torch.Size((*batch, streamed.shape[-2], resident.shape[-1]))


@dataclass(frozen=True)
class FastEngine:
    """The fast products, by mode.

    mode: None takes what the physics of the tile allows; ``statistical`` must be asked for

    Error: collapsed: bit-exact without noise; with noise the law of the conversion errors is kept
    (``collapsed.py`` states the approximations). calibrated: that of ``wire_law``; products of few columns
    are digit-serial. digit-serial: every conversion is computed, resistor mismatch enters as noise of the
    same variance instead of a fixed pattern. statistical: mean and variance of the errors are kept.
    """

    tile: TileSpec
    mode: Mode | None = None

    def __post_init__(self) -> None:
        if self.mode == "calibrated" and mode_of(self.tile) != "calibrated":
            raise UserError(
                "The mode 'calibrated' is for converters of step 1 with wires or nonlinearity that make few "
                "conversions wrong, with noise and resident bits: choose 'digit-serial' or 'statistical'."
            )
        if self.mode == "collapsed" and mode_of(self.tile) != "collapsed":
            raise UserError(
                "The mode 'collapsed' needs converters that lose nothing: this chip's do lose, so choose "
                "'digit-serial' or 'statistical'."
            )
        if self.mode not in (None, *MODES):
            raise UserError(f"mode is {self.mode!r}: it must be one of {', '.join(MODES)}.")

    @property
    def runs(self) -> Mode:
        """The mode in use."""
        return self.mode or mode_of(self.tile)

    def product(
        self,
        streamed: Tensor,
        resident: Tensor | ResidentCodes,
        *,
        streamed_bits: int,
        resident_bits: int,
        draw: Draw,
    ) -> Tensor:
        """See ``ProductEngine.product``; tensors on the meta device give the shape alone."""
        if streamed.is_meta or resident.is_meta:
            return torch.empty(product_shape(streamed, resident), device="meta")
        mode, columns = self.runs, product_shape(streamed, resident)[-1]
        if mode == "calibrated" and takes_every_conversion(streamed_bits, resident_bits, columns):
            mode = "digit-serial"
        if mode != "calibrated" and isinstance(resident, ResidentCodes) and resident.is_patched:
            resident = resident.floats()  # what engines keep is that of the codes as they were stored
        run = _PRODUCTS[mode]
        return run(streamed, resident, self.tile, streamed_bits, resident_bits, draw)


_PRODUCTS: dict[Mode, Callable[..., Tensor]] = {
    "collapsed": collapsed_product,
    "calibrated": calibrated_product,
    "digit-serial": every_conversion,
    "statistical": statistical_product,
}
