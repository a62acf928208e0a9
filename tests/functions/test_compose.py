"""Compositions against torch, within bounds that follow from the stated errors of the parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ohmformer import functions
from ohmformer.crossbars import compute
from ohmformer.functions import EXACT, LinearSubOps
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import ideal, preset

FLOAT32 = 1e-6  # rounding of float32 sums of at most 300 terms of order 1: 300 * 2^-24 / sqrt(300)
BITS = 8


def crossbar_ops() -> LinearSubOps:
    """Rows quantised to int8, sums and squares computed digit by digit on an ideal tile."""
    tile = ideal(preset("wang2024")).tile

    def row_sum(x: torch.Tensor) -> torch.Tensor:
        q = quantise_per_row(x.reshape(-1, x.shape[-1]), BITS)
        ones = torch.ones(x.shape[-1], 1, dtype=torch.int64)
        y = compute(q.codes, ones, tile, BITS, BITS).values
        return (y * q.scale).reshape(x.shape[:-1])

    def row_dot(x: torch.Tensor) -> torch.Tensor:
        q = quantise_per_row(x.reshape(-1, x.shape[-1]), BITS)
        y = torch.stack([compute(row[None], row[:, None], tile, BITS, BITS).values[0, 0] for row in q.codes])
        return (y * q.scale[:, 0] ** 2).reshape(x.shape[:-1])

    return LinearSubOps(row_sum=row_sum, row_dot=row_dot)


def rows(*shape: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["exact", "crossbar"])
@pytest.mark.parametrize("spread", [0.1, 2.0, 10.0])
def test_softmax(make_unit, kind, spread):
    unit = make_unit()
    scores = rows(4, 5, 200, spread=spread)
    scores[0, 0, 100:] = -torch.inf  # masked
    before = scores.clone()
    result = functions.softmax(scores, unit, EXACT if kind == "exact" else crossbar_ops())
    exponentials = (scores.double() - scores.double().amax(-1, keepdim=True)).exp()
    total = exponentials.sum(-1, keepdim=True)
    # |p - p0| <= (e/s) * (|s - s0|/s0 + R) + E/s0, e <= s0 + E
    n, E, R = 200, functions.max_error("exp", unit), functions.max_error("reciprocal", unit)
    # a code of the quantiser is off by at most half a step of 1/127 (the largest exponential is 1)
    error_of_sum = n * E + (n * 0.5 / 127 if kind == "crossbar" else 0.0)
    share = (exponentials + E) / (total - error_of_sum)
    bound = share * (error_of_sum / total + R) + E / total + FLOAT32
    assert ((result - exponentials / total).abs() <= bound).all()
    assert (result[0, 0, 100:] == 0).all()
    assert torch.equal(scores, before)


def test_softmax_takes_the_largest_score_away_first(make_unit):
    """Without it, exp of 1000 would saturate and exp of -1000 vanish. Steps of 1/8 stay exact in float32."""
    scores = rows(4, 20, seed=7).mul(8).round() / 8
    expected = functions.softmax(scores, make_unit(), EXACT)
    for shift in (-1000.0, 1000.0):
        assert torch.equal(functions.softmax(scores + shift, make_unit(), EXACT), expected)


def test_softmax_of_a_fully_masked_row_is_nan_as_in_torch(make_unit):
    scores = torch.tensor([[-torch.inf, -torch.inf], [0.0, 0.0]])
    result = functions.softmax(scores, make_unit(), EXACT)
    assert result[0].isnan().all()
    assert torch.equal(result[1], torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("shape", [(7, 96), (2, 3, 300)])
def test_layer_norm_and_rms_norm_carry_only_the_error_of_rsqrt(make_unit, shape):
    unit = make_unit()
    x, n = rows(*shape, seed=1, spread=3.0) + 1.0, shape[-1]
    weight, bias = 1 + rows(n, seed=2) / 4, rows(n, seed=3)
    R = functions.max_error("rsqrt", unit)
    exact = torch.nn.functional.layer_norm(x, (n,), weight, None, 1e-5)
    result = functions.layer_norm(x, weight, bias, 1e-5, unit, EXACT)
    # |y| reaches 5: float32 rounding of y and of the sum with the bias, 10 * FLOAT32
    assert ((result - bias - exact).abs() <= R * exact.abs() + 10 * FLOAT32).all()
    bare = functions.layer_norm(x, None, None, 1e-5, unit, EXACT)
    torch.testing.assert_close(bare * weight, result - bias, rtol=0, atol=10 * FLOAT32)
    exact = torch.nn.functional.rms_norm(x, (n,), weight, 1e-6)
    result = functions.rms_norm(x, weight, 1e-6, unit, EXACT)
    assert ((result - exact).abs() <= R * exact.abs() + 10 * FLOAT32).all()
    bare = functions.rms_norm(x, None, 1e-6, unit, EXACT)
    torch.testing.assert_close(bare * weight, result, rtol=0, atol=10 * FLOAT32)


def test_norms_on_the_int8_crossbar(make_unit):
    """Errors of the quantised row, first order: mean off by d/2, sum of squares by |c|_1 * d + n d^2/4."""
    unit = make_unit()
    n = 192
    x = rows(9, n, seed=4) + 0.3
    R = functions.max_error("rsqrt", unit)

    def relative_error_of_scale(row: torch.Tensor) -> torch.Tensor:
        half_step = row.abs().amax(-1) / 127 / 2
        squares = row.square().sum(-1)
        off = (2 * row.abs().sum(-1) * half_step + n * half_step**2) / squares
        return (1 - off) ** -0.5 * (1 + R) - 1  # the rsqrt of a mean square that is off by ``off``

    exact = torch.nn.functional.rms_norm(x, (n,), None, 1e-6)
    result = functions.rms_norm(x, None, 1e-6, unit, crossbar_ops())
    bound = relative_error_of_scale(x)[:, None] * exact.abs() + 10 * FLOAT32
    assert ((result - exact).abs() <= bound).all()
    exact = torch.nn.functional.layer_norm(x, (n,), None, None, 1e-5)
    result = functions.layer_norm(x, None, None, 1e-5, unit, crossbar_ops())
    shift = x.abs().amax(-1) / 127 / 2  # the mean is off by at most half a step of the quantiser
    centred = x - x.mean(-1, keepdim=True)
    widened = centred.abs() + shift[:, None]
    # c + shift is normalised; its own mean square differs by shift^2, negligible but covered by widening
    spread = centred.square().mean(-1).sqrt()
    relative = relative_error_of_scale(widened) + (shift / spread) ** 2
    bound = relative[:, None] * widened / spread[:, None] + (shift / spread)[:, None] + 10 * FLOAT32
    assert ((result - exact).abs() <= bound).all()


def test_the_linear_parts_run_through_what_is_passed_in(make_unit):
    """A row sum that lies by a factor of 2 halves every softmax share: nothing else computes the sum."""
    unit = make_unit()
    doubled = replace(EXACT, row_sum=lambda x: 2 * x.sum(-1))
    scores = rows(3, 16, seed=5)
    honest = functions.softmax(scores, unit, EXACT)
    torch.testing.assert_close(functions.softmax(scores, unit, doubled), honest / 2, rtol=1e-6, atol=0)
    quadrupled = replace(EXACT, row_dot=lambda x: 4 * x.square().sum(-1))
    honest = functions.rms_norm(scores, None, 0.0, unit, EXACT)
    torch.testing.assert_close(
        functions.rms_norm(scores, None, 0.0, unit, quadrupled), honest / 2, rtol=1e-6, atol=0
    )
    honest = functions.layer_norm(scores, None, None, 0.0, unit, EXACT)
    torch.testing.assert_close(
        functions.layer_norm(scores, None, None, 0.0, unit, quadrupled), honest / 2, rtol=1e-6, atol=0
    )


def test_activations_are_those_of_the_unit(make_unit):
    x, unit = rows(50, seed=6, spread=3.0), make_unit()
    assert torch.equal(functions.gelu(x, unit), functions.evaluate("gelu", x, unit))
    assert torch.equal(functions.gelu(x, unit, approximate=True), functions.evaluate("gelu_tanh", x, unit))
    assert torch.equal(functions.silu(x, unit), functions.evaluate("silu", x, unit))


def test_lossy_sums_below_what_is_possible_are_cut_off(make_unit):
    lossy = LinearSubOps(row_sum=lambda x: -x.sum(-1), row_dot=lambda x: -x.square().sum(-1))
    unit, x = make_unit(), rows(4, 16)
    assert bool(functions.softmax(x, unit, lossy).isfinite().all())
    assert bool(functions.layer_norm(x, None, None, 1e-5, unit, lossy).isfinite().all())
    assert bool(functions.rms_norm(x, None, 1e-5, unit, lossy).isfinite().all())
