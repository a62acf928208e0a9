"""The operations of the chip, on tensors: products, softmax, norms, functions, dense reads."""

from __future__ import annotations

import math
from math import prod
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.coverage import ACCUMULATOR, COMPUTE, DENSE, FUNCTION, Coverage
from ohmformer.deploy.storage import StoredBlock, StoredParameter
from ohmformer.engine import ProductEngine
from ohmformer.engine.randomness import Draw, mix
from ohmformer.errors import UserError
from ohmformer.functions import LinearSubOps, evaluate, layer_norm, rms_norm, softmax
from ohmformer.ir import DenseRead, FunctionCall, Product, Recorder, Resident, SubOp
from ohmformer.numerals import quantise_per_row, quantise_per_tensor, symbols_per_value
from ohmformer.specs import ChipSpec

BLOCK = "_ohmformer_block"  # attribute of a tensor that stands for one expert of a stored parameter


class Runtime:
    """What a deployed model calls instead of torch.

    Between operations values are held in accumulator words; every operand of a product is quantised to
    the chip's bits on its way into a computation crossbar.
    """

    def __init__(self, chip: ChipSpec, engine: ProductEngine, seed: int) -> None:
        self.chip = chip
        self.engine = engine
        self.seed = seed
        self.runs = 0
        self.generator = torch.Generator()
        self.parameters: dict[int, StoredParameter] = {}
        self.coverage: Coverage | None = None
        self.recorder: Recorder | None = None
        self.path: list[str] = []
        self._linear = LinearSubOps(row_sum=self._row_sum, row_dot=self._row_dot)

    # --- bookkeeping -------------------------------------------------------------------------------

    def start_run(self) -> None:
        """Begin one forward run: its noise depends on the seed and the number of the run alone."""
        self.generator.manual_seed((self.seed * 1_000_003 + self.runs * 7_919 + 12_345) % (1 << 63))
        self.runs += 1
        self._count = 0

    def _draw(self, rows: int) -> Draw:
        self._count = getattr(self, "_count", 0) + 1
        return Draw(seed=self.seed, stream=mix(self.runs, self._count), keys=torch.arange(rows))

    @property
    def module(self) -> str:
        """Path of the module that is running (known in checking and tracing runs)."""
        return self.path[-1] if self.path else ""

    def note(self, operation: str, where: str, why: str = "") -> None:
        """Add to the coverage table, if one is being collected."""
        if self.coverage is not None:
            self.coverage.note(self.module, operation, where, why)

    def record(self, subop: SubOp) -> None:
        """Add to the program, if one is being collected."""
        if self.recorder is not None:
            self.recorder.record(subop)

    def call(
        self, operation: str, function: str, elements: int, where: str = FUNCTION, why: str = ""
    ) -> None:
        """Note and record ``elements`` evaluations of ``function``."""
        if self.coverage is not None:
            self.note(operation, where, why)
        if self.recorder is not None and elements:
            self.record(
                FunctionCall(module=self.module, operation=operation, function=function, elements=elements)
            )

    def _product(
        self, operation: str, batch: int, rows: int, inner: int, columns: int, resident: Resident
    ) -> None:
        self.note(operation, COMPUTE)
        if self.recorder is not None and batch * rows * inner * columns:
            self.record(
                Product(
                    module=self.module,
                    operation=operation,
                    batch=batch,
                    rows=rows,
                    inner=inner,
                    columns=columns,
                    resident=resident,
                )
            )

    def _read(self, operation: str, words: int) -> None:
        self.note(operation, DENSE)
        if self.recorder is not None and words:
            self.record(DenseRead(module=self.module, operation=operation, words=words))

    # --- operands ----------------------------------------------------------------------------------

    def _encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scale of a streamed operand [..., row, inner]."""
        bits, precision = self.chip.precision.activation_bits, self.chip.precision
        if values.is_meta:
            return values, values.new_empty((*values.shape[:-1], 1))
        if precision.activation_scale == "per_tensor":
            quantised = quantise_per_tensor(values, bits, dtype=torch.float32)
        else:
            quantised = quantise_per_row(values, bits, dtype=torch.float32)
        return quantised.codes, quantised.scale

    def block_of(self, value: object) -> StoredBlock | None:
        """The stored rows that ``value`` stands for: a parameter, or one expert of a parameter."""
        entry = self.parameters.get(id(value))
        if entry is not None:
            return StoredBlock(entry=entry, first=0, last=entry.rows)
        return getattr(value, BLOCK, None)

    def parameter(self, parameter: Tensor, used: int | None = None) -> Tensor:
        """A stored parameter as one dense read gives it.

        used: how many of its numbers are needed; None needs all
        """
        block = self.block_of(parameter)
        if block is None:
            raise ValueError("not a stored parameter")
        share = 1.0 if used is None else min(1.0, used / parameter.numel())
        self._read("read of stored vector", math.ceil(block.words * share))
        return parameter if parameter.is_meta else block.values_as_read(self.generator)

    def value_of(self, value: Any, used: int | None = None) -> Any:
        """A stored parameter becomes what a dense read gives; anything else stays."""
        return value if self.block_of(value) is None else self.parameter(value, used)

    # --- products ----------------------------------------------------------------------------------

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, operation: str = "linear") -> Tensor:
        """x [..., inner] times a stored weight, plus a stored bias; returns [..., column]."""
        block = self.block_of(weight)
        if block is None:
            raise ValueError("not a stored parameter")
        entry, rows = block.entry, slice(block.first, block.last)
        out, inner = block.last - block.first, entry.stored.codes.shape[1]
        if x.shape[-1] != inner:
            raise RuntimeError(f"{entry.name} takes vectors of {inner}, not of {x.shape[-1]}")
        self._product(operation, 1, prod(x.shape[:-1]), inner, out, "weight")
        streamed, scale = self._encode(self.value_of(x).float())
        with entry.codes_as_read(self.generator, block.wanted) as codes:
            y = self.engine.product(
                streamed.reshape(-1, inner),
                codes[rows].t(),
                streamed_bits=self.chip.precision.activation_bits,
                resident_bits=self.chip.precision.weight_bits,
                draw=self._draw(prod(x.shape[:-1])),
            )
        y = y.to(torch.float32).reshape(*x.shape[:-1], out)
        if not y.is_meta:
            y.mul_(scale).mul_(entry.scale[rows].squeeze(-1))
        if bias is not None:
            y = self.add_bias(y, bias)
        return y

    def add_bias(self, y: Tensor, bias: Tensor) -> Tensor:
        """Add a bias in the accumulator."""
        self.call("bias", "add", y.numel(), ACCUMULATOR, "addition in the accumulator")
        shift: Tensor = self.value_of(bias)
        return y + shift

    def matmul(self, left: Tensor, right: Tensor, operation: str = "matmul") -> Tensor:
        """left [..., row, inner] x right [..., inner, column]: left is streamed, right is resident."""
        left, right = self.value_of(left), self.value_of(right)
        if left.ndim == 1 or right.ndim == 1:
            a = left.unsqueeze(0) if left.ndim == 1 else left
            b = right.unsqueeze(-1) if right.ndim == 1 else right
            y = self.matmul(a, b, operation)
            y = y.squeeze(-1) if right.ndim == 1 else y
            return y.squeeze(-1 if right.ndim == 1 else -2) if left.ndim == 1 else y
        batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1]
        self._product(operation, prod(batch), rows, inner, columns, "activation")
        bits = self.chip.precision.activation_bits
        streamed, row_scale = self._encode(left.float())
        resident, column_scale = self._encode(right.float().transpose(-1, -2))
        y = self.engine.product(
            streamed,
            resident.transpose(-1, -2),
            streamed_bits=bits,
            resident_bits=bits,
            draw=self._draw(prod(batch) * rows),
        ).to(torch.float32)
        if y.is_meta:
            return y
        if column_scale.ndim:
            column_scale = column_scale.transpose(-1, -2)
        return y.mul_(row_scale).mul_(column_scale)

    def _row_sum(self, x: Tensor) -> Tensor:
        """Σ over the last axis: a product with a resident column of ones."""
        return self._rows(x, "sum", "constant")

    def _row_dot(self, x: Tensor) -> Tensor:
        """Σ of squares over the last axis: a row streamed past itself."""
        return self._rows(x, "dot with itself", "activation")

    def _rows(self, x: Tensor, operation: str, resident: Resident) -> Tensor:
        rows, inner = prod(x.shape[:-1]), x.shape[-1]
        if resident == "constant":
            self._product(operation, 1, rows, inner, 1, resident)
        else:
            self._product(operation, rows, 1, inner, 1, resident)
        if x.is_meta:
            return x.new_empty(x.shape[:-1])
        streamed, scale = self._encode(x.float())
        bits = self.chip.precision.activation_bits
        flat = streamed.reshape(rows, 1, inner)
        other = torch.ones(inner, 1) if resident == "constant" else flat.transpose(-1, -2)
        if resident == "constant":
            flat = flat.reshape(rows, inner)
        y = self.engine.product(
            flat, other, streamed_bits=bits, resident_bits=bits, draw=self._draw(rows)
        ).to(torch.float32)
        y = y.reshape(x.shape[:-1])
        factor = scale.squeeze(-1) if scale.ndim else scale
        return y * factor if resident == "constant" else y * factor * factor

    def sum(self, x: Tensor, dims: tuple[int, ...], keepdim: bool, mean: bool) -> Tensor:
        """Sum or mean over ``dims``."""
        dims = tuple(sorted(d % x.ndim for d in dims))
        kept = [d for d in range(x.ndim) if d not in dims]
        count = prod(x.shape[d] for d in dims)
        flat = x.permute(*kept, *dims).reshape(*(x.shape[d] for d in kept), count)
        y = self._row_sum(flat)
        if mean:
            y = y / count
        if keepdim:
            for d in dims:
                y = y.unsqueeze(d)
        return y

    # --- functions ---------------------------------------------------------------------------------

    def function(self, name: str, x: Tensor, operation: str | None = None) -> Tensor:
        """One table function, element by element."""
        self.call(operation or name, name.split("_")[0] if name.startswith("gelu") else name, x.numel())
        return torch.empty_like(x) if x.is_meta else evaluate(name, x.float(), self.chip.function_unit)

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """softmax over ``dim``: max, F:exp, product with ones, F:reciprocal, scale."""
        if dim % x.ndim != x.ndim - 1:
            return self.softmax(x.transpose(dim, -1), -1).transpose(dim, -1)
        rows = prod(x.shape[:-1])
        self.call("softmax max", "max", x.numel())
        self.call("softmax shift", "add", x.numel())
        self.call("softmax exp", "exp", x.numel())
        self.call("softmax reciprocal", "reciprocal", rows)
        self.call("softmax scale", "multiply", x.numel())
        if x.is_meta:
            self._row_sum(x)
            return torch.empty_like(x)
        return softmax(x.float(), self.chip.function_unit, self._linear)

    def layer_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """Layer norm over the last axis."""
        rows = prod(x.shape[:-1])
        self.call("layer norm centre", "add", x.numel())
        self.call("layer norm rsqrt", "rsqrt", rows)
        self.call("layer norm normalise", "multiply", x.numel())
        gain, shift = self.value_of(weight), self.value_of(bias)
        if gain is not None:
            self.call("layer norm scale", "multiply", x.numel())
        if shift is not None:
            self.call("layer norm shift", "add", x.numel())
        if x.is_meta:
            self._row_sum(x)
            self._row_dot(x)
            return torch.empty_like(x)
        return layer_norm(x.float(), gain, shift, eps, self.chip.function_unit, self._linear)

    def rms_norm(self, x: Tensor, weight: Tensor | None, eps: float, offset: float = 0.0) -> Tensor:
        """RMS norm over the last axis; the gain is offset + weight."""
        self.call("rms norm rsqrt", "rsqrt", prod(x.shape[:-1]))
        self.call("rms norm normalise", "multiply", x.numel())
        gain = None
        if weight is not None:
            gain = self.value_of(weight) + offset
            self.call("rms norm scale", "multiply", x.numel())
        if x.is_meta:
            self._row_dot(x)
            return torch.empty_like(x)
        return rms_norm(x.float(), gain, eps, self.chip.function_unit, self._linear)

    # --- dense reads -------------------------------------------------------------------------------

    def embedding(self, ids: Tensor, weight: Tensor) -> Tensor:
        """Rows of a stored table.

        Error: UserError for an address beyond the table (a token or position the model does not have).
        """
        entry = self.parameters[id(weight)]
        self._read("embedding", math.ceil(ids.numel() * entry.words / entry.rows))
        if weight.is_meta or ids.is_meta:
            return torch.empty((*ids.shape, weight.shape[1]), device=ids.device)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < entry.rows:
            raise UserError(
                f"{entry.name} has {entry.rows} rows, asked for were {int(ids.min())} to {int(ids.max())}: "
                f"a token that the model does not know, or a sequence that is too long."
            )
        wanted = torch.zeros(entry.rows, dtype=torch.bool)
        wanted[ids] = True
        with entry.codes_as_read(self.generator, wanted) as codes:
            rows = codes[ids]
        return rows * (entry.scale[ids] if entry.role == "rows" else entry.scale)

    def table(self, values: Tensor) -> Tensor:
        """Constants prepared before the run and read from the dense crossbar, at ``vector_bits``."""
        precision, dense = self.chip.precision, self.chip.dense
        cells = values.numel() * symbols_per_value(precision.vector_bits, dense.vector_bits_per_cell)
        self._read("rotary table", -(-cells // symbols_per_value(precision.weight_bits, dense.cell.bits)))
        if values.is_meta:
            return values
        quantised = quantise_per_tensor(values.float(), self.chip.precision.vector_bits, dtype=torch.float32)
        return quantised.codes * quantised.scale
