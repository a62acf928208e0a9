"""The conversions that are priced are the conversions that a crossbar does."""

from __future__ import annotations

import pytest
import torch

from ohmformer.costs import product_counts
from ohmformer.crossbars import compute, digit_weights
from ohmformer.ir import Product
from ohmformer.specs import ChipSpec, names, override, preset

SHAPES = [(1, 1, 1), (3, 5, 2), (2, 64, 16), (2, 65, 17), (1, 200, 33), (4, 128, 1)]
CHANGES = {
    "as it is": {},
    "digits": {"tile.resident_code": "digits"},
    "radix 3": {"tile.numeral.radix": 3},
    "two signs": {"tile.numeral.radix": 9, "tile.numeral.polarity": "per_resistor"},
    "small groups": {"tile.active_wordlines": 10},
    "uneven tile": {"tile.wordlines": 50, "tile.active_wordlines": 14},
    "narrow": {"tile.bitlines": 20, "tile.adc.bitlines_per_adc": 20},
    "6 x 4 bits": {"precision.weight_bits": 4, "precision.activation_bits": 6},
}


def of(rows: int, inner: int, columns: int, resident: str, batch: int = 1) -> Product:
    return Product(
        module="m", operation="o", batch=batch, rows=rows, inner=inner, columns=columns,
        resident=resident,  # type: ignore[arg-type]
    )  # fmt: skip


def executed(chip: ChipSpec, rows: int, inner: int, columns: int, resident: str) -> int:
    """Conversions of the reference crossbar for operands of these shapes."""
    bits = chip.precision.weight_bits if resident == "weight" else chip.precision.activation_bits
    streamed, held = torch.ones(rows, inner, dtype=torch.int64), torch.ones(inner, columns, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    return compute(
        streamed, held, chip.tile, chip.precision.activation_bits, bits, generator=generator
    ).conversions


@pytest.mark.parametrize("resident", ["weight", "activation"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", names())
def test_counted_conversions_are_executed_conversions(name: str, change: str, resident: str) -> None:
    changes = CHANGES[change]
    if "tile.wordlines" in changes and name == "wang2024_2bit_serial":
        changes = {**changes, "tile.active_wordlines": 2}
    chip = override(preset(name), changes)
    for rows, inner, columns in SHAPES:
        counted = product_counts(of(rows, inner, columns, resident), chip, 64).conversions
        assert counted == executed(chip, rows, inner, columns, resident), (rows, inner, columns)
        batched = product_counts(of(rows, inner, columns, resident, batch=3), chip, 64).conversions
        assert batched == 3 * counted


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", names())
def test_the_ones_of_a_sum_take_one_conversion_where_a_word_takes_several(name: str, change: str) -> None:
    """All bits of 1 but the lowest are 0: one bitline (one pair) holds the ones, the others are not built.

    The reference executes the whole word: as many conversions as it has planes.
    """
    changes = CHANGES[change]
    if "tile.wordlines" in changes and name == "wang2024_2bit_serial":
        changes = {**changes, "tile.active_wordlines": 2}
    chip = override(preset(name), changes)
    tile, bits = chip.tile, chip.precision.activation_bits
    planes = bits
    if tile.resident_code == "digits":
        planes = len(digit_weights(tile, bits)) * tile.numeral.resistors_per_digit
    for rows, inner, _ in SHAPES:
        counted = product_counts(of(rows, inner, 1, "constant"), chip, 64).conversions
        assert counted * planes == executed(chip, rows, inner, 1, "activation")
