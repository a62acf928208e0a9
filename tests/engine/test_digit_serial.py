"""Every conversion computed: exact without noise, the stated laws with it, and the same on every path."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.engine.conversion_law import (
    CLASSES,
    POINTS,
    class_sizes,
    deviate_law,
    deviate_sd,
    deviate_sizes,
    upper_tail,
    whole_levels,
    whole_thresholds,
)
from ohmformer.engine.conversion_plan import conversion_plan
from ohmformer.engine.conversion_words import dense_deviates, plane_bytes, shared_bytes, turned_bytes
from ohmformer.engine.digit_serial import digit_serial_product, pack_switches
from ohmformer.engine.native import VARIABLE
from ohmformer.engine.wrong_conversions import draw_events
from ohmformer.numerals import NumeralError

from .serial import DENSE, PATHS, RARE, SPARSE, WILD, draw, one_conversion, wired


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize(
    ("radix", "polarity"), [(7, "shared"), (15, "shared"), (27, "per_resistor"), (65, "shared")]
)
@pytest.mark.parametrize(
    "adc",
    [
        {"adc_bits": 7},
        {"adc_bits": 2, "step": 7},
        {"adc_bits": 4, "step": 2},
        {"adc_bits": 3, "step": 6, "rounding": "half_up"},
        {"adc_bits": 8, "step": 2, "rounding": "floor"},
        {"adc_bits": 5, "step": 3, "rounding": "floor", "active_wordlines": 24},
        {"adc_bits": 16, "step": 1000},
    ],
    ids=str,
)
def test_without_noise_every_code_is_the_reference(
    make_tile, codes, monkeypatch, path, resident_code, radix, polarity, adc
):
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(radix, polarity, resident_code=resident_code, **adc)
    streamed, resident = codes(7, 140), codes(140, 5, seed=1)
    wanted = compute(streamed.long(), resident.long(), tile, 8, 8).values
    found = digit_serial_product(streamed, resident, tile, 8, 8, draw(7))
    assert torch.equal(found.long(), wanted)
    assert (conversion_plan(tile, 8, 8, 140) is None) == (radix == 65)


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("noise", [DENSE, SPARSE, WILD], ids=["dense", "sparse", "wild"])
@pytest.mark.parametrize(
    "adc",
    [
        {"adc_bits": 7},
        {"adc_bits": 8},
        {"adc_bits": 6, "step": 2},
        {"adc_bits": 5, "step": 3},
        {"adc_bits": 4, "step": 6, "rounding": "floor"},
        {"adc_bits": 6, "radix": 15},
    ],
    ids=str,
)
@pytest.mark.parametrize("ohm", [0.0, 2.0])
def test_all_paths_give_the_same_noisy_numbers(make_tile, codes, monkeypatch, resident_code, noise, adc, ohm):
    tile = wired(make_tile(resident_code=resident_code, **adc, **noise), ohm)
    streamed, resident = codes(5, 140), codes(140, 70, seed=1)
    found = []
    for path in PATHS:
        monkeypatch.setenv(VARIABLE, path)
        found.append(digit_serial_product(streamed, resident, tile, 8, 8, draw(5)))
    assert all(torch.equal(one, found[0]) for one in found)
    quiet = make_tile(resident_code=resident_code, **adc)
    assert not torch.equal(found[0].long(), compute(streamed.long(), resident.long(), quiet, 8, 8).values)


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("noise", [{}, SPARSE, {"environment_noise": 0.3}], ids=["quiet", "sparse", "whole"])
@pytest.mark.parametrize("inner", [61, 128, 300])
def test_sums_that_fit_eight_bits_and_sums_that_do_not(
    make_tile, codes, monkeypatch, resident_code, noise, inner
):
    """Rows of small, common and the largest digits of either sign, together and alone."""
    tile = make_tile(adc_bits=7, resident_code=resident_code, **noise)
    streamed, resident = codes(14, inner), codes(inner, 66, seed=1)
    streamed[0:3], streamed[3], streamed[9] = 1.0, 171.0, -171.0
    streamed[5, ::2], streamed[5, 1::2] = 171.0, -171.0
    resident[:, :2], resident[:, 2:4], resident[::2, 5] = 73.0, -73.0, 73.0
    found = []
    for path in PATHS:
        monkeypatch.setenv(VARIABLE, path)
        every = digit_serial_product(streamed, resident, tile, 8, 8, draw(14))
        alone = [
            digit_serial_product(streamed[m : m + 1], resident, tile, 8, 8, draw(1, first=m))
            for m in (0, 3, 5)
        ]
        assert torch.equal(every[[0, 3, 5]], torch.cat(alone))
        found.append(every)
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize(
    "noise",
    [
        DENSE,
        SPARSE,
        WILD,
        {**RARE, "ohm": 1.0},
        {"environment_noise": 0.4, "radix": 65},
    ],
    ids=str,
)
def test_a_row_depends_on_its_key_alone(make_tile, codes, monkeypatch, noise):
    """Not on the rows beside it, the blocks of the loops, the number of threads or the packing."""
    ohm = noise.get("ohm", 0.0)
    tile = wired(make_tile(adc_bits=6, **{k: v for k, v in noise.items() if k != "ohm"}), ohm)
    streamed, resident = codes(67, 140), codes(140, 90, seed=1)
    whole = digit_serial_product(streamed, resident, tile, 8, 8, draw(67))
    order = torch.randperm(67, generator=torch.Generator().manual_seed(0))[:20]
    part = digit_serial_product(streamed[order], resident, tile, 8, 8, replace(draw(67), keys=order))
    assert torch.equal(part, whole[order])
    stored = pack_switches(resident.T.to(torch.int8), tile, 8)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(digit_serial_product(streamed, stored, tile, 8, 8, draw(67)), whole)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr("ohmformer.engine.digit_serial.BLOCK_CONVERSIONS", 1)
    monkeypatch.setenv(VARIABLE, "torch")
    assert torch.equal(digit_serial_product(streamed[:9], resident, tile, 8, 8, draw(9)), whole[:9])
    assert not torch.equal(digit_serial_product(streamed[:9], resident, tile, 8, 8, draw(9, 2)), whole[:9])


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("radix", [3, 7, 15])
def test_packed_switches_hold_the_numbers(make_tile, codes, resident_code, radix):
    tile = make_tile(radix, resident_code=resident_code)
    resident = codes(150, 70)
    stored = pack_switches(resident.T.to(torch.int8), tile, 8)
    assert torch.equal(stored.numbers().float(), resident)
    assert stored.nbytes > 0


def test_the_law_of_a_deviate_is_the_stated_one():
    """Enumerated; it is discrete: the distance to the normal is looked for on either side of a point."""
    law = deviate_law().double().sort().values / deviate_sd()
    assert torch.equal(law, -law.flip(0))
    assert float(law.abs().min()) > 0
    normal = torch.special.ndtr(law)
    share = torch.arange(len(law), dtype=torch.float64) / len(law)
    points, first = torch.unique(law, return_inverse=True)
    counts = torch.bincount(first).double().cumsum(0) / len(law)
    exact = torch.special.ndtr(points)
    before = torch.cat((torch.zeros(1, dtype=torch.float64), counts[:-1]))
    distance = torch.maximum((counts - exact).abs(), (before - exact).abs()).max()
    assert 1.1e-3 < float(distance) < 1.2e-3
    assert float((share - normal).abs().max()) <= float(distance)
    for power, moment, off in ((4, 3, -0.0044), (6, 15, -0.0242), (8, 105, -0.0658)):
        assert float(law.pow(power).mean()) / moment - 1 == pytest.approx(off, abs=1e-4)
    assert float(law.max()) == pytest.approx(4.218, abs=1e-3)


def test_deviates_come_with_that_law_and_are_independent():
    """Mean, variance, fourth moment and correlations of neighbours within 4.5 standard errors."""
    z = dense_deviates(draw(400), 5, 8, 64).double() / deviate_sd()  # [row, plane, column]
    count = z.numel()
    law = deviate_law().double() / deviate_sd()
    for power in (1, 2, 4):
        mean, variance = float(law.pow(power).mean()), float(law.pow(power).var())
        assert abs(float(z.pow(power).mean()) - mean) < 4.5 * (variance / count) ** 0.5
    for axis in range(3):
        here, there = z.narrow(axis, 1, z.shape[axis] - 1), z.narrow(axis, 0, z.shape[axis] - 1)
        assert abs(float((here * there).mean())) < 4.5 / here.numel() ** 0.5
    assert not torch.equal(z, dense_deviates(draw(400), 13, 8, 64).double() / deviate_sd())


@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("sd", [0.15, 0.3, 0.9])
def test_whole_noise_has_the_stated_law(sd, nearest):
    """All pairs of bytes enumerated: P(noise >= k) is that of a normal within 2^-17, up to the last level."""
    levels = whole_levels(sd, nearest)
    bounds = whole_thresholds(torch.tensor([sd**2]), levels, nearest)[0]
    r, c = torch.arange(-128, 128)[:, None], torch.arange(256)[None]
    noise = torch.zeros(256, 256, dtype=torch.int64) if nearest else -(r < 0).long().expand(-1, 256)
    for bound in bounds.tolist():
        t = bound // 256 + (c < bound % 256).long()
        noise = noise + (r >= 128 - t).long() - (r < t - 128).long()
    centre = 0.0 if nearest else -0.5
    for k in range(1 - levels, levels + 1):
        exact = upper_tail((k - nearest / 2) / sd)
        assert abs(float((noise >= k).double().mean()) - exact) <= 2.0**-17 * (1 + 1e-9)
    # beyond the last level there is next to nothing
    assert upper_tail((levels + 1 - nearest / 2) / sd) <= 2.0**-17
    # whatever byte the planes have in common, noise is symmetric: that of planes is uncorrelated
    assert torch.equal((noise - centre).mean(0, dtype=torch.float64), torch.zeros(256).double())


@pytest.mark.parametrize("plane", [0, 3])
def test_bytes_are_uniform_and_turned_bytes_differ(plane):
    """Chi-squared of 256 cells within 4.5 of its standard deviations; planes of a column share no byte."""
    turned = turned_bytes(draw(300), 40, 8, 100)[:, plane].long() + 128
    own = plane_bytes(draw(300), 40, 8, 100)[:, plane].long() + 128
    for found in (turned, own):
        expected = found.numel() / 256
        chi = ((torch.bincount(found.flatten(), minlength=256) - expected) ** 2 / expected).sum()
        assert abs(float(chi) - 255) < 4.5 * (2 * 255) ** 0.5
    assert float((turned == own).double().mean()) < 0.02
    place = turned_bytes(draw(1), 0, 63, 64)[0]
    shared = shared_bytes(draw(1), 0, 64)[0, 0]
    assert torch.equal(place[0], shared)
    assert torch.equal(place.sort(1).values, shared.sort().values.expand(63, -1))
    # 63 planes take 63 different bytes of the block in each column
    assert len({tuple(row) for row in place.tolist()}) == 63


def test_sizes_of_deviates_lie_in_their_classes():
    """P(|Z| > z) of the n-th point is the middle of the n-th of equal parts, within float32's rounding of z.

    dP = density(z)·z·2^-24 <= 0.25·2^-24·2 relative to 1.
    """
    rest, large = deviate_sizes().double()
    tail = 2 * torch.special.ndtr(-large)
    middle = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    assert float((tail - middle * (CLASSES / 256)).abs().max()) < 2.0**-24
    rest_tail = 2 * torch.special.ndtr(-rest)
    assert float((rest_tail - (15 / 256 + (241 / 256) * middle)).abs().max()) < 2.0**-24
    for number, size in enumerate(class_sizes()):
        mine = rest if number == CLASSES - 1 else large.view(CLASSES, -1)[number]
        assert number == 0 or float(mine.max()) <= size


@pytest.mark.parametrize(("total", "step"), [(10, 1), (11, 2), (10, 2), (23, 3)])
@pytest.mark.parametrize("sd", [0.3, 0.7])
def test_a_dense_conversion_has_the_law_of_its_noise(make_tile, total, step, sd):
    """P(code) by the normal distribution, within 5 standard errors and the distance of the laws (2 x 1.2e-3).

    The code of the upper plane (sum 0) has weight -2: it is odd about 0 and only widens the law; therefore
    the two are told apart by comparing the law of lower - 2 upper, computed from both exact laws.
    """
    rows = 40000
    tile = make_tile(adc_bits=8, step=step, environment_noise=sd)
    found = (one_conversion(tile, total, rows) / step).flatten().round().long()

    def law(centre: float) -> dict[int, float]:
        scale = sd / step
        bound = range(int(centre) - 6, int(centre) + 8)

        def below(x: float) -> float:
            return 0.5 * math.erfc(-(x - centre) / scale / math.sqrt(2))

        return {code: below(code + 0.5) - below(code - 0.5) for code in bound}

    wanted: dict[int, float] = {}
    for low, p in law(total / step).items():
        for high, q in law(0.0).items():
            wanted[low - 2 * high] = wanted.get(low - 2 * high, 0.0) + p * q
    for value, probability in wanted.items():
        if probability > 1e-3:
            share = float((found == value).double().mean())
            error = (probability * (1 - probability) / rows) ** 0.5
            assert abs(share - probability) < 5 * error + 2.4e-3


def test_sparse_wrong_conversions_come_at_their_rate(make_tile, codes):
    """A Poisson number, within 4.5 standard deviations; each changes its output."""
    tile = make_tile(adc_bits=8, environment_noise=0.14)  # P = 2Q(0.5/0.14) = 3.55e-4
    plan = conversion_plan(tile, 8, 8, 64)
    assert plan is not None
    assert plan.noise == "sparse"
    rows, columns = 100, 32
    streamed, resident = codes(rows, 64), codes(64, columns, seed=1)
    row, place, z = draw_events(plan, columns, draw(rows).sub(1))
    chance = math.erfc(0.5 / 0.14 / math.sqrt(2))
    expected = rows * columns * 24 * chance
    assert abs(len(row) - expected) < 4.5 * expected**0.5
    assert float(z.abs().min()) * 0.14 >= 0.5 * (1 - 1e-12)
    assert abs(int((z > 0).sum()) - len(z) / 2) < 4.5 * (len(z) / 4) ** 0.5
    assert len(torch.unique(row * 10**9 + place)) == len(row)
    exact = streamed.long() @ resident.long()
    found = digit_serial_product(streamed, resident, tile, 8, 8, draw(rows)).long()
    # lossless converters: the outputs that differ are those with an event
    changed = torch.zeros_like(exact)
    changed[row, place % columns] = 1
    assert torch.equal((found != exact).long(), changed)


def test_sparse_noise_has_its_variance(make_tile, codes):
    """P·Σ(radix^i·c_j)², within 5 standard errors of so many rare errors."""
    streamed, resident = codes(1, 64).expand(3000, -1).contiguous(), codes(64, 32, seed=1)
    sparse = make_tile(adc_bits=8, environment_noise=0.14)
    exact = streamed[:1].long() @ resident.long()
    spread = digit_serial_product(streamed, resident, sparse, 8, 8, draw(3000)).long() - exact
    chance = math.erfc(0.5 / 0.14 / math.sqrt(2))
    weights = torch.tensor([7.0**i * 2.0**j for i in range(3) for j in range(8)], dtype=torch.float64)
    variance = chance * float(weights.square().sum())
    fourth = chance * float(weights.pow(4).sum()) / spread.numel()  # of rare independent errors
    assert abs(float(spread.double().square().mean()) - variance) < 5 * fourth**0.5


def test_mean_mismatch_is_close_to_that_of_each_column(make_tile, codes):
    """The share of a group's branches that a column switches on scatters by 1/sqrt(elements·P(on)).

    Of random bits on 64 elements a column closes 32 +- 4 switches, so that sd² of a conversion is off by
    12.5 %, and with the unequal digits sqrt(E[p²])/E[p] more; below 20 % here.
    """
    tile = make_tile(adc_bits=7, mismatch=0.05)
    plan = conversion_plan(tile, 8, 8, 64)
    assert plan is not None
    digits = plan.digits_of[codes(8, 64).long() - plan.lowest][..., 0].long()
    power = plan.power[digits + plan.max_digit].double()
    closed = ((codes(64, 200, seed=1).long() & 255)[None] >> torch.arange(8)[:, None, None] & 1).double()
    exact = torch.einsum("mk,jkn->mjn", power, closed)
    mean = exact.mean(-1, keepdim=True)
    assert 0.08 < float(((exact - mean) / mean).square().mean().sqrt()) < 0.2


def test_a_nonlinear_converter_equals_the_reference(make_tile, codes):
    tile = make_tile(adc_bits=7)
    tile = replace(tile, adc=replace(tile.adc, nonlinearity=1.5))
    streamed, resident = codes(5, 140), codes(140, 6, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    assert torch.equal(digit_serial_product(streamed, resident, tile, 8, 8, draw(5)).long(), reference)


@pytest.mark.parametrize("path", PATHS)
def test_what_digits_cannot_hold_is_refused(make_tile, codes, monkeypatch, path):
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(adc_bits=7)
    streamed, resident = codes(3, 20), codes(20, 4)
    for wrong in (float("nan"), 1e9, -200.0):
        bad = streamed.clone()
        bad[1, 2] = wrong
        with pytest.raises(NumeralError, match="streamed"):
            digit_serial_product(bad, resident, tile, 8, 8, draw(3))
    bad = resident.clone()
    bad[1, 2] = 128.0
    with pytest.raises(NumeralError):
        digit_serial_product(streamed, bad, tile, 8, 8, draw(3))
    with pytest.raises(ValueError, match="keys"):
        digit_serial_product(streamed, resident, tile, 8, 8, draw(4))


@pytest.mark.parametrize(
    "lossy",
    [
        {"adc_bits": 5, "step": 4, "rounding": "floor", "environment_noise": 0.5, "adc_noise": 0.2},
        {"adc_bits": 8, "rounding": "floor", "environment_noise": 0.3},
        {"adc_bits": 5, "step": 3, "environment_noise": 0.3},
    ],
    ids=str,
)
def test_the_mean_of_a_layer_is_that_of_its_conversions(make_tile, codes, lossy):
    """The sum of E[code] over all conversions, from normal tails; 4.5 standard errors of rows."""
    tile = make_tile(**lossy)
    streamed, resident = codes(400, 140), codes(140, 48, seed=1)
    plan = conversion_plan(tile, 8, 8, 140)
    assert plan is not None
    assert plan.noise == "whole"
    half = 0.0 if tile.adc.rounding == "floor" else 0.5
    bounds = (torch.arange(1 - plan.max_code, plan.max_code + 1).double() - half) * plan.step
    sums = torch.arange(-192, 193).double()  # 64 elements of digits up to 3
    mean = torch.special.ndtr((sums[:, None] - bounds) / plan.worst_sd).sum(-1) - plan.max_code
    digits = plan.digits_of[:, : plan.digits][streamed.long() - plan.lowest].double()
    wanted = torch.zeros(400, 48, dtype=torch.float64)
    for first, last in plan.groups:
        for plane, weight in enumerate(plan.full_weight.tolist()):
            closed = (resident[first:last].long() >> plane & 1).double()
            for index, power in enumerate(plan.digit_weight.tolist()):
                code = mean[(digits[:, first:last, index] @ closed).long() + 192]
                wanted += code * (plan.step * weight * power)
    off = (digit_serial_product(streamed, resident, tile, 8, 8, draw(400)).double() - wanted).mean(1)
    assert abs(float(off.mean())) < 4.5 * float(off.std()) / 400**0.5
