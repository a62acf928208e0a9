"""``deploy``: a Hugging Face model on the chip, same class, every operation accounted for."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection
from threading import get_ident
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from ohmformer.deploy.cache import SAMPLES, wrap_cached
from ohmformer.deploy.cache_rows import CacheHome
from ohmformer.deploy.calibration import Calibration
from ohmformer.deploy.constants import floats_in, is_constant, mark_constant
from ohmformer.deploy.coverage import Coverage, CoverageRow
from ohmformer.deploy.interception import ChipAudit, ChipMode
from ohmformer.deploy.names import is_operation
from ohmformer.deploy.norms import RmsNormForm, is_rotary_table, rms_norm_form
from ohmformer.deploy.placing import (
    device_of,
    float32_numbers,
    full_precision,
    require_numbers,
    require_same_device,
    settle,
)
from ohmformer.deploy.precision_runtime import PreciseRuntime
from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.sealed import refuse_compilation, seal
from ohmformer.deploy.shortcuts import Shortcuts, may_leave
from ohmformer.deploy.state import ATTRIBUTE, OnChip
from ohmformer.deploy.storage import check_parameters, store_parameters
from ohmformer.deploy.tracing import checking_inputs, max_tokens, named_modules_running, run_on_shapes
from ohmformer.engine import FastEngine, Mode, ProductEngine
from ohmformer.errors import UserError, reason_of
from ohmformer.numerals import HOST
from ohmformer.specs import ChipSpec

Model = TypeVar("Model", bound=nn.Module)


def deploy(
    model: Model,
    chip: ChipSpec,
    seed: int = 0,
    *,
    mode: Mode | None = None,
    engine: ProductEngine | None = None,
    calibration: Calibration | None = None,
    allow: Collection[str] = (),
    check: bool = True,
) -> Model:
    """Put ``model`` on ``chip``: a copy of the same class whose every operation runs there.

    model:  a Hugging Face model (any torch module made of known operations)
    chip:   the hardware
    seed:   of programming errors, stuck cells, mismatch, and of the noise of every later read
    mode:   how products are simulated: ``collapsed``, ``digit-serial`` or ``statistical``; None takes what
            the physics of the chip allows without an approximation
    engine: computes the products instead of the fast engine (``mode`` is then its own affair)
    calibration: ranges of activations found beforehand (``calibrate``); None finds scales on the fly
    allow:  names of torch operations without a place on the chip that may stay on the host
    check:  run the model once on a short input, collect the coverage table, refuse what is unknown

    The original is untouched; the result lies where the original lies, and may be moved with ``to``.
    Attention runs operation by operation (``eager``). The result is for inference: it runs without
    gradients, in float32 between operations.

    Error: UserError for NaN weights (naming the tensor), unknown operations (naming operation and module),
    and a model on a device other than the CPU or a CUDA GPU, or on several.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"deploy needs a model, not a {type(model).__name__}.")
    if isinstance(getattr(model, ATTRIBUTE, None), OnChip):
        raise UserError("This model is deployed already: deploy the original model on the other chip.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
        raise UserError(f"seed is {seed!r}: it must be a whole number from 0 to 2^63 - 1.")
    if not isinstance(chip, ChipSpec):
        raise UserError(f"deploy needs a chip, such as ohmformer.chips.wang2024(), not {chip!r}.")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(f"The module {name or 'given'} is compiled: its operations cannot be seen.")
    allow = (allow,) if isinstance(allow, str) else tuple(allow)
    for name in allow:
        if not is_operation(name):
            raise UserError(
                f"allow names {name!r}, which is no operation of torch, such as 'erf' or 'cumsum'."
            )
    engine = engine or FastEngine(chip.tile, mode)
    if chip.precision.outliers or calibration is not None:
        runtime: Runtime = PreciseRuntime(
            chip, engine, seed, outliers=chip.precision.outliers, calibration=calibration
        )
    else:
        runtime = Runtime(chip, engine, seed)
    return put_on_chip(model, runtime, allow, check)


@float32_numbers()
def put_on_chip(model: Model, runtime: Runtime, allow: Collection[str], check: bool) -> Model:
    """Copy ``model``, store its parameters for ``runtime``, and install the copy."""
    device_of(model)
    check_parameters(model)
    deployed = _copied(model).eval()
    if isinstance(deployed, PreTrainedModel):
        runtime.built_for = str(deployed.config._attn_implementation)
        deployed.set_attn_implementation("eager")
        deployed.set_experts_implementation("eager")
    runtime.parameters = store_parameters(deployed, runtime.chip, runtime.seed)
    return install(deployed.float(), runtime, allow, check)


def _copied(model: Model) -> Model:
    """A copy whose parameters still share the memory of the original's: they are about to be stored."""
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
    }
    try:
        return copy.deepcopy(model, shared)
    except UserError:
        raise
    except Exception as error:  # whatever a part of the model raises that cannot be copied
        raise UserError(
            f"{type(model).__name__} cannot be copied, so it cannot be deployed: {reason_of(error)}."
        ) from error


