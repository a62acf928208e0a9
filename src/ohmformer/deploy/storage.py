"""A model's parameters in dense cells: operands of products, and vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ohmformer.engine import MarginalCells, StoredTensor
from ohmformer.errors import UserError
from ohmformer.numerals import quantise_per_row, quantise_per_tensor, symbols_per_value
from ohmformer.specs import ChipSpec

Role = Literal["rows", "columns", "vector"]


@dataclass(frozen=True, kw_only=True)
class StoredParameter:
    """One parameter in dense cells; value = codes · scale.

    role:   ``rows``: [out, in], one scale per row; ``columns``: the parameter is [in, out] and is kept
            transposed; ``vector``: one scale for all, wider codes
    stored: the codes and their cells
    scale:  [out, 1], or a scalar for a vector
    words:  its cells, in words of ``weight_bits``
    """

    name: str
    role: Role
    stored: StoredTensor
    scale: Tensor
    words: int

    @classmethod
    def of(
        cls,
        name: str,
        role: Role,
        codes: Tensor,
        scale: Tensor,
        bits: int,
        chip: ChipSpec,
        *,
        generator: torch.Generator | None = None,
        marginal: MarginalCells | None = None,
    ) -> StoredParameter:
        """Program ``codes`` with ``generator``, or take up cells programmed before."""
        cell_bits = chip.dense.vector_bits_per_cell if role == "vector" else None
        stored = StoredTensor(codes, bits, chip.dense, generator, cell_bits=cell_bits, marginal=marginal)
        per_word = symbols_per_value(chip.precision.weight_bits, chip.dense.cell.bits)
        return cls(name=name, role=role, stored=stored, scale=scale, words=-(-stored.cells // per_word))

    def nominal(self) -> Tensor:
        """The values that the codes stand for, in the parameter's own layout."""
        values = self.stored.codes * self.scale
        return values.t() if self.role == "columns" else values

    @contextmanager
    def codes_as_read(self, generator: torch.Generator, rows: Tensor | None = None) -> Iterator[Tensor]:
        """The codes as one read of the dense crossbar gives them; restored exactly afterwards.

        rows: [row] bool, the rows that are read; None reads all
        """
        codes = self.stored.codes
        misreads = self.stored.read(generator, rows)
        if misreads is None:
            yield codes
            return
        flat = codes.view(-1)
        flat.index_put_((misreads.positions,), misreads.deltas, accumulate=True)
        try:
            yield codes
        finally:
            flat.index_put_((misreads.positions,), -misreads.deltas, accumulate=True)

    def values_as_read(self, generator: torch.Generator) -> Tensor:
        """The values as one read gives them, in the parameter's own layout."""
        with self.codes_as_read(generator) as codes:
            values = codes * self.scale
        return values.t() if self.role == "columns" else values


def role_of(owner: nn.Module, attribute: str, parameter: Tensor) -> Role:
    """How a parameter is stored: as an operand of products, by its module, or as a vector."""
    if attribute == "weight" and parameter.ndim == 2:
        if isinstance(owner, (nn.Linear, nn.Embedding)):
            return "rows"
        if type(owner).__name__ == "Conv1D":
            return "columns"
    return "vector"


def quantised_parameter(parameter: Tensor, role: Role, chip: ChipSpec) -> tuple[Tensor, Tensor, int]:
    """Codes (float32, whole), scale and bits of one parameter."""
    values = parameter.detach().float()
    if role == "vector":
        bits = chip.precision.vector_bits
        if values.is_meta:
            return values, torch.empty((), device="meta"), bits
        quantised = quantise_per_tensor(values, bits, dtype=torch.float32)
    else:
        bits = chip.precision.weight_bits
        if role == "columns":
            values = values.t().contiguous()
        if values.is_meta:
            return values, torch.empty((values.shape[0], 1), device="meta"), bits
        quantised = quantise_per_row(values, bits, dtype=torch.float32)
    return quantised.codes, quantised.scale, bits


def store_parameters(
    model: nn.Module, chip: ChipSpec, generator: torch.Generator
) -> dict[int, StoredParameter]:
    """Quantise and program every parameter of ``model``; keyed by the identity of the parameter.

    The parameters themselves are set to the values that the codes stand for.

    Error: UserError naming the first parameter that holds NaN or infinity.
    """
    stored: dict[int, StoredParameter] = {}
    for prefix, owner in model.named_modules():
        for attribute, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in stored or not parameter.is_floating_point():
                continue
            name = f"{prefix}.{attribute}" if prefix else attribute
            if not parameter.is_meta and not bool(torch.isfinite(parameter).all()):
                raise UserError(
                    f"The weight {name} holds NaN or infinity: only finite weights can be stored."
                )
            if parameter.numel() == 0:
                raise UserError(f"The weight {name} is empty: a stored weight needs at least one number.")
            role = role_of(owner, attribute, parameter)
            codes, scale, bits = quantised_parameter(parameter, role, chip)
            entry = StoredParameter.of(name, role, codes, scale, bits, chip, generator=generator)
            stored[id(parameter)] = entry
            if not parameter.is_meta:
                parameter.data = (
                    parameter.data if parameter.dtype == torch.float32 else parameter.data.float()
                )
                parameter.data.copy_(entry.nominal())
            parameter.requires_grad_(False)
    return stored
