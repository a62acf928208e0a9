"""A model's parameters in dense cells: operands of products, and vectors."""

from __future__ import annotations

import math
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

    role:   ``rows``: [out, in], one scale per row; kernels [out, in, ...] and experts [expert, out, in] are
            kept as such rows; ``columns``: the parameter is [(expert,) in, out] and is kept transposed;
            ``vector``: one scale for all, wider codes
    shape:  of the parameter
    stored: the codes and their cells
    scale:  [row, 1], or a scalar for a vector
    words:  its cells, in words of ``weight_bits``
    """

    name: str
    role: Role
    shape: torch.Size
    stored: StoredTensor
    scale: Tensor
    words: int

    @classmethod
    def of(
        cls,
        name: str,
        role: Role,
        shape: torch.Size,
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
        words = -(-stored.cells // per_word)
        return cls(name=name, role=role, shape=shape, stored=stored, scale=scale, words=words)

    @property
    def rows(self) -> int:
        """Rows of codes."""
        return len(self.stored.codes) if self.stored.codes.ndim else 1

    def nominal(self) -> Tensor:
        """The values that the codes stand for, in the parameter's own layout."""
        return self._laid_out(self.stored.codes * self.scale)

    def _laid_out(self, values: Tensor) -> Tensor:
        """[row, inner] in the parameter's own layout."""
        if self.role == "columns":
            return values.reshape(*self.shape[:-2], self.shape[-1], self.shape[-2]).transpose(-1, -2)
        return values.reshape(self.shape)

    def words_of(self, share: float) -> int:
        """Words read when a share of the numbers is read."""
        return min(self.words, math.ceil(self.words * share))

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
            return self._laid_out(codes * self.scale)


@dataclass(frozen=True, kw_only=True)
class StoredBlock:
    """Some rows of a stored parameter: all of them, or those of one expert."""

    entry: StoredParameter
    first: int
    last: int

    @property
    def whole(self) -> bool:
        """Whether it is the whole parameter."""
        return self.last - self.first == self.entry.rows

    @property
    def operand(self) -> str:
        """How it may serve as an operand: ``rows`` [out, in], ``columns`` [in, out], or not (``vector``)."""
        expert = self.entry.shape[1:] if not self.whole else self.entry.shape
        return self.entry.role if self.entry.role == "rows" or len(expert) == 2 else "vector"

    @property
    def wanted(self) -> Tensor | None:
        """[row] bool, the rows to read; None for all."""
        if self.whole:
            return None
        rows = torch.zeros(self.entry.rows, dtype=torch.bool)
        rows[self.first : self.last] = True
        return rows

    @property
    def words(self) -> int:
        """Words of these rows."""
        return self.entry.words_of((self.last - self.first) / self.entry.rows)

    def values_as_read(self, generator: torch.Generator) -> Tensor:
        """The values as one read gives them, in the layout the model sees."""
        if self.whole:
            return self.entry.values_as_read(generator)
        rows = slice(self.first, self.last)
        with self.entry.codes_as_read(generator, self.wanted) as codes:
            values = codes[rows] * self.entry.scale[rows]
        return values.t() if self.entry.role == "columns" else values

    def expert(self, index: int) -> StoredBlock:
        """The rows of one index of the first axis."""
        count = self.entry.shape[0]
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range for {self.entry.name} with {count}")
        size = self.entry.rows // count
        first = (index % count) * size
        return StoredBlock(entry=self.entry, first=first, last=first + size)


def role_of(owner: nn.Module, attribute: str, parameter: Tensor) -> Role:
    """How a parameter is stored: as an operand of products, by its module and shape, or as a vector.

    Matrices called ``weight`` are operands, kernels of convolutions, and the stacked matrices of experts.
    """
    kind = type(owner).__name__
    if attribute == "weight" and parameter.ndim == 2:
        return "columns" if kind == "Conv1D" else "rows"
    if attribute == "weight" and isinstance(owner, (nn.Conv1d, nn.Conv2d)) and owner.groups == 1:
        return "rows"
    if parameter.ndim == 3 and kind.endswith("Experts"):
        return "columns" if getattr(owner, "is_transposed", False) else "rows"
    return "vector"


def as_rows(values: Tensor, role: Role, kernel: bool) -> Tensor:
    """An operand of products as [row, inner]; ``kernel``: every axis after the first is the inner one."""
    if role == "columns":
        values = values.transpose(-1, -2)
    return values.reshape(values.shape[0], -1) if kernel else values.reshape(-1, values.shape[-1])


def quantised_parameter(
    parameter: Tensor, role: Role, chip: ChipSpec, kernel: bool = False
) -> tuple[Tensor, Tensor, int]:
    """Codes (float32, whole), scale and bits of one parameter."""
    values = parameter.detach().float()
    if role == "vector":
        bits = chip.precision.vector_bits
        if values.is_meta:
            return values, torch.empty((), device="meta"), bits
        quantised = quantise_per_tensor(values, bits, dtype=torch.float32)
    else:
        bits = chip.precision.weight_bits
        values = as_rows(values, role, kernel).contiguous()
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
            kernel = isinstance(owner, (nn.Conv1d, nn.Conv2d))
            codes, scale, bits = quantised_parameter(parameter, role, chip, kernel)
            shape = parameter.shape
            entry = StoredParameter.of(name, role, shape, codes, scale, bits, chip, generator=generator)
            stored[id(parameter)] = entry
            if not parameter.is_meta:
                parameter.data = (
                    parameter.data if parameter.dtype == torch.float32 else parameter.data.float()
                )
                parameter.data.copy_(entry.nominal())
            parameter.requires_grad_(False)
    return stored
