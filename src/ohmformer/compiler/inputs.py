"""The model on shapes, what one run of it is given, and a cache that is already full."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from ohmformer.compiler.graph import Phase
from ohmformer.compiler.trace_recording import AtenWatch, Recording
from ohmformer.errors import UserError

__all__ = ["RunInputs", "longest_sequence", "quiet", "run_inputs", "shape_model", "window_edges"]

NameInput = Callable[[str, Tensor], Any]
_META = torch.device("meta")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions")
# These count positions from pad_token_id + 1, so as many rows of the position table never hold a token.
_POSITIONS_AFTER_PAD = frozenset(
    {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer"}
)


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """Arguments of ``model.forward`` for one run, and the tensors among them by name.

    tokens: new tokens of each sequence that the run works on
    """

    arguments: dict[str, Any]
    named: list[tuple[str, Tensor]]
    tokens: int


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what transformers says below an error, and Python's warnings, off the user's terminal."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def shape_model(config_or_model: PreTrainedConfig | PreTrainedModel) -> PreTrainedModel:
    """The model on the meta device: fp32, eager attention, evaluated, no weights, nothing initialised.

    The class is that of the model, else the one the configuration names, else the plain model of its kind.
    Error: UserError where ``transformers`` cannot build it, or where the model given was changed after it
    was built, so that its configuration no longer describes it.
    """
    if isinstance(config_or_model, PreTrainedModel):
        model = _built(copy.deepcopy(config_or_model.config), type(config_or_model))
        _check_same(config_or_model, model)
        return model
    if not isinstance(config_or_model, PreTrainedConfig):
        raise UserError(
            f"A {type(config_or_model).__name__} cannot be traced: give a configuration or a model of "
            f"transformers."
        )
    config = copy.deepcopy(config_or_model)
    named = getattr(config, "architectures", None) or []
    kind = getattr(transformers, str(named[0]), None) if named else None
    return _built(config, kind if isinstance(kind, type) and issubclass(kind, PreTrainedModel) else None)


def _built(config: PreTrainedConfig, kind: Any) -> PreTrainedModel:
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    try:
        with quiet(), _META, no_init_weights():
            if kind is not None:
                model = kind._from_config(config, **options)
            else:
                model = AutoModel.from_config(config, trust_remote_code=False, **options)
        model.tie_weights()
    except Exception as error:  # whatever transformers raises on a foreign configuration becomes one sentence
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if "Unrecognized configuration class" in str(error):
            reason = "transformers knows no model of this family"
        else:
            reason = lines[0].rstrip(".") if lines else type(error).__name__
        raise UserError(f"A model of type {config.model_type!r} cannot be built: {reason}.") from error
    return model.eval()  # type: ignore[no-any-return]


def _check_same(given: nn.Module, built: nn.Module) -> None:
    def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
        return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

    mine, theirs = shapes(given), shapes(built)
    if mine != theirs:
        other = sorted(set(mine.items()) ^ set(theirs.items()))[0][0]
        raise UserError(
            f"The {type(given).__name__} was changed after it was built ({other} differs from what its "
            f"configuration says): it cannot be traced by its configuration."
        )


def longest_sequence(config: PreTrainedConfig) -> int | None:
    """The most tokens the position table takes; None where the configuration states no limit."""
    text = config.get_text_config()
    for name in _LENGTHS:
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            padding = getattr(text, "pad_token_id", None)
            shifted = getattr(text, "model_type", "") in _POSITIONS_AFTER_PAD
            return value - (int(padding or 0) + 1 if shifted else 0)
    return None


def run_inputs(
    model: PreTrainedModel, phase: Phase, batch: int, tokens: int, context: int, name_input: NameInput
) -> RunInputs:
    """What ``model`` is given for one run; see ``trace`` for the meaning of the numbers.

    name_input: told of tensors of the cache that come to be while the model runs

    Error: UserError for a phase the model does not have, a sequence too long, an input of another kind.
    """
    config = model.config
    main = getattr(model, "main_input_name", "input_ids")
    if main == "pixel_values":
        if phase != "encode":
            raise UserError(
                f"{type(model).__name__} takes pictures and has no cache: its only phase is encode."
            )
        return _picture(model, batch)
    if main != "input_ids":
        raise UserError(f"{type(model).__name__} takes {main}; only text and pictures can be traced.")
    _check_length(model, phase, tokens, context)
    accepted = inspect.signature(model.forward).parameters
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
        return _encoder_decoder(model, phase, batch, tokens, context)
    new = 1 if phase == "decode" else tokens
    ids = _ids(batch, new)
    arguments: dict[str, Any] = {"input_ids": ids}
    if "use_cache" in accepted:
        arguments["use_cache"] = phase != "encode"
    if phase != "encode":
        if "past_key_values" not in accepted:
            raise UserError(f"{type(model).__name__} has no key-value cache: its only phase is encode.")
        arguments["past_key_values"] = _full_cache(config, context, name_input)
    return RunInputs(arguments=arguments, named=[("input_ids", ids)], tokens=new)


def _ids(batch: int, tokens: int) -> Tensor:
    return torch.empty(batch, tokens, dtype=torch.long, device=_META)


def _check_length(model: PreTrainedModel, phase: Phase, tokens: int, context: int) -> None:
    limit = longest_sequence(model.config)
    both = getattr(model.config, "is_encoder_decoder", False) and phase == "decode"
    length = max(tokens, context + 1) if both else context + (1 if phase == "decode" else tokens)
    if limit is not None and length > limit:
        raise UserError(
            f"A sequence of {length} tokens is too long: {type(model).__name__} takes at most {limit}."
        )


def _picture(model: PreTrainedModel, batch: int) -> RunInputs:
    vision = getattr(model.config, "vision_config", model.config)
    size = getattr(vision, "image_size", None)
    if size is None:
        raise UserError(f"The configuration of {type(model).__name__} states no image_size.")
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    channels = getattr(vision, "num_channels", 3)
    pixels = torch.empty(batch, channels, height, width, device=_META)
    return RunInputs(arguments={"pixel_values": pixels}, named=[("pixel_values", pixels)], tokens=1)


def _encoder_decoder(
    model: PreTrainedModel, phase: Phase, batch: int, tokens: int, context: int
) -> RunInputs:
    """``encode``: both on ``tokens``; ``prefill``: the encoder on ``tokens``, the decoder on its first token.

    ``decode``: one token of the decoder after ``context`` others, the encoder's work on ``tokens`` done.
    """
    ids = _ids(batch, tokens)
    if phase == "encode":
        started = _ids(batch, tokens)
        arguments: dict[str, Any] = {"input_ids": ids, "decoder_input_ids": started, "use_cache": False}
        named = [("input_ids", ids), ("decoder_input_ids", started)]
        return RunInputs(arguments=arguments, named=named, tokens=tokens)
    started = _ids(batch, 1)
    if phase == "prefill":
        if context:
            raise UserError(
                f"context is {context}: the prefill of an encoder-decoder model starts with an empty cache."
            )
        arguments = {"input_ids": ids, "decoder_input_ids": started, "use_cache": True}
        named = [("input_ids", ids), ("decoder_input_ids", started)]
        return RunInputs(arguments=arguments, named=named, tokens=tokens)
    unread = Recording()
    with torch.no_grad(), AtenWatch(unread), unread:
        first = model(input_ids=ids, decoder_input_ids=started, use_cache=True)
    cache = first.past_key_values
    named = [("decoder_input_ids", started), ("encoder_hidden_states", first.encoder_last_hidden_state)]
    for number, layer in enumerate(cache.self_attention_cache.layers):
        past = (*layer.keys.shape[:-2], context, layer.keys.shape[-1])
        layer.keys, layer.values = (torch.empty(past, device=_META) for _ in range(2))
        named += [(f"past_keys.{number}", layer.keys), (f"past_values.{number}", layer.values)]
    for number, layer in enumerate(cache.cross_attention_cache.layers):
        named += [(f"cross_keys.{number}", layer.keys), (f"cross_values.{number}", layer.values)]
    arguments = {
        "encoder_outputs": (first.encoder_last_hidden_state,),
        "decoder_input_ids": started,
        "past_key_values": cache,
        "use_cache": True,
    }
    return RunInputs(arguments=arguments, named=named, tokens=1)


def _full_cache(config: PreTrainedConfig, context: int, name_input: NameInput) -> DynamicCache:
    """A cache that holds ``context`` tokens in every layer; a sliding window holds its window less one.

    The past of a layer takes its shape from the first states added to it.
    """
    cache = DynamicCache(config=config)
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        kind = type(layer)
        if kind is DynamicSlidingWindowLayer:
            # its own also moves a copy of the window's size, which nothing reads
            layer.lazy_initialization = partial(DynamicLayer.lazy_initialization, layer)
            layer.cumulative_length = context
            past = min(context, layer.sliding_window - 1)
        elif kind is DynamicLayer:
            past = context
        else:
            if context:
                raise UserError(
                    f"Layer {number} keeps its past in a {kind.__name__}: only key-value caches, full or of "
                    f"a sliding window, can be traced."
                )
            continue
        if past:
            layer.keys = layer.values = torch.empty(1, 1, past, 1, device=_META)
            layer.is_initialized = True
            layer.update = partial(_fill_and_update, layer, number, past, name_input)
    return cache


def _fill_and_update(
    layer: DynamicLayer,
    number: int,
    past: int,
    name_input: NameInput,
    keys: Tensor,
    values: Tensor,
    *rest: Any,
    **options: Any,
) -> Any:
    for kind, states in (("keys", keys), ("values", values)):
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            shape = (*states.shape[:-2], past, states.shape[-1])
            tensor = torch.empty(shape, dtype=states.dtype, device=states.device)
        name_input(f"past_{kind}.{number}", tensor)
        setattr(layer, kind, tensor)
    del layer.update
    return layer.update(keys, values, *rest, **options)


def window_edges(config: PreTrainedConfig) -> list[int]:
    """The last contexts before something of a sliding window stops growing, shortest first.

    With a window of w tokens the cache after the step holds min(context + 1, w − 1) of them, the one before
    it min(context, w − 1).
    """
    if getattr(config, "is_encoder_decoder", False):
        return []
    layers = DynamicCache(config=config).layers
    windows = {layer.sliding_window for layer in layers if type(layer) is DynamicSlidingWindowLayer}
    return sorted({window - missing for window in windows for missing in (1, 2)})
