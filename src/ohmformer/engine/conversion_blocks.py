"""Every conversion of a product in torch, block by block: in whole numbers, and in floating point."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.crossbars import drive, plane_weights, resident_planes, streamed_digits, wordline_groups
from ohmformer.devices import convert
from ohmformer.engine.conversion_margins import found_alone, wire_limits
from ohmformer.engine.conversion_plan import LAWS, ConversionPlan
from ohmformer.engine.conversion_words import dense_deviates, plane_bytes, shared_bytes
from ohmformer.engine.native import kernels
from ohmformer.engine.randomness import Draw, deviates, random_words
from ohmformer.engine.whole import whole_matmul
from ohmformer.engine.wire_shares import wire_shares
from ohmformer.engine.wrong_conversions import add_changes, below_limits
from ohmformer.specs import TileSpec

ENVIRONMENT, CONVERTER = 2, 3  # streams of an operation, floating point


def _whole_noise(
    plan: ConversionPlan, laws: Tensor, draw: Draw, slot: int, of_group: int, columns: int
) -> Tensor:
    """[row, plane, column], int64: noise in whole numbers, see ``whole_thresholds``; laws [row, plane]."""
    own = plane_bytes(draw, slot, plan.planes, columns).short()
    shared = shared_bytes(draw, of_group, columns).short() + 128
    noise = torch.zeros_like(own, dtype=torch.int64) if plan.nearest else -(own < 0).long()
    for bound in plan.thresholds.to(laws.device)[laws].unbind(-1):
        bound = bound[..., None]
        above = 127 - (bound >> 8) - (shared < (bound & 255)).int()
        noise += (own > above).long() - (own < -1 - above).long()
    return noise


def whole_product(
    plan: ConversionPlan,
    streamed: Tensor,
    resident: Tensor,
    keep: Tensor | None,
    draw: Draw,
    events: tuple[Tensor, Tensor, Tensor] | None,
    block_conversions: int,
    tile: TileSpec,
    bits: int,
) -> Tensor:
    """[row, column], int64: the same numbers as the native kernel, see ``ConversionPlan``."""
    planes, _ = resident_planes(resident.to(torch.int64), bits, tile)  # [plane, inner, column]
    columns = resident.shape[1]
    device = streamed.device
    draw, power_of = draw.on(device), plan.power.to(device).double()
    table = plan.digits_of[:, : plan.digits].to(device)
    digits = table[streamed.to(torch.int64) - plan.lowest].permute(2, 0, 1)  # [digit, row, inner]
    result = torch.zeros(streamed.shape[0], columns, dtype=torch.int64, device=device)
    block = max(1, block_conversions // (columns * plan.planes))
    limits = wire_limits(plan, keep) if keep is not None and plan.noise == "margins" else None
    listed = [] if events is None else [below_limits(plan, digits, planes, events, limits)]
    share = None if keep is None else keep[:, :columns].to(device).long()
    plane_weight = plan.full_weight.to(device).long()[:, None]
    for number, (first, last) in enumerate(plan.groups):
        closed = planes[:, first:last].float().permute(1, 0, 2).flatten(1)
        counts = planes[:, first:last].long().square().sum(-1).T.double()  # [element, plane]
        for index, weight in enumerate(plan.digit_weight.tolist()):
            slot = (number * plan.digits + index) * plan.planes
            for top in range(0, len(result), block):
                here = slice(top, top + block)
                digit = digits[index, here, first:last]
                sums = whole_matmul(digit.float(), closed).long().view(len(digit), plan.planes, columns)
                own = replace(draw, keys=draw.keys[here])
                if plan.noise in ("whole", "dense"):
                    branches = power_of[digit.long() + plan.max_digit] @ counts  # whole numbers
                if plan.noise == "whole":
                    laws = (branches * (LAWS / (plan.most_branches * columns))).round().long()
                    laws = laws if plan.mismatch else 0 * laws
                    of_group = number * plan.digits * plan.planes
                    sums += _whole_noise(plan, laws, own, slot, of_group, columns)
                if limits is not None:
                    row, plane, column, z = found_alone(plan, sums, limits, own, slot)
                    listed.append((row + top, (slot + plane) * columns + column, z))
                v = (sums << plan.fraction).clamp_(-(1 << 15), (1 << 15) - 1)
                if share is not None and limits is None:
                    v = (v * share + (1 << 14)) >> 15
                if plan.noise == "dense":
                    sd = (branches * (plan.mismatch / columns) + plan.additive).sqrt()
                    factor = (sd * plan.per_sd).round().long().unsqueeze(-1)
                    z = dense_deviates(own, slot, plan.planes, columns)
                    v = (v + ((z * factor) >> (16 + plan.noise_shift))).clamp_(-(1 << 15), (1 << 15) - 1)
                codes = plan.codes(v) * plane_weight
                result[here] += codes.sum(1) * (weight * plan.step)
    for some in listed:
        add_changes(result, plan, digits, planes, some, share)
    return result


def floating_product(
    streamed: Tensor,
    resident: Tensor,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
    block_conversions: int,
) -> Tensor:
    """[row, column], float64: for every tile; ``deviates`` as noise, mismatch with its own variance."""
    planes, _ = resident_planes(resident.to(torch.int64), resident_bits, tile)
    columns = resident.shape[1]
    device = streamed.device
    draw = draw.on(device)
    weights = torch.tensor(plane_weights(tile, resident_bits), dtype=torch.float64, device=device)
    digits = streamed_digits(streamed.to(torch.int64), tile, streamed_bits).movedim(-1, 0)
    result = torch.zeros(streamed.shape[0], columns, dtype=torch.float64, device=device)
    block = max(1, block_conversions // (columns * len(weights)))
    wired = tile.resistor.wire_resistance_ohm > 0
    shares = wire_shares(tile, columns, resident_bits).to(device) if wired else None
    for number, group in enumerate(wordline_groups(streamed.shape[1], tile)):
        states = planes[:, group.start : group.stop].permute(1, 0, 2).double()  # [element, plane, column]
        for index, digit in enumerate(digits[..., group.start : group.stop]):
            slot = number * len(digits) + index
            for top in range(0, len(result), block):
                here = slice(top, top + block)
                own = replace(draw, keys=draw.keys[here])
                codes = _convert(digit[here], states, shares, tile, own, slot)
                values = (codes.view(-1, len(weights), columns) * weights[:, None]).sum(1)
                result[here] += values * (tile.adc.step * tile.numeral.radix**index)
    return result


def _sums(digit: Tensor, states: Tensor, shares: Tensor | None) -> Tensor:
    """Sums of one digit [row, element], less what wires take, [row, plane·column], float64.

    Whole sums first, then the share of each bitline: the same number whatever rows stand beside it.
    states: [element, plane, column]; shares: [plane, bitline of the pair, column]
    """
    if shares is None:
        return digit.double() @ states.flatten(1)
    if shares.shape[1] == 1:
        return (digit.double() @ states.flatten(1)) * shares[:, 0].flatten()
    plus = digit.double() @ states.clamp(min=0).flatten(1)
    minus = digit.double() @ states.clamp(max=0).flatten(1)
    return plus * shares[:, 0].flatten() + minus * shares[:, 1].flatten()


def _normal(draw: Draw, slot: int, count: int) -> Tensor:
    """[row, count] standard normal deviates, float64."""
    own = draw.sub(slot)
    blocks = -(-count // 4)
    calls = kernels() if own.keys.device.type == "cpu" else None
    words = (
        calls.words(own, blocks)
        if calls is not None
        else random_words(own.seed, own.stream, own.keys, blocks)
    )
    return deviates(words[:, :count]).double()


def _convert(
    digit: Tensor, states: Tensor, shares: Tensor | None, tile: TileSpec, draw: Draw, slot: int
) -> Tensor:
    """Codes of one digit [row, element] of one group, [row, plane·column]; float64.

    Environment noise and mismatch come ahead of the converter's characteristic, its own noise after it.
    """
    adc = tile.adc
    sums = _sums(digit, states, shares)
    before = sums.new_full((), tile.environment_noise**2)
    if tile.resistor.mismatch:
        power = drive(digit, tile).square().sum(-1)
        before = before + tile.resistor.mismatch**2 * (power @ states.flatten(1).square())
    if bool((before > 0).any()):
        sums += _normal(draw.sub(ENVIRONMENT), slot, sums.shape[1]) * before.sqrt()
    noise = _normal(draw.sub(CONVERTER), slot, sums.shape[1]) if adc.noise > 0 else None
    return convert(sums, adc, noise=noise).double()


__all__ = ["dense_deviates", "floating_product", "whole_product"]
