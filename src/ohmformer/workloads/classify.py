"""Class predictions, from a model with its own classification head or from frozen vectors and a head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate, length_batches, token_rows
from ohmformer.workloads.encode import embed
from ohmformer.workloads.heads import LogisticHead

__all__ = ["class_order", "classifier_logits", "predict_classifier", "predict_with_head"]


def classifier_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_tokens: int = 2048,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Logits [text, class] of a sequence-classification model, in the order of ``texts``."""
    rows = token_rows(model, tokenizer, texts, max_tokens=max_tokens)
    if model.config.pad_token_id is None:
        batches = [[index] for index in range(len(rows))]  # nothing to pad with: one text at a time
    else:
        batches = length_batches([len(row) for row in rows], batch_tokens)
    result: NDArray[np.float32] | None = None
    done = 0
    for batch in batches:
        inputs = collate([rows[index] for index in batch], model.config.pad_token_id)
        with torch.no_grad():
            logits = model(**inputs).logits.float().numpy()
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise UserError(
                f"{type(model).__name__} does not give one value per class (at least 2); "
                "a sequence-classification model is needed."
            )
        if not np.isfinite(logits).all():
            raise UserError("The model gives logits that are not finite, so it has no prediction.")
        if result is None:
            result = np.empty((len(rows), logits.shape[1]), dtype=np.float32)
        result[batch] = logits
        done += len(batch)
        if progress is not None:
            progress(done, len(rows))
    assert result is not None  # token_rows refuses an empty list
    return result


def predict_classifier(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    label_names: Sequence[str] | None = None,
    batch_tokens: int = 2048,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """The class id with the largest logit for each text.

    With a task's ``label_names`` the ids are those of the task (see ``class_order``), else the model's own.
    """
    order = None if label_names is None else class_order(model, label_names)
    logits = classifier_logits(
        model, tokenizer, texts, batch_tokens=batch_tokens, max_tokens=max_tokens, progress=progress
    )
    ids: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    return ids if order is None else order[ids]


def class_order(model: PreTrainedModel, label_names: Sequence[str]) -> NDArray[np.int64]:
    """The task's label id for each class id of the model, matched by name without regard to case.

    A model with the placeholder names LABEL_0, LABEL_1, ... is taken to count as the task does.
    Error: UserError listing both where they do not correspond one to one.
    """
    named = {int(key): str(name).strip() for key, name in (model.config.id2label or {}).items()}
    own = [named[key] for key in sorted(named)]
    if len(own) == len(label_names):
        if own == [f"LABEL_{index}" for index in range(len(own))]:
            return np.arange(len(own), dtype=np.int64)
        wanted = {name.casefold(): index for index, name in enumerate(label_names)}
        if len(wanted) == len(own) and {name.casefold() for name in own} == set(wanted):
            return np.array([wanted[name.casefold()] for name in own], dtype=np.int64)
    raise UserError(
        f"The classes of the model ({', '.join(own)}) are not those of the task ({', '.join(label_names)})."
    )


def predict_with_head(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    head: LogisticHead,
    texts: Sequence[str],
    *,
    batch_tokens: int = 2048,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """The head's label for the model's vector of each text."""
    vectors = embed(
        model, tokenizer, texts, batch_tokens=batch_tokens, max_tokens=max_tokens, progress=progress
    )
    return head.predict(vectors)
