"""Whole pieces of a model in one native call: stored layers that wait for rows, attention, rotary products.

They give the same numbers as their operations one after the other, bit for bit. They apply where conversions
go wrong so seldom that each wrong one is drawn by itself, and give None where one does go wrong (or where
there are no kernels, or operands are others): the caller then goes step by step with the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.collapsed import DENSE_NOISE_ERRORS
from ohmformer.engine.conversion_errors import ErrorLaw, worst_errors
from ohmformer.engine.fused import FusedOperations
from ohmformer.engine.kernel_calls import Kernels, _native, threads
from ohmformer.engine.randomness import MASK64, Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.wire_errors import has_full_rows
from ohmformer.numerals import HOST

FEW_ROWS = 64  # of one call: for more a wrong conversion is to be expected, so the last product is left out


class PreparedLinear:
    """A stored operand that only waits for rows.

    call(x, shift, stream, keys) gives [.., column] of x [.., inner], float32 and contiguous, as
    ``FusedOperations.linear`` does; None where a conversion goes wrong.
    """

    def __init__(
        self, native: Kernels, resident: ResidentCodes, scale: Tensor, law: ErrorLaw, seed: int, highest: int
    ) -> None:
        self.columns, self.inner = resident.shape
        scale = scale.contiguous()
        self._alive = (resident.packed, scale)  # what the call points at
        self._run = _native.PreparedLinear(
            native._calls,
            self.inner,
            self.columns,
            highest,
            resident.packed.data_ptr(),
            scale.data_ptr(),
            seed & MASK64,
            law.below,
        ).run

    def call(
        self, x: Tensor, lead: tuple[int, ...], shift: Tensor | None, stream: int, keys: Tensor
    ) -> Tensor | None:
        """[*lead, column] of x [*lead, inner]; shift: [column], added behind the scale."""
        y = torch.empty((*lead, self.columns), device=HOST)
        bias = 0 if shift is None else shift.data_ptr()
        done: bool = self._run(
            x.data_ptr(), keys.numel(), y.data_ptr(), bias, stream, keys.data_ptr(), threads()
        )
        return y if done else None


class PreparedNorm:
    """An RMS norm over rows of one length, as ``FusedOperations.rms_norm`` gives it."""

    def __init__(
        self, native: Kernels, inner: int, eps: float, law: ErrorLaw, curve: Any, seed: int, highest: int
    ) -> None:
        self.inner, self._eps, self._curve, self._highest = inner, eps, curve, highest
        self._seed, self._below = seed & MASK64, law.below
        self._run = native._calls.rms_norm_if_right

    def call(self, x: Tensor, gain: Tensor | None, stream: int, keys: Tensor) -> Tensor | None:
        """Of x [.., inner], float32 and contiguous; gain: [inner]. None where a conversion goes wrong."""
        y = torch.empty_like(x)
        done: bool = self._run(
            x.data_ptr(),
            0 if gain is None else gain.data_ptr(),
            y.data_ptr(),
            keys.numel(),
            self.inner,
            self._eps,
            self._curve,
            self._highest,
            threads(),
            self._seed,
            keys.data_ptr(),
            stream,
            self._below,
        )
        return y if done else None


def prepared_norm(fused: FusedOperations, inner: int, eps: float, seed: int) -> PreparedNorm | None:
    """The prepared form of a norm; None where each call must be looked at by itself."""
    native = fused.kernels
    law = None if native is None else fused._law(inner, 1, fused.bits)
    if native is None or type(law) is not ErrorLaw:
        return None
    return PreparedNorm(native, inner, eps, law, fused._curve("rsqrt"), seed, fused.highest)


def prepared_linear(
    fused: FusedOperations, resident: ResidentCodes, scale: Tensor, seed: int
) -> PreparedLinear | None:
    """The prepared form of a stored operand; None where each call must be looked at by itself."""
    native = fused.kernels
    if native is None or resident.kernels is None or scale.device.type != "cpu" or scale.is_meta:
        return None
    columns, inner = resident.shape
    if worst_errors(fused.tile, fused.bits, fused.weight_bits, inner) > DENSE_NOISE_ERRORS:
        return None
    law = fused._law(inner, columns, fused.weight_bits)
    if type(law) is not ErrorLaw:
        return None
    return PreparedLinear(native, resident, scale, law, seed, fused.highest)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Keys or values [outer, head, token, element]: as numbers, or as codes with the scale of each row."""

    values: Tensor | None
    codes: Tensor | None = None
    scale: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """[outer, head, token, element]."""
        given = self.codes if self.values is None else self.values
        assert given is not None
        return given.shape

    def numbers(self) -> Tensor:
        """The rows as numbers."""
        if self.values is not None:
            return self.values
        assert self.codes is not None
        assert self.scale is not None
        return self.codes * self.scale

    def _held(self) -> Any:
        codes, scale = self.codes, self.scale
        if codes is None or scale is None:
            assert self.values is not None
            outer, head, token, _ = self.values.stride()
            return _native.HeldRows(self.values.data_ptr(), 0, outer, head, token, 0, 0, 0, 0)
        outer, head, token, _ = codes.stride()
        return _native.HeldRows(
            0, codes.data_ptr(), outer, head, token, scale.data_ptr(), *scale.stride()[:3]
        )


@cache
def _no_mask() -> Any:
    return _native.ScoreMask(0, 0, 0, 0, 0)


def _mask(mask: Tensor | None, shape: Sequence[int]) -> Any:
    if mask is None:
        return _no_mask()
    wide = mask.expand(*shape)
    return _native.ScoreMask(wide.data_ptr(), *wide.stride())


