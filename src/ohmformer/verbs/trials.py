"""Answers of one model on one task, item by item, from as many chips as are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohmformer.specs import ChipSpec
from ohmformer.verbs.evaluating import Setup, Step, _digest, _measure_once, journal_key
from ohmformer.verbs.journal import Journal
from ohmformer.verbs.work import Kind, Work, choices_work, classifier_work, head_work, perplexity_work
from ohmformer.workloads import (
    ClassificationSplit,
    LoadedModel,
    Metric,
    MultipleChoiceTask,
    TextTask,
    check_finite,
)

__all__ = ["Trial", "choices_trial", "classifier_trial", "head_trial", "perplexity_trial"]


@dataclass(kw_only=True)
class Trial:
    """One piece of work, to be put on chips one after the other.

    journal:  answers that are there already are not measured again; in the form of ``evaluate``, which takes
              and leaves the same parts
    """

    work: Work
    allow: Sequence[str] = ()
    journal: Journal = field(default_factory=lambda: Journal(None))
    progress: Step | None = None

    def __post_init__(self) -> None:
        check_finite(self.loaded.model)
        self._weights = _digest(self.loaded.model) if self.journal.path is not None else ""

    @property
    def kind(self) -> Kind:
        """What is scored."""
        return self.work.kind

    @property
    def loaded(self) -> LoadedModel:
        """The model."""
        return self.work.loaded

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.work.task

    @property
    def source(self) -> str:
        """Where the task comes from."""
        return self.work.source

    def run(self, chip: ChipSpec | None, seed: int, label: str) -> tuple[Metric, NDArray[np.float64]]:
        """The metric, and what each item costs: 1 for a wrong answer, or nat for a token; [item]."""
        setup = Setup(label=label, chip=chip)
        key = journal_key(self.work, self._weights, setup, seed, self.allow)
        known = self.journal.get(key)
        if known is None:
            known = _measure_once(self.work, setup, seed, self.allow, self.progress)
            self.journal.put(key, known)
        items = np.asarray(known["items"], dtype=np.float64)
        return Metric(**known["metric"]), items if self.kind == "perplexity" else 1.0 - items


def head_trial(model: str, split: ClassificationSplit, *, source: str = "", **options: Any) -> Trial:
    """A frozen encoder under a logistic regression that is trained once, on fp32 vectors."""
    return Trial(work=head_work(model, split, source=source), **options)


def classifier_trial(model: str, split: ClassificationSplit, *, source: str = "", **options: Any) -> Trial:
    """A sequence-classification model on the test half of ``split``."""
    return Trial(work=classifier_work(model, split, source=source), **options)


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
    work = perplexity_work(model, text, window=window, stride=stride, max_tokens=max_tokens)
    return Trial(work=work, **options)


def choices_trial(
    model: str, task: MultipleChoiceTask, *, limit: int | None = None, normalise: Any = "none", **options: Any
) -> Trial:
    """Multiple choice by the likelihood of each continuation."""
    return Trial(work=choices_work(model, task, limit=limit, normalise=normalise), **options)
