"""A stored parameter as the operand of anything: it is read from the dense crossbar, never taken as it lies.

What stays of a parameter outside the chip is NaN, so a rule that forgets to read shows at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DebertaV2Config, DebertaV2Model
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from ohmformer.deploy import deploy

from .conftest import ENCODER, output, relative, wide_chip

attend = F.scaled_dot_product_attention


class Parts(nn.Module):
    """A matrix, a vector, four heads' rows, and one module of each kind."""

    def __init__(self, formula: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(8, 8, generator=generator))
        self.v = nn.Parameter(torch.randn(8, generator=generator))
        self.rows = nn.Parameter(torch.randn(1, 2, 8, 8, generator=generator))
        self.norm, self.linear, self.conv1d = nn.LayerNorm(8), nn.Linear(8, 8), Conv1D(8, 8)
        self.rms, self.torch_rms = LlamaRMSNorm(8), nn.RMSNorm(8)
        self.silu, self.gelu, self.relu, self.tanh = nn.SiLU(), nn.GELU(), nn.ReLU(), nn.Tanh()
        self.sigmoid, self.dropout, self.identity = nn.Sigmoid(), nn.Dropout(0.0), nn.Identity()
        self.kernel = nn.Conv1d(8, 8, 1)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self, x)


def _heads(x: Tensor) -> Tensor:
    return x.expand(1, 2, 8, 8)


def _written(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[0] = m.v
    y[1:3, :] = m.w[:2]
    return y


FORMULAS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    **{
        name: (lambda m, x, name=name: x + getattr(m, name)(m.w))
        for name in (
            *("norm", "linear", "conv1d", "rms", "torch_rms", "silu", "gelu", "relu", "tanh", "sigmoid"),
            *("dropout", "identity", "kernel"),
        )
    },
    "norm of a vector": lambda m, x: x + m.norm(m.v),
    "F.layer_norm": lambda m, x: x + F.layer_norm(m.w, (8,)),
    "F.rms_norm": lambda m, x: x + F.rms_norm(m.w, (8,), m.v),
    "softmax": lambda m, x: x + F.softmax(m.w, 0),
    "queries": lambda m, x: attend(m.rows, _heads(x), _heads(x)),
    "keys": lambda m, x: attend(_heads(x), m.rows, _heads(x)),
    "values": lambda m, x: attend(_heads(x), _heads(x), m.rows),
    "mask": lambda m, x: attend(_heads(x), _heads(x), _heads(x), attn_mask=m.rows),
    "grouped keys": lambda m, x: attend(x.expand(1, 4, 8, 8), m.rows, m.rows, enable_gqa=True),
    "written into": _written,
    "left of a product": lambda m, x: m.w @ x,
    "outer operand of linear": lambda m, x: F.linear(m.w, x, m.v),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_stored_operand_is_read(name: str) -> None:
    """Equal to fp32 up to the roundings of 16-bit operands: each is at most 2^-16 of its row's largest, and a
    handful of them follow one another; 2^-10 leaves room for all, and any number left out shows."""
    model = Parts(FORMULAS[name]).eval()
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        expected = model(x.clone())
        assert relative(deploy(model, wide_chip(16), check=False)(x.clone()), expected) < 2**-10


def test_a_table_that_is_normalised_first() -> None:
    """DeBERTa-v2 normalises its table of relative positions, a stored parameter, by a layer norm; the
    error is that of whole models (test_families)."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        **ENCODER,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    }
    config = DebertaV2Config(**settings)
    model = DebertaV2Model(config).eval()
    ids = {"input_ids": torch.randint(3, 60, (2, 7))}
    assert relative(output(deploy(model, wide_chip(16)), ids), output(model, ids)) < 2**-10
