"""Closed-form mean and variance against the digit-by-digit reference."""

from __future__ import annotations

import math

import pytest
import torch

from ohmformer import crossbars
from ohmformer.crossbars import CrossbarError, compute


def errors(tile, streamed, resident, draws, *, seed=0, mismatch=False):
    """[draw, row, column] of compute - exact, 8 bits, new noise (and new physical tiles) at each draw."""
    generator = torch.Generator().manual_seed(seed)
    exact = streamed @ resident
    found = []
    for _ in range(draws):
        drawn = None
        if mismatch:  # one physical tile for each block
            blocks = math.ceil(streamed.shape[1] / tile.elements) * len(
                crossbars.output_blocks(resident.shape[1], tile, 8)
            )
            drawn = [crossbars.draw_mismatch(tile, generator) for _ in range(blocks)]
        found.append(
            compute(streamed, resident, tile, 8, 8, generator=generator, mismatch=drawn).values - exact
        )
    return torch.stack(found).double()


def assert_mean_agrees(samples: torch.Tensor, expected: float) -> None:
    """Mean of independent samples within 4 of their own standard errors."""
    assert abs(samples.mean() - expected) < 4 * samples.std() / math.sqrt(samples.numel())


@pytest.mark.parametrize(
    "case",
    [
        {"environment_noise": 0.25},
        {"adc_noise": 0.4},
        {"environment_noise": 0.3, "adc_noise": 0.4, "radix": 3},
        {"environment_noise": 0.35, "resident_code": "digits"},
        {"environment_noise": 2.0, "active_wordlines": 16, "rounding": "half_up"},
        {"environment_noise": 0.3, "rounding": "floor"},
    ],
)
def test_additive_variance(make_tile, integers, case):
    """Small noise: few conversions err; their law is still exact. Every output and draw is independent."""
    tile = make_tile(**{"adc_bits": 9, "polarity": "shared", **case})
    streamed, resident = integers(30, 150), integers(150, 20, seed=1)
    found = errors(tile, streamed, resident, 12)
    mean = crossbars.additive_mean(tile, 150, 8, 8)
    variance = crossbars.additive_variance(tile, 150, 8, 8)
    assert_mean_agrees(found.flatten(), mean)
    assert_mean_agrees((found.flatten() - mean).square(), variance)
    assert (mean == 0) == (tile.adc.rounding != "floor")
    assert variance > 0


def test_additive_variance_worked_by_hand(make_tile):
    """One group, one digit of base 257, 2-bit operands: planes weigh 1 and -2."""
    tile = make_tile(257, environment_noise=0.2)
    # V(0.2) = 2 (Q(2.5) + 3 Q(7.5) + ...) = 2 * 6.2096653e-3, from a table of the normal distribution
    assert math.isclose(crossbars.additive_variance(tile, 1, 2, 2), 5 * 2 * 6.2096653e-3, rel_tol=1e-7)
    noiseless = make_tile(257)
    assert crossbars.additive_variance(noiseless, 1, 2, 2) == 0
    assert crossbars.additive_mean(noiseless, 1, 2, 2) == 0


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("additive", [0.0, 0.3])
def test_variance_of_given_operands_with_mismatch(make_tile, integers, code, additive):
    """One non-zero digit per streamed element: the closed form is exact, output by output."""
    tile = make_tile(7, mismatch=0.08, environment_noise=additive, adc_bits=9, resident_code=code)
    generator = torch.Generator().manual_seed(3)
    place = torch.tensor([1, 7, 49])[torch.randint(3, (25, 100), generator=generator)]
    streamed = place * torch.tensor([-2, -1, 1, 2])[torch.randint(4, (25, 100), generator=generator)]
    resident = integers(100, 8, seed=1)
    expected = crossbars.product_variance(streamed, resident, tile, 8, 8)
    draws = 250
    found = errors(tile, streamed, resident, draws, mismatch=True)
    # rows meet the same resistors, so draws are the independent samples: one mean square over outputs each
    ratio = (found.square() / expected).mean((1, 2))
    assert_mean_agrees(ratio, 1.0)
    assert ratio.std() / math.sqrt(draws) < 0.02  # sharp enough to see a wrong factor
    per_output = found.square().mean(0) / expected
    spread = (found.square() / expected).std(0) / math.sqrt(draws)
    # 200 outputs at 5 standard errors: a skewed statistic, hence one more than 4
    assert ((per_output - 1).abs() < 5 * spread).all()


