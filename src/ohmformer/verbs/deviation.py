"""``layer_deviations``: how far a mode with a law is from every conversion computed, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ohmformer.deploy.deploying import deploy
from ohmformer.deploy.state import on_chip
from ohmformer.deploy.tracing import named_modules_running
from ohmformer.engine import ComparingEngine, Deviation, FastEngine, Mode
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec
from ohmformer.workloads import LoadedModel, sequence_limit
from ohmformer.workloads.batches import collate, token_rows

COMPARED_TEXTS, COMPARED_TOKENS = 4, 64


def layer_deviations(
    model: nn.Module,
    chip: ChipSpec,
    inputs: Mapping[str, Any],
    *,
    mode: Mode = "statistical",
    seed: int = 0,
    runs: int = 1,
    allow: Collection[str] = (),
) -> list[Deviation]:
    """Errors of a mode and of the digit-serial one at every place of a model that multiplies.

    Both modes see the same operands everywhere: what goes on to the next layer is the digit-serial result.

    model:   the original model, not deployed
    mode:    what is compared: ``statistical``, or ``calibrated`` where the chip allows it
    inputs:  what the model takes, as keywords; one forward run each of ``runs``, with fresh noise
    allow:   as for ``deploy``
    returns: one row for each module and kind of product, in the order of the model (see ``Deviation``)
    Error:   UserError for no run at all, and what ``deploy`` refuses.
    """
    if runs < 1:
        raise UserError(f"runs is {runs}: at least 1 is needed.")
    engine = ComparingEngine(FastEngine(chip.tile, mode="digit-serial"), FastEngine(chip.tile, mode=mode))
    # the checking run needs a configuration that says what the model takes
    checked = getattr(model, "config", None) is not None
    deployed = deploy(model, chip, seed, engine=engine, allow=allow, check=checked)
    runtime = on_chip(deployed).runtime
    engine.forget()
    engine.label = lambda: runtime.module
    with torch.inference_mode(), named_modules_running(deployed, runtime):
        for _ in range(runs):
            deployed(**inputs)
    return engine.deviations()


def compared_inputs(loaded: LoadedModel, texts: Sequence[str]) -> dict[str, Tensor]:
    """The first few texts as inputs of a comparison, each cut at 64 tokens (``COMPARED_TOKENS``)."""
    most = min(COMPARED_TOKENS, sequence_limit(loaded.model, loaded.tokenizer))
    rows = token_rows(loaded.model, loaded.tokenizer, texts[:COMPARED_TEXTS], max_tokens=most)
    return collate(rows, loaded.tokenizer.pad_token_id)
