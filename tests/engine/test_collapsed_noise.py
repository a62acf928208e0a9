"""Conversion errors drawn on top of an integer product: their rate, sizes, places and variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import (
    additive_variance,
    compute,
    draw_mismatch,
    drive,
    product_variance,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import rounding_error_probability
from ohmformer.engine import FastEngine
from ohmformer.engine.collapsed import (
    DENSE_NOISE_ERRORS,
    ConversionNoise,
    _add_gaussian,
    _add_single,
    collapsed_product,
    conversion_noise,
    worst_noise,
)
from ohmformer.specs import TileSpec, preset

# 4 standard errors; a normal statistic exceeds them once in 16,000
SIGMAS = 4.0

TILES = {
    "additive": {"environment_noise": 0.2, "adc_noise": 0.1},
    "mismatch": {"mismatch": 0.02},
    "both": {"environment_noise": 0.1, "mismatch": 0.01},
    "digits": {"environment_noise": 0.1, "mismatch": 0.02, "resident_code": "digits"},
    "per resistor": {"mismatch": 0.02, "radix": 9, "polarity": "per_resistor"},
    "groups": {"mismatch": 0.04, "wordlines": 64, "active_wordlines": 14},
    "half up": {"environment_noise": 0.15, "mismatch": 0.01, "rounding": "half_up"},
}


def brute_force_rate(streamed: Tensor, resident: Tensor, tile: TileSpec, bits: int) -> float:
    """Mean over outputs of the number of wrong conversions, every conversion looked at."""
    squares = drive(streamed_digits(streamed.long(), tile, bits), tile).square().sum(-1)
    planes, _ = resident_planes(resident.long(), bits, tile)
    total = 0.0
    for group in wordline_groups(streamed.shape[1], tile):
        here = slice(group.start, group.stop)
        branches = torch.einsum("tki,jkn->tijn", squares[:, here], planes[:, here].double().square())
        additive = tile.environment_noise**2 + tile.adc.noise**2
        chance = rounding_error_probability((additive + tile.resistor.mismatch**2 * branches).sqrt())
        total += float(chance.sum((1, 2)).mean())
    return total


@pytest.mark.parametrize("name", TILES)
def test_small_operands_give_the_closed_form_exactly(make_tile, codes, name):
    """Up to 16 rows and columns all conversions are looked at, so only rounding is left."""
    tile = make_tile(**TILES[name])
    streamed, resident = codes(9, 45), codes(45, 7, seed=1)
    noise = conversion_noise(streamed, resident, tile, 8, 8)
    wanted = float(product_variance(streamed.long(), resident.long(), tile, 8, 8).mean())
    assert noise.variance == pytest.approx(wanted, rel=1e-9)
    assert noise.errors_per_output == pytest.approx(brute_force_rate(streamed, resident, tile, 8), rel=1e-9)


def test_additive_noise_needs_no_operands(make_tile, codes):
    tile = make_tile(environment_noise=0.2, adc_noise=0.1)
    noise = conversion_noise(codes(40, 100), codes(100, 40, seed=1), tile, 8, 8)
    assert noise == worst_noise(tile, 8, 8, 100)
    assert noise.variance == pytest.approx(additive_variance(tile, 100, 8, 8), rel=1e-12)


def test_matrices_of_a_batch_are_sampled_as_pairs(make_tile, codes):
    """Up to 16 matrices of 4 rows and columns: all of them, each with its own partner."""
    tile = make_tile(mismatch=0.03)
    streamed, resident = codes(2, 1, 4, 30), codes(3, 30, 4, seed=1)
    streamed[1] *= 0  # one half of the batch makes no errors from mismatch
    noise = conversion_noise(streamed, resident, tile, 8, 8)
    pairs = [(streamed[a, 0], resident[b]) for a in range(2) for b in range(3)]
    wanted = [float(product_variance(x.long(), w.long(), tile, 8, 8).mean()) for x, w in pairs]
    assert noise.variance == pytest.approx(sum(wanted) / 6, rel=1e-9)
    assert wanted[3] < wanted[0] / 100


def test_a_sample_of_rows_and_columns_stands_for_all(make_tile, codes):
    """The standard error of a mean over 16 rows and 16 columns drawn from all, from the spread of each."""
    tile = make_tile(mismatch=0.02)
    streamed, resident = codes(120, 150), codes(150, 90, seed=1)
    streamed[:60] = (streamed[:60] / 8).round()  # rows that differ
    every = product_variance(streamed.long(), resident.long(), tile, 8, 8)
    error = math.sqrt(float(every.mean(1).var()) / 16 + float(every.mean(0).var()) / 16)
    found = conversion_noise(streamed, resident, tile, 8, 8).variance
    assert abs(found - float(every.mean())) < SIGMAS * error


def test_tables_of_large_tiles_are_coarse_and_still_right(make_tile, codes):
    """Groups of 256 elements of radix 257: 5.6e6 branch sums in 65,536 entries, each 86 wide.

    A sum is off by at most 43, and all variance comes from mismatch here, in proportion to the sum.
    """
    tile = make_tile(257, mismatch=0.01, wordlines=16384, active_wordlines=2048)
    streamed, resident = codes(5, 300), codes(300, 4, seed=1)
    wanted = float(product_variance(streamed.long(), resident.long(), tile, 8, 8).mean())
    squares = drive(streamed_digits(streamed.long(), tile, 8), tile).square().sum((2, 3))
    # the last group holds 44 elements; more than a quarter of their power meets closed switches
    smallest = float(squares[:, 256:].sum(1).min()) / 4
    assert conversion_noise(streamed, resident, tile, 8, 8).variance == pytest.approx(
        wanted, rel=43 / smallest
    )
    assert 43 / smallest < 0.01


@pytest.mark.parametrize("name", TILES)
def test_no_operands_are_worse_than_the_worst(make_tile, codes, name):
    tile = make_tile(**TILES[name])
    for inner in (1, 7, 45, 200):
        worst = worst_noise(tile, 8, 8, inner)
        for left, right in ((codes(4, inner), codes(inner, 4, seed=1)), (torch.full((2, inner), 127.0),) * 2):
            right = right if right.shape[0] == inner else -torch.ones(inner, 2)  # all bits of -1 are set
            noise = conversion_noise(left, right, tile, 8, 8)
            assert noise.errors_per_output <= worst.errors_per_output * (1 + 1e-12)
            assert noise.variance <= worst.variance * (1 + 1e-12)


def test_the_worst_case_is_reached(make_tile):
    """Full groups of the largest digit (3) meeting closed switches: nothing is given away."""
    tile = make_tile(mismatch=0.02)
    left = torch.full((2, 64), 3.0 + 21 + 147)  # 171: digits 3, 3, 3 and, since 9 bits take a fourth, 0
    found, worst = conversion_noise(left, -torch.ones(64, 2), tile, 9, 8), worst_noise(tile, 9, 8, 64)
    assert found.errors[:24] == pytest.approx(worst.errors[:24], rel=1e-12)
    assert found.errors[24:] == (0.0,) * 8


def some_noise() -> ConversionNoise:
    return ConversionNoise(
        weights=(1, -2, 7, -14), errors=(0.01, 0.03, 0.02, 0.04), squares=(0.01, 0.03, 0.02, 0.04)
    )


def test_single_errors_have_their_sizes_signs_and_places():
    noise, count = some_noise(), 40_000
    generator = torch.Generator().manual_seed(1)
    values = torch.zeros(4, 50)
    sizes: dict[int, int] = {}
    places = torch.zeros(4, 50)
    for _ in range(2000):
        values.zero_()
        _add_single(values, noise, 1, generator)
        where = values.nonzero()
        assert len(where) == 1
        places[tuple(where[0])] += 1
        size = int(values.sum())
        sizes[size] = sizes.get(size, 0) + 1
    total = noise.errors_per_output
    for weight, errors in zip(noise.weights, noise.errors, strict=True):
        for sign in (1, -1):
            chance = errors / total / 2
            spread = math.sqrt(2000 * chance * (1 - chance))
            assert abs(sizes[sign * weight] - 2000 * chance) < SIGMAS * spread
    assert set(sizes) == {sign * weight for weight in noise.weights for sign in (1, -1)}
    # uniform places: chi-square of 199 degrees has mean 199 and variance 398
    assert abs(float(((places - 10) ** 2 / 10).sum()) - 199) < SIGMAS * math.sqrt(398)
    big = _add_single(torch.zeros(3, 4), noise, count, generator)
    assert float(big.abs().sum()) > 0  # several errors in one output add up: none is lost
    second = sum(e * w * w for e, w in zip(noise.errors, noise.weights, strict=True)) / total
    fourth = sum(e * w**4 for e, w in zip(noise.errors, noise.weights, strict=True)) / total
    # each output is a sum of about count/12 errors, nearly Gaussian: 12 squares, each of relative spread √2
    assert abs(float(big.square().mean()) / (count / 12 * second) - 1) < SIGMAS * math.sqrt(2 / 12)
    assert fourth > second**2


@pytest.mark.parametrize("variance", [0.8, 3.0, 500.0, 4e7])
def test_gaussian_errors_are_whole_and_have_the_variance_asked_for(variance):
    """se of a variance of n normal numbers is √(2/n); without Sheppard's term 0.8 would be 10 % off."""
    noise = ConversionNoise(weights=(1,), errors=(1.0,), squares=(variance,))
    n = 200_000
    drawn = _add_gaussian(torch.zeros(n, dtype=torch.float64), noise, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, drawn.round())
    assert abs(float(drawn.mean())) < SIGMAS * math.sqrt(variance / n)
    # a rounded Gaussian of sd above 0.8 is as flat as a Gaussian within 2 %: 5 standard errors
    assert abs(float(drawn.var()) / variance - 1) < 5 * math.sqrt(2 / n)


