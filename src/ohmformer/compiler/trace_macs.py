"""Multiply-accumulates of ATen operations, from the shapes of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from ohmformer.compiler.names import words
from ohmformer.errors import UserError

__all__ = ["UNCOUNTED", "aten_macs"]

Shape = tuple[int, ...]


def _product(first: Shape, second: Shape) -> int:
    """[…, m, k] times […, k, n], batches alike: one multiply-accumulate for each m, k, n and batch."""
    return prod(first) * second[-1]


def _convolution(shapes: Sequence[Shape], args: Sequence[Any], outputs: Sequence[Shape]) -> int:
    """Σ over outputs of the inputs each takes; a transposed one counts the outputs each input reaches.

    Every position of the kernel counts, those over the padding too.
    """
    given, kernel = shapes[0], shapes[1]
    transposed = bool(args[6]) if len(args) > 6 else False
    return prod(given if transposed else outputs[0]) * prod(kernel[1:])


def _grouped(shapes: Sequence[Shape], args: Sequence[Any], outputs: Sequence[Shape]) -> int:
    """Rows [S, k] in groups, each group times its own matrix of [E, k, n]: S·k·n."""
    first, second = shapes[0], shapes[1]
    if len(first) == 2 and len(second) == 3:
        return prod(first) * second[-1]
    if len(first) == 3 and len(second) == 2:
        return prod(second) * first[-2]
    return prod(first) * second[-1]


_COUNTS: dict[str, Callable[[Sequence[Shape], Sequence[Any], Sequence[Shape]], int]] = {
    "mm": lambda s, a, o: _product(s[0], s[1]),
    "bmm": lambda s, a, o: _product(s[0], s[1]),
    "addmm": lambda s, a, o: _product(s[1], s[2]),
    "addmm_": lambda s, a, o: _product(s[1], s[2]),
    "_addmm_activation": lambda s, a, o: _product(s[1], s[2]),
    "baddbmm": lambda s, a, o: _product(s[1], s[2]),
    "baddbmm_": lambda s, a, o: _product(s[1], s[2]),
    "addbmm": lambda s, a, o: _product(s[1], s[2]),
    "mv": lambda s, a, o: prod(s[0]),
    "addmv": lambda s, a, o: prod(s[1]),
    "dot": lambda s, a, o: prod(s[0]),
    "vdot": lambda s, a, o: prod(s[0]),
    "addr": lambda s, a, o: s[1][0] * s[2][0],
    "convolution": _convolution,
    "_convolution": _convolution,
    "convolution_overrideable": _convolution,
    "_grouped_mm": _grouped,
    "grouped_mm_fallback": _grouped,
}
# Operations that multiply matrices inside themselves and for which no exact count is written here.
UNCOUNTED = words(
    """_scaled_mm _scaled_grouped_mm _int_mm _scaled_dot_product_flash_attention
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention
    _scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable
    _flash_attention_forward _efficient_attention_forward _cudnn_attention_forward convolution_backward
    cudnn_convolution _slow_conv2d_forward _trilinear _native_multi_head_attention _cdist_forward
    mkldnn_rnn_layer _thnn_fused_lstm_cell miopen_rnn _cudnn_rnn linalg_solve_ex linalg_inv_ex _sparse_mm
    mkldnn_linear flex_attention _weight_int8pack_mm _weight_int4pack_mm _fft_r2c _fft_c2c _fft_c2r"""
)


def aten_macs(name: str, shapes: Sequence[Shape], args: Sequence[Any], outputs: Sequence[Shape]) -> int:
    """Multiply-accumulates of one call; 0 for what multiplies no matrices.

    shapes: those of the tensor arguments in order; outputs: those of the results
    Error: UserError for an operation that multiplies matrices in a way not counted here.
    """
    count = _COUNTS.get(name)
    if count is not None:
        return count(shapes, args, outputs)
    if name in UNCOUNTED:
        raise UserError(f"The operation aten.{name} multiplies matrices and has no exact count.")
    return 0
