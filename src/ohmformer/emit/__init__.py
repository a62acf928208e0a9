"""Hardware from the specification: SPICE netlists and RTL, and the tools that run them."""

from ohmformer.emit.checks import EmitError, SimulatorError
from ohmformer.emit.rtl_areas import BlockGates, block_gates, digital_blocks, gate_area_m2
from ohmformer.emit.rtl_chip import RTL_PARTS, chip_layout, chip_module, chip_product
from ohmformer.emit.rtl_dense import WordLayout, corrector, dense_control
from ohmformer.emit.rtl_encoder import encoder
from ohmformer.emit.rtl_function import function_lane
from ohmformer.emit.rtl_function_model import FixedPointFunction
from ohmformer.emit.rtl_play import Played, play_matrix, play_product, play_softmax
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_shift_add import TileLayout, shift_add
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.emit.rtl_text import Port, RtlModule
from ohmformer.emit.rtl_tile import tile_control

__all__ = [
    "RTL_PARTS",
    "BlockGates",
    "EmitError",
    "FixedPointFunction",
    "Played",
    "Port",
    "ProductLayout",
    "RtlModule",
    "SimulatorError",
    "SoftmaxRow",
    "TileLayout",
    "WordLayout",
    "block_gates",
    "chip_layout",
    "chip_module",
    "chip_product",
    "corrector",
    "dense_control",
    "digital_blocks",
    "encoder",
    "function_lane",
    "gate_area_m2",
    "play_matrix",
    "play_product",
    "play_softmax",
    "product_control",
    "shift_add",
    "softmax_row",
    "tile_control",
]
