"""Fast engine, reference engine and whole numbers agree; every lossy conversion equals the reference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import compute, draw_mismatch
from ohmformer.devices import static_deviation
from ohmformer.engine import Draw, FastEngine, ReferenceEngine, ResidentCodes, mode_of
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.products import product_shape
from ohmformer.engine.wire_law import UNSEEN
from ohmformer.errors import UserError
from ohmformer.specs import override, preset

from .conftest import at

NUMERALS = [
    (3, "shared"),
    (5, "shared"),
    (7, "shared"),
    (9, "per_resistor"),
    (15, "shared"),
    (27, "per_resistor"),
]
SHAPES = [  # streamed, resident
    ((3, 5), (5, 4)),
    ((1, 130), (130, 2)),
    ((2, 3, 70), (70, 5)),
    ((2, 3, 6), (2, 6, 5)),
    ((2, 1, 3, 6), (4, 6, 5)),
    ((3, 6), (2, 2, 6, 5)),
    ((2, 2, 1, 9), (1, 2, 9, 1)),
    ((0, 3, 6), (0, 6, 5)),
    ((0, 6), (6, 5)),
]


def draw_for(streamed: Tensor, resident: Tensor | ResidentCodes, seed: int = 1) -> Draw:
    """One key for each row of the product."""
    return at(product_shape(streamed, resident)[:-1].numel(), seed=seed)


def exact(streamed: Tensor, resident: Tensor) -> Tensor:
    return torch.matmul(streamed.to(torch.int64), resident.to(torch.int64))


@pytest.mark.parametrize(("radix", "polarity"), NUMERALS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_an_ideal_tile_multiplies_integers(make_tile, codes, radix, polarity, resident_code, left, right):
    tile = make_tile(radix, polarity, resident_code=resident_code, wordlines=64)
    streamed, resident = codes(*left), codes(*right, seed=1)
    wanted, draw = exact(streamed, resident), draw_for(streamed, resident)
    for engine in (FastEngine(tile), FastEngine(tile, "digit-serial"), ReferenceEngine(tile)):
        found = engine.product(streamed, resident, streamed_bits=8, resident_bits=8, draw=draw)
        assert found.shape == wanted.shape
        assert torch.equal(found.to(torch.int64), wanted)
        if resident.ndim == 2 and wanted.numel():
            stored = ResidentCodes(resident.t(), 8)
            found = engine.product(streamed, stored, streamed_bits=8, resident_bits=8, draw=draw)
            assert found.shape == wanted.shape
            assert torch.equal(found.to(torch.int64), wanted)


@pytest.mark.parametrize(("streamed_bits", "resident_bits"), [(2, 2), (4, 8), (8, 3), (16, 16), (12, 16)])
def test_every_width_of_operands(make_tile, codes, streamed_bits, resident_bits):
    tile = make_tile()
    streamed, resident = codes(4, 70, bits=streamed_bits), codes(70, 3, bits=resident_bits, seed=1)
    streamed[0], resident[:, 0] = streamed.max(), resident.max()
    wanted = exact(streamed, resident)
    assert (wanted.abs().max() > 2**24) == (streamed_bits + resident_bits > 23)
    stored = ResidentCodes(resident.t(), resident_bits)
    for engine in (FastEngine(tile), FastEngine(tile, "digit-serial"), ReferenceEngine(tile)):
        for right in (resident, stored):
            found = engine.product(
                streamed, right, streamed_bits=streamed_bits, resident_bits=resident_bits, draw=at(4)
            )
            assert torch.equal(found.to(torch.int64), wanted)


def test_sums_beyond_float32_come_whole(make_tile, codes):
    """1500 largest products of 8 bits reach 2.4e7: float64, odd sums kept, also of packed codes."""
    streamed, weights = torch.full((2, 1501), 127.0), torch.full((3, 1501), 127.0)
    streamed[1, 0], weights[1, 5] = 126, -127
    wanted = exact(streamed, weights.t())
    assert bool((wanted % 2 == 1).any())
    for right in (weights.t(), ResidentCodes(weights, 8)):
        found = FastEngine(make_tile()).product(streamed, right, streamed_bits=8, resident_bits=8, draw=at(2))
        assert found.dtype == torch.float64
        assert torch.equal(found.long(), wanted)


def test_operands_on_the_meta_device_give_a_shape(make_tile):
    streamed = torch.empty(2, 1, 3, 6, device="meta")
    stored = ResidentCodes(torch.empty(5, 6, device="meta"), 8)
    for engine in (FastEngine(make_tile()), FastEngine(preset("wang2024_2bit_lossy").tile)):
        for right, shape in ((torch.empty(4, 6, 5, device="meta"), (2, 4, 3, 5)), (stored, (2, 1, 3, 5))):
            found = engine.product(streamed, right, streamed_bits=8, resident_bits=8, draw=at(24))
            assert found.is_meta
            assert found.shape == shape


@pytest.mark.parametrize("mode", ["collapsed", "digit-serial", "statistical"])
def test_operands_and_keys_are_left_as_they_are(make_tile, codes, mode):
    streamed, resident, draw = codes(3, 40), codes(40, 4, seed=1), at(3)
    before = streamed.clone(), resident.clone(), draw.keys.clone()
    for noise in ({"environment_noise": 0.4, "mismatch": 0.02}, {"environment_noise": 0.15}):
        engine, stored = FastEngine(make_tile(**noise), mode), ResidentCodes(resident.t(), 8)
        packed = stored.packed.clone()
        for right in (resident, stored, stored):
            engine.product(streamed, right, streamed_bits=8, resident_bits=8, draw=draw)
        assert torch.equal(stored.packed, packed)
        for one, other in zip((streamed, resident, draw.keys), before, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("mode", ["collapsed", "digit-serial", "statistical"])
@pytest.mark.parametrize(
    "noise",
    [{"environment_noise": 0.15}, {"environment_noise": 0.4, "mismatch": 0.02}],
    ids=["rare", "dense"],
)
def test_each_row_has_the_noise_of_its_key(make_tile, codes, mode, noise):
    """Any rows together, or alone, in any order, of a matrix or a batch: equal bit for bit."""
    engine = FastEngine(make_tile(**noise), mode)
    streamed, resident, draw = codes(24, 60), codes(60, 70, seed=1), at(24)
    bits = {"streamed_bits": 8, "resident_bits": 8}
    for right in (resident, ResidentCodes(resident.t(), 8)):
        whole = engine.product(streamed, right, draw=draw, **bits)
        assert not torch.equal(whole.long(), exact(streamed, resident))
        batch = engine.product(streamed.view(2, 3, 4, 60), right, draw=draw, **bits)
        assert torch.equal(batch.view(24, 70), whole)
        for rows in ([5], [20, 3, 11], list(range(8, 24))):
            own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[rows])
            assert torch.equal(engine.product(streamed[rows], right, draw=own, **bits), whole[rows])
        for other in (at(24, seed=2), at(24, stream=6), at(24, first=100)):
            assert not torch.equal(engine.product(streamed, right, draw=other, **bits), whole)


def test_the_mode_follows_the_physics(make_tile):
    assert mode_of(preset("wang2024").tile) == "collapsed"
    assert mode_of(preset("wang2024_2bit_serial").tile) == "collapsed"
    assert mode_of(preset("wang2024_2bit_lossy").tile) == "digit-serial"
    assert mode_of(make_tile(adc_bits=7)) == "digit-serial"
    assert mode_of(make_tile(step=2)) == "digit-serial"
    assert mode_of(make_tile(rounding="floor")) == "collapsed"
    for noise in ({"environment_noise": 0.1}, {"adc_noise": 0.1}, {"mismatch": 0.01}):
        assert mode_of(make_tile(rounding="floor", **noise)) == "digit-serial"
        assert mode_of(make_tile(rounding="half_up", **noise)) == "collapsed"


def test_wires_and_bent_converters_collapse_while_no_level_is_misread(make_tile):
    """Deterministic shifts below half a code cost nothing; with noise they do once the tail shows."""

    def bent(nonlinearity, **noise):
        tile = make_tile(**noise)
        return replace(tile, adc=replace(tile.adc, nonlinearity=nonlinearity))

    moved = static_deviation(bent(0.2))
    assert 0 < moved < 0.5
    assert mode_of(bent(0.2)) == "collapsed"
    assert mode_of(bent(0.2, rounding="floor")) == "digit-serial"
    assert mode_of(bent(3.0)) == "digit-serial"
    # 1e-12 lies at 7.13 standard deviations of both sides
    edge = (0.5 - moved) / 7.13
    assert math.erfc((0.5 - moved) / (0.99 * edge * math.sqrt(2))) < UNSEEN
    assert mode_of(bent(0.2, environment_noise=0.99 * edge)) == "collapsed"
    assert mode_of(bent(0.2, environment_noise=1.01 * edge)) == "calibrated"
    assert mode_of(bent(0.2, mismatch=0.01)) == "digit-serial"


def test_a_mode_that_the_physics_forbids_is_refused(make_tile):
    lossy = preset("wang2024_2bit_lossy").tile
    with pytest.raises(UserError, match="this chip's do lose"):
        FastEngine(lossy, "collapsed")
    with pytest.raises(UserError, match=r"mode is 'quick': it must be one of collapsed, calibrated"):
        FastEngine(lossy, "quick")
    assert FastEngine(lossy).runs == "digit-serial"
    assert FastEngine(lossy, "statistical").runs == "statistical"
    assert FastEngine(make_tile(), "digit-serial").runs == "digit-serial"


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize(
    "lossy",
    [
        {"adc_bits": 2, "step": 7},
        {"adc_bits": 2},  # clips
        {"adc_bits": 4, "step": 2},  # ties
        {"adc_bits": 5, "step": 3},
        {"adc_bits": 3, "active_wordlines": 6},  # several groups to a tile
        {"adc_bits": 1, "active_wordlines": 2, "step": 4},
        {"adc_bits": 16, "step": 1000},
    ],
    ids=str,
)
def test_every_lossy_conversion_equals_the_reference(make_tile, codes, rounding, resident_code, lossy):
    tile = make_tile(rounding=rounding, resident_code=resident_code, wordlines=32, **lossy)
    streamed, resident = codes(7, 45), codes(45, 6, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    assert torch.equal(digit_serial_product(streamed, resident, tile, 8, 8, at(7)).long(), reference)
    assert not torch.equal(reference, exact(streamed, resident))


@pytest.mark.parametrize("name", ["wang2024_2bit_lossy", "wang2024_2bit_serial"])
def test_the_two_bit_presets_without_noise_equal_the_reference(codes, name):
    quiet = {"tile.environment_noise": 0.0, "tile.adc.noise": 0.0, "tile.resistor.mismatch": 0.0}
    tile = override(preset(name), quiet).tile
    for seed in range(3):
        streamed, resident = codes(5, 200, seed=seed), codes(200, 20, seed=seed + 10)
        reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
        serial = digit_serial_product(streamed, resident, tile, 8, 8, at(5))
        assert torch.equal(serial.long(), reference)
        lossless = torch.equal(reference, exact(streamed, resident))
        assert lossless == (name == "wang2024_2bit_serial")


REPEATS = 6000


def within(sample_a: Tensor, sample_b: Tensor) -> Tensor:
    """Mean and variance of two samples [repeat, output], in standard errors of their difference.

    se²(mean) = var/n; se²(variance) = (m4 − var²)/n, m4 the fourth central moment; both estimated.
    """
    found = []
    for statistic in ("mean", "variance"):
        value, error = [], []
        for sample in (sample_a, sample_b):
            centred = sample - sample.mean(0)
            variance = centred.square().mean(0)
            value.append(sample.mean(0) if statistic == "mean" else variance)
            spread = variance if statistic == "mean" else centred.pow(4).mean(0) - variance**2
            error.append(spread / len(sample))
        found.append((value[0] - value[1]) / (error[0] + error[1]).sqrt())
    return torch.cat(found)


@pytest.mark.parametrize(
    "noise",
    [
        {"environment_noise": 0.8, "adc_bits": 2, "step": 7},
        {"environment_noise": 0.5, "adc_noise": 0.3, "adc_bits": 4, "step": 2, "rounding": "floor"},
        {"environment_noise": 0.3, "rounding": "floor"},
        {"adc_noise": 0.4, "adc_bits": 3, "rounding": "half_up"},
        {"adc_noise": 0.3, "adc_bits": 3, "step": 2, "resident_code": "digits"},
    ],
    ids=str,
)
def test_noisy_lossy_conversions_have_the_moments_of_the_reference(make_tile, codes, noise):
    """Rows of one block are repeats of the same operand row, each with noise of its own.

    8 statistics (mean and variance of 4 outputs) below 4.5 standard errors: by chance one exceeds it with
    probability 8·6.8e-6 = 5e-5.
    """
    tile = make_tile(wordlines=16, **noise)
    row, resident = codes(1, 12, bits=4), codes(12, 4, bits=3, seed=1)
    streamed = row.expand(REPEATS, -1)
    generator = torch.Generator().manual_seed(2)
    fast = digit_serial_product(streamed, resident, tile, 4, 3, at(REPEATS)).double()
    reference = compute(streamed.long(), resident.long(), tile, 4, 3, generator=generator).values.double()
    assert fast.var(0).min() > 0
    assert within(fast, reference).abs().max() < 4.5


def test_mismatch_of_lossy_conversions_has_the_variance_of_the_reference(make_tile, codes):
    """Over draws of the tile; mismatch enters the fast path as noise of the same variance.

    One digit for each element (2-bit operands) and one group: no resistor is met twice, so that the law is
    the same for each output (compare the head of crossbars.moments).
    """
    tile = make_tile(mismatch=0.15, wordlines=32, adc_bits=3, step=2)
    row, resident = codes(1, 12, bits=2), codes(12, 4, bits=2, seed=1)
    fast = digit_serial_product(row.expand(4000, -1), resident, tile, 2, 2, at(4000, seed=3)).double()
    drawn = torch.randn(
        4000, tile.wordlines, tile.bitlines, generator=torch.Generator().manual_seed(4)
    ).double()
    reference = torch.cat(
        [
            compute(row.long(), resident.long(), tile, 2, 2, mismatch=0.15 * deviations).values.double()
            for deviations in drawn[:1500]
        ]
    )
    assert reference.var(0).max() > 0
    moving = (fast.var(0) > 0) & (reference.var(0) > 0)
    assert int(moving.sum()) >= 2
    assert within(fast[:, moving], reference[:, moving]).abs().max() < 4.5


def test_the_reference_follows_seed_and_stream(make_tile, codes):
    """The same noise for the same operation; another for another seed or stream, or mismatch."""
    streamed, resident = codes(5, 40), codes(40, 6, seed=1)
    for tile in (make_tile(environment_noise=0.5), preset("wang2024_2bit_lossy").tile):
        one, two, other, stream = (
            ReferenceEngine(tile).product(streamed, resident, streamed_bits=8, resident_bits=8, draw=draw)
            for draw in (at(5), at(5), at(5, seed=2), at(5, stream=6))
        )
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
        assert not torch.equal(one, stream)
    tile = make_tile(mismatch=0.2)
    physical = ReferenceEngine(tile, draw_mismatch(tile, torch.Generator().manual_seed(1)))
    found = physical.product(streamed, resident, streamed_bits=8, resident_bits=8, draw=at(5))
    assert not torch.equal(found.long(), exact(streamed, resident))


def test_the_reference_takes_no_rows(make_tile):
    """No matrix at all in the batch: an empty product of the right shape."""
    empty = torch.zeros(0, 3, 6)
    found = ReferenceEngine(make_tile()).product(
        empty, torch.zeros(0, 6, 5), streamed_bits=8, resident_bits=8, draw=at(0)
    )
    assert found.shape == (0, 3, 5)
