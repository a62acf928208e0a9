"""Products of whole numbers held in floating dtypes, exact on every device.

Torch has no integer matrix product on CUDA (``addmm`` and ``bmm`` of int8, int32, int64 are missing there),
so that whole numbers are multiplied as floating-point numbers: float32 keeps them below 2^24, float64 below
2^53, whatever the order of the additions.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53

__all__ = ["EXACT_FLOAT32", "EXACT_FLOAT64", "whole_matmul"]


def _keeps_float32(device: torch.device) -> bool:
    """Whether float32 products round to float32 alone: users may allow TF32 or bfloat16 inside them."""
    try:
        if device.type == "cuda":
            return not torch.backends.cuda.matmul.allow_tf32
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set by torch's older and newer switches at once
        return False


def whole_matmul(left: Tensor, right: Tensor) -> Tensor:
    """left @ right of whole numbers, in their own floating dtype.

    Exact while no partial sum exceeds 2^24 (float32) or 2^53 (float64); the caller states why none does.
    Where float32 products may be computed in a narrower format, they are computed in float64 instead.
    """
    if left.dtype == torch.float32 and not _keeps_float32(left.device):
        return torch.matmul(left.double(), right.double()).float()
    return torch.matmul(left, right)
