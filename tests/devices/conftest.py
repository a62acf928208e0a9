"""Cells and generators of the device tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ohmformer.specs import DenseCellSpec, preset


@pytest.fixture
def make_cell() -> Callable[..., DenseCellSpec]:
    """The default cell with a number of bits and some noise fields changed."""

    def make(bits: int = 2, **noise: float) -> DenseCellSpec:
        cell = preset("wang2024").dense.cell
        return replace(cell, bits=bits, noise=replace(cell.noise, **noise))

    return make


@pytest.fixture
def quiet_cell(make_cell: Callable[..., DenseCellSpec]) -> Callable[..., DenseCellSpec]:
    """A cell without any noise, except what is asked for."""

    def make(bits: int = 2, **noise: float) -> DenseCellSpec:
        silent = {
            "programming_noise": 0.0,
            "telegraph_scale": 0.0,
            "environment_noise": 0.0,
            "read_noise": 0.0,
        }
        return make_cell(bits, **{**silent, **noise})

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20241)
