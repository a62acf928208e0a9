"""Errors drawn from their law have the moments of errors computed conversion by conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.crossbars import compute
from ohmformer.engine.collapsed import exact_product
from ohmformer.engine.column_spread import column_spread
from ohmformer.engine.digit_serial import digit_serial_product
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.statistical import output_error_law, statistical_product
from ohmformer.specs import TileSpec

ROUNDINGS = ["half_even", "half_up", "floor"]


def at(rows: int, seed: int = 1, first: int = 0) -> Draw:
    return Draw(seed=seed, stream=5, keys=torch.arange(first, first + rows))


# --- few columns: every output has its own law -------------------------------------------------------


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("resident_code", ["bits", "digits"])
@pytest.mark.parametrize("radix", [3, 7])
@pytest.mark.parametrize(
    "lossy",
    [
        {"adc_bits": 2, "step": 7},
        {"adc_bits": 4, "step": 2},
        {"adc_bits": 2, "active_wordlines": 12, "wordlines": 40},  # uneven groups
        {"adc_bits": 8, "step": 4},
    ],
    ids=str,
)
def test_few_columns_without_noise_equal_the_reference(
    make_tile, codes, rounding, resident_code, radix, lossy
):
    tile = make_tile(radix, rounding=rounding, resident_code=resident_code, **{"wordlines": 32, **lossy})
    streamed, resident = codes(5, 75), codes(75, 6, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    for right in (resident, ResidentCodes(resident.t(), 8)):
        assert torch.equal(statistical_product(streamed, right, tile, 8, 8, at(5)).long(), reference)
    assert not torch.equal(reference, exact_product(streamed, resident, 8, 8).long())


@pytest.mark.parametrize("resident_code", ["bits", "digits"])
def test_wires_and_a_bent_converter_equal_the_reference(make_tile, codes, resident_code):
    """Bits: the very losses of the reference. A pair of bitlines has two losses, here their mean.

    The two bitlines of a pair differ by less than one part in 60 of a loss of 10 %: 64 units on them are off
    by less than 64·0.1/60 = 0.1, which changes few codes, each by one.
    """
    tile = make_tile(wordlines=32, adc_bits=4, step=2, resident_code=resident_code)
    tile = replace(
        tile,
        resistor=replace(tile.resistor, wire_resistance_ohm=10.0),
        adc=replace(tile.adc, nonlinearity=1.1),
    )
    streamed, resident = codes(9, 40), codes(40, 12, seed=1)
    reference = compute(streamed.long(), resident.long(), tile, 8, 8).values
    found = statistical_product(streamed, resident, tile, 8, 8, at(9)).long()
    same = (found == reference).double().mean()
    assert same == 1 if resident_code == "bits" else same > 0.7
    plain = replace(tile, resistor=replace(tile.resistor, wire_resistance_ohm=0.0))
    unwired = statistical_product(streamed, resident, plain, 8, 8, at(9)).long()
    assert (unwired == reference).double().mean() < 0.5


REPEATS = 4000


@pytest.mark.parametrize(
    "noise",
    [
        {"environment_noise": 0.8, "adc_bits": 2, "step": 7},
        {"environment_noise": 0.5, "adc_noise": 0.3, "adc_bits": 4, "step": 2, "rounding": "floor"},
        {"adc_noise": 0.4, "adc_bits": 3, "rounding": "half_up"},
        {"adc_noise": 0.3, "adc_bits": 3, "step": 2, "resident_code": "digits"},
    ],
    ids=str,
)
def test_few_columns_with_noise_have_the_moments_of_the_reference(make_tile, codes, noise):
    """Rows of one block are repeats of one operand row, each with noise of its own.

    The law is compared with the reference's mean and variance of 4 outputs, 8 statistics below 4.5 standard
    errors (by chance one exceeds it with probability 5e-5), and the outputs drawn with the law. Rounding
    twice adds 2/12 to the variance, which was taken off; what is left of it is below 0.02 at sd > 1.
    """
    tile = make_tile(wordlines=16, **noise)
    row, resident = codes(1, 12, bits=4), codes(12, 4, bits=3, seed=1)
    streamed = row.expand(REPEATS, -1)
    reference = compute(
        streamed.long(), resident.long(), tile, 4, 3, generator=torch.Generator().manual_seed(2)
    ).values.double()
    y = exact_product(row, resident, 4, 3).double()
    law = output_error_law(row, resident, tile, 4, 3)
    mean, variance = (y + law.mean).squeeze(0), law.variance.squeeze(0)
    assert variance.min() > 1
    drawn = statistical_product(streamed, resident, tile, 4, 3, at(REPEATS)).double()
    for sample in (reference, drawn):
        centred = sample - sample.mean(0)
        fourth = centred.pow(4).mean(0)
        seen = centred.square().mean(0)
        assert ((sample.mean(0) - mean).abs() < 4.5 * (seen / REPEATS).sqrt() + 0.01).all()
        error = ((fourth - seen**2) / REPEATS).sqrt()
        assert ((seen - variance).abs() < 4.5 * error + 0.02).all()


def test_mismatch_has_the_variance_of_the_reference(make_tile, codes):
    """Over draws of the tile, one digit an element and one group: no resistor is met twice.

    Mean square of 3 outputs within 4.5 standard errors of 800 draws.
    """
    tile = make_tile(mismatch=0.3, wordlines=32, adc_bits=3, step=2)
    row, resident = codes(1, 12, bits=2), codes(12, 3, bits=2, seed=1)
    generator = torch.Generator().manual_seed(4)
    drawn = 0.3 * torch.randn(800, tile.wordlines, tile.bitlines, generator=generator, dtype=torch.float64)
    reference = torch.cat(
        [compute(row.long(), resident.long(), tile, 2, 2, mismatch=one).values.double() for one in drawn]
    )
    law = output_error_law(row, resident, tile, 2, 2)
    errors = reference - exact_product(row, resident, 2, 2).double()
    square = (law.variance + law.mean**2).squeeze(0)
    deviation = errors.square().std(0) / 800**0.5
    assert deviation.min() > 0
    assert ((errors.square().mean(0) - square).abs() < 4.5 * deviation + 1e-9).all()


# --- many columns: mean and variance over a layer ----------------------------------------------------


def quantised(values: Tensor, axis: int) -> Tensor:
    return (values / (values.abs().amax(axis, keepdim=True) / 127)).round()


def operands(kind: str, rows: int = 192, inner: int = 150, columns: int = 80) -> tuple[Tensor, Tensor]:
    """Codes of a layer: normal ones; with means; heavy tails and columns of different widths."""
    generator = torch.Generator().manual_seed(len(kind))
    streamed = torch.randn(rows, inner, generator=generator)
    resident = torch.randn(inner, columns, generator=generator)
    if kind == "shifted":
        streamed, resident = streamed + 0.5, resident + 0.3 * torch.randn(1, columns, generator=generator)
    if kind == "heavy":
        streamed, resident = streamed**3, resident**3
    return quantised(streamed, 1), quantised(resident, 0)


def deviations(
    streamed: Tensor, resident: Tensor, tile: TileSpec, seed: int = 2, law: TileSpec | None = None
) -> Tensor:
    """Mean and variance of the errors of the two modes over a layer: their difference in standard errors.

    Rows are independent (noise and sampled columns of their own), so that the standard error of a
    difference of means over the layer is that of the mean over rows of a row's difference; of variances, of
    the differences of mean squares about the digit-serial mean.

    law: the tile that the statistical mode is told, if it is another
    """
    rows = len(streamed)
    exact = exact_product(streamed, resident, 8, 8).double()
    serial = digit_serial_product(streamed, resident, tile, 8, 8, at(rows, seed)).double() - exact
    drawn = statistical_product(streamed, resident, law or tile, 8, 8, at(rows, seed + 100)).double() - exact
    assert serial.std() > 0
    found = []
    for power in (1, 2):
        about = serial.mean() if power == 2 else 0.0
        difference = (drawn - about).pow(power).mean(1) - (serial - about).pow(power).mean(1)
        found.append(difference.mean() / (difference.std() / rows**0.5))
    return torch.stack(found)


LAYERS = [
    {"adc_bits": 2, "step": 4},
    {"adc_bits": 2, "radix": 3},
    {"adc_bits": 4, "step": 2, "rounding": "half_up", "environment_noise": 0.3},
    {"adc_bits": 5, "step": 4, "rounding": "floor", "environment_noise": 0.5, "adc_noise": 0.2},
    {"adc_bits": 4, "radix": 3, "resident_code": "digits", "adc_noise": 0.4},
    {"adc_bits": 3, "step": 2, "resident_code": "digits", "rounding": "half_up"},
    {"adc_bits": 3, "active_wordlines": 16, "mismatch": 0.1, "adc_noise": 0.6},
    {"adc_bits": 8, "environment_noise": 0.3, "rounding": "floor"},
]


@pytest.mark.parametrize("kind", ["normal", "shifted", "heavy"])
@pytest.mark.parametrize("lossy", LAYERS, ids=str)
def test_mean_and_variance_over_a_layer_are_those_of_every_conversion(make_tile, kind, lossy):
    """Within 3 standard errors; seeds are fixed, so that what passes stays."""
    tile = make_tile(**lossy)
    assert deviations(*operands(kind), tile).abs().max() < 3


def test_a_wrong_law_is_seen(make_tile):
    """The comparison above tells converters of another step, width and noise apart."""
    tile = make_tile(adc_bits=5, step=4, environment_noise=0.2, rounding="half_up")
    for other in ({"step": 3}, {"bits": 2}, {"noise": 0.3}):
        wrong = replace(tile, adc=replace(tile.adc, **other))
        assert deviations(*operands("shifted"), tile, law=wrong).abs().max() > 5


@pytest.fixture(scope="module")
def minilm_layers() -> dict[str, tuple[Tensor, Tensor]]:
    """Streamed and resident codes of linear layers of MiniLM on a few sentences, padding left out."""
    from ohmformer.workloads import load_model

    loaded = load_model("minilm", task="encoder")
    texts = [
        "The cat sat on the warm mat.",
        "Analog computing promises to lower the energy of language models.",
        "Where is the station? I have to catch a train at nine.",
    ]
    inputs = loaded.tokenizer(texts, return_tensors="pt", padding=True)
    words = inputs["attention_mask"].bool()
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Linear, args: tuple[Tensor, ...], _output: Tensor) -> None:
            found[name] = (
                quantised(args[0][words], 1),
                quantised(module.weight.detach(), 1).t().contiguous(),
            )

        return hook

    names = ["0.attention.self.query", "2.intermediate.dense"]
    hooks = [
        module.register_forward_hook(keep(name))
        for path, module in loaded.model.named_modules()
        for name in names
        if path.endswith(name)
    ]
    with torch.no_grad():
        loaded.model(**inputs)
    for hook in hooks:
        hook.remove()
    assert list(found) == names
    return found


@pytest.mark.parametrize(
    "lossy",
    [
        {"adc_bits": 2, "step": 7, "environment_noise": 0.05, "adc_noise": 0.05, "mismatch": 0.003},
        {"adc_bits": 5, "step": 2, "environment_noise": 0.3},
        {"adc_bits": 3, "step": 4, "resident_code": "digits", "rounding": "half_up"},
    ],
    ids=str,
)
def test_mean_and_variance_in_the_layers_of_a_real_model(make_tile, minilm_layers, lossy):
    """Each layer within 3 standard errors, as above."""
    tile = make_tile(**lossy)
    for streamed, resident in minilm_layers.values():
        assert deviations(streamed, resident, tile).abs().max() < 3


def test_columns_err_as_differently_as_with_every_conversion(make_tile):
    """Columns of few large and many small codes beside columns of normal ones: mean square by kind of column.

    Errors of a stored operand less what a line takes, 40 columns of each kind, 192 rows. With one variance
    for all columns the ratio would be 1; the spread is of normal rows of its own and is shrunk, so a part of
    the difference stays out: at least half is asked for, and no more than all and 4 standard errors of 5 %
    (1.6 % of 40·192 drawn squares, 3.2 % of 64 rows of calibration, as much for digit-serial).
    """
    tile = make_tile(adc_bits=4)
    streamed, resident = operands("normal")
    resident[:, 40:] = quantised(resident[:, 40:] ** 3, 0)
    exact = exact_product(streamed, resident, 8, 8).double()
    codes = ResidentCodes(resident.t(), 8)
    serial = digit_serial_product(streamed, resident, tile, 8, 8, at(192)).double() - exact
    found = []
    law = output_error_law(streamed, codes, tile, 8, 8)
    for errors in (serial, statistical_product(streamed, codes, tile, 8, 8, at(192, 9)).double() - exact):
        left = errors - law.mean - law.gain * (exact - law.centre)
        square = left.square().mean(0)
        found.append(float(square[:40].mean() / square[40:].mean()))
    assert found[0] > 2
    assert 0.5 * (found[0] - 1) < found[1] - 1 < 1.2 * (found[0] - 1)
    assert abs(float(law.spread.mean()) - 1) < 1e-5  # float32
    assert torch.equal(output_error_law(streamed, resident, tile, 8, 8).spread, torch.ones(80))


def test_the_spread_of_columns_is_that_of_the_codes_as_they_were_stored(make_tile):
    tile = make_tile(adc_bits=4)
    _, resident = operands("heavy")
    one, other = ResidentCodes(resident.t(), 8), ResidentCodes(resident.t(), 8)
    place = torch.arange(0, resident.numel(), 3)
    with one.patched(place, (-resident.t().flatten()[place]).to(torch.int32)):
        inside = column_spread(one, tile, 8, 8)
    assert torch.equal(inside, column_spread(other, tile, 8, 8))
    assert inside.std() > 0.1
    lossless = column_spread(other, make_tile(), 8, 8)
    assert torch.equal(lossless, torch.ones(80))


@pytest.mark.parametrize("kind", ["normal", "shifted", "heavy"])
def test_the_law_has_no_bias(make_tile, kind):
    """Sixteen operands of their own: mean error of the law less that of all columns, in its standard errors.

    The columns that a row samples are chosen by its codes, so that one operand shares their error between all
    seeds of noise; operands are independent. The mean of 16 differences of unit variance is below 3/4.
    """
    tile = make_tile(adc_bits=5, step=4, rounding="floor", environment_noise=0.5, adc_noise=0.2)
    found = []
    for seed in range(16):
        generator = torch.Generator().manual_seed(100 + seed)
        streamed, resident = (torch.randn(*shape, generator=generator) for shape in ((64, 150), (150, 80)))
        if kind == "shifted":
            streamed, resident = streamed + 0.5, resident + 0.3 * torch.randn(1, 80, generator=generator)
        if kind == "heavy":
            streamed, resident = streamed**3, resident**3
        streamed, resident = quantised(streamed, 1), quantised(resident, 0)
        every = [
            output_error_law(streamed, part, tile, 8, 8, by_digit=False).mean
            for part in resident.split(16, 1)
        ]
        law = output_error_law(streamed, resident, tile, 8, 8, by_digit=False)
        y = exact_product(streamed, resident, 8, 8).double()
        difference = (law.mean + law.gain * (y - law.centre) - torch.cat(every, 1)).mean(1)
        found.append(difference.mean() / (difference.std() / 64**0.5))
    assert abs(float(torch.stack(found).mean())) < 3 / 4


def test_clipping_takes_a_share_of_the_product_away(make_tile):
    """The mean gain of the rows is the slope of the digit-serial errors, within 4 standard errors."""
    tile = make_tile(adc_bits=2)
    streamed, resident = operands("normal")
    exact = exact_product(streamed, resident, 8, 8).double()
    serial = digit_serial_product(streamed, resident, tile, 8, 8, at(192)).double() - exact
    slope = (serial * exact).mean(1) / exact.square().mean(1)
    law = output_error_law(streamed, resident, tile, 8, 8)
    difference = law.gain.squeeze(-1) - slope
    assert slope.mean() < -0.2
    assert (difference.mean() / (difference.std() / 192**0.5)).abs() < 4


def test_the_parts_of_digits_and_planes_add_up(make_tile):
    tile = make_tile(adc_bits=4, step=2, rounding="floor")
    streamed, resident = operands("shifted")
    law = output_error_law(streamed, resident[:, :12], tile, 8, 8)
    assert law.digit_mean.shape == law.digit_square.shape == (3, 8)
    # whole numbers in float64, added up in another order
    torch.testing.assert_close(law.digit_mean.sum(), law.mean.mean(), rtol=1e-9, atol=1e-6)
    assert law.digit_square[2].sum() > law.digit_square[0].sum()


# --- the contract ----------------------------------------------------------------------------------


def test_a_row_depends_on_nothing_beside_it(make_tile):
    tile = make_tile(adc_bits=4, step=2, environment_noise=0.3)
    streamed, resident = operands("shifted", rows=64)
    whole = statistical_product(streamed, resident, tile, 8, 8, at(64))
    for start, stop in ((0, 1), (1, 18), (18, 64)):
        part = statistical_product(streamed[start:stop], resident, tile, 8, 8, at(stop - start, first=start))
        assert torch.equal(part, whole[start:stop])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    draw = Draw(seed=1, stream=5, keys=torch.arange(64)[order])
    assert torch.equal(statistical_product(streamed[order], resident, tile, 8, 8, draw), whole[order])
    codes = ResidentCodes(resident.t(), 8)
    stored = statistical_product(streamed, codes, tile, 8, 8, at(64))
    batched = statistical_product(streamed.view(2, 32, -1), codes, tile, 8, 8, at(64))
    assert torch.equal(batched.flatten(0, 1), stored)
    again = statistical_product(streamed[7:9], ResidentCodes(resident.t(), 8), tile, 8, 8, at(2, first=7))
    assert torch.equal(again, stored[7:9])


@pytest.mark.parametrize("columns", [3, 40])
def test_matrices_of_a_batch_depend_on_nothing_beside_them(make_tile, columns):
    tile = make_tile(adc_bits=3, step=2, adc_noise=0.3)
    generator = torch.Generator().manual_seed(8)
    streamed = torch.randint(-127, 128, (2, 1, 6, 70), generator=generator).float()
    resident = torch.randint(-127, 128, (3, 70, columns), generator=generator).float()
    whole = statistical_product(streamed, resident, tile, 8, 8, at(36))
    assert whole.shape == (2, 3, 6, columns)
    for a in range(2):
        for b in range(3):
            one = statistical_product(
                streamed[a], resident[b : b + 1], tile, 8, 8, at(6, first=6 * (3 * a + b))
            )
            assert torch.equal(one[0], whole[a, b])


def test_native_kernels_change_nothing(make_tile, monkeypatch):
    tile = make_tile(adc_bits=4, step=2, environment_noise=0.3)
    streamed, resident = operands("normal", rows=20)
    one = statistical_product(streamed, ResidentCodes(resident.t(), 8), tile, 8, 8, at(20))
    monkeypatch.setenv("OHMFORMER_KERNELS", "torch")
    two = statistical_product(streamed, ResidentCodes(resident.t(), 8), tile, 8, 8, at(20))
    assert torch.equal(one, two)
    assert torch.equal(one, one.round())
    assert not torch.equal(one, statistical_product(streamed, resident, tile, 8, 8, at(20, seed=2)))


def test_lossless_converters_without_noise_leave_the_product(make_tile):
    streamed, resident = operands("heavy", rows=9)
    found = statistical_product(streamed, resident, make_tile(), 8, 8, at(9))
    assert torch.equal(found, exact_product(streamed, resident, 8, 8))
    assert statistical_product(streamed[:0], resident, make_tile(), 8, 8, at(0)).shape == (0, 80)


def test_wide_operands(make_tile, codes):
    """16-bit codes: products beyond 2^24, six digits; mean error and its square against every conversion."""
    tile = make_tile(adc_bits=6, step=4, adc_noise=0.3)
    streamed, resident = codes(64, 90, bits=16), codes(90, 40, bits=16, seed=2)
    exact = exact_product(streamed, resident, 16, 16).double()
    serial = digit_serial_product(streamed, resident, tile, 16, 16, at(64)).double() - exact
    drawn = statistical_product(streamed, resident, tile, 16, 16, at(64)).double() - exact
    for power in (1, 2):
        difference = drawn.pow(power).mean(1) - serial.pow(power).mean(1)
        assert (difference.mean() / (difference.std() / 8)).abs() < 3