def errors_of(tile: TileSpec, streamed: Tensor, resident: Tensor, seed: int) -> Tensor:
    found = FastEngine(tile).product(
        streamed, resident, streamed_bits=8, resident_bits=8, generator=torch.Generator().manual_seed(seed)
    )
    return found.double() - torch.matmul(streamed.double(), resident.double())


def fourth_moment(noise: ConversionNoise) -> float:
    """Upper estimate of E[e⁴] of an output: Σ w⁴·errors of the rare errors plus three squared variances."""
    rare = sum(w**4 * s for w, s in zip(noise.weights, noise.squares, strict=True))
    return rare + 3 * noise.variance**2


@pytest.mark.parametrize(
    "case",
    [
        {"environment_noise": 0.13},  # one by one
        {"environment_noise": 0.12, "mismatch": 0.004},  # thinned
        {"environment_noise": 0.15, "mismatch": 0.008},  # the worst case is dense, the operands' own is rare
    ],
    ids=str,
)
def test_rare_errors_come_as_often_as_the_law_says(make_tile, codes, case):
    """Wrong outputs are Poisson: 1 - exp(-errors_per_output) of n outputs, 4 standard deviations."""
    tile = make_tile(**case)
    streamed, resident = codes(300, 60), codes(60, 16, seed=1)
    noise = conversion_noise(streamed, resident, tile, 8, 8)
    worst = worst_noise(tile, 8, 8, 60)
    assert noise.errors_per_output < DENSE_NOISE_ERRORS
    assert (worst.errors_per_output > DENSE_NOISE_ERRORS) == (case.get("mismatch") == 0.008)
    found = torch.cat([errors_of(tile, streamed, resident, seed).flatten() for seed in range(60)])
    n = len(found)
    wrong, share = int((found != 0).sum()), 1 - math.exp(-noise.errors_per_output)
    assert n * share > 300
    assert abs(wrong - n * share) < SIGMAS * math.sqrt(n * share * (1 - share))
    assert abs(float(found.square().mean()) - noise.variance) < SIGMAS * math.sqrt(fourth_moment(noise) / n)
    assert abs(float(found.mean())) < SIGMAS * math.sqrt(noise.variance / n)


