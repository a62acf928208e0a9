"""Modules that are recognised as a whole: RMS norms by behaviour, rotary tables by name."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ohmformer.numerals import HOST

PROBE_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class RmsNormForm:
    """An RMS norm: gain = offset + weight."""

    eps: float
    offset: float


def rms_norm_form(module: nn.Module) -> RmsNormForm | None:
    """Whether ``module`` computes an RMS norm over the last axis, found by running a copy on random input.

    A candidate is called *Norm, has no submodules and at most one parameter, a vector called ``weight``.
    It is accepted if its output equals x·rsqrt(mean x² + eps)·(offset + weight) for offset 0 or 1 within
    1e-5 relative; anything else is left as it is and runs operation by operation.
    """
    if "Norm" not in type(module).__name__ or isinstance(module, nn.LayerNorm) or list(module.children()):
        return None
    parameters = dict(module.named_parameters())
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if set(parameters) - {"weight"} or list(module.buffers()) or not isinstance(eps, float):
        return None
    weight = parameters.get("weight")
    if weight is not None and weight.ndim != 1:
        return None
    width = len(weight) if weight is not None else 16
    generator = torch.Generator(HOST).manual_seed(1)
    probe = copy.deepcopy(module).to_empty(device="cpu").float()
    gain = torch.rand(width, generator=generator, device=HOST) + 0.5
    if weight is not None:
        probe.weight = nn.Parameter(gain)
    x = torch.randn(PROBE_ROWS, width, generator=generator, device=HOST) * 3 + 1
    with torch.no_grad():
        try:
            y = probe(x)
        except Exception:  # a module that cannot take one tensor is no RMS norm
            return None
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        return None
    normal = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    for offset in (0.0, 1.0):
        expected = normal if weight is None else normal * (offset + gain)
        if torch.allclose(y, expected, rtol=1e-5, atol=1e-6):
            return RmsNormForm(eps=eps, offset=offset)
    return None


def is_rotary_table(module: nn.Module) -> bool:
    """Whether ``module`` makes rotary cosines and sines from positions, without any parameter."""
    return "RotaryEmbedding" in type(module).__name__ and not list(module.parameters())
