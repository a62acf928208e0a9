"""Weights rounded so that the errors of one channel are taken up by the channels still to be rounded."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ohmformer.errors import UserError
from ohmformer.numerals import quantise_per_row

Model = TypeVar("Model", bound=nn.Module)

DAMPING = 0.01  # of the mean diagonal, added to the second moments (ours; the source takes the same)
BLOCK = 64  # channels between two updates of the rest of the matrix


def compensated_rounding(rows: Tensor, moments: Tensor, bits: int) -> Tensor:
    """Round rows to their codes, each rounding error spread over the channels that are still to come.

    w_j -> q_j, then for all later k:  w_k -= (w_j - q_j) U_jk / U_jj,  (H + damping)^-1 = U^T U

    which keeps E|(w - q) x|^2 small to second order. Channels go from the largest moment to the smallest.
    The largest number of each row is held at the largest code, so that quantising the result once more
    (``quantise_per_row``) finds the same scale and the same codes.

    rows:    [out, inner]
    moments: [inner, inner], H, the mean of x x^T
    returns: [out, inner], every number code x scale of its row
    Error:   a number differs from its own by more than half a step where it took up errors of others.
    Source:  Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
             transformers", arXiv 2210.17323, algorithm 1; the held largest number is ours.
    """
    highest = (1 << (bits - 1)) - 1
    nearest = quantise_per_row(rows.detach().float(), bits, dtype=torch.float32)
    scale = nearest.scale.squeeze(-1)
    order = moments.diagonal().argsort(descending=True)
    factor = _inverse_factor(moments[order][:, order].double()).float()
    left = rows.detach().float()[:, order].clone()
    held = nearest.codes[:, order]
    held = torch.where(held.abs() == highest, held, torch.zeros_like(held))
    codes = torch.empty_like(left)
    inner = left.shape[1]
    for start in range(0, inner, BLOCK):
        stop = min(start + BLOCK, inner)
        errors = left.new_empty(len(left), stop - start)
        for j in range(start, stop):
            code = (left[:, j] / scale).round_().clamp_(-highest, highest)
            codes[:, j] = torch.where(held[:, j] != 0, held[:, j], code)
            error = (left[:, j] - codes[:, j] * scale) / factor[j, j]
            errors[:, j - start] = error
            left[:, j + 1 : stop] -= torch.outer(error, factor[j, j + 1 : stop])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    rounded = torch.empty_like(codes)
    rounded[:, order] = codes * scale.unsqueeze(-1)
    return rounded


def _inverse_factor(moments: Tensor) -> Tensor:
    """Upper triangular U with U^T U = (H + damping)^-1."""
    silent = moments.diagonal() <= 0
    mean = float(moments.diagonal().mean()) or 1.0
    damped = moments + torch.diag(DAMPING * mean + silent * mean)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def compensate(model: Model, inputs: Iterable[Mapping[str, Tensor]], weight_bits: int) -> Model:
    """A copy of ``model`` whose linear weights are rounded for ``weight_bits`` with compensation.

    Deploying the copy stores exactly these codes. A weight that serves twice (an embedding that is also the
    last layer) is left alone, so is a layer that the calibration inputs never reach.

    inputs: calibration batches, keyword arguments of the model
    Error:  UserError if there is no input, or a bit width out of range.
    """
    if isinstance(weight_bits, bool) or not isinstance(weight_bits, int) or not 2 <= weight_bits <= 16:
        raise UserError(f"weight_bits is {weight_bits!r}: it must be a whole number from 2 to 16.")
    made = copy.deepcopy(model).eval()
    layers = dict(_own_linears(made))
    sums: dict[str, Tensor] = {}
    for together in _portions(layers):
        sums = _second_moments(made, together, inputs)
        for name, total in sums.items():
            layer = together[name]
            weight = layer.weight.detach()
            rows = weight.t() if _is_transposed(layer) else weight
            rounded = compensated_rounding(rows, total, weight_bits)
            with torch.no_grad():
                layer.weight.copy_(rounded.t() if _is_transposed(layer) else rounded)
    return made


def _is_transposed(layer: nn.Module) -> bool:
    return type(layer).__name__ == "Conv1D"


def _own_linears(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Linear layers whose weight belongs to them alone."""
    uses: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    for name, module in model.named_modules():
        if (isinstance(module, nn.Linear) or _is_transposed(module)) and uses[id(module.weight)] == 1:
            yield name, module


MOMENTS_IN_MEMORY = 1 << 26  # numbers of second moments kept at once


def _portions(layers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The layers in order, in portions whose second moments fit the memory."""
    portion: dict[str, Any] = {}
    size = 0
    for name, layer in layers.items():
        inner = layer.weight.shape[0] if _is_transposed(layer) else layer.weight.shape[1]
        if portion and size + inner * inner > MOMENTS_IN_MEMORY:
            yield portion
            portion, size = {}, 0
        portion[name] = layer
        size += inner * inner
    if portion:
        yield portion


def _second_moments(
    model: nn.Module, layers: dict[str, Any], inputs: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """[inner, inner] mean of x x^T of what reaches each layer."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            x = args[0].detach().float().reshape(-1, args[0].shape[-1])
            if name in sums:
                sums[name].addmm_(x.t(), x)
            else:
                sums[name] = x.t() @ x
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    batches = 0
    try:
        with torch.no_grad():
            for batch in inputs:
                model(**batch)
                batches += 1
    finally:
        for handle in handles:
            handle.remove()
    if not batches:
        raise UserError("Calibration needs at least one batch of inputs.")
    return {name: total / counts[name] for name, total in sums.items()}
