"""Inputs for a checking run, names of running modules, and a run as an ``ir.Program``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModel, DynamicCache, PreTrainedConfig, PreTrainedModel

from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.state import on_chip
from ohmformer.errors import UserError, reason_of
from ohmformer.ir import Program, Recorder

CHECK_TOKENS = 6


def max_tokens(config: Any) -> int | None:
    """Longest sequence the configuration allows, if it states one."""
    for name in ("max_position_embeddings", "n_positions", "max_target_positions", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            # RoBERTa-like models keep the first positions for padding
            padding = getattr(config, "pad_token_id", None)
            shifted = getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "mpnet")
            return int(value * _stretch(config)) - (int(padding or 0) + 1 if shifted else 0)
    return None


def _stretch(config: Any) -> float:
    """By how much rotary frequencies that are found anew beyond the stated length extend it."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or rope.get("rope_type") != "dynamic":
        return 1.0
    return max(1.0, float(rope.get("factor") or 1.0))


def _inputs(model: nn.Module, batch: int, tokens: int) -> dict[str, Any]:
    """Inputs of the model's main kind, on the device of its parameters."""
    config = getattr(model, "config", None)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    main = getattr(model, "main_input_name", "input_ids")
    if config is None:
        raise UserError(
            f"{type(model).__name__} has no configuration: pass check=False and inputs of your own."
        )
    if main == "pixel_values":
        return {"pixel_values": _picture(config, batch, device)}
    if main == "input_features":
        frames, bins = 2 * getattr(config, "max_source_positions", 0), getattr(config, "num_mel_bins", 0)
        start = torch.zeros(batch, min(tokens, 2), dtype=torch.long, device=device)
        if not frames * bins:
            raise UserError(f"{type(model).__name__} takes audio of unknown shape: pass check=False.")
        sound = torch.zeros(batch, bins, frames, device=device)
        return {"input_features": sound, "decoder_input_ids": start}
    if main != "input_ids":
        raise UserError(f"{type(model).__name__} takes {main}, which is neither text nor picture nor audio.")
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    vocabulary = int(getattr(text, "vocab_size", 2))
    limit = max_tokens(text)
    if limit is not None and tokens > limit:
        raise UserError(f"A sequence of {tokens} tokens is too long: the model takes at most {limit}.")
    if device.type == "meta":
        ids = torch.empty(batch, tokens, dtype=torch.long, device=device)
    else:
        numbers = torch.arange(batch * tokens, device=device) % max(1, vocabulary - 1)
        ids = numbers.reshape(batch, tokens) % vocabulary
    inputs: dict[str, Any] = {"input_ids": ids}
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = ids
    if hasattr(model, "logit_scale") and hasattr(config, "vision_config"):  # compares texts with pictures
        inputs["pixel_values"] = _picture(config, batch, device)
    return inputs


def _picture(config: Any, batch: int, device: torch.device) -> torch.Tensor:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", 32)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return torch.zeros(batch, getattr(vision, "num_channels", 3), height, width, device=device)


def checking_inputs(model: nn.Module) -> Iterator[dict[str, Any]]:
    """A short input; for decoders also two steps with a cache."""
    config = getattr(model, "config", None)
    limit = max_tokens(config) if config is not None else None
    inputs = _inputs(model, 1, min(CHECK_TOKENS, limit or CHECK_TOKENS))
    yield inputs
    decoder = isinstance(model, PreTrainedModel) and model.can_generate()
    ids = inputs.get("input_ids")
    if decoder and ids is not None and "decoder_input_ids" not in inputs and not ids.is_meta:
        cache = DynamicCache(config=config)
        yield {"input_ids": ids[:, :2], "past_key_values": cache, "use_cache": True}
        yield {"input_ids": ids[:, 2:3], "past_key_values": cache, "use_cache": True}


def shape_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model of ``config`` on the meta device: shapes without weights.

    The class is the one the configuration names, else the plain model of its kind.
    Error: UserError where ``transformers`` cannot build it.
    """
    named = getattr(config, "architectures", None) or []
    kind = getattr(transformers, named[0], None) if named else None
    try:
        with torch.device("meta"):
            model = (
                kind(config) if kind is not None else AutoModel.from_config(config, trust_remote_code=False)
            )
    except Exception as error:
        raise UserError(
            f"A model of type {config.model_type!r} cannot be built: {reason_of(error)}."
        ) from error
    return model.eval()  # type: ignore[no-any-return]


@contextmanager
def named_modules_running(model: nn.Module, runtime: Runtime) -> Iterator[None]:
    """Keep ``runtime.path`` at the path of the module that is running."""
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any, name: str = name) -> None:
            runtime.path.append(name)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            runtime.path.pop()

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        runtime.path.clear()


def run_on_shapes(model: nn.Module, inputs: dict[str, Any]) -> None:
    """Run ``model``; on the meta device a question about the data is a UserError."""
    try:
        model(**inputs)
    except (NotImplementedError, RuntimeError) as error:
        if not any(value.is_meta for value in inputs.values() if isinstance(value, torch.Tensor)):
            raise
        raise UserError(
            f"The work of {type(model).__name__} cannot be counted from shapes alone, because it depends on "
            f"the data (such as which expert takes which token): give the model with its weights."
        ) from error


def trace(model: nn.Module, *, batch: int, tokens: int, name: str = "") -> Program:
    """One forward run of a deployed model as a program; on the meta device only shapes are computed.

    batch, tokens: sequences at once and tokens of each
    Error: UserError if the sequence is longer than the model allows.
    """
    for what, value in (("batch", batch), ("tokens", tokens)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{what} is {value!r}: it must be a whole number of at least 1.")
    state = on_chip(model)
    runtime = state.runtime
    inputs = _inputs(model, batch, tokens)
    samples = runtime.samples
    runtime.recorder = Recorder()
    try:
        with named_modules_running(model, runtime), torch.no_grad():
            run_on_shapes(model, inputs)
        return runtime.recorder.program(
            name=name or type(model).__name__, batch=batch, tokens=tokens, stored_words=state.stored_words
        )
    finally:
        runtime.recorder = None
        state.restart(samples)
