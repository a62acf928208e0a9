"""Digits, drives, planes and places."""

from __future__ import annotations

import pytest
import torch

from ohmformer import crossbars
from ohmformer.crossbars import CrossbarError

CODES = [("shared", "bits"), ("shared", "digits"), ("per_resistor", "bits"), ("per_resistor", "digits")]


@pytest.mark.parametrize(("polarity", "code"), CODES)
@pytest.mark.parametrize("radix", [3, 5, 7, 9, 15, 27, 257])
def test_planes_and_digits_add_up_to_every_int8(make_tile, radix, polarity, code):
    tile = make_tile(radix, polarity, resident_code=code)
    values = torch.arange(-127, 128)[:, None]
    planes, weights = crossbars.resident_planes(values, 8, tile)
    assert torch.equal((planes.long() * weights[:, None, None]).sum(0), values)
    assert planes.dtype == torch.int8
    assert planes.abs().max() == 1
    assert (planes.min() < 0) == (code == "digits")
    assert weights.tolist() == list(crossbars.plane_weights(tile, 8))
    # each plane is one bitline, or a pair
    assert len(planes) * (1 if code == "bits" else 2) == tile.bitlines_per_output(8)
    digits = crossbars.streamed_digits(values, tile, 8)
    assert torch.equal((digits * torch.tensor(crossbars.digit_weights(tile, 8))).sum(-1), values)
    assert torch.equal(crossbars.drive(digits, tile).sum(-1), digits.double())
    assert crossbars.drive(digits, tile).shape[-1] == tile.numeral.resistors_per_digit


def test_plane_weights_by_hand(make_tile):
    assert crossbars.plane_weights(make_tile(7), 4) == (1, 2, 4, -8)
    # base 7, three digits of resistors {1, 2}
    assert crossbars.plane_weights(make_tile(7, resident_code="digits"), 8) == (1, 2, 7, 14, 49, 98)
    assert crossbars.digit_weights(make_tile(7), 8) == (1, 7, 49)


def test_planes_of_a_batch_keep_the_plane_axis_first(make_tile, integers):
    values = integers(3, 4, 5)
    planes, _ = crossbars.resident_planes(values, 8, make_tile())
    assert planes.shape == (8, 3, 4, 5)
    assert torch.equal(planes[:, 1], crossbars.resident_planes(values[1], 8, make_tile())[0])


def test_groups_cut_at_tiles_and_at_active_wordlines(make_tile):
    tile = make_tile(7, wordlines=20, active_wordlines=8)  # 10 elements, 4 at once
    groups = [(g.block, g.start, g.stop, g.place) for g in crossbars.wordline_groups(23, tile)]
    assert groups == [
        (0, 0, 4, 0),
        (0, 4, 8, 4),
        (0, 8, 10, 8),
        (1, 10, 14, 0),
        (1, 14, 18, 4),
        (1, 18, 20, 8),
        (2, 20, 23, 0),
    ]


def test_output_blocks(make_tile):
    tile = make_tile(bitlines=20)  # two 8-bit outputs and four bitlines to spare
    assert crossbars.output_blocks(5, tile, 8) == [(0, 2), (2, 4), (4, 5)]
    with pytest.raises(CrossbarError, match="20 bitlines.*needs 24"):
        crossbars.output_blocks(5, make_tile(7, bitlines=20, resident_code="digits"), 16)
