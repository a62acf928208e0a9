"""Conversions that provably clip nothing are computed all at once: the same numbers, and only there."""

from __future__ import annotations

import pytest
import torch

from ohmformer.engine.conversion_plan import conversion_plan
from ohmformer.engine.digit_serial import digit_serial_product, pack_switches
from ohmformer.engine.native import VARIABLE
from ohmformer.engine.resident import ResidentCodes

from .serial import DENSE, PATHS, SPARSE, WILD, draw

NATIVE = [path for path in PATHS if path != "torch"]
VECTORS = [path for path in NATIVE if path != "portable"]  # the others compute every conversion
WHOLE = {"environment_noise": 0.25}
MORE = {"environment_noise": 0.6, "adc_noise": 0.3}  # several thresholds
NOISES = {
    "quiet": {},
    "sparse": SPARSE,
    "whole": WHOLE,
    "mismatch": DENSE,
    "more": MORE,
    "floor": {**WHOLE, "rounding": "floor"},  # noise rounded down
}
SIZES = (127.0, 90.0, 40.0, 20.0, 8.0, 3.0, 1.0, 0.0)  # of a row: every digit may clip ... none can


def _rows(codes, rows: int, inner: int) -> torch.Tensor:
    """Rows of many sizes side by side, so that blocks of rows hold every kind."""
    sizes = torch.tensor(SIZES).repeat(-(-rows // len(SIZES)))[:rows, None]
    return (codes(rows, inner) * sizes / 127).round()


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("noise", NOISES.values(), ids=list(NOISES))
@pytest.mark.parametrize("adc_bits", [3, 5, 6, 7])
@pytest.mark.parametrize(
    ("radix", "polarity", "wordlines"),
    [
        (3, "shared", 128),
        (7, "shared", 128),
        (7, "shared", 200),
        (15, "shared", 96),
        (9, "per_resistor", 128),
    ],
)
def test_the_numbers_are_those_of_every_conversion(
    make_tile, codes, monkeypatch, resident_code, noise, adc_bits, radix, polarity, wordlines
):
    tile = make_tile(
        radix, polarity, resident_code=resident_code, adc_bits=adc_bits, wordlines=wordlines, **noise
    )
    streamed, resident = _rows(codes, 45, 210), codes(210, 70, seed=1)
    monkeypatch.setenv(VARIABLE, "torch")
    wanted = digit_serial_product(streamed, resident, tile, 8, 8, draw(45))
    for path in NATIVE:
        monkeypatch.setenv(VARIABLE, path)
        stored = ResidentCodes(resident.t().contiguous(), 8)
        switches = pack_switches(stored.codes(), tile, 8)
        found = digit_serial_product(streamed, switches, tile, 8, 8, draw(45), stored)
        assert torch.equal(found, wanted), path


@pytest.mark.parametrize("path", NATIVE)
def test_numbers_beyond_eight_bits_are_converted_one_by_one(make_tile, codes, monkeypatch, path):
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(adc_bits=6)
    streamed, resident = _rows(codes, 16, 128), codes(128, 20, seed=1)
    streamed[5, 7] = 150  # three digits of base 7 hold up to 171
    stored = ResidentCodes(resident.t().contiguous(), 8)
    switches = pack_switches(stored.codes(), tile, 8)
    found = digit_serial_product(streamed, switches, tile, 8, 8, draw(16), stored)
    assert torch.equal(found, digit_serial_product(streamed, switches, tile, 8, 8, draw(16)))


@pytest.mark.parametrize("path", VECTORS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
def test_rows_that_cannot_clip_take_the_integer_product(make_tile, codes, monkeypatch, path, resident_code):
    """Seen by an integer operand that is not that of the switches: the result is its product."""
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(adc_bits=6, resident_code=resident_code)
    streamed, resident, other = _rows(codes, 8, 128)[4:], codes(128, 20, seed=1), codes(128, 20, seed=2)
    switches = pack_switches(resident.t(), tile, 8)
    stored = ResidentCodes(other.t().contiguous(), 8)
    found = digit_serial_product(streamed, switches, tile, 8, 8, draw(4), stored)
    assert torch.equal(found, streamed @ other)
    assert not torch.equal(found, streamed @ resident)


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("noise", [{}, WHOLE, DENSE], ids=["quiet", "whole", "mismatch"])
@pytest.mark.parametrize("adc_bits", [6, 7, 8])
@pytest.mark.parametrize("inner", [192, 1000])
def test_long_rows_of_every_shape(make_tile, codes, monkeypatch, resident_code, noise, adc_bits, inner):
    """Sums that end early for many reasons, and more groups than totals of noise hold."""
    tile = make_tile(resident_code=resident_code, adc_bits=adc_bits, active_wordlines=64, **noise)
    generator = torch.Generator().manual_seed(inner)
    streamed = torch.randn(41, inner, generator=generator)
    streamed[10:20] = streamed[10:20].abs()
    streamed[20:30] *= torch.rand(10, inner, generator=generator) < 0.1
    streamed[30:] = streamed[30:].clamp(min=0) - 0.1
    streamed = (streamed / streamed.abs().amax(1, keepdim=True) * 127).round()
    resident = codes(inner, 70, seed=1)
    monkeypatch.setenv(VARIABLE, "torch")
    wanted = digit_serial_product(streamed, resident, tile, 8, 8, draw(41))
    for path in NATIVE:
        monkeypatch.setenv(VARIABLE, path)
        stored = ResidentCodes(resident.t().contiguous(), 8)
        switches = pack_switches(stored.codes(), tile, 8)
        for given in (stored, None):
            found = digit_serial_product(streamed, switches, tile, 8, 8, draw(41), given)
            assert torch.equal(found, wanted), (path, given is None)


@pytest.mark.parametrize("path", VECTORS)
def test_noise_that_sums_decide_leaves_no_conversion_out(make_tile, codes, monkeypatch, path):
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(adc_bits=6, **WILD)
    plan = conversion_plan(tile, 8, 8, 128)
    assert plan is not None
    assert plan.noise == "dense"
    streamed, resident = _rows(codes, 8, 128), codes(128, 20, seed=1)
    switches = pack_switches(resident.t(), tile, 8)
    stored = ResidentCodes(codes(20, 128, seed=2), 8)
    found = digit_serial_product(streamed, switches, tile, 8, 8, draw(8), stored)
    assert torch.equal(found, digit_serial_product(streamed, switches, tile, 8, 8, draw(8)))


@pytest.mark.parametrize("path", VECTORS)
@pytest.mark.parametrize("noise", [WHOLE, DENSE], ids=["whole", "mismatch"])
def test_noise_without_clipping_is_added_to_the_product(make_tile, codes, monkeypatch, path, noise):
    """Seen by an integer operand that is not that of the switches: the noise is the same beside either."""
    monkeypatch.setenv(VARIABLE, path)
    tile = make_tile(adc_bits=6, **noise)
    streamed, resident, other = _rows(codes, 8, 128)[4:], codes(128, 20, seed=1), codes(128, 20, seed=2)
    switches = pack_switches(resident.t(), tile, 8)
    stored = ResidentCodes(other.t().contiguous(), 8)
    found = digit_serial_product(streamed, switches, tile, 8, 8, draw(4), stored)
    errors = digit_serial_product(streamed, switches, tile, 8, 8, draw(4)) - streamed @ resident
    assert torch.equal(found, streamed @ other + errors)
    assert bool(errors.any())
