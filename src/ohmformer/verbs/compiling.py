"""``compile``: a model's run as sub-operations, from its configuration alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohmformer.compiler import Phase, account, trace
from ohmformer.compiler.lower import lower_with_spans
from ohmformer.ir import Program, load_program, verify
from ohmformer.specs import ChipSpec
from ohmformer.workloads import load_config

__all__ = ["Compilation", "compile_model", "program_from"]


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """A run traced, lowered and verified.

    aten_macs:  multiply-accumulates of the model's own matrix products and convolutions, as traced
    aten_calls: ATen operations of the run, by name; every one of them is accounted for
    seconds:    of tracing, lowering and verifying
    """

    program: Program
    aten_macs: int
    aten_calls: Mapping[str, int]
    seconds: float


def compile_model(
    model: Any,
    chip: ChipSpec,
    *,
    phase: Phase = "encode",
    batch: int = 1,
    tokens: int = 128,
    context: int = 0,
    name: str = "",
) -> Compilation:
    """Trace one run on shapes, lower it, and check that nothing of it is lost.

    model:   a name, folder or file that ``load_config`` takes, or a configuration (PreTrainedConfig)
    phase:   ``encode``, ``prefill`` (leaves a cache) or ``decode`` (one token after ``context`` others)
    Error:   UserError, one sentence: an unknown model, a sequence beyond it, an operation without a lowering.
    """
    started = time.perf_counter()
    config = load_config(model) if isinstance(model, str) else model
    called = name or (model if isinstance(model, str) else type(config).__name__)
    graph = trace(config, phase=phase, batch=batch, tokens=tokens, context=context, name=called)
    program, spans = lower_with_spans(graph, chip)
    account(graph, program, spans=spans)
    verify(program)
    return Compilation(
        program=program,
        aten_macs=graph.macs,
        aten_calls=graph.aten_counts(),
        seconds=time.perf_counter() - started,
    )


def program_from(model: str, chip: ChipSpec, **run: Any) -> Program:
    """The program of ``model``: read from a program file, or compiled (see ``compile_model``)."""
    if is_program_file(model):
        return load_program(model)
    return compile_model(model, chip, **run).program


def is_program_file(model: str) -> bool:
    """Whether ``model`` names a file that ``compile`` may have written: JSON, but no configuration."""
    path = Path(model)
    if path.suffix != ".json" or path.name == "config.json" or not path.is_file():
        return False
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True  # load_program says what is wrong with it
    return not (isinstance(found, dict) and "model_type" in found and "format" not in found)
