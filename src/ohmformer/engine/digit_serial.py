"""Lossy converters: every conversion of every digit, plane and group is computed, block by block."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.crossbars import (
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import convert
from ohmformer.engine.collapsed import EXACT_FLOAT32
from ohmformer.specs import TileSpec

BLOCK_CONVERSIONS = 1 << 18  # about a megabyte: the passes over a block stay in the cache


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
    if resident.ndim == 2:  # one resident operand for all rows
        left, right = streamed.reshape(1, -1, inner), resident.unsqueeze(0)
    else:
        left = streamed.expand(*batch, rows, inner).reshape(-1, rows, inner)
        right = resident.expand(*batch, inner, columns).reshape(-1, inner, columns)
    result = torch.zeros(*left.shape[:2], columns, dtype=torch.float64)
    conversions = columns * len(plane_weights(tile, resident_bits))
    row_block = max(1, BLOCK_CONVERSIONS // conversions)
    entry_block = max(1, BLOCK_CONVERSIONS // (conversions * max(1, left.shape[1])))
    for first in range(0, left.shape[0], entry_block):
        entries = slice(first, first + entry_block)
        groups = _closed_switches(right[entries], tile, resident_bits)
        for top in range(0, left.shape[1], row_block):
            part = slice(top, top + row_block)
            _add_block(
                result[entries, part],
                left[entries, part],
                groups,
                tile,
                streamed_bits,
                resident_bits,
                generator,
            )
    fits = not bool((result.abs() >= EXACT_FLOAT32).any())
    return (result.float() if fits else result).reshape(*batch, rows, columns)


def _closed_switches(resident: Tensor, tile: TileSpec, bits: int) -> list[tuple[int, int, Tensor]]:
    """Bounds of each group of active elements, and its switches [entry, element, plane·column]."""
    planes, _ = resident_planes(resident.to(torch.int64), bits, tile)  # [plane, entry, inner, column]
    switches = planes.to(torch.float32).movedim(0, 2)
    return [
        (group.start, group.stop, switches[:, group.start : group.stop].flatten(2))
        for group in wordline_groups(resident.shape[1], tile)
    ]


def _add_block(
    result: Tensor,
    streamed: Tensor,
    groups: list[tuple[int, int, Tensor]],
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    generator: torch.Generator,
) -> None:
    """Add [entry, row, inner] x groups to ``result`` [entry, row, column]."""
    weights = plane_weights(tile, resident_bits)
    # codes times plane weights stay whole in float32 up to 2^24; wider ones are added up in float64
    exact = tile.adc.max_code * sum(abs(weight) for weight in weights) < EXACT_FLOAT32
    wide = torch.float32 if exact else torch.float64
    digits = streamed_digits(streamed.to(torch.int64), tile, streamed_bits)
    digits = digits.movedim(-1, 0).contiguous()  # [digit, entry, row, inner]
    for first, last, closed in groups:
        for index, digit in enumerate(digits[..., first:last]):
            codes = _convert(digit, closed, tile, generator)
            codes = codes.view(*result.shape[:2], len(weights), result.shape[-1])
            value = torch.zeros(result.shape, dtype=wide)
            for plane, weight in enumerate(weights):
                value.add_(codes[:, :, plane], alpha=weight)
            result.add_(value, alpha=tile.adc.step * tile.numeral.radix**index)


def _convert(digit: Tensor, closed: Tensor, tile: TileSpec, generator: torch.Generator) -> Tensor:
    """Codes of one digit [entry, row, element] against one group, [entry, row, plane·column], in float32.

    Environment and converter noise are one Gaussian; mismatch adds the variance mismatch²·Σ(w_r·s_r·e)².
    """
    adc = tile.adc
    sums = digit.to(torch.float32) @ closed
    additive = tile.environment_noise**2 + (adc.noise * adc.step) ** 2
    if tile.resistor.mismatch:
        power = drive(digit, tile).square().sum(-1).float() @ closed.square()
        deviation = power.mul_(tile.resistor.mismatch**2).add_(additive).sqrt_()
        sums.add_(torch.randn(sums.shape, generator=generator).mul_(deviation))
    elif additive:
        sums.add_(torch.randn(sums.shape, generator=generator), alpha=math.sqrt(additive))
    if adc.rounding == "half_even":
        return sums.div_(adc.step).round_().clamp_(-adc.max_code, adc.max_code)
    return convert(sums, replace(adc, noise=0.0)).to(torch.float32)
