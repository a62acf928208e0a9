"""Operands of 2 to 16 bits in balanced numerals of radix 3 to 257: through deploy, products are exact.

What a product of codes must be is written once more here, in int64, and whole models are run on it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.engine import ReferenceEngine
from ohmformer.specs import ChipSpec, ideal, override

from .conftest import FAMILIES, Bare, output, sample_inputs
from .int8 import codes_and_scale

RADICES = (3, 5, 7, 9, 15, 27, 81, 257)
LLAMA = ("llama", "digits", 6)


class Integers:
    """Products of codes in int64."""

    def __init__(self) -> None:
        self.largest: dict[int, float] = {}  # code seen, by bits of the streamed operand

    def product(
        self, streamed: Tensor, resident: Any, *, streamed_bits: int, resident_bits: int, draw: Any
    ) -> Tensor:
        right = resident if isinstance(resident, Tensor) else resident.floats()
        if streamed.is_meta or right.is_meta:
            return torch.empty((*streamed.shape[:-1], right.shape[-1]), device="meta")
        self.largest[streamed_bits] = max(
            self.largest.get(streamed_bits, 0.0), float(streamed.abs().max()), float(right.abs().max())
        )
        return (streamed.to(torch.int64) @ right.to(torch.int64)).double()


def _chip(weight_bits: int, activation_bits: int, **tile: Any) -> ChipSpec:
    changes = {f"tile.{key.replace('__', '.')}": value for key, value in tile.items()}
    precision = {"precision.weight_bits": weight_bits, "precision.activation_bits": activation_bits}
    return ideal(override(chips.wang2024(), {**precision, **changes}))


def _tiny(name: str) -> tuple[Any, dict[str, Tensor]]:
    model = FAMILIES[name].make()
    inputs = {key: value[:1, :4] for key, value in sample_inputs(name, model).items()}
    return model, inputs


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_every_width_of_operands_gives_integer_products(name: str) -> None:
    """Each width alone, and unequal ones; the codes reach the end of their range and never pass it."""
    model, inputs = _tiny(name)
    seen = []
    for weights, activations in [(bits, bits) for bits in range(2, 17)] + [(2, 16), (16, 2), (4, 8), (9, 8)]:
        chip = _chip(weights, activations)
        plain = Integers()
        expected = output(deploy(model, chip, engine=plain, check=False), inputs)
        assert torch.equal(output(deploy(model, chip, check=False), inputs), expected)
        assert plain.largest == {activations: 2 ** (max(weights, activations) - 1) - 1}
        seen.append(expected)
    assert all(not torch.equal(one, other) for one, other in pairwise(seen))


@pytest.mark.parametrize("polarity", ["shared", "per_resistor"])
@pytest.mark.parametrize("radix", RADICES)
def test_every_radix_gives_integer_products(radix: int, polarity: str) -> None:
    """Digit by digit through tiles of 128 wordlines, whatever resistors make a digit."""
    name, resident, bits = ("bert", "bits", 8) if (radix % 4 == 3) == (polarity == "shared") else LLAMA
    chip = _chip(bits, bits, resident_code=resident, numeral__radix=radix, numeral__polarity=polarity)
    model, inputs = _tiny(name)
    expected = output(deploy(model, chip, engine=Integers(), check=False), inputs)
    slow = deploy(model, chip, engine=ReferenceEngine(chip.tile), check=False)
    assert torch.equal(output(slow, inputs), expected)
    assert torch.equal(output(deploy(model, chip, check=False), inputs), expected)


@pytest.mark.parametrize("radix", [3, 257])
@pytest.mark.parametrize("bits", [2, 16])
def test_extreme_widths_in_extreme_numerals(radix: int, bits: int) -> None:
    """The fewest and the most digits of each operand."""
    model, inputs = _tiny("llama")
    for polarity, resident in (("shared", "digits"), ("per_resistor", "bits")):
        chip = _chip(bits, bits, resident_code=resident, numeral__radix=radix, numeral__polarity=polarity)
        expected = output(deploy(model, chip, engine=Integers(), check=False), inputs)
        slow = deploy(model, chip, engine=ReferenceEngine(chip.tile), check=False)
        assert torch.equal(output(slow, inputs), expected)


@pytest.mark.parametrize("bits", range(2, 17))
def test_a_product_is_that_of_the_rounded_floats(bits: int) -> None:
    """y = fq(x) fq(W)^T in float64, fq(x) = s round(x / s), s = max|x| / (2^(bits-1) - 1) of the row.

    The chip rounds the sum of codes to float32 and multiplies twice: 3 roundings of 2^-24.
    """
    highest = 2 ** (bits - 1) - 1
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    model = Bare(lambda m, v: torch.nn.functional.linear(v, m.lin.weight)).eval()
    left, left_scale = codes_and_scale(x, highest)
    right, right_scale = codes_and_scale(model.lin.weight.detach(), highest)
    exact = (left * left_scale.double()) @ (right * right_scale.double()).t()
    y = deploy(model, _chip(bits, bits), check=False)(x)
    assert torch.allclose(y.double(), exact, rtol=3 * 2**-24, atol=0)
    assert exact.abs().max() > 1
