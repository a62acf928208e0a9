"""Tiles and operands of the crossbar tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.specs import NumeralSpec, TileSpec, preset


@pytest.fixture
def make_tile() -> Callable[..., TileSpec]:
    """A tile without noise whose converters lose nothing, unless told otherwise."""

    def make(
        radix: int = 7,
        polarity: str = "shared",
        *,
        mismatch: float = 0.0,
        adc_noise: float = 0.0,
        adc_bits: int | None = None,
        step: int = 1,
        rounding: str = "half_even",
        environment_noise: float = 0.0,
        **fields: object,
    ) -> TileSpec:
        tile = preset("wang2024").tile
        numeral = NumeralSpec(radix=radix, polarity=polarity)  # type: ignore[arg-type]
        fields = {"active_wordlines": fields.get("wordlines", 128), **fields}
        tile = replace(
            tile,
            numeral=numeral,
            environment_noise=environment_noise,
            resistor=replace(tile.resistor, mismatch=mismatch),
            adc=replace(tile.adc, bits=16, step=step, rounding=rounding, noise=adc_noise, bitlines_per_adc=1),
            **fields,
        )
        return replace(tile, adc=replace(tile.adc, bits=adc_bits or tile.max_sum.bit_length()))

    return make


@pytest.fixture
def integers() -> Callable[..., Tensor]:
    """Random symmetric integers of a number of bits, extremes among them."""

    def make(*shape: int, bits: int = 8, seed: int = 0) -> Tensor:
        largest = 2 ** (bits - 1) - 1
        generator = torch.Generator().manual_seed(seed * 1000 + bits)
        values = torch.randint(-largest, largest + 1, shape, generator=generator)
        values.view(-1)[:2] = torch.tensor([largest, -largest])[: values.numel()]
        return values

    return make
