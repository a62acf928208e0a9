"""Which columns of a resident operand a row samples: a random subset, chosen by the row's own codes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.engine.randomness import mix_keys
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.whole import whole_matmul
from ohmformer.numerals import on_host

COLUMNS, ROWS, ENTRIES = 11, 12, 13  # purposes of hashes


@lru_cache(maxsize=256)
@on_host
def column_order(columns: int) -> Tensor:
    """The columns in a fixed random order."""
    keys = mix_keys(torch.full((columns,), COLUMNS, dtype=torch.int64), torch.arange(columns))
    return keys.argsort()


@lru_cache(maxsize=256)
@on_host
def _signs(inner: int) -> Tensor:
    """[inner], float64, fixed random whole numbers in -8 ... 7."""
    keys = mix_keys(torch.full((inner,), ROWS, dtype=torch.int64), torch.arange(inner))
    return ((keys & 15) - 8).double()


def code_hash(codes: Tensor, bits: int) -> Tensor:
    """A 63-bit hash of each vector of whole numbers [..., inner] (a random projection, then mixed)."""
    # 2^3·2^7·inner < 2^24 is exact in float32, 2^3·2^16·inner < 2^53 in float64
    wide = torch.float32 if codes.shape[-1] <= 1 << 14 and bits <= 8 else torch.float64
    signs = _signs(codes.shape[-1]).to(codes.device, wide)
    total = whole_matmul(codes.to(wide), signs).long()
    return mix_keys(total, torch.full_like(total, ENTRIES)) & ((1 << 63) - 1)


def columns_of(resident: Tensor | ResidentCodes, ids: Tensor) -> Tensor:
    """[inner, id] codes of some columns."""
    if isinstance(resident, ResidentCodes):
        return resident.rows(ids).t()
    return resident[:, ids]


__all__ = ["code_hash", "column_order", "columns_of"]
