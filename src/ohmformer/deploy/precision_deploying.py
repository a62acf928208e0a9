"""Deploying with outliers or calibrated scales, and calibrating."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from ohmformer.deploy.calibration import Calibration, Observation, batches_of
from ohmformer.deploy.deploying import put_on_chip
from ohmformer.deploy.precision_runtime import PreciseRuntime
from ohmformer.engine import FastEngine, ProductEngine
from ohmformer.specs import ChipSpec, ideal

Model = TypeVar("Model", bound=nn.Module)


def deploy_precisely(
    model: Model,
    chip: ChipSpec,
    seed: int = 0,
    *,
    outliers: int = 0,
    calibration: Calibration | None = None,
    engine: ProductEngine | None = None,
    allow: Collection[str] = (),
    check: bool = True,
) -> Model:
    """``deploy`` with ``outliers`` split off every streamed row, or with calibrated scales.

    Error: UserError as ``deploy`` and ``PreciseRuntime``.
    """
    runtime = PreciseRuntime(
        chip, engine or FastEngine(chip.tile), seed, outliers=outliers, calibration=calibration
    )
    return put_on_chip(model, runtime, allow, check)


def calibrate(
    model: nn.Module,
    chip: ChipSpec,
    inputs: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    quantile: float = 1.0,
    allow: Collection[str] = (),
) -> Calibration:
    """The ranges of all operands of ``model`` that are not stored, on calibration inputs.

    The model runs on the chip without its noise and its losses, with scales found on the fly.

    inputs:   one batch or several, keyword arguments of the model
    quantile: share of an operand's magnitudes, in one batch, that stays within its range; the largest over
              the batches is taken, what lies beyond clips
    Error: UserError if there is no input, or an operand is not finite.
    """
    quiet = ideal(chip)
    observation = Observation(quantile)
    runtime = PreciseRuntime(quiet, FastEngine(quiet.tile), 0, observation=observation)
    deployed = put_on_chip(model, runtime, allow, False)
    count = 0
    with torch.no_grad():
        for batch in batches_of(inputs):
            deployed(**batch)
            count += 1
    return observation.calibration(count)
