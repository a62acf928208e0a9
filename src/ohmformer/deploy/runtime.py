"""The operations of the chip, on tensors: products, softmax, norms, functions, dense reads."""

from __future__ import annotations

import math
from math import prod

import torch
from torch import Tensor

from ohmformer.deploy.multiplying import Products
from ohmformer.engine import Draw, Misreads
from ohmformer.errors import UserError
from ohmformer.functions import LinearSubOps, evaluate, layer_norm, rms_norm, softmax
from ohmformer.numerals import HOST, max_code, quantise_with_scale, symbols_per_value


class Runtime(Products):
    """What a deployed model calls instead of torch.

    Between operations values are held in accumulator words; the function unit takes and gives them.
    """

    # --- functions ---------------------------------------------------------------------------------

    def function(self, name: str, x: Tensor, operation: str | None = None) -> Tensor:
        """One table function, element by element."""
        if self.coverage is None and self.recorder is None and x.is_cpu:
            y = self._fused.function(name, x)
            return evaluate(name, x.float(), self.chip.function_unit) if y is None else y
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
        if self.coverage is None and self.recorder is None:
            made = self._norm_at_once(x, weight, eps, offset)
            if made is not None:
                return made
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
            values: Tensor = entry.values(self.misreads(entry, shared=True))
            return values[ids]
        rows = entry.blocks[0].rows(ids).float().reshape(*ids.shape, entry.inner)
        wanted = torch.zeros(entry.rows, dtype=torch.bool, device=HOST)
        wanted[ids.to(HOST)] = True
        # addresses that the model made itself (positions) may serve the whole batch: one read for all
        own = ids.untyped_storage().data_ptr() in self._inputs
        bounds = self.keys.row_bounds(tuple(ids.shape), flattened=False) if own else None
        found = self.misreads(entry, wanted, shared=bounds is None)
        if found is not None:
            self._misread_rows(rows, ids, found, bounds or [(0, ids.numel())])
        return rows * entry.scale[ids].unsqueeze(-1)

    def _misread_rows(
        self, rows: Tensor, ids: Tensor, found: Misreads, bounds: list[tuple[int, int]]
    ) -> None:
        """Put each read's errors into the rows [*ids, inner] that it serves."""
        inner = rows.shape[-1]
        flat, places = rows.view(-1, inner), ids.reshape(-1)
        found = found.on(rows.device)
        row, column = found.position // inner, found.position % inner
        for read, (start, stop) in enumerate(bounds):
            mine = found.sample == read
            own_row, own_column, delta = row[mine], column[mine], found.delta[mine].float()
            for one in range(0, len(own_row), 4096):
                part = slice(one, one + 4096)
                which, place = (places[start:stop] == own_row[part, None]).nonzero(as_tuple=True)
                at = (place + start, own_column[part][which])
                flat.index_put_(at, delta[part][which], accumulate=True)

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
