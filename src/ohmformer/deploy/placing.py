"""Where a deployed model lies, and what moves when it is moved.

Its numbers move: codes, scales, buffers. The dense cells, and what is drawn for them, stay in host memory,
and so do the rotary tables, whose cosines are then the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ohmformer.deploy.constants import mark_constant
from ohmformer.deploy.norms import is_rotary_table
from ohmformer.deploy.runtime import Runtime
from ohmformer.deploy.storage import nothing
from ohmformer.errors import UserError
from ohmformer.numerals import HOST

SUPPORTED = ("cpu", "cuda", "meta")  # kinds of devices; others lack float64 or whole-number operations


def device_of(model: nn.Module) -> torch.device:
    """The one device on which a model lies.

    Error: UserError if it lies on a kind of device that is not supported, or on several.
    """
    found: dict[torch.device, None] = {}
    for module in model.modules():
        own: list[Tensor | None] = [*module._parameters.values()]
        own += [] if is_rotary_table(module) else [*module._buffers.values()]
        found.update(dict.fromkeys(tensor.device for tensor in own if tensor is not None))
    devices = list(found) or [HOST]
    if len(devices) > 1:
        raise UserError(
            f"The model is spread over {', '.join(map(str, devices))}: it must lie on one device, so move it "
            f"with to('cpu') or to('cuda')."
        )
    _require_supported(devices[0])
    return devices[0]


def _require_supported(device: torch.device) -> None:
    if device.type not in SUPPORTED:
        raise UserError(
            f"The model lies on {device}, where a chip cannot be simulated: move it with to('cpu') or "
            f"to('cuda')."
        )


def require_same_device(runtime: Runtime, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse inputs that lie elsewhere than the model (shapes alone may be anywhere)."""
    device = runtime.device
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    for value in tensors:
        if value.device != device and not value.is_meta and device.type != "meta":
            raise UserError(
                f"An input lies on {value.device}, the deployed model on {device}: move one to the other."
            )


def require_numbers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse inputs that hold NaN or infinity, which no operand can; masks and biases may hold infinities."""
    given = {**{str(place): value for place, value in enumerate(args[:1])}, **kwargs}
    for name, value in given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta:
            continue
        if "mask" in name or "bias" in name:
            continue
        if value.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(value))).all()):
            what = "first input" if name == "0" else f"input {name}"
            raise UserError(f"The {what} holds NaN or infinity: the chip computes with finite numbers.")


@contextmanager
def float32_numbers() -> Iterator[None]:
    """New numbers are float32, whatever torch's default is outside."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No automatic casts to half precisions; new numbers are float32."""
    with torch.autocast("cpu", enabled=False), float32_numbers():
        if device.type != "cuda":
            yield
        else:
            with torch.autocast("cuda", enabled=False):
                yield


def settle(deployed: nn.Module, runtime: Runtime) -> None:
    """Note where ``deployed`` lies, put its rotary tables into host memory, and make it movable."""
    runtime.device = device_of(deployed)
    runtime.alive = tuple(deployed.parameters())
    for module in deployed.modules():
        if is_rotary_table(module) and runtime.device.type != "meta":
            _put_buffers(module, {}, lambda buffer: buffer.to(HOST))

    def refuse(*_: Any, **__: Any) -> nn.Module:
        raise UserError(
            f"A part of a deployed {type(deployed).__name__} cannot be moved or converted alone: move the "
            f"whole model."
        )

    def move(convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        return _move(deployed, runtime, convert)

    for module in deployed.modules():
        module._apply = move if module is deployed else refuse  # type: ignore[method-assign]


def _move(deployed: nn.Module, runtime: Runtime, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """What ``deployed.to(...)``, ``cuda()`` and the like do: ``convert`` says where tensors go.

    Error: UserError for a conversion to another number format, or a device that is not supported.
    """
    probe = convert(torch.empty(1, device=runtime.device))
    if probe.dtype != torch.float32:
        raise UserError(
            f"A deployed model computes in float32 between operations: it cannot be converted to "
            f"{probe.dtype}."
        )
    device = probe.device
    if device == runtime.device:
        return deployed
    _require_supported(device)
    made: dict[int, Any] = {}
    for module in deployed.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    stored = id(parameter) in runtime.parameters
                    value = nothing(parameter.shape, device) if stored else convert(parameter.detach())
                    made[id(parameter)] = nn.Parameter(value, requires_grad=False)
                module._parameters[name] = made[id(parameter)]
        if not is_rotary_table(module) or device.type == "meta":
            _put_buffers(module, made, convert)
    entries = {id(made[old]): entry.on(device) for old, entry in runtime.parameters.items()}
    runtime.moved(device, entries)
    runtime.alive = tuple(deployed.parameters())
    # the old parameters live until here, so that no identity was given twice
    made.clear()
    return deployed


def _put_buffers(module: nn.Module, made: dict[int, Any], convert: Callable[[Tensor], Tensor]) -> None:
    for name, buffer in module._buffers.items():
        if buffer is not None:
            if id(buffer) not in made:
                made[id(buffer)] = mark_constant(convert(buffer))
            module._buffers[name] = made[id(buffer)]
