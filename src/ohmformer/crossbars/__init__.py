"""Readable reference of the dense crossbar and of the computation crossbar."""

from ohmformer.crossbars.checks import CrossbarError
from ohmformer.crossbars.computation import ProductResult, WireModel, compute, draw_mismatch
from ohmformer.crossbars.dense import DenseCrossbar
from ohmformer.crossbars.moments import (
    additive_mean,
    additive_variance,
    mean_squares,
    noise_variance,
    product_variance,
)
from ohmformer.crossbars.operands import (
    Group,
    digit_weights,
    drive,
    output_blocks,
    plane_weights,
    resident_planes,
    resistor_weights,
    streamed_digits,
    wordline_groups,
)
from ohmformer.crossbars.protection import check_cells, data_words, word_count

__all__ = [
    "CrossbarError",
    "DenseCrossbar",
    "Group",
    "ProductResult",
    "WireModel",
    "additive_mean",
    "additive_variance",
    "check_cells",
    "compute",
    "data_words",
    "digit_weights",
    "draw_mismatch",
    "drive",
    "mean_squares",
    "noise_variance",
    "output_blocks",
    "plane_weights",
    "product_variance",
    "resident_planes",
    "resistor_weights",
    "streamed_digits",
    "word_count",
    "wordline_groups",
]
