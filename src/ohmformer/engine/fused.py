"""Whole operations of the chip in one native call each: linear, product of activations, softmax, norms.

They give the same numbers as the same operation step by step (quantise, product, function unit), bit for
bit. Where they do not apply (no kernels, wide operands, lossy converters, calibrated scales, or a wrong
conversion inside a softmax or norm) they return None and the caller goes step by step with the same draws.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.collapsed import DENSE_NOISE_ERRORS, dense_linear
from ohmformer.engine.conversion_errors import ErrorLaw, Operands, worst_errors
from ohmformer.engine.native import Kernels, kernels
from ohmformer.engine.products import FastEngine, ProductEngine
from ohmformer.engine.randomness import Draw
from ohmformer.engine.reads import Misreads
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.wire_errors import has_full_rows, product_law
from ohmformer.engine.wire_law import calibrated
from ohmformer.functions import canonical_name, function_table
from ohmformer.specs import ChipSpec

KINDS = {
    "exp": 0,
    "reciprocal": 1,
    "rsqrt": 2,
    "gelu": 3,
    "gelu_tanh": 3,
    "silu": 3,
    "quick_gelu": 3,
    "sigmoid": 4,
    "tanh": 5,
}
ELEMENTWISE = frozenset(name for name, kind in KINDS.items() if kind not in (1, 2))


class FusedOperations:
    """The native operations of one chip."""

    def __init__(self, chip: ChipSpec, engine: ProductEngine) -> None:
        precision = chip.precision
        self.tile, self.unit = chip.tile, chip.function_unit
        self.weight_bits, self.bits = precision.weight_bits, precision.activation_bits
        self.highest = (1 << (self.bits - 1)) - 1
        # beside wires only where converters lose nothing without them: else the product is no integer one
        whole = chip.tile.lossless
        self._collapsed = isinstance(engine, FastEngine) and (
            engine.runs == "collapsed" or (engine.runs == "calibrated" and whole)
        )
        self._narrow = max(self.weight_bits, self.bits) <= 8 and precision.activation_scale == "per_token"
        self._curves: dict[str, Any] = {}
        self._laws: dict[tuple[int, int, int], ErrorLaw | None] = {}

    @cached_property
    def kernels(self) -> Kernels | None:
        """The kernels, if this chip's operations may use them."""
        return kernels() if self._collapsed and self._narrow else None

    def _law(self, inner: int, columns: int, resident_bits: int) -> ErrorLaw | None:
        """How conversions go wrong; None where too many do for drawing them one by one."""
        place = (inner, columns, resident_bits)
        if place not in self._laws:
            law = product_law(self.tile, self.bits, resident_bits, inner, columns)
            usable = law.per_row <= DENSE_NOISE_ERRORS * columns and law.native_job is not None
            self._laws[place] = law if usable else None
        return self._laws[place]

    def linear(
        self,
        x: Tensor,
        resident: ResidentCodes,
        scale: Tensor,
        bias: Tensor | None,
        draw: Draw,
        changed: Misreads | None = None,
    ) -> Tensor | None:
        """[row, column] of x [row, inner] and a stored operand: codes·codes·scale of the row·scale + bias.

        scale: [column]; bias: [column] or None
        changed: what a read has written into the codes (``ResidentCodes.patched``)
        """
        native = self.kernels
        if native is None or resident.kernels is None or x.device.type != "cpu":
            return None
        columns, inner = resident.shape
        x = x if x.is_contiguous() and x.dtype == torch.float32 else x.float().contiguous()
        many = worst_errors(self.tile, self.bits, self.weight_bits, inner) > DENSE_NOISE_ERRORS
        if many and not calibrated(self.tile):
            codes, row_scale = native.quantise(x, self.highest)
            bits, scales = (self.bits, self.weight_bits), (row_scale, scale)
            return dense_linear(codes, resident, self.tile, bits, draw, scales, bias, changed)
        law = self._law(inner, columns, self.weight_bits)
        if law is None:
            return None
        law, wrong = law.of(resident), None
        if law.below and native.any_hit(draw, law.below):
            wrong = native.wrong_outputs(law, draw, x[None, None], None, resident.packed, None)
            if has_full_rows(wrong):
                codes, _ = native.quantise(x, self.highest)
                given = Operands(streamed=codes, resident=resident, rows_per_entry=len(codes))
                wrong = law.wrong_outputs(draw, given)
        return native.linear(x, resident.packed, scale, bias, self.highest, wrong)

    def matmul(self, left: Tensor, right: Tensor, factor: Tensor | None, draw: Draw) -> Tensor | None:
        """[outer, head, row, column] of left [.., row, inner] and right [.., column, inner].

        factor: [outer, head, inner], one scale for each inner element of ``right``; None: one for each column
        """
        native = self.kernels
        if native is None or left.device.type != "cpu":
            return None
        inner, columns = left.shape[-1], right.shape[-2]
        law = self._law(inner, columns, self.bits)
        if law is None:
            return None
        left, right = left.float(), right.float()
        left = left if left.stride(-1) == 1 else left.contiguous()
        factor = None if factor is None else factor.contiguous()
        wrong = None
        if law.below and native.any_hit(draw, law.below):
            wrong = native.wrong_outputs(law, draw, left, right, None, factor)
            if has_full_rows(wrong):
                return None
        return native.batch(left, right, self.highest, factor, wrong)

    def row_scales(self, values: Tensor) -> Tensor | None:
        """[...] scale of each vector along the last axis."""
        native = self.kernels
        if native is None or values.device.type != "cpu":
            return None
        return native.quantise(values.reshape(-1, values.shape[-1]), self.highest)[1].view(values.shape[:-1])

    def _clean(self, inner: int, draws: tuple[Draw, ...]) -> Kernels | None:
        """The kernels, if none of these single-column products meets a wrong conversion."""
        native = self.kernels
        law = None if native is None else self._law(inner, 1, self.bits)
        if native is None or law is None:
            return None
        if law.below and any(native.any_hit(draw, law.below) for draw in draws):
            return None
        return native

    def softmax(self, x: Tensor, draw: Draw) -> Tensor | None:
        """Softmax over the last axis; ``draw`` is that of the sum of exponentials."""
        native = self._clean(x.shape[-1], (draw,))
        if native is None or x.device.type != "cpu":
            return None
        return native.softmax(x, self._curve("exp"), self._curve("reciprocal"), self.highest)

    def layer_norm(
        self, x: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float, draws: tuple[Draw, Draw]
    ) -> Tensor | None:
        """Layer norm over the last axis; the draws are those of the sum and of the squares."""
        native = self._clean(x.shape[-1], draws)
        if native is None or x.device.type != "cpu":
            return None
        return native.layer_norm(x, gain, shift, eps, self._curve("rsqrt"), self.highest)

    def rms_norm(self, x: Tensor, gain: Tensor | None, eps: float, draw: Draw) -> Tensor | None:
        """RMS norm over the last axis; ``draw`` is that of the squares."""
        native = self._clean(x.shape[-1], (draw,))
        if native is None or x.device.type != "cpu":
            return None
        return native.rms_norm(x, gain, eps, self._curve("rsqrt"), self.highest)

    def function(self, name: str, x: Tensor) -> Tensor | None:
        """One table function of every element; it does not touch the crossbars."""
        native = kernels()
        found = canonical_name(name)
        if native is None or found not in ELEMENTWISE or x.device.type != "cpu" or x.dtype != torch.float32:
            return None
        return native.function(x, self._curve(found))

    def _curve(self, name: str) -> Any:
        made = self._curves.get(name)
        if made is None:
            table = function_table(name, self.unit.segments, self.unit.fraction_bits)
            native = kernels()
            if native is None:
                raise ValueError("no kernels")
            made = self._curves[name] = native.curve(KINDS[name], table)
        return made
