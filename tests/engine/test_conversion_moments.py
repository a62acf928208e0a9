"""What a converter does to a sum, in mean and square: the closed forms are those of the converter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ohmformer.devices import (
    convert,
    converter_level,
    rounding_error_mean,
    rounding_error_variance,
)
from ohmformer.engine.conversion_moments import code_moments, conversion_table, error_moments

ROUNDINGS = ["half_even", "half_up", "floor"]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_away_from_clipping_the_moments_are_those_of_the_rounding(make_tile, rounding):
    adc = replace(make_tile(rounding=rounding).adc, bits=10)
    sd = torch.tensor([0.0, 0.1, 0.3, 0.7, 1.5, 2.9], dtype=torch.float64)
    level = torch.full_like(sd, 17.0)
    mean, variance = code_moments(level, sd, adc)
    # both are sums of the same closed forms in another order: double rounding alone
    torch.testing.assert_close(mean - level, rounding_error_mean(sd, rounding), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(variance, rounding_error_variance(sd, rounding), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("nonlinearity", [0.0, 0.6])
def test_clipped_moments_are_those_of_the_converter_itself(make_tile, rounding, nonlinearity):
    """The converter on 20000 equally likely points of the noise of its own.

    A code changes at most once between two points for each of its thresholds, so that a mean over points is
    off by at most (number of thresholds met)/20000 codes: 7 codes make 6 thresholds, 3e-4 (times the largest
    code in the square).
    """
    adc = replace(make_tile(rounding=rounding).adc, bits=2, step=3, noise=0.8, nonlinearity=nonlinearity)
    sums = torch.arange(-15, 16, dtype=torch.float64)
    points = torch.special.ndtri((torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)
    codes = convert(sums[:, None].expand(-1, 20000), adc, noise=points.expand(31, -1)).double() * adc.step
    mean, variance = error_moments(sums, torch.zeros_like(sums), adc)
    assert (mean - codes.mean(1)).abs().max() < 3 * 6 / 20000
    assert (variance + mean**2 - codes.square().mean(1)).abs().max() < 3 * 6 * 6 * 3 / 20000


def test_noise_of_the_current_is_bent_with_the_level(make_tile):
    """100 000 draws through the converter: mean within 4.5 standard errors for each of 21 sums.

    The table's own error, 1/512 of a code of 4 unit currents, is added to the bound.
    """
    adc = replace(make_tile().adc, bits=3, step=4, noise=0.3, nonlinearity=1.5)
    sums = torch.arange(-20, 21, 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    noisy = sums + 2.0 * torch.randn(100_000, 21, generator=generator, dtype=torch.float64)
    codes = convert(noisy, adc, generator).double() * adc.step
    mean, variance = error_moments(sums, torch.full_like(sums, 2.0), adc)
    assert ((codes.mean(0) - mean).abs() < 4.5 * (variance / 100_000).sqrt() + 4 / 512).all()
    # sd of a sample variance of bounded codes: below sqrt((m4)/n), m4 <= 28^2 * variance
    assert ((codes.var(0) - variance).abs() < 4.5 * 28 * (variance / 100_000).sqrt() + 0.05).all()
    straight, _ = error_moments(sums, torch.full_like(sums, 2.0), replace(adc, nonlinearity=0.0))
    assert (straight - mean).abs().max() > 1


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.3])
def test_few_points_of_the_noise_give_the_integral(make_tile, noise):
    """Against 3001 points. 1e-5: what equally spaced points leave at the kink where the bend ends."""
    adc = replace(make_tile().adc, bits=6, noise=noise, nonlinearity=8.0)
    sums = torch.arange(-80, 81, 4, dtype=torch.float64) * 0.97
    z = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    weight = torch.exp(-z * z / 2) / torch.exp(-z * z / 2).sum()
    level = converter_level(sums[:, None] + 0.05 * z, adc)
    means, variances = code_moments(level, torch.full_like(level, noise), adc)
    mean = means @ weight
    variance = (variances + means.square()) @ weight - mean.square()
    found = error_moments(sums, torch.full_like(sums, 0.05), adc)
    assert (found[0] - mean).abs().max() < 1e-5
    assert (found[1] - variance).abs().max() < 1e-5


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("lossy", [{"adc_bits": 2}, {"adc_bits": 3, "step": 2}, {"adc_bits": 8, "step": 4}])
def test_without_noise_the_table_is_the_converter(make_tile, rounding, lossy):
    tile = make_tile(rounding=rounding, **lossy)
    sums = torch.arange(-tile.max_sum, tile.max_sum + 1, dtype=torch.float64)
    table = conversion_table(tile, 6)
    assert torch.equal(table.mean.double(), convert(sums, tile.adc).double() * tile.adc.step - sums)
    assert not table.variance.any()
