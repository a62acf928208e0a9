"""Conversions that noise seldom changes, drawn one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ohmformer.engine.conversion_law import upper_tail
from ohmformer.engine.conversion_plan import ConversionPlan
from ohmformer.engine.native import kernels
from ohmformer.engine.randomness import Draw, random_words, uniforms64
from ohmformer.numerals import divide

Conversions = tuple[Tensor, Tensor, Tensor]  # row, place, deviate


def _bits(draw: Draw, blocks: int, first: int) -> Tensor:
    calls = kernels()
    if calls is not None:
        return calls.words(draw, blocks, first)
    return random_words(draw.seed, draw.stream, draw.keys, blocks, first)


def draw_events(plan: ConversionPlan, columns: int, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Conversions whose noise is above ``plan.rate_bound``: 1/2 if its sd is the largest possible one.

    A whole sum is at least 1/2 from where its code changes, and so needs |z|·sd >= 1/2. The conversions with
    |z| >= 1/(2·worst_sd) are a Bernoulli sequence with p = 2Q(1/(2·worst_sd)): the gaps are geometric, the
    deviates z of these conversions normal beyond that bound. What becomes of them is computed exactly, so
    that a smaller sd of a conversion only means that its code stays.

    returns: row, place (see kernels/digit_serial_job.hpp) and z; sorted by row, then place
    Error:   none but float64 rounding of gaps and deviates.
    """
    conversions = len(plan.groups) * plan.digits * plan.planes * columns
    tail = upper_tail(plan.rate_bound)
    # below 1e-300 nothing is ever drawn
    rate = max(-math.log1p(-2 * tail), 1e-300)
    mean = conversions * rate
    count = math.ceil(mean + 4 * math.sqrt(mean))
    rows, places, deviates = [], [], []
    left = torch.arange(len(draw.keys), device=draw.keys.device)
    start = torch.full((len(left),), -1, dtype=torch.int64, device=draw.keys.device)
    first = 0
    while len(left):
        own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[left])
        words = _bits(own, count, first).view(len(left), count, 4)
        gap = (uniforms64(words[..., :2]).squeeze(-1).log() / -rate).floor().clamp_(max=conversions)
        place = start[:, None] + (gap.to(torch.int64) + 1).cumsum(1)
        inside = place < conversions
        which, turn = inside.nonzero(as_tuple=True)
        if len(which):
            uniform = uniforms64(words[which, turn, 2:]).squeeze(-1)
            beyond = torch.minimum(uniform, 1 - uniform).clamp_(min=2.0**-54) * (2 * tail)
            z = -torch.special.ndtri(beyond)
            rows.append(left[which])
            places.append(place[which, turn])
            deviates.append(torch.where(uniform < 0.5, -z, z))
        more = inside[:, -1]
        left, start, first = left[more], place[more, -1], first + count
    if not rows:
        nothing = left.new_empty(0)
        return nothing, nothing, nothing.double()
    row, place, z = torch.cat(rows), torch.cat(places), torch.cat(deviates)
    if len(rows) > 1:
        order = (row * conversions + place).argsort()
        row, place, z = row[order], place[order], z[order]
    return row, place, z


def add_changes(
    result: Tensor,
    plan: ConversionPlan,
    digits: Tensor,
    states: Tensor,
    found: Conversions,
    keep: Tensor | None,
) -> None:
    """Add to ``result`` [row, column] what the noise of some conversions (and wires) changes.

    digits: [digit, row, inner]; states: [plane, inner, column], the resident switches; both whole numbers
    keep:   [plane, column] share that wires leave, times 2^15
    """
    device = result.device
    row, place, z = (part.to(device) for part in found)
    power, full_weight = plan.power.to(device).long(), plan.full_weight.to(device).long()
    digit_weight = plan.digit_weight.to(device)
    for here, group, plane, digit, column in _groups(plan, place, result.shape[1]):
        driven, closed = _operands(digits, states, group, plane, digit, row[here], column)
        sums = (driven * closed).sum(1).double()
        branches = (power[driven + plan.max_digit] * closed.square()).sum(1)
        sd = (branches.double() * plan.mismatch + plan.additive).sqrt()
        level = sums if keep is None else sums * (keep[plane, column].double() * 2.0**-15)
        change = _codes(level + sd * z[here], plan) - _codes(sums, plan)
        weight = full_weight[plane] * digit_weight[digit] * plan.step
        result.index_put_((row[here], column), change.long() * weight, accumulate=True)


def below_limits(
    plan: ConversionPlan,
    digits: Tensor,
    states: Tensor,
    found: Conversions,
    limits: tuple[Tensor, Tensor] | None,
) -> Conversions:
    """Those conversions whose sums keep their code in every class of ``conversion_margins``."""
    if limits is None:
        return found
    device = states.device
    row, place, z = (part.to(device) for part in found)
    limit, nearer = (part.to(device) for part in limits)
    inside = torch.ones_like(row, dtype=torch.bool)
    for here, group, plane, digit, column in _groups(plan, place, states.shape[-1]):
        driven, closed = _operands(digits, states, group, plane, digit, row[here], column)
        inside[here] = (driven * closed).sum(1).abs() + nearer[0] <= limit[plane, column]
    return row[inside], place[inside], z[inside]


def _groups(
    plan: ConversionPlan, place: Tensor, columns: int
) -> Iterator[tuple[Tensor, tuple[int, int], Tensor, Tensor, Tensor]]:
    """Which conversions lie in a group, its bounds, and their planes, digits and columns."""
    slot = place // columns
    group = slot // plan.planes // plan.digits
    for number, bounds in enumerate(plan.groups):
        here = (group == number).nonzero().squeeze(1)
        if len(here):
            own = slot[here]
            yield here, bounds, own % plan.planes, own // plan.planes % plan.digits, place[here] % columns


def _operands(
    digits: Tensor,
    states: Tensor,
    group: tuple[int, int],
    plane: Tensor,
    digit: Tensor,
    row: Tensor,
    column: Tensor,
) -> tuple[Tensor, Tensor]:
    first, last = group
    return digits[digit, row, first:last].long(), states[plane, first:last, column].long()


def _codes(sums: Tensor, plan: ConversionPlan) -> Tensor:
    return divide(sums, plan.step).round().clamp(-plan.max_code, plan.max_code)


__all__ = ["add_changes", "below_limits", "draw_events"]
