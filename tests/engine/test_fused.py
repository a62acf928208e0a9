"""Whole operations in one call: the same bits as step by step, or None where they do not apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.engine import Draw, FastEngine, FusedOperations, ReferenceEngine, ResidentCodes, native
from ohmformer.functions import LinearSubOps, evaluate, layer_norm, rms_norm, softmax
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import ChipSpec, override

from .conftest import INSTRUCTION_SETS, at

RARE = {"tile.environment_noise": 0.18, "tile.resistor.mismatch": 0.005}
QUIET = {"tile.environment_noise": 0.0, "tile.adc.noise": 0.0, "tile.resistor.mismatch": 0.0}


def chip_with(**changes: Any) -> ChipSpec:
    return override(chips.wang2024(), changes)


@pytest.fixture(params=INSTRUCTION_SETS, autouse=True)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(native.VARIABLE, request.param)
    return str(request.param)


def fused_of(chip: ChipSpec, mode: Any = None) -> FusedOperations:
    return FusedOperations(chip, FastEngine(chip.tile, mode))


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def product(chip: ChipSpec, left: Tensor, right: Tensor | ResidentCodes, draw: Draw) -> Tensor:
    engine = FastEngine(chip.tile)
    return engine.product(left, right, streamed_bits=8, resident_bits=8, draw=draw).float()


def sums(chip: ChipSpec, draws: tuple[Draw, Draw]) -> LinearSubOps:
    def row_sum(x: Tensor) -> Tensor:
        found = quantise_per_row(x, 8, dtype=torch.float32)
        flat = found.codes.reshape(-1, x.shape[-1])
        y = product(chip, flat, torch.ones(x.shape[-1], 1), draws[0])
        return y.reshape(x.shape[:-1]) * found.scale.squeeze(-1)

    def row_dot(x: Tensor) -> Tensor:
        found = quantise_per_row(x, 8, dtype=torch.float32)
        flat = found.codes.reshape(-1, 1, x.shape[-1])
        y = product(chip, flat, flat.transpose(-1, -2), draws[1])
        scale = found.scale.squeeze(-1)
        return y.reshape(x.shape[:-1]) * scale * scale

    return LinearSubOps(row_sum=row_sum, row_dot=row_dot)


@pytest.mark.parametrize("noise", [QUIET, RARE], ids=["quiet", "rare"])
def test_a_linear_operation_is_its_steps(codes, noise):
    chip = chip_with(**noise)
    stored, x, draw = ResidentCodes(codes(90, 70), 8), floats(200, 70), at(200)
    scale, bias = floats(90, seed=1).abs(), floats(90, seed=2)
    streamed = quantise_per_row(x, 8, dtype=torch.float32)
    wanted = product(chip, streamed.codes, stored, draw).mul_(streamed.scale).mul_(scale)
    exact = (streamed.codes @ stored.floats()).mul_(streamed.scale).mul_(scale)
    assert torch.equal(wanted, exact) == (noise is QUIET)
    fused = fused_of(chip)
    assert torch.equal(fused.linear(x, stored, scale, None, draw), wanted)
    assert torch.equal(fused.linear(x.double(), stored, scale, bias, draw), wanted + bias)


@pytest.mark.parametrize("noise", [QUIET, RARE], ids=["quiet", "rare"])
@pytest.mark.parametrize("folded", [False, True])
def test_a_product_of_activations_is_its_steps(noise, folded):
    chip = chip_with(**noise)
    left, right, draw = floats(3, 2, 30, 40), floats(3, 2, 50, 40, seed=1), at(180)
    fused = fused_of(chip)
    if folded:
        factor = fused.row_scales(right.transpose(-1, -2).contiguous())
        wanted_scale = quantise_per_row(right.transpose(-1, -2), 8).scale.squeeze(-1)
        assert torch.equal(factor, wanted_scale)
        streamed = quantise_per_row(left * factor.unsqueeze(-2), 8, dtype=torch.float32)
        codes, column = torch.div(right, factor.unsqueeze(-2)).round(), torch.ones(())
    else:
        factor, streamed = None, quantise_per_row(left, 8, dtype=torch.float32)
        resident = quantise_per_row(right, 8, dtype=torch.float32)
        codes, column = resident.codes, resident.scale.transpose(-1, -2)
    wanted = product(chip, streamed.codes, codes.transpose(-1, -2), draw) * streamed.scale * column
    assert torch.equal(fused.matmul(left, right, factor, draw), wanted)


def test_softmax_and_norms_are_their_steps_or_leave_rows_that_err():
    """With rare errors a clean set of rows runs in one call; a row that errs sends all step by step."""
    x, gain, shift = floats(40, 48), floats(48, seed=1), floats(48, seed=2)
    for noise, some in ((QUIET, False), (RARE, True)):
        chip = chip_with(**noise)
        fused, unit, given = fused_of(chip), chip.function_unit, 0
        for seed in range(12):
            few = x[seed : seed + 2] if some else x
            draws = (at(len(few), seed=seed), at(len(few), seed=seed, stream=9))
            steps = sums(chip, draws)
            found = fused.softmax(few, draws[0])
            if found is not None:
                given += 1
                assert torch.equal(found, softmax(few, unit, steps))
            found = fused.layer_norm(few, gain, shift, 1e-5, draws)
            if found is not None:
                assert torch.equal(found, layer_norm(few, gain, shift, 1e-5, unit, steps))
            found = fused.rms_norm(few, gain, 1e-5, draws[1])
            if found is not None:
                assert torch.equal(found, rms_norm(few, gain, 1e-5, unit, steps))
        assert given == 12 if not some else 0 < given < 12


def test_elementwise_functions_are_those_of_the_unit():
    chip, x = chip_with(), floats(5, 70)
    for name in ("gelu", "gelu_new", "silu", "swish", "sigmoid", "tanh", "exp"):
        assert torch.equal(fused_of(chip).function(name, x), evaluate(name, x, chip.function_unit))
    for name in ("reciprocal", "rsqrt", "relu"):
        assert fused_of(chip).function(name, x) is None
    assert fused_of(chip).function("gelu", x.double()) is None


def test_where_they_do_not_apply_nothing_is_given(codes, monkeypatch):
    """Wide operands, one scale for a tensor, lossy converters, other engines, no kernels; of products with
    frequent errors those with stored codes alone."""
    x, draw = floats(4, 20), at(4)
    narrow = chip_with()
    others = [
        fused_of(chip_with(**{"precision.activation_bits": 9})),
        fused_of(chip_with(**{"precision.activation_scale": "per_tensor"})),
        fused_of(chips.wang2024_2bit_lossy()),
        fused_of(narrow, "digit-serial"),
        FusedOperations(narrow, ReferenceEngine(narrow.tile)),
        fused_of(chip_with(**{"tile.environment_noise": 0.4})),
    ]
    scale, stored = torch.ones(6), ResidentCodes(codes(6, 20), 8)
    for fused in others:
        assert (fused.linear(x, stored, scale, None, draw) is None) == (fused is not others[-1])
        assert fused.matmul(x[None, None], x[None, None], None, draw) is None
        assert fused.softmax(x, draw) is None
        assert fused.layer_norm(x, None, None, 1e-5, (draw, draw)) is None
        assert fused.rms_norm(x, None, 1e-5, draw) is None
    assert fused_of(narrow).linear(x, stored, scale, None, draw) is not None
    monkeypatch.setenv(native.VARIABLE, "torch")
    plain = fused_of(narrow)
    assert plain.row_scales(x) is None
    assert plain.function("gelu", x) is None
    assert plain.softmax(x, draw) is None
    assert fused_of(replace(narrow)).linear(x, ResidentCodes(codes(6, 20), 8), scale, None, draw) is None