def fits_kernels(rows: Tensor) -> bool:
    """Whether the kernels can take rows [outer, head, row, element] as they lie."""
    return (
        rows.ndim == 4
        and rows.dtype == torch.float32
        and rows.device.type == "cpu"
        and rows.stride(3) == 1
        and rows.stride(2) != 1
    )


class Attention:
    """softmax(q kᵀ · scaling + masks) v, or its weights, in one call."""

    def __init__(self, fused: FusedOperations) -> None:
        self._fused = fused
        self._laws: dict[tuple[int, int, int], tuple[ErrorLaw, ErrorLaw, ErrorLaw] | None] = {}

    def laws(self, width: int, tokens: int, value_width: int) -> tuple[ErrorLaw, ErrorLaw, ErrorLaw] | None:
        """How conversions of the scores, of their sum and of the context go wrong; None: not one by one."""
        place = (width, tokens, value_width)
        if place not in self._laws:
            law, bits = self._fused._law, self._fused.bits
            found = (law(width, tokens, bits), law(tokens, 1, bits), law(tokens, value_width, bits))
            known = [one for one in found if type(one) is ErrorLaw]
            self._laws[place] = (known[0], known[1], known[2]) if len(known) == 3 else None
        return self._laws[place]

    def call(
        self,
        query: Tensor,
        keys: Rows,
        values: Rows,
        scaling: float,
        softcap: float,
        masks: tuple[Tensor | None, Tensor | None],
        draw: tuple[int, Tensor, tuple[int, int, int]],
    ) -> tuple[Tensor, bool] | None:
        """[outer, row, head, element] of query [outer, head, row, inner], and True.

        keys, values: [outer, head of several of the query, token, element]
        draw:  seed, keys of the rows [outer, head, row], and streams: of the scores, the sum and the context
        masks: added to the scores, a bias and then a mask, each [.., .., row, token] or None
        With many rows: the weights [outer, head, row, token], and False, since a conversion of the context
        that goes wrong could not be put right in here.
        """
        native = self._fused.kernels
        outer, heads, rows, width = query.shape
        _, kv_heads, tokens, value_width = values.shape
        laws = None if native is None else self.laws(width, tokens, value_width)
        if native is None or laws is None:
            return None
        whole = outer * heads * rows <= FEW_ROWS
        seed, row_keys, streams = draw
        wrong = None
        if not whole:
            scores = Draw(seed=seed, stream=streams[0], keys=row_keys)
            if laws[0].below and native.any_hit(scores, laws[0].below):
                group, right = heads // kv_heads, keys.numbers()
                right = right if group == 1 else right.repeat_interleave(group, 1)
                wrong = native.wrong_outputs(laws[0], scores, query, right, None, None)
                if has_full_rows(wrong):
                    return None
        shape = (outer, rows, heads, value_width) if whole else (outer, heads, rows, tokens)
        y = torch.empty(shape, device=HOST)
        curve = self._fused._curve
        done = native._calls.attention(
            query.data_ptr(),
            *query.stride()[:3],
            keys._held(),
            values._held(),
            outer,
            heads,
            heads // kv_heads,
            rows,
            width,
            value_width,
            tokens,
            scaling,
            softcap,
            _mask(masks[1], (outer, heads, rows, tokens)),
            _mask(masks[0], (outer, heads, rows, tokens)),
            curve("exp"),
            curve("reciprocal"),
            curve("tanh"),
            self._fused.highest,
            0 if wrong is None else wrong.data_ptr(),
            0 if wrong is None else len(wrong),
            0 if whole else y.data_ptr(),
            y.data_ptr() if whole else 0,
            threads(),
            seed & MASK64,
            row_keys.data_ptr(),
            streams[0],
            laws[0].below if whole else 0,
            streams[1],
            laws[1].below,
            streams[2],
            laws[2].below if whole else 0,
        )
        return (y, whole) if done else None


def rotary(native: Kernels, x: Tensor, cosine: Tensor, sine: Tensor, pairs: bool) -> Tensor:
    """x · cos + turned(x) · sin over the first elements of each row, the others as they are.

    x:            [outer, head, token, element], float32, the last axis contiguous
    cosine, sine: [outer or 1, token, turned], laid out alike, the last axis contiguous
    pairs:        neighbours are turned together, (-x₁, x₀); else halves, (-second, first)
    """
    outer, heads, tokens, width = x.shape
    y = torch.empty_like(x)
    table = cosine.stride(0) if cosine.shape[0] > 1 else 0
    native._calls.rotary(
        x.data_ptr(),
        *x.stride()[:3],
        cosine.data_ptr(),
        sine.data_ptr(),
        table,
        cosine.stride(1),
        outer,
        heads,
        tokens,
        width,
        cosine.shape[2],
        pairs,
        y.data_ptr(),
        *y.stride()[:3],
    )
    return y


def store_rows(
    native: Kernels, values: Tensor, highest: int, codes: Tensor, scale: Tensor, start: int
) -> None:
    """Quantise rows [outer, head, token, element] into ``codes`` and ``scale`` [outer, head, token, 1].

    values: float32, the last axis contiguous; codes: int8, the last axis contiguous
    start:  the first token that is written there
    """
    outer, heads, tokens, width = values.shape
    code_strides, scale_strides = codes.stride(), scale.stride()
    native._calls.store_rows(
        values.data_ptr(),
        *values.stride()[:3],
        outer,
        heads,
        tokens,
        width,
        highest,
        codes.data_ptr() + start * code_strides[2],
        *code_strides[:3],
        scale.data_ptr() + start * scale_strides[2] * scale.element_size(),
        *scale_strides[:3],
    )
