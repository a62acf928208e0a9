"""The products of the chip, on tensors: with stored weights, of activations, of rows with themselves."""

from __future__ import annotations

from contextlib import nullcontext
from math import prod

import torch
from torch import Tensor

from ohmformer.deploy.coverage import ACCUMULATOR
from ohmformer.deploy.running import Running
from ohmformer.deploy.storage import StoredBlock
from ohmformer.engine import Draw, Misreads, ResidentCodes
from ohmformer.ir import Resident
from ohmformer.numerals import divide


class Products(Running):
    """Every product that a model may ask for.

    Every operand is quantised to the chip's bits on its way into a computation crossbar.
    """

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, operation: str = "linear") -> Tensor:
        """x [..., inner] times a stored weight, plus a stored bias; returns [..., column]."""
        if self.coverage is None and self.recorder is None:
            made = self._at_once(x, weight, bias)
            if made is not None:
                return made
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
        flat = x.reshape(-1, inner)
        if block.number is None:
            bounds, draw = self.keys.row_bounds(lead), self.draw(block.entry.name, lead)
        else:
            bounds, draw = None, self.draw_of_expert(block.entry.name, block.number, flat)
        found = block.misreads(self.misreads(block.entry, shared=bounds is None))
        y = self._linear(flat, block, found, bounds or [(0, len(flat))], shift, draw)
        y = y.reshape(*lead, out)
        return y if shifts is None else y.add_(shifts)

    def _at_once(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        """``linear`` in one call; None, with nothing drawn, where the operands or this run ask for more."""
        place = id(weight)
        prepared = self._prepared[place] if place in self._prepared else self._prepare(weight)
        if prepared is None or x.dtype is not torch.float32 or not x.is_contiguous() or not x.is_cpu:
            return None
        entry, line = prepared
        *leading, inner = x.shape
        lead, keys = tuple(leading), self.keys
        rows = keys.own_rows(lead)
        if rows is None or inner != line.inner:
            return None
        plan, shift = self._reads(False), None
        if plan.touches(entry.index):
            return None
        if bias is not None:
            stored = self.parameters.get(id(bias))
            if stored is None or plan.touches(stored.index):
                return None
            shift = stored.values(None)
        made = line.call(x, lead, shift, keys.coming(entry.name), rows)
        if made is not None:
            keys.count(entry.name)
        return made

    def _linear(
        self,
        flat: Tensor,
        block: StoredBlock,
        found: Misreads | None,
        bounds: list[tuple[int, int]],
        shift: Tensor | None,
        draw: Draw,
    ) -> Tensor:
        """[row, column] of the operand as each read gives it, scaled and shifted.

        bounds: first row and last + 1 that each read serves
        """
        if found is None or len(bounds) == 1:
            return self._linear_of_read(flat, block, found, shift, draw)
        parts = []
        for read, (start, stop) in enumerate(bounds):
            rows = slice(start, stop)
            own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[rows])
            parts.append(self._linear_of_read(flat[rows], block, _of_read(found, read), shift, own))
        return torch.cat(parts)

    def _linear_of_read(
        self, flat: Tensor, block: StoredBlock, found: Misreads | None, shift: Tensor | None, draw: Draw
    ) -> Tensor:
        """The same for the rows of one read, whose misreads are written into the codes for the while."""
        codes = block.codes
        with nullcontext() if found is None else codes.patched(found.position, found.delta):
            y = self._fused.linear(flat, codes, block.scale, shift, draw, found)
            if y is None:
                y = self._linear_by_steps(flat, block, codes, draw)
                y = y if shift is None else y.add_(shift)
        return y

    def _linear_by_steps(
        self, flat: Tensor, block: StoredBlock, resident: ResidentCodes, draw: Draw
    ) -> Tensor:
        """[row, column] of codes·codes·scale·scale, product by product."""
        streamed, scale = self._encode(flat.float())
        y = self.engine.product(
            streamed,
            resident,
            streamed_bits=self.chip.precision.activation_bits,
            resident_bits=self.chip.precision.weight_bits,
            draw=draw,
        )
        return y.to(torch.float32).mul_(scale).mul_(block.scale)

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
        scale = divide(largest, highest).clamp_min_(torch.finfo(torch.float32).tiny)
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
        other = flat.new_ones(inner, 1) if resident == "constant" else flat.transpose(-1, -2)
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
        if not x.is_meta and count:
            y = self._no_less(y, flat)
        if mean:
            y = divide(y, count)
        if keepdim:
            for d in dims:
                y = y.unsqueeze(d)
        return y

    def _no_less(self, sums: Tensor, rows: Tensor) -> Tensor:
        """Sums [...] of rows [..., n]; a row's largest number, where none is below 0 but the sum is.

        Only conversions gone wrong do that; what follows takes roots and divides. A sum of 0 is as wrong
        where each row has its own scale, and may be right under a given one.
        """
        lowest, largest = rows.aminmax(dim=-1)
        given = self.chip.precision.activation_scale != "per_token" or getattr(self, "calibration", None)
        wrong = sums < 0 if given else sums <= 0
        return torch.where((lowest >= 0) & wrong, largest.to(sums.dtype), sums)


def _four_axes(matrices: Tensor) -> Tensor:
    """[outer, head, row, inner] of [..., row, inner]."""
    if matrices.ndim == 4:
        return matrices
    return matrices.reshape(-1, 1, *matrices.shape[-2:])


def _three_axes(vectors: Tensor) -> Tensor:
    """[outer, head, inner] of [..., inner]."""
    return vectors if vectors.ndim == 3 else vectors.reshape(-1, 1, vectors.shape[-1])


def _of_read(found: Misreads, read: int) -> Misreads | None:
    """The misreads of one read, as if it were alone."""
    mine = found.sample == read
    if not bool(mine.any()):
        return None
    return Misreads(
        sample=torch.zeros_like(found.sample[mine]), position=found.position[mine], delta=found.delta[mine]
    )
