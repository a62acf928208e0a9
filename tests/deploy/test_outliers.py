"""Outliers of streamed rows: what is split off, what it costs, what it saves, and through whole models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy import trace
from ohmformer.deploy.calibration import Calibration
from ohmformer.deploy.outliers import outlier_inner, split_outliers
from ohmformer.deploy.precision_deploying import deploy_precisely
from ohmformer.engine import ReferenceEngine
from ohmformer.errors import UserError
from ohmformer.ir import Product
from ohmformer.specs import ideal, override

from .conftest import DECODERS, FAMILIES, Bare, output, relative, sample_inputs, wide_chip
from .int8 import codes_and_scale

IDEAL = ideal(chips.wang2024())


def _rows(seed: int = 0) -> Tensor:
    """Gaussian rows, each with two elements a hundred times as large."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 96, generator=generator)
    x[:, [5, 70]] *= 100
    return x


def test_the_largest_elements_are_split_off_and_their_rounding_stays_with_the_rest() -> None:
    x = _rows()
    rest, outliers = split_outliers(x, 3, 8)
    for row, split in zip(x, outliers, strict=True):
        largest = row.abs().argsort(descending=True)[:3]
        codes, scale = codes_and_scale(row[largest], 127)
        expected = torch.zeros(96).index_put((largest,), codes * scale)
        assert torch.equal(split, expected)
    assert torch.equal(rest, x - outliers)
    assert float(rest.abs().max()) < float(x.abs().max()) / 10


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_both_parts_in_codes_give_the_row_to_the_stated_error(bits: int) -> None:
    """Half a step of the rest: max|rest| / (2^bits - 2); float32 adds at most 2^-22 of the largest number."""
    x = _rows(1)
    highest = 2 ** (bits - 1) - 1
    rest, outliers = split_outliers(x, 2, bits)
    parts = [codes_and_scale(part, highest) for part in (rest, outliers)]
    error = (sum(codes * scale for codes, scale in parts) - x).abs().amax(-1)
    bound = rest.abs().amax(-1) / (2**bits - 2)
    assert bool((error <= bound + x.abs().amax(-1) * 2**-22).all())
    plain = codes_and_scale(x, highest)
    assert float(error.mean()) < float((plain[0] * plain[1] - x).abs().amax(-1).mean()) / 10


def test_rows_shorter_than_the_outliers_and_rows_of_zeros() -> None:
    rest, outliers = split_outliers(torch.tensor([[0.0, 0.0], [3.0, -1.0]]), 8, 8)
    assert torch.equal(outliers[0], torch.zeros(2))
    assert torch.equal(rest[0], torch.zeros(2))
    assert torch.allclose(outliers[1] + rest[1], torch.tensor([3.0, -1.0]))
    assert float(rest[1].abs().max()) <= 3.0 / 254 * 1.001
    with pytest.raises(ValueError, match="count"):
        split_outliers(torch.ones(1, 2), 0, 8)


def test_a_pass_of_outliers_drives_at_most_one_tile_for_each() -> None:
    assert [outlier_inner(576, k, 64) for k in (1, 8, 9, 64)] == [64, 512, 576, 576]


def test_a_linear_is_the_sum_of_two_integer_products() -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(4))
    x[:, 3] *= 30
    model = Bare(lambda m, v: torch.nn.functional.linear(v, m.lin.weight)).eval()
    right, right_scale = codes_and_scale(model.lin.weight.detach(), 127)
    expected = torch.zeros(5, 8)
    for part in split_outliers(x, 2, 8):
        left, left_scale = codes_and_scale(part, 127)
        expected += (left @ right.t()).float() * left_scale * right_scale.t()
    y = deploy_precisely(model, IDEAL, outliers=2, check=False)(x)
    assert torch.equal(y, expected)


def test_the_same_numbers_digit_by_digit() -> None:
    model = FAMILIES["llama"].make()
    inputs = {key: value[:1, :4] for key, value in sample_inputs("llama", model).items()}
    fast = deploy_precisely(model, IDEAL, outliers=3, check=False)
    slow = deploy_precisely(model, IDEAL, outliers=3, check=False, engine=ReferenceEngine(IDEAL.tile))
    assert torch.equal(output(fast, inputs), output(slow, inputs))


def _with_outliers(name: str) -> Any:
    """A tiny decoder two of whose normalised channels are far larger than the others."""
    model = FAMILIES[name].make()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim == 1 and "weight" in path and parameter.shape[0] == 32:
                parameter[[3, 17]] += 60.0
            elif parameter.ndim == 2 and parameter.shape[1] == 32 and "embed" not in path:
                parameter[:, [3, 17]] /= 60.0
    return model


def test_outliers_no_longer_drown_the_others() -> None:
    """Two channels 60 times as large as the rest take 60/61 of the codes of every row; alone in their
    pass they leave them to the rest."""
    model = _with_outliers("llama")
    inputs = sample_inputs("llama", model)
    exact = output(model, inputs)
    chip = override(wide_chip(8), {"precision.weight_bits": 16, "precision.vector_bits": 16})
    plain, split = (
        relative(output(deploy_precisely(model, chip, outliers=k, check=False), inputs), exact)
        for k in (0, 2)
    )
    assert split < plain / 4


@pytest.mark.parametrize("name", DECODERS)
def test_any_decoder_takes_outliers(name: str) -> None:
    """No operation is left without a place, and with more outliers the widest rounding goes down."""
    model = FAMILIES[name].make()
    inputs = sample_inputs(name, model)
    exact = output(model, inputs)
    deployed = deploy_precisely(model, wide_chip(8), outliers=8)
    places = {(row.operation, row.where) for row in deployed.on_chip.coverage}
    assert ("linear outliers", "computation crossbar") in places or "matmul outliers" in dict(places)
    assert "host" not in {where for _, where in places}
    assert relative(output(deployed, inputs), exact) < 0.05


def test_the_second_pass_is_counted() -> None:
    """llama's down projection streams 48 elements; on tiles of 16 two outliers drive 32 of them."""
    chip = override(IDEAL, {"tile.wordlines": 32, "tile.active_wordlines": 32})
    assert chip.tile.elements == 16
    deployed = deploy_precisely(FAMILIES["llama"].make(), chip, outliers=2)
    program = trace(deployed, batch=1, tokens=5)
    products = [op for op in program.subops if isinstance(op, Product) and op.module.endswith("down_proj")]
    assert {(op.operation, op.inner) for op in products} == {("linear", 48), ("linear outliers", 32)}


@pytest.mark.parametrize("outliers", [-1, 65, True, 1.5])
def test_an_impossible_number_of_outliers_is_refused(outliers: Any) -> None:
    with pytest.raises(UserError, match="outliers is"):
        deploy_precisely(Bare(lambda m, v: v), IDEAL, outliers=outliers)


def test_outliers_need_scales_found_on_the_fly() -> None:
    calibration = Calibration(limits={"w": 1.0}, quantile=1.0, batches=1)
    with pytest.raises(UserError, match="leave out the calibration"):
        deploy_precisely(Bare(lambda m, v: v), IDEAL, outliers=1, calibration=calibration)
    with pytest.raises(UserError, match="per_token"):
        deploy_precisely(
            Bare(lambda m, v: v), override(IDEAL, {"precision.activation_scale": "per_tensor"}), outliers=1
        )
