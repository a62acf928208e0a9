"""``deploy``: a Hugging Face model on the chip, same class, every operation accounted for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ohmformer.deploy.coverage import Coverage, CoverageRow
from ohmformer.deploy.interception import ChipMode, ProductAudit, mark_constant
from ohmformer.deploy.norms import RmsNormForm, is_rotary_table, rms_norm_form
from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.state import ATTRIBUTE, OnChip
from ohmformer.deploy.storage import store_parameters
from ohmformer.deploy.tracing import checking_inputs, named_modules_running
from ohmformer.engine import FastEngine, ProductEngine
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec

Model = TypeVar("Model", bound=nn.Module)


def deploy(
    model: Model,
    chip: ChipSpec,
    seed: int = 0,
    *,
    engine: ProductEngine | None = None,
    allow: Collection[str] = (),
    check: bool = True,
) -> Model:
    """Put ``model`` on ``chip``: a copy of the same class whose every operation runs there.

    model:  a Hugging Face model (any torch module made of known operations)
    chip:   the hardware
    seed:   of programming errors, stuck cells, mismatch, and of the noise of every later read
    engine: how products are computed; None takes the fast engine
    allow:  names of torch operations without a place on the chip that may stay on the host
    check:  run the model once on a short input, collect the coverage table, refuse what is unknown

    The original is untouched. Attention runs operation by operation (``eager``). The result is for
    inference: it runs without gradients, in float32 between operations.

    Error: UserError for NaN weights (naming the tensor) and unknown operations (naming operation and
    module).
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"deploy needs a model, not a {type(model).__name__}.")
    if isinstance(getattr(model, ATTRIBUTE, None), OnChip):
        raise UserError("This model is deployed already: deploy the original model on the other chip.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed is {seed!r}: it must be a whole number of at least 0.")
    deployed = copy.deepcopy(model).eval()
    if not any(parameter.is_meta for parameter in deployed.parameters()):
        deployed = deployed.float()
    if isinstance(deployed, PreTrainedModel):
        deployed.set_attn_implementation("eager")
    runtime = Runtime(chip, engine or FastEngine(chip.tile), seed)
    runtime.parameters = store_parameters(deployed, chip, torch.Generator().manual_seed(seed))
    return install(deployed, runtime, allow, check)


def install(deployed: Model, runtime: Runtime, allow: Collection[str], check: bool) -> Model:
    """Put a model whose parameters are stored under interception, and check it; it is changed in place."""
    mode = ChipMode(runtime, allow)
    for buffer in deployed.buffers():
        mark_constant(buffer)
    for module in deployed.modules():
        form = rms_norm_form(module)
        if form is not None:
            _wrap_rms_norm(module, form, runtime, mode)
        elif is_rotary_table(module):
            _wrap_rotary(module, runtime, mode)
    for module in deployed.modules():
        if module is deployed or isinstance(module, PreTrainedModel):
            _wrap_forward(module, runtime, mode)
    state = OnChip(runtime, mode)
    setattr(deployed, ATTRIBUTE, state)
    if check:
        state.coverage = _checked(deployed, runtime, mode)
        state.restart()
    return deployed


def _wrap_forward(module: nn.Module, runtime: Runtime, mode: ChipMode) -> None:
    """Run the forward of ``module`` under interception; an inner call joins the run that is going on."""
    original = module.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if mode.active:
            return original(*args, **kwargs)
        if module.training:
            raise UserError("A deployed model is for inference: call eval() before using it.")
        mode.active = True
        runtime.start_run()
        try:
            with torch.no_grad(), mode:
                return original(*args, **kwargs)
        finally:
            mode.active = False

    module.forward = forward


def _wrap_rms_norm(module: nn.Module, form: RmsNormForm, runtime: Runtime, mode: ChipMode) -> None:
    original = module.forward

    @functools.wraps(original)
    def forward(x: Tensor) -> Tensor:
        weight = module._parameters.get("weight")
        with mode.region():
            return runtime.rms_norm(x, weight, form.eps, form.offset)

    module.forward = forward


def _wrap_rotary(module: nn.Module, runtime: Runtime, mode: ChipMode) -> None:
    original: Callable[..., Any] = module.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with mode.region():
            made = original(*args, **kwargs)
            if isinstance(made, tuple):
                return mark_constant(tuple(runtime.table(part) for part in made))
            return mark_constant(runtime.table(made))

    module.forward = forward


def _checked(deployed: nn.Module, runtime: Runtime, mode: ChipMode) -> tuple[CoverageRow, ...]:
    """Run once on a short input (and one cached step for decoders); the coverage table."""
    runtime.coverage = Coverage()
    try:
        with named_modules_running(deployed, runtime), ProductAudit(mode), torch.no_grad():
            for inputs in checking_inputs(deployed):
                deployed(**inputs)
        return runtime.coverage.rows()
    finally:
        runtime.coverage = None
