"""Published configurations by name, for counting work without weights or a network."""

from __future__ import annotations

from transformers import BertConfig, GPT2Config, PhiConfig, PreTrainedConfig

__all__ = ["SHAPES", "published_config"]

# Devlin et al. 2019 (BERT), Radford et al. 2019 (GPT-2), Li et al. 2023 (Phi-1.5), Brown et al. 2020 (GPT-3)
SHAPES = ("bert-base", "bert-large", "gpt2", "gpt3-175b", "phi-1.5")


def published_config(name: str) -> PreTrainedConfig | None:
    """The configuration called ``name``, or None if it is not one of ``SHAPES``."""
    if name == "bert-base":
        return BertConfig(architectures=["BertModel"])
    if name == "bert-large":
        return BertConfig(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            architectures=["BertModel"],
        )
    if name == "gpt2":
        return GPT2Config(architectures=["GPT2LMHeadModel"])
    if name == "gpt3-175b":
        return GPT2Config(
            n_embd=12288, n_layer=96, n_head=96, n_positions=2048, architectures=["GPT2LMHeadModel"]
        )
    if name == "phi-1.5":
        return PhiConfig(
            vocab_size=51200,
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=24,
            num_attention_heads=32,
            max_position_embeddings=2048,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
            hidden_act="gelu_new",
            architectures=["PhiForCausalLM"],
        )
    return None
