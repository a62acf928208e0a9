"""Fine-tune a classifier once and keep it: an ordinary Hugging Face folder named by all that made it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from ohmformer.errors import UserError, replace_atomically, write_atomically
from ohmformer.workloads.batches import Progress, collate, token_rows
from ohmformer.workloads.cache import default_cache_dir, make_folder_once
from ohmformer.workloads.models import check_finite, load_model, new_classifier
from ohmformer.workloads.quiet import quiet_transformers
from ohmformer.workloads.tasks import ClassificationSplit

__all__ = ["FinetuneRecipe", "TrainingForward", "TrainingPass", "finetune_classifier"]

_RECIPE_VERSION = 1  # raise it when the training code changes what it computes
_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
_RECORD = "ohmformer_finetune.json"

TrainingForward = Callable[[dict[str, Tensor], int, int], Tensor]  # (inputs, step from 0, steps) -> logits


class TrainingPass(Protocol):
    """How the model runs forward while it is trained, such as through a chip instead of in fp32.

    identity: all that it depends on, as JSON values: it is part of the name of the result
    on:       the forward run of a model; what it draws may depend on ``identity`` and the step alone, so that
              an interrupted run goes on as if it had not been
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def on(self, model: PreTrainedModel) -> TrainingForward: ...


def _in_fp32(model: PreTrainedModel) -> TrainingForward:
    return lambda inputs, step, steps: model(**inputs).logits


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """AdamW with a linear warm-up over the first tenth of the steps and a linear decay to zero."""

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    max_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("learning_rate", "max_gradient_norm"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise UserError(f"{name} must be a positive number; got {getattr(self, name)}.")
        if not 0.0 <= self.weight_decay < 1.0:
            raise UserError(f"weight_decay must lie in 0 ... 1; got {self.weight_decay}.")


def finetune_classifier(
    base: str,
    split: ClassificationSplit,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    lr: float = 1e-4,
    seed: int = 0,
    max_tokens: int = 128,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    resume: bool = True,
    checkpoint_steps: int = 50,
    through: TrainingPass | None = None,
) -> Path:
    """Train all weights of ``base`` with a new classification head on the training half of ``split``.

    Returns a Hugging Face folder that ``load_model(..., task="classifier")`` opens, made on the first call
    and found on later ones. Its name is a hash of the starting weights, the training texts and labels and
    the recipe; the number of threads and the library versions, which move the result by rounding, are only
    recorded in it. An interrupted run goes on from its last checkpoint (every ``checkpoint_steps`` steps) to
    the same weights. ``progress`` counts steps. ``through`` runs the model forward; None is plain fp32.
    """
    recipe = FinetuneRecipe(
        epochs=epochs, batch_size=batch_size, learning_rate=lr, max_tokens=max_tokens, seed=seed
    )
    if checkpoint_steps < 1:
        raise UserError(f"checkpoint_steps must be at least 1; got {checkpoint_steps}.")
    encoder = load_model(base, task="encoder")
    model = new_classifier(base, split.label_names, encoder.tokenizer, seed)
    made_from: dict[str, Any] = {
        "recipe_version": _RECIPE_VERSION,
        "start_sha256": _weights_digest(model),
        "task": split.task_name,
        "label_names": list(split.label_names),
        "training_data_sha256": _data_digest(split),
        "training_texts": len(split.train_texts),
        "recipe": asdict(recipe),
    }
    if through is not None:
        made_from["through"] = dict(through.identity)
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    root = (default_cache_dir() if cache_dir is None else Path(cache_dir)) / "finetuned"
    target = root / f"{split.task_name}-{_first_name(encoder.name, split.task_name)}-{key}"
    checkpoint = root / f".{target.name}.checkpoint.safetensors"

    def train(folder: Path) -> None:
        rows = token_rows(
            model, encoder.tokenizer, split.train_texts, max_tokens=min(max_tokens, encoder.max_tokens)
        )
        labels = torch.tensor(split.train_labels)
        kept = _Checkpoint(file=checkpoint, every=checkpoint_steps, resume=resume)
        forward = (_in_fp32 if through is None else through.on)(model)
        _train(model, forward, rows, labels, recipe, kept, progress)
        check_finite(model)
        with quiet_transformers():
            model.save_pretrained(folder)
            encoder.tokenizer.save_pretrained(folder)
        record = made_from | {
            "base": base,
            "base_origin": encoder.origin,
            "split_seed": split.seed,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
        }
        write_atomically(folder / _RECORD, json.dumps(record, indent=2) + "\n")

    make_folder_once(target, train)
    checkpoint.unlink(missing_ok=True)
    return target


@dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    file: Path
    every: int
    resume: bool


def _train(
    model: PreTrainedModel,
    forward: TrainingForward,
    rows: list[list[int]],
    labels: Tensor,
    recipe: FinetuneRecipe,
    checkpoint: _Checkpoint,
    progress: Progress | None,
) -> None:
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    batches = [batch for epoch in range(recipe.epochs) for batch in _batches(rows, recipe, epoch)]
    model.train()
    # Dropout draws from torch's global generator: seeded here, kept in the checkpoint, restored outside.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        begin = _restore(checkpoint.file, parameters, optimizer) if checkpoint.resume else 0
        for step in range(begin, len(batches)):
            batch = batches[step]
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(step, len(batches))
            inputs = collate([rows[index] for index in batch], model.config.pad_token_id)
            loss = torch.nn.functional.cross_entropy(forward(inputs, step, len(batches)), labels[batch])
            if not bool(torch.isfinite(loss)):
                raise UserError(
                    f"Training diverged in step {step + 1}: the loss is not finite; lower the rate."
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % checkpoint.every == 0 and step + 1 < len(batches):
                _keep(checkpoint.file, parameters, optimizer, step + 1)
            if progress is not None:
                progress(step + 1, len(batches))
    model.eval()


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, steps // 10)
    return (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)


def _batches(rows: list[list[int]], recipe: FinetuneRecipe, epoch: int) -> Iterator[list[int]]:
    """Shuffle, sort pools of 16 batches by length so that little is padded, shuffle each pool's batches."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    order = torch.randperm(len(rows), generator=generator).tolist()
    pool = 16 * recipe.batch_size
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda index: len(rows[index]))
        batches = [part[at : at + recipe.batch_size] for at in range(0, len(part), recipe.batch_size)]
        for at in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[at]


def _keep(
    file: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, step: int
) -> None:
    tensors = {f"parameter.{name}": value.detach() for name, value in parameters.items()}
    for name, value in parameters.items():
        for field in _ADAM_STATE:
            tensors[f"optimizer.{field}.{name}"] = optimizer.state[value][field]
    tensors["random"] = torch.get_rng_state()
    metadata = {"step": str(step), "torch": torch.__version__}
    try:
        replace_atomically(file, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:
        raise UserError(f"Cannot write {file}: {error}.") from error


def _restore(file: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint if there is a usable one, and return the step to go on from."""
    if not file.is_file():
        return 0
    try:
        with safe_open(file, framework="pt") as opened:
            step = int((opened.metadata() or {})["step"])
            values = {name: opened.get_tensor(f"parameter.{name}") for name in parameters}
            states = {
                name: {field: opened.get_tensor(f"optimizer.{field}.{name}") for field in _ADAM_STATE}
                for name in parameters
            }
            random = opened.get_tensor("random")
    except (SafetensorError, OSError, KeyError, ValueError):
        return 0  # a damaged checkpoint costs only time
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
            optimizer.state[parameter] = states[name]
    torch.set_rng_state(random)
    return step


def _first_name(name: str, task: str) -> str:
    """The name of the model that a folder made here began with; any other name as it is."""
    made_here = re.fullmatch(rf"{re.escape(task)}-(.+)-[0-9a-f]{{16}}", name)
    return made_here[1] if made_here else name


def _weights_digest(model: PreTrainedModel) -> str:
    config = model.config.to_dict()
    for incidental in ("_name_or_path", "transformers_version"):
        config.pop(incidental, None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _data_digest(split: ClassificationSplit) -> str:
    pairs = list(zip(split.train_texts, split.train_labels, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
