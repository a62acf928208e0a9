"""A cell's life, step by step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer import devices
from ohmformer.devices import DeviceError

DRAWS = 200_000
FOUR_SIGMA_MEAN = 4 / math.sqrt(DRAWS)  # of a mean, in standard deviations
FOUR_SIGMA_SD = 4 / math.sqrt(2 * DRAWS)  # of a normal sample's sd, relative


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_levels_are_equally_spaced_from_end_to_end(make_cell, bits):
    cell = make_cell(bits)
    levels = devices.level_conductances(cell)
    assert len(levels) == 2**bits
    assert levels[[0, -1]].tolist() == [cell.g_min_S, cell.g_max_S]
    spacing = (cell.g_max_S - cell.g_min_S) / (2**bits - 1)
    # float64 rounds each level to 2**-53 of 1e-4 S, a share 2**bits * 2**-53 of the spacing
    torch.testing.assert_close(
        levels.diff(), torch.full((2**bits - 1,), spacing, dtype=torch.float64), rtol=1e-13 * 2**bits, atol=0
    )


def test_thresholds_lie_halfway(make_cell):
    # 1, 34, 67, 100 uS -> 17.5, 50.5, 83.5 uS by hand
    expected = torch.tensor([17.5e-6, 50.5e-6, 83.5e-6], dtype=torch.float64)
    torch.testing.assert_close(devices.thresholds(make_cell(2)), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_quiet_cell_returns_what_was_written(quiet_cell, bits, dtype):
    cell = quiet_cell(bits)
    symbols = torch.arange(2**bits, dtype=torch.uint8).repeat(3, 1)
    stored = devices.program(symbols, cell, None, dtype=dtype)
    assert stored.dtype == dtype
    assert torch.equal(devices.read(stored, cell, None), symbols)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_sense_changes_symbol_exactly_at_each_threshold(make_cell, bits):
    cell = make_cell(bits)
    limits = devices.thresholds(cell)
    upper = torch.arange(1, 2**bits, dtype=torch.uint8)
    assert torch.equal(devices.sense(limits, cell), upper)
    assert torch.equal(devices.sense(limits * (1 - 1e-15), cell), upper - 1)
    outside = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    assert devices.sense(outside, cell).tolist() == [0, 0, 2**bits - 1]


def test_programming_noise_has_the_stated_moments_and_never_goes_below_zero(quiet_cell, generator):
    cell = quiet_cell(2, programming_noise=0.0144)
    sd = 0.0144 * (cell.g_max_S - cell.g_min_S)
    for symbol in range(1, 4):  # 34 uS is 23 sd above 0: no clipping
        stored = devices.program(torch.full((DRAWS,), symbol), cell, generator)
        level = float(devices.level_conductances(cell)[symbol])
        assert abs(stored.mean() - level) < FOUR_SIGMA_MEAN * sd
        assert abs(stored.std() / sd - 1) < FOUR_SIGMA_SD
    lowest = devices.program(torch.zeros(DRAWS, dtype=torch.uint8), cell, generator)
    assert lowest.min() == 0
    clipped = 0.5 * math.erfc(cell.g_min_S / sd / math.sqrt(2))  # P(level + noise < 0)
    share = (lowest == 0).double().mean()
    assert abs(share - clipped) < 4 * math.sqrt(clipped * (1 - clipped) / DRAWS)


def test_stuck_cells_keep_their_conductance_and_their_place(make_cell, generator):
    cell = make_cell(2, stuck_low_rate=0.1, stuck_high_rate=0.3)
    stuck = devices.draw_stuck((DRAWS,), cell, generator)
    for value, rate in ((-1, 0.1), (1, 0.3)):
        assert abs((stuck == value).double().mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / DRAWS)
    first = devices.program(torch.full((DRAWS,), 2), cell, generator, stuck=stuck)
    again = devices.program(torch.full((DRAWS,), 1), cell, generator, stuck=stuck)
    for stored in (first, again):
        assert (stored[stuck < 0] == cell.g_min_S).all()
        assert (stored[stuck > 0] == cell.g_max_S).all()
    sound = stuck == 0
    assert (first[sound] > again[sound]).all()  # 67 uS above 34 uS by 23 sd
    drawn_inside = devices.program(torch.full((DRAWS,), 2), cell, generator)
    rate = (drawn_inside == cell.g_max_S).double().mean()
    assert abs(rate - 0.3) < 4 * math.sqrt(0.21 / DRAWS)


def test_drift_follows_the_power_law(make_cell):
    cell = make_cell(2, drift_exponent=0.1, drift_time_ratio=1e5)
    conductance = torch.tensor([1e-6, 1e-4], dtype=torch.float64)
    expected = conductance / 10**0.5  # (1e5)^-0.1
    torch.testing.assert_close(devices.drift(conductance, cell), expected, rtol=1e-14, atol=0)
    assert devices.drift_factor(make_cell(2)) == 1.0


def test_drift_alone_lowers_the_symbols_read(quiet_cell):
    cell = quiet_cell(2, drift_exponent=0.1, drift_time_ratio=1e5)
    stored = devices.program(torch.arange(4), cell, None)
    # 1, 34, 67, 100 uS divided by 3.162: 0.3, 10.8, 21.2, 31.6 against 17.5, 50.5
    assert devices.read(stored, cell, None).tolist() == [0, 0, 1, 1]


def test_telegraph_amplitude_meets_both_anchors_and_the_limit(make_cell):
    cell = make_cell(2)
    conductance = torch.tensor([1e-4, 1e-6, 1e-7, 0.0, 1e-5], dtype=torch.float64)
    # cited: 2.8 % at R_low, 50 % at R_high (Feinberg et al., HPCA 2018); geometric mean halfway in log R
    expected = torch.tensor([0.028, 0.5, 0.5, 0.5, math.sqrt(0.028 * 0.5)], dtype=torch.float64)
    torch.testing.assert_close(devices.telegraph_amplitude(conductance, cell), expected, rtol=1e-12, atol=0)
    five = replace(cell, noise=replace(cell.noise, telegraph_scale=5.0))
    torch.testing.assert_close(
        devices.telegraph_amplitude(conductance, five), 5 * expected, rtol=1e-12, atol=0
    )
    off = make_cell(2, telegraph_at_g_max=0.0, telegraph_at_g_min=0.0)
    assert not devices.telegraph_amplitude(conductance, off).any()


def test_telegraph_noise_is_a_resistance_that_jumps_up(quiet_cell, generator):
    cell = quiet_cell(2, telegraph_scale=1.0, telegraph_occupancy=0.3)
    seen = devices.read_conductance(torch.full((DRAWS,), cell.g_max_S, dtype=torch.float64), cell, generator)
    filled = seen < cell.g_max_S
    # R -> R * 1.028, so g -> g / 1.028, nothing else
    torch.testing.assert_close(
        seen[filled], torch.full_like(seen[filled], cell.g_max_S / 1.028), rtol=1e-12, atol=0
    )
    assert (seen[~filled] == cell.g_max_S).all()
    assert abs(filled.double().mean() - 0.3) < 4 * math.sqrt(0.21 / DRAWS)


def test_environment_noise_scales_with_the_current_read_noise_does_not(quiet_cell, generator):
    both = quiet_cell(2, environment_noise=0.05, read_noise=0.01)
    for conductance in (1e-6, 1e-4):
        seen = devices.read_conductance(
            torch.full((DRAWS,), conductance, dtype=torch.float64), both, generator
        )
        sd = math.hypot(0.05 * conductance, 0.01 * (both.g_max_S - both.g_min_S))
        assert abs(seen.mean() - conductance) < FOUR_SIGMA_MEAN * sd
        assert abs(seen.std() / sd - 1) < FOUR_SIGMA_SD


def test_two_reads_differ_and_a_seed_repeats_them(make_cell):
    cell = make_cell(4, telegraph_scale=5.0)
    stored = devices.program(torch.arange(16).repeat(50), cell, torch.Generator().manual_seed(1))
    reads = [devices.read(stored, cell, torch.Generator().manual_seed(seed)) for seed in (2, 2, 3)]
    assert torch.equal(reads[0], reads[1])
    assert not torch.equal(reads[0], reads[2])


@pytest.mark.parametrize(
    ("noise", "match"),
    [
        ({"programming_noise": 0.1}, "programming_noise"),
        ({"telegraph_scale": 1.0}, "telegraph_scale"),
        ({"read_noise": 0.1}, "read_noise"),
        ({"stuck_low_rate": 0.1}, "stuck_low_rate"),
    ],
)
def test_randomness_without_a_generator_is_refused(quiet_cell, noise, match):
    cell = quiet_cell(2, **noise)
    with pytest.raises(DeviceError, match=match):
        devices.read(devices.program(torch.arange(4), cell, None), cell, None)


@pytest.mark.parametrize("symbols", [[4], [-1, 0]])
def test_symbols_beyond_the_levels_are_refused(quiet_cell, symbols):
    with pytest.raises(DeviceError, match="0 to 3"):
        devices.program(torch.tensor(symbols), quiet_cell(2), None)


def test_nothing_to_program_is_nothing(quiet_cell):
    assert devices.program(torch.empty(0, 3, dtype=torch.uint8), quiet_cell(2), None).shape == (0, 3)
