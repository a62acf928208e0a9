"""Closed-form symbol probabilities against sampling, quadrature refinement and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import binom

from ohmformer import devices
from ohmformer.devices import confusion

DRAWS = 100_000
FOUR_SIGMA = 3.17e-5  # one-sided tail of a normal beyond 4 standard deviations


def assert_counts_agree(counts: torch.Tensor, probabilities: torch.Tensor, draws: int) -> None:
    """Exact binomial test of every count at the level of 4 standard errors, rare events included."""
    k, p = counts.numpy(), probabilities.clamp(0, 1).numpy()
    tail = np.minimum(binom.cdf(k, draws, p), binom.sf(k - 1, draws, p))
    assert tail.min() > FOUR_SIGMA, (k, p * draws)


CASES = [
    {},
    {"telegraph_scale": 5.0},
    {"telegraph_scale": 18.0, "telegraph_occupancy": 0.2},
    {"telegraph_scale": 0.0, "programming_noise": 0.1},
    {"telegraph_occupancy": 1.0, "read_noise": 0.0, "environment_noise": 0.0},
    {"environment_noise": 0.3, "read_noise": 0.0, "telegraph_scale": 5.0},
    {"drift_exponent": 0.02, "drift_time_ratio": 1e6, "stuck_low_rate": 0.02, "stuck_high_rate": 0.01},
    {"programming_noise": 0.0, "read_noise": 0.05},
]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("noise", CASES)
def test_confusion_matrix_agrees_with_programming_and_reading(make_cell, bits, noise):
    cell = make_cell(bits, **noise)
    generator = torch.Generator().manual_seed(bits)
    matrix = devices.confusion_matrix(cell)
    assert (matrix.sum(1) - 1).abs().max() < 1e-12
    for symbol in range(cell.levels):
        stored = devices.program(torch.full((DRAWS,), symbol), cell, generator)
        counts = torch.bincount(devices.read(stored, cell, generator).long(), minlength=cell.levels)
        assert_counts_agree(counts, matrix[symbol], DRAWS)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("noise", CASES)
def test_probabilities_of_one_cell_agree_with_reading_it(make_cell, bits, noise):
    cell = make_cell(bits, **noise)
    generator = torch.Generator().manual_seed(bits)
    limits = devices.thresholds(cell)
    cells = torch.cat([torch.tensor([0.0, 0.4e-6]), limits[:3] * 0.99, limits[-2:] * 1.02]).double()
    probabilities = devices.read_error_probabilities(cells, cell)
    assert probabilities.shape == (len(cells), cell.levels)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(cells)).double(), rtol=0, atol=1e-14)
    for conductance, row in zip(cells, probabilities, strict=True):
        seen = devices.read(conductance.expand(DRAWS), cell, generator)
        assert_counts_agree(torch.bincount(seen.long(), minlength=cell.levels), row, DRAWS)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("noise", CASES)
def test_refining_the_quadrature_changes_nothing_beyond_the_stated_error(make_cell, monkeypatch, bits, noise):
    cell = make_cell(bits, **noise)
    coarse = devices.confusion_matrix(cell)
    monkeypatch.setattr(confusion, "_PANELS", 333)
    monkeypatch.setattr(confusion, "_NODES", 21)
    fine = devices.confusion_matrix(cell)
    assert (fine - coarse).abs().max() < devices.QUADRATURE_ERROR


def test_quadrature_agrees_with_an_independent_integrator(make_cell):
    """scipy's adaptive Gauss-Kronrod rule on the scalar formula written out again."""
    cell = make_cell(2, telegraph_scale=5.0, programming_noise=0.05)
    span = cell.g_max_S - cell.g_min_S
    beta = math.log(0.5 / 0.028) / math.log(100)

    def below(limit: float, g: float) -> float:
        total = 0.0
        for filled in (0, 1):
            seen = g / (1 + filled * 5 * min(0.028 * (1e-4 / g) ** beta, 0.5))
            total += 0.25 * math.erfc(
                (seen - limit) / math.hypot(seen * 0.05 / 3, 0.0005 * span) / math.sqrt(2)
            )
        return total

    sd = 0.05 * span
    for symbol in (1, 2):
        level = cell.g_min_S + symbol * span / 3
        for column, (low, high) in enumerate([(17.5e-6, 50.5e-6), (50.5e-6, 83.5e-6)], start=1):

            def integrand(z: float, level: float = level, low: float = low, high: float = high) -> float:
                g = level + sd * z
                return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (below(high, g) - below(low, g))

            # level 1 is 6.7 sd above 0: the mass at and below 0, 1e-11, is counted as reading 0 in the room
            value, error = quad(integrand, -level / sd + 1e-12, 10, epsabs=1e-13, limit=500)
            assert abs(devices.confusion_matrix(cell)[symbol, column] - value) < error + 1e-12


