"""Tiny random models of common families, and ideal chips of several widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from transformers.utils import logging

from ohmformer import chips
from ohmformer.deploy.coverage import Coverage, CoverageRow
from ohmformer.deploy.deploying import deploy
from ohmformer.specs import ChipSpec, ideal, override

ENCODER: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
DECODER = {**ENCODER, "num_key_value_heads": 2}
GPT = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}


@dataclass(frozen=True)
class Family:
    """How a tiny model of one family is made."""

    model: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    gain: float = 4.0  # on the initial matrices, so that attention is not uniform

    def make_config(self) -> Any:
        config = getattr(hf, self.config)(**self.settings)
        config.architectures = [self.model]
        return config

    def make(self, seed: int = 0) -> Any:
        """A random model whose biases, norms and attention all matter."""
        torch.manual_seed(seed)
        model = getattr(hf, self.model)(self.make_config()).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                else:
                    parameter.mul_(self.gain)
        return model


T5 = {"vocab_size": 61, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
FAMILIES = {
    "bert": Family("BertForMaskedLM", "BertConfig", ENCODER),
    "roberta": Family("RobertaForMaskedLM", "RobertaConfig", ENCODER),
    "distilbert": Family(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {
            "vocab_size": 61,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 40,
        },
    ),
    "albert": Family("AlbertModel", "AlbertConfig", {**ENCODER, "embedding_size": 16}),
    "electra": Family("ElectraModel", "ElectraConfig", {**ENCODER, "embedding_size": 16}),
    "mpnet": Family("MPNetModel", "MPNetConfig", ENCODER),
    "modernbert": Family(
        "ModernBertModel",
        "ModernBertConfig",
        {
            **ENCODER,
            "pad_token_id": 0,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "gpt2": Family("GPT2LMHeadModel", "GPT2Config", GPT),
    "gpt_neox": Family("GPTNeoXForCausalLM", "GPTNeoXConfig", ENCODER),
    "gptj": Family("GPTJForCausalLM", "GPTJConfig", {**GPT, "rotary_dim": 4}),
    "opt": Family(
        "OPTForCausalLM",
        "OPTConfig",
        {
            **{key: ENCODER[key] for key in ENCODER if key != "intermediate_size"},
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
        },
    ),
    "bloom": Family(
        "BloomForCausalLM", "BloomConfig", {"vocab_size": 61, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    ),
    "falcon": Family(  # its linear layers are x @ weight.T
        "FalconForCausalLM",
        "FalconConfig",
        {key: ENCODER[key] for key in ENCODER if "intermediate" not in key and "position" not in key},
    ),
    "phi": Family("PhiForCausalLM", "PhiConfig", ENCODER),
    "llama": Family("LlamaForCausalLM", "LlamaConfig", DECODER),
    "mistral": Family("MistralForCausalLM", "MistralConfig", DECODER),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", DECODER),
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 8}),
    "gemma": Family("GemmaForCausalLM", "GemmaConfig", {**DECODER, "head_dim": 8}),
    "gemma2": Family("Gemma2ForCausalLM", "Gemma2Config", {**DECODER, "head_dim": 8}),
    "mixtral": Family("MixtralForCausalLM", "MixtralConfig", {**DECODER, "num_local_experts": 4}),
    "gpt_oss": Family(
        "GptOssForCausalLM",
        "GptOssConfig",
        {**DECODER, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    ),
    "t5": Family(
        "T5ForConditionalGeneration", "T5Config", {**T5, "decoder_start_token_id": 0}, 1.0
    ),  # attention without 1/√d: large already
    "vit": Family(
        "ViTModel",
        "ViTConfig",
        {
            **{key: ENCODER[key] for key in ENCODER if key not in ("vocab_size", "max_position_embeddings")},
            "image_size": 16,
            "patch_size": 4,
        },
    ),
    "whisper": Family(
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            "vocab_size": 61,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_source_positions": 10,
            "num_mel_bins": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
    ),
}
DECODERS = tuple(
    name
    for name in FAMILIES
    if "CausalLM" in FAMILIES[name].model or FAMILIES[name].model == "GPT2LMHeadModel"
)


def sample_inputs(name: str, model: Any, seed: int = 1) -> dict[str, Tensor]:
    """Two random samples."""
    torch.manual_seed(seed)
    if name == "vit":
        return {"pixel_values": torch.randn(2, 3, 16, 16)}
    ids = torch.randint(3, 60, (2, 7))
    if name == "whisper":
        return {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": ids}
    if model.config.is_encoder_decoder:
        return {"input_ids": ids, "decoder_input_ids": ids[:, :5]}
    return {"input_ids": ids}


def output(model: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(**inputs)[0]
    return result


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def wide_chip(bits: int) -> ChipSpec:
    """An ideal chip whose every operand and vector has ``bits`` bits, and function tables far finer."""
    return override(
        ideal(chips.wang2024()),
        {
            "precision.weight_bits": bits,
            "precision.activation_bits": bits,
            "precision.vector_bits": bits,
            "function_unit.segments": 8192,
            "function_unit.fraction_bits": 24,
        },
    )


class Bare(nn.Module):
    """A module of one formula over a matrix, a vector, a buffer and a linear layer."""

    def __init__(self, formula: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(8, 8, generator=generator))
        self.b = nn.Parameter(torch.randn(8, generator=generator))
        self.register_buffer("c", torch.randn(8, 8, generator=generator))
        self.lin = nn.Linear(8, 8)
        with torch.no_grad():
            self.lin.weight.copy_(torch.randn(8, 8, generator=generator))
        self.formula = formula

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def run_bare(
    formula: Callable[[Any, Tensor], Any], x: Tensor, allow: tuple[str, ...] = ()
) -> tuple[Tensor, Tensor, tuple[CoverageRow, ...]]:
    """Output of the formula on a 16-bit chip, in fp32, and where it ran."""
    model = Bare(formula).eval()
    deployed = deploy(model, wide_chip(16), check=False, allow=allow)
    coverage = deployed.on_chip.runtime.coverage = Coverage()
    y = deployed(x.clone())
    with torch.no_grad():
        return y, model(x.clone()), coverage.rows()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)
