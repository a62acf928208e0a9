"""The computation crossbar: exact where nothing is lost, and what loss, mismatch and counts look like."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from ohmformer import crossbars
from ohmformer.crossbars import CrossbarError, compute
from ohmformer.devices import DeviceError
from ohmformer.specs import ideal, names, preset

RADICES = [3, 5, 7, 9, 11, 13, 15, 17, 257]
CODES = list(itertools.product(["shared", "per_resistor"], ["bits", "digits"]))


@pytest.mark.parametrize(("polarity", "code"), CODES)
@pytest.mark.parametrize("radix", RADICES)
def test_lossless_and_noiseless_is_the_integer_product(make_tile, integers, radix, polarity, code):
    """Shapes that fill no tile, fewer active wordlines than wordlines, mixed bits."""
    tile = make_tile(radix, polarity, resident_code=code, wordlines=45, active_wordlines=27)
    for streamed_bits, resident_bits in ((8, 8), (2, 5), (4, 3), (12, 6), (7, 16), (16, 16)):
        streamed = integers(3, 53, bits=streamed_bits, seed=1)
        resident = integers(53, 17, bits=resident_bits, seed=2)
        result = compute(streamed, resident, tile, streamed_bits, resident_bits)
        assert result.values.dtype == torch.int64
        assert torch.equal(result.values, streamed @ resident)


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize("code", ["bits", "digits"])
def test_every_pair_of_int8(make_tile, code, rounding):
    """All 65,536 products of one element, -128 included."""
    every = torch.arange(-128, 128)
    tile = make_tile(7, resident_code=code, rounding=rounding)
    result = compute(every[:, None], every[None, :], tile, 8, 8)
    assert torch.equal(result.values, torch.outer(every, every))


@pytest.mark.parametrize("radix", RADICES)
def test_every_pair_of_pairs_of_int3(make_tile, radix):
    """Inner length 2: every sum of two products of 3-bit integers."""
    pairs = torch.tensor(list(itertools.product(range(-3, 4), repeat=2)))
    tile = make_tile(radix, wordlines=16)
    assert torch.equal(compute(pairs, pairs.t(), tile, 3, 3).values, pairs @ pairs.t())


@pytest.mark.parametrize("name", names())
def test_ideal_presets_are_exact_on_the_largest_operands(integers, name):
    tile = ideal(preset(name)).tile
    streamed, resident = integers(3, 130), integers(130, 18, seed=1)
    streamed[0], resident[:, 0], resident[:, 1] = 127, 127, -127
    assert torch.equal(compute(streamed, resident, tile, 8, 8).values, streamed @ resident)


def test_reading_c_keeps_little_of_the_information(integers):
    """The lossy preset is not exact: otherwise the exactness tests above could not tell."""
    tile = preset("wang2024_2bit_lossy").tile
    streamed, resident = integers(3, 130), integers(130, 18, seed=1)
    generator = torch.Generator().manual_seed(0)
    values = compute(streamed, resident, tile, 8, 8, generator=generator).values
    assert not torch.equal(values, streamed @ resident)


def test_conversions_and_cycles_by_hand(make_tile, integers):
    # 10 elements of two resistors in a tile, 4 at once: 3 + 3 + 1 groups over 23 elements;
    # two 8-bit outputs in 20 bitlines: 3 tiles over 5 outputs; 3 digits; 6 rows; 8 planes
    tile = make_tile(7, wordlines=20, active_wordlines=8, bitlines=20)
    result = compute(integers(6, 23), integers(23, 5), tile, 8, 8)
    assert result.conversions == 6 * 3 * 7 * 5 * 8
    assert result.cycles == 6 * 3 * 7 * 3
    # balanced digits: 3 digits x 2 resistors, a pair of bitlines takes one conversion
    tile = make_tile(7, wordlines=20, active_wordlines=8, bitlines=24, resident_code="digits")
    result = compute(integers(6, 23), integers(23, 5), tile, 8, 8)
    assert result.conversions == 6 * 3 * 7 * 5 * 6
    assert result.cycles == 6 * 3 * 7 * 3


def test_a_converter_too_small_clips_each_group(make_tile):
    """8 elements of digit 3 on one bit plane are 24 units: 3 magnitude bits keep 7; groups of 2 keep all."""
    streamed, resident = torch.full((1, 8), 3), torch.ones(8, 1, dtype=torch.int64)
    assert compute(streamed, resident, make_tile(adc_bits=3), 3, 3).values.item() == 7
    assert compute(-streamed, resident, make_tile(adc_bits=3), 3, 3).values.item() == -7
    grouped = make_tile(adc_bits=3, active_wordlines=4)
    assert compute(streamed, resident, grouped, 3, 3).values.item() == 24
    # a coarse step: 24 = 2.4 steps of 10
    assert compute(streamed, resident, make_tile(adc_bits=3, step=10), 3, 3).values.item() == 20


def test_a_lossy_converter_errs_as_theory_says(make_tile):
    """Steps of q = 5, no clipping: an error uniform on -2 ... 2 in each conversion, (q^2 - 1)/12 = 2.

    Sums spread over many steps: with 64 random digits and bits their sd is 9 to 12, so that they are uniform
    modulo 5 up to exp(-2 pi^2 (9/5)^2) = 1e-28, and errors of different conversions are uncorrelated up to
    the same, as the joint distribution is as wide in every direction (planes correlate by 1/2 at most).
    """
    tile = make_tile(7, step=5, adc_bits=8)
    generator = torch.Generator().manual_seed(5)
    draws, columns, inner = 60, 40, 128
    means, squares = [], []
    for _ in range(draws):  # new operands every time: what one draw shares is averaged out
        streamed = torch.randint(-171, 172, (40, inner), generator=generator)  # digits uniform on -3 ... 3
        resident = torch.randint(-128, 128, (inner, columns), generator=generator)  # bits uniform
        error = (compute(streamed, resident, tile, 8, 8).values - streamed @ resident).double()
        means.append(error.mean())
        squares.append(error.square().mean())
    groups = 2
    expected = groups * 2 * (1 + 7**2 + 7**4) * sum(c * c for c in crossbars.plane_weights(tile, 8))
    mean, square = torch.stack(means), torch.stack(squares)
    assert abs(mean.mean()) < 4 * mean.std() / math.sqrt(draws)
    assert abs(square.mean() - expected) < 4 * square.std() / math.sqrt(draws)
    assert square.std() / math.sqrt(draws) < 0.02 * expected  # the test is sharp


def test_mismatch_sits_at_its_wordline_and_bitline(make_tile):
    """One resistor that is 60 % too strong lifts exactly the codes that its branch takes part in by one."""
    tile = make_tile(7, wordlines=20, bitlines=20)
    drawn = torch.zeros(20, 20, dtype=torch.float64)
    drawn[2 * 3, 8 + 5] = 0.6  # element 3, resistor of weight 1; output 1, bit 5
    streamed = torch.zeros(1, 12, dtype=torch.int64)
    streamed[0, 3] = 1 + 7 * 3  # digits 1 and 3: both have resistor 1 on
    resident = torch.full((12, 4), 32)
    exact = streamed @ resident
    off = compute(streamed, resident, tile, 8, 8, mismatch=drawn).values - exact
    # 1.6 -> 2 (digit 0) and 3.6 -> 4 (digit 1): (1 + 7) * 2^5; every tile of the inner and output axes is
    # this one, so output 1 of the second tile (column 3) errs as well; element 3 of the second block is idle
    assert off.tolist() == [[0, 256, 0, 256]]
    drawn_elsewhere = drawn.roll(1, dims=0)  # the resistor of weight 2: on for digit 3 alone
    off = compute(streamed, resident, tile, 8, 8, mismatch=drawn_elsewhere).values - exact
    assert off.tolist() == [[0, 7 * 32, 0, 7 * 32]]  # 3 + 2 * 0.6 = 4.2 -> 4
    # bit 5 is off: nothing to see
    silent = torch.full((12, 4), 31)
    assert torch.equal(compute(streamed, silent, tile, 8, 8, mismatch=drawn).values, streamed @ silent)


@pytest.mark.parametrize(("radix", "resistors"), [(3, 1), (7, 2), (15, 3)])
def test_mismatch_keeps_its_place_when_wordlines_work_in_groups(make_tile, radix, resistors):
    """Ten elements in a tile, four at once: element 5 is the second of its group, its wordlines its own."""
    tile = make_tile(radix, wordlines=10 * resistors, active_wordlines=4 * resistors)
    streamed, resident = torch.ones(1, 10, dtype=torch.int64), torch.ones(10, 1, dtype=torch.int64)
    for element in (1, 5, 9):
        drawn = torch.zeros(10 * resistors, 128, dtype=torch.float64)
        drawn[resistors * element, 0] = 0.6  # weight 1: 1.6 -> 2, within the converter of a group
        alone = torch.zeros(1, 10, dtype=torch.int64)
        alone[0, element] = 1
        tile_with_room = replace(tile, adc=replace(tile.adc, bits=8))
        assert compute(alone, resident, tile_with_room, 8, 8, mismatch=drawn).values.item() == 2
        assert compute(streamed - alone, resident, tile_with_room, 8, 8, mismatch=drawn).values.item() == 9


def test_mismatch_of_a_pair_of_bitlines(make_tile):
    """Digits: +1 switches the first bitline of the pair, -1 the second."""
    tile = make_tile(7, wordlines=20, bitlines=24, resident_code="digits")
    for sign, bitline in ((1, 0), (-1, 1)):
        drawn = torch.zeros(20, 24, dtype=torch.float64)
        drawn[0, 12 + 2 * 2 + bitline] = 0.6  # element 0, weight 1; output 1, plane 2 (digit 1, weight 1)
        streamed, resident = torch.tensor([[1]]), torch.tensor([[7, 7, -7, -7]])
        off = compute(streamed, resident, tile, 8, 8, mismatch=drawn).values - streamed @ resident
        # columns 1 and 3 are output 1 of their tile; 1.6 -> 2, one code too many of weight 7
        expected = [0, 7, 0, 0] if sign > 0 else [0, 0, 0, -7]
        assert off.tolist() == [expected]


def test_blocks_run_on_their_physical_tiles_in_turn(make_tile):
    """Two inner blocks x two output blocks on three tiles: numbers 0, 1, 2, 0."""
    tile = make_tile(7, wordlines=4, bitlines=8)  # two elements, one output
    streamed, resident = torch.ones(1, 4, dtype=torch.int64), torch.ones(4, 2, dtype=torch.int64)
    exact = streamed @ resident
    for number, expected in ((0, [[1, 1]]), (1, [[0, 1]]), (2, [[1, 0]])):
        drawn = [torch.zeros(4, 8, dtype=torch.float64) for _ in range(3)]
        drawn[number][0, 0] = 0.6  # 2 units become 2.6 -> 3
        assert (compute(streamed, resident, tile, 8, 8, mismatch=drawn).values - exact).tolist() == expected


def test_mismatch_within_half_a_code_is_harmless(make_tile, integers):
    tile = make_tile(7, mismatch=0.003)
    drawn = crossbars.draw_mismatch(tile, torch.Generator().manual_seed(1))
    assert drawn.shape == (128, 128)
    # 0.3 % of at most 64 branches of weight 2: sd <= 0.003 * 2 * 8 = 0.048, a half is 10 sd away
    streamed, resident = integers(20, 200), integers(200, 30, seed=1)
    assert torch.equal(compute(streamed, resident, tile, 8, 8, mismatch=drawn).values, streamed @ resident)


def test_a_seed_repeats_and_noise_without_a_generator_is_refused(make_tile, integers):
    operands = integers(4, 30), integers(30, 9, seed=1)
    tile = make_tile(7, environment_noise=1.0, adc_noise=0.5)
    first, again, other = (
        compute(*operands, tile, 8, 8, generator=torch.Generator().manual_seed(seed)).values
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(DeviceError, match="environment_noise"):
        compute(*operands, tile, 8, 8)
    with pytest.raises(DeviceError, match=r"adc\.noise"):
        compute(*operands, make_tile(7, adc_noise=0.5), 8, 8)


def test_operands_that_do_not_fit_are_refused(make_tile):
    one = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(CrossbarError, match=r"\(2, 3\) and \(2, 3\)"):
        compute(one, one, make_tile(), 8, 8)
    with pytest.raises(CrossbarError, match="must be"):
        compute(one[0], one.t(), make_tile(), 8, 8)
    with pytest.raises(ValueError, match="integer"):
        compute(one.float(), one.t(), make_tile(), 8, 8)
    with pytest.raises(ValueError, match="200"):
        compute(200 * one, one.t(), make_tile(), 8, 8)
    with pytest.raises(CrossbarError, match="mismatch has shape"):
        compute(one, one.t(), make_tile(), 8, 8, mismatch=torch.zeros(3, 3))


def test_empty_operands_give_empty_products(make_tile):
    none = torch.empty(0, 5, dtype=torch.int64)
    assert compute(none, torch.ones(5, 3, dtype=torch.int64), make_tile(), 8, 8).values.shape == (0, 3)
    assert compute(none.t(), none, make_tile(), 8, 8).values.tolist() == [[0] * 5] * 5
