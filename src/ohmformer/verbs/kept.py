"""A deployed model in a folder, in the place of a model: the physical chip that is there is what runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ohmformer.deploy import load_deployed
from ohmformer.deploy.state import ATTRIBUTE, OnChip
from ohmformer.errors import UserError
from ohmformer.workloads import LoadedModel, load_model
from ohmformer.workloads.checkpoints import deployed_index
from ohmformer.workloads.models import ModelTask, load_tokenizer, sequence_limit

__all__ = ["is_kept", "load_or_restore", "refuse_other_chips"]


def load_or_restore(name_or_dir: str, *, task: ModelTask) -> LoadedModel:
    """As ``load_model``, but a folder of ``save_deployed`` gives the deployed model that it holds.

    Error: UserError as of ``load_model`` and ``load_deployed``, and where that model cannot serve the task.
    """
    if deployed_index(name_or_dir) is None:
        return load_model(name_or_dir, task=task)
    folder = Path(name_or_dir).expanduser()
    model = load_deployed(folder)
    name = type(model).__name__
    serves = {
        "classifier": name.endswith("ForSequenceClassification"),
        "causal": model.can_generate() and not model.config.is_encoder_decoder,
        "seq2seq": model.can_generate() and model.config.is_encoder_decoder,
    }
    if not serves.get(task, False):
        raise UserError(f"{folder} holds a deployed {name}: it cannot serve as {task}.")
    tokenizer = load_tokenizer(folder)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=folder.resolve().name,
        origin=f"deployed model in {folder}",
        max_tokens=sequence_limit(model, tokenizer),
    )


def is_kept(loaded: LoadedModel) -> bool:
    """Whether a loaded model is a deployed one."""
    return isinstance(getattr(loaded.model, ATTRIBUTE, None), OnChip)


def refuse_other_chips(loaded: LoadedModel, setups: Sequence[object]) -> None:
    """Error: UserError for setups beside a deployed model."""
    if setups:
        raise UserError(f"{loaded.name} is one physical chip already: it cannot run on others.")
