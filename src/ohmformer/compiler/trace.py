"""A ``transformers`` configuration or model as the graph of one run, on shapes alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from ohmformer.compiler.experts import routing_assumptions
from ohmformer.compiler.graph import PHASES, ModelGraph, Phase
from ohmformer.compiler.inputs import quiet, run_inputs, shape_model
from ohmformer.compiler.trace_outcomes import raised_at
from ohmformer.compiler.trace_recording import AtenWatch, Recording
from ohmformer.errors import UserError

__all__ = ["trace", "trace_built"]


def trace(
    config_or_model: PreTrainedConfig | PreTrainedModel,
    *,
    phase: Phase = "encode",
    batch: int = 1,
    tokens: int = 128,
    context: int = 0,
    name: str = "",
) -> ModelGraph:
    """One run of a model as a graph, without weights: fp32, eager attention, meta device.

    phase:   "encode", a plain run without a cache; "prefill", a run that gives the cache back;
             "decode", one new token after ``context`` others
    tokens:  of each sequence, for encode and prefill; an encoder-decoder model encodes as many in every
             phase (encode decodes as many too, prefill decodes one); pictures: of no meaning
    context: tokens of each sequence already in the cache: decode, and a prefill that continues
    Error: UserError, one sentence, for a model that cannot be built, a sequence too long, a phase the model
    has not, and an operation whose work depends on the data, with its module and line.
    """
    _check(phase, batch, tokens, context)
    return trace_built(
        shape_model(config_or_model), phase=phase, batch=batch, tokens=tokens, context=context, name=name
    )


def trace_built(
    model: PreTrainedModel, *, phase: Phase, batch: int, tokens: int, context: int, name: str = ""
) -> ModelGraph:
    """``trace`` of a model that ``shape_model`` made."""
    recording = Recording()

    def name_input(label: str, tensor: Tensor) -> None:
        recording.name_value(tensor, "input", label)

    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            # it looks for padding among the tokens, only to warn
            part.warn_if_padding_and_no_attention_mask = _no_warning  # type: ignore[method-assign]
    with quiet(), _uncollected():
        with _in_one_sentence(model, recording):
            inputs = run_inputs(model, phase, batch, tokens, context, name_input)
        recording.name_values(inputs.named, "input")
        recording.name_values(model.named_parameters(), "parameter")
        recording.name_values(model.named_buffers(), "buffer")
        with (
            _in_one_sentence(model, recording),
            _modules_named(model, recording),
            torch.no_grad(),
            AtenWatch(recording),
            recording,
        ):
            result = model(**inputs.arguments)
        outputs = _outputs(result)
        found = tuple(recording.value_of(tensor) for _, tensor in outputs)
    if phase != "encode" and not any(label.startswith("past_keys") for label, _ in outputs):
        raise UserError(f"{type(model).__name__} has no key-value cache: its only phase is encode.")
    seen = _picture_tokens(outputs) if "pixel_values" in inputs.arguments else inputs.tokens
    return ModelGraph(
        name=name or type(model).__name__,
        phase=phase,
        batch=batch,
        tokens=seen,
        context=context,
        values=tuple(recording.values),
        nodes=tuple(recording.nodes),
        outputs=found,
        output_names=tuple(label for label, _ in outputs),
        assumptions=routing_assumptions(recording.nodes, recording.values, batch * seen),
    )


@contextmanager
def _in_one_sentence(model: PreTrainedModel, recording: Recording) -> Iterator[None]:
    """Whatever a foreign model raises on shapes becomes a UserError with its module and line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rstrip(".") if lines else type(error).__name__
        raise UserError(
            f"{type(model).__name__} cannot be run on shapes: {reason} "
            f"({recording.path[-1][0] or 'the model'}, {raised_at(error)})."
        ) from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage among thousands of small objects that all stay."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _no_warning(input_ids: Any, attention_mask: Any) -> None:
    """Says nothing."""


def _picture_tokens(outputs: list[tuple[str, Tensor]]) -> int:
    """Positions of the hidden state, if the run gives it back, else 1."""
    hidden = next((t for label, t in outputs if label == "last_hidden_state" and t.ndim == 3), None)
    return 1 if hidden is None else int(hidden.shape[1])


def _check(phase: str, batch: int, tokens: int, context: int) -> None:
    if phase not in PHASES:
        raise UserError(f"The phase is {phase!r}: it must be one of {', '.join(PHASES)}.")
    for what, value, least in (("batch", batch, 1), ("tokens", tokens, 1), ("context", context, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{what} is {value!r}: it must be a whole number of at least {least}.")
    if phase == "encode" and context:
        raise UserError(f"context is {context}: a plain run has no cache, so it must be 0.")
    if phase == "decode" and not context:
        raise UserError("context is 0: a decode step needs at least 1 token in the cache.")


@contextmanager
def _modules_named(model: nn.Module, recording: Recording) -> Iterator[None]:
    """Keep ``recording`` told which module of ``model`` runs."""
    names = {id(module): (name, type(module).__name__) for name, module in model.named_modules()}

    def enter(module: nn.Module, _args: Any) -> None:
        found = names.get(id(module))
        if found is not None:
            recording.path.append(found)

    def leave(module: nn.Module, _args: Any, _output: Any) -> None:
        if id(module) in names:
            recording.path.pop()

    before = nn.modules.module.register_module_forward_pre_hook(enter)
    after = nn.modules.module.register_module_forward_hook(leave)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _outputs(result: Any) -> list[tuple[str, Tensor]]:
    """The tensors a run gives back, by name; those of a cache by layer."""
    found: list[tuple[str, Tensor]] = []
    items = (
        result.items()
        if hasattr(result, "items")
        else enumerate(result if isinstance(result, tuple) else (result,))
    )
    for label, item in items:
        if isinstance(item, Tensor):
            found.append((str(label), item))
        elif label == "past_key_values":
            own = getattr(item, "self_attention_cache", item)
            found += _cached("past", own)
            found += _cached("cross", getattr(item, "cross_attention_cache", None))
        elif isinstance(item, (tuple, list)):
            found += [(f"{label}.{n}", part) for n, part in enumerate(item) if isinstance(part, Tensor)]
    return found


def _cached(prefix: str, cache: Any) -> list[tuple[str, Tensor]]:
    layers = getattr(cache, "layers", ())
    return [
        (f"{prefix}_{kind}.{number}", tensor)
        for number, layer in enumerate(layers)
        for kind in ("keys", "values")
        if isinstance(tensor := getattr(layer, kind, None), Tensor)
    ]
