"""Every common family deploys whole, converges to fp32 with the bits, generates, and is counted alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn
from transformers import DynamicCache

from ohmformer.deploy import deploy, shape_model, trace
from ohmformer.deploy.coverage import COMPUTE, DENSE, FUNCTION, HOST
from ohmformer.deploy.norms import RmsNormForm, rms_norm_form
from ohmformer.errors import UserError
from ohmformer.ir import verify

from .conftest import DECODERS, FAMILIES, output, relative, sample_inputs, wide_chip

DATA_DEPENDENT = ("mixtral", "gpt_oss")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_error_follows_the_bits_and_nothing_is_left_to_the_host(name: str) -> None:
    """On an ideal chip every difference from fp32 is a rounding to a step that is (2^15 − 1)/(2^7 − 1) = 258
    times smaller at 16 bits than at 8, and to first order the output error is linear in the steps. The
    roundings themselves are different draws: over the hundreds of numbers compared here their norm is within
    a factor of 2 of the law. A scale error, a missing operation or a formula of another kind would not shrink
    at all.
    """
    model = FAMILIES[name].make()
    inputs = sample_inputs(name, model)
    exact = output(model, inputs)
    assert exact.numel() > 200
    errors = []
    for bits in (8, 16):
        deployed = deploy(model, wide_chip(bits))
        assert type(deployed) is type(model)
        errors.append(relative(output(deployed, inputs), exact))
        rows = deployed.on_chip.coverage
        assert {row.where for row in rows} >= {COMPUTE, DENSE, FUNCTION}
        assert HOST not in {row.where for row in rows}
        assert all(row.calls > 0 and row.operation for row in rows)
    assert 258 / 2 < errors[0] / errors[1] < 258 * 2
    assert errors[1] < 2**-10


@pytest.mark.parametrize(
    ("name", "offset"), [("llama", 0.0), ("qwen3", 0.0), ("t5", 0.0), ("gemma", 1.0), ("gemma2", 1.0)]
)
def test_rms_norms_are_recognised_by_what_they_compute(name: str, offset: float) -> None:
    """Each is one squared norm and one F:rsqrt; Gemma's gain is 1 + w."""
    model = FAMILIES[name].make()
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    assert norms
    for norm in norms:
        eps = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        assert rms_norm_form(norm) == RmsNormForm(eps=eps, offset=offset)


class _NearlyRmsNorm(nn.Module):
    """Divides by n - 1: no RMS norm."""

    def __init__(self, unbiased: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))
        self.eps, self.unbiased = 1e-6, unbiased

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance = x.square().sum(-1, keepdim=True) / (x.shape[-1] - self.unbiased)
        return x * torch.rsqrt(variance + self.eps) * self.weight


def test_a_norm_of_another_formula_is_not_taken_for_one() -> None:
    assert rms_norm_form(_NearlyRmsNorm(0)) is not None
    assert rms_norm_form(_NearlyRmsNorm(1)) is None
    assert rms_norm_form(nn.LayerNorm(16)) is None


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in DATA_DEPENDENT])
def test_shapes_alone_give_the_same_program(name: str) -> None:
    """Tracing the configuration on the meta device counts exactly what the real model runs."""
    family = FAMILIES[name]
    chip = wide_chip(8)
    real = trace(deploy(family.make(), chip), batch=2, tokens=5)
    shapes = trace(deploy(shape_model(family.make_config()), chip), batch=2, tokens=5)
    assert shapes == real
    verify(real)


@pytest.mark.parametrize("name", DATA_DEPENDENT)
def test_experts_cannot_be_counted_from_shapes(name: str) -> None:
    model = shape_model(FAMILIES[name].make_config())
    with pytest.raises(UserError, match="cannot be counted from shapes alone.*depends on the data"):
        deploy(model, wide_chip(8))
    real = deploy(FAMILIES[name].make(), wide_chip(8))
    verify(trace(real, batch=1, tokens=5))


def _steps(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits token by token with a cache: three tokens at once, then one at a time."""
    cache, parts = DynamicCache(config=model.config), []
    with torch.no_grad():
        for part in (ids[:, :3], *ids[:, 3:].split(1, dim=1)):
            parts.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits)
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_continue_from_a_cache_and_generate(name: str) -> None:
    """Cached steps give the logits of the whole sequence to 16-bit rounding (2^-10 relative, as above), and
    greedy generation the tokens of the original."""
    model = FAMILIES[name].make()
    deployed = deploy(model, wide_chip(16))
    ids = sample_inputs(name, model)["input_ids"]
    assert relative(_steps(deployed, ids), output(model, {"input_ids": ids})) < 2**-10
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(ids, **settings)
    assert deployed.generate(ids, **settings).tolist() == expected.tolist()


def test_an_encoder_decoder_generates() -> None:
    model = FAMILIES["t5"].make()
    deployed = deploy(model, wide_chip(16))
    ids = sample_inputs("t5", model)["input_ids"]
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    expected = model.generate(ids, **settings)
    assert deployed.generate(ids, **settings).tolist() == expected.tolist()


def test_padding_is_masked() -> None:
    """A padded sentence gives the same as the sentence alone, to 16-bit rounding of its own rows.

    A product's resident operand shares a scale with the padding tokens, so the roundings differ: 2^-10.
    """
    for name in ("bert", "llama"):
        model = FAMILIES[name].make()
        deployed = deploy(model, wide_chip(16))
        ids = sample_inputs(name, model)["input_ids"][:1]
        padded = torch.cat([ids, torch.full((1, 4), 9)], dim=1)
        mask = torch.tensor([[1] * 7 + [0] * 4])
        for kind in (torch.long, torch.float32, torch.bool):
            y = output(deployed, {"input_ids": padded, "attention_mask": mask.to(kind)})
            assert relative(y[:, :7], output(model, {"input_ids": ids})) < 2**-10


@pytest.mark.parametrize(
    ("config", "model", "settings", "reason"),
    [
        (
            "EsmConfig",
            "EsmModel",
            {"pad_token_id": 1, "position_embedding_type": "rotary"},
            "operation erf in .*layer.*has no place",
        ),
        (
            "MambaConfig",
            "MambaModel",
            {"state_size": 4},
            r"cache layers of type LinearAttentionLayer\): state-space layers, .* are not support",
        ),
    ],
)
def test_families_without_a_place_are_refused_by_name(
    config: str, model: str, settings: dict[str, Any], reason: str
) -> None:
    sizes = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    made = getattr(hf, model)(getattr(hf, config)(**sizes, **settings))
    with pytest.raises(UserError, match=reason):
        deploy(made, wide_chip(8))
