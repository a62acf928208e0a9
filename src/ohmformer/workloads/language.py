"""Language-model evaluation: perplexity, multiple choice and generation, on any causal model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate
from ohmformer.workloads.language_tasks import MultipleChoiceTask
from ohmformer.workloads.metrics import Metric, accuracy_interval, perplexity_interval
from ohmformer.workloads.models import sequence_limit
from ohmformer.workloads.quiet import quiet_transformers

__all__ = [
    "ChoiceResult",
    "Normalise",
    "evaluate_choices",
    "generate_text",
    "perplexity",
    "score_choices",
    "token_nll",
]

Normalise = Literal["none", "bytes", "tokens"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChoiceResult:
    """Accuracy with the prediction and the score of every question's choices.

    predictions: [question], int64; scores: per question [choice], nat (per byte or token if normalised)
    """

    accuracy: Metric
    predictions: NDArray[np.int64]
    correct: NDArray[np.bool_]
    scores: tuple[NDArray[np.float64], ...]


def perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    window: int = 512,
    stride: int = 256,
    max_tokens: int | None = None,
    block_tokens: int = 64,
    progress: Progress | None = None,
) -> Metric:
    """exp of the mean of ``token_nll``, with the interval of ``perplexity_interval``."""
    nll = token_nll(
        model,
        tokenizer,
        text,
        window=window,
        stride=stride,
        max_tokens=max_tokens,
        least=2 * block_tokens,
        progress=progress,
    )
    return perplexity_interval(nll, block_tokens=block_tokens)


def token_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    window: int = 512,
    stride: int = 256,
    max_tokens: int | None = None,
    least: int = 2 * 64,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Negative log likelihood of every token but the first, nat, each scored once.

    Windows of ``window`` tokens start every ``stride`` tokens; each scores what the one before did not,
    so that after the first window a token sees between window - stride and window - 1 tokens before it.
    ``max_tokens`` takes the beginning of the text only; a text with fewer than ``least`` tokens to score
    is refused.
    """
    limit = sequence_limit(model, tokenizer)
    if not 2 <= window <= limit:
        raise UserError(f"The window must lie in 2 ... {limit} tokens, the model's maximum; got {window}.")
    if not 1 <= stride < window:
        raise UserError(f"The stride must lie in 1 ... {window - 1} (below the window); got {stride}.")
    ids: list[int] = tokenizer(text, verbose=False)["input_ids"][:max_tokens]
    if len(ids) < least + 1:
        raise UserError(
            f"The text has {len(ids)} tokens; a perplexity with its interval needs at least {least + 1}."
        )
    parts: list[Tensor] = []
    end_before = 1
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        likelihoods = _log_likelihoods(model, collate([ids[begin:end]], tokenizer.pad_token_id))[0]
        parts.append(-likelihoods[end_before - end :])
        end_before = end
        if progress is not None:
            progress(end, len(ids))
        if end == len(ids):
            break
    nll = torch.cat(parts)
    if not bool(torch.isfinite(nll).all()):
        raise UserError("The model gives probabilities that are not finite, so it has no perplexity.")
    scored: NDArray[np.float64] = nll.double().numpy()
    return scored


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

    The text is question + separator + choice; scored are the tokens after those of the question alone
    (from where they first differ, if the tokenizer merges across the border). ``normalise`` divides by
    the UTF-8 bytes of the choice or by the number of scored tokens.
    """
    if normalise not in ("none", "bytes", "tokens"):
        raise UserError(f"normalise must be none, bytes or tokens; got {normalise!r}.")
    limit = sequence_limit(model, tokenizer)
    context: list[int] = tokenizer(question, verbose=False)["input_ids"]
    rows: list[list[int]] = [
        tokenizer(question + separator + choice, verbose=False)["input_ids"] for choice in choices
    ]
    longest = max(len(row) for row in rows)
    if longest > limit:
        raise UserError(
            f"A question with its choice has {longest} tokens, but the model takes at most {limit}."
        )
    starts = [max(1, _common_prefix(context, row)) for row in rows]
    for choice, row, start in zip(choices, rows, starts, strict=True):
        if start >= len(row):
            raise UserError(f"The choice {choice!r} adds no token to its question.")
    # The last token is predicted, not read: choices of one token share a single run of the question.
    inputs = list(dict.fromkeys(tuple(row[:-1]) for row in rows))
    with torch.no_grad():
        logits = model(**collate(inputs, tokenizer.pad_token_id), use_cache=False).logits
    scores = np.empty(len(rows), dtype=np.float64)
    for at, (row, start) in enumerate(zip(rows, starts, strict=True)):
        own = logits[
            inputs.index(tuple(row[:-1])), start - 1 : len(row) - 1
        ].float()  # [scored token, vocabulary]
        total = torch.log_softmax(own, dim=-1).gather(1, torch.tensor(row[start:])[:, None]).double().sum()
        divisor = {"none": 1, "bytes": len(choices[at].encode()), "tokens": len(row) - start}[normalise]
        scores[at] = float(total) / divisor
    if not np.isfinite(scores).all():
        raise UserError("The model gives probabilities that are not finite, so it has no answer.")
    return scores


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
    if limit is not None and limit < 1:
        raise UserError(f"The number of questions must be at least 1; got {limit}.")
    questions = task.questions[:limit]
    scores = []
    for done, item in enumerate(questions, start=1):
        scores.append(score_choices(model, tokenizer, item.question, item.choices, normalise=normalise))
        if progress is not None:
            progress(done, len(questions))
    predictions = np.array([int(score.argmax()) for score in scores], dtype=np.int64)
    correct = predictions == np.array([item.answer for item in questions])
    return ChoiceResult(
        accuracy=accuracy_interval(correct), predictions=predictions, correct=correct, scores=tuple(scores)
    )


def generate_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    progress: Progress | None = None,
) -> str:
    """Continue ``prompt``; only the new text is returned.

    Temperature 0 takes the likeliest token each time; above, tokens are drawn from softmax(logits / T)
    with ``seed``. ``chat`` wraps the prompt in the tokenizer's chat template where it has one.
    """
    if not model.can_generate():
        raise UserError(f"{type(model).__name__} cannot generate text; a causal language model is needed.")
    if max_new_tokens < 1:
        raise UserError(f"The number of new tokens must be at least 1; got {max_new_tokens}.")
    if not 0.0 <= temperature < float("inf"):
        raise UserError(f"The temperature must be 0 or a positive number; got {temperature}.")
    templated = chat and tokenizer.chat_template is not None
    if templated:
        message = [{"role": "user", "content": prompt}]
        prompt = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    ids: list[int] = tokenizer(prompt, add_special_tokens=not templated, verbose=False)["input_ids"]
    if not ids:
        raise UserError("The prompt is empty.")
    limit = sequence_limit(model, tokenizer)
    if len(ids) + max_new_tokens > limit:
        raise UserError(
            f"The prompt has {len(ids)} tokens and {max_new_tokens} more are asked for, "
            f"but the model takes at most {limit}."
        )
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        options = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}

    def count(sequence: Tensor, _scores: Any, **_: Any) -> Tensor:
        if progress is not None:
            progress(sequence.shape[1] - len(ids), max_new_tokens)
        return torch.zeros(sequence.shape[0], dtype=torch.bool)

    with quiet_transformers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = model.generate(  # type: ignore[operator]
            **collate([ids], pad),
            max_new_tokens=max_new_tokens,
            num_beams=1,
            pad_token_id=pad,
            stopping_criteria=[count],
            **options,
        )
    return str(tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))


def _log_likelihoods(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """log p of tokens 1 ... given those before: [row, token - 1], float64 nat."""
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    predicted = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    likelihoods: Tensor = predicted.gather(2, inputs["input_ids"][:, 1:, None]).squeeze(2)
    return likelihoods.double()


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += 1
    return same