def test_variance_with_mismatch_of_ordinary_operands(make_tile, integers):
    """Digits of one element share a resistor: averaged over operands the closed form still holds."""
    tile = make_tile(7, mismatch=0.1, adc_bits=9)
    draws = 150
    ratios, averages = [], []
    for draw in range(draws):
        streamed, resident = integers(12, 128, seed=draw), integers(128, 10, seed=draw + 5000)
        found = errors(tile, streamed, resident, 1, seed=draw, mismatch=True)[0]
        expected = crossbars.product_variance(streamed, resident, tile, 8, 8)
        ratios.append((found.square() / expected).mean())
        squares = crossbars.mean_squares(streamed, resident, tile, 8, 8)
        shortcut = crossbars.noise_variance(
            tile, 128, 8, 8, digit_squares=squares[0], plane_squares=squares[1]
        )
        averages.append(shortcut / expected.mean())
    ratio = torch.stack(ratios)
    assert_mean_agrees(ratio, 1.0)
    assert ratio.std() / math.sqrt(draws) < 0.05
    # 64 branches a group: sd 0.1 * sqrt(64 * 2.5 / 2) = 0.9, where V = v + 1/12 to 1e-6, so that only the
    # covariance over 128 elements of row-averaged digit squares with column-averaged plane squares is left;
    # the relative sd of either square is at most 1: 12 rows, 10 columns, 5 standard errors
    assert (torch.stack(averages) - 1).abs().max() < 5 / math.sqrt(12 * 10 * 128)


def test_noise_variance_is_exact_for_constant_operands(make_tile):
    """Every element alike: the mean square is the square."""
    tile = make_tile(7, mismatch=0.07, environment_noise=0.1)
    streamed, resident = torch.full((2, 70), 3), torch.full((70, 2), -1)
    squares = crossbars.mean_squares(streamed, resident, tile, 8, 8)
    assert squares[0].tolist() == [5.0, 0.0, 0.0]  # resistors 1 and 2: 1 + 4
    assert squares[1].tolist() == [1.0] * 8  # -1 has all bits set
    shortcut = crossbars.noise_variance(tile, 70, 8, 8, digit_squares=squares[0], plane_squares=squares[1])
    full = crossbars.product_variance(streamed, resident, tile, 8, 8)
    torch.testing.assert_close(full, torch.full_like(full, shortcut), rtol=1e-12, atol=0)
    plain = make_tile(7, environment_noise=0.1)
    assert math.isclose(
        crossbars.noise_variance(plain, 70, 8, 8, digit_squares=squares[0], plane_squares=squares[1]),
        crossbars.additive_variance(plain, 70, 8, 8),
        rel_tol=1e-12,
    )


def test_lossy_converters_have_no_closed_form(make_tile):
    tile = make_tile(7, step=3)
    empty = torch.zeros(3)
    calls = [
        lambda: crossbars.additive_mean(tile, 8, 8, 8),
        lambda: crossbars.additive_variance(tile, 8, 8, 8),
        lambda: crossbars.noise_variance(tile, 8, 8, 8, digit_squares=empty, plane_squares=empty),
        lambda: crossbars.product_variance(torch.ones(1, 1).long(), torch.ones(1, 1).long(), tile, 8, 8),
    ]
    for call in calls:
        with pytest.raises(CrossbarError, match="loses information"):
            call()
