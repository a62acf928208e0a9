"""Rounding with compensation: on the grid, better on the calibration moments, kept by deploy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.deploy.precision_rounding import compensate, compensated_rounding
from ohmformer.errors import UserError
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import ideal, override

from .conftest import FAMILIES, sample_inputs
from .int8 import codes_and_scale


def _correlated() -> tuple[Tensor, Tensor]:
    """Rows, and the second moments of inputs whose 96 channels move along 12 directions."""
    generator = torch.Generator().manual_seed(6)
    rows = torch.randn(10, 96, generator=generator)
    x = torch.randn(500, 12, generator=generator) @ torch.randn(12, 96, generator=generator)
    x += 0.1 * torch.randn(500, 96, generator=generator)
    return rows, x.t() @ x / 500


def _loss(rows: Tensor, rounded: Tensor, moments: Tensor) -> float:
    error = (rounded - rows).double()
    return float(((error @ moments.double()) * error).sum())


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_error_on_the_moments_falls_and_the_codes_are_found_again(bits: int) -> None:
    rows, moments = _correlated()
    rounded = compensated_rounding(rows, moments, bits)
    nearest = quantise_per_row(rows, bits)
    again = quantise_per_row(rounded, bits)
    assert torch.equal(again.codes.abs().amax(-1), nearest.codes.abs().amax(-1))
    assert torch.allclose(again.scale, nearest.scale, rtol=2**-22, atol=0)  # divided and multiplied once more
    assert torch.allclose(again.codes * again.scale, rounded, rtol=2**-22, atol=0)
    plain = nearest.codes * nearest.scale
    assert not torch.equal(rounded, plain)
    assert _loss(rows, rounded, moments) < _loss(rows, plain, moments) / 3


def test_independent_channels_are_rounded_to_the_nearest_code() -> None:
    """Without correlation there is nothing to take up: the inverse factor is diagonal."""
    rows, _ = _correlated()
    moments = torch.diag(torch.rand(96, generator=torch.Generator().manual_seed(7)) + 0.1)
    nearest = quantise_per_row(rows, 6)
    assert torch.equal(compensated_rounding(rows, moments, 6), nearest.codes * nearest.scale)


def test_channels_that_never_speak_are_rounded_to_the_nearest_code() -> None:
    rows, moments = _correlated()
    moments[7], moments[:, 7] = 0, 0
    nearest = quantise_per_row(rows, 6)
    rounded = compensated_rounding(rows, moments, 6)
    assert torch.equal(rounded[:, 7], nearest.codes[:, 7] * nearest.scale.squeeze(-1))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_deploy_stores_the_compensated_codes(name: str) -> None:
    """Of both layouts; the tied or lone embedding and the original model are left as they were."""
    model: Any = FAMILIES[name].make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    inputs = sample_inputs(name, model)
    made = compensate(model, [inputs], 4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    chip = override(ideal(chips.wang2024()), {"precision.weight_bits": 4})
    stored = {entry.name: entry for entry in deploy(made, chip, check=False).on_chip.parameters}
    plain = {entry.name: entry for entry in deploy(model, chip, check=False).on_chip.parameters}
    changed = {key for key in stored if not torch.equal(stored[key].codes, plain[key].codes)}
    linears = "proj" if name == "llama" else ".c_"
    assert {key for key in stored if linears in key and key.endswith("weight")} <= changed
    assert not any("embed" in key or "wte" in key or "norm" in key for key in changed)
    for key in changed:
        weight = dict(made.named_parameters())[key].detach()
        rows = weight.t() if name == "gpt2" and "c_" in key else weight
        codes, _ = codes_and_scale(rows, 7)
        assert torch.equal(stored[key].codes.long(), codes)
        assert torch.allclose(stored[key].nominal(), weight, rtol=2**-22, atol=0)


def test_what_cannot_be_compensated_is_refused() -> None:
    model = FAMILIES["bert"].make()
    with pytest.raises(UserError, match="at least one batch"):
        compensate(model, [], 8)
    for bits in (1, 17, True, 8.0):
        with pytest.raises(UserError, match="weight_bits is"):
            compensate(model, [sample_inputs("bert", model)], bits)  # type: ignore[arg-type]
