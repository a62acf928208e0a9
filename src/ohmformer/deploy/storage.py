"""A model's parameters in dense cells: operands of products, and vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from ohmformer.engine import Misreads, ResidentCodes, StoredCells
from ohmformer.errors import UserError
from ohmformer.numerals import quantise_per_row, quantise_per_tensor, symbols_per_value
from ohmformer.specs import ChipSpec

Role = Literal["rows", "columns", "vector"]
CHUNK = 1 << 18  # numbers quantised at once
KEPT = 1 << 14  # largest vector whose values are kept besides its codes


@dataclass(frozen=True, kw_only=True)
class StoredParameter:
    """One parameter in dense cells; value = codes · scale.

    role:   ``rows``: [out, in], one scale per row; kernels [out, in, ...] and experts [expert, out, in] are
            kept as such rows; ``columns``: the parameter is [(expert,) in, out] and is kept transposed;
            ``vector``: one scale for all, wider codes
    shape:  of the parameter
    bits:   of a number
    blocks: its matrices [row, inner]: one, or one for each expert; a vector is one row
    cells:  where the codes lie, rows of all blocks in order
    scale:  [row], or a scalar for a vector
    words:  its cells, in words of ``weight_bits``
    index:  its place among the stored parameters
    """

    name: str
    role: Role
    shape: torch.Size
    bits: int
    blocks: tuple[ResidentCodes, ...]
    cells: StoredCells
    scale: Tensor
    words: int
    index: int

    @property
    def rows(self) -> int:
        """Rows of codes."""
        return sum(block.shape[0] for block in self.blocks)

    @property
    def inner(self) -> int:
        """Numbers in a row."""
        return self.blocks[0].shape[1]

    @property
    def codes(self) -> Tensor:
        """All codes [row, inner], int8 or int16; a copy."""
        return torch.cat([block.codes() for block in self.blocks])

    def at(self, positions: Tensor) -> Tensor:
        """Codes at flat positions row · inner + element, int64."""
        found, start = torch.zeros_like(positions), 0
        for block in self.blocks:
            size = block.shape[0] * block.shape[1]
            mine = (positions >= start) & (positions < start + size)
            found[mine] = block.at(positions[mine] - start).to(found.device)
            start += size
        return found

    def nominal(self) -> Tensor:
        """The values that the codes stand for, in the parameter's own layout."""
        return self.values(None)

    @cached_property
    def _kept(self) -> Tensor:
        return self._laid_out(self._as_read(None, 0))

    def values(self, misreads: Misreads | None, sample: int = 0) -> Tensor:
        """The values as one read gives them, in the parameter's own layout; ``sample`` picks one."""
        if misreads is None and self.role == "vector" and self.shape.numel() <= KEPT:
            return self._kept
        return self._laid_out(self._as_read(misreads, sample))

    def _as_read(self, misreads: Misreads | None, sample: int) -> Tensor:
        codes = self.codes.float()
        if misreads is not None:
            misreads = misreads.on(codes.device)
            mine = misreads.sample == sample
            codes.view(-1).index_add_(0, misreads.position[mine], misreads.delta[mine].float())
        return codes * (self.scale if self.role == "vector" else self.scale.unsqueeze(-1))

    def _laid_out(self, values: Tensor) -> Tensor:
        """[row, inner] in the parameter's own layout."""
        if self.role == "columns":
            return values.reshape(*self.shape[:-2], self.shape[-1], self.shape[-2]).transpose(-1, -2)
        return values.reshape(self.shape)

    def on(self, device: torch.device) -> StoredParameter:
        """The same, with its numbers on a device; its cells stay in host memory."""
        return replace(
            self, blocks=tuple(block.on(device) for block in self.blocks), scale=self.scale.to(device)
        )

    def words_of(self, share: float) -> int:
        """Words read when a share of the numbers is read."""
        return min(self.words, math.ceil(self.words * share))


