"""The operations of the chip, on tensors: products, softmax, norms, functions, dense reads."""

from __future__ import annotations

import math
from math import prod
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.coverage import ACCUMULATOR, COMPUTE, DENSE, FUNCTION, Coverage
from ohmformer.deploy.keys import RunKeys
from ohmformer.deploy.storage import StoredBlock, StoredParameter
from ohmformer.engine import Draw, FusedOperations, Misreads, ProductEngine, ReadPlan, plan_reads
from ohmformer.errors import UserError
from ohmformer.functions import LinearSubOps, evaluate, layer_norm, rms_norm, softmax
from ohmformer.ir import DenseRead, FunctionCall, Product, Recorder, Resident, SubOp
from ohmformer.numerals import (
    max_code,
    quantise_with_scale,
    quantise_per_row,
    quantise_per_tensor,
    symbols_per_value,
)
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
        self.samples = 0  # sequences met so far, the number of the next one
        self.numbers: Tensor | None = None  # of the samples, where the caller gives them
        self.keys = RunKeys(torch.zeros(1, dtype=torch.int64), 1, 0)
        self.parameters: dict[int, StoredParameter] = {}
        self.coverage: Coverage | None = None
        self.recorder: Recorder | None = None
        self.path: list[str] = []
        self._plan: ReadPlan | None = None
        self._blocks: dict[int, StoredBlock] = {}  # by identity of the parameter
        self._experts = False  # whether a tensor stands for an expert
        self._fused = FusedOperations(chip, engine)
        self._linear = LinearSubOps(row_sum=self._row_sum, row_dot=self._row_dot)

    # --- bookkeeping -------------------------------------------------------------------------------

    def start_run(self, batch: int, tokens: int, first: int) -> None:
        """Begin one forward run of ``batch`` samples with ``first`` tokens in the cache.

        Its noise depends on the seed, the numbers of the samples and the positions of their tokens alone.
        """
        if self.numbers is None:
            samples = torch.arange(self.samples, self.samples + batch)
            self.samples += batch
        else:
            samples = self.numbers.repeat_interleave(max(1, batch // max(1, len(self.numbers))))
            if len(samples) != batch:
                raise UserError(
                    f"{len(self.numbers)} samples are numbered, but the batch holds {batch} sequences."
                )
        self.keys = RunKeys(samples, tokens, first)
        self._plan = None

    def misreads(self, entry: StoredParameter, rows: Tensor | None = None) -> Misreads | None:
        """What this run's samples read wrong of a stored parameter.

        rows: [row] bool, the rows that are read; None reads all
        """
        if self._plan is None:
            stores = [stored.cells for stored in self.parameters.values()]
            self._plan = plan_reads(stores, self.seed, self.keys.reads)
        return self._plan.misreads(entry.index, rows)

    def draw(self, kind: str, lead: tuple[int, ...]) -> Draw:
        """Where the noise of the next product of its kind comes from; its rows are [*lead]."""
        return Draw(seed=self.seed, stream=self.keys.stream(kind), keys=self.keys.rows(lead))

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
        """What ``value`` stands for: a stored parameter, or one expert of it."""
        block = self._blocks.get(id(value))
        if block is not None:
            return block
        entry = self.parameters.get(id(value))
        if entry is not None:
            block = self._blocks[id(value)] = StoredBlock(entry=entry)
            return block
        return getattr(value, BLOCK, None) if self._experts else None

    def stands_for(self, value: Tensor, block: StoredBlock) -> None:
        """Let ``value`` stand for one expert of a stored parameter."""
        self._experts = True
        setattr(value, BLOCK, block)

    def parameter(self, parameter: Tensor, used: int | None = None) -> Tensor:
        """A stored parameter as the first sample reads it.

        used: how many of its numbers are needed; None needs all
        """
        block = self.block_of(parameter)
        if block is None:
            raise ValueError("not a stored parameter")
        self._count_read(block, 1.0 if used is None else min(1.0, used / parameter.numel()))
        return parameter if parameter.is_meta else block.values(self.misreads(block.entry))

    def _count_read(self, block: StoredBlock, share: float = 1.0) -> None:
        self._read("read of stored vector", math.ceil(block.words * share))

    def _vector(self, parameter: Any, lead: tuple[int, ...]) -> tuple[Any, Tensor | None]:
        """A stored vector for rows [*lead, n]: as written, or (None, as each row reads it)."""
        block = self.block_of(parameter)
        if block is None:
            return parameter, None
        self._count_read(block)
        if parameter.is_meta:
            return parameter, None
        found = block.misreads(self.misreads(block.entry))
        if found is None:
            return block.entry.values(None), None
        samples = len(self.keys.samples)
        count = prod(lead)
        own = block.entry.values_by_sample(found, samples).reshape(samples, -1)
        each = self.keys.per_sample(count)
        own = own[:1].expand(count, -1) if each == count else own.repeat_interleave(each, 0)
        return None, own.reshape(*lead, -1)

    def value_of(self, value: Any, used: int | None = None) -> Any:
        """A stored parameter becomes what a dense read gives; anything else stays."""
        return value if self.block_of(value) is None else self.parameter(value, used)

    # --- products ----------------------------------------------------------------------------------

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, operation: str = "linear") -> Tensor:
        """x [..., inner] times a stored weight, plus a stored bias; returns [..., column]."""
        block = self.block_of(weight)
        if block is None:
            raise ValueError("not a stored parameter")
        out, inner = block.codes.shape
        if x.shape[-1] != inner:
            raise RuntimeError(f"{block.entry.name} takes vectors of {inner}, not of {x.shape[-1]}")
        lead = tuple(x.shape[:-1])
        self._product(operation, 1, prod(lead), inner, out, "weight")
        if bias is not None:
            self.call("bias", "add", prod(lead) * out, ACCUMULATOR, "addition in the accumulator")
        x = self.value_of(x)
        if x.is_meta:
            if bias is not None:
                self.value_of(bias)
            return x.new_empty((*lead, out))
        shift, shifts = (None, None) if bias is None else self._vector(bias, lead)
        found = block.misreads(self.misreads(block.entry))
        draw = self.draw(block.entry.name, lead)
        flat = x.reshape(-1, inner)
        y = self._fused.linear(
            flat, block.codes, block.scale, shift, self._for_kernel(found, inner, len(flat)), draw
        )
        if y is None:
            y = self._linear_by_steps(flat, block, found, draw)
            y = y if shift is None else y.add_(shift)
        y = y.reshape(*lead, out)
        return y if shifts is None else y.add_(shifts)

    def _for_kernel(self, found: Misreads | None, inner: int, rows: int) -> Tensor | None:
        """Misreads as the kernels take them: column, inner, delta, first row, last row + 1."""
        if found is None:
            return None
        each = self.keys.per_sample(rows)
        if each == rows:  # one read for all rows
            first = found.sample == 0
            found = Misreads(
                sample=found.sample[first], position=found.position[first], delta=found.delta[first]
            )
        made = torch.empty(len(found.position), 5, dtype=torch.int32)
        made[:, 0] = found.position // inner
        made[:, 1] = found.position % inner
        made[:, 2] = found.delta
        made[:, 3] = found.sample * each
        made[:, 4] = made[:, 3] + each
        return made

    def _linear_by_steps(
        self, flat: Tensor, block: StoredBlock, found: Misreads | None, draw: Draw
    ) -> Tensor:
        """[row, column] of codes·codes·scale·scale, product by product."""
        streamed, scale = self._encode(flat.float())
        bits = {
            "streamed_bits": self.chip.precision.activation_bits,
            "resident_bits": self.chip.precision.weight_bits,
        }
        if found is None:
            y = self.engine.product(streamed, block.codes, draw=draw, **bits)
        else:
            y = self._product_of_samples(streamed, block, found, draw, bits)
        return y.to(torch.float32).mul_(scale).mul_(block.scale)

    def _product_of_samples(
        self, streamed: Tensor, block: StoredBlock, found: Misreads, draw: Draw, bits: dict[str, int]
    ) -> Tensor:
        """Each sample's rows times the operand as that sample reads it."""
        codes = block.codes.codes().float()
        each = self.keys.per_sample(len(streamed))
        parts = []
        for sample, first in enumerate(range(0, len(streamed), max(1, each))):
            rows = slice(first, first + each)
            mine = found.sample == sample
            place, delta = found.position[mine], found.delta[mine].float()
            codes.view(-1).index_add_(0, place, delta)
            own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[rows])
            parts.append(self.engine.product(streamed[rows], codes.t(), draw=own, **bits).double())
            codes.view(-1).index_add_(0, place, -delta)
        return torch.cat(parts) if parts else streamed.new_zeros(0, block.codes.shape[0])

    def add_bias(self, y: Tensor, bias: Tensor) -> Tensor:
        """Add a bias in the accumulator."""
        self.call("bias", "add", y.numel(), ACCUMULATOR, "addition in the accumulator")
        shift, shifts = self._vector(bias, tuple(y.shape[:-1]))
        made: Tensor = y + (shift if shifts is None else shifts)
        return made

    def matmul(self, left: Tensor, right: Tensor, operation: str = "matmul") -> Tensor:
        """left [..., row, inner] x right [..., inner, column]: left is streamed, right is resident.

        The resident operand has one scale for each vector as it lies in memory: for each column where the
        inner axis is the contiguous one (keys), for each inner element otherwise (values); the latter are
        multiplied into the streamed rows before these are quantised.
        """
        left, right = self.value_of(left), self.value_of(right)
        if left.ndim == 1 or right.ndim == 1:
            a = left.unsqueeze(0) if left.ndim == 1 else left
            b = right.unsqueeze(-1) if right.ndim == 1 else right
            y = self.matmul(a, b, operation)
            y = y.squeeze(-1) if right.ndim == 1 else y
            return y.squeeze(-1 if right.ndim == 1 else -2) if left.ndim == 1 else y
        batch = left.shape[:-2]
        if right.shape[:-2] != batch:
            batch = torch.broadcast_shapes(batch, right.shape[:-2])
        rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1]
        self._product(operation, prod(batch), rows, inner, columns, "activation")
        by_inner = right.stride(-1) == 1 and right.stride(-2) != 1 and columns > 1
        if by_inner:
            self.call("scale of stored vectors", "multiply", prod(batch) * rows * inner)
        if left.is_meta or right.is_meta:
            return torch.empty((*batch, rows, columns), device="meta")
        left, right = left.float().expand(*batch, rows, inner), right.float().expand(*batch, inner, columns)
        draw = self.draw("product of activations", (*batch, rows))
        factor = self._row_scales(right) if by_inner else None
        made = self._fused.matmul(
            _four_axes(left),
            _four_axes(right.transpose(-1, -2)),
            None if factor is None else _three_axes(factor),
            draw,
        )
        if made is None:
            return self._matmul_by_steps(left, right, factor, draw)
        return made.reshape(*batch, rows, columns)

    def _row_scales(self, values: Tensor) -> Tensor:
        """[...] scale of each vector along the last axis, as numerals.quantise gives it."""
        found = self._fused.row_scales(values)
        if found is not None:
            return found
        highest = (1 << (self.chip.precision.activation_bits - 1)) - 1
        largest = torch.maximum(values.amax(-1), -values.amin(-1))
        scale = (largest / highest).clamp_min_(torch.finfo(torch.float32).tiny)
        return scale.masked_fill_(largest == 0, 1.0)

    def _matmul_by_steps(self, left: Tensor, right: Tensor, factor: Tensor | None, draw: Draw) -> Tensor:
        bits = self.chip.precision.activation_bits
        if factor is not None:
            streamed, row_scale = self._encode(left * factor.unsqueeze(-2))
            resident, column_scale = torch.div(right, factor.unsqueeze(-1)).round_(), None
        else:
            streamed, row_scale = self._encode(left)
            codes, scales = self._encode(right.transpose(-1, -2))
            resident, column_scale = codes.transpose(-1, -2), scales
        y = self.engine.product(streamed, resident, streamed_bits=bits, resident_bits=bits, draw=draw).to(
            torch.float32
        )
        y = y.mul_(row_scale)
        if column_scale is None:
            return y
        return y.mul_(column_scale.transpose(-1, -2) if column_scale.ndim else column_scale)

    def _row_sum(self, x: Tensor) -> Tensor:
        """Σ over the last axis: a product with a resident column of ones."""
        return self._rows(x, "sum", "constant", self.draw("sum", tuple(x.shape[:-1])))

    def _row_dot(self, x: Tensor) -> Tensor:
        """Σ of squares over the last axis: a row streamed past itself."""
        return self._rows(x, "dot with itself", "activation", self.draw("squares", tuple(x.shape[:-1])))

    def _rows(self, x: Tensor, operation: str, resident: Resident, draw: Draw) -> Tensor:
        self._count_rows(x, operation, resident)
        if x.is_meta:
            return x.new_empty(x.shape[:-1])
        rows, inner = prod(x.shape[:-1]), x.shape[-1]
        streamed, scale = self._encode(x.float())
        bits = self.chip.precision.activation_bits
        flat = streamed.reshape(rows, 1, inner)
        other = torch.ones(inner, 1) if resident == "constant" else flat.transpose(-1, -2)
        if resident == "constant":
            flat = flat.reshape(rows, inner)
        y = self.engine.product(flat, other, streamed_bits=bits, resident_bits=bits, draw=draw).to(
            torch.float32
        )
        y = y.reshape(x.shape[:-1])
        factor = scale.squeeze(-1) if scale.ndim else scale
        return y * factor if resident == "constant" else y * factor * factor

    def _count_rows(self, x: Tensor, operation: str, resident: Resident) -> None:
        rows, inner = prod(x.shape[:-1]), x.shape[-1]
        if resident == "constant":
            self._product(operation, 1, rows, inner, 1, resident)
        else:
            self._product(operation, rows, 1, inner, 1, resident)

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
        if x.is_meta:
            return torch.empty_like(x)
        y = self._fused.function(name, x)
        return evaluate(name, x.float(), self.chip.function_unit) if y is None else y

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
        draw = self.draw("sum", tuple(x.shape[:-1]))
        y = self._fused.softmax(x, draw)
        if y is not None:
            self._count_rows(x, "sum", "constant")
            return y
        sums = LinearSubOps(
            row_sum=lambda rows: self._rows(rows, "sum", "constant", draw), row_dot=self._row_dot
        )
        return softmax(x.float(), self.chip.function_unit, sums)

    def layer_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """Layer norm over the last axis."""
        rows = prod(x.shape[:-1])
        self.call("layer norm centre", "add", x.numel())
        self.call("layer norm rsqrt", "rsqrt", rows)
        self.call("layer norm normalise", "multiply", x.numel())
        lead = tuple(x.shape[:-1])
        gain, gains = self._vector(weight, lead)
        shift, shifts = self._vector(bias, lead)
        if weight is not None:
            self.call("layer norm scale", "multiply", x.numel())
        if bias is not None:
            self.call("layer norm shift", "add", x.numel())
        if x.is_meta:
            self._row_sum(x)
            self._row_dot(x)
            return torch.empty_like(x)
        draws = (self.draw("sum", lead), self.draw("squares", lead))
        # a gain that samples read differently comes after the norm, and the shift after the gain
        inside = shift if gains is None else None
        y = self._fused.layer_norm(x, gain, inside, eps, draws)
        if y is None:
            y = layer_norm(x.float(), gain, inside, eps, self.chip.function_unit, self._sums_with(draws))
        else:
            self._count_rows(x, "sum", "constant")
            self._count_rows(x, "dot with itself", "activation")
        if gains is not None:
            y = y * gains
            y = y if shift is None else y + shift
        return y if shifts is None else y + shifts

    def _sums_with(self, draws: tuple[Draw, Draw]) -> LinearSubOps:
        return LinearSubOps(
            row_sum=lambda rows: self._rows(rows, "sum", "constant", draws[0]),
            row_dot=lambda rows: self._rows(rows, "dot with itself", "activation", draws[1]),
        )

    def rms_norm(self, x: Tensor, weight: Tensor | None, eps: float, offset: float = 0.0) -> Tensor:
        """RMS norm over the last axis; the gain is offset + weight."""
        lead = tuple(x.shape[:-1])
        self.call("rms norm rsqrt", "rsqrt", prod(lead))
        self.call("rms norm normalise", "multiply", x.numel())
        gain, gains = self._vector(weight, lead)
        if weight is not None:
            self.call("rms norm scale", "multiply", x.numel())
        if x.is_meta:
            self._row_dot(x)
            return torch.empty_like(x)
        gain = gain + offset if gain is not None and offset else gain
        draw = self.draw("squares", lead)
        y = self._fused.rms_norm(x, gain, eps, draw)
        if y is None:
            y = rms_norm(x.float(), gain, eps, self.chip.function_unit, self._sums_with((draw, draw)))
        else:
            self._count_rows(x, "dot with itself", "activation")
        return y if gains is None else y * (gains + offset)

    # --- dense reads -------------------------------------------------------------------------------

    def embedding(self, ids: Tensor, weight: Tensor) -> Tensor:
        """Rows of a stored table.

        Error: UserError for an address beyond the table (a token or position the model does not have).
        """
        entry, rows_stored = self.parameters[id(weight)], weight.shape[0]
        self._read("embedding", math.ceil(ids.numel() * entry.words / rows_stored))
        if weight.is_meta or ids.is_meta:
            return torch.empty((*ids.shape, weight.shape[1]), device=ids.device)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < rows_stored:
            raise UserError(
                f"{entry.name} has {rows_stored} rows, asked for were {int(ids.min())} to {int(ids.max())}: "
                f"a token that the model does not know, or a sequence that is too long."
            )
        if entry.role != "rows":
            values: Tensor = entry.values(self.misreads(entry))
            return values[ids]
        rows = entry.blocks[0].rows(ids).float().reshape(*ids.shape, entry.inner)
        wanted = torch.zeros(entry.rows, dtype=torch.bool)
        wanted[ids] = True
        found = self.misreads(entry, wanted)
        if found is not None:
            self._misread_rows(rows, ids, found)
        return rows * entry.scale[ids].unsqueeze(-1)

    def _misread_rows(self, rows: Tensor, ids: Tensor, found: Misreads) -> None:
        """Put each sample's misreads into the rows [*ids, inner] that it looks up."""
        inner = rows.shape[-1]
        flat, places = rows.view(-1, inner), ids.reshape(-1)
        each = self.keys.per_sample(len(places))
        sample = torch.zeros_like(places) if each == len(places) else torch.arange(len(places)) // each
        row, column = found.position // inner, found.position % inner
        for one in range(0, len(row), 4096):
            part = slice(one, one + 4096)
            hit = (places == row[part, None]) & (sample == found.sample[part, None])
            which, place = hit.nonzero(as_tuple=True)
            flat.index_put_((place, column[part][which]), found.delta[part][which].float(), accumulate=True)

    def table(self, values: Tensor, largest: float = 1.0) -> Tensor:
        """Constants prepared before the run and read from the dense crossbar, at ``vector_bits``.

        largest: of all values that the table can hold, so that one scale serves whatever part is read
        """
        precision, dense = self.chip.precision, self.chip.dense
        cells = values.numel() * symbols_per_value(precision.vector_bits, dense.vector_bits_per_cell)
        self._read("rotary table", -(-cells // symbols_per_value(precision.weight_bits, dense.cell.bits)))
        if values.is_meta:
            return values
        bits = precision.vector_bits
        scale = largest / max_code(bits)
        return quantise_with_scale(values.float(), scale, bits, dtype=torch.float32).codes * scale


def _four_axes(matrices: Tensor) -> Tensor:
    """[outer, head, row, inner] of [..., row, inner]."""
    if matrices.ndim == 4:
        return matrices
    return matrices.reshape(-1, 1, *matrices.shape[-2:])


def _three_axes(vectors: Tensor) -> Tensor:
    """[outer, head, inner] of [..., inner]."""
    return vectors if vectors.ndim == 3 else vectors.reshape(-1, 1, vectors.shape[-1])
