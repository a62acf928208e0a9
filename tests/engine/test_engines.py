"""Fast engine, reference engine and integer arithmetic agree; every lossy conversion equals the reference."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import compute
from ohmformer.engine import FastEngine, ReferenceEngine, mode_of
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.specs import override, preset

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


def exact(streamed: Tensor, resident: Tensor) -> Tensor:
    return torch.matmul(streamed.to(torch.int64), resident.to(torch.int64))


@pytest.mark.parametrize(("radix", "polarity"), NUMERALS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_an_ideal_tile_multiplies_integers(
    make_tile, codes, generator, radix, polarity, resident_code, left, right
):
    tile = make_tile(radix, polarity, resident_code=resident_code, wordlines=64)
    streamed, resident = codes(*left), codes(*right, seed=1)
    wanted = exact(streamed, resident)
    for engine in (FastEngine(tile), ReferenceEngine(tile)):
        found = engine.product(streamed, resident, streamed_bits=8, resident_bits=8, generator=generator)
        assert found.shape == wanted.shape
        assert torch.equal(found.to(torch.int64), wanted)
    serial = digit_serial_product(streamed, resident, tile, 8, 8, generator)
    assert torch.equal(serial.to(torch.int64), wanted)


@pytest.mark.parametrize(("streamed_bits", "resident_bits"), [(2, 2), (4, 8), (8, 3), (16, 16), (12, 16)])
def test_every_width_of_operands(make_tile, codes, generator, streamed_bits, resident_bits):
    tile = make_tile()
    streamed, resident = codes(4, 70, bits=streamed_bits), codes(70, 3, bits=resident_bits, seed=1)
    streamed[0], resident[:, 0] = streamed.max(), resident.max()
    wanted = exact(streamed, resident)
    assert (wanted.abs().max() > 2**24) == (streamed_bits + resident_bits > 23)
    for engine in (FastEngine(tile), ReferenceEngine(tile)):
        found = engine.product(
            streamed, resident, streamed_bits=streamed_bits, resident_bits=resident_bits, generator=generator
        )
        assert torch.equal(found.to(torch.int64), wanted)
    serial = digit_serial_product(streamed, resident, tile, streamed_bits, resident_bits, generator)
    assert torch.equal(serial.to(torch.int64), wanted)


def test_operands_on_the_meta_device_give_a_shape(make_tile, generator):
    streamed = torch.empty(2, 1, 3, 6, device="meta")
    for engine in (FastEngine(make_tile()), FastEngine(preset("wang2024_2bit_lossy").tile)):
        found = engine.product(
            streamed,
            torch.empty(4, 6, 5, device="meta"),
            streamed_bits=8,
            resident_bits=8,
            generator=generator,
        )
        assert found.is_meta
        assert found.shape == (2, 4, 3, 5)


def test_operands_are_left_as_they_are(make_tile, codes, generator):
    streamed, resident = codes(3, 40), codes(40, 4, seed=1)
    before = streamed.clone(), resident.clone()
    for tile in (make_tile(environment_noise=0.4, mismatch=0.02), preset("wang2024_2bit_lossy").tile):
        FastEngine(tile).product(streamed, resident, streamed_bits=8, resident_bits=8, generator=generator)
        assert torch.equal(streamed, before[0])
        assert torch.equal(resident, before[1])


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
def test_every_lossy_conversion_equals_the_reference(
    make_tile, codes, generator, rounding, resident_code, lossy
):
    tile = make_tile(rounding=rounding, resident_code=resident_code, wordlines=32, **lossy)
    streamed, resident = codes(7, 45), codes(45, 6, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    assert torch.equal(digit_serial_product(streamed, resident, tile, 8, 8, generator).long(), reference)
    assert not torch.equal(reference, exact(streamed, resident))


@pytest.mark.parametrize("name", ["wang2024_2bit_lossy", "wang2024_2bit_serial"])
def test_the_two_bit_presets_without_noise_equal_the_reference(codes, generator, name):
    quiet = {"tile.environment_noise": 0.0, "tile.adc.noise": 0.0, "tile.resistor.mismatch": 0.0}
    tile = override(preset(name), quiet).tile
    for seed in range(3):
        streamed, resident = codes(5, 200, seed=seed), codes(200, 20, seed=seed + 10)
        reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
        serial = digit_serial_product(streamed, resident, tile, 8, 8, generator)
        assert torch.equal(serial.long(), reference)
        lossless = torch.equal(reference, exact(streamed, resident))
        assert lossless == (name == "wang2024_2bit_serial")


def test_blocks_of_rows_change_nothing(make_tile, codes, generator, monkeypatch):
    tile = make_tile(adc_bits=3, step=5)
    streamed, resident = codes(11, 30), codes(30, 3, seed=1)
    whole = digit_serial_product(streamed, resident, tile, 8, 8, generator)
    monkeypatch.setattr("ohmformer.engine.digit_serial.BLOCK_CONVERSIONS", 1)
    assert torch.equal(digit_serial_product(streamed, resident, tile, 8, 8, generator), whole)


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
    first, second = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    fast = digit_serial_product(streamed, resident, tile, 4, 3, first).double()
    reference = compute(streamed.long(), resident.long(), tile, 4, 3, generator=second).values.double()
    assert fast.var(0).min() > 0
    assert within(fast, reference).abs().max() < 4.5


def test_mismatch_of_lossy_conversions_has_the_variance_of_the_reference(make_tile, codes):
    """Over draws of the tile; mismatch enters the fast path as noise of the same variance.

    One digit for each element (2-bit operands) and one group: no resistor is met twice, so that the law is
    the same for each output (compare the head of crossbars.moments).
    """
    tile = make_tile(mismatch=0.15, wordlines=32, adc_bits=3, step=2)
    row, resident = codes(1, 12, bits=2), codes(12, 4, bits=2, seed=1)
    first = torch.Generator().manual_seed(3)
    fast = digit_serial_product(row.expand(4000, -1), resident, tile, 2, 2, first).double()
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


def test_the_same_generator_state_gives_the_same_product(make_tile, codes):
    streamed, resident = codes(5, 40), codes(40, 6, seed=1)
    tiles = (
        make_tile(environment_noise=0.2),
        make_tile(environment_noise=0.5),
        preset("wang2024_2bit_lossy").tile,
    )
    for tile, engine in itertools.product(tiles, (FastEngine, ReferenceEngine)):
        one, two, other = (
            engine(tile).product(
                streamed,
                resident,
                streamed_bits=8,
                resident_bits=8,
                generator=torch.Generator().manual_seed(seed),
            )
            for seed in (5, 5, 6)
        )
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
