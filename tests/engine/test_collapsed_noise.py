"""Products of lossless converters with noise: single errors, Gaussians of their variance, the reference."""

from __future__ import annotations

import math
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
from ohmformer.devices import rounding_error_probability, rounding_error_variance
from ohmformer.engine import FastEngine, native
from ohmformer.engine.collapsed import (
    DENSE_NOISE_ERRORS,
    _dense_noise,
    closed_switches,
    collapsed_product,
    row_variance,
    stored_switches,
)
from ohmformer.engine.conversion_errors import Operands, error_law, output_weights, worst_errors
from ohmformer.engine.fused import FusedOperations
from ohmformer.engine.randomness import Draw
from ohmformer.engine.reads import Misreads
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import TileSpec, preset

from .conftest import INSTRUCTION_SETS, at

SIGMAS = 4.0  # 4 standard errors; a normal statistic exceeds them once in 16,000
PATHS = [*INSTRUCTION_SETS, "torch"]

RARE = {"environment_noise": 0.15, "mismatch": 0.008}  # below one worst-case error per output of 45 elements
DENSE = {
    "additive": {"environment_noise": 0.3, "adc_noise": 0.2},
    "mismatch": {"mismatch": 0.05},
    "both": {"environment_noise": 0.25, "mismatch": 0.02},
    "digits": {"environment_noise": 0.2, "mismatch": 0.03, "resident_code": "digits"},
    "per resistor": {"mismatch": 0.04, "radix": 9, "polarity": "per_resistor"},
    "groups": {"mismatch": 0.06, "wordlines": 64, "active_wordlines": 14},
}


def variance_of(streamed: Tensor, resident: Tensor, tile: TileSpec) -> Tensor:
    closed = closed_switches(resident, tile, 8)
    return row_variance(streamed, closed, resident.shape[-1], tile, 8, 8)


def branches_of(streamed: Tensor, resident: Tensor, tile: TileSpec) -> Tensor:
    """[group, row, digit, plane, column] Σ power·closed, every conversion looked at."""
    squares = drive(streamed_digits(streamed.long(), tile, 8), tile).square().sum(-1)
    planes, _ = resident_planes(resident.long(), 8, tile)
    return torch.stack(
        [
            torch.einsum(
                "tki,jkn->tijn",
                squares[:, g.start : g.stop],
                planes[:, g.start : g.stop].double().square(),
            )
            for g in wordline_groups(streamed.shape[1], tile)
        ]
    )


def weighed(branches: Tensor, tile: TileSpec) -> Tensor:
    """[row] Σ (radix^i·c_j)²·V of branch sums [group, row, digit, plane]."""
    additive = tile.environment_noise**2 + tile.adc.noise**2
    variance = rounding_error_variance(
        (additive + tile.resistor.mismatch**2 * branches).sqrt(), tile.adc.rounding
    )
    weights = torch.tensor(output_weights(tile, 8, 8), dtype=torch.float64).square()
    return (variance.sum(0).flatten(1) * weights).sum(-1)


def left_out(branches: Tensor, tile: TileSpec) -> Tensor:
    """[row] by how much V at the mean over columns, rounded, may differ from the mean of V.

    Jensen's gap is at most max|V''|/2·Var(B) of each conversion, rounding B moves V by max V'/2 at most.
    """
    span = torch.arange(float(branches.min()), float(branches.max()) + 2, dtype=torch.float64)
    additive = tile.environment_noise**2 + tile.adc.noise**2
    table = rounding_error_variance((additive + tile.resistor.mismatch**2 * span).sqrt(), tile.adc.rounding)
    weights = torch.tensor(output_weights(tile, 8, 8), dtype=torch.float64).square()
    spread = branches.var(-1, correction=0)
    gap = float(table.diff().diff().abs().max()) / 2 * spread + float(table.diff().max()) / 2
    return (gap.sum(0).flatten(1) * weights).sum(-1)


# --- the variance of many errors ---------------------------------------------------------------------------


def test_additive_variance_is_that_of_the_closed_form(make_tile, codes):
    tile = make_tile(environment_noise=0.3, adc_noise=0.2)
    found = variance_of(codes(7, 100), codes(100, 5, seed=1), tile)
    assert found.tolist() == pytest.approx([additive_variance(tile, 100, 8, 8)] * 7, rel=1e-12)