def test_a_noiseless_cell_is_never_confused(quiet_cell):
    for bits in (1, 2, 3, 4):
        assert torch.equal(
            devices.confusion_matrix(quiet_cell(bits)), torch.eye(2**bits, dtype=torch.float64)
        )


def test_a_quiet_cell_at_a_threshold_is_read_as_the_comparators_read_it(quiet_cell):
    cell = quiet_cell(2)
    limits = devices.thresholds(cell)
    probabilities = devices.read_error_probabilities(limits, cell)
    assert torch.equal(probabilities.argmax(-1).to(torch.uint8), devices.sense(limits, cell))
    assert (probabilities.amax(-1) == 1).all()


def test_programming_noise_alone_gives_the_gaussian_shares(quiet_cell):
    """A read without noise turns the integrand into steps: the exact answer is a difference of Phi."""
    cell = quiet_cell(2, programming_noise=0.15)
    # spacing 1/3 of the range; thresholds 1/6 away: z = (1/6)/0.15
    inner = math.erf(1 / 6 / 0.15 / math.sqrt(2))
    matrix = devices.confusion_matrix(cell)
    assert abs(matrix[1, 1] - inner) < devices.QUADRATURE_ERROR
    assert abs(matrix[0, 0] - (0.5 + inner / 2)) < devices.QUADRATURE_ERROR
    assert abs(matrix[2, 3] - (1 - inner) / 2) < devices.QUADRATURE_ERROR


def test_tails_keep_their_relative_accuracy(quiet_cell):
    """Far below and far above, where 1 - Phi would be 0 in float64."""
    cell = quiet_cell(1, read_noise=0.01)
    half = (cell.g_max_S - cell.g_min_S) / 2
    for distance in (5.0, 10.0, 30.0):
        step = distance * 0.01 * 2 * half
        limit = float(devices.thresholds(cell)[0])
        cells = torch.tensor([limit - step, limit + step], dtype=torch.float64)
        exact = 0.5 * math.erfc(distance / math.sqrt(2))
        wrong = devices.read_error_probabilities(cells, cell)
        # the argument x errs by some 2**-52 * t/sd = 1e-14; the tail magnifies that by x <= 30
        assert (wrong[[0, 1], [1, 0]] / exact - 1).abs().max() < 1e-10


def test_single_precision_follows_double_precision(make_cell):
    cell = make_cell(4, telegraph_scale=1.0)
    cells = torch.linspace(0, 1.1e-4, 2000, dtype=torch.float64)
    double = devices.read_error_probabilities(cells, cell)
    single = devices.read_error_probabilities(cells.float(), cell)
    assert single.dtype == torch.float32
    seen = double > 1e-9  # below x = 6; the float32 argument then errs by 6 * 4e-8 * t/sd, t/sd <= 60
    assert ((single.double()[seen] / double[seen]) - 1).abs().max() < 6 * 6 * 4e-8 * 60 * 10
    assert (single.double() - double).abs().max() < 1e-5
    torch.testing.assert_close(single.sum(-1), torch.ones(2000), rtol=0, atol=1e-6)


def test_the_published_amplitude_leaves_two_bit_cells_almost_unharmed(make_cell):
    """Cited: arXiv 2410.15977 reports unchanged accuracy at 5x, and at 18x with 1-bit cells."""
    assert 1 - devices.confusion_matrix(make_cell(2)).diagonal().min() < 1e-9
    assert 1 - devices.confusion_matrix(make_cell(2, telegraph_scale=5.0)).diagonal().min() < 0.01
    assert 1 - devices.confusion_matrix(make_cell(1, telegraph_scale=18.0)).diagonal().min() < 1e-12
    assert 1 - devices.confusion_matrix(make_cell(2, telegraph_scale=18.0)).diagonal().min() > 0.4
