"""Codes of a stored operand, kept once, in the order in which products read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ohmformer.engine.native import Kernels, kernels


class ResidentCodes:
    """Whole numbers [column, inner] that reside in computation crossbars column by column.

    Codes of up to 8 bits lie packed for the native kernels where there are any, else as int8; wider ones as
    int16. There is no second copy.

    cache: what engines derive from the codes and keep with them, by what it depends on
    """

    def __init__(self, codes: Tensor, bits: int) -> None:
        if codes.ndim != 2:
            raise ValueError(f"codes have shape {tuple(codes.shape)}: a matrix [column, inner] is stored")
        self.shape = (int(codes.shape[0]), int(codes.shape[1]))
        self.bits = bits
        self.is_meta = codes.is_meta
        self.cache: dict[Any, Any] = {}
        self._changes: list[tuple[Tensor, Tensor]] = []
        self.kernels: Kernels | None = None
        narrow = codes if codes.is_meta else codes.to(torch.int8 if bits <= 8 else torch.int16).contiguous()
        self._data = narrow
        native = kernels() if bits <= 8 and not codes.is_meta and codes.device.type == "cpu" else None
        if native is not None:
            self.kernels, self._data = native, native.packed(narrow)

    @property
    def device(self) -> torch.device:
        """Where the codes lie."""
        return self._data.device

    def on(self, device: torch.device) -> ResidentCodes:
        """The same codes on a device; itself if they lie there."""
        return self if device == self.device else ResidentCodes(self.codes().to(device), self.bits)

    @property
    def packed(self) -> Tensor:
        """What the kernels take."""
        return self._data

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._data.numel() * self._data.element_size()

    def rows(self, ids: Tensor) -> Tensor:
        """[id, inner] codes of some columns, int8 or int16."""
        if self.kernels is not None:
            return self.kernels.rows(self._data, self.shape, ids)
        return self._data[ids.reshape(-1).to(self.device)]

    def codes(self) -> Tensor:
        """All codes [column, inner], int8 or int16, a copy where they lie packed."""
        if self.kernels is None:
            return self._data
        return self.rows(torch.arange(self.shape[0], device=self.device))

    def floats(self) -> Tensor:
        """[inner, column] float32, as a right operand; a temporary copy."""
        if self.is_meta:
            return self._data.float().t()
        return self.codes().float().t()

    def at(self, positions: Tensor) -> Tensor:
        """Codes at flat positions column · inner + element, int64."""
        positions = positions.to(self.device)
        if self.kernels is not None:
            return self.kernels.codes_at(self._data, self.shape[1], positions).long()
        columns, which = torch.unique(positions // self.shape[1], return_inverse=True)
        return self.rows(columns)[which, positions % self.shape[1]].long()

    @contextmanager
    def patched(self, positions: Tensor, deltas: Tensor) -> Iterator[None]:
        """Other codes for a while: ``deltas`` are added at flat positions, and taken off again.

        What lies in ``cache`` is that of the codes as they were.
        """
        self._add(positions, deltas)
        self._changes.append((positions, deltas))
        try:
            yield
        finally:
            self._changes.pop()
            self._add(positions, -deltas)

    @property
    def is_patched(self) -> bool:
        """Whether the codes are other ones for a while (``patched``)."""
        return bool(self._changes)

    def stored(self) -> Tensor:
        """All codes [column, inner] as they were stored, whatever they are now; int8 or int16, a copy."""
        codes = self.codes().clone() if self.kernels is None else self.codes()
        for positions, deltas in self._changes:
            codes.view(-1).index_add_(0, positions.to(self.device), -deltas.to(self.device, codes.dtype))
        return codes

    def _add(self, positions: Tensor, deltas: Tensor) -> None:
        if self.kernels is not None:
            self.kernels.patch(self._data, self.shape, positions, deltas)
        else:
            deltas = deltas.to(self.device, self._data.dtype)
            self._data.view(-1).index_add_(0, positions.to(self.device), deltas)