@pytest.mark.parametrize("name", DENSE)
def test_one_column_has_its_exact_variance(make_tile, codes, name):
    """Whole branch sums meet entries of a table made for whole sums: nothing is left but rounding."""
    tile = make_tile(**DENSE[name])
    streamed, resident = codes(6, 45), codes(45, 1, seed=1)
    wanted = product_variance(streamed.long(), resident.long(), tile, 8, 8).squeeze(-1)
    torch.testing.assert_close(variance_of(streamed, resident, tile), wanted, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("name", [n for n in DENSE if n != "additive"])
def test_many_columns_have_the_variance_of_their_mean_branches(make_tile, codes, name):
    """V grows with the branches: the sums rounded down and up enclose it. From the mean over columns of the
    true variances it differs by no more than ``left_out``."""
    tile = make_tile(**DENSE[name])
    streamed, resident = codes(8, 45), codes(45, 60, seed=1)
    found = variance_of(streamed, resident, tile)
    branches = branches_of(streamed, resident, tile)
    mean = branches.mean(-1)
    assert bool((weighed(mean.floor(), tile) <= found * (1 + 1e-12)).all())
    assert bool((weighed(mean.ceil(), tile) >= found * (1 - 1e-12)).all())
    allowed = left_out(branches, tile)
    wanted = product_variance(streamed.long(), resident.long(), tile, 8, 8).mean(-1)
    assert bool(((found - wanted).abs() <= allowed).all())
    assert name == "groups" or float((allowed / wanted).max()) < 0.5  # and that can tell


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", DENSE)
def test_kernels_find_the_same_variance(make_tile, codes, name, kernel, monkeypatch):
    tile = make_tile(**DENSE[name])
    for rows, inner, columns in ((1, 1, 1), (17, 45, 33), (40, 200, 300)):
        streamed, resident = codes(rows, inner), codes(inner, columns, seed=1)
        found = []
        for path in (kernel, "torch"):
            monkeypatch.setenv(native.VARIABLE, path)
            found.append(variance_of(streamed, resident, tile))
        assert torch.equal(*found)


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
def test_kernels_add_branches_beyond_float32(make_tile, codes, kernel, monkeypatch):
    """2^24 branches and more: in double precision, and with more digits and planes than one vector holds."""
    for radix, code, closed in ((7, "bits", 3_000_001.0), (3, "digits", 1.0), (3, "digits", 3_000_001.0)):
        tile, found = make_tile(radix, mismatch=0.05, resident_code=code), []
        planes = closed_switches(codes(45, 1, seed=1), tile, 8)
        assert planes.shape[1] == 8 if code == "bits" else planes.shape[1] > 4
        for path in (kernel, "torch"):
            monkeypatch.setenv(native.VARIABLE, path)
            found.append(row_variance(codes(19, 45), planes * closed, int(closed), tile, 8, 8))
        assert torch.equal(*found)
        assert torch.equal(found[0], row_variance(codes(19, 45), planes, 1, tile, 8, 8)) or closed > 1


@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_closed_switches_are_counted(make_tile, codes, code, bits):
    """More columns than a byte counts, every one of them closed in some plane; matrices one by one."""
    for radix, polarity in ((7, "shared"), (3, "shared"), (9, "per_resistor")):
        tile = make_tile(radix, polarity, resident_code=code)
        resident = codes(2, 3, 600, bits=bits)
        resident[0, 0] = -1.0  # all bits
        planes, _ = resident_planes(resident.long(), bits, tile)
        wanted = planes.double().square().sum(-1).movedim(0, -1)
        assert torch.equal(closed_switches(resident, tile, bits), wanted)
    assert wanted.max() > 255
    with pytest.raises(ValueError, match="without columns"):
        closed_switches(resident[..., :0], tile, bits)


def misread(codes: Tensor, count: int, seed: int) -> tuple[Misreads, Tensor]:
    """Some codes [column, inner] read as others, and what is read."""
    generator = torch.Generator().manual_seed(seed)
    position = torch.randperm(codes.numel(), generator=generator)[:count].sort().values
    read = torch.randint(-127, 128, (count,), generator=generator)
    delta = (read - codes.reshape(-1)[position]).int()
    changed = codes.clone().view(-1).index_put_((position,), read.to(codes.dtype)).view(codes.shape)
    return Misreads(sample=torch.zeros_like(position), position=position, delta=delta), changed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("code", ["bits", "digits"])
@pytest.mark.parametrize("first", [True, False], ids=["misread first", "read right first"])
@pytest.mark.parametrize("inner", [45, 80])
def test_counts_kept_are_corrected_by_what_is_misread(
    make_tile, codes, code, first, path, inner, monkeypatch
):
    monkeypatch.setenv(native.VARIABLE, path)
    tile, weights = make_tile(resident_code=code), codes(300, inner)
    stored = ResidentCodes(weights, 8)
    right = closed_switches(weights.t(), tile, 8)
    for seed in range(3):
        if seed or not first:
            assert torch.equal(stored_switches(stored, tile, 8), right)
        found, read = misread(weights, 500, seed)
        with stored.patched(found.position, found.delta):
            corrected = stored_switches(stored, tile, 8, found)
        assert torch.equal(corrected, closed_switches(read.t(), tile, 8))
        assert not torch.equal(corrected, right)
    assert torch.equal(stored_switches(stored, tile, 8), right)


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", ["both", "additive", "digits"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_linear_with_noise_is_its_steps(make_tile, codes, name, bias, kernel, monkeypatch):
    """One call on packed codes against the product of the codes as read, in torch, scaled and shifted.

    Rows more than are taken at once; sums of some of them beyond what float32 holds.
    """
    tile = make_tile(**DENSE[name])
    chip = replace(preset("wang2024"), tile=tile)
    generator = torch.Generator().manual_seed(3)
    for rows, inner, columns in ((200, 45, 33), (3, 1400, 5)):
        weights = codes(columns, inner, seed=1)
        x = torch.randn(rows, inner, generator=generator)
        if inner > 1000:  # whole numbers beyond 2^24
            weights[0], x[0] = 127.0, 1.0
        scale, shift = torch.rand(columns, generator=generator), torch.rand(columns, generator=generator)
        found, read = misread(weights, columns * 20, 7)
        if inner > 1000:
            keep = found.position >= inner  # column 0 as it is
            read[0] = weights[0]
            found = Misreads(
                sample=found.sample[keep], position=found.position[keep], delta=found.delta[keep]
            )
        draw = at(rows)
        monkeypatch.setenv(native.VARIABLE, kernel)
        stored, fused = ResidentCodes(weights, 8), FusedOperations(chip, FastEngine(tile))
        made = []
        for changed in (found, None):
            patch = changed or Misreads(
                sample=found.sample[:0], position=found.position[:0], delta=found.delta[:0]
            )
            with stored.patched(patch.position, patch.delta):
                y = fused.linear(x, stored, scale, shift if bias else None, draw, changed)
                parts = [
                    fused.linear(
                        x[part],
                        stored,
                        scale,
                        shift if bias else None,
                        Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[part]),
                        changed,
                    )
                    for part in (slice(0, 1), slice(1, rows))
                ]
            assert y is not None
            assert torch.equal(torch.cat(parts), y)
            made.append(y)
        monkeypatch.setenv(native.VARIABLE, "torch")
        quantised = quantise_per_row(x, 8, dtype=torch.float32)
        for y, resident in zip(made, (read, weights), strict=True):
            exact = FastEngine(tile).product(
                quantised.codes, resident.t(), streamed_bits=8, resident_bits=8, draw=draw
            )
            assert inner < 1000 or float(exact.abs().max()) > 2**24
            wanted = exact.float() * quantised.scale * scale
            assert torch.equal(y, wanted + shift if bias else wanted)
        assert not torch.equal(*made)


