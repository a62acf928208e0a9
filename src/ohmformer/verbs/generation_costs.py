"""What it takes to generate tokens: the prompt, then one decode step after the other, from shapes alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ohmformer.compiler import decode_family, lower
from ohmformer.costs import LEVELS, GenerationReport, Level, generation
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, leaves, sources_of
from ohmformer.verbs.compiling import compile_model, is_program_file
from ohmformer.workloads import load_config

__all__ = ["GenerationCosts", "estimate_generation"]


@dataclass(frozen=True, kw_only=True)
class GenerationCosts:
    """Costs of a generation at low, typical and high unit values.

    prompt, tokens: of each of ``batch`` sequences, given and generated
    seconds:        of tracing, lowering and costing
    """

    model: str
    batch: int
    prompt: int
    tokens: int
    levels: dict[Level, GenerationReport]
    assumptions: tuple[str, ...]
    chip: dict[str, Any]
    chip_name: str
    sources: dict[str, Any]
    seconds: float


def estimate_generation(
    model: str, chip: ChipSpec, *, tokens: int, prompt: int = 128, batch: int = 1
) -> GenerationCosts:
    """Cost ``tokens`` generated tokens behind a prompt.

    The prompt's run gives the first token, every other one takes a decode step behind a longer cache. Steps
    are traced at few contexts (sizes are affine in the context between them, which is proved by one more) and
    costed at as many as the totals need (``costs.generation``). The decoder of an encoder-decoder model
    starts with one token, and reads the encoder's keys and values of ``prompt`` tokens in every step.
    Error: UserError for a model without a cache, or a sequence beyond what it takes.
    """
    if is_program_file(model):
        raise UserError(f"{model} is one run: a generation needs the model, since its cache grows.")
    started = time.perf_counter()
    first = compile_model(model, chip, phase="prefill", batch=batch, tokens=prompt).program
    start = 1 if getattr(load_config(model), "is_encoder_decoder", False) else prompt
    decode = _decode(model, chip, batch, prompt, tokens, start) if tokens > 1 else _none
    return GenerationCosts(
        model=model,
        batch=batch,
        prompt=prompt,
        tokens=tokens,
        levels={level: generation(first, decode, tokens, chip, level=level, start=start) for level in LEVELS},
        assumptions=first.assumptions,
        chip=dict(leaves(chip)),
        chip_name=chip.name,
        sources=dict(sources_of(chip)),
        seconds=time.perf_counter() - started,
    )


def _decode(
    model: str, chip: ChipSpec, batch: int, prompt: int, tokens: int, start: int
) -> Callable[[int], Program]:
    """The program of one decode step behind a context; each is made once."""
    family = decode_family(
        load_config(model),
        batch=batch,
        first=start,
        last=start + tokens - 2,
        tokens=prompt,
        name=model,
    )
    return cache(lambda context: lower(family(context), chip))


def _none(context: int) -> Program:
    raise AssertionError(f"no decode step is needed, at {context} either")
