"""Text from a decoder or an encoder-decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ohmformer.errors import UserError
from ohmformer.workloads.batches import Progress, collate
from ohmformer.workloads.models import sequence_limit
from ohmformer.workloads.quiet import quiet_transformers

__all__ = ["generate_text"]


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
    """Continue ``prompt`` (a decoder), or answer it (an encoder-decoder); only the new text is returned.

    Temperature 0 takes the likeliest token each time; above, tokens are drawn from softmax(logits / T)
    with ``seed``. ``chat`` wraps the prompt in the tokenizer's chat template where it has one.
    """
    if not model.can_generate():
        raise UserError(
            f"{type(model).__name__} cannot generate text; a decoder or an encoder-decoder is needed."
        )
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
    start = 1 if model.config.is_encoder_decoder else len(ids)  # tokens of the output that are not new
    if max(len(ids), start + max_new_tokens) > limit:
        raise UserError(
            f"The prompt has {len(ids)} tokens and {max_new_tokens} more are asked for, "
            f"but the model takes at most {limit}."
        )
    if model.config.is_encoder_decoder and model.generation_config.decoder_start_token_id is None:
        raise UserError("The model does not say which token a decoded text begins with.")
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        options = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}

    def count(sequence: Tensor, _scores: Any, **_: Any) -> Tensor:
        if progress is not None:
            progress(sequence.shape[1] - start, max_new_tokens)
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
    return str(tokenizer.decode(output[0, start:], skip_special_tokens=True))
