"""The contract through the reference crossbars: digit by digit, tile by tile. Slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars import compute
from ohmformer.engine.products import product_shape
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.whole import EXACT_FLOAT32
from ohmformer.numerals import HOST
from ohmformer.specs import TileSpec


@dataclass(frozen=True)
class ReferenceEngine:
    """Every product through ``crossbars.compute``, on the host; for tests and for small doubts.

    mismatch: [wordline, bitline] deviations of the physical tile, or None for exact resistors.
    """

    tile: TileSpec
    mismatch: Tensor | None = None

    def product(
        self,
        streamed: Tensor,
        resident: Tensor | ResidentCodes,
        *,
        streamed_bits: int,
        resident_bits: int,
        draw: Draw,
    ) -> Tensor:
        """See ``ProductEngine.product``."""
        generator = torch.Generator(HOST).manual_seed((draw.seed ^ draw.stream) & ((1 << 63) - 1))
        if isinstance(resident, ResidentCodes):
            resident = resident.floats()
        shape = product_shape(streamed, resident)
        rows, inner, columns = shape[-2], streamed.shape[-1], shape[-1]
        count = shape[:-2].numel()
        left = streamed.expand(*shape[:-2], rows, inner).reshape(count, rows, inner).to(HOST, torch.int64)
        right = (
            resident.expand(*shape[:-2], inner, columns).reshape(count, inner, columns).to(HOST, torch.int64)
        )
        parts = [
            compute(
                a, b, self.tile, streamed_bits, resident_bits, generator=generator, mismatch=self.mismatch
            ).values
            for a, b in zip(left, right, strict=True)
        ]
        values = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=HOST)
        values = values.to(streamed.device)
        large = bool((values.abs() >= EXACT_FLOAT32).any())
        return values.reshape(shape).to(torch.float64 if large else streamed.dtype)
