"""Sentence vectors of a model: its last hidden states averaged over the tokens of each text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate, length_batches, token_rows

__all__ = ["embed"]


def embed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_tokens: int = 2048,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Mean of the last hidden states over the unmasked tokens, in the order of ``texts``.

    returns: [text, hidden], float32
    Error: a plain fp32 model gives the same vectors for any batching up to float32 rounding; a noisy one
    draws its noise per batch. UserError where a text is too long or a vector is not finite.
    """
    rows = token_rows(model, tokenizer, texts, max_tokens=max_tokens)
    result: NDArray[np.float32] | None = None
    done = 0
    for batch in length_batches([len(row) for row in rows], batch_tokens):
        inputs = collate([rows[index] for index in batch], tokenizer.pad_token_id)
        with torch.no_grad():
            states = model.base_model(**inputs).last_hidden_state  # [text, token, hidden]
        weight = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = ((states * weight).sum(dim=1) / weight.sum(dim=1)).float().numpy()
        if not np.isfinite(means).all():
            raise UserError("The model gives vectors that are not finite, so there is nothing to classify.")
        if result is None:
            result = np.empty((len(rows), means.shape[1]), dtype=np.float32)
        result[batch] = means
        done += len(batch)
        if progress is not None:
            progress(done, len(rows))
    assert result is not None  # token_rows refuses an empty list
    return result
