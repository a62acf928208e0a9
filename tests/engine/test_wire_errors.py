"""What wires make wrong, drawn from its law, has the moments of every conversion computed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer.crossbars import digit_weights, plane_weights
from ohmformer.engine import FastEngine, ResidentCodes, mode_of
from ohmformer.engine.collapsed import collapsed_product, exact_product
from ohmformer.engine.conversion_errors import Operands
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.native import VARIABLE
from ohmformer.engine.wire_errors import WireErrorLaw, product_law
from ohmformer.engine.wire_law import (
    GAP_UNIT,
    RATE_BITS,
    VALUE_SHIFT,
    calibrated,
    gaps,
    negative_share,
    typical_share,
    width_class,
    wire_tables,
)
from ohmformer.errors import UserError
from ohmformer.specs import preset

from .beside_wires import at, compared, operands, tile_of
from .serial import PATHS

# --- when it holds ---------------------------------------------------------------------------------


def test_it_is_chosen_where_wires_seldom_change_a_code():
    assert [mode_of(tile_of(ohm)) for ohm in (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)] == [
        "collapsed",
        "calibrated",
        "calibrated",
        "calibrated",
        "digit-serial",
        "digit-serial",
    ]
    tile = tile_of(1.0)
    quiet = replace(tile, environment_noise=0.0, adc=replace(tile.adc, noise=0.0))
    lossy = replace(tile, adc=replace(tile.adc, bits=6, step=2))
    cutting = replace(tile, adc=replace(tile.adc, rounding="floor"))
    loud = replace(tile, adc=replace(tile.adc, noise=0.2))
    digits = replace(tile, resident_code="digits")
    for other in (quiet, lossy, cutting, loud, digits):
        assert mode_of(other) == "digit-serial"
    bent = tile_of(0.0)
    assert mode_of(replace(bent, adc=replace(bent.adc, nonlinearity=0.6))) == "calibrated"


def test_a_mode_that_the_chip_does_not_allow_is_refused():
    with pytest.raises(UserError, match="'calibrated' is for converters of step 1"):
        FastEngine(tile_of(5.0), "calibrated")
    with pytest.raises(UserError, match="'collapsed' needs converters"):
        FastEngine(tile_of(1.0), "collapsed")
    assert FastEngine(tile_of(1.0), "digit-serial").runs == "digit-serial"
    assert FastEngine(tile_of(1.0), "statistical").runs == "statistical"


@pytest.mark.parametrize("ohm", [0.7, 1.2])
def test_the_typical_share_is_that_of_uniform_operands(ohm):
    """Share of wrong outputs of products of one group and one uniform digit with independent bits, over 8.

    4,000 rows: within 4.5 standard errors by rows, plus 5 %: two of 8 planes wrong at once (below 0.5 %), and
    tails of sums of 64 terms that the saddle point misses.
    """
    tile = tile_of(ohm)
    generator = torch.Generator().manual_seed(4)
    streamed = torch.randint(-127, 128, (4000, 64), generator=generator).float()
    resident = torch.randint(-128, 128, (64, 32), generator=generator).float()
    digits = [streamed - 7 * (streamed / 7).round(), (streamed / 7).round()]
    digits[1] = digits[1] - 7 * (digits[1] / 7).round()
    wrong = []
    for digit in digits:  # the two uniform ones, as streamed operands of one digit each
        exact = exact_product(digit, resident, 3, 8)
        made = digit_serial_product(digit, resident, tile, 3, 8, at(4000))
        wrong.append((made != exact).double().mean(1))
    share = torch.stack(wrong).mean(0) / 8
    error = float(share.std()) / math.sqrt(4000)
    assert abs(float(share.mean()) - typical_share(tile)) < 4.5 * error + 0.05 * typical_share(tile)


# --- the numbers it draws from ----------------------------------------------------------------------


def test_distances_are_exponential():
    """Mean 1 to the rounding of 4,096 entries, variance 1 less what is inside the bins.

    Inside the last bin an exponential has a variance of 1, in the others far less: together below 4/n.
    """
    found = gaps().double() * 2.0 ** (GAP_UNIT - RATE_BITS)
    count = len(found)
    assert abs(float(found.mean()) - 1) < 2.0 ** (GAP_UNIT - RATE_BITS)
    assert -4 / count < float(found.var(correction=0)) - 1 < 0
    ordered = torch.arange(count, dtype=torch.float64)
    assert ((1 - torch.exp(-found)) > ordered / count).all()
    assert ((1 - torch.exp(-found)) < (ordered + 1) / count).all()


def test_cases_are_errors_of_columns_of_a_tile():
    tile = tile_of(1.0)
    tables = wire_tables(tile, 8, 9)
    column = tables.pool & ((1 << VALUE_SHIFT) - 1)
    assert tables.columns == 16
    assert int(column.max()) < 16
    weights = torch.tensor(plane_weights(tile, 8))
    size = tables.pool >> VALUE_SHIFT
    usual = int(tables.cell[256, 0])
    known = torch.isin(size[usual].abs(), weights.abs())
    assert known.double().mean() > 0.5  # single conversions
    # the last columns lose most
    assert (column[usual] >= 8).double().mean() > 0.6
    # sums of one sign read too low: a plane's error is against its sign
    one_sided = int(tables.cell[200, 60])
    low_planes = torch.isin(size[one_sided], weights[:7]).sum()
    assert torch.isin(-size[one_sided], weights[:7]).sum() > 20 * low_planes
    assert (tables.rate[:, 0].diff() >= 0).double().mean() > 0.98  # more where digits are larger
    assert int(tables.rate[0].max()) == 0


@pytest.mark.parametrize("width", [4, 6, 8])
@pytest.mark.parametrize("shape", [0, 1])
def test_the_width_of_codes_is_found(width, shape):
    """Codes drawn from a class: half an octave is 0.5 in either size, 100 times their standard error."""
    generator = torch.Generator().manual_seed(1)
    scale = 2.0 * 2 ** (width / 2)
    z = torch.randn(300, 300, generator=generator, dtype=torch.float64)
    if shape == 1:  # Laplace: a normal times the root of an exponential; 1.337: the same geometric mean
        z = z * torch.empty_like(z).exponential_(generator=generator).mul_(2).sqrt_() / 1.3348 / 0.7937
    codes = (scale * z).round().clamp(-127, 127)
    found = width_class(codes)
    assert abs(found % 12 - width) <= 1
    assert found // 12 == shape


# --- against every conversion -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "gelu", "shifted", "heavy"])
@pytest.mark.parametrize("ohm", [0.8, 1.0])
def test_mean_and_variance_are_those_of_every_conversion(kind, ohm):
    """Within 3 standard errors; seeds are fixed, so that what passes stays."""
    assert compared(*operands(kind, 320), tile_of(ohm)).abs().max() < 3


def test_wires_of_a_smaller_tile_and_of_other_resistors():
    tile = tile_of(1.0, unit_resistance_ohm=2e5)
    adc = replace(tile.adc, bitlines_per_adc=64)
    tile = replace(tile, wordlines=64, active_wordlines=64, bitlines=64, adc=adc)
    assert mode_of(tile) == "calibrated"
    assert compared(*operands("normal", 320), tile).abs().max() < 3


def test_a_bent_converter():
    tile = tile_of(0.0)
    tile = replace(tile, adc=replace(tile.adc, nonlinearity=0.6))
    assert mode_of(tile) == "calibrated"
    assert compared(*operands("shifted", 320), tile).abs().max() < 3


def test_a_wrong_law_is_seen():
    """The comparison tells wires that differ by a tenth, and noise by a fifth, apart."""
    given = operands("gelu", 320)
    tile = tile_of(1.0)
    louder = replace(tile, environment_noise=1.2 * tile.environment_noise)
    for other in (tile_of(1.1), louder, tile_of(1.0, mismatch=0.0)):
        assert compared(*given, tile, law=other).abs().max() > 5


# --- the contract -------------------------------------------------------------------------------------


def test_events_are_those_of_the_slow_loop():
    """A row's events, one after the other in plain Python, from the tables alone."""
    tile = tile_of(1.05)
    streamed, resident = operands("shifted", 24, inner=200, columns=40, seed=2)  # no row that is computed
    law = product_law(tile, 8, 8, 200, 40)
    assert isinstance(law, WireErrorLaw)
    codes = ResidentCodes(resident.t(), 8)
    law = law.of(codes)
    draw = at(24, seed=9)
    found = law.wrong_outputs(draw, Operands(streamed=streamed, resident=codes, rows_per_entry=24))
    assert found is not None
    from ohmformer.engine.randomness import random_words

    tables, powers = law.wires, digit_weights(tile, 8)
    words = random_words(draw.seed, draw.stream, draw.keys, 4000).view(24, -1, 2).tolist()
    square, total = (part.tolist() for part in law.features(streamed))
    slow = []
    for m in range(24):
        event, edge = 0, 0
        place = int(gaps()[words[m][0][0] & 4095]) << GAP_UNIT
        for i in range(3):
            for g in range(4):
                q, s = square[m][i][g], total[m][i][g]
                edge += int(tables.rate[q, abs(s)]) * 48  # three tiles of sixteen columns
                while place < edge:
                    first, second = words[m][event]
                    case = int(tables.pool[int(tables.cell[q, abs(s)]), first >> 22])
                    column = (second * 3 >> 32) * 16 + (case & 255)
                    if column < 40:
                        slow.append([m, column, powers[i] * (case >> 8) * (-1 if s < 0 else 1)])
                    event += 1
                    place += int(gaps()[words[m][event][0] & 4095]) << GAP_UNIT
    assert len(slow) > 10
    assert any(size < 0 for _, _, size in slow)
    assert found.tolist() == slow


