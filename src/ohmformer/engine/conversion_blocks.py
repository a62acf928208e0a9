"""Every conversion of a product in torch, block by block: in whole numbers, and in floating point."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ohmformer.crossbars import drive, plane_weights, resident_planes, streamed_digits, wordline_groups
from ohmformer.devices import convert
from ohmformer.engine.conversion_plan import BYTE_WEIGHTS, ConversionPlan, points, wire_shares
from ohmformer.engine.native import kernels
from ohmformer.engine.randomness import MASK32, MASK64, WEYL, Draw, aes_round, deviates, random_words
from ohmformer.engine.whole import whole_matmul
from ohmformer.engine.wrong_conversions import add_events
from ohmformer.specs import TileSpec

NOISE_ROUNDS = 5  # of the cipher that makes dense noise: five pass BigCrush (see randomness.py)
CODES_PER_BLOCK = 8  # 128 random bits, 16 for each conversion
ENVIRONMENT, CONVERTER = 2, 3  # streams of an operation, floating point


def _split(word: int) -> tuple[int, int]:
    return word & MASK32, (word >> 32) & MASK32


def dense_deviates(draw: Draw, slot: int, planes: int, columns: int) -> Tensor:
    """[row, plane, column], int64: deviates of one group and digit, see ``deviate_law``.

    The counter of a block is (key of the row, (slot + plane)·2^32 + column // 8).
    """
    device = draw.keys.device
    keys = draw.keys[:, None, None]
    block = torch.arange(-(-columns // CODES_PER_BLOCK), device=device)[None, None]
    place = (slot + torch.arange(planes, device=device))[None, :, None]
    shape = (len(draw.keys), planes, block.shape[-1])
    low, high = draw.seed & MASK64, draw.stream & MASK64
    counter = (keys & MASK32, (keys >> 32) & MASK32, block, place)
    parts = (*_split(low), *_split(high))
    words = [part.expand(shape) ^ own for part, own in zip(counter, parts, strict=True)]
    for turn in range(NOISE_ROUNDS):
        low, high = (low + WEYL[0]) & MASK64, (high + WEYL[1]) & MASK64
        words = aes_round(words, (*_split(low), *_split(high)), last=turn == NOISE_ROUNDS - 1)
    pairs = torch.stack([part for word in words for part in (word & 0xFFFF, word >> 16)], -1)
    pairs = pairs.flatten(-2)[..., :columns]
    first, second = points().to(device).long()
    total = torch.zeros_like(pairs)
    for place_of_byte, weight in enumerate(BYTE_WEIGHTS):
        byte = pairs >> (8 * place_of_byte)
        total += weight * (first[byte & 15] + second[(byte >> 4) & 15])
    return total


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
                v = (sums << plan.fraction).clamp_(-(1 << 15), (1 << 15) - 1)
                if share is not None:
                    v = (v * share + (1 << 14)) >> 15
                if plan.noise == "dense":
                    power = power_of[digit.long() + plan.max_digit]
                    branches = power @ counts  # whole numbers
                    sd = (branches * (plan.mismatch / columns) + plan.additive).sqrt()
                    factor = (sd * plan.per_sd).round().long().unsqueeze(-1)
                    z = dense_deviates(replace(draw, keys=draw.keys[here]), slot, plan.planes, columns)
                    v = (v + ((z * factor) >> (16 + plan.noise_shift))).clamp_(-(1 << 15), (1 << 15) - 1)
                codes = plan.codes(v) * plane_weight
                result[here] += codes.sum(1) * (weight * plan.step)
    if events is not None:
        add_events(result, plan, digits, planes, events)
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
        kept = states if shares is None else _kept(states, shares)
        for index, digit in enumerate(digits[..., group.start : group.stop]):
            slot = number * len(digits) + index
            for top in range(0, len(result), block):
                here = slice(top, top + block)
                own = replace(draw, keys=draw.keys[here])
                codes = _convert(digit[here], states.flatten(1), kept.flatten(1), tile, own, slot)
                values = (codes.view(-1, len(weights), columns) * weights[:, None]).sum(1)
                result[here] += values * (tile.adc.step * tile.numeral.radix**index)
    return result


def _kept(states: Tensor, shares: Tensor) -> Tensor:
    """Switches times the share that the wires of their own bitline leave; shares [plane, bitline, column]."""
    return states.clamp(min=0) * shares[:, 0] + states.clamp(max=0) * shares[:, -1]


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


def _convert(digit: Tensor, states: Tensor, kept: Tensor, tile: TileSpec, draw: Draw, slot: int) -> Tensor:
    """Codes of one digit [row, element] of one group, [row, plane·column]; float64.

    Environment noise and mismatch come ahead of the converter's characteristic, its own noise after it.
    """
    adc = tile.adc
    sums = digit.double() @ kept
    before = sums.new_full((), tile.environment_noise**2)
    if tile.resistor.mismatch:
        power = drive(digit, tile).square().sum(-1)
        before = before + tile.resistor.mismatch**2 * (power @ states.square())
    if bool((before > 0).any()):
        sums += _normal(draw.sub(ENVIRONMENT), slot, sums.shape[1]) * before.sqrt()
    noise = _normal(draw.sub(CONVERTER), slot, sums.shape[1]) if adc.noise > 0 else None
    return convert(sums, adc, noise=noise).double()


__all__ = ["dense_deviates", "floating_product", "whole_product"]
