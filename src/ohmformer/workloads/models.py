"""Load any Hugging Face language model as fp32 on the CPU, whole, or say in one sentence why not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ohmformer.errors import UserError, reason_of
from ohmformer.workloads.checkpoints import find_checkpoint, read_config_file, weight_format
from ohmformer.workloads.gguf import expand_gguf, only_gguf
from ohmformer.workloads.packages import RXNMAPPER
from ohmformer.workloads.quiet import quiet_transformers
from ohmformer.workloads.shapes import published_config
from ohmformer.workloads.smiles import smiles_tokenizer

__all__ = [
    "LoadedModel",
    "ModelTask",
    "check_finite",
    "load_config",
    "load_model",
    "load_tokenizer",
    "new_classifier",
    "sequence_limit",
]

ModelTask = Literal["encoder", "classifier", "causal", "masked", "seq2seq"]

_CLASSES: dict[str, Any] = {
    "encoder": AutoModel,
    "classifier": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}
_LENGTH_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# These count positions from pad_token_id + 1, so as many rows of the position table never hold a token.
_POSITIONS_AFTER_PAD = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer"}


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run: eval mode, fp32, eager attention, with the tokenizer it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    origin: str
    max_tokens: int


def load_model(name_or_dir: str, *, task: ModelTask) -> LoadedModel:
    """Load an embedded model by name, a Hugging Face folder, a .gguf file, or a hub id.

    Every weight comes from the checkpoint (nothing is initialised at random), every value is finite,
    no code of the checkpoint is run, and nothing waits for a network.

    Error: UserError, one sentence, for whatever is missing, damaged, unknown or refused.
    """
    if task not in _CLASSES:
        raise UserError(f"The task of a model must be one of {', '.join(_CLASSES)}; got {task!r}.")
    found = find_checkpoint(name_or_dir)
    folder = _folder(found.path)
    config = read_config_file(folder / "config.json")
    if bool(config.get("is_encoder_decoder")) != (task == "seq2seq"):
        what = "no" if task == "seq2seq" else "an"
        raise UserError(f"{folder} holds {what} encoder-decoder model: it cannot serve as {task}.")
    stored = weight_format(folder)
    model = _load_weights(folder, task, stored == "safetensors", str(config["model_type"]))
    check_finite(model)
    model.eval()
    if found.embedded is RXNMAPPER:
        tokenizer: PreTrainedTokenizerBase = smiles_tokenizer(
            folder / "vocab.txt", int(config["max_position_embeddings"])
        )
    else:
        tokenizer = load_tokenizer(folder)
    _check_vocabulary(model, tokenizer, folder)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=found.name,
        origin=found.origin,
        max_tokens=sequence_limit(model, tokenizer),
    )


def new_classifier(
    base: str, label_names: Sequence[str], tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """The body of ``base`` under a classification head still to be trained.

    The head is drawn with ``seed``, unless the checkpoint has one of the same size: that one is kept.
    """
    folder = _folder(find_checkpoint(base).path)
    config = read_config_file(folder / "config.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, missing, misshapen = _from_pretrained(
            folder,
            "classifier",
            weight_format(folder) == "safetensors",
            str(config["model_type"]),
            id2label=dict(enumerate(label_names)),
            label2id={name: index for index, name in enumerate(label_names)},
        )
    prefix = f"{model.base_model_prefix}."
    body = [name for name in missing + misshapen if name.startswith(prefix) and ".pooler." not in name]
    if body:
        raise UserError(
            f"The checkpoint {folder} lacks {len(body)} tensor(s) of its body, such as {body[0]}."
        )
    if model.config.pad_token_id is None:
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        model.config.pad_token_id = pad
    return model


def load_config(name_or_dir: str) -> PreTrainedConfig:
    """The configuration alone, from whatever ``load_model`` takes, a config.json, or a name of ``SHAPES``."""
    published = published_config(name_or_dir)
    if published is not None:
        return published
    found = find_checkpoint(name_or_dir, config_only=True)
    path = found.path
    if path.suffix == ".gguf" or not (path.is_file() or (path / "config.json").is_file()):
        path = _folder(path)
    file = path if path.is_file() else path / "config.json"
    read_config_file(file)
    try:
        with quiet_transformers():
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                file, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise UserError(f"{file} does not describe a valid model: {reason_of(error)}.") from error
    return config


def check_finite(model: torch.nn.Module) -> None:
    """Refuse a model one of whose stored tensors holds NaN or infinity, naming the tensor and how many."""
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or tensor.device.type == "meta":
            continue
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            raise UserError(
                f"The weight {name} holds {bad} value(s) that are NaN or infinite "
                f"(of {tensor.numel()}); the checkpoint is unusable."
            )


def sequence_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The most tokens the model takes at once: the smaller of its position table and its tokenizer's limit.

    ``sys.maxsize`` where neither states one (relative positions).
    """
    config = model.config
    limits = [value for field in _LENGTH_FIELDS if isinstance(value := getattr(config, field, None), int)]
    if limits and config.model_type in _POSITIONS_AFTER_PAD:
        limits = [limits[0] - (config.pad_token_id or 0) - 1]
    # A tokenizer without a limit of its own reports 1e30.
    return int(min([*limits[:1], tokenizer.model_max_length, sys.maxsize]))


