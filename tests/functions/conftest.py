"""Function units of several sizes, and the exact functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ohmformer.specs import FunctionUnitSpec

EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "reciprocal": torch.reciprocal,
    "rsqrt": torch.rsqrt,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


@pytest.fixture
def exact() -> dict[str, Callable[[Tensor], Tensor]]:
    return EXACT


@pytest.fixture
def make_unit() -> Callable[..., FunctionUnitSpec]:
    def make(segments: int = 64, fraction_bits: int = 16) -> FunctionUnitSpec:
        return FunctionUnitSpec(segments=segments, fraction_bits=fraction_bits, clock_Hz=1e9, lanes=1)

    return make
