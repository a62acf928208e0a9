"""Texts to padded batches of token ids, longest first, no longer than the model takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.models import sequence_limit

__all__ = ["Progress", "collate", "length_batches", "token_rows"]

Progress = Callable[[int, int], None]  # (items done, items in all)


def token_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
) -> list[list[int]]:
    """Token ids of each text with the tokenizer's special tokens.

    ``max_tokens`` cuts longer texts on purpose; without it nothing is cut.
    Error: UserError where a text is longer than the model takes (both numbers), or there is none.
    """
    if not texts:
        raise UserError("There are no texts to run.")
    limit = sequence_limit(model, tokenizer)
    if max_tokens is not None and not 1 <= max_tokens <= limit:
        raise UserError(f"The number of tokens per text must lie in 1 ... {limit}; got {max_tokens}.")
    rows: list[list[int]] = tokenizer(
        list(texts), truncation=max_tokens is not None, max_length=max_tokens, verbose=False
    )["input_ids"]
    for index, row in enumerate(rows):
        if len(row) > limit:
            raise UserError(
                f"Text {index + 1} has {len(row)} tokens, but the model takes at most {limit}; "
                "shorten it or set a number of tokens to cut at."
            )
        if not row:
            raise UserError(f"Text {index + 1} is empty.")
    return rows


def length_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group indices so that each batch, padded to its longest row, has at most ``batch_tokens`` tokens.

    Longest first (ties by index), so that little is padded; a row longer than that is a batch of its own.
    """
    if batch_tokens < 1:
        raise UserError(f"The tokens of a batch must be at least 1; got {batch_tokens}.")
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def collate(rows: Sequence[Sequence[int]], pad_id: int | None) -> dict[str, Tensor]:
    """Pad on the right: ``input_ids`` and ``attention_mask``, both [row, token], int64."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), 0 if pad_id is None else pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[at, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