# --- what is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0.8, 3.0, 500.0, 4e7])
def test_gaussian_errors_are_whole_and_have_the_variance_asked_for(variance):
    """se of a variance of n normal numbers is √(2/n); without Sheppard's term 0.8 would be 10 % off."""
    rows, columns = 200, 1000
    drawn = _dense_noise(
        torch.zeros(rows, columns), torch.full((rows,), variance, dtype=torch.float64), at(rows)
    ).double()
    n = drawn.numel()
    assert torch.equal(drawn, drawn.round())
    assert abs(float(drawn.mean())) < SIGMAS * math.sqrt(variance / n)
    # a rounded Gaussian of sd above 0.8 is as flat as a Gaussian within 2 %: 5 standard errors
    assert abs(float(drawn.var()) / variance - 1) < 5 * math.sqrt(2 / n)
    # rows and columns are independent: correlations of neighbours are normal of sd 1/√n
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1]), (drawn[:, 4:], drawn[:, :-4])):
        assert abs(float((one * other).mean()) / variance) < SIGMAS / math.sqrt(one.numel())


def test_a_variance_below_that_of_rounding_draws_nothing():
    assert not _dense_noise(torch.zeros(3, 50), torch.full((3,), 1 / 12, dtype=torch.float64), at(3)).any()