def test_rows_that_wires_hit_everywhere_are_computed_conversion_by_conversion(monkeypatch):
    """Digits of one sign: half of what such a row converts is wrong. The other rows are drawn as before."""
    tile = tile_of(1.0)
    streamed, resident = operands("normal", 40)
    streamed[7], streamed[31, 64:128], streamed[39] = -23.0, -22.0, 22.0
    full = torch.tensor([7, 31, 39])
    rest = torch.tensor([m for m in range(40) if m not in (7, 31, 39)])
    made = []
    for path in PATHS:
        monkeypatch.setenv(VARIABLE, path)
        codes = ResidentCodes(resident.t(), 8)
        law = product_law(tile, 8, 8, 384, 96)
        assert isinstance(law, WireErrorLaw)
        drawn = law.of(codes)._drawn(at(40), streamed)
        assert drawn is not None
        assert set(full.tolist()) <= set(drawn[drawn[:, 1] < 0, 0].tolist())
        assert len(drawn[drawn[:, 1] < 0]) < 12
        made.append(collapsed_product(streamed, codes, tile, 8, 8, at(40)))
    assert all(torch.equal(one, made[0]) for one in made)
    every = digit_serial_product(streamed, resident, tile, 8, 8, at(40))
    assert torch.equal(made[0][full], every[full])
    assert not torch.equal(made[0][rest], every[rest])
    alone = collapsed_product(streamed[31:32], codes, tile, 8, 8, at(1, first=31))
    assert torch.equal(alone[0], made[0][31])
    many = torch.stack((resident, resident.flip(0)))  # not stored: the operand of each row's entry
    found = collapsed_product(streamed.view(2, 20, -1), many, tile, 8, 8, at(40))
    assert torch.equal(found[1, 19], digit_serial_product(streamed, many[1], tile, 8, 8, at(40))[39])
    assert torch.equal(found[0, 7], every[7])


