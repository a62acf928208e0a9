"""``estimate``: a model's sub-operations on shapes alone, and what they cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import nn

from ohmformer.compiler import Phase
from ohmformer.costs import Comparison, compare
from ohmformer.deploy import CoverageRow, on_chip, trace
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, leaves, sources_of
from ohmformer.verbs.compiling import program_from
from ohmformer.verbs.places import places


@dataclass(frozen=True, kw_only=True)
class EstimateResult:
    """A program and its costs at low, typical and high unit values, beside the alternatives.

    phase:       ``encode``, ``prefill`` or ``decode``; context: tokens already in the cache
    coverage:    where each operation runs
    assumptions: what was assumed where the work depends on the data
    seconds:     of tracing, lowering and costing
    """

    model: str
    phase: Phase
    batch: int
    tokens: int
    context: int
    macs: int
    macs_by_resident: dict[str, int]
    evaluations: dict[str, int]
    stored_words: int
    comparison: Comparison
    coverage: tuple[CoverageRow, ...]
    assumptions: tuple[str, ...]
    chip: dict[str, Any]
    chip_name: str
    sources: dict[str, Any]
    seconds: float


def program_of(
    model: str | nn.Module | Program,
    chip: ChipSpec,
    *,
    batch: int = 1,
    tokens: int = 128,
    phase: Phase = "encode",
    context: int = 0,
) -> Program:
    """One run as a program: compiled from a configuration, read from a program file, or recorded.

    model: a name, folder or program file; a program; or a deployed model, whose plain run is recorded on its
           device
    """
    if isinstance(model, Program):
        return model
    if isinstance(model, str):
        return program_from(model, chip, batch=batch, tokens=tokens, phase=phase, context=context)
    on_chip(model)
    return trace(model, batch=batch, tokens=tokens, name=type(model).__name__)


def estimate(
    model: str | nn.Module | Program,
    chip: ChipSpec,
    *,
    batch: int = 1,
    tokens: int = 128,
    phase: Phase = "encode",
    context: int = 0,
) -> EstimateResult:
    """Area, energy, latency and lifetime of one run, from counted sub-operations.

    model: as of ``program_of``; what a program says of its run goes before ``batch``, ``tokens`` and so on
    """
    started = time.perf_counter()
    program = program_of(model, chip, batch=batch, tokens=tokens, phase=phase, context=context)
    comparison = compare(program, chip)
    return EstimateResult(
        model=program.name,
        phase=program.phase,
        batch=program.batch,
        tokens=program.tokens,
        context=program.context,
        macs=program.macs,
        macs_by_resident=program.macs_by_resident(),
        evaluations=program.evaluations(),
        stored_words=program.stored_words,
        comparison=comparison,
        coverage=on_chip(model).coverage if isinstance(model, nn.Module) else places(program),
        assumptions=program.assumptions,
        chip=dict(leaves(chip)),
        chip_name=chip.name,
        sources=dict(sources_of(chip)),
        seconds=time.perf_counter() - started,
    )
