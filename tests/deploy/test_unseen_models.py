"""Models beyond the common families, each for what it once showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.deploy import deploy, load_deployed, save_deployed
from ohmformer.errors import UserError
from ohmformer.specs import ideal, override

from .conftest import DECODER, ENCODER, FAMILIES, output, relative, wide_chip
from .test_physical_chip import NOISY

VISION = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_whose_modules_choose_their_attention_when_made_is_restored(
    attention: str, tmp_path: Path
) -> None:
    """Falcon with alibi adds it before or after the scale, as its modules were made for."""
    settings: dict[str, Any] = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 1}
    settings |= {"num_attention_heads": 4, "alibi": True, "multi_query": False, "parallel_attn": False}
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(hf.FalconConfig(**settings), attn_implementation=attention)
    ids = {"input_ids": torch.arange(3, 15).reshape(2, 6)}
    deployed = deploy(model.eval(), NOISY, seed=1)
    expected = output(deployed, ids)
    deployed.on_chip.restart()
    restored = load_deployed(save_deployed(deployed, tmp_path / "chip"))
    assert torch.equal(output(restored, ids), expected)
    assert restored.on_chip.coverage == deployed.on_chip.coverage
    again = load_deployed(save_deployed(restored, tmp_path / "again"))
    assert again.on_chip.coverage == deployed.on_chip.coverage


def test_texts_with_pictures_are_checked_with_both() -> None:
    """CLIP takes ids and pixels; the error is that of whole models (test_families)."""
    torch.manual_seed(0)
    config = hf.CLIPConfig(
        text_config={**ENCODER, "num_hidden_layers": 1, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**VISION, "image_size": 8, "patch_size": 4},
        projection_dim=16,
    )
    model = hf.CLIPModel(config).eval()
    inputs = {"input_ids": torch.randint(3, 60, (2, 5)), "pixel_values": torch.randn(2, 3, 8, 8)}
    deployed = deploy(model, wide_chip(16))
    with torch.no_grad():
        found, exact = deployed(**inputs), model(**inputs)
    assert relative(found.logits_per_image, exact.logits_per_image) < 2**-10
    assert any(row.module.startswith("vision_model") for row in deployed.on_chip.coverage)


class Spread(nn.Module):
    """What a norm divides by, spelt out: the mean of squares of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(32))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.gain).pow(2).mean(-1, keepdim=True)


def test_a_sum_of_squares_stays_above_zero_in_a_norm_that_is_spelt_out() -> None:
    """Conversions this wrong (a deviation of 2 codes; a top digit counts 49 · 128) bring sums of a few codes
    to 0 and below: then the largest number stands for the sum, here 1, so the mean of 32 is 1/32."""
    chip = override(chips.wang2024(), {"tile.adc.noise": 2.0})
    x = torch.randn(400, 32, generator=torch.Generator().manual_seed(2)) * 1e-3
    x[:, 0] = 1.0
    found = deploy(Spread().eval(), chip, check=False)(x)
    assert bool((found > 0).all())
    assert int((found == 1 / 32).sum()) > 10
    torch.manual_seed(0)
    model = hf.CohereForCausalLM(hf.CohereConfig(**DECODER, use_qk_norm=True)).eval()
    assert bool(torch.isfinite(output(deploy(model, chip), {"input_ids": torch.arange(3, 9)[None]})).all())


class Sum(nn.Module):
    """The plain sum of each row."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1)


@pytest.mark.parametrize("scale", ["per_token", "per_tensor"])
def test_sums_of_the_ideal_chip_are_left_as_they_are(scale: str) -> None:
    """Rows of zeros, of one number, of numbers below half a step of a scale that all share: Σ codes."""
    chip = override(ideal(chips.wang2024()), {"precision.activation_scale": scale})
    x = torch.zeros(5, 8)
    x[1, 2], x[2, 3], x[3], x[4, 0] = 0.7, 1e-4, 0.1, -0.3
    scales = (x.abs().amax(-1) if scale == "per_token" else x.abs().max().expand(5)) / 127
    scales = torch.where(scales == 0, torch.ones(()), scales)
    expected = (x / scales[:, None]).round().sum(-1) * scales
    assert torch.equal(deploy(Sum().eval(), chip, check=False)(x), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_no_numbers_are_named(value: float) -> None:
    vit = deploy(FAMILIES["vit"].make(), NOISY)
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[0, 1, 2, 3] = value
    for given in ((), (pixels,)):
        with pytest.raises(UserError, match="(input pixel_values|first input) holds NaN or infinity"):
            vit(*given, **({} if given else {"pixel_values": pixels}))


def test_infinities_in_a_mask_are_none_of_that() -> None:
    bert = deploy(FAMILIES["bert"].make(), wide_chip(8))
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., 4:] = -float("inf")
    ids = torch.arange(3, 9)[None]
    assert bool(torch.isfinite(bert(input_ids=ids, attention_mask=mask).logits).all())
