"""Converters that clip, beside wires: every conversion without them, and what they make wrong by a law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.engine import FastEngine, FusedOperations, ResidentCodes, mode_of
from ohmformer.engine.calibrated import calibrated_product, without_wires
from ohmformer.engine.collapsed import exact_product
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.native import VARIABLE
from ohmformer.engine.wire_law import _Law, typical_share
from ohmformer.specs import TileSpec, preset

from .beside_wires import at, compared, operands, tile_of
from .serial import PATHS

BITS = {"streamed_bits": 8, "resident_bits": 8}


def clipping(adc_bits: int, ohm: float = 1.0, **changes: float) -> TileSpec:
    """``wang2024`` with wires and a converter of ``adc_bits`` and its polarity; the largest sum is 192."""
    tile = tile_of(ohm, **changes)
    return replace(tile, adc=replace(tile.adc, bits=adc_bits))


# --- when it holds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("adc_bits", [4, 5, 6, 7])
def test_it_is_chosen_where_converters_only_clip(adc_bits):
    """Narrow converters see only small sums, of which wires take less."""
    limit = {4: 2.0, 5: 1.0, 6: 1.0, 7: 1.0}[adc_bits]
    found = [mode_of(clipping(adc_bits, ohm)) for ohm in (0.0, 0.01, 0.5, 1.0, 1.3, 2.0, 5.0)]
    wanted = ["calibrated" if 0 < ohm <= limit else "digit-serial" for ohm in (0, 0.01, 0.5, 1, 1.3, 2, 5)]
    assert found == wanted
    tile = clipping(adc_bits)
    assert not tile.lossless
    coarse = replace(tile, adc=replace(tile.adc, step=2))
    quiet = replace(tile, environment_noise=0.0, adc=replace(tile.adc, noise=0.0))
    for other in (coarse, quiet, replace(tile, adc=replace(tile.adc, rounding="floor"))):
        assert mode_of(other) == "digit-serial"


def test_a_code_at_its_limit_is_not_wrong():
    """Sums beyond the outermost code by more than wires take keep it; those just at it do not."""
    tile = clipping(5)
    law = _Law(tile, 8, 9)
    chances = law.chances(256.0)
    places = {s: law.largest + s for s in (15, 31, 32, 33, 60, 192)}
    last = chances.wrong[-1]  # the bitline that loses most
    assert float(law.loss[-1]) == pytest.approx(0.01127, abs=1e-5)
    assert float(last[places[15]]) < 1e-5
    assert float(last[places[31]]) > 0.01  # 31 (1 - a) = 30.65, as near to 30.5 as noise reaches
    assert float(last[places[32]]) < 1e-30  # 31.64 reads 31, as it does without wires
    assert float(last[places[192]]) == 0.0
    assert float(last[2 * law.largest - places[31]]) == float(last[places[31]])  # odd
    wide = _Law(clipping(7), 8, 9).chances(256.0).wrong[-1]
    assert float(wide[places[60]]) > 0.9  # 59.32 reads 59


# --- against every conversion -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "gelu", "shifted", "heavy"])
@pytest.mark.parametrize(("adc_bits", "ohm"), [(5, 1.1), (6, 1.0), (4, 2.0)])
def test_mean_and_variance_are_those_of_every_conversion(kind, adc_bits, ohm):
    """Within 3 standard errors; seeds are fixed, so that what passes stays."""
    assert compared(*operands(kind, 320), clipping(adc_bits, ohm)).abs().max() < 3


def test_a_wrong_law_is_seen():
    """The comparison tells wires that differ by a tenth, and noise by a fifth, apart."""
    given = operands("gelu", 320)
    tile = clipping(5, 1.1)
    louder = replace(tile, environment_noise=1.2 * tile.environment_noise)
    for other in (clipping(5, 0.97), louder):
        assert compared(*given, tile, law=other).abs().max() > 5


def test_clipping_is_in_the_product():
    """Most outputs are those of the clipped sums, few those of the integer product."""
    streamed, resident = operands("shifted", 40)
    tile = clipping(5)
    made = calibrated_product(streamed, resident, tile, 8, 8, at(40))
    ideal = compute(streamed.long(), resident.long(), without_wires(tile), 8, 8).values
    assert float((made == ideal).double().mean()) > 0.97
    assert float((made == exact_product(streamed, resident, 8, 8)).double().mean()) < 0.8
    assert not torch.equal(made, ideal.to(made.dtype))


def test_noise_is_drawn_once():
    """Where wires do nearly nothing, P(wrong) of a conversion is 2Q(1/(2·sd)) = 3.5e-5, 144 an output.

    Within 4 standard errors of the count of wrong outputs (about 300 of 61,440), of which those wrong
    twice are 0.3 %. Digit-serial noise has no such tails where it is dense, so that it is no measure here.
    """
    tile = clipping(6, 0.01, mismatch=0.0)
    tile = replace(tile, adc=replace(tile.adc, noise=0.11))
    assert mode_of(tile) == "calibrated"
    streamed, resident = operands("normal", 640)
    base = digit_serial_product(streamed, resident, without_wires(tile), 8, 8, at(640))
    made = calibrated_product(streamed, ResidentCodes(resident.t(), 8), tile, 8, 8, at(640))
    wanted = 640 * 96 * 144 * math.erfc(0.5 / math.hypot(0.05, 0.11) / math.sqrt(2))
    count = int((made != base).sum())
    assert abs(count - wanted) < 4 * math.sqrt(wanted) + 0.003 * wanted
    assert mode_of(replace(tile, adc=replace(tile.adc, noise=0.14))) == "digit-serial"


# --- the contract -------------------------------------------------------------------------------------


def test_kernels_batches_and_threads_change_nothing(monkeypatch):
    tile = clipping(6)
    streamed, resident = operands("gelu", 150)
    codes = ResidentCodes(resident.t(), 8)
    whole = calibrated_product(streamed, codes, tile, 8, 8, at(150))
    ideal = compute(streamed.long(), resident.long(), without_wires(tile), 8, 8).values
    assert not torch.equal(whole, ideal.to(whole.dtype))
    assert not torch.equal(whole, calibrated_product(streamed, codes, tile, 8, 8, at(150, seed=2)))
    for start, stop in ((0, 1), (1, 70), (70, 150)):
        part = calibrated_product(streamed[start:stop], codes, tile, 8, 8, at(stop - start, first=start))
        assert torch.equal(part, whole[start:stop])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(whole, calibrated_product(streamed, codes, tile, 8, 8, at(150)))
    finally:
        torch.set_num_threads(threads)
    for path in PATHS:
        monkeypatch.setenv(VARIABLE, path)
        plain = ResidentCodes(resident.t(), 8)
        assert torch.equal(whole, calibrated_product(streamed, plain, tile, 8, 8, at(150))), path


def test_the_engine_takes_it_and_can_be_told_otherwise():
    tile = clipping(6)
    streamed, resident = operands("shifted", 40, columns=20)
    codes = ResidentCodes(resident.t(), 8)
    made = FastEngine(tile).product(streamed, codes, **BITS, draw=at(40))
    assert FastEngine(tile).runs == "calibrated"
    assert torch.equal(made, calibrated_product(streamed, codes, tile, 8, 8, at(40)))
    exactly = FastEngine(tile, "digit-serial")
    every = digit_serial_product(streamed, resident, tile, 8, 8, at(40))
    assert torch.equal(exactly.product(streamed, codes, **BITS, draw=at(40)), every)
    assert not torch.equal(made, every)
    few = resident[:, :16]  # no sample of a law
    assert torch.equal(
        FastEngine(tile).product(streamed, few, **BITS, draw=at(40)),
        exactly.product(streamed, few, **BITS, draw=at(40)),
    )


def test_no_operation_in_one_call_passes_it_by():
    """Fused linears and attention make integer products, which converters that clip do not give."""
    clips = replace(preset("wang2024"), tile=clipping(6))
    assert FusedOperations(clips, FastEngine(clips.tile)).kernels is None
    whole = replace(clips, tile=tile_of(1.0))
    assert FastEngine(whole.tile).runs == FastEngine(clips.tile).runs == "calibrated"
    if PATHS != ["torch"]:
        assert FusedOperations(whole, FastEngine(whole.tile)).kernels is not None


def test_operands_that_are_not_stored_and_batches():
    tile = clipping(6)
    left, right = operands("shifted", 24, columns=24)
    many = torch.stack((right, right.flip(0)))
    found = calibrated_product(left.view(2, 12, -1), many, tile, 8, 8, at(24))
    assert found.shape == (2, 12, 24)
    one = calibrated_product(left[12:].view(1, 12, -1), many[1:], tile, 8, 8, at(12, first=12))
    assert torch.equal(found[1], one[0])
    assert calibrated_product(left[:0], right, tile, 8, 8, at(0)).shape == (0, 24)


@pytest.mark.parametrize("adc_bits", [6, 8])
@pytest.mark.parametrize("path", PATHS)
def test_misread_codes_are_those_that_are_multiplied(adc_bits, path, monkeypatch):
    """Codes that are others for a while: their own product, the law of the stored ones, nothing kept."""
    monkeypatch.setenv(VARIABLE, path)
    tile = clipping(adc_bits)
    streamed, resident = operands("gelu", 60)
    engine = FastEngine(tile)
    codes = ResidentCodes(resident.t(), 8)
    place, delta = torch.tensor([3, 500, 9000]), torch.tensor([5, -7, 9], dtype=torch.int32)
    delta = delta.where(codes.at(place) + delta <= 127, -delta)
    before = engine.product(streamed, codes, **BITS, draw=at(60))
    with codes.patched(place, delta):
        read = engine.product(streamed, codes, **BITS, draw=at(60))
        now = codes.codes().clone()
    again = engine.product(streamed, codes, **BITS, draw=at(60))
    assert torch.equal(before, again)
    clipped = without_wires(tile)
    bases = [
        digit_serial_product(streamed, right.t().float(), clipped, 8, 8, at(60))
        for right in (now, codes.codes())
    ]
    assert torch.equal(read - bases[0], again - bases[1])
    assert not torch.equal(*bases)


def test_a_narrow_converter_has_fewer_wrong():
    shares = [typical_share(clipping(bits, 1.0)) for bits in (4, 5, 6, 7)]
    assert shares == sorted(shares)
    assert shares[0] < 0.01 * shares[1] < 0.01 * shares[2]