def _folder(path: Path) -> Path:
    """The Hugging Face folder behind a path: itself, or the expansion of the .gguf file it is or holds."""
    if path.is_dir():
        if (path / "config.json").is_file() or not any(path.glob("*.gguf")):
            return path
        return expand_gguf(only_gguf(path))
    if path.suffix == ".gguf":
        return expand_gguf(path)
    raise UserError(
        f"{path} is a single file; give the Hugging Face folder that holds it (with config.json), "
        "or a .gguf file."
    )


def _load_weights(folder: Path, task: ModelTask, use_safetensors: bool, model_type: str) -> PreTrainedModel:
    model, missing, misshapen = _from_pretrained(folder, task, use_safetensors, model_type)
    if task == "encoder" and missing and all(".pooler." in f".{name}" for name in missing):
        # The pooler is a head: checkpoints trained without one are complete encoders.
        model, missing, misshapen = _from_pretrained(
            folder, task, use_safetensors, model_type, add_pooling_layer=False
        )
    for name in misshapen:
        raise UserError(f"The tensor {name} in {folder} has another shape than config.json states.")
    if not missing:
        return model
    prefix = f"{model.base_model_prefix}."
    heads = [name for name in missing if not name.startswith(prefix)]
    if task != "encoder" and len(heads) == len(missing):
        what = {"classifier": "classifier", "causal": "next-token", "masked": "masked-token"}.get(
            task, "next-token"
        )
        advice = "; fine-tune it first or use it as a frozen encoder" if task == "classifier" else ""
        raise UserError(f"{folder} has no trained {what} head ({missing[0]} is missing){advice}.")
    raise UserError(
        f"The checkpoint {folder} lacks {len(missing)} of the tensors of {type(model).__name__}, "
        f"such as {missing[0]}."
    )


def _from_pretrained(
    folder: Path, task: ModelTask, use_safetensors: bool, model_type: str, **options: Any
) -> tuple[PreTrainedModel, list[str], list[str]]:
    """The model, the tensors that the checkpoint lacks and those whose shape differs (both now random)."""
    try:
        with quiet_transformers():
            model, info = _CLASSES[task].from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                use_safetensors=use_safetensors,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # whatever transformers raises on a foreign checkpoint becomes one sentence
        if "Unrecognized configuration class" in str(error):
            raise UserError(f"A model of type {model_type!r} cannot serve as {task} ({folder}).") from error
        raise UserError(f"{folder} cannot be loaded as {task}: {reason_of(error)}.") from error
    return model, sorted(info["missing_keys"]), sorted(key[0] for key in info["mismatched_keys"])


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder; UserError where there is none that works."""
    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise UserError(
            f"{folder} holds no usable tokenizer (such as tokenizer.json): {reason_of(error)}."
        ) from error
    if tokenizer is None or not tokenizer.get_vocab():
        raise UserError(f"{folder} holds no usable tokenizer (such as tokenizer.json).")
    return tokenizer


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    rows = table.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise UserError(
            f"The tokenizer in {folder} makes token ids up to {largest}, "
            f"but the model's embedding has only {rows} rows: they do not belong together."
        )
