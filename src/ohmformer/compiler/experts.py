"""Mixtures of experts: which expert takes which token depends on the data, so it is assumed.

``transformers`` sorts the chosen tokens by expert and multiplies each group of rows by its own matrix
(``grouped_mm``). Its shapes do not depend on the choice, only the sizes of the groups do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ohmformer.compiler.graph import AtenCall, GraphNode, GraphValue, Ref
from ohmformer.compiler.trace_macs import aten_macs

__all__ = ["distinct_experts", "grouped_product", "routing_assumptions"]


def grouped_product(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, AtenCall] | None:
    """``grouped_mm`` of rows [S, k] and matrices [E, k, n] on shapes: [S, n] and its S·k·n operations.

    Torch computes its shapes for bfloat16 alone. None where the arguments are of another form.
    """
    if len(args) < 2 or not all(isinstance(tensor, Tensor) for tensor in args[:2]):
        return None
    rows, matrices = args[:2]
    if (
        rows.ndim != 2
        or matrices.ndim != 3
        or rows.shape[1] != matrices.shape[1]
        or kwargs.get("bias") is not None
    ):
        return None
    dtype = kwargs.get("out_dtype") or rows.dtype
    shapes = tuple(
        tuple(tensor.shape) for tensor in (rows, matrices, kwargs.get("offs")) if tensor is not None
    )
    result = torch.empty(rows.shape[0], matrices.shape[2], dtype=dtype, device=rows.device)
    return result, AtenCall(
        "_grouped_mm", aten_macs("_grouped_mm", shapes, args, [tuple(result.shape)]), shapes
    )


def distinct_experts(experts: int, chosen: float, tokens: int) -> float:
    """Experts that at least one token goes to, on average: E·(1 − (1 − k/E)^T).

    Every token chooses ``chosen`` different ones of ``experts`` evenly and on its own.
    """
    return experts * (1.0 - (1.0 - chosen / experts) ** tokens)


def routing_assumptions(nodes: Iterable[GraphNode], values: list[GraphValue], tokens: int) -> tuple[str, ...]:
    """What was assumed of the choice of experts, a sentence for each way it is made; tokens: of the batch."""
    found: dict[tuple[int, int], None] = {}
    for node in nodes:
        if node.function == "grouped_mm" and all(isinstance(item, Ref) for item in node.args[:2]):
            rows, matrices = (values[item.value].shape for item in node.args[:2])
            found[rows[0], matrices[0]] = None
    return tuple(_sentence(rows, experts, tokens) for rows, experts in found)


def _sentence(rows: int, experts: int, tokens: int) -> str:
    chosen = rows / tokens
    used = distinct_experts(experts, min(experts, chosen), tokens)
    return (
        f"Experts are chosen evenly: each of {tokens} token(s) goes to {chosen:g} of {experts} experts, "
        f"{rows} rows in all, {rows / experts:g} for each expert on average; on average "
        f"{used:.6g} different experts are used."
    )
