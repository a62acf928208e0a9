"""From MODEL, --task and --kind to the measurement that is meant."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ohmformer.cli.kept import is_kept
from ohmformer.errors import UserError

if TYPE_CHECKING:
    from ohmformer.verbs.work import Kind
    from ohmformer.workloads import ClassificationSplit, TextClassificationTask

__all__ = ["FINETUNE_RECORD", "Columns", "classification_split", "default_task", "kind_of", "refuse_overlap"]

FINETUNE_RECORD = "ohmformer_finetune.json"
NAMED_TASKS = {"sarcasm": "head", "wikipedia-sample": "perplexity", "mmlu-sample": "choices"}
DEFAULT_TRAIN = 2000
DEFAULT_TEST = 500


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns of a user's file."""

    text: str = "text"
    label: str = "label"
    question: str = "question"
    choices: str = "choices"
    answer: str = "answer"


def kind_of(model: str, task: str, given: str | None, columns: Columns) -> Kind:
    """What to measure: as the user says, else by the task, else by the head that the model has."""
    from ohmformer.verbs.work import Kind

    allowed = get_args(Kind)
    if given is not None:
        if given not in allowed:
            raise UserError(f"--kind is {given!r}: allowed are {', '.join(allowed)}.")
        return given  # type: ignore[return-value]
    named = NAMED_TASKS.get(task)
    if named in ("perplexity", "choices"):
        return named  # type: ignore[return-value]
    if named is None:
        path = Path(task).expanduser()
        if not path.is_file():
            raise UserError(
                f"There is no task or file {task!r}; give a file or one of {', '.join(NAMED_TASKS)}."
            )
        if path.suffix.lower() == ".txt":
            return "perplexity"
        if path.suffix.lower() == ".jsonl" and _has_choices(path, columns.choices):
            return "choices"
    return "classifier" if _has_classifier(model) else "head"


def _has_choices(path: Path, column: str) -> bool:
    """Whether the first line of a JSONL file holds a list of choices; a bad file is told of by its reader."""
    try:
        with open(path, encoding="utf-8-sig") as lines:
            first = json.loads(next(lines, "null"))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and isinstance(first.get(column), list)


def _has_classifier(model: str) -> bool:
    from ohmformer.workloads import load_config

    named = getattr(load_config(model), "architectures", None) or [""]
    return str(named[0]).endswith("ForSequenceClassification")


def default_task(model: str) -> str:
    """The way a model is loaded when no task says it: by the class that its configuration names."""
    from ohmformer.workloads import load_config

    named = str((getattr(load_config(model), "architectures", None) or [""])[0])
    for ending, task in (
        ("ForSequenceClassification", "classifier"),
        ("ForMaskedLM", "masked"),
        ("ForCausalLM", "causal"),
        ("LMHeadModel", "causal"),
    ):
        if named.endswith(ending):
            return task
    return "encoder"


def classification_split(
    task: TextClassificationTask, train: int | None, test: int | None, seed: int
) -> ClassificationSplit:
    """The split asked for; by default 500 test and 2,000 training texts, less where there are fewer."""
    texts = len(task.texts)
    wanted_test = test if test is not None else min(DEFAULT_TEST, max(1, texts // 5))
    wanted_train = train if train is not None else min(DEFAULT_TRAIN, max(1, texts - wanted_test))
    return task.split(wanted_train, wanted_test, seed)


def refuse_overlap(model: str, task: TextClassificationTask, split: ClassificationSplit) -> None:
    """Refuse to test a model, made by ``finetune`` on this task, on texts it may have been trained on.

    Of equal seeds the smaller test part lies in the larger one, so the split of the fine-tuning is known
    once its seed and its hash are found again.
    """
    file = Path(model).expanduser() / FINETUNE_RECORD
    if not file.is_file():
        return
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        name, seed, size = str(record["task"]), int(record["split_seed"]), int(record["training_texts"])
        digest = str(record["training_data_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"The record {file} of the fine-tuning cannot be read.") from error
    if name != task.name:
        return
    for test in dict.fromkeys((len(split.test_texts), DEFAULT_TEST, min(DEFAULT_TEST, len(task.texts) // 5))):
        if test < 1 or size + test > len(task.texts):
            continue
        trained = task.split(size, test, seed)
        pairs = list(zip(trained.train_texts, trained.train_labels, strict=True))
        if hashlib.sha256(json.dumps(pairs).encode()).hexdigest() == digest:
            if set(trained.train_texts).isdisjoint(split.test_texts):
                return
            break
    give = f"deploy it with --seed {seed}, then give" if is_kept(model) else f"give --seed {seed} and"
    raise UserError(
        f"{model} was fine-tuned on {size} texts of {name} with seed {seed}, and these test texts are not "
        f"sure to be others: {give} the --test of the fine-tuning."
    )