def install(deployed: Model, runtime: Runtime, allow: Collection[str], check: bool) -> Model:
    """Put a model whose parameters are stored under interception, and check it; it is changed in place."""
    mode = ChipMode(runtime, allow)
    for buffer in deployed.buffers():
        mark_constant(buffer)
    shortcuts = Shortcuts(deployed, runtime, mode)
    home = CacheHome(runtime, mode, max_tokens(getattr(deployed, "config", None)))
    for module in deployed.modules():
        form = rms_norm_form(module)
        if form is not None:
            _wrap_rms_norm(module, form, runtime, mode)
            short: Any = True
        elif is_rotary_table(module):
            _wrap_rotary(module, runtime, mode)
            short = False
        else:
            short = shortcuts.of_operation(module) or shortcuts.of_plain_code(module)
            if short is not None:
                module.forward = short
        wrap_cached(module, home)
        _wrap_forward(module, runtime, mode, bool(short))
    if hasattr(deployed, "generate"):
        _wrap_generate(deployed, runtime)
    settle(deployed, runtime)
    seal(deployed)
    state = OnChip(runtime, mode)
    setattr(deployed, ATTRIBUTE, state)
    if check:
        state.coverage = _checked(deployed, runtime, mode)
        state.restart()
    return deployed


def _wrap_forward(module: nn.Module, runtime: Runtime, mode: ChipMode, short: bool) -> None:
    """Run the forward of ``module`` under interception; an inner call joins the run that is going on.

    short: it sees to its interception itself
    """
    original = module.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if mode.active and mode.thread == get_ident():
            return original(*args, **kwargs) if short else mode.watch(original, args, kwargs)
        if module.training:
            raise UserError("A deployed model is for inference: call eval() before using it.")
        refuse_compilation()
        require_same_device(runtime, args, kwargs)
        require_numbers(args, kwargs)
        encoded = kwargs.get("encoder_outputs") is not None
        cache = _cache(args, kwargs)
        known = getattr(cache, SAMPLES, None)
        with mode.lock:  # one run at a time, whatever the thread
            runtime.start_run(
                *_extent(args, kwargs), inputs=_memory(args, kwargs), encoded=encoded, known=known
            )
            if known is not None:
                setattr(cache, SAMPLES, runtime.keys.samples)
            mode.active, mode.plain, mode.thread = True, may_leave(runtime), get_ident()
            masks = {key: mark_constant(_alias(value)) for key, value in kwargs.items() if "mask" in key}
            try:
                with torch.no_grad(), full_precision(runtime.device), mode:
                    return original(*args, **{**kwargs, **masks})
            finally:
                mode.active = mode.plain = False

    module.forward = mode.forwards[module] = forward


def _wrap_generate(model: Any, runtime: Runtime) -> None:
    original = model.generate

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        with runtime.generation():
            return original(*args, **kwargs)

    model.generate = generate


FIRST_INPUTS = ("decoder_input_ids", "decoder_inputs_embeds", "input_ids", "inputs_embeds", "hidden_states")


