"""What the processor itself allows: the int8 product alone, and a Gaussian for every output."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.engine.measuring import Contender, local
from benchmarks.engine.six_linears import SEQUENCES, TOKENS, SixLinears, inputs
from ohmformer.engine import native

NO_NATIVE = "The int8 product alone was not timed: the native kernels are not in use here."


def limits() -> tuple[dict[str, Contender], list[str]]:
    """Contenders over the six linears' shapes, and a sentence for what cannot be timed."""
    model = SixLinears().eval()
    hidden, wide = inputs(model, SEQUENCES, TOKENS)
    layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    outputs = [torch.empty(SEQUENCES * TOKENS, layer.out_features) for layer in layers]
    found: dict[str, Contender] = {
        "torch.randn for every output, alone": local(lambda: [y.normal_() for y in outputs]),
    }
    remarks: list[str] = []
    kernels = native.kernels()
    if kernels is None:
        remarks.append(NO_NATIVE)
    else:
        operands = []
        for layer in layers:
            x = (hidden if layer.in_features == hidden.shape[-1] else wide).flatten(0, 1)
            left = (x / x.abs().amax() * 127).round().to(torch.int8)
            right = (layer.weight.detach() / layer.weight.abs().amax() * 127).round().to(torch.int8)
            operands.append((left, kernels.packed(right), len(right)))
        found[f"int8 product alone, {kernels.name}"] = local(
            lambda: [kernels.product(*operand) for operand in operands]
        )
    return found, remarks
