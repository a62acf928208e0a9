"""Tiny random models and tables on disk, and the command line as a function."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ohmformer.cli import run
from ohmformer.workloads.quiet import quiet_transformers

WORDS = [
    *("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree"),
    *("red", "blue", "happy", "sad", "good", "bad", "fine", "awful", "yes", "no"),
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
MAX_TOKENS = 32
SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": MAX_TOKENS,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of stderr; fails where there are more, or a traceback."""
        assert "Traceback" not in self.err
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``command("chips", "list")`` runs the command line in this process."""

    def call(*arguments: object) -> Ended:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call


def started(*arguments: object, before: str = "", **options: object) -> subprocess.Popen[str]:
    """The command line as a program of its own, after the statements ``before``."""
    code = f"{before}\nfrom ohmformer.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def program() -> Callable[..., subprocess.Popen[str]]:
    return started


def _tokenizer(with_special: bool) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if with_special:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=MAX_TOKENS, **names)


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[[str], Path]:
    """``make_model(kind)``: a folder with a tiny random bert, classifier or llama."""

    def make(kind: str) -> Path:
        folder = tmp_path / kind
        with torch.random.fork_rng(devices=[]), quiet_transformers():
            torch.manual_seed(7)
            if kind == "llama":
                config = LlamaConfig(**SHAPE, num_key_value_heads=1, bos_token_id=None, eos_token_id=None)
                LlamaForCausalLM(config).save_pretrained(folder)
            elif kind == "classifier":
                names = {0: "down", 1: "up"}
                ids = {name: index for index, name in names.items()}
                BertForSequenceClassification(
                    BertConfig(**SHAPE, id2label=names, label2id=ids)
                ).save_pretrained(folder)
            else:
                BertModel(BertConfig(**SHAPE)).save_pretrained(folder)
            _tokenizer(kind != "llama").save_pretrained(folder)
        return folder

    return make


def texts(count: int) -> list[tuple[str, str]]:
    """Different texts; those with "happy" are up, the others down."""
    made = []
    for index in range(count):
        up = index % 2 == 0
        middle = [WORDS[(index >> shift) % 10] for shift in (1, 4, 7)]
        made.append(
            (" ".join(["happy" if up else "sad", *middle, WORDS[10 + index % 2]]), "up" if up else "down")
        )
    return list(dict.fromkeys(made))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of texts and labels."""
    return write_table(tmp_path / "moods.csv", 80)


def write_table(path: Path, count: int) -> Path:
    lines = ["text,label", *(f"{text},{label}" for text, label in texts(count))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(" ".join(text for text, _ in texts(60)), encoding="utf-8")
    return path


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    path = tmp_path / "quiz.jsonl"
    rows = [{"question": text, "choices": ["yes", "no"], "answer": 0} for text, _ in texts(12)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path
