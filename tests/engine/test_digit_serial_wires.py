"""Conversions beside wires: those that wires can change, and the codes they then get."""

from __future__ import annotations

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.engine.conversion_law import (
    POINTS,
    class_sizes,
    upper_tail,
)
from ohmformer.engine.conversion_margins import wire_limits
from ohmformer.engine.conversion_plan import conversion_plan
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.native import VARIABLE
from ohmformer.engine.wire_shares import wire_factors

from .serial import PATHS, RARE, draw, one_conversion, wired


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("mismatch", [0.0, 0.001])
@pytest.mark.parametrize("adc_bits", [5, 7, 8])
def test_all_paths_look_at_the_same_conversions(
    make_tile, codes, monkeypatch, resident_code, mismatch, adc_bits
):
    """Rare noise beside wires: which codes change, and sums that 8 bits cannot hold."""
    tile = wired(make_tile(adc_bits=adc_bits, resident_code=resident_code, mismatch=mismatch, **RARE), 1.0)
    plan = conversion_plan(tile, 8, 8, 140)
    assert plan is not None
    assert plan.noise == "margins"
    streamed, resident = codes(13, 140), codes(140, 70, seed=1)
    streamed[0, :64], resident[:64, :3] = 127.0, 73.0  # large sums of every digit
    found = []
    for path in PATHS:
        monkeypatch.setenv(VARIABLE, path)
        found.append(digit_serial_product(streamed, resident, tile, 8, 8, draw(13)))
    assert all(torch.equal(one, found[0]) for one in found)
    ideal = compute(streamed.long(), resident.long(), wired(make_tile(adc_bits=adc_bits), 0.0), 8, 8).values
    assert not torch.equal(found[0].long(), ideal)


@pytest.mark.parametrize("ohm", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
def test_below_its_limit_a_sum_keeps_its_code(make_tile, resident_code, ohm):
    """For every class, bitline and plane: the loss and the largest noise together stay below 1/2."""
    tile = wired(make_tile(adc_bits=7, resident_code=resident_code, **RARE), ohm)
    plan = conversion_plan(tile, 8, 8, 128)
    assert plan is not None
    assert plan.noise == "margins"
    keep = wire_factors(tile, 100, 8)
    limit, nearer = wire_limits(plan, keep)
    loss = 1 - keep[:, :100].double() / 2**15
    for number, size in enumerate(class_sizes()):
        sums = limit[:, :100] - nearer[number]
        assert bool(((sums * loss + size * plan.worst_sd <= 0.5) | (sums < 1)).all())
    assert int(limit.max()) <= 126  # what 8 bits cut is looked at


@pytest.mark.parametrize("total", [48, 80, 100, 112, 150, 192])
def test_a_conversion_beside_wires_has_its_law(make_tile, total):
    """P(code) by the normal distribution about s·keep, within 5 standard errors and the steps of the sizes.

    The discrete sizes are off by 1/(2·POINTS) in probability, the noise left out beyond the first class by
    EVENT_CHANCE, which events add. The upper plane converts 0, which wires leave alone.
    """
    rows, ohm = 40000, 1.0
    tile = wired(make_tile(adc_bits=8, **RARE), ohm)
    plan = conversion_plan(tile, 3, 2, 64)
    assert plan is not None
    assert plan.noise == "margins"
    level = total * float(wire_factors(tile, 1, 2)[0, 0]) / 2**15
    found = one_conversion(tile, total, rows).flatten().long()
    for code in range(total - 3, total + 1):
        low, high = ((code + half - level) / plan.worst_sd for half in (-0.5, 0.5))
        wanted = upper_tail(low) - upper_tail(high)
        share = float((found == code).double().mean())
        error = (wanted * (1 - wanted) / rows) ** 0.5
        assert abs(share - wanted) < 5 * error + 2 / (2 * POINTS) + 5 / rows


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
def test_wires_take_what_the_reference_takes(make_tile, codes, resident_code):
    """To 1/128 of a code and with the mean share of a pair few codes differ, and by one, so that the outputs
    differ by much less than what the wires take."""
    tile = wired(make_tile(adc_bits=7, resident_code=resident_code), 3.0)
    streamed, resident = codes(20, 128), codes(128, 12, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    found = digit_serial_product(streamed, resident, tile, 8, 8, draw(20)).long()
    without = compute(streamed.long(), resident.long(), wired(tile, 0.0), 8, 8).values
    lost = (without - reference).double().square().mean().sqrt()
    assert float((found - reference).double().square().mean().sqrt()) < 0.25 * float(lost)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("ohm", [0.001, 0.1, 2.0])
@pytest.mark.parametrize(
    "adc",
    [
        {"adc_bits": 7, "step": 2},
        {"adc_bits": 7, "step": 2, "rounding": "half_up"},
        {"adc_bits": 8, "rounding": "floor"},
        {"adc_bits": 6, "step": 3, "rounding": "floor"},
    ],
    ids=str,
)
def test_wires_decide_where_whole_sums_lie_on_a_bound(
    make_tile, codes, monkeypatch, path, resident_code, ohm, adc
):
    """However little the wires take, it moves every such sum off its bound, always to the same side."""
    monkeypatch.setenv(VARIABLE, path)
    tile = wired(make_tile(resident_code=resident_code, **adc), ohm)
    streamed, resident = codes(7, 100), codes(100, 5, seed=1)
    found = digit_serial_product(streamed, resident, tile, 8, 8, draw(7)).long()
    assert torch.equal(found, compute(streamed.long(), resident.long(), tile, 8, 8).values)
    for row in range(7):
        alone = digit_serial_product(streamed[row : row + 1], resident, tile, 8, 8, draw(1, first=row))
        assert torch.equal(alone[0].long(), found[row])
