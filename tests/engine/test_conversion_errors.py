"""Wrong conversions one by one: every conversion errs at its own rate, and C++ draws the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import (
    digit_weights,
    drive,
    plane_weights,
    product_variance,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import rounding_error_probability
from ohmformer.engine import native
from ohmformer.engine.conversion_errors import (
    CANDIDATES_AT_ONCE,
    ErrorLaw,
    Operands,
    error_law,
    error_table,
    output_weights,
    worst_errors,
)
from ohmformer.engine.native import Kernels
from ohmformer.engine.randomness import Draw, mix_keys
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import TileSpec

from .conftest import INSTRUCTION_SETS, at

SIGMAS = 4.0  # a normal statistic exceeds them once in 16,000

# each with less than one worst-case error per output of 45 elements
TILES = {
    "additive": {"environment_noise": 0.2, "adc_noise": 0.1},
    "mismatch": {"mismatch": 0.0125},
    "both": {"environment_noise": 0.1, "mismatch": 0.011},
    "digits": {"environment_noise": 0.1, "mismatch": 0.013, "resident_code": "digits"},
    "per resistor": {"mismatch": 0.009, "radix": 9, "polarity": "per_resistor"},
    "groups": {"mismatch": 0.03, "wordlines": 64, "active_wordlines": 14},
    "half up": {"environment_noise": 0.15, "mismatch": 0.01, "rounding": "half_up"},
}


def law_of(tile: TileSpec, inner: int, columns: int, bits: int = 8) -> ErrorLaw:
    """A law of its own, so that what it keeps for the kernels belongs to this test."""
    return ErrorLaw(tile=tile, streamed_bits=bits, resident_bits=bits, inner=inner, columns=columns)


def chances(streamed: Tensor, resident: Tensor, tile: TileSpec, bits: int = 8) -> Tensor:
    """[row, digit, plane, group, column] probability that a conversion goes wrong, every one looked at."""
    squares = drive(streamed_digits(streamed.long(), tile, bits), tile).square().sum(-1)
    planes, _ = resident_planes(resident.long(), bits, tile)
    found = []
    for group in wordline_groups(streamed.shape[1], tile):
        here = slice(group.start, group.stop)
        branches = torch.einsum("tki,jkn->tijn", squares[:, here], planes[:, here].double().square())
        additive = tile.environment_noise**2 + tile.adc.noise**2
        found.append(rounding_error_probability((additive + tile.resistor.mismatch**2 * branches).sqrt()))
    return torch.stack(found, 3)


def drawn(law: ErrorLaw, streamed: Tensor, resident: Tensor, draw: Draw) -> Tensor:
    """[n, 3] wrong conversions of one product."""
    operands = Operands(streamed=streamed, resident=resident, rows_per_entry=len(streamed))
    found = law.wrong_outputs(draw, operands)
    return torch.zeros(0, 3, dtype=torch.int64) if found is None else found


# --- exactness, without a draw --------------------------------------------------------------------------


@pytest.mark.parametrize("name", TILES)
def test_a_candidate_stays_with_its_own_probability(make_tile, codes, name):
    """Rate of candidates of a conversion times the share that stays = the chance of that very conversion."""
    tile, inner, columns = make_tile(**TILES[name]), 45, 5
    streamed, resident = codes(4, inner), codes(inner, columns, seed=1)
    streamed[2] = 0
    resident[:, 3] = -1  # every switch of the bit planes closed
    law = law_of(tile, inner, columns)
    wanted = chances(streamed, resident, tile)
    rows, digits, planes, groups, _ = wanted.shape
    assert law.planes == planes
    assert law.per_row == pytest.approx(columns * digits * planes * groups * law.worst, rel=1e-12)
    assert law.per_row <= columns  # drawn one by one
    assert law.chance == pytest.approx(1 - math.exp(-law.per_row), rel=1e-12)
    assert abs(law.below / 2.0**64 - law.chance) < 2.0**-52
    assert len(law.weights) == digits * planes
    place = torch.cartesian_prod(*(torch.arange(n) for n in (rows, digits * planes, groups, columns)))
    operands = Operands(streamed=streamed, resident=resident, rows_per_entry=rows)
    if tile.resistor.mismatch == 0:  # all conversions are alike and every candidate stays
        assert torch.equal(wanted, torch.full_like(wanted, law.worst))
        return
    found = law._probabilities(place[:, 0], place[:, 3], place[:, 1], place[:, 2], operands)
    torch.testing.assert_close(found.view(wanted.shape), wanted, rtol=1e-12, atol=0.0)
    assert float(found.max()) <= law.worst * (1 + 1e-12)


@pytest.mark.parametrize("name", TILES)
def test_single_errors_have_the_variance_of_the_product(make_tile, codes, name):
    """Σ chance·weight² against the closed form. Left out are errors of two codes: at sd <= 0.25
    (less than one worst-case error among 24 or more conversions) 3·2Q(1.5/0.25) = 6e-9 for each chance of
    2Q(0.5/0.25) = 0.046 at most, and far fewer below."""
    tile = make_tile(**TILES[name])
    streamed, resident = codes(5, 45), codes(45, 6, seed=1)
    found = chances(streamed, resident, tile)
    digits = torch.tensor(digit_weights(tile, 8), dtype=torch.float64)
    planes = torch.tensor(plane_weights(tile, 8), dtype=torch.float64)
    variance = torch.einsum("tijgn,i,j->tn", found, digits.square(), planes.square())
    wanted = product_variance(streamed.long(), resident.long(), tile, 8, 8)
    torch.testing.assert_close(variance, wanted, rtol=1e-6, atol=0.0)
    assert output_weights(tile, 8, 8) == tuple(
        int(d) * int(p) for d in digit_weights(tile, 8) for p in plane_weights(tile, 8)
    )


def test_the_worst_case_is_reached(make_tile):
    """Full groups of the largest digit (3) meeting closed switches: nothing is given away."""
    tile = make_tile(mismatch=0.011)
    left = torch.full((2, 64), 3.0 + 21 + 147)  # 171: digits 3, 3, 3 and, since 9 bits take a fourth, 0
    found = chances(left, -torch.ones(64, 2), tile, 9)[:, :3, :, 0]
    worst = law_of(tile, 64, 2, 9).worst
    assert float(found.min()) == pytest.approx(worst, rel=1e-12)
    assert float(found.max()) == pytest.approx(worst, rel=1e-12)


def test_tables_of_large_tiles_are_coarse_and_never_below(make_tile, codes):
    """Groups of 256 elements of radix 257: 1.4e6 branch sums in 65,536 entries, each 22 wide.

    A sum is off by at most 11; d ln P / d ln sd = (0.5/sd)²·(1 + small) for 2Q(0.5/sd) where sd < 0.25, half
    of it for the sum. The worst case is rounded up.
    """
    tile = make_tile(257, mismatch=1.1e-4, wordlines=16384, active_wordlines=2048)
    probability, _, width = error_table(tile)
    assert width == 22
    assert len(probability) <= 65_537
    assert bool((probability[1:] >= probability[:-1]).all())
    streamed, resident = torch.full((1, 256), 127.0), -torch.ones(256, 1)
    law = law_of(tile, 256, 1)
    exact = chances(streamed, resident, tile).flatten()
    which = torch.arange(len(law.weights))
    zero = torch.zeros_like(which)
    operands = Operands(streamed=streamed, resident=resident, rows_per_entry=1)
    found = law._probabilities(zero, zero, which, zero, operands)
    told = exact > 1e-30
    branches = drive(streamed_digits(streamed.long(), tile, 8), tile).square().sum((1, 3))
    steepness = 0.5 * (0.5**2 / (tile.resistor.mismatch**2 * float(branches.max())) + 1)
    assert int(told.sum()) > 0
    off = (found[told] / exact[told]).log().abs()
    assert float(off.max()) < 1.2 * steepness * 11 / float(branches.max())
    assert float(exact.max()) <= law.worst


def test_no_noise_no_errors(make_tile, codes):
    law = law_of(make_tile(), 20, 3)
    assert (law.per_row, law.below, law.chance) == (0.0, 0, 0.0)
    assert len(drawn(law, codes(5, 20), codes(20, 3, seed=1), at(5))) == 0
    noisy = law_of(make_tile(environment_noise=0.2), 20, 3)
    assert len(drawn(noisy, codes(0, 20), codes(20, 3, seed=1), at(0))) == 0
    assert error_law(noisy.tile, 8, 8, 20, 3) is error_law(noisy.tile, 8, 8, 20, 3)


# --- how many ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.03, 0.9, 6.0, 60.0, 399.0, 401.0, 2500.0])
def test_candidates_of_a_row_are_poisson(make_tile, rate, monkeypatch):
    """Counts of 20,000 rows; above 400 they are sums of several Poisson counts.

    se of the mean √(λ/n), of the variance √((λ + 2λ²)/n); where the law has few values also chi-square over
    those expected 5 times or more (k terms: mean k, variance 2k + Σ 1/expected <= 2.2k).
    """
    law, n = law_of(make_tile(environment_noise=0.15), 20, 3), 20_000
    law.__dict__["per_row"] = rate
    assert law.draws == (1 if rate <= 400 else math.ceil(rate / 400))
    draw = at(n, seed=3)
    rows = law._hit_rows(draw)
    counts = torch.zeros(n, dtype=torch.int64)
    counts[rows] = law._counts(draw, draw.keys[rows])
    assert int(counts[rows].min()) >= 1
    assert abs(float(counts.double().mean()) - rate) < SIGMAS * math.sqrt(rate / n)
    assert abs(float(counts.double().var()) - rate) < SIGMAS * math.sqrt((rate + 2 * rate**2) / n)
    if rate < 10:
        k = torch.arange(int(counts.max()) + 1)
        expected = n * torch.exp(k * math.log(rate) - rate - torch.lgamma(k + 1.0).double())
        seen, enough = torch.bincount(counts).double(), expected >= 5
        chi_square = float(((seen - expected).square() / expected)[enough].sum())
        terms = int(enough.sum())
        assert chi_square < terms + SIGMAS * math.sqrt(2.2 * terms)


def test_parts_of_many_rows_change_nothing(make_tile, codes, monkeypatch):
    tile = make_tile(environment_noise=0.1, mismatch=0.009)
    streamed, resident = codes(200, 45), codes(45, 30, seed=1)
    law = law_of(tile, 45, 30)
    whole = drawn(law, streamed, resident, at(200))
    assert len(whole) > 10
    monkeypatch.setattr("ohmformer.engine.conversion_errors.CANDIDATES_AT_ONCE", 3)
    assert CANDIDATES_AT_ONCE > 3
    assert torch.equal(drawn(law, streamed, resident, at(200)), whole)
    some = torch.tensor([3, 50, 51, 199])  # a row errs alike in whatever company
    draw = Draw(seed=1, stream=5, keys=at(200).keys[some])
    part = drawn(law, streamed[some], resident, draw)
    part[:, 0] = some[part[:, 0]]
    assert torch.equal(part, whole[torch.isin(whole[:, 0], some)])


# --- which: many draws against every conversion -------------------------------------------------------------


@pytest.mark.parametrize("name", TILES)
def test_errors_come_where_and_as_often_as_every_conversion_says(make_tile, codes, name):
    """Thinned Poisson counts are independent Poisson counts of their own means.

    In total within 4√μ; by output row and column, by digit and plane, chi-square of k terms: mean k,
    variance 2k + Σ 1/μ; signs: binomial.
    """
    tile, inner, columns, rows, copies = make_tile(**TILES[name]), 45, 7, 6, 2500
    streamed, resident = codes(rows, inner), codes(inner, columns, seed=1)
    streamed[1] = (streamed[1] / 8).round()  # rows and columns that differ
    streamed[0] = 127  # digits 1, -3, 3: two of three at their worst
    resident[:, 2] = -1
    law = law_of(tile, inner, columns)
    every = streamed.repeat(copies, 1)
    keys = mix_keys(torch.zeros(rows * copies, dtype=torch.int64), torch.arange(rows * copies))
    found = drawn(law, every, resident, Draw(seed=2, stream=9, keys=keys))
    mean = chances(streamed, resident, tile) * copies
    total = float(mean.sum())
    assert total > 50
    assert abs(len(found) - total) < SIGMAS * math.sqrt(total)
    place = torch.bincount(found[:, 0] % rows * columns + found[:, 1], minlength=rows * columns)
    weights = law.weights.double()
    order = weights.abs().unique()
    size = torch.bincount(torch.searchsorted(order, found[:, 2].abs().double()), minlength=len(order))
    by_size = torch.zeros(len(order), dtype=torch.float64)
    by_size.index_add_(0, torch.searchsorted(order, weights.abs()), mean.sum((0, 3, 4)).flatten())
    for seen, wanted in ((place, mean.sum((1, 2, 3)).flatten()), (size, by_size)):
        enough = wanted > 4
        assert int(enough.sum()) >= 5
        chi_square = float(((seen - wanted).square() / wanted)[enough].sum())
        terms, excess = int(enough.sum()), float((1 / wanted[enough]).sum())
        assert abs(chi_square - terms) < SIGMAS * math.sqrt(2 * terms + excess)
        seldom = wanted[~enough].sum()  # all others together
        assert abs(float(seen[~enough].sum() - seldom)) <= SIGMAS * math.sqrt(float(seldom)) + 1
    assert set(found[:, 2].abs().tolist()) <= set(law.weights.abs().tolist())
    upwards = int((found[:, 2] > 0).sum())
    assert abs(upwards - len(found) / 2) < SIGMAS * math.sqrt(len(found)) / 2
    assert bool((found[1:, 0] >= found[:-1, 0]).all())
    # the groups of the inner axis and the sign are independent of all this: see the exact test above


def test_batches_meet_their_own_partners(make_tile, codes):
    """One half of the batch is zero: mismatch makes no errors there."""
    tile = make_tile(mismatch=0.016)
    streamed, resident = codes(2000, 30), codes(2, 30, 8, seed=1)
    streamed[:500], resident[0, :, :3], resident[1] = 127, -1, 0
    law = law_of(tile, 30, 8)
    operands = Operands(streamed=streamed, resident=resident, rows_per_entry=1000)
    found = law.wrong_outputs(at(2000), operands)
    expected = float(chances(streamed[:1000], resident[0], tile).sum())
    assert expected > 50
    assert abs(len(found) - expected) < SIGMAS * math.sqrt(expected)
    assert int(found[:, 0].max()) < 1000


# --- the same in C++ -------------------------------------------------------------------------------


def twin(law: ErrorLaw, draw: Draw, operands: Operands, monkeypatch: pytest.MonkeyPatch) -> Tensor | None:
    monkeypatch.setenv(native.VARIABLE, "torch")
    return law.wrong_outputs(draw, operands)


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("bits", [8, 5])
def test_kernels_draw_the_same_for_stored_operands(make_tile, codes, name, kernel, bits, monkeypatch):
    """Rare rows and, by many columns, rows of tens of candidates; more errors than the first room of 64."""
    monkeypatch.setenv(native.VARIABLE, kernel)
    tile, rows, inner = make_tile(**TILES[name]), 150, 45
    for columns in (3, 400):
        law = law_of(tile, inner, columns, bits)
        if law.draws > 1:
            raise AssertionError("the tiles above are to be drawn in one go")
        weights = codes(columns, inner, bits=bits, seed=1)
        weights[::20] = -1
        stored = ResidentCodes(weights, bits)
        assert stored.kernels is not None
        x = torch.rand(rows, inner, generator=torch.Generator().manual_seed(2)) - 0.5
        x[3], x[5:20] = 0.0, 1.0
        streamed = quantise_per_row(x, bits).codes
        draw = at(rows, seed=2**63 + 1)
        assert law.native_job is not None
        found = Kernels(kernel).wrong_outputs(law, draw, x[None, None], None, stored.packed, None)
        operands = Operands(streamed=streamed, resident=stored, rows_per_entry=rows)
        wanted = twin(law, draw, operands, monkeypatch)
        monkeypatch.setenv(native.VARIABLE, kernel)
        assert torch.equal(law.wrong_outputs(draw, operands), wanted) if wanted is not None else found is None
        if wanted is not None:
            assert torch.equal(found, wanted)
        if columns == 400:
            assert found is not None
            assert bits < 8 or len(found) > 64


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", ["additive", "both", "groups"])
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_kernels_draw_the_same_for_activations(make_tile, name, kernel, folded, transposed, monkeypatch):
    """Views of two levels; operands are quantised on the way, with a scale folded in or not."""
    monkeypatch.setenv(native.VARIABLE, kernel)
    tile = make_tile(**TILES[name])
    outer, heads, rows, inner, columns = 2, 3, 40, 29, 21
    generator = torch.Generator().manual_seed(1)
    a = torch.rand(outer, rows, heads, inner, generator=generator).transpose(1, 2) - 0.5
    if transposed:
        b = torch.rand(outer, heads, inner, columns, generator=generator).transpose(-1, -2) - 0.5
    else:
        b = torch.rand(outer, columns, heads, inner, generator=generator).transpose(1, 2) - 0.5
    law = law_of(tile, inner, columns)
    draw = at(outer * heads * rows, stream=77)
    factor, right = None, quantise_per_row(b.contiguous(), 8, dtype=torch.float32).codes
    left = a
    if folded:
        factor = (b.abs().amax(-2) / 127).contiguous()
        left, right = a * factor.unsqueeze(-2), torch.div(b, factor.unsqueeze(-2)).round()
    found = Kernels(kernel).wrong_outputs(law, draw, a, b, None, factor)
    operands = Operands(
        streamed=quantise_per_row(left.contiguous(), 8).codes.reshape(-1, inner),
        resident=right.transpose(-1, -2),
        rows_per_entry=rows,
    )
    wanted = twin(law, draw, operands, monkeypatch)
    assert wanted is not None
    assert len(wanted) > 3
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
def test_a_prepared_job_serves_one_kind_of_operand_after_another(make_tile, codes, kernel, monkeypatch):
    """What was set for activations with a factor does not linger when stored codes come next."""
    monkeypatch.setenv(native.VARIABLE, kernel)
    tile, inner, columns, rows = make_tile(**TILES["both"]), 30, 200, 40
    law, found = law_of(tile, inner, columns), Kernels(kernel)
    x = torch.randn(1, 1, rows, inner, generator=torch.Generator().manual_seed(1))
    b = torch.randn(1, 1, columns, inner, generator=torch.Generator().manual_seed(2))
    packed = found.packed(codes(columns, inner).to(torch.int8))
    draw = at(rows)
    first = found.wrong_outputs(law, draw, x, None, packed, None)
    other = found.wrong_outputs(law, draw, x, b, None, torch.full((1, 1, inner), 0.05))
    assert torch.equal(found.wrong_outputs(law, draw, x, None, packed, None), first)
    assert not torch.equal(first, other)


def test_what_the_kernels_cannot_draw_is_left_to_torch(make_tile):
    assert law_of(make_tile(environment_noise=0.2), 30, 4, 9).native_job is None
    many = law_of(make_tile(environment_noise=0.2), 30, 4)
    many.__dict__["per_row"] = 401.0
    assert many.native_job is None
    assert worst_errors(make_tile(environment_noise=0.2), 8, 8, 30) > 0
