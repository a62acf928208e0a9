"""Switches of a resident operand as the digit-serial kernels read them, and the call of these kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor

from ohmformer.engine import native
from ohmformer.engine.conversion_law import deviate_sizes, points
from ohmformer.engine.conversion_margins import ALONE, byte_limits, wire_limits
from ohmformer.engine.conversion_plan import LAWS, WIDTH, ConversionPlan, conversion_plan
from ohmformer.engine.randomness import MASK64, Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import HOST, NumeralError
from ohmformer.specs import TileSpec

NOISE = {"dense": 1, "whole": 2}  # as in kernels/digit_serial_pack.hpp
_native: Any = getattr(native, "_native")  # noqa: B009 - None where installed without a compiler


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedSwitches:
    """The switches of a resident operand [inner, column], made once and used by many products.

    packed:       as the kernels read them; empty where none were there when it was made
    closed_count: [inner, plane], int32, closed switches over all columns
    codes:        [inner, column], the numbers themselves where they are not packed
    """

    tile: TileSpec
    bits: int
    inner: int
    columns: int
    packed: Tensor
    closed_count: Tensor
    codes: Tensor | None

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        parts = (self.packed, self.closed_count, self.codes)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def numbers(self) -> Tensor:
        """The resident numbers, [inner, column]."""
        if self.codes is not None:
            return self.codes
        plan = conversion_plan(self.tile, self.bits, self.bits, self.inner)
        if plan is None:  # packed only where there is a plan
            raise RuntimeError("the switches lost their plan")
        return _unpack(plan, self.packed, self.columns)


@cache
def _calls(name: str) -> Any:
    return _native.Kernels(name)


def _kernels() -> Any:
    """The native functions in use, or None."""
    chosen = native.kernels()
    return None if chosen is None else _calls(chosen.name)


_described: dict[ConversionPlan, tuple[Any, tuple[Tensor, ...]]] = {}


def _description(plan: ConversionPlan) -> Any:
    """The plan as the kernels take it; the tensors that it points at are kept beside it."""
    if plan not in _described:
        tensors = (
            plan.numbers,
            torch.tensor(plan.groups, dtype=torch.int32, device=HOST),
            plan.digits_of,
            plan.closed,
            plan.plane_weight,
            plan.run_factor,
            plan.full_weight,
            plan.digit_weight,
            plan.power,
        )
        described = _native.SerialPlan(*(tensor.data_ptr() for tensor in tensors))
        _described[plan] = (described, tensors)
    return _described[plan][0]


def refuse(operand: str, numbers: Tensor, lowest: int, highest: int) -> NoReturn:
    """Numbers that the digits of an operand cannot hold."""
    raise NumeralError(
        f"The {operand} operand has numbers from {float(numbers.min()):g} to {float(numbers.max()):g}: "
        f"its digits hold whole numbers from {lowest} to {highest}."
    )


def pack(resident: Tensor, tile: TileSpec, bits: int) -> PackedSwitches:
    """Switches of numbers [inner, column]; the same for streamed operands of any width."""
    inner, columns = resident.shape
    plan = conversion_plan(tile, bits, bits, inner)
    calls = _kernels() if resident.device.type == "cpu" else None
    if calls is None or plan is None:
        nothing = torch.empty(0, dtype=torch.uint8, device=resident.device)
        counts = torch.empty(0, dtype=torch.int32, device=resident.device)
        return PackedSwitches(
            tile=tile,
            bits=bits,
            inner=inner,
            columns=columns,
            packed=nothing,
            closed_count=counts,
            codes=resident,
        )
    numbers = resident.to(torch.float32)
    described = _description(plan)
    counts = torch.empty(inner if plan.mismatch else 0, plan.planes, dtype=torch.int32, device=HOST)
    packed = torch.empty(calls.serial_packed_bytes(described, columns), dtype=torch.uint8, device=HOST)
    inside = calls.serial_pack(
        described,
        numbers.data_ptr(),
        numbers.stride(0),
        numbers.stride(1),
        columns,
        packed.data_ptr(),
        counts.data_ptr() if plan.mismatch else 0,
    )
    if not inside:
        refuse("resident", numbers, plan.resident_lowest, plan.resident_highest)
    return PackedSwitches(
        tile=tile, bits=bits, inner=inner, columns=columns, packed=packed, closed_count=counts, codes=None
    )


def _unpack(plan: ConversionPlan, packed: Tensor, columns: int) -> Tensor:
    """The numbers [inner, column] of packed switches, int32; see kernels/digit_serial.hpp for the order."""
    digits = plan.planes // plan.sharing if plan.sharing else 0
    maps = plan.planes + digits
    column = torch.arange(WIDTH, device=HOST)
    byte = (column & 32) + (column & 7) + (column >> 4 & 1) * 8 + (column >> 3 & 1) * 16
    nibbles = packed.view(-1, len(plan.groups), maps, plan.quads, WIDTH)[..., byte].int()
    states = (nibbles.unsqueeze(4) >> torch.arange(4, dtype=torch.int32, device=HOST)[:, None]) & 1
    if plan.sharing:  # [block, group, digit, map of the digit, quad, 4, column]
        states = states.unflatten(2, (digits, plan.sharing + 1))
        states = (states[:, :, :, 1:] - states[:, :, :, :1]).flatten(2, 3)
    numbers = (states * plan.full_weight[:, None, None, None]).sum(2)  # [block, group, quad, 4, column]
    numbers = numbers.flatten(2, 3).permute(1, 2, 0, 3).flatten(2)  # [group, element, column]
    parts = [numbers[index, : last - first] for index, (first, last) in enumerate(plan.groups)]
    return torch.cat(parts)[:, :columns].to(torch.int32)


def native_product(
    plan: ConversionPlan,
    streamed: Tensor,
    switches: PackedSwitches,
    keep: Tensor | None,
    draw: Draw,
    events: tuple[Tensor, Tensor, Tensor] | None,
    stored: ResidentCodes | None = None,
) -> Tensor | None:
    """[row, column], int32, by the kernels; None where there are none or the switches are not packed.

    stored: the numbers of the switches, kept for integer products (kernels/digit_serial_rest.hpp)
    """
    calls = _kernels()
    if calls is None or switches.codes is not None:
        return None
    whole = None
    if stored is not None and stored.kernels is not None and stored.kernels is native.kernels():
        whole = stored.packed
    rows, inner = streamed.shape
    x = streamed.to(torch.float32).contiguous()
    keys = draw.keys.to(torch.int64).contiguous()
    y = torch.empty(rows, switches.columns, dtype=torch.int32, device=HOST)
    limits = nearer = None
    if keep is not None and plan.noise == "margins":
        limit, step = wire_limits(plan, keep)
        limits, nearer = byte_limits(limit), step.to(torch.uint8)
    listed = None
    if events is not None and len(events[0]):
        listed = torch.stack((events[0], events[1], events[2].view(torch.int64)), 1).contiguous()
    inside = calls.serial_product(
        _description(plan),
        x.data_ptr(),
        rows,
        inner,
        switches.columns,
        switches.packed.data_ptr(),
        0 if keep is None else keep.data_ptr(),
        NOISE.get(plan.noise, 0),
        draw.seed & MASK64,
        draw.stream & MASK64,
        keys.data_ptr(),
        points().data_ptr(),
        plan.noise_shift,
        plan.per_sd,
        plan.additive,
        plan.worst_sd,
        plan.mismatch,
        plan.mismatch / switches.columns,
        LAWS / (plan.most_branches * switches.columns) if plan.mismatch else 0.0,
        plan.thresholds.data_ptr(),
        0 if limits is None else limits.data_ptr(),
        0 if nearer is None else nearer.data_ptr(),
        deviate_sizes().data_ptr(),
        draw.sub(ALONE).stream & MASK64,
        switches.closed_count.data_ptr(),
        0 if listed is None else listed.data_ptr(),
        0 if listed is None else len(listed),
        0 if whole is None else whole.data_ptr(),
        y.data_ptr(),
        native.threads(),
    )
    if not inside:
        refuse("streamed", streamed, plan.lowest, plan.highest)
    return y


__all__ = ["PackedSwitches", "native_product", "pack", "refuse"]
