"""Tiny random models on disk, and a way to spoil them one file at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ohmformer.workloads.quiet import quiet_transformers

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    "red",
    "blue",
    "happy",
    "sad",
    "good",
    "bad",
    "fine",
    "awful",
    "yes",
    "no",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIAL + WORDS
MAX_TOKENS = 32


def _tokenizer(*, with_special: bool) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if with_special:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=MAX_TOKENS, **names)


def _save(model: PreTrainedModel, folder: Path, *, with_special: bool) -> Path:
    with quiet_transformers():
        model.save_pretrained(folder)
        _tokenizer(with_special=with_special).save_pretrained(folder)
    return folder


def _bert_config(**options: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=0,
        initializer_range=0.5,  # large enough that texts differ clearly
        **options,
    )


def _llama_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.5,
    )


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """``make_folder(kind, **config options)``, kind bert, masked, classifier or llama."""

    def make(kind: str, **options: Any) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            if kind == "llama":
                return _save(LlamaForCausalLM(_llama_config()), tmp_path / kind, with_special=False)
            classes = {
                "bert": BertModel,
                "masked": BertForMaskedLM,
                "classifier": BertForSequenceClassification,
            }
            return _save(classes[kind](_bert_config(**options)), tmp_path / kind, with_special=True)

    return make


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """``edit_config(folder, field=value)`` rewrites config.json; a value of None removes the field."""

    def edit(folder: Path, **fields: Any) -> None:
        file = folder / "config.json"
        config = json.loads(file.read_text())
        for name, value in fields.items():
            config[name] = value
            if value is None:
                del config[name]
        file.write_text(json.dumps(config))

    return edit
