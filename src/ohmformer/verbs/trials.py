"""Answers of one model on one task, item by item, from as many chips as are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ohmformer.specs import ChipSpec
from ohmformer.verbs.evaluating import BATCH_TOKENS, Kind, Measure, Setup, Step, _digest, _measure_once
from ohmformer.verbs.journal import Journal
from ohmformer.workloads import (
    ClassificationSplit,
    LoadedModel,
    Metric,
    MultipleChoiceTask,
    TextTask,
    accuracy_interval,
    check_finite,
    embed,
    evaluate_choices,
    load_model,
    perplexity_interval,
    predict_classifier,
    token_nll,
    train_head,
)

__all__ = ["Trial", "choices_trial", "classifier_trial", "head_trial", "perplexity_trial"]


@dataclass(kw_only=True)
class Trial:
    """One model on one task, to be put on chips one after the other.

    identity: everything that determines the answers beside model, chip, seed and ``allow``
    journal:  answers that are there already are not measured again; in the form of ``evaluate``, which takes
              and leaves the same parts
    """

    kind: Kind
    loaded: LoadedModel
    task: str
    source: str
    measure: Measure
    identity: tuple[Any, ...]
    allow: tuple[str, ...] = ()
    journal: Journal = field(default_factory=lambda: Journal(None))
    progress: Step | None = None

    def __post_init__(self) -> None:
        check_finite(self.loaded.model)
        self._weights = _digest(self.loaded.model) if self.journal.path is not None else ""

    def run(self, chip: ChipSpec | None, seed: int, label: str) -> tuple[Metric, NDArray[np.float64]]:
        """The metric, and what each item costs: 1 for a wrong answer, or nat for a token; [item]."""
        key = Journal.key(
            self.kind, self.loaded.origin, self._weights, self.identity, chip, seed, tuple(self.allow)
        )
        known = self.journal.get(key)
        if known is None:
            setup = Setup(label=label, chip=chip)
            known = _measure_once(self.loaded, setup, seed, self.allow, self.measure, self.progress)
            self.journal.put(key, known)
        items = np.asarray(known["items"], dtype=np.float64)
        return Metric(**known["metric"]), items if self.kind == "perplexity" else 1.0 - items


def head_trial(model: str, split: ClassificationSplit, *, source: str = "", **options: Any) -> Trial:
    """A frozen encoder under a logistic regression that is trained once, on fp32 vectors."""
    loaded = load_model(model, task="encoder")
    heads: list[Any] = []

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[bool]]:
        if not heads:
            train = embed(loaded.model, loaded.tokenizer, split.train_texts)
            heads.append(train_head(train, np.array(split.train_labels), seed=split.seed))
        vectors = embed(running, loaded.tokenizer, split.test_texts, batch_tokens=BATCH_TOKENS, progress=step)
        correct = heads[0].predict(vectors) == np.array(split.test_labels)
        return accuracy_interval(correct), correct.tolist()

    return Trial(
        kind="head",
        loaded=loaded,
        task=split.task_name,
        source=source,
        measure=measure,
        identity=(split,),
        **options,
    )


def classifier_trial(model: str, split: ClassificationSplit, *, source: str = "", **options: Any) -> Trial:
    """A sequence-classification model on the test half of ``split``."""
    loaded = load_model(model, task="classifier")

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

    return Trial(
        kind="classifier",
        loaded=loaded,
        task=split.task_name,
        source=source,
        measure=measure,
        identity=(split,),
        **options,
    )


def perplexity_trial(
    model: str,
    text: TextTask,
    *,
    window: int = 512,
    stride: int = 256,
    max_tokens: int | None = None,
    **options: Any,
) -> Trial:
    """A causal language model on running text, by a sliding window."""
    loaded = load_model(model, task="causal")

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

    return Trial(
        kind="perplexity",
        loaded=loaded,
        task=text.name,
        source=text.source,
        measure=measure,
        identity=(text, window, stride, max_tokens),
        **options,
    )


def choices_trial(
    model: str,
    task: MultipleChoiceTask,
    *,
    limit: int | None = None,
    normalise: Literal["none", "bytes", "tokens"] = "none",
    **options: Any,
) -> Trial:
    """Multiple choice by the likelihood of each continuation."""
    loaded = load_model(model, task="causal")

    def measure(running: Any, step: Callable[[int, int], None]) -> tuple[Metric, list[bool]]:
        found = evaluate_choices(
            running, loaded.tokenizer, task, limit=limit, normalise=normalise, progress=step
        )
        return found.accuracy, found.correct.tolist()

    return Trial(
        kind="choices",
        loaded=loaded,
        task=task.name,
        source=task.source,
        measure=measure,
        identity=(task, limit, normalise),
        **options,
    )
