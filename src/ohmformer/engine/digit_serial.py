"""Lossy converters: every conversion of every digit, plane and group is computed, block by block."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ohmformer.crossbars import drive, resident_planes, streamed_digits, wordline_groups
from ohmformer.devices import convert
from ohmformer.engine.collapsed import EXACT_FLOAT32
from ohmformer.specs import TileSpec

BLOCK_CONVERSIONS = 1 << 21


def digit_serial_product(
    streamed: Tensor,
    resident: Tensor,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    generator: torch.Generator,
) -> Tensor:
    """The product with every conversion computed (see ``ProductEngine.product``).

    y = Σ_groups Σ_i Σ_j radix^i·c_j·step·ADC(Σ_k d_ik·e_kj + noise)
    """
    batch = torch.broadcast_shapes(streamed.shape[:-2], resident.shape[:-2])
    rows, inner = streamed.shape[-2:]
    columns = resident.shape[-1]
    if resident.ndim == 2:
        flat = streamed.reshape(batch.numel() * rows, inner)
        result = _matrix(flat, resident, tile, streamed_bits, resident_bits, generator)
        return result.reshape(*batch, rows, columns)
    left = streamed.expand(*batch, rows, inner).reshape(batch.numel(), rows, inner)
    right = resident.expand(*batch, inner, columns).reshape(batch.numel(), inner, columns)
    if not len(left):
        return streamed.new_zeros(*batch, rows, columns)
    parts = [
        _matrix(a, b, tile, streamed_bits, resident_bits, generator) for a, b in zip(left, right, strict=True)
    ]
    wide = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return torch.stack([part.to(wide) for part in parts]).reshape(*batch, rows, columns)


def _matrix(
    streamed: Tensor,
    resident: Tensor,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    generator: torch.Generator,
) -> Tensor:
    """[row, inner] x [inner, column]."""
    rows, inner = streamed.shape
    columns = resident.shape[-1]
    planes, plane_weight = resident_planes(resident.to(torch.int64), resident_bits, tile)
    weight = plane_weight.to(torch.float64)
    switches = planes.to(torch.float32)  # [plane, inner, column]
    result = torch.zeros(rows, columns, dtype=torch.float64)
    block = max(1, BLOCK_CONVERSIONS // (len(weight) * columns))
    for top in range(0, rows, block):
        digits = streamed_digits(streamed[top : top + block].to(torch.int64), tile, streamed_bits)
        part = result[top : top + block]
        for group in wordline_groups(inner, tile):
            first, last = group.start, group.stop
            resident_group = switches[:, first:last].transpose(0, 1).reshape(last - first, -1)
            for index in range(digits.shape[-1]):
                digit = digits[:, first:last, index]
                sums = digit.to(torch.float32) @ resident_group
                noise = _noise(sums, digit, resident_group, tile, generator)
                codes = convert(sums if noise is None else sums + noise, tile.adc, generator)
                scale = tile.adc.step * tile.numeral.radix**index
                planar = codes.to(torch.float64).view(-1, len(weight), columns)
                part += torch.einsum("rjn,j->rn", planar, weight) * scale
    return result if bool((result.abs() >= EXACT_FLOAT32).any()) else result.float()


def _noise(
    sums: Tensor,
    digit: Tensor,
    resident_group: Tensor,
    tile: TileSpec,
    generator: torch.Generator,
) -> Tensor | None:
    """Environment noise, and mismatch as noise of variance mismatch²·Σ(w_r·s_r·e)²."""
    variance: Tensor | float = tile.environment_noise**2
    if tile.resistor.mismatch:
        power = drive(digit, tile).square().sum(-1).float() @ resident_group.square()
        variance = variance + tile.resistor.mismatch**2 * power
    elif not variance:
        return None
    draw = torch.randn(sums.shape, generator=generator)
    return draw * (torch.sqrt(variance) if isinstance(variance, Tensor) else math.sqrt(variance))