@pytest.mark.parametrize("case", [{"environment_noise": 0.2, "adc_noise": 0.2}, {"mismatch": 0.05}], ids=str)
def test_frequent_errors_have_the_variance_of_the_law(make_tile, codes, case):
    tile = make_tile(**case)
    streamed, resident = codes(300, 60), codes(60, 16, seed=1)
    noise = conversion_noise(streamed, resident, tile, 8, 8)
    assert noise.errors_per_output > DENSE_NOISE_ERRORS
    found = torch.cat([errors_of(tile, streamed, resident, seed).flatten() for seed in range(10)])
    # Gaussian: se of the variance √(2/n) of it
    assert abs(float(found.square().mean()) / noise.variance - 1) < SIGMAS * math.sqrt(2 / len(found))
    assert torch.equal(found, found.round())


def reference_errors(tile: TileSpec, row: Tensor, resident: Tensor, repeats: int, seed: int) -> Tensor:
    """Errors of the reference with additive noise, [repeat, column]: every row meets noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    found = compute(row.long().expand(repeats, -1), resident.long(), tile, 8, 8, generator=generator).values
    return (found - torch.matmul(row.long(), resident.long())).double()


@pytest.mark.parametrize("sd", [0.15, 0.2, 0.25, 0.35])
def test_additive_errors_agree_with_the_reference(make_tile, codes, sd):
    """Rate and variance of the reference's own conversions against the law that the fast path draws from.

    One more code than the sums need keeps the reference from clipping.
    """
    tile = make_tile(environment_noise=sd, adc_bits=9)
    row, resident = codes(1, 64), codes(64, 8, seed=1)
    noise = conversion_noise(row, resident, tile, 8, 8)
    found = torch.cat([reference_errors(tile, row, resident, 3000, seed) for seed in range(3)]).flatten()
    n = len(found)
    assert abs(float(found.square().mean()) - noise.variance) < SIGMAS * math.sqrt(fourth_moment(noise) / n)
    # weights 7^i·2^j: no two different single errors cancel, so a right output had no error
    # (or several that cancel: at 0.35 with 3.7 errors an output, none in a thousand)
    right = math.prod(1 - errors for errors in noise.errors)
    wrong = int((found != 0).sum())
    assert abs(wrong - n * (1 - right)) < SIGMAS * math.sqrt(n * right * (1 - right)) + 0.001 * n * (sd > 0.3)
    fast = torch.cat([errors_of(tile, row.expand(400, -1), resident, seed).flatten() for seed in range(10)])
    se = math.sqrt(fourth_moment(noise) * (1 / n + 1 / len(fast)))
    assert abs(float(fast.square().mean() - found.square().mean())) < SIGMAS * se


@pytest.mark.parametrize("mismatch", [0.025, 0.04])
def test_mismatch_errors_agree_with_the_reference(make_tile, codes, mismatch):
    """New tile and new operands each time: the fixed pattern's covariance has mean zero then.

    The mean square of the reference's errors, over draws, against the mean of the law; the standard error
    from the spread of the draws.
    """
    tile = make_tile(mismatch=mismatch, adc_bits=9)
    generator = torch.Generator().manual_seed(7)
    found, wanted = [], []
    for seed in range(500):
        row, resident = codes(5, 64, seed=seed), codes(64, 15, seed=seed + 1000)
        deviations = draw_mismatch(tile, generator)
        values = compute(row.long(), resident.long(), tile, 8, 8, mismatch=deviations).values
        found.append(float((values - row.long() @ resident.long()).double().square().mean()))
        wanted.append(conversion_noise(row, resident, tile, 8, 8).variance)
    difference = torch.tensor(found, dtype=torch.float64) - torch.tensor(wanted, dtype=torch.float64)
    assert abs(float(difference.mean())) < SIGMAS * float(difference.std()) / math.sqrt(len(difference))
    # and the comparison can tell: its standard error is below 6 % of the value
    assert float(difference.std()) / math.sqrt(len(difference)) < 0.06 * float(torch.tensor(wanted).mean())


def test_one_digit_at_a_time_clips_half_of_the_errors_at_the_ends(codes):
    """With sums up to max_code the reference cannot err outwards: a stated error of the fast path.

    A conversion of ±3 errs inwards alone: its rate is Q(1/2 sd) instead of twice that.
    """
    tile = preset("wang2024_2bit_serial").tile
    tile = replace(tile, environment_noise=0.15, adc=replace(tile.adc, noise=0.0))
    row, resident = codes(1, 20), codes(20, 6, seed=1)
    digits = streamed_digits(row.long(), tile, 8)[0]  # [inner, digit]
    planes, _ = resident_planes(resident.long(), 8, tile)
    ends = torch.einsum("ki,jkn->", (digits.abs() == 3).double(), planes.double())
    conversions = digits.numel() * planes.shape[0] * 6
    noise = conversion_noise(row, resident, tile, 8, 8)
    share = float(ends) / conversions
    assert 0.05 < share < 0.3
    rate = noise.errors_per_output * (1 - share / 2)
    found = torch.cat([reference_errors(tile, row, resident, 2000, seed) for seed in range(2)])
    wrong, n = int((found != 0).sum()), found.numel()
    chance = 1 - math.exp(-rate)
    # conversions of one output add as a Poisson number up to the square of their probability, 1e-6;
    # two errors of one weight cancel in one of two: rate² / weights / 4
    cancelled = n * rate**2 / len(noise.weights) / 4
    assert abs(wrong - n * chance) < SIGMAS * math.sqrt(n * chance * (1 - chance)) + cancelled


def test_no_noise_no_draw(make_tile, codes):
    """Without noise the generator is left where it was."""
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    streamed, resident = codes(3, 10), codes(10, 4, seed=1)
    collapsed_product(streamed, resident, make_tile(), 8, 8, generator)
    assert torch.equal(generator.get_state(), before)
    default: Callable[..., Tensor] = FastEngine(preset("wang2024").tile).product
    found = default(streamed, resident, streamed_bits=8, resident_bits=8, generator=generator)
    # the published noise makes one error in about 1e9 conversions
    assert torch.equal(found.double(), streamed.double() @ resident.double())