def test_a_fused_linear_with_such_rows_is_the_product_scaled():
    from ohmformer.engine import FusedOperations, kernels

    chip = replace(preset("wang2024"), tile=tile_of(1.0))
    native = kernels()
    if native is None:
        return
    x = operands("gelu", 50, inner=320)[0]
    x[3], x[3, 0] = -23.0, -127.0
    resident = ResidentCodes(operands("normal", 1, inner=320, columns=100)[1].t(), 8)
    scale = torch.rand(100, generator=torch.Generator().manual_seed(1)) + 0.5
    engine = FastEngine(chip.tile)
    fused = FusedOperations(chip, engine).linear(x, resident, scale, None, at(50))
    codes, row_scale = native.quantise(x, 127)
    product = engine.product(codes.float(), resident, streamed_bits=8, resident_bits=8, draw=at(50))
    every = FastEngine(chip.tile, "digit-serial").product(
        codes.float(), resident, streamed_bits=8, resident_bits=8, draw=at(50)
    )
    assert fused is not None
    assert torch.equal(fused, product * row_scale[:, None] * scale)
    assert torch.equal(product[3], every[3])
    x = x.view(1, 1, 50, 320)
    assert FusedOperations(chip, engine).matmul(x, torch.rand(1, 1, 20, 320) - 0.5, None, at(50)) is None


def test_rates_know_the_share_of_negative_codes():
    """Upper planes are closed where a code is negative: rates of rows of one sign rise with that share."""
    tile = tile_of(1.0)
    generator = torch.Generator().manual_seed(3)
    codes = (torch.randn(200, 200, generator=generator) * 30).round()
    share = negative_share(codes)
    assert abs(share - 1024 * float((codes < 0).double().mean())) <= 0.5
    kind = width_class(codes)
    own, known = wire_tables(tile, 8, kind), wire_tables(tile, 8, kind, share)
    more, fewer = wire_tables(tile, 8, kind, share + 20), wire_tables(tile, 8, kind, share - 20)
    place = (150, 45)
    assert int(more.rate[place]) > 1.03 * int(known.rate[place]) > 1.06 * int(fewer.rate[place])
    assert int(known.rate[place]) == pytest.approx(int(own.rate[place]), rel=0.1)
    assert int(more.rate[256, 0]) == pytest.approx(int(fewer.rate[256, 0]), rel=0.01)


