"""Scores by lm-eval's definitions, and text from encoder-decoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from ohmformer.errors import UserError
from ohmformer.workloads import (
    ChoiceQuestion,
    LoadedModel,
    MultipleChoiceTask,
    evaluate_choices,
    generate_text,
    load_model,
    rolling_log_likelihood,
    score_choices,
)

from .conftest import MAX_TOKENS, VOCABULARY

MakeFolder = Callable[..., Path]
TEXT = " ".join(["the red cat sat on a mat", "no happy dog ran under the blue tree"] * 3)
# Two runs of one model in float32 differ by rounding: log p of order 5, relative 2^-24 a step, about 100
# steps deep: 1e-4 is far above it and far below what a wrong place would do (log p differ by order 1).
ROUNDING = 1e-4


@pytest.fixture
def llama(make_folder: MakeFolder) -> LoadedModel:
    loaded = load_model(str(make_folder("llama")), task="causal")
    loaded.tokenizer.eos_token = "no"
    return loaded


def log_p(loaded: LoadedModel, ids: list[int]) -> float:
    """log p of the last token."""
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([ids[:-1]])).logits[0, -1]
    return float(torch.log_softmax(logits, dim=-1)[ids[-1]])


@pytest.mark.parametrize("window", [1, 5, 13, 32, None])
def test_every_token_is_rolled_over_once_with_the_context_of_its_window(
    llama: LoadedModel, window: int | None
) -> None:
    """Token t of n lies in window t // w, which begins at w·(t // w); the last begins at n - w. It is given
    what its window holds before it, and the one token before the window (the end-of-text token at first)."""
    ids = llama.tokenizer(TEXT, verbose=False)["input_ids"]
    row = [llama.tokenizer.eos_token_id, *ids]
    size = MAX_TOKENS if window is None else window
    expected = 0.0
    for token in range(len(ids)):
        last = min(size * (token // size + 1), len(ids))
        expected += log_p(llama, row[max(0, last - size) : token + 2])
    seen: list[tuple[int, int]] = []
    score = rolling_log_likelihood(
        llama.model, llama.tokenizer, TEXT, window=window, progress=lambda *step: seen.append(step)
    )
    assert score.log_likelihood == pytest.approx(expected, abs=ROUNDING * len(ids))
    assert (score.tokens, score.words, score.bytes) == (len(ids), len(TEXT.split()), len(TEXT))
    assert seen[-1] == (len(ids), len(ids))


def test_perplexities_of_a_model_that_knows_nothing(llama: LoadedModel) -> None:
    """Every token costs log 25 nat; é is two bytes, white space in a row parts words once."""
    llama.model.lm_head.weight.data.zero_()
    score = rolling_log_likelihood(llama.model, llama.tokenizer, "the  cat é")
    assert (score.tokens, score.words, score.bytes) == (3, 3, 11)
    total = 3 * math.log(25)
    # log 25 in float32 to 2^-24, exp multiplies relative errors by the exponent, below 10
    assert score.log_likelihood == pytest.approx(-total, rel=1e-6)
    assert score.word_perplexity == pytest.approx(25.0, rel=1e-5)
    assert score.byte_perplexity == pytest.approx(math.exp(total / 11), rel=1e-5)
    assert score.bits_per_byte == pytest.approx(total / 11 / math.log(2), rel=1e-5)


def test_rolling_refuses_what_it_cannot_measure(llama: LoadedModel) -> None:
    with pytest.raises(UserError, match=r"1 \.\.\. 32 tokens, the model's maximum; got 33"):
        rolling_log_likelihood(llama.model, llama.tokenizer, TEXT, window=33)
    with pytest.raises(UserError, match="The text is empty"):
        rolling_log_likelihood(llama.model, llama.tokenizer, "  ")
    llama.tokenizer.eos_token = None
    with pytest.raises(UserError, match="marks neither the beginning nor the end"):
        rolling_log_likelihood(llama.model, llama.tokenizer, TEXT)
    llama.tokenizer.bos_token = "yes"
    llama.model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        rolling_log_likelihood(llama.model, llama.tokenizer, TEXT)


CHOICES = ("no", "dog sat", "under")


def test_length_decides_between_sum_and_mean(llama: LoadedModel) -> None:
    """``accuracy_sum`` takes the largest log likelihood, ``accuracy_length`` the largest per character."""
    words = ("the happy", "a sad", "no", "the red cat", "on under a", "fine tree", "bad dog ran")
    sums = [score_choices(llama.model, llama.tokenizer, question, CHOICES) for question in words]
    lengths = np.array([len(choice) for choice in CHOICES])
    assert lengths.tolist() == [2, 7, 5]
    by_sum, by_length = [int(s.argmax()) for s in sums], [int((s / lengths).argmax()) for s in sums]
    assert by_sum != by_length
    task = MultipleChoiceTask(
        name="made",
        questions=tuple(
            ChoiceQuestion(question=q, choices=CHOICES, answer=a)
            for q, a in zip(words, by_length, strict=True)
        ),
        source="made here",
    )
    result = evaluate_choices(llama.model, llama.tokenizer, task)
    assert result.accuracy_length.value == 1.0
    agree = sum(a == b for a, b in zip(by_sum, by_length, strict=True)) / len(words)
    assert result.accuracy_sum.value == result.accuracy.value == agree < 1
    for own, expected in zip(result.log_likelihoods, sums, strict=True):
        np.testing.assert_array_equal(own, expected)
    normalised = evaluate_choices(llama.model, llama.tokenizer, task, normalise="characters")
    assert normalised.accuracy.value == 1.0
    for own, expected in zip(normalised.scores, sums, strict=True):
        np.testing.assert_allclose(own, expected / lengths, rtol=1e-15)


def test_white_space_at_the_end_of_a_question_belongs_to_the_choice(llama: LoadedModel) -> None:
    plain = score_choices(llama.model, llama.tokenizer, "the red", CHOICES)
    np.testing.assert_array_equal(score_choices(llama.model, llama.tokenizer, "the red \n", CHOICES), plain)


@pytest.fixture
def t5(llama: LoadedModel) -> LoadedModel:
    """A tiny encoder-decoder with the llama's tokenizer; its texts begin with [PAD]."""
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=len(VOCABULARY),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=None,
        decoder_start_token_id=0,
        initializer_factor=3.0,
    )
    model = T5ForConditionalGeneration(config).eval()
    return LoadedModel(
        model=model, tokenizer=llama.tokenizer, name="t5", origin="here", max_tokens=MAX_TOKENS
    )


