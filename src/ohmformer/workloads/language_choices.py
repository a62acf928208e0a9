"""Multiple choice: which continuation of a question a causal model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate
from ohmformer.workloads.language_tasks import MultipleChoiceTask
from ohmformer.workloads.metrics import Metric, accuracy_interval
from ohmformer.workloads.models import sequence_limit

__all__ = ["ChoiceResult", "Normalise", "evaluate_choices", "score_choices"]

Normalise = Literal["none", "characters", "bytes", "tokens"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChoiceResult:
    """Accuracy with the prediction and the score of every question's choices.

    predictions: [question], int64; scores: per question [choice], nat (per unit of length if normalised)
    log_likelihoods: per question [choice], nat, not normalised
    accuracy_sum, accuracy_length: by the largest log likelihood, and by the largest log likelihood per
        character of the choice, lm-eval's ``acc`` and ``acc_norm``
    """

    accuracy: Metric
    predictions: NDArray[np.int64]
    correct: NDArray[np.bool_]
    scores: tuple[NDArray[np.float64], ...]
    log_likelihoods: tuple[NDArray[np.float64], ...]
    accuracy_sum: Metric
    accuracy_length: Metric


def score_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    choices: Sequence[str],
    *,
    normalise: Normalise = "none",
    separator: str = " ",
) -> NDArray[np.float64]:
    """Log likelihood of each choice as the continuation of the question, in nat.

    The text is question + separator + choice; scored are its tokens behind as many as the question alone
    has, white space at its end not counted (lm-eval's rule). ``normalise`` divides by the characters or
    UTF-8 bytes of the choice, or by the number of scored tokens.
    """
    _check(normalise)
    sums, tokens = _log_likelihoods(model, tokenizer, question, choices, separator)
    return _normalised(sums, choices, tokens, normalise)


def evaluate_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: MultipleChoiceTask,
    *,
    limit: int | None = None,
    normalise: Normalise = "none",
    progress: Progress | None = None,
) -> ChoiceResult:
    """Answer the first ``limit`` questions (all by default) with the choice of the largest score."""
    _check(normalise)
    if limit is not None and limit < 1:
        raise UserError(f"The number of questions must be at least 1; got {limit}.")
    questions = task.questions[:limit]
    answers = np.array([item.answer for item in questions])
    all_sums, scores, per_length = [], [], []
    for done, item in enumerate(questions, start=1):
        sums, tokens = _log_likelihoods(model, tokenizer, item.question, item.choices, " ")
        all_sums.append(sums)
        scores.append(_normalised(sums, item.choices, tokens, normalise))
        per_length.append(_normalised(sums, item.choices, tokens, "characters"))
        if progress is not None:
            progress(done, len(questions))
    predictions = _best(scores)
    return ChoiceResult(
        accuracy=accuracy_interval(predictions == answers),
        predictions=predictions,
        correct=predictions == answers,
        scores=tuple(scores),
        log_likelihoods=tuple(all_sums),
        accuracy_sum=accuracy_interval(_best(all_sums) == answers),
        accuracy_length=accuracy_interval(_best(per_length) == answers),
    )


def _check(normalise: str) -> None:
    if normalise not in get_args(Normalise):
        raise UserError(f"normalise must be none, characters, bytes or tokens; got {normalise!r}.")


def _best(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    return np.array([int(score.argmax()) for score in scores], dtype=np.int64)


def _normalised(
    sums: NDArray[np.float64], choices: Sequence[str], tokens: Sequence[int], normalise: Normalise
) -> NDArray[np.float64]:
    divisors: dict[str, Sequence[int]] = {
        "none": [1] * len(choices),
        "characters": [len(choice) for choice in choices],
        "bytes": [len(choice.encode()) for choice in choices],
        "tokens": tokens,
    }
    return sums / np.array(divisors[normalise], dtype=np.float64)


def _log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    choices: Sequence[str],
    separator: str,
) -> tuple[NDArray[np.float64], list[int]]:
    """[choice] log likelihood, nat, and number of scored tokens."""
    limit = sequence_limit(model, tokenizer)
    context: list[int] = tokenizer(question.rstrip(), verbose=False)["input_ids"]
    rows: list[list[int]] = [
        tokenizer(question + separator + choice, verbose=False)["input_ids"] for choice in choices
    ]
    longest = max(len(row) for row in rows)
    if longest > limit:
        raise UserError(
            f"A question with its choice has {longest} tokens, but the model takes at most {limit}."
        )
    start = max(1, len(context))
    for choice, row in zip(choices, rows, strict=True):
        if start >= len(row):
            raise UserError(f"The choice {choice!r} adds no token to its question.")
    # The last token is predicted, not read: choices of one token share a single run of the question.
    inputs = list(dict.fromkeys(tuple(row[:-1]) for row in rows))
    with torch.no_grad():
        logits = model(**collate(inputs, tokenizer.pad_token_id)).logits
    sums = np.empty(len(rows), dtype=np.float64)
    for at, row in enumerate(rows):
        own = logits[inputs.index(tuple(row[:-1])), start - 1 : len(row) - 1]  # [scored token, vocabulary]
        likelihoods = torch.log_softmax(own.float(), dim=-1).gather(1, torch.tensor(row[start:])[:, None])
        sums[at] = float(likelihoods.double().sum())
    if not np.isfinite(sums).all():
        raise UserError("The model gives probabilities that are not finite, so it has no answer.")
    return sums, [len(row) - start for row in rows]
