"""Published configurations have the published numbers of parameters."""

import pytest
import torch
import transformers
from transformers.initialization import no_init_weights

from ohmformer.workloads.shapes import SHAPES, published_config

# Exact numbers of parameters of the published checkpoints (tied ones counted once), without those of
# pretraining heads: sums over the sizes of their stored tensors.
PARAMETERS = {
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "roberta-base": 124_645_632,
    "distilbert-base": 66_362_880,
    "vit-base": 86_389_248,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-11b": 11_307_321_344,
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "opt-6.7b": 6_658_473_984,
    "pythia-6.9b": 6_857_302_016,
    "phi-1.5": 1_418_270_720,
    "llama-7b": 6_738_415_616,
    "llama3.1-8b": 8_030_261_248,
    "llama3.1-70b": 70_553_706_496,
    "llama3.1-405b": 405_853_388_800,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "gemma-7b": 8_537_680_896,
    "gemma2-9b": 9_241_705_984,
}


def parameters(name: str) -> int:
    config = published_config(name)
    assert config is not None
    assert config.architectures is not None
    with torch.device("meta"), no_init_weights():
        model = getattr(transformers, config.architectures[0])(config)
    model.tie_weights()
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    assert parameters(name) == PARAMETERS[name]


def test_gpt3_has_the_printed_number_of_parameters() -> None:
    """Brown et al. 2020, table 2.1, print 175.0 B for 96 layers of 12288 with 2048 positions.

    12·96·12288² of matrices alone are 173.9 B; the table of 50257 words adds 0.6 B: within half a percent.
    """
    assert abs(parameters("gpt3-175b") / 175.0e9 - 1) < 0.005


def test_every_shape_is_checked() -> None:
    assert set(SHAPES) == {*PARAMETERS, "gpt3-175b"}
    assert published_config("no-such-model") is None
