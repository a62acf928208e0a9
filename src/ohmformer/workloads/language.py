"""How well a causal model predicts running text: perplexity in sliding windows and in rolling ones."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate
from ohmformer.workloads.metrics import Metric, perplexity_interval
from ohmformer.workloads.models import sequence_limit

__all__ = ["RollingScore", "perplexity", "rolling_log_likelihood", "token_nll"]


@dataclass(frozen=True, kw_only=True)
class RollingScore:
    """Log likelihood of a whole text, its first token included.

    log_likelihood: nat, Σ over the tokens
    words: pieces between white space; bytes: of the text in UTF-8
    """

    log_likelihood: float
    tokens: int
    words: int
    bytes: int

    @property
    def word_perplexity(self) -> float:
        """exp(-log likelihood / words)."""
        return math.exp(-self.log_likelihood / self.words)

    @property
    def byte_perplexity(self) -> float:
        """exp(-log likelihood / bytes)."""
        return math.exp(-self.log_likelihood / self.bytes)

    @property
    def bits_per_byte(self) -> float:
        """-log likelihood / bytes, in bit."""
        return -self.log_likelihood / self.bytes / math.log(2)


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
        parts.append(-_log_likelihoods(model, ids[begin:end], end - end_before))
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


def rolling_log_likelihood(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    window: int | None = None,
    progress: Progress | None = None,
) -> RollingScore:
    """Log likelihood of ``text`` as lm-eval's ``loglikelihood_rolling`` defines it.

    The first token is predicted from the tokenizer's first special token (beginning, else end, of text).
    Windows of ``window`` tokens (None: as many as the model takes) follow each other, each starting with
    the last token of the one before; the last is moved back so that it is full.

    Source: EleutherAI, lm-evaluation-harness 0.4.13, ``get_rolling_token_windows``.
    """
    limit = sequence_limit(model, tokenizer)
    window = limit if window is None else window
    if not 1 <= window <= limit:
        raise UserError(f"The window must lie in 1 ... {limit} tokens, the model's maximum; got {window}.")
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if prefix is None:
        raise UserError("The tokenizer marks neither the beginning nor the end of a text: a token is needed.")
    ids: list[int] = tokenizer(text, verbose=False)["input_ids"]
    if not ids:
        raise UserError("The text is empty.")
    row = [prefix, *ids]
    total = 0.0
    for begin in range(0, len(ids), window):
        end = min(begin + window, len(ids))
        seen = row[max(0, end - window) : end + 1]
        total += float(_log_likelihoods(model, seen, end - begin).sum())
        if progress is not None:
            progress(end, len(ids))
    if not math.isfinite(total):
        raise UserError("The model gives probabilities that are not finite, so it has no perplexity.")
    return RollingScore(
        log_likelihood=total, tokens=len(ids), words=len(re.split(r"\s+", text)), bytes=len(text.encode())
    )


def _log_likelihoods(model: PreTrainedModel, row: list[int], count: int) -> Tensor:
    """log p of the last ``count`` tokens of ``row``, each given those before it: [token], float64 nat.

    The last token is predicted, not read.
    """
    with torch.no_grad():
        logits = model(**collate([row[:-1]], None)).logits
    predicted = torch.log_softmax(logits[0, -count:].float(), dim=-1)
    likelihoods: Tensor = predicted.gather(1, torch.tensor(row[-count:])[:, None]).squeeze(1)
    return likelihoods.double()
