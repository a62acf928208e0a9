"""All hardware of a chip by name, ready to be written."""

from __future__ import annotations

from collections.abc import Callable

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_dense import dense_control
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_part_sums import part_sums
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.rtl_tile import tile_control
from ohmformer.specs import ChipSpec

__all__ = ["RTL_PARTS", "chip_layout", "chip_module", "chip_product"]

_TILES = 2  # along either axis, of the product that stands for all
_LANES = ("exp", "reciprocal", "rsqrt", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "quick_gelu")


def chip_layout(chip: ChipSpec) -> TileLayout:
    """Layout of a chip's tiles for activations that stream and weights that reside."""
    return TileLayout(
        tile=chip.tile,
        streamed_bits=chip.precision.activation_bits,
        resident_bits=chip.precision.weight_bits,
        word_bits=chip.buffer.word_bits,
    )


def chip_product(chip: ChipSpec, inner: int | None = None, columns: int | None = None) -> ProductLayout:
    """Layout of a product on a chip's tiles; without a shape, two full tiles along either axis."""
    layout = chip_layout(chip)
    full = ProductLayout(layout=layout, inner=1, columns=1).block_columns
    return ProductLayout(
        layout=layout,
        inner=_TILES * layout.tile.elements if inner is None else inner,
        columns=_TILES * full if columns is None else columns,
    )


def _lane(name: str) -> Callable[[ChipSpec], RtlModule]:
    return lambda chip: function_lane(FixedPointFunction(name=name, unit=chip.function_unit))


def _sums(layout: TileLayout) -> RtlModule:
    return part_sums(layout) if layout.split else shift_add(layout)


_MAKERS: dict[str, Callable[[ChipSpec], RtlModule]] = {
    "encoder": lambda chip: encoder(chip.tile.numeral, chip.precision.activation_bits),
    "shift_add": lambda chip: _sums(chip_layout(chip)),
    "tile_control": lambda chip: tile_control(chip_layout(chip), chip.clock_Hz),
    "product_control": lambda chip: product_control(chip_product(chip), chip.clock_Hz),
    "dense_control": lambda chip: dense_control(chip.dense, chip.precision.weight_bits, chip.clock_Hz),
    "softmax_row": lambda chip: softmax_row(
        SoftmaxRow(unit=chip.function_unit, layout=chip_layout(chip)), chip.clock_Hz
    ),
    **{name: _lane(name) for name in _LANES},
}
RTL_PARTS = tuple(_MAKERS)


def chip_module(chip: ChipSpec, part: str) -> RtlModule:
    """One of ``RTL_PARTS`` of a chip; each source is complete, what it instantiates included."""
    if part not in _MAKERS:
        raise EmitError(f"There is no RTL part {part!r}: the parts are {', '.join(RTL_PARTS)}.")
    return _MAKERS[part](chip)