def test_an_encoder_decoder_answers_its_prompt(t5: LoadedModel) -> None:
    """Greedy, token by token without a cache; of the output only the first token, the start, is left out."""
    ids = torch.tensor([t5.tokenizer("the cat sat")["input_ids"]])
    decoded = [0]
    for _ in range(6):
        with torch.no_grad():
            logits = t5.model(input_ids=ids, decoder_input_ids=torch.tensor([decoded])).logits[0, -1]
        decoded.append(int(logits.argmax()))
    seen: list[tuple[int, int]] = []
    options: dict[str, Any] = {"max_new_tokens": 6, "progress": lambda *step: seen.append(step)}
    text = generate_text(t5.model, t5.tokenizer, "the cat sat", **options)
    assert text == t5.tokenizer.decode(decoded[1:], skip_special_tokens=True)
    assert seen == [(done, 6) for done in range(1, 7)]


def test_an_encoder_decoder_has_a_prompt_and_a_text_of_its_own_length(t5: LoadedModel) -> None:
    """32 tokens each, the start counted: 31 new ones after a prompt of 32."""
    long = " ".join(["the"] * MAX_TOKENS)
    generate_text(t5.model, t5.tokenizer, long, max_new_tokens=31)
    for prompt, new in ((long + " cat", 1), ("the", 32)):
        with pytest.raises(UserError, match=f"and {new} more are asked for, but the model takes at most 32"):
            generate_text(t5.model, t5.tokenizer, prompt, max_new_tokens=new)
    t5.model.generation_config.decoder_start_token_id = None
    with pytest.raises(UserError, match="which token a decoded text begins with"):
        generate_text(t5.model, t5.tokenizer, "the", max_new_tokens=1)
