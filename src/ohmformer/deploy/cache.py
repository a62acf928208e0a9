"""Keys and values of past tokens on the chip: integer codes, written once, in SRAM or in dense cells.

A ``transformers`` cache keeps its class; its layers are exchanged for layers that hold codes. Beams,
cropping and sliding windows move rows: a row keeps its codes, and in the dense crossbar its cells.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, EncoderDecoderCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from ohmformer.deploy.cache_rows import KEYS, VALUES, CacheHome, StoredRows
from ohmformer.errors import UserError

HOME = "_ohmformer_home"
SAMPLES = "_ohmformer_samples"  # numbers of the sequences whose tokens a cache holds
CACHE_NAMES = ("past_key_values", "past_key_value", "layer_past", "cache_params")


class _Rows:
    """``keys`` or ``values`` of a layer: reading it is a read of the store."""

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute

    def __get__(self, layer: Any, owner: Any = None) -> Any:
        if layer is None:
            return self
        rows: StoredRows = getattr(layer, self.attribute)
        if rows._codes is None:
            return None
        if rows.home.mode.active:
            with rows.home.mode.region():
                rows.home.note("read")
                return rows.read()
        return rows.codes * rows.scale

    def __set__(self, layer: Any, values: Tensor | None) -> None:
        rows: StoredRows = getattr(layer, self.attribute)
        rows.clear()
        if values is not None and values.numel():
            rows.append(values)


class StoredLayer(DynamicLayer):
    """A growing layer of a cache whose keys and values are codes."""

    keys = _Rows("key_rows")
    values = _Rows("value_rows")

    def __init__(self, home: CacheHome, **options: Any) -> None:
        self.home = home
        self.key_rows, self.value_rows = StoredRows(home, KEYS), StoredRows(home, VALUES)
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take type and device from the first rows."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new rows and read all of them."""
        if self.home.mode.away:
            self._write(key_states, value_states)
            return self._read(None)
        with self.home.mode.region():
            self._write(key_states, value_states)
            return self._read(None)

    def _write(self, key_states: Tensor, value_states: Tensor) -> None:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.home.refuse_beyond(self.get_seq_length() + key_states.shape[-2])
        self.home.note("write")
        self.key_rows.append(key_states)
        self.value_rows.append(value_states)

    def _read(self, last: int | None) -> tuple[Tensor, Tensor]:
        self.home.note("read")
        return self.key_rows.read(last), self.value_rows.read(last)

    def get_seq_length(self) -> int:
        """Tokens in use."""
        return self.key_rows.tokens

    def reset(self) -> None:
        """Forget everything."""
        self.key_rows.clear()
        self.value_rows.clear()
        self.is_initialized = False

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; their number is given negative."""
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes minus the number of tokens to remove, not {tokens_to_remove}")
        self._keep(0, self.key_rows.tokens + tokens_to_remove)

    def _keep(self, start: int, stop: int) -> None:
        self.key_rows.keep(start, max(stop, 0))
        self.value_rows.keep(start, max(stop, 0))

    def _take(self, index: Tensor) -> None:
        if self.key_rows.tokens:
            self.key_rows.take(index.to(self.device))
            self.value_rows.take(index.to(self.device))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow the beams."""
        self._take(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some samples."""
        chosen = torch.as_tensor(indices)
        self._take(chosen.nonzero().squeeze(-1) if chosen.dtype == torch.bool else chosen)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sample ``repeats`` times."""
        if self.key_rows.tokens:
            each = torch.arange(len(self.key_rows.codes), device=self.device)
            self._take(each.repeat_interleave(repeats))

    def offload(self) -> None:
        """The chip's memory is where it is."""

    def prefetch(self) -> None:
        """The chip's memory is where it is."""


class StoredSlidingLayer(StoredLayer, DynamicSlidingWindowLayer):
    """A layer that keeps the last ``sliding_window`` - 1 tokens, as codes."""

    def __init__(self, home: CacheHome, sliding_window: int) -> None:
        super().__init__(home, sliding_window=sliding_window)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take type and device from the first rows."""
        StoredLayer.lazy_initialization(self, key_states, value_states)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the new rows, read what the new tokens may see, forget what later ones may not."""
        with self.home.mode.region():
            self._write(key_states, value_states)
            self.cumulative_length += key_states.shape[-2]
            seen = self._read(self.sliding_window - 1 + key_states.shape[-2])
            if not self.record_past:
                self._keep_window(0)
            return seen

    def _keep_window(self, removed: int) -> None:
        stop = self.key_rows.tokens - removed
        self._keep(max(0, stop - self.sliding_window + 1), stop)

    def get_seq_length(self) -> int:
        """Tokens of the sequence so far."""
        return self.cumulative_length

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.cumulative_length = 0

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, if those before them are still there."""
        full = self.cumulative_length >= self.sliding_window
        if full and not self.record_past:
            raise RuntimeError(
                "a full sliding window cannot be cropped: call activate_past_recording before filling it"
            )
        if not full:
            super().crop(tokens_to_remove)
            self.cumulative_length = self.key_rows.tokens
            return
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes minus the number of tokens to remove, not {tokens_to_remove}")
        self._keep_window(-tokens_to_remove)
        self.cumulative_length += tokens_to_remove


def place_cache(cache: Cache, home: CacheHome) -> None:
    """Exchange the layers of ``cache`` for layers on the chip; what they hold is written there.

    Error: UserError for a cache of another chip, or one whose layers have no place on the chip.
    """
    owner = getattr(cache, HOME, None)
    if owner is home:
        return
    if owner is not None:
        raise UserError("This cache holds keys and values of another deployed model: give each its own.")
    if isinstance(cache, EncoderDecoderCache):
        place_cache(cache.self_attention_cache, home)
        place_cache(cache.cross_attention_cache, home.of_encoder)
    else:
        if type(cache).update is not Cache.update:
            raise UserError(f"A cache of type {type(cache).__name__} cannot be kept on the chip.")
        cache.layers = [_placed(layer, home) for layer in cache.layers]
        if cache.layer_class_to_replicate is not None:
            _placed(cache.layer_class_to_replicate(), home)
            replicate: Any = functools.partial(StoredLayer, home)
            cache.layer_class_to_replicate = replicate
    setattr(cache, HOME, home)
    setattr(cache, SAMPLES, home.runtime.keys.samples)


def _placed(layer: Any, home: CacheHome) -> Any:
    made: StoredLayer
    if isinstance(layer, DummyLayer):
        return layer
    if type(layer) is DynamicSlidingWindowLayer:
        made = StoredSlidingLayer(home, layer.sliding_window)
        made.cumulative_length, made.record_past = layer.cumulative_length, layer.record_past
    elif type(layer) is DynamicLayer:
        made = StoredLayer(home)
    elif isinstance(layer, LinearAttentionCacheLayerMixin):
        raise UserError(
            f"The model keeps a state instead of keys and values (cache layers of type "
            f"{type(layer).__name__}): state-space layers, such as Mamba's, and linear attention are not "
            f"supported."
        )
    else:
        raise UserError(
            f"A cache with layers of type {type(layer).__name__} cannot be kept on the chip: "
            f"use the default cache (DynamicCache)."
        )
    if layer.is_initialized and layer.keys.numel():
        with home.mode.region():
            made.lazy_initialization(layer.keys, layer.values)
            made.key_rows.append(layer.keys)
            made.value_rows.append(layer.values)
    return made


def wrap_cached(module: nn.Module, home: CacheHome) -> None:
    """Let ``module`` put every cache it is given on the chip before it runs; other modules are left alone."""
    original: Callable[..., Any] = module.forward
    parameters = list(inspect.signature(original).parameters)
    places = [(name, parameters.index(name)) for name in CACHE_NAMES if name in parameters]
    if not places:
        return

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        for name, index in places:
            cache = kwargs.get(name) if name in kwargs or index >= len(args) else args[index]
            if isinstance(cache, Cache) and getattr(cache, HOME, None) is not home:
                place_cache(cache, home)
        return original(*args, **kwargs)

    module.forward = forward
