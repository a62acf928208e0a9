"""Rows of keys or values as integer codes, in SRAM or in dense cells."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.cache_cells import CodeCells, UncertainCells
from ohmformer.deploy.coverage import DENSE, MOVEMENT
from ohmformer.deploy.interception import ChipMode
from ohmformer.deploy.runtime import Runtime
from ohmformer.engine import fits_kernels, kernels, store_rows
from ohmformer.errors import UserError
from ohmformer.numerals import HOST, max_code, quantise_per_row

KEYS, VALUES = 1, 2
ROOM = 64  # tokens by which a full buffer grows, at least
CODED = "_ohmformer_coded"


@dataclass(frozen=True, kw_only=True)
class Coded:
    """Rows as they were read: value = codes · scale.

    codes: [batch, head, token, element], int8, or int16 above 8 bits; may be a view into a longer buffer
    scale: [batch, head, token, 1], float32
    """

    codes: Tensor
    scale: Tensor


def coded(values: Tensor) -> Coded | None:
    """Codes and scales of what a cache gave, found on the very tensor it gave; None for any other."""
    return getattr(values, CODED, None)


class PendingRows(Tensor):
    """Rows of a cache whose codes are multiplied out when something asks for numbers.

    Their own memory is one NaN; ``coded`` holds what they stand for.
    """

    coded: Coded

    @classmethod
    def of(cls, codes: Tensor, scale: Tensor) -> PendingRows:
        """The rows that codes and scales stand for."""
        made: PendingRows = Tensor._make_subclass(cls, _nothing().expand(codes.shape))
        made.coded = Coded(codes=codes, scale=scale)
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """``func`` of the numbers."""
        named = {key: _multiplied(value) for key, value in (kwargs or {}).items()}
        return func(*_multiplied(args), **named)


@functools.cache
def _nothing() -> Tensor:
    return torch.full((), math.nan, device=HOST)


def _multiplied(value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(_multiplied(item) for item in value)
    return numbers(value)


def numbers(value: Any) -> Any:
    """Pending rows as numbers; anything else as it is."""
    if type(value) is not PendingRows:
        return value
    held = value.coded
    made = held.codes * held.scale
    setattr(made, CODED, held)
    return made


class CacheHome:
    """Where the caches of one deployed model lie.

    limit:    most tokens of a sequence, if the model has one
    as_codes: give attention the codes themselves, whose scale ``coded`` tells, instead of float32 values
    """

    def __init__(self, runtime: Runtime, mode: ChipMode, limit: int | None = None) -> None:
        chip = runtime.chip
        self.runtime, self.mode, self.limit = runtime, mode, limit
        self.as_codes = False
        self.bits = chip.precision.activation_bits
        self.native = kernels() if self.bits <= 8 else None
        self.cells = (
            {kind: CodeCells(self.bits, chip.dense, runtime.seed, kind) for kind in (KEYS, VALUES)}
            if chip.buffer.intermediates == "dense"
            else {}
        )

    def __deepcopy__(self, memo: Any) -> CacheHome:
        return self  # a copy of a cache lies on the same chip

    @functools.cached_property
    def of_encoder(self) -> CacheHome:
        """For the tokens of an encoder, whose number has another limit."""
        with self.mode.region():  # the first cache of an encoder may come in the middle of a run
            return CacheHome(self.runtime, self.mode)

    def note(self, what: str) -> None:
        """A row of the coverage table."""
        if self.runtime.coverage is None:
            return
        if self.cells:
            self.runtime.note(f"{what} of keys and values", DENSE, f"codes of {self.bits} bits")
        else:
            self.runtime.note(f"{what} of keys and values", MOVEMENT, f"codes of {self.bits} bits in SRAM")

    def refuse_beyond(self, tokens: int) -> None:
        """Error: UserError for a sequence longer than the model takes."""
        if self.limit is not None and tokens > self.limit:
            raise UserError(
                f"A sequence of {tokens} tokens is too long: the model takes at most {self.limit}."
            )


class StoredRows:
    """Keys or values of one layer: codes, scales and, in the dense crossbar, the cells that may be misread.

    Rows are quantised when they are written (``quantise_per_row``: one scale per token and head) and never
    again; a read gives back the very codes, but for misread cells.
    """

    def __init__(self, home: CacheHome, kind: int) -> None:
        self.home, self.kind = home, kind
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._codes: Tensor | None = None
        self._scale: Tensor | None = None
        self._uncertain: UncertainCells | None = None
        self.tokens = 0  # in use
        self.position = 0  # in the sequence, of the next token
        self.reads = 0

    @property
    def nbytes(self) -> int:
        """Memory of codes and scales, spare room included."""
        parts = (self._codes, self._scale)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    @property
    def codes(self) -> Tensor:
        """[batch, head, token, element] as written."""
        assert self._codes is not None
        return self._codes[:, :, : self.tokens]

    @property
    def scale(self) -> Tensor:
        """[batch, head, token, 1]."""
        assert self._scale is not None
        return self._scale[:, :, : self.tokens]

    def append(self, values: Tensor) -> None:
        """Quantise and write [batch, head, token, element] behind what is there."""
        if self._written(values):
            return
        if values.is_meta:
            codes, scale = values.to(torch.int8), values.new_empty((*values.shape[:-1], 1))
        else:
            codes, scale = _quantised(values, self.home.bits)
            if self.home.cells:
                cells = self.home.cells[self.kind]
                self._join(cells.write(codes.to(HOST), self.tokens, self.position))
        new, stop = codes.shape[2], self.tokens + codes.shape[2]
        if self._codes is None or self._scale is None:
            self._codes, self._scale = codes, scale
        else:
            if self._codes.shape[2] < stop:
                room = max(ROOM, stop // 4)
                self._codes, self._scale = _longer(self.codes, new + room), _longer(self.scale, new + room)
            self._codes[:, :, self.tokens : stop] = codes
            self._scale[:, :, self.tokens : stop] = scale
        self.tokens = stop
        self.position += new

    def _written(self, values: Tensor) -> bool:
        """Write into spare room in one call, where that can be."""
        codes, scale = self._codes, self._scale
        if codes is None or scale is None or self.home.cells or codes.dtype != torch.int8:
            return False
        stop, native = self.tokens + values.shape[2], self.home.native
        if native is None or codes.shape[2] < stop or not fits_kernels(values) or not values.numel():
            return False
        if values.shape[:2] != codes.shape[:2] or values.shape[3] != codes.shape[3] or not codes.is_cpu:
            return False
        store_rows(native, values, max_code(self.home.bits), codes, scale, self.tokens)
        self.position += stop - self.tokens
        self.tokens = stop
        return True

    def _join(self, more: UncertainCells | None) -> None:
        if more is not None and len(more):
            self._uncertain = more if self._uncertain is None else self._uncertain.joined(more)

    def read(self, last: int | None = None) -> Tensor:
        """Values of the last tokens (None: all) as one read gives them, with their codes."""
        first = 0 if last is None else max(0, self.tokens - last)
        codes, scale = self.codes[:, :, first:], self.scale[:, :, first:]
        self.reads += 1
        if self._uncertain is not None and len(self._uncertain):
            cells, delta = self._uncertain.misread(self.reads)
            visible = cells.token >= first
            cells, delta = cells.take(visible), delta[visible]
            if len(cells):
                codes = codes.clone()
                place = (cells.batch, cells.head, cells.token - first, cells.element)
                places = tuple(axis.to(codes.device) for axis in place)
                codes.index_put_(places, delta.to(codes.device, codes.dtype), accumulate=True)
        if self.home.mode.pending and codes.dtype == torch.int8 and codes.is_cpu and not self.home.as_codes:
            return PendingRows.of(codes, scale)
        given = codes.view(codes.shape) if self.home.as_codes else codes * scale
        setattr(given, CODED, Coded(codes=codes, scale=scale))
        return given

    def take(self, index: Tensor) -> None:
        """Row ``index[b]`` of the batch becomes row b."""
        if self._codes is not None and self._scale is not None:
            self._codes, self._scale = self._codes[index], self._scale[index]
            if self._uncertain is not None:
                self._uncertain = self._uncertain.of_batch(index.to(HOST))

    def keep(self, start: int, stop: int) -> None:
        """Keep tokens ``start`` ... ``stop`` - 1 alone."""
        start, stop, _ = slice(start, stop).indices(self.tokens)
        if (start, stop) == (0, self.tokens) or self._codes is None or self._scale is None:
            return
        if start:
            self._codes, self._scale = self.codes[:, :, start:].clone(), self.scale[:, :, start:].clone()
        self.position -= self.tokens - max(start, stop)
        self.tokens = max(0, stop - start)
        if self._uncertain is not None:
            self._uncertain = self._uncertain.of_tokens(start, stop)


def _quantised(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes and scales by ``quantise_per_row``, natively where that can be."""
    native = (
        kernels() if bits <= 8 and values.device.type == "cpu" and values.dtype == torch.float32 else None
    )
    if native is None:
        quantised = quantise_per_row(values, bits)
        return quantised.codes, quantised.scale
    codes, scale = native.quantise(values.reshape(-1, values.shape[-1]), max_code(bits))
    return codes.reshape(values.shape), scale.reshape(*values.shape[:-1], 1)


def _longer(rows: Tensor, by: int) -> Tensor:
    batch, heads, tokens, width = rows.shape
    longer = rows.new_empty(batch, heads, tokens + by, width)
    longer[:, :, :tokens] = rows
    return longer
