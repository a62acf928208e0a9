"""Published configurations by name, for counting work without weights or a network."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import PreTrainedConfig

__all__ = ["SHAPES", "published_config"]


def _bert(width: int, layers: int, heads: int) -> dict[str, Any]:
    """BERT and its kind: the feed-forward is four times as wide."""
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


def _gpt2(width: int, layers: int, heads: int, positions: int = 1024) -> dict[str, Any]:
    return {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": positions}


def _decoder(
    vocabulary: int, width: int, inner: int, layers: int, heads: int, shared: int, positions: int, **more: Any
) -> dict[str, Any]:
    """Decoders of Llama's kind; shared: heads of keys and values."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "max_position_embeddings": positions,
        **more,
    }


def _t5(width: int, inner: int, layers: int, heads: int, head_width: int = 64) -> dict[str, Any]:
    return {
        "vocab_size": 32128,
        "d_model": width,
        "d_ff": inner,
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": head_width,
    }


_ROPE_31 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_LLAMA_31 = {"rms_norm_eps": 1e-5, "rope_parameters": _ROPE_31, "tie_word_embeddings": False}
_MISTRAL = {"rms_norm_eps": 1e-5, "head_dim": 128, "tie_word_embeddings": False}

# name: (class, configuration, settings that differ from the configuration's own)
_PUBLISHED: dict[str, tuple[str, str, dict[str, Any]]] = {
    # Devlin et al. 2019
    "bert-base": ("BertModel", "BertConfig", {}),
    "bert-large": ("BertModel", "BertConfig", _bert(1024, 24, 16)),
    # Liu et al. 2019
    "roberta-base": (
        "RobertaModel",
        "RobertaConfig",
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    # Sanh et al. 2019
    "distilbert-base": ("DistilBertModel", "DistilBertConfig", {}),
    # Dosovitskiy et al. 2021, patches of 16 × 16 in pictures of 224 × 224
    "vit-base": ("ViTModel", "ViTConfig", {}),
    # Raffel et al. 2020
    "t5-base": ("T5ForConditionalGeneration", "T5Config", _t5(768, 3072, 12, 12)),
    "t5-large": ("T5ForConditionalGeneration", "T5Config", _t5(1024, 4096, 24, 16)),
    "t5-11b": ("T5ForConditionalGeneration", "T5Config", _t5(1024, 65536, 24, 128, 128)),
    # Radford et al. 2019
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {}),
    "gpt2-xl": ("GPT2LMHeadModel", "GPT2Config", _gpt2(1600, 48, 25)),
    # Brown et al. 2020
    "gpt3-175b": ("GPT2LMHeadModel", "GPT2Config", _gpt2(12288, 96, 96, 2048)),
    # Zhang et al. 2022
    "opt-6.7b": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": 50272,
            "hidden_size": 4096,
            "word_embed_proj_dim": 4096,
            "ffn_dim": 16384,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
        },
    ),
    # Biderman et al. 2023
    "pythia-6.9b": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        {**_bert(4096, 32, 32), "vocab_size": 50432, "max_position_embeddings": 2048},
    ),
    # Li et al. 2023
    "phi-1.5": (
        "PhiForCausalLM",
        "PhiConfig",
        {
            "vocab_size": 51200,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
            "hidden_act": "gelu_new",
        },
    ),
    # Touvron et al. 2023
    "llama-7b": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _decoder(32000, 4096, 11008, 32, 32, 32, 2048, rms_norm_eps=1e-6, tie_word_embeddings=False),
    ),
    # Grattafiori et al. 2024 (Llama 3.1)
    "llama3.1-8b": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _decoder(128256, 4096, 14336, 32, 32, 8, 131072, **_LLAMA_31),
    ),
    "llama3.1-70b": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _decoder(128256, 8192, 28672, 80, 64, 8, 131072, **_LLAMA_31),
    ),
    "llama3.1-405b": (
        "LlamaForCausalLM",
        "LlamaConfig",
        _decoder(128256, 16384, 53248, 126, 128, 8, 131072, **_LLAMA_31),
    ),
    # Jiang et al. 2023
    "mistral-7b": (
        "MistralForCausalLM",
        "MistralConfig",
        _decoder(32000, 4096, 14336, 32, 32, 8, 32768, sliding_window=4096, **_MISTRAL),
    ),
    # Jiang et al. 2024
    "mixtral-8x7b": (
        "MixtralForCausalLM",
        "MixtralConfig",
        _decoder(
            32000,
            4096,
            14336,
            32,
            32,
            8,
            32768,
            sliding_window=None,
            num_local_experts=8,
            num_experts_per_tok=2,
            **_MISTRAL,
        ),
    ),
    # Yang et al. 2024
    "qwen2-7b": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        _decoder(152064, 3584, 18944, 28, 28, 4, 131072, tie_word_embeddings=False),
    ),
    # Yang et al. 2025
    "qwen3-8b": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        _decoder(151936, 4096, 12288, 36, 32, 8, 40960, head_dim=128, tie_word_embeddings=False),
    ),
    # Gemma Team 2024
    "gemma-7b": (
        "GemmaForCausalLM",
        "GemmaConfig",
        _decoder(256000, 3072, 24576, 28, 16, 16, 8192, head_dim=256),
    ),
    "gemma2-9b": (
        "Gemma2ForCausalLM",
        "Gemma2Config",
        _decoder(256000, 3584, 14336, 42, 16, 8, 8192, head_dim=256, sliding_window=4096),
    ),
}
SHAPES: tuple[str, ...] = tuple(_PUBLISHED)


def published_config(name: str) -> PreTrainedConfig | None:
    """The configuration called ``name``, or None if it is not one of ``SHAPES``."""
    found = _PUBLISHED.get(name)
    if found is None:
        return None
    model, config, settings = found
    made: PreTrainedConfig = getattr(transformers, config)(architectures=[model], **settings)
    return made