def _extent(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int, int]:
    """Sequences in a call, tokens of each, and tokens that its cache holds already."""
    given = [kwargs.get(name) for name in FIRST_INPUTS] + [*args, *kwargs.values()]
    shape = next(
        (value.shape for value in given if isinstance(value, Tensor) and value.ndim), torch.Size((1,))
    )
    cache = _cache(args, kwargs)
    past = 0 if cache is None else cache.get_seq_length()
    return max(1, shape[0]), (shape[1] if len(shape) > 1 else 1), int(past)


def _cache(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Cache | None:
    """The keys and values of past tokens in a call."""
    return next((value for value in (*kwargs.values(), *args) if isinstance(value, Cache)), None)


def _memory(args: tuple[Any, ...], kwargs: dict[str, Any]) -> frozenset[int]:
    """Where the addresses given to a call lie: what is looked up with them belongs to its samples."""
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and not value.is_meta]
    return frozenset(
        tensor.untyped_storage().data_ptr() for tensor in given if not tensor.is_floating_point()
    )


def _alias(value: Any) -> Any:
    """Another tensor on the same memory, so that a mark on it stays inside the run."""
    return value.detach() if isinstance(value, Tensor) else value


def _wrap_rms_norm(module: nn.Module, form: RmsNormForm, runtime: Runtime, mode: ChipMode) -> None:
    original: Callable[..., Any] = module.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        if len(given) != 1 or is_constant(given[0]):
            return mode.watch(original, args, kwargs)
        weight = module._parameters.get("weight")
        if mode.away:
            return runtime.rms_norm(runtime.value_of(given[0]), weight, form.eps, form.offset)
        with mode.region():
            return runtime.rms_norm(runtime.value_of(given[0]), weight, form.eps, form.offset)

    module.forward = forward


def _wrap_rotary(module: nn.Module, runtime: Runtime, mode: ChipMode) -> None:
    """Cosines and sines that depend on positions alone are read from the dense crossbar."""
    original: Callable[..., Any] = module.forward
    # frequencies that a run before this one left here, for numbers of tokens beyond its switch point
    mark_constant([value for value in vars(module).values() if isinstance(value, Tensor)])

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if runtime.device.type not in ("cpu", "meta"):
            with mode.region():
                args = tuple(_as_on_host(value) for value in args)
                kwargs = {key: _as_on_host(value) for key, value in kwargs.items()}
        made = original(*args, **kwargs)
        if not all(is_constant(part) for part in floats_in(made, [])):
            return made if runtime.device.type in ("cpu", "meta") else _on_device(made, runtime.device)
        with mode.region():
            made = _on_device(made, runtime.device)
            # a cosine or sine is at most 1, times the factor of the longer contexts
            largest = float(getattr(module, "attention_scaling", 1.0))
            if isinstance(made, tuple):
                return mark_constant(tuple(runtime.table(part, largest) for part in made))
            return mark_constant(runtime.table(made, largest))

    module.forward = forward


def _as_on_host(value: Any) -> Any:
    """Addresses in host memory; of values, which only tell a type, a shape."""
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point():
        return value.to(HOST)
    return mark_constant(torch.zeros((), dtype=value.dtype, device=HOST).expand(value.shape))


def _on_device(made: Any, device: torch.device) -> Any:
    if isinstance(made, tuple):
        return tuple(_on_device(part, device) for part in made)
    return made.to(device) if isinstance(made, Tensor) else made


def _checked(deployed: nn.Module, runtime: Runtime, mode: ChipMode) -> tuple[CoverageRow, ...]:
    """Run once on a short input (and one cached step for decoders); the coverage table."""
    runtime.coverage = Coverage()
    try:
        with named_modules_running(deployed, runtime), ChipAudit(mode), torch.no_grad():
            for inputs in checking_inputs(deployed):
                run_on_shapes(deployed, inputs)
        return runtime.coverage.rows()
    finally:
        runtime.coverage = None
