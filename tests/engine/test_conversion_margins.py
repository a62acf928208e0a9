"""Conversions that share a byte of noise beside wires: how far their errors are correlated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.engine.conversion_plan import conversion_plan
from ohmformer.engine.conversion_words import byte_of
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.randomness import Draw
from ohmformer.specs import preset

ROWS, COLUMNS, PLANES = 16_000, 64, 8


@pytest.fixture(scope="module")
def wrong() -> Tensor:
    """[row, column, plane]: which conversions of one digit and group go wrong; every sum is 36.

    Wires take up to 0.41 of it, so that noise of 0.071 makes it 35 with a probability of 0.1 at the last
    bitline and never 37: the error of an output, -Σ c_j, names the planes that err.
    """
    tile = preset("wang2024").tile
    tile = replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=1.0, mismatch=0.0))
    streamed, resident = torch.zeros(ROWS, 64), torch.zeros(64, COLUMNS)
    streamed[:, 20:32] = 3.0
    resident[20:32] = -1.0  # every switch closed
    plan = conversion_plan(tile, 3, 8, 64)
    assert plan is not None
    assert plan.noise == "margins"
    draw = Draw(seed=4, stream=9, keys=torch.arange(ROWS))
    made = digit_serial_product(streamed, resident, tile, 3, 8, draw)
    error = (made - streamed @ resident).long()
    return (-error & 255)[..., None] >> torch.arange(PLANES) & 1


def test_only_bytes_that_are_shared_correlate_and_within_the_bound(wrong):
    """Covariance of two errors: at most 255·P·P' if they share a byte, 0 if not.

    With the class of a byte b, p(b) = P(wrong | b): Cov = mean over b of p·p' - P·P', and p, p' <= 1 have
    means P and P' over 256 bytes: at most (256 - 1)·P·P'. A covariance over n rows has a standard error of at
    most sqrt((Cov + P·P')/n) for rare errors: 4.5 of them are allowed for each pair that shares a byte
    (by chance one exceeds it with probability 0.01; the seed is fixed), 5 for means over many pairs.
    """
    chance = wrong.double().mean(0)
    assert 0.05 < float(chance.max()) < 0.2
    assert float(chance[:16].max()) < 0.2  # both seldom and often
    flat = wrong.flatten(1).float()
    joint = (flat.T @ flat).double() / ROWS
    expected = chance.flatten()[:, None] * chance.flatten()
    covariance = joint - expected
    byte = (byte_of(torch.arange(COLUMNS))[:, None] + 8 * torch.arange(PLANES)) & 63
    same = byte.flatten()[:, None] == byte.flatten()
    other = ~torch.eye(len(same), dtype=torch.bool)
    for column in range(COLUMNS):  # no output meets a byte twice
        assert len(set(byte[column].tolist())) == PLANES
    shared, apart = same & other, ~same
    error = ((covariance.clamp_min(0) + expected) / ROWS).sqrt()
    assert (covariance[shared] <= 255 * expected[shared] + 4.5 * error[shared] + 1 / ROWS).all()
    often = expected > 1e-4
    mean_error = (expected[apart & often].mean() / ROWS / (apart & often).sum() * 2).sqrt()
    assert covariance[apart & often].mean().abs() < 5 * mean_error
    # what is shared is seen, and is a good part of the bound where errors need the largest class of noise
    assert covariance[shared & often].mean() > 20 * mean_error
    rare = shared & (chance.flatten() < 0.004)[:, None] & (chance.flatten() < 0.004) & (expected > 1e-6)
    assert int(rare.sum()) > 20
    assert covariance[rare].sum() > 10 * expected[rare].sum()


def test_a_share_is_that_of_its_own_law(wrong):
    """P of each conversion is P(36·keep + noise < 35.5), within 4.5 standard errors and 1/4096."""
    from ohmformer.engine.wire_shares import wire_shares

    tile = preset("wang2024").tile
    tile = replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=1.0, mismatch=0.0))
    keep = wire_shares(tile, COLUMNS, 8)[:, 0].T  # [column, plane]
    sd = (tile.environment_noise**2 + tile.adc.noise**2) ** 0.5
    expected = torch.special.ndtr((35.5 - 36 * keep) / sd)
    found = wrong.double().mean(0)
    # the kernels hold a share in 15 bits: 36·2^-16 of a level, 0.0078 deviations
    slack = 0.0078 * 0.4 + 1 / 4096
    assert ((found - expected).abs() < 4.5 * (expected / ROWS).sqrt() + slack).all()