@pytest.mark.parametrize("kernel", INSTRUCTION_SETS)
def test_kernels_add_the_same_noise(kernel, monkeypatch):
    """In float32 and, where sums were too large, float64; also in parts of rows."""
    variance = torch.tensor([0.0, 0.7, 1e3, 1e7, 50.0], dtype=torch.float64)
    found = []
    for path, dtype in ((kernel, torch.float32), ("torch", torch.float32), (kernel, torch.float64)):
        monkeypatch.setenv(native.VARIABLE, path)
        found.append(_dense_noise(torch.full((5, 37), 11, dtype=dtype), variance, at(5)).double())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    wide = torch.zeros(3, (1 << 20) - 3)
    every = _dense_noise(wide, variance[2:], at(3))
    monkeypatch.setenv(native.VARIABLE, "torch")
    assert torch.equal(_dense_noise(torch.zeros_like(wide), variance[2:], at(3)), every)


def errors_of(tile: TileSpec, streamed: Tensor, resident: Tensor | ResidentCodes, draw: Draw) -> Tensor:
    found = FastEngine(tile).product(streamed, resident, streamed_bits=8, resident_bits=8, draw=draw)
    right = resident.floats() if isinstance(resident, ResidentCodes) else resident
    return found.double() - torch.matmul(streamed.double(), right.double())


@pytest.mark.parametrize("name", DENSE)
def test_frequent_errors_have_the_variance_of_the_law(make_tile, codes, name):
    """Gaussian of its own variance in every row: se of Σ e²/v over n outputs is √(2n)."""
    tile = make_tile(**DENSE[name])
    streamed, resident = codes(300, 45), codes(45, 40, seed=1)
    streamed[:100] = (streamed[:100] / 8).round()  # rows that differ
    assert worst_errors(tile, 8, 8, 45) > DENSE_NOISE_ERRORS
    found = errors_of(tile, streamed, resident, at(300))
    assert torch.equal(found, found.round())
    shares = found.square() / variance_of(streamed, resident, tile)[:, None]
    for part in (shares[:100], shares[100:]):
        assert abs(float(part.mean()) - 1) < SIGMAS * math.sqrt(2 / part.numel())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", [RARE, DENSE["both"], DENSE["additive"]], ids=["rare", "both", "additive"])
@pytest.mark.parametrize("shape", [(60, 45), (5, 12, 45), (2, 3, 10, 45)])
def test_a_row_errs_by_its_key_alone(make_tile, codes, case, shape, path, monkeypatch):
    """Whole numbers and their noise do not depend on what else is computed, nor on how codes are stored."""
    monkeypatch.setenv(native.VARIABLE, path)
    tile, streamed, weights = make_tile(**case), codes(*shape), codes(50, 45, seed=1)
    draw, flat = at(60), codes(*shape).view(60, 45)
    stored = ResidentCodes(weights, 8)
    whole = collapsed_product(streamed, weights.t(), tile, 8, 8, draw).view(60, 50)
    assert torch.equal(collapsed_product(streamed, stored, tile, 8, 8, draw).view(60, 50), whole)
    assert not torch.equal(whole, flat @ weights.t())
    for rows in (slice(0, 1), slice(17, 40), torch.tensor([59, 3, 8])):
        own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[rows])
        assert torch.equal(collapsed_product(flat[rows], stored, tile, 8, 8, own), whole[rows])
    assert torch.equal(whole, torch.cat([whole]))
    for other in (at(60, seed=2), at(60, stream=6), at(60, first=1000)):
        assert not torch.equal(collapsed_product(streamed, stored, tile, 8, 8, other).view(60, 50), whole)


