"""The error of lossy converters: none where there must be none, else that of the reference crossbar."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from ohmformer.crossbars import compute
from ohmformer.specs import ideal, preset
from ohmformer.studies.encodings import Choice, chip_of
from ohmformer.studies.loss import DEVIATIONS_IN_RANGE, SAMPLES, loss


def digits_for(radix: int) -> int:
    return next(n for n in range(1, 9) if (radix**n - 1) // 2 >= 127)


@pytest.mark.parametrize(("radix", "group", "bits"), [(7, 64, 8), (3, 127, 7), (27, 1, 4), (17, 42, 9)])
def test_nothing_is_lost_where_every_sum_has_a_code(radix: int, group: int, bits: int) -> None:
    assert group * (radix - 1) // 2 <= (1 << bits) - 1
    assert loss(radix=radix, digits=digits_for(radix), group=group, adc_bits=bits) == (1, 0.0)


def test_fewer_bits_lose_more() -> None:
    errors = [loss(radix=7, digits=3, group=16, adc_bits=bits)[1] for bits in (4, 3, 2, 1)]
    assert errors == sorted(errors)
    assert errors[0] > 0  # 16 · 3 = 48 units, 15 codes
    assert errors[-1] < 1  # the chosen step is never worse than reading nothing


@pytest.mark.parametrize(("radix", "group", "bits"), [(7, 32, 3), (5, 16, 2), (9, 16, 3)])
def test_the_error_is_that_of_the_reference_crossbar(radix: int, group: int, bits: int) -> None:
    """The same normal operands through the crossbar of ``crossbars`` with the step that was found."""
    step, expected = loss(radix=radix, digits=digits_for(radix), group=group, adc_bits=bits)
    choice = Choice(
        radix=radix,
        polarity="shared",
        group=group,
        wordlines=128,
        adc_bits=bits,
        needed_bits=(group * (radix - 1) // 2).bit_length(),
    )
    tile = chip_of(choice, ideal(preset("wang2024")), step).tile
    tile = dataclasses.replace(tile, wordlines=tile.active_wordlines)  # one group only
    rows, columns = 96, 96
    generator = np.random.default_rng(5)

    def drawn(*shape: int) -> torch.Tensor:
        values = np.rint(generator.normal(0, 127 / DEVIATIONS_IN_RANGE, shape)).clip(-127, 127)
        return torch.from_numpy(values.astype(np.int64))

    streamed, resident = drawn(rows, group), drawn(group, columns)
    exact = (streamed @ resident).double()
    wrong = compute(streamed, resident, tile, 8, 8).values.double() - exact
    found = float(wrong.square().mean().sqrt() / exact.square().mean().sqrt())
    # two estimates of one ratio: 1/√(2·2048) = 1.6 % of the study's; here 96 rows and 96 columns are drawn,
    # and outputs of one row or column hang together, so at least 96 independent ones: 1/√(2·96) = 7.2 %.
    # Four standard deviations of both.
    limit = 4 * math.hypot(1 / math.sqrt(2 * SAMPLES), 1 / math.sqrt(2 * 96))
    assert found == pytest.approx(expected, rel=limit)


def test_the_step_is_worth_choosing() -> None:
    """One step of 1 would clip nearly everything of 64 elements in 2 bits: the chosen step is larger."""
    step, error = loss(radix=7, digits=3, group=64, adc_bits=3)
    assert step > 1
    assert error < 1
