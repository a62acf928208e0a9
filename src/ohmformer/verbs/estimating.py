"""``estimate``: a model's sub-operations on shapes alone, and what they cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import nn

from ohmformer.costs import Comparison, compare
from ohmformer.deploy import deploy, on_chip, shape_model, trace
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, leaves, sources_of
from ohmformer.workloads import load_config


@dataclass(frozen=True, kw_only=True)
class EstimateResult:
    """A traced program and its costs at low, typical and high unit values, beside the alternatives.

    coverage: where each operation runs, as the checking run found it
    seconds:  of tracing and costing
    """

    model: str
    batch: int
    tokens: int
    macs: int
    macs_by_resident: dict[str, int]
    evaluations: dict[str, int]
    stored_words: int
    comparison: Comparison
    coverage: tuple[Any, ...]
    chip: dict[str, Any]
    chip_name: str
    sources: dict[str, Any]
    seconds: float


def program_of(model: str | nn.Module, chip: ChipSpec, *, batch: int = 1, tokens: int = 128) -> Program:
    """The program of one forward run, traced on shapes (a name or folder) or on a deployed model."""
    deployed = _deployed(model, chip)
    return trace(deployed, batch=batch, tokens=tokens, name=_name(model))


def estimate(model: str | nn.Module, chip: ChipSpec, *, batch: int = 1, tokens: int = 128) -> EstimateResult:
    """Area, energy, latency and lifetime of one forward run, from counted sub-operations.

    model: a name or folder whose configuration is traced without weights, or a deployed model
    """
    started = time.perf_counter()
    deployed = _deployed(model, chip)
    program = trace(deployed, batch=batch, tokens=tokens, name=_name(model))
    comparison = compare(program, chip)
    return EstimateResult(
        model=program.name,
        batch=batch,
        tokens=tokens,
        macs=program.macs,
        macs_by_resident=program.macs_by_resident(),
        evaluations=program.evaluations(),
        stored_words=program.stored_words,
        comparison=comparison,
        coverage=on_chip(deployed).coverage,
        chip=dict(leaves(chip)),
        chip_name=chip.name,
        sources=dict(sources_of(chip)),
        seconds=time.perf_counter() - started,
    )


def _deployed(model: str | nn.Module, chip: ChipSpec) -> nn.Module:
    if isinstance(model, str):
        return deploy(shape_model(load_config(model)), chip)
    on_chip(model)
    return model


def _name(model: str | nn.Module) -> str:
    return model if isinstance(model, str) else type(model).__name__
