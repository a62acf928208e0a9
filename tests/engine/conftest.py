"""Tiles and operands of the engine tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.engine import Draw, native
from ohmformer.specs import NumeralSpec, TileSpec, preset

INSTRUCTION_SETS: list[str] = [] if native._native is None else native._native.names()


def at(rows: int, seed: int = 1, stream: int = 5, first: int = 0) -> Draw:
    """Noise for ``rows`` rows whose keys are ``first``, ``first + 1``, ..."""
    return Draw(seed=seed, stream=stream, keys=torch.arange(first, first + rows))


@pytest.fixture
def make_tile() -> Callable[..., TileSpec]:
    """A small tile without noise whose converters lose nothing, unless told otherwise."""

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
        wordlines: int = 128,
        active_wordlines: int | None = None,
        bitlines: int = 128,
        resident_code: str = "bits",
    ) -> TileSpec:
        tile = preset("wang2024").tile
        tile = replace(
            tile,
            wordlines=wordlines,
            active_wordlines=active_wordlines or wordlines,
            bitlines=bitlines,
            resident_code=resident_code,  # type: ignore[arg-type]
            numeral=NumeralSpec(radix=radix, polarity=polarity),  # type: ignore[arg-type]
            environment_noise=environment_noise,
            resistor=replace(tile.resistor, mismatch=mismatch),
            adc=replace(tile.adc, bits=16, step=step, rounding=rounding, noise=adc_noise, bitlines_per_adc=1),
        )
        return replace(tile, adc=replace(tile.adc, bits=adc_bits or tile.max_sum.bit_length()))

    return make


@pytest.fixture
def codes() -> Callable[..., Tensor]:
    """Random symmetric whole numbers in float32, extremes among them."""

    def make(*shape: int, bits: int = 8, seed: int = 0) -> Tensor:
        largest = 2 ** (bits - 1) - 1
        generator = torch.Generator().manual_seed(seed * 1000 + bits)
        values = torch.randint(-largest, largest + 1, shape, generator=generator)
        values.view(-1)[:2] = torch.tensor([largest, -largest])[: values.numel()]
        return values.float()

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20241)
