"""The C++ kernels as Python calls: tensors are checked and made ready here, nowhere else.

``native.kernels()`` chooses among them.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.randomness import MASK64, Draw, deviate_table
from ohmformer.functions import LOG2_E, POSITION_BITS, FunctionTable
from ohmformer.numerals import HOST

try:
    _native: Any = importlib.import_module("ohmformer.engine._native")
except ImportError:  # installed without a compiler
    _native = None

WRONG_FIELDS = 3  # of struct WrongOutput in kernels/table.hpp


def threads() -> int:
    """As many threads as torch uses."""
    return torch.get_num_threads()


def _ready(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor itself if a kernel can take it, else a copy that it can take."""
    if tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return tensor if tensor.is_contiguous() else tensor.contiguous()


class Kernels:
    """One instruction set's kernels, on CPU tensors.

    Every method computes the same numbers as plain torch, bit for bit, whatever the thread count.
    """

    def __init__(self, name: str) -> None:
        self._calls: Any = _native.Kernels(name)
        self.name: str = self._calls.name
        self._table = deviate_table()
        self._kept: list[Any] = []  # what prepared jobs point at

    def packed(self, codes: Tensor) -> Tensor:
        """Resident codes [column, inner], int8, in the order in which the product reads them."""
        columns, inner = codes.shape
        codes = _ready(codes, torch.int8)
        packed = torch.empty(self._calls.packed_bytes(columns, inner), dtype=torch.int8, device=HOST)
        self._calls.pack(codes.data_ptr(), columns, inner, packed.data_ptr())
        return packed

    def rows(self, packed: Tensor, shape: tuple[int, int], ids: Tensor) -> Tensor:
        """Some rows of packed codes, [id, inner], int8."""
        ids = _ready(ids.reshape(-1), torch.int64)
        codes = torch.empty(len(ids), shape[1], dtype=torch.int8, device=HOST)
        self._calls.unpack(packed.data_ptr(), *shape, ids.data_ptr(), len(ids), codes.data_ptr())
        return codes

    def codes_at(self, packed: Tensor, inner: int, positions: Tensor) -> Tensor:
        """Packed codes at flat positions column · inner + element, int8."""
        positions = _ready(positions, torch.int64)
        codes = torch.empty(positions.shape, dtype=torch.int8, device=HOST)
        self._calls.codes_at(
            packed.data_ptr(), inner, positions.data_ptr(), positions.numel(), codes.data_ptr(), threads()
        )
        return codes

    def patch(self, packed: Tensor, shape: tuple[int, int], positions: Tensor, deltas: Tensor) -> None:
        """Add ``deltas`` to packed codes at flat positions column · inner + element, in place."""
        positions, deltas = _ready(positions, torch.int64), _ready(deltas, torch.int32)
        self._calls.patch(
            packed.data_ptr(), *shape, positions.data_ptr(), deltas.data_ptr(), positions.numel()
        )

    def quantise(self, x: Tensor, highest: int) -> tuple[Tensor, Tensor]:
        """Codes [row, inner], int8, and scales [row] of float32 rows; as numerals.quantise_per_row."""
        x = _ready(x, torch.float32)
        rows, inner = x.shape
        codes, scale = torch.empty(rows, inner, dtype=torch.int8, device=HOST), torch.empty(rows, device=HOST)
        self._calls.quantise(x.data_ptr(), rows, inner, highest, 0.0, codes.data_ptr(), scale.data_ptr())
        return codes, scale

    def product(self, codes: Tensor, packed: Tensor, columns: int) -> Tensor:
        """[row, column] int32 of codes [row, inner] and packed codes."""
        codes = _ready(codes, torch.int8)
        rows, inner = codes.shape
        y = torch.empty(rows, columns, dtype=torch.int32, device=HOST)
        self._calls.product(
            codes.data_ptr(), rows, inner, packed.data_ptr(), columns, y.data_ptr(), threads()
        )
        return y

    def linear(
        self,
        x: Tensor,
        packed: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        highest: int,
        wrong: Tensor | None,
        fixed_scale: float = 0.0,
    ) -> Tensor:
        """[row, column] float32: quantise x [row, inner], multiply, add errors, scale, shift.

        wrong: [n, 3] int64: row, column, size; sorted by row
        """
        x = _ready(x, torch.float32)
        rows, inner = x.shape
        columns = scale.numel()
        y = torch.empty(rows, columns, device=HOST)
        self._calls.linear(
            x.data_ptr(),
            rows,
            inner,
            columns,
            highest,
            fixed_scale,
            packed.data_ptr(),
            scale.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            y.data_ptr(),
            0 if wrong is None else wrong.data_ptr(),
            0 if wrong is None else len(wrong),
            threads(),
        )
        return y

    def batch(
        self, a: Tensor, b: Tensor, highest: int, factor: Tensor | None, wrong: Tensor | None
    ) -> Tensor:
        """a [outer, head, row, inner] x b [outer, head, column, inner]^T, both quantised on the way.

        a:      its last axis contiguous
        factor: [outer, head, inner], the scale of each inner element of b; None: one scale per column
        """
        outer, heads, rows, inner = a.shape
        columns = b.shape[2]
        y = torch.empty(outer, heads, rows, columns, device=HOST)
        self._calls.batch(
            a.data_ptr(),
            a.stride(0),
            a.stride(1),
            a.stride(2),
            b.data_ptr(),
            b.stride(0),
            b.stride(1),
            b.stride(2),
            b.stride(3),
            outer * heads,
            heads,
            rows,
            inner,
            columns,
            highest,
            0 if factor is None else factor.data_ptr(),
            y.data_ptr(),
            0 if wrong is None else wrong.data_ptr(),
            0 if wrong is None else len(wrong),
            threads(),
        )
        return y

    def words(self, draw: Draw, blocks: int, first: int = 0) -> Tensor:
        """[row, 4·blocks], int64: the same as ``randomness.random_words``."""
        keys = _ready(draw.keys, torch.int64)
        out = torch.empty(len(keys), 4 * blocks, dtype=torch.int32, device=HOST)
        self._calls.words(
            draw.seed & MASK64,
            draw.stream & MASK64,
            keys.data_ptr(),
            len(keys),
            first,
            blocks,
            out.data_ptr(),
        )
        return out.long() & 0xFFFFFFFF

    def hits(self, draw: Draw, below: int) -> Tensor | None:
        """Rows whose first 64 random bits lie below ``below``, int64; None if there is none."""
        keys = _ready(draw.keys, torch.int64)
        room = min(len(keys), 64)
        found = torch.empty(room, dtype=torch.int64, device=HOST)
        seed, stream = draw.seed & MASK64, draw.stream & MASK64
        count = self._calls.hits(seed, stream, keys.data_ptr(), len(keys), below, found.data_ptr(), room)
        if count == 0:
            return None
        if count > room:
            found = torch.empty(count, dtype=torch.int64, device=HOST)
            self._calls.hits(seed, stream, keys.data_ptr(), len(keys), below, found.data_ptr(), count)
            return found
        return found[:count]

    def curve(self, kind: int, table: FunctionTable) -> Any:
        """One function of the function unit as the kernels take it; ``kind`` as in kernels/functions.hpp."""
        whole = [column.mul(2.0**table.fraction_bits).to(torch.int32) for column in table.columns()]
        self._kept.append(whole)
        segment_bits = table.segments.bit_length() - 1
        return _native.Curve(
            kind,
            segment_bits,
            table.low,
            table.per_unit * 2**POSITION_BITS * (LOG2_E if table.name == "exp" else 1),
            whole[0].data_ptr(),
            whole[1].data_ptr(),
            2.0**-table.fraction_bits,
            -(table.fraction_bits + 2),
            # entries below 2 and their product with a place; a hundred powers of two of places
            table.fraction_bits + 1 + POSITION_BITS > 31 or 7 + segment_bits + POSITION_BITS > 31,
        )

    def function(self, x: Tensor, curve: Any) -> Tensor:
        """A table function of every element, float32."""
        x = _ready(x, torch.float32)
        y = torch.empty_like(x)
        self._calls.function(curve, x.data_ptr(), y.data_ptr(), x.numel(), threads())
        return y

    def softmax(self, x: Tensor, exponential: Any, reciprocal: Any, highest: int) -> Tensor:
        """functions.softmax over the last axis, its sum a product of quantised rows with ones."""
        x = _ready(x, torch.float32)
        y = torch.empty_like(x)
        rows = x.numel() // max(1, x.shape[-1])
        self._calls.softmax(
            x.data_ptr(), y.data_ptr(), rows, x.shape[-1], exponential, reciprocal, highest, threads()
        )
        return y

    def layer_norm(
        self, x: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float, rsqrt: Any, highest: int
    ) -> Tensor:
        """functions.layer_norm over the last axis, its sums products of quantised rows."""
        x = _ready(x, torch.float32)
        y = torch.empty_like(x)
        gain = None if gain is None else _ready(gain, torch.float32)
        shift = None if shift is None else _ready(shift, torch.float32)
        self._calls.layer_norm(
            x.data_ptr(),
            0 if gain is None else gain.data_ptr(),
            0 if shift is None else shift.data_ptr(),
            y.data_ptr(),
            x.numel() // max(1, x.shape[-1]),
            x.shape[-1],
            eps,
            rsqrt,
            highest,
            threads(),
        )
        return y

    def rms_norm(self, x: Tensor, gain: Tensor | None, eps: float, rsqrt: Any, highest: int) -> Tensor:
        """functions.rms_norm over the last axis, its sum of squares a product of quantised rows."""
        x = _ready(x, torch.float32)
        y = torch.empty_like(x)
        gain = None if gain is None else _ready(gain, torch.float32)
        self._calls.rms_norm(
            x.data_ptr(),
            0 if gain is None else gain.data_ptr(),
            y.data_ptr(),
            x.numel() // max(1, x.shape[-1]),
            x.shape[-1],
            eps,
            rsqrt,
            highest,
            threads(),
        )
        return y

    def error_job(self, law: Any, probability: Tensor, width: int) -> Any:
        """A prepared ``conversion_errors.ErrorLaw``; the tensors it points at live as long as the law."""
        tables = law.tables
        self._kept.append((law, probability))
        return _native.ErrorJob(
            law.below,
            law.chance,
            law.cumulative.data_ptr(),
            len(law.cumulative),
            law.inner,
            law.columns,
            law.bounds.data_ptr(),
            len(law.bounds),
            law.weights.data_ptr(),
            len(law.weights),
            law.planes,
            probability.data_ptr(),
            law.worst,
            width,
            0 if tables is None else tables[0].data_ptr(),
            0 if tables is None else tables[1].data_ptr(),
            (1 << (law.streamed_bits - 1)) - 1,
        )

    def wrong_outputs(
        self,
        law: Any,
        draw: Draw,
        a: Tensor,
        b: Tensor | None,
        packed: Tensor | None,
        factor: Tensor | None,
    ) -> Tensor | None:
        """``ErrorLaw.wrong_outputs`` of operands that are still to be quantised.

        a: [outer, head, row, inner] float32, its last axis contiguous
        b: [outer, head, column, inner] float32, or None where ``packed`` holds the resident codes
        factor: as in ``batch``
        """
        job = law.native_job
        keys = _ready(draw.keys, torch.int64)
        outer, heads, rows, _ = a.shape
        details = draw.sub(1).stream
        job.draw(draw.seed & MASK64, draw.stream & MASK64, details, keys.data_ptr(), outer * heads * rows)
        job.streamed(
            a.data_ptr(),
            a.stride(0),
            a.stride(1),
            a.stride(2),
            heads,
            rows,
            0 if factor is None else factor.data_ptr(),
        )
        if packed is not None:
            job.packed(packed.data_ptr())
        elif b is not None:
            job.resident(b.data_ptr(), b.stride(0), b.stride(1), b.stride(2), b.stride(3))
        room = min(keys.numel(), 64)
        while True:
            found = torch.empty(room, WRONG_FIELDS, dtype=torch.int64, device=HOST)
            count = self._calls.wrong_outputs(job, found.data_ptr(), room)
            if count <= room:
                return found[:count] if count else None
            room = count

    def row_variance(
        self,
        codes: Tensor,
        power: Tensor,
        closed: Tensor,
        bounds: Tensor,
        weights: Tensor,
        variance: Tensor,
        width: int,
    ) -> Tensor:
        """``collapsed.row_variance`` of codes [row, inner] of up to 8 bits."""
        codes, closed, bounds = (
            _ready(codes, torch.int8),
            _ready(closed, torch.float64),
            _ready(bounds, torch.int64),
        )
        found = torch.empty(len(codes), dtype=torch.float64, device=HOST)
        self._calls.row_variance(
            codes.data_ptr(),
            codes.shape[0],
            codes.shape[1],
            power.data_ptr(),
            power.shape[0],
            closed.data_ptr(),
            closed.shape[1],
            bounds.data_ptr(),
            len(bounds),
            weights.data_ptr(),
            variance.data_ptr(),
            float(width),
            found.data_ptr(),
            threads(),
        )
        return found

    def reads(
        self,
        store: Any,
        rates: Tensor,
        draws: tuple[Draw, Draw],
        counts: Tensor,
        rows: Tensor | None,
        wanted: Tensor | None,
    ) -> Any:
        """What ``ReadPlan`` draws of one ``StoredCells`` without protected words whose law has a table.

        rates:  of hits by class; draws: of hits and of words, their keys the samples'
        counts: [sample] hits, int64; rows: [row] or [sample, row] bool; wanted: [kept // 64] bool
        returns: to be passed to ``wrong_numbers``
        """
        kept, table, layout, inner = store.marginal, store.law.table, store.layout, store.inner
        cells, meant = kept.cells.contiguous(), kept.symbols.contiguous()
        conductance, sums = _ready(kept.conductance_S, torch.float32), store.rare_rates
        limits = store.often_limits
        job = _native.ReadJob(
            cells.data_ptr(),
            int(cells.dtype == torch.int64),
            meant.data_ptr(),
            conductance.data_ptr(),
            store.bounds.data_ptr(),
            len(rates),
            sums.data_ptr(),
            math.nextafter(float(sums[-1]), 0.0),
            rates.data_ptr(),
            limits.data_ptr(),
            layout.values.data_ptr(),
            layout.symbols,
            store.cell.levels,
            table.data_ptr(),
            table.shape[1],
            table.shape[1] / store.law.top_S,
            inner,
        )
        hits, often = draws
        keys, counts = _ready(hits.keys, torch.int64), _ready(counts, torch.int64)
        rows = None if rows is None else rows.contiguous()
        job.draw(
            hits.seed & MASK64,
            hits.stream & MASK64,
            often.stream & MASK64,
            keys.data_ptr(),
            counts.data_ptr(),
            len(keys),
            0 if rows is None else rows.data_ptr(),
            0 if rows is None or rows.ndim == 1 else rows.shape[1],
            0 if wanted is None else wanted.data_ptr(),
        )
        return self._calls.reads(job)

    def wrong_numbers(self, found: Any) -> tuple[Tensor, Tensor, Tensor] | None:
        """Sample, position (int64) and delta (int32) of what ``reads`` found; None if there is nothing."""
        if found.count == 0:
            return None
        sample, position = (torch.empty(found.count, dtype=torch.int64, device=HOST) for _ in range(2))
        delta = torch.empty(found.count, dtype=torch.int32, device=HOST)
        found.columns(sample.data_ptr(), position.data_ptr(), delta.data_ptr())
        return sample, position, delta

    def any_hit(self, draw: Draw, below: int) -> bool:
        """Whether ``hits`` would find a row."""
        keys = _ready(draw.keys, torch.int64)
        stream = draw.stream & MASK64
        count: int = self._calls.hits(draw.seed & MASK64, stream, keys.data_ptr(), keys.numel(), below, 0, 0)
        return count > 0

    def add_deviates(self, draw: Draw, y: Tensor, sd: Tensor) -> Tensor:
        """y [row, column] += round(sd[row] · z), in place; y float32."""
        self._deviates(draw, y, sd, (0, 0, 0, 0))
        return y

    def noisy_outputs(
        self,
        draw: Draw,
        values: Tensor,
        sd: Tensor,
        scales: tuple[Tensor, Tensor],
        bias: Tensor | None,
        out: Tensor,
    ) -> None:
        """out [row, column], float32 = (values + round(sd[row] · z)) · row scale · column scale + bias.

        values: [row, column], int32, below 2^24; out: contiguous
        """
        values = _ready(values, torch.int32)
        rows, columns = (_ready(scale, torch.float32) for scale in scales)
        bias = None if bias is None else _ready(bias, torch.float32)
        given = (
            values.data_ptr(),
            rows.data_ptr(),
            columns.data_ptr(),
            0 if bias is None else bias.data_ptr(),
        )
        self._deviates(draw, out, sd, given)

    def _deviates(self, draw: Draw, y: Tensor, sd: Tensor, given: tuple[int, int, int, int]) -> None:
        keys = _ready(draw.keys, torch.int64)
        sd = _ready(sd, torch.float32)
        self._calls.deviates(
            draw.seed & MASK64,
            draw.stream & MASK64,
            keys.data_ptr(),
            len(keys),
            y.shape[1],
            self._table.data_ptr(),
            sd.data_ptr(),
            y.data_ptr(),
            *given,
            threads(),
        )