@dataclass(frozen=True, kw_only=True)
class StoredBlock:
    """A stored parameter, or the matrix of one expert of it.

    number: of the expert; None for the whole parameter
    """

    entry: StoredParameter
    number: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it is the whole parameter."""
        return self.number is None

    @property
    def operand(self) -> str:
        """How it may serve as an operand: ``rows`` [out, in], ``columns`` [in, out], or not (``vector``)."""
        shape = self.entry.shape if self.whole else self.entry.shape[1:]
        return self.entry.role if self.entry.role == "rows" or len(shape) == 2 else "vector"

    @property
    def codes(self) -> ResidentCodes:
        """The matrix as an operand of products."""
        if len(self.entry.blocks) == 1:
            return self.entry.blocks[0]
        if self.number is None:
            raise ValueError(f"{self.entry.name} is not one matrix")
        return self.entry.blocks[self.number]

    @property
    def first_row(self) -> int:
        """Where its rows begin among those of the parameter."""
        return sum(block.shape[0] for block in self.entry.blocks[: self.number or 0])

    @property
    def scale(self) -> Tensor:
        """[row] of its rows."""
        if self.number is None:
            return self.entry.scale
        first = self.first_row
        return self.entry.scale[first : first + self.codes.shape[0]]

    @property
    def words(self) -> int:
        """Words of its rows."""
        return self.entry.words if self.whole else self.entry.words_of(1 / len(self.entry.blocks))

    def misreads(self, found: Misreads | None) -> Misreads | None:
        """Those of the parameter's misreads that lie in these rows, places counted from the first."""
        if found is None or self.whole:
            return found
        start = self.first_row * self.entry.inner
        inside = (found.position >= start) & (found.position < start + self.codes.shape[0] * self.entry.inner)
        if not bool(inside.any()):
            return None
        return Misreads(
            sample=found.sample[inside], position=found.position[inside] - start, delta=found.delta[inside]
        )

    def values(self, found: Misreads | None) -> Tensor:
        """The values as the first read gives them, in the layout the model sees."""
        values = self.entry.values(found)
        return values if self.number is None else values[self.number]

    def expert(self, index: int) -> StoredBlock:
        """The matrix of one index of the first axis."""
        count = self.entry.shape[0]
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range for {self.entry.name} with {count}")
        return StoredBlock(entry=self.entry, number=index % count)


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
    """Codes [row, inner] (int8 or int16), scales and bits of one parameter."""
    values = parameter.detach()
    bits = chip.precision.vector_bits if role == "vector" else chip.precision.weight_bits
    narrow = torch.int8 if bits <= 8 else torch.int16
    if role == "vector":
        if values.is_meta:
            return values.reshape(1, -1), torch.empty((), device="meta"), bits
        quantised = quantise_per_tensor(values.float(), bits, dtype=narrow)
        return quantised.codes.reshape(1, -1), quantised.scale, bits
    values = as_rows(values, role, kernel)
    if values.is_meta:
        return values, torch.empty(values.shape[0], device="meta"), bits
    codes = torch.empty(values.shape, dtype=narrow, device=values.device)
    scales = torch.empty(values.shape[0], device=values.device)
    step = max(1, CHUNK // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        part = quantise_per_row(values[start : start + step].float(), bits, dtype=narrow)
        codes[start : start + step], scales[start : start + step] = part.codes, part.scale.squeeze(-1)
    return codes, scales, bits


def stored_parameter(
    name: str,
    role: Role,
    shape: torch.Size,
    codes: Tensor,
    scale: Tensor,
    bits: int,
    chip: ChipSpec,
    index: int,
    cells: StoredCells,
) -> StoredParameter:
    """Put codes [row, inner] and the cells that hold them together."""
    experts = shape[0] if role != "vector" and len(shape) == 3 and not _is_kernel(codes, shape, role) else 1
    per_word = symbols_per_value(chip.precision.weight_bits, chip.dense.cell.bits)
    return StoredParameter(
        name=name,
        role=role,
        shape=shape,
        bits=bits,
        blocks=tuple(ResidentCodes(part, bits) for part in codes.chunk(experts)),
        cells=cells,
        scale=scale,
        words=-(-cells.cells // per_word),
        index=index,
    )


def _is_kernel(codes: Tensor, shape: torch.Size, role: Role) -> bool:
    """Whether a 3-D parameter is a kernel [out, in, place], one row for each output."""
    return role == "rows" and codes.shape[0] == shape[0] and codes.shape[1] == shape[1:].numel()


def cells_of(codes: Tensor, role: Role, bits: int, chip: ChipSpec, seed: int, name: str) -> StoredCells:
    """Program the cells of one parameter."""
    cell_bits = chip.dense.vector_bits_per_cell if role == "vector" else None
    return StoredCells(codes, bits, chip.dense, seed, name, cell_bits=cell_bits)


def float_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Name, owner, attribute and tensor of every floating-point parameter, shared ones once."""
    seen: set[int] = set()
    for prefix, owner in model.named_modules():
        for attribute, parameter in owner.named_parameters(recurse=False):
            if id(parameter) not in seen and parameter.is_floating_point():
                seen.add(id(parameter))
                yield (f"{prefix}.{attribute}" if prefix else attribute), owner, attribute, parameter


def check_parameters(model: nn.Module) -> None:
    """Refuse a model whose weights cannot be stored, before any work starts.

    Error: UserError naming the first parameter that holds NaN or infinity, or none.
    """
    for name, _, _, parameter in float_parameters(model):
        if parameter.numel() == 0:
            raise UserError(f"The weight {name} is empty: a stored weight needs at least one number.")
        if not parameter.is_meta and not _finite(parameter.detach()):
            raise UserError(f"The weight {name} holds NaN or infinity: only finite weights can be stored.")


def _finite(values: Tensor) -> bool:
    """Whether all numbers are finite; NaN and infinity show in the extremes."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())


def nothing(shape: torch.Size, device: torch.device) -> Tensor:
    """A tensor of one NaN that takes no memory."""
    return torch.full((), math.nan, dtype=torch.float32, device=device).expand(shape)


def leave_parameter(parameter: nn.Parameter) -> None:
    """What a stored parameter leaves behind: its shape, filled with one NaN that takes no memory.

    Whoever computes with it instead of reading the chip gets NaN.
    """
    if not parameter.is_meta:
        parameter.data = nothing(parameter.shape, parameter.device)
    parameter.requires_grad_(False)


def store_parameters(model: nn.Module, chip: ChipSpec, seed: int) -> dict[int, StoredParameter]:
    """Quantise and program every parameter of ``model``; keyed by the identity of the parameter."""
    stored: dict[int, StoredParameter] = {}
    for name, owner, attribute, parameter in float_parameters(model):
        role = role_of(owner, attribute, parameter)
        kernel = isinstance(owner, (nn.Conv1d, nn.Conv2d))
        codes, scale, bits = quantised_parameter(parameter, role, chip, kernel)
        cells = cells_of(codes, role, bits, chip, seed, name)
        stored[id(parameter)] = stored_parameter(
            name, role, parameter.shape, codes, scale, bits, chip, len(stored), cells
        )
        leave_parameter(parameter)
    return stored
