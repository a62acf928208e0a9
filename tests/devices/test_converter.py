"""Codes, clipping, rounding rules, and the statistics of rounding errors."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from ohmformer import devices
from ohmformer.devices import DeviceError
from ohmformer.specs import AdcSpec

DRAWS = 200_000


def adc(
    bits: int = 8,
    step: int = 1,
    rounding: str = "half_even",
    noise: float = 0.0,
    nonlinearity: float = 0.0,
) -> AdcSpec:
    return AdcSpec(
        bits=bits,
        step=step,
        rounding=rounding,  # type: ignore[arg-type]
        noise=noise,
        nonlinearity=nonlinearity,
        bitlines_per_adc=1,
        rate_Hz=1e9,
    )


@pytest.mark.parametrize(
    ("rounding", "codes"),
    [
        ("half_even", [-2, -2, -1, 0, 0, 0, 1, 2, 2]),
        ("half_up", [-2, -1, -1, 0, 0, 1, 1, 2, 3]),
        ("floor", [-3, -2, -2, -1, 0, 0, 0, 1, 2]),
    ],
)
def test_rounding_rules_by_hand(rounding, codes):
    sums = torch.tensor([-2.5, -1.5, -1.2, -0.5, 0.0, 0.5, 0.7, 1.5, 2.5], dtype=torch.float64)
    assert devices.convert(sums, adc(rounding=rounding)).tolist() == codes
    assert devices.convert(4 * sums, adc(step=4, rounding=rounding)).tolist() == codes


def test_half_up_does_not_lift_what_lies_below_a_half():
    below = torch.tensor([0.5 - 2**-54], dtype=torch.float64)  # floor(x + 0.5) would say 1
    assert devices.convert(below, adc(rounding="half_up")).tolist() == [0]


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 16])
def test_codes_clip_at_the_largest_magnitude_of_either_polarity(bits):
    largest = 2**bits - 1
    sums = torch.tensor([largest, largest + 1, largest + 40, -largest, -largest - 1]).double()
    codes = devices.convert(sums, adc(bits))
    assert codes.tolist() == [largest, largest, largest, -largest, -largest]
    assert codes.dtype == torch.int32


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
def test_every_whole_number_passes_unchanged(rounding):
    sums = torch.arange(-255, 256)
    assert torch.equal(devices.convert(sums.double(), adc(rounding=rounding)).long(), sums)


def test_nonlinearity_by_hand():
    """Max code 255, peak 1/2: every term is a fraction of float64-exact numbers, four roundings each."""
    converter = adc(nonlinearity=0.5)
    for code in (0, 1, 51, 102, 127, 128, 204, 255, 256, 400):
        share = Fraction(min(code, 255), 255)
        level = float(code + Fraction(1, 2) * 4 * share * (1 - share))
        found = devices.converter_level(torch.tensor([code, -code], dtype=torch.float64), converter)
        assert found[0] == -found[1]
        assert math.isclose(float(found[0]), level, rel_tol=4 * 2**-53)
    # steps: the bow is a share of the codes, whatever a code is worth
    assert torch.equal(
        devices.converter_level(torch.tensor([153.0]), adc(step=3, nonlinearity=0.5)),
        devices.converter_level(torch.tensor([51.0]), converter),
    )


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
def test_the_bow_moves_codes_where_it_exceeds_what_the_rounding_forgives(rounding):
    """Peak 0.7: rounded to nearest a code moves where 4u(1 - u) > 5/7; floor forgives less than 1."""
    sums = torch.arange(-255, 256)
    codes = devices.convert(sums.double(), adc(rounding=rounding, nonlinearity=0.7)).long()
    if rounding == "floor":
        # upwards nothing reaches the next code; downwards every bent level falls below its own
        assert torch.equal(codes, sums - ((sums < 0) & (sums > -255)).long())
        return
    share = [Fraction(abs(int(value)), 255) for value in sums]
    moved = torch.tensor([4 * part * (1 - part) > Fraction(5, 7) for part in share])
    assert moved.any()
    assert not moved.all()
    assert torch.equal(codes, sums + sums.sign() * moved)


@pytest.mark.parametrize("bits", [1, 2, 6, 8])
def test_levels_stay_in_order_up_to_the_largest_nonlinearity(bits):
    largest = 2**bits - 1
    levels = devices.converter_levels(adc(bits, nonlinearity=largest / 4), largest + 5)
    assert levels.dtype == torch.float64
    assert levels.shape == (2 * largest + 11,)
    assert (levels.diff() > 0).all()
    assert torch.equal(levels, -levels.flip(0))
    # beyond the last code the bow is over
    assert levels[-6:].tolist() == list(range(largest, largest + 6))


def test_levels_of_a_straight_converter_are_the_sums():
    assert devices.converter_levels(adc(step=4), 3).tolist() == [-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]
    assert devices.converter_levels(adc(), 0).tolist() == [0.0]
    with pytest.raises(DeviceError, match="max_sum is -1"):
        devices.converter_levels(adc(), -1)


def test_nonlinearity_comes_ahead_of_the_converter_s_noise():
    given = torch.tensor([1.0, -1.0], dtype=torch.float64)
    sums = torch.full((2,), 127.5, dtype=torch.float64)  # the middle: the bow is at its peak
    converter = adc(nonlinearity=0.75, noise=2.0)
    assert devices.convert(sums, converter, noise=given).tolist() == [130, 126]  # 128.25 + 2, 128.25 - 2


def test_noise_is_added_in_steps_before_rounding():
    sums = torch.zeros(3, dtype=torch.float64)
    given = torch.tensor([1.0, -3.0, 0.1], dtype=torch.float64)
    assert devices.convert(sums, adc(step=10, noise=0.6), noise=given).tolist() == [1, -2, 0]


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize("sd", [0.2, 0.3, 0.5, 1.0, 2.5, 4.0])
def test_rounding_error_statistics_agree_with_sampling(rounding, sd):
    generator = torch.Generator().manual_seed(int(sd * 100))
    sums = torch.full((DRAWS,), 7.0, dtype=torch.float64)
    errors = devices.convert(sums, adc(rounding=rounding, noise=sd), generator).double() - 7
    mean = devices.rounding_error_mean(sd, rounding)
    variance = devices.rounding_error_variance(sd, rounding)
    assert abs(errors.mean() - mean) < 4 * math.sqrt(variance / DRAWS)
    squares = errors**2
    expected = variance + mean**2
    assert abs(squares.mean() - expected) < 4 * squares.std() / math.sqrt(DRAWS)  # its own standard error
    probability = devices.rounding_error_probability(sd, rounding)
    share = (errors != 0).double().mean()
    assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / DRAWS)


def test_rounding_error_closed_forms_in_their_limits():
    # tiny noise: one code either way, so variance = probability = 2 Q(1/(2 sd))
    for sd in (0.02, 0.05, 0.1):
        exact = math.erfc(0.5 / sd / math.sqrt(2))
        assert math.isclose(devices.rounding_error_probability(sd), exact, rel_tol=1e-12)
        # the next term, 3 * 2 Q(3/(2 sd)), is below 1e-40 of it
        assert math.isclose(devices.rounding_error_variance(sd), exact, rel_tol=1e-12)
    # large noise: Sheppard's correction; both branches meet at sd = 3
    for rounding in ("half_even", "floor"):
        for sd in (2.0, 2.999, 3.001, 20.0):
            # exact to exp(-2 pi^2 4) * O(sd^2) = 5e-34 * 16 in theory, 1e-12 in summed float64
            assert math.isclose(devices.rounding_error_variance(sd, rounding), sd**2 + 1 / 12, rel_tol=1e-12)
    for rounding in ("half_even", "half_up", "floor"):
        assert devices.rounding_error_variance(0.0, rounding) == 0
        assert devices.rounding_error_mean(0.0, rounding) == 0
        assert devices.rounding_error_probability(0.0, rounding) == 0
    # floor with vanishing noise tosses a coin between s - 1 and s
    assert devices.rounding_error_variance(1e-6, "floor") == 0.25
    assert devices.rounding_error_mean(1e-6, "floor") == -0.5
    assert devices.rounding_error_probability(1e-6, "floor") == 0.5


def test_rounding_error_variance_takes_tensors():
    sd = torch.tensor([[0.0, 0.3], [2.0, 5.0]])
    each = [[float(devices.rounding_error_variance(float(x))) for x in row] for row in sd]
    assert devices.rounding_error_variance(sd).tolist() == each


def test_impossible_requests_are_refused():
    with pytest.raises(DeviceError, match="negative"):
        devices.rounding_error_variance(-0.1)
    with pytest.raises(DeviceError, match="floating-point"):
        devices.convert(torch.tensor([1]), adc())
    with pytest.raises(DeviceError, match=r"adc\.noise"):
        devices.convert(torch.tensor([1.0]), adc(noise=0.1))