@pytest.mark.parametrize("case", [RARE, DENSE["both"]], ids=["rare", "dense"])
def test_matrices_of_a_batch_err_as_if_alone(make_tile, codes, case):
    """[2, 3] matrices with partners of their own, broadcast on either side; keys go through the batch."""
    tile = make_tile(**case)
    for left, right in (((2, 3), (2, 3)), ((2, 1), (1, 3)), ((1, 3), (2, 3))):
        streamed, resident = codes(*left, 20, 45), codes(*right, 45, 30, seed=1)
        draw = at(120)
        whole = collapsed_product(streamed, resident, tile, 8, 8, draw)
        assert whole.shape == (2, 3, 20, 30)
        a, b = streamed.expand(2, 3, 20, 45), resident.expand(2, 3, 45, 30)
        for entry in range(6):
            own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[20 * entry : 20 * entry + 20])
            alone = collapsed_product(a[entry // 3, entry % 3], b[entry // 3, entry % 3], tile, 8, 8, own)
            assert torch.equal(whole[entry // 3, entry % 3], alone)
        assert not torch.equal(whole, a @ b)


def test_several_errors_of_one_output_add_up(make_tile, codes):
    """The product is the whole one plus every wrong conversion of the list."""
    tile = make_tile(environment_noise=0.225)
    streamed, resident = codes(400, 45), codes(45, 3, seed=1)
    law = error_law(tile, 8, 8, 45, 3)
    assert 0.5 < law.per_row / 3 < DENSE_NOISE_ERRORS
    wrong = law.wrong_outputs(at(400), Operands(streamed=streamed, resident=resident, rows_per_entry=400))
    places = wrong[:, 0] * 3 + wrong[:, 1]
    assert len(places.unique()) < len(places) - 100
    wanted = streamed.double() @ resident.double()
    for row, column, size in wrong.tolist():
        wanted[row, column] += size
    assert torch.equal(collapsed_product(streamed, resident, tile, 8, 8, at(400)).double(), wanted)


# --- the reference -----------------------------------------------------------------------------------


def chance_of(tile: TileSpec) -> float:
    """Probability of one wrong conversion under additive noise."""
    sd = torch.tensor(math.hypot(tile.environment_noise, tile.adc.noise), dtype=torch.float64)
    return float(rounding_error_probability(sd, tile.adc.rounding))


def fourth_moment(tile: TileSpec, inner: int) -> float:
    """Upper estimate of E[e⁴] of an output under additive noise: Σ w⁴·V of rare errors plus 3·variance²."""
    sd = torch.tensor(math.hypot(tile.environment_noise, tile.adc.noise), dtype=torch.float64)
    rare = float(rounding_error_variance(sd)) * sum(w**4 for w in output_weights(tile, 8, 8))
    return rare * len(wordline_groups(inner, tile)) + 3 * additive_variance(tile, inner, 8, 8) ** 2


def reference_errors(tile: TileSpec, row: Tensor, resident: Tensor, repeats: int, seed: int) -> Tensor:
    """Errors of the reference with additive noise, [repeat, column]: every row meets noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    found = compute(row.long().expand(repeats, -1), resident.long(), tile, 8, 8, generator=generator).values
    return (found - torch.matmul(row.long(), resident.long())).double()


@pytest.mark.parametrize("sd", [0.15, 0.2, 0.25, 0.35])
def test_additive_errors_agree_with_the_reference(make_tile, codes, sd):
    """Rate and variance of the reference's own conversions against the law and against what is drawn.

    One more code than the sums need keeps the reference from clipping.
    """
    tile = make_tile(environment_noise=sd, adc_bits=9)
    row, resident = codes(1, 64), codes(64, 8, seed=1)
    variance, chance = additive_variance(tile, 64, 8, 8), chance_of(tile)
    moment = fourth_moment(tile, 64)
    found = torch.cat([reference_errors(tile, row, resident, 3000, seed) for seed in range(3)]).flatten()
    n = len(found)
    assert abs(float(found.square().mean()) - variance) < SIGMAS * math.sqrt(moment / n)
    # weights 7^i·2^j: no two different single errors cancel, so a right output had no error
    # (or several that cancel: at 0.35 with 3.7 errors an output, none in a thousand)
    conversions = len(output_weights(tile, 8, 8)) * len(wordline_groups(64, tile))
    right = (1 - chance) ** conversions
    wrong = int((found != 0).sum())
    assert abs(wrong - n * (1 - right)) < SIGMAS * math.sqrt(n * right * (1 - right)) + 0.001 * n * (sd > 0.3)
    fast = errors_of(tile, row.expand(6000, -1), resident, at(6000)).flatten()
    se = math.sqrt(moment * (1 / n + 1 / len(fast)))
    assert abs(float(fast.square().mean() - found.square().mean())) < SIGMAS * se
    if worst_errors(tile, 8, 8, 64) <= DENSE_NOISE_ERRORS:
        # one by one a conversion may err twice: a Poisson count of mean np is 0 with exp(-np), not (1 - p)^n
        none = math.exp(-conversions * chance)
        drawn = int((fast == 0).sum())
        assert abs(drawn - len(fast) * none) < SIGMAS * math.sqrt(len(fast) * none * (1 - none))
        assert none - right < conversions * chance**2


@pytest.mark.parametrize("mismatch", [0.025, 0.04])
def test_mismatch_errors_agree_with_the_reference(make_tile, codes, mismatch):
    """New tile and new operands each time: the fixed pattern's covariance has mean zero then.

    The mean square of the reference's errors, over draws, against the mean of the exact variances; the
    standard error from the spread of the draws. What is drawn from differs by no more than ``left_out``.
    """
    tile = make_tile(mismatch=mismatch, adc_bits=9)
    generator = torch.Generator().manual_seed(7)
    found, wanted, exact, bound = [], [], [], []
    for seed in range(250):
        row, resident = codes(5, 64, seed=seed), codes(64, 15, seed=seed + 1000)
        deviations = draw_mismatch(tile, generator)
        values = compute(row.long(), resident.long(), tile, 8, 8, mismatch=deviations).values
        found.append(float((values - row.long() @ resident.long()).double().square().mean()))
        wanted.append(float(variance_of(row, resident, tile).mean()))
        exact.append(float(product_variance(row.long(), resident.long(), tile, 8, 8).mean()))
        bound.append(float(left_out(branches_of(row, resident, tile), tile).mean()))
    own, law, every = (torch.tensor(part, dtype=torch.float64) for part in (found, wanted, exact))
    se = float((own - every).std()) / math.sqrt(len(own))
    assert abs(float((own - every).mean())) < SIGMAS * se
    assert se < 0.08 * float(every.mean())  # and the comparison can tell
    assert bool(((law - every).abs() <= torch.tensor(bound, dtype=torch.float64)).all())


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
    share = float(ends) / (digits.numel() * planes.shape[0] * 6)
    assert 0.05 < share < 0.3
    weights = len(output_weights(tile, 8, 8))
    rate = chance_of(tile) * weights * len(wordline_groups(20, tile)) * (1 - share / 2)
    found = torch.cat([reference_errors(tile, row, resident, 2000, seed) for seed in range(2)])
    wrong, n = int((found != 0).sum()), found.numel()
    chance = 1 - math.exp(-rate)
    # conversions of one output add as a Poisson number up to the square of their probability, 1e-6;
    # two errors of one weight cancel in one of two: rate² / weights / 4
    cancelled = n * rate**2 / weights / 4
    assert abs(wrong - n * chance) < SIGMAS * math.sqrt(n * chance * (1 - chance)) + cancelled


def test_published_noise_is_hardly_ever_seen(codes):
    """One error in about 1e9 conversions: whole products, from whatever rows."""
    streamed, resident = codes(30, 100), codes(100, 40, seed=1)
    assert not errors_of(preset("wang2024").tile, streamed, resident, at(30)).any()
    assert 0 < worst_errors(preset("wang2024").tile, 8, 8, 100) < 1e-5
