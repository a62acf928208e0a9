"""What wires leave of the sums of a digit-serial product, conversion by conversion."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.crossbars import output_blocks, plane_weights
from ohmformer.devices import wire_attenuation
from ohmformer.engine.conversion_plan import INT16, WIDTH
from ohmformer.numerals import on_host
from ohmformer.specs import TileSpec


@lru_cache(maxsize=64)
@on_host
def wire_shares(tile: TileSpec, columns: int, bits: int) -> Tensor:
    """Share of its sum that each conversion keeps, [plane, bitline of the pair, column], float64."""
    per_plane = 1 if tile.resident_code == "bits" else 2
    count = len(plane_weights(tile, bits))
    keep = 1 - wire_attenuation(tile)
    parts = [
        keep[: (last - first) * count * per_plane].view(last - first, count, per_plane)
        for first, last in output_blocks(columns, tile, bits)
    ]
    return torch.cat(parts).permute(1, 2, 0)


@lru_cache(maxsize=64)
@on_host
def wire_factors(tile: TileSpec, columns: int, bits: int) -> Tensor:
    """``wire_shares`` times 2^15, the mean of a pair's bitlines; columns filled up, int16."""
    share = wire_shares(tile, columns, bits).mean(1)
    factors = torch.zeros(share.shape[0], -(-columns // WIDTH) * WIDTH, dtype=torch.int16)
    factors[:, :columns] = (share * 2**15).round().clamp_(max=INT16).to(torch.int16)
    return factors


__all__ = ["wire_factors", "wire_shares"]
