"""A program run on real numbers, sub-operation by sub-operation: what an ideal chip computes, bit for bit.

Operands are quantised as on their way into a crossbar, products are exact sums of whole numbers, functions
are the tables of the function unit. It is slow and meant for small programs: the meaning of a program,
independent of the runtime that executes deployed models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ohmformer.compiler.interpret_torch import call_torch, patches
from ohmformer.errors import UserError
from ohmformer.functions import evaluate
from ohmformer.ir import CACHE_APPEND, CACHE_READ, DenseRead, FunctionCall, Move, Product, Program, SubOp
from ohmformer.ir.shapes import SCALED
from ohmformer.numerals import max_code, quantise_per_row, quantise_per_tensor, quantise_with_scale
from ohmformer.specs import ChipSpec

__all__ = ["interpret"]


def interpret(
    program: Program, chip: ChipSpec, parameters: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    """The outputs of ``program`` on an ideal chip (no noise, no lost conversions), in the program's order.

    chip:       its precision and function unit are used, nothing else
    parameters: the parameters and buffers of the original model by name
    inputs:     the inputs of the program by name; a cache is given as its values

    Error: UserError for a name that is missing or of another shape, for experts that were chosen by
    assumption, and for a chip that splits off outliers.
    """
    if program.assumptions:
        raise UserError(
            f"The program {program.name!r} rests on an assumption about its data: it cannot be interpreted."
        )
    if not program.values:
        raise UserError(
            f"The program {program.name!r} does not tell its values, so it cannot be interpreted."
        )
    if chip.precision.outliers:
        raise UserError(
            f"Outliers are {chip.precision.outliers}: a program is interpreted without splitting them off."
        )
    return _Run(program, chip, parameters, inputs).outputs()


@dataclass(frozen=True, kw_only=True)
class _Coded:
    """Codes and scales: a stored parameter [row, inner], or keys or values [..., token, element]."""

    codes: Tensor
    scale: Tensor

    @property
    def values(self) -> Tensor:
        """What the codes stand for."""
        return self.codes * self.scale


class _Run:
    """The values of a program while it runs."""

    def __init__(
        self, program: Program, chip: ChipSpec, parameters: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> None:
        self.program, self.chip = program, chip
        self.bits = chip.precision.activation_bits
        self.highest = max_code(self.bits)
        self.parameters, self.inputs = parameters, inputs
        self.values: dict[int, Any] = {}
        self.operands: dict[int, _Coded] = {}

    @torch.no_grad()
    def outputs(self) -> tuple[Tensor, ...]:
        for subop in self.program.subops:
            made = self._made(subop)
            results = made if isinstance(made, (tuple, list)) else (made,)
            self.values.update(zip(subop.outputs, results, strict=True))
        found = (self._value(value) for value in self.program.outputs)
        return tuple(value.values if isinstance(value, _Coded) else value for value in found)

    # --- values ------------------------------------------------------------------------------------------

    def _value(self, number: int) -> Any:
        if number not in self.values:
            self.values[number] = self._given(number)
        return self.values[number]

    def _given(self, number: int) -> Any:
        """A value that nothing writes: an input, a buffer, a part of the cache."""
        value = self.program.values[number]
        source = self.inputs if value.kind in ("input", "cache") else self.parameters
        if value.name not in source:
            what = "input" if source is self.inputs else "parameter or buffer"
            raise UserError(f"The program {self.program.name!r} needs the {what} {value.name!r}.")
        found = source[value.name]
        if tuple(found.shape) != value.shape:
            raise UserError(f"{value.name} has shape {tuple(found.shape)}: the program takes {value.shape}.")
        return self._cached(found) if value.kind == "cache" else found

    def _stored(self, number: int, role: str) -> _Coded:
        """A parameter as it lies in the dense crossbar."""
        held = self.operands.get(number)
        if held is None:
            values = self._given(number).detach().float()
            precision = self.chip.precision
            if role == "vector":
                quantised = quantise_per_tensor(values, precision.vector_bits, dtype=torch.float32)
            else:
                rows = values.transpose(-1, -2) if role == "columns" else values
                rows = rows.reshape(rows.shape[0], -1)
                quantised = quantise_per_row(rows, precision.weight_bits, dtype=torch.float32)
            held = self.operands[number] = _Coded(codes=quantised.codes, scale=quantised.scale)
        return held

    def _cached(self, values: Tensor) -> _Coded:
        quantised = quantise_per_row(values.float(), self.bits, dtype=torch.float32)
        return _Coded(codes=quantised.codes, scale=quantised.scale)

    # --- sub-operations ----------------------------------------------------------------------------------

    def _made(self, subop: SubOp) -> Any:
        if isinstance(subop, Product):
            return self._product(subop)
        if isinstance(subop, FunctionCall):
            return self._call(subop)
        if isinstance(subop, DenseRead):
            return self._read(subop)
        return self._move(subop)

    def _shape(self, subop: SubOp) -> tuple[int, ...]:
        return self.program.values[subop.outputs[0]].shape

    def _product(self, subop: Product) -> Tensor:
        if subop.resident == "weight":
            return self._linear(subop)
        x = self._value(subop.inputs[0]).float()
        if subop.resident == "constant":
            x = x.reshape(subop.rows, subop.inner)
            codes, scale = self._encoded(x)
            return (codes.double().sum(-1).float() * scale.squeeze(-1)).reshape(self._shape(subop))
        how = dict(subop.arguments)["scales"]
        if how == "row":  # a row streamed past itself
            codes, scale = self._encoded(x)
            squares, factor = codes.double().square().sum(-1).float(), scale.squeeze(-1)
            return (squares * factor * factor).reshape(self._shape(subop))
        return self._matmul(subop, x, self._value(subop.inputs[1]).float(), how == "inner")

    def _encoded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scale of a streamed operand [..., row, inner]; one scale for each row, or one for all."""
        if self.chip.precision.activation_scale == "per_tensor":
            quantised = quantise_per_tensor(values, self.bits, dtype=torch.float32)
            return quantised.codes, quantised.scale.reshape((1,) * values.ndim)
        quantised = quantise_per_row(values, self.bits, dtype=torch.float32)
        return quantised.codes, quantised.scale

    def _linear(self, subop: Product) -> Tensor:
        x = self._value(subop.inputs[0]).float().reshape(-1, subop.inner)
        stored = self._stored(subop.inputs[1], str(dict(subop.arguments)["stored"]))
        codes, scale = self._encoded(x)
        y = (codes.double() @ stored.codes.double().T).float()
        return y.mul_(scale).mul_(stored.scale.squeeze(-1)).reshape(self._shape(subop))

    def _matmul(self, subop: Product, left: Tensor, right: Tensor, by_inner: bool) -> Tensor:
        codes, row_scale = self._encoded(left)
        if by_inner:
            resident = torch.div(right, self._row_scales(right).unsqueeze(-1)).round_()
            y = (codes.double() @ resident.double()).float().mul_(row_scale)
        else:
            columns, scales = self._encoded(right.transpose(-1, -2))
            y = (codes.double() @ columns.transpose(-1, -2).double()).float()
            y = y.mul_(row_scale).mul_(scales.transpose(-1, -2))
        return y.reshape(self._shape(subop))

    def _row_scales(self, values: Tensor) -> Tensor:
        """[...] scale of each vector along the last axis."""
        return quantise_per_row(values, self.bits).scale.squeeze(-1)

    def _call(self, subop: FunctionCall) -> Any:
        values = [self._value(value) for value in subop.inputs]
        given: dict[str, Any] = dict(subop.arguments)
        if subop.operation == SCALED:
            left, right = values[0].float(), values[1].float()
            return left * self._row_scales(right).unsqueeze(-2)
        if "torch" in given:
            return call_torch(subop, values)
        form = given.get("form")
        if subop.function == "max" and form == "largest of a row":
            return values[0].float().amax(-1, keepdim=True)
        if subop.function == "add":
            return self._sum(values, form, given)
        if subop.function == "multiply":
            gain: Tensor = values[1] + given["offset"] if form == "gain" else values[1]
            return values[0] * gain
        return self._function(str(given.get("table", subop.function)), values[0].float(), form, given)

    def _sum(self, values: list[Tensor], form: str | None, given: dict[str, Any]) -> Tensor:
        first, second = values
        if form == "difference":
            return first.float() - second
        if form == "lowest where not":
            return first.masked_fill(~second, torch.finfo(first.dtype).min)
        if form == "difference from the mean":
            return first.float() - second / int(given["count"])
        return first + second

    def _function(self, name: str, x: Tensor, form: str | None, given: dict[str, Any]) -> Tensor:
        if form == "at least 1":
            # the largest exponential is 1
            x = x.clamp_min(1.0)
        elif form == "mean and eps":
            x = x.clamp_min(0.0) / given["count"] + given["eps"]
        elif form == "above zero":
            x = x.clamp_min(torch.finfo(torch.float32).tiny)
        return evaluate(name, x, self.chip.function_unit)

    def _read(self, subop: DenseRead) -> Tensor:
        given: dict[str, Any] = dict(subop.arguments)
        if given["stored"] == "table":
            return self._table(self._value(subop.inputs[0]), given["largest"])
        held = self._stored(subop.inputs[0], given["stored"])
        shape = self.program.values[subop.inputs[0]].shape
        values = held.values.T if given["stored"] == "columns" else held.values
        stored: Tensor = values.reshape(shape)
        return stored[self._value(subop.inputs[1])] if len(subop.inputs) > 1 else stored

    def _table(self, values: Tensor, largest: float) -> Tensor:
        bits = self.chip.precision.vector_bits
        scale = largest / max_code(bits)
        return quantise_with_scale(values.float(), scale, bits, dtype=torch.float32).codes * scale

    def _move(self, subop: Move) -> Any:
        given: dict[str, Any] = dict(subop.arguments)
        values = [self._value(value) for value in subop.inputs]
        if subop.kind == "cache":
            return self._cache(subop, values, given)
        if subop.operation == "patches":
            return patches(values[0], given, values[0].ndim == len(given["kernel"]) + 1)
        if subop.operation == "channels first":
            return values[0].transpose(-1, -2).reshape(given["shape"])
        if not prod(self._shape(subop)) and "torch" not in given:
            return torch.zeros(self._shape(subop))
        return call_torch(subop, values)

    def _cache(self, subop: Move, values: list[Any], given: dict[str, Any]) -> Any:
        if subop.operation == CACHE_READ:
            return values[0].values
        if subop.operation == CACHE_APPEND:
            parts = [*values[:-1], self._cached(values[-1])]
            return _Coded(
                codes=torch.cat([part.codes for part in parts], given["axis"]),
                scale=torch.cat([part.scale for part in parts], given["axis"]),
            )
        held: _Coded = values[0]
        return _Coded(codes=call_torch(subop, [held.codes]), scale=call_torch(subop, [held.scale]))