def test_kernels_batches_and_threads_change_nothing(monkeypatch):
    tile = tile_of(1.0)
    streamed, resident = operands("gelu", 150)
    codes = ResidentCodes(resident.t(), 8)
    whole = collapsed_product(streamed, codes, tile, 8, 8, at(150))
    assert not torch.equal(whole, exact_product(streamed, codes, 8, 8))
    assert not torch.equal(whole, collapsed_product(streamed, codes, tile, 8, 8, at(150, seed=2)))
    for start, stop in ((0, 1), (1, 70), (70, 150)):
        part = collapsed_product(streamed[start:stop], codes, tile, 8, 8, at(stop - start, first=start))
        assert torch.equal(part, whole[start:stop])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(whole, collapsed_product(streamed, codes, tile, 8, 8, at(150)))
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setenv("OHMFORMER_KERNELS", "torch")
    plain = ResidentCodes(resident.t(), 8)
    assert torch.equal(whole, collapsed_product(streamed, plain, tile, 8, 8, at(150)))


def test_a_width_is_that_of_the_codes_as_they_were_stored():
    """Misreads of a while do not choose the law for good."""
    tile = tile_of(1.0)
    _, resident = operands("normal", 8)
    codes, plain = ResidentCodes(resident.t(), 8), ResidentCodes(resident.t(), 8)
    law = product_law(tile, 8, 8, 384, 96)
    assert isinstance(law, WireErrorLaw)
    everywhere = torch.arange(96 * 384)
    with codes.patched(everywhere, (-resident.t().flatten()).to(torch.int32)):  # all codes 0
        assert not codes.codes().any()
        assert law.of(codes).width == law.of(plain).width
    assert torch.equal(codes.stored(), codes.codes())


def test_few_columns_and_wide_operands_are_computed_conversion_by_conversion():
    tile = tile_of(1.0)
    engine = FastEngine(tile)
    assert engine.runs == "calibrated"
    streamed, resident = operands("shifted", 30, columns=20)
    exactly = FastEngine(tile, "digit-serial")
    bits = {"streamed_bits": 8, "resident_bits": 8}
    few = resident[:, :16]
    assert torch.equal(
        engine.product(streamed, few, **bits, draw=at(30)),
        exactly.product(streamed, few, **bits, draw=at(30)),
    )
    assert not torch.equal(
        engine.product(streamed, resident, **bits, draw=at(30)),
        exactly.product(streamed, resident, **bits, draw=at(30)),
    )
    wide = {"streamed_bits": 9, "resident_bits": 8}
    assert torch.equal(
        engine.product(streamed, resident, **wide, draw=at(30)),
        exactly.product(streamed, resident, **wide, draw=at(30)),
    )


def test_operands_that_are_not_stored_and_batches():
    tile = tile_of(1.0)
    left, right = operands("shifted", 24, columns=24)
    many = torch.stack((right, right.flip(0)))
    found = collapsed_product(left.view(2, 12, -1), many, tile, 8, 8, at(24))
    assert found.shape == (2, 12, 24)
    one = collapsed_product(left[12:].view(1, 12, -1), many[1:], tile, 8, 8, at(12, first=12))
    assert torch.equal(found[1], one[0])
    assert calibrated(tile)


def test_the_fused_linear_is_the_product_scaled():
    """Quantise, multiply with wires, scale: one call or step by step, bit for bit."""
    from ohmformer.engine import FusedOperations, kernels

    chip = replace(preset("wang2024"), tile=tile_of(1.0))
    native = kernels()
    if native is None:
        return
    generator = torch.Generator().manual_seed(7)
    x = torch.nn.functional.gelu(torch.randn(200, 320, generator=generator))
    resident = ResidentCodes(operands("normal", 1, inner=320, columns=300)[1].t(), 8)
    scale = torch.rand(300, generator=generator) + 0.5
    engine = FastEngine(chip.tile)
    fused = FusedOperations(chip, engine).linear(x, resident, scale, None, at(200))
    codes, row_scale = native.quantise(x, 127)
    product = engine.product(codes.float(), resident, streamed_bits=8, resident_bits=8, draw=at(200))
    assert fused is not None
    assert torch.equal(fused, product * row_scale[:, None] * scale)
    assert not torch.equal(product, exact_product(codes.float(), resident, 8, 8))
