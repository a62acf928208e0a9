"""What a model is asked to do: one model, one task, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ohmformer.deploy import compensate
from ohmformer.errors import UserError
from ohmformer.verbs.deviation import compared_inputs
from ohmformer.verbs.kept import load_or_restore
from ohmformer.workloads import (
    ClassificationSplit,
    LoadedModel,
    Metric,
    MultipleChoiceTask,
    TextTask,
    accuracy_interval,
    embed,
    evaluate_choices,
    load_model,
    perplexity_interval,
    predict_classifier,
    sequence_limit,
    token_nll,
    train_head,
)
from ohmformer.workloads.batches import collate, length_batches, token_rows
from ohmformer.workloads.checkpoints import deployed_index

Kind = Literal["head", "classifier", "perplexity", "choices"]
Measure = Callable[[Any, Callable[[int, int], None]], tuple[Metric, list[Any]]]
Batches = list[dict[str, torch.Tensor]]

COMPARED_CHARACTERS = 1000  # of a running text, for the table of deviations
BATCH_TOKENS = 1024
CALIBRATION_TEXTS, CALIBRATION_WINDOWS = 128, 8


@dataclass(frozen=True, kw_only=True)
class Work:
    """One model on one task, to be measured on any number of chips.

    n:         items that are scored, 0 where only a run tells
    chance:    score of guessing, where that means something
    identity:  everything that determines the answers beside model, chip, seed and ``allow``
    measure:   (running model, progress) -> the metric, and what each item gave: right or wrong, or nats
    prepare:   what comes before the first measurement and is not timed (training a head)
    few:       inputs on which two ways of simulating are compared
    unscored:  batches of inputs that are not scored, for calibration
    """

    kind: Kind
    loaded: LoadedModel
    task: str
    source: str
    n: int
    chance: float | None
    identity: tuple[Any, ...]
    measure: Measure
    few: Callable[[], dict[str, Any]]
    unscored: Callable[[], Batches]
    prepare: Callable[[], object] = lambda: None
    _compensated: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)

    def compensated(self, bits: int) -> Any:
        """The model with weights rounded to ``bits`` with compensation; made once for each width."""
        if bits not in self._compensated:
            self._compensated[bits] = compensate(self.loaded.model, self.unscored(), bits)
        return self._compensated[bits]


def head_work(model: str, split: ClassificationSplit, *, source: str = "") -> Work:
    """A frozen encoder under a logistic regression that is trained once, on fp32 vectors."""
    if deployed_index(model) is not None:
        raise UserError(
            f"{model} holds a deployed model: a head is trained on vectors of the fp32 model, which is not "
            "there."
        )
    loaded = load_model(model, task="encoder")
    heads: list[Any] = []

    def head() -> Any:
        if not heads:
            vectors = embed(loaded.model, loaded.tokenizer, split.train_texts)
            heads.append(train_head(vectors, np.array(split.train_labels), seed=split.seed))
        return heads[0]

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[bool]]:
        vectors = embed(running, loaded.tokenizer, split.test_texts, batch_tokens=BATCH_TOKENS, progress=step)
        correct = head().predict(vectors) == np.array(split.test_labels)
        return accuracy_interval(correct), correct.tolist()

    return _classification("head", loaded, split, source, measure, head)


def classifier_work(model: str, split: ClassificationSplit, *, source: str = "") -> Work:
    """A sequence-classification model on the test half of ``split``."""
    loaded = load_or_restore(model, task="classifier")

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[bool]]:
        found = predict_classifier(
            running,
            loaded.tokenizer,
            split.test_texts,
            label_names=split.label_names,
            batch_tokens=BATCH_TOKENS,
            progress=step,
        )
        correct = found == np.array(split.test_labels)
        return accuracy_interval(correct), correct.tolist()

    return _classification("classifier", loaded, split, source, measure, lambda: None)


def _classification(
    kind: Kind,
    loaded: LoadedModel,
    split: ClassificationSplit,
    source: str,
    measure: Measure,
    prepare: Callable[[], object],
) -> Work:
    counts = np.bincount(split.test_labels)
    return Work(
        kind=kind,
        loaded=loaded,
        task=split.task_name,
        source=source,
        n=len(split.test_texts),
        chance=float(counts.max() / counts.sum()),  # of always naming the most frequent class
        identity=(split,),
        measure=measure,
        few=lambda: compared_inputs(loaded, split.test_texts),
        unscored=lambda: _of_texts(loaded, split.train_texts),
        prepare=prepare,
    )


def perplexity_work(
    model: str, text: TextTask, *, window: int = 512, stride: int = 256, max_tokens: int | None = None
) -> Work:
    """A causal language model on running text, by a sliding window."""
    loaded = load_or_restore(model, task="causal")

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[float]]:
        found = token_nll(
            running,
            loaded.tokenizer,
            text.text,
            window=window,
            stride=stride,
            max_tokens=max_tokens,
            progress=step,
        )
        return perplexity_interval(found), found.tolist()

    return Work(
        kind="perplexity",
        loaded=loaded,
        task=text.name,
        source=text.source,
        n=0,
        chance=None,
        identity=(text, window, stride, max_tokens),
        measure=measure,
        few=lambda: compared_inputs(loaded, [text.text[:COMPARED_CHARACTERS]]),
        unscored=lambda: _after(loaded, text, window, max_tokens),
    )


def choices_work(
    model: str,
    task: MultipleChoiceTask,
    *,
    limit: int | None = None,
    normalise: Literal["none", "bytes", "tokens"] = "none",
) -> Work:
    """Multiple choice by the likelihood of each continuation."""
    loaded = load_or_restore(model, task="causal")
    n = min(limit or len(task.questions), len(task.questions))

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[bool]]:
        found = evaluate_choices(
            running, loaded.tokenizer, task, limit=limit, normalise=normalise, progress=step
        )
        return found.accuracy, found.correct.tolist()

    def unscored() -> Batches:
        others = [f"{one.question} {one.choices[one.answer]}" for one in task.questions[n:]]
        return _of_texts(loaded, others)

    return Work(
        kind="choices",
        loaded=loaded,
        task=task.name,
        source=task.source,
        n=n,
        chance=task.chance,
        identity=(task, limit, normalise),
        measure=measure,
        few=lambda: compared_inputs(loaded, [q.question + q.choices[0] for q in task.questions]),
        unscored=unscored,
    )


def _of_texts(loaded: LoadedModel, texts: Sequence[str]) -> Batches:
    """The first texts as batches of at most 1,024 tokens, each text cut at what the model takes."""
    if not texts:
        raise UserError("Calibration needs items that are not scored: leave some out of the test.")
    limit = min(BATCH_TOKENS, sequence_limit(loaded.model, loaded.tokenizer))
    rows = token_rows(loaded.model, loaded.tokenizer, texts[:CALIBRATION_TEXTS], max_tokens=limit)
    batches = length_batches([len(row) for row in rows], BATCH_TOKENS)
    return [collate([rows[at] for at in batch], loaded.tokenizer.pad_token_id) for batch in batches]


def _after(loaded: LoadedModel, text: TextTask, window: int, max_tokens: int | None) -> Batches:
    """Up to eight windows of the text behind the tokens that are scored."""
    ids = torch.tensor(loaded.tokenizer(text.text, verbose=False)["input_ids"])
    rest = ids[max_tokens:] if max_tokens is not None else ids[:0]
    count = min(CALIBRATION_WINDOWS, len(rest) // window)
    if not count:
        raise UserError(
            f"Calibration needs {window} tokens behind those that are scored: {text.name} has {len(rest)}; "
            "score fewer tokens or take a shorter window."
        )
    return [{"input_ids": one[None]} for one in rest[: count * window].reshape(count, window)]
