"""Running models: vectors, classes, perplexity, choices and text, each against the formula spelled out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForSequenceClassification

from ohmformer.errors import UserError
from ohmformer.workloads import (
    ChoiceQuestion,
    LoadedModel,
    MultipleChoiceTask,
    class_order,
    classifier_logits,
    embed,
    evaluate_choices,
    generate_text,
    load_model,
    perplexity,
    predict_classifier,
    predict_with_head,
    score_choices,
    train_head,
)
from ohmformer.workloads.batches import length_batches

MakeFolder = Callable[..., Path]

TEXTS = ("the cat sat", "a", "the dog ran under the red tree", "happy cat", "no no no no yes", "the mat")
LONG = " ".join(["the cat sat on a mat under tree no dog ran"] * 4)  # 44 tokens; the models take 32

# Layers of width 16 and 32 after layer norms: values of order 1 from sums of at most 32 products, two
# layers deep; another order of summation moves them by some 2 * 32 * 2^-24 = 4e-6 of their size (< 5).
ROUNDING = 2e-5


@pytest.fixture
def bert(make_folder: MakeFolder) -> LoadedModel:
    return load_model(str(make_folder("bert")), task="encoder")


@pytest.fixture
def llama(make_folder: MakeFolder) -> LoadedModel:
    return load_model(str(make_folder("llama")), task="causal")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = length_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_a_vector_is_the_mean_of_the_last_hidden_states(bert: LoadedModel) -> None:
    vectors = embed(bert.model, bert.tokenizer, TEXTS, batch_tokens=1)  # one text a batch: nothing padded
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = torch.tensor([bert.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = bert.model(input_ids=ids).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(dim=0).numpy(), atol=ROUNDING, rtol=0)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1  # so the tolerance means something


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_vectors_do_not_depend_on_the_batching_or_the_order(make_folder: MakeFolder, kind: str) -> None:
    loaded = load_model(str(make_folder(kind)), task="encoder")
    alone = embed(loaded.model, loaded.tokenizer, TEXTS, batch_tokens=1)
    seen: list[tuple[int, int]] = []
    together = embed(
        loaded.model,
        loaded.tokenizer,
        TEXTS,
        batch_tokens=10_000,
        progress=lambda done, n: seen.append((done, n)),
    )
    np.testing.assert_allclose(together, alone, atol=ROUNDING, rtol=0)
    backwards = embed(loaded.model, loaded.tokenizer, TEXTS[::-1], batch_tokens=20)
    np.testing.assert_allclose(backwards[::-1], alone, atol=ROUNDING, rtol=0)
    assert seen == [(6, 6)]


def test_a_long_text_is_refused_unless_cut_on_purpose(bert: LoadedModel) -> None:
    with pytest.raises(UserError, match="Text 2 has 46 tokens, but the model takes at most 32"):
        embed(bert.model, bert.tokenizer, ["the cat", LONG])
    cut = embed(bert.model, bert.tokenizer, [LONG], max_tokens=6)
    np.testing.assert_array_equal(cut, embed(bert.model, bert.tokenizer, ["the cat sat on"]))
    # The cut of one call does not stay with the tokenizer.
    assert len(bert.tokenizer(LONG, verbose=False)["input_ids"]) == 46
    with pytest.raises(UserError, match=r"1 \.\.\. 32; got 33"):
        embed(bert.model, bert.tokenizer, TEXTS, max_tokens=33)
    with pytest.raises(UserError, match="no texts"):
        embed(bert.model, bert.tokenizer, [])
    with pytest.raises(UserError, match="at least 1; got 0"):
        embed(bert.model, bert.tokenizer, TEXTS, batch_tokens=0)


def test_values_that_are_not_finite_are_refused(bert: LoadedModel, llama: LoadedModel) -> None:
    bert.model.embeddings.word_embeddings.weight.data[5] = float("nan")  # the word "the"
    llama.model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        embed(bert.model, bert.tokenizer, TEXTS)
    with pytest.raises(UserError, match="not finite"):
        perplexity(llama.model, llama.tokenizer, LONG, window=16, stride=8, block_tokens=4)
    with pytest.raises(UserError, match="not finite"):
        score_choices(llama.model, llama.tokenizer, "the", ["cat", "dog"])


def test_logits_are_those_of_the_model_in_the_order_of_the_texts(make_folder: MakeFolder) -> None:
    loaded = load_model(str(make_folder("classifier", num_labels=3)), task="classifier")
    logits = classifier_logits(loaded.model, loaded.tokenizer, TEXTS, batch_tokens=30)
    for text, row in zip(TEXTS, logits, strict=True):
        with torch.no_grad():
            own = loaded.model(input_ids=torch.tensor([loaded.tokenizer(text)["input_ids"]])).logits[0]
        np.testing.assert_allclose(row, own.numpy(), atol=ROUNDING, rtol=0)
    ids = predict_classifier(loaded.model, loaded.tokenizer, TEXTS, label_names=("x", "y", "z"))
    np.testing.assert_array_equal(ids, logits.argmax(axis=1))
    assert len(set(ids.tolist())) > 1


def test_a_classifier_without_a_pad_token_runs_text_by_text() -> None:
    config = LlamaConfig(
        vocab_size=25,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=None,
        num_labels=2,
        max_position_embeddings=32,
    )
    model = LlamaForSequenceClassification(config).eval()

    class Words:
        model_max_length = 32

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[5 + len(word) for word in text.split()] for text in texts]}

    logits = classifier_logits(model, Words(), TEXTS)  # type: ignore[arg-type]
    assert logits.shape == (len(TEXTS), 2)


def test_the_models_classes_are_matched_to_the_tasks_by_name(make_folder: MakeFolder) -> None:
    named = {"id2label": {0: "POSITIVE", 1: "NEGATIVE"}, "label2id": {"POSITIVE": 0, "NEGATIVE": 1}}
    loaded = load_model(str(make_folder("classifier", **named)), task="classifier")
    assert class_order(loaded.model, ("negative", "positive")).tolist() == [1, 0]
    own = predict_classifier(loaded.model, loaded.tokenizer, TEXTS)
    task = predict_classifier(loaded.model, loaded.tokenizer, TEXTS, label_names=("negative", "positive"))
    np.testing.assert_array_equal(task, 1 - own)
    with pytest.raises(UserError, match=r"\(POSITIVE, NEGATIVE\) are not those of the task \(bad, good\)"):
        predict_classifier(loaded.model, loaded.tokenizer, TEXTS, label_names=("bad", "good"))
    with pytest.raises(UserError, match="not those of the task"):
        class_order(loaded.model, ("negative", "positive", "neutral"))


def test_a_frozen_encoder_with_a_head_predicts_what_the_head_says(bert: LoadedModel) -> None:
    vectors = embed(bert.model, bert.tokenizer, TEXTS)
    head = train_head(vectors, [0, 1, 0, 1, 1, 0], seed=0)
    predicted = predict_with_head(bert.model, bert.tokenizer, head, TEXTS)
    np.testing.assert_array_equal(predicted, head.predict(vectors))
    assert set(predicted.tolist()) == {0, 1}


def reference_losses(loaded: LoadedModel, ids: list[int], window: int, stride: int) -> list[float]:
    """Token by token: the window that scores token t begins at the largest multiple of stride allowed."""
    losses = []
    for token in range(1, len(ids)):
        begin = 0 if token < window else -(-(token - window + 1) // stride) * stride
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids[begin:token]])).logits[0, -1]
        losses.append(-float(torch.log_softmax(logits, dim=-1)[ids[token]]))
    return losses


@pytest.mark.parametrize(("window", "stride"), [(32, 31), (16, 8), (16, 15), (10, 1), (2, 1)])
def test_every_token_is_scored_once_in_its_window(llama: LoadedModel, window: int, stride: int) -> None:
    ids = llama.tokenizer(LONG, verbose=False)["input_ids"]
    losses = reference_losses(llama, ids, window, stride)
    seen: list[tuple[int, int]] = []
    metric = perplexity(
        llama.model,
        llama.tokenizer,
        LONG,
        window=window,
        stride=stride,
        block_tokens=4,
        progress=lambda done, n: seen.append((done, n)),
    )
    assert metric.n == len(losses) == 43
    assert metric.value == pytest.approx(math.exp(sum(losses) / 43), rel=ROUNDING)
    assert metric.low < metric.value < metric.high
    assert seen[-1] == (44, 44)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(llama: LoadedModel) -> None:
    llama.model.lm_head.weight.data.zero_()
    metric = perplexity(llama.model, llama.tokenizer, LONG, window=16, stride=8, block_tokens=8)
    # All logits 0: every token costs log 25, in float32 to 2^-24 of its value, times log 25 after exp.
    assert metric.value == pytest.approx(25.0, rel=1e-6)
    assert metric.high - metric.low < 1e-5


def test_perplexity_refuses_what_it_cannot_measure(llama: LoadedModel) -> None:
    def run(text: str = LONG, **options: int) -> None:
        perplexity(llama.model, llama.tokenizer, text, **({"window": 16, "stride": 8} | options))

    with pytest.raises(UserError, match=r"2 \.\.\. 32 tokens, the model's maximum; got 33"):
        run(window=33)
    with pytest.raises(UserError, match=r"1 \.\.\. 15 \(below the window\); got 16"):
        run(stride=16)
    with pytest.raises(UserError, match="The text has 44 tokens; .* at least 129"):
        run()
    with pytest.raises(UserError, match="The text has 8 tokens; .* at least 9"):
        run(max_tokens=8, block_tokens=4)


CHOICES = ("cat", "dog sat", "red tree ran")


def test_scores_are_the_log_likelihoods_of_the_choice(llama: LoadedModel) -> None:
    question = "the happy"
    context = llama.tokenizer(question)["input_ids"]
    expected = []
    for choice in CHOICES:
        total, ids = 0.0, list(context)
        for token in llama.tokenizer(choice)["input_ids"]:
            with torch.no_grad():
                logits = llama.model(input_ids=torch.tensor([ids])).logits[0, -1]
            total += float(torch.log_softmax(logits, dim=-1)[token])
            ids.append(token)
        expected.append(total)
    scores = score_choices(llama.model, llama.tokenizer, question, CHOICES)
    # Three log-probabilities of order 5 at most.
    np.testing.assert_allclose(scores, expected, atol=3 * ROUNDING * 5, rtol=0)
    for normalise, lengths in (("bytes", (3, 7, 12)), ("tokens", (1, 2, 3))):
        divided = score_choices(llama.model, llama.tokenizer, question, CHOICES, normalise=normalise)  # type: ignore[arg-type]
        np.testing.assert_allclose(divided, scores / np.array(lengths), rtol=1e-15)


def test_choices_of_one_token_share_one_run_of_the_question(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = llama.model.forward

    def counting(**inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    monkeypatch.setattr(llama.model, "forward", counting)
    words = ["cat", "dog", "tree", "mat"]
    scores = score_choices(llama.model, llama.tokenizer, "the red", words)
    assert shapes == [(1, 2)]
    with torch.no_grad():
        logits = llama.model(input_ids=torch.tensor([llama.tokenizer("the red")["input_ids"]])).logits[0, -1]
    ids = [llama.tokenizer(word)["input_ids"][0] for word in words]
    np.testing.assert_allclose(scores, torch.log_softmax(logits, dim=-1)[ids].numpy(), rtol=1e-6)


def test_questions_are_answered_by_the_largest_score(llama: LoadedModel) -> None:
    questions = ("the happy", "a sad", "no", "the red cat")
    scores = [score_choices(llama.model, llama.tokenizer, question, CHOICES) for question in questions]
    best = [int(score.argmax()) for score in scores]
    answers = [best[0], best[1], (best[2] + 1) % 3, best[3]]
    task = MultipleChoiceTask(
        name="made",
        questions=tuple(
            ChoiceQuestion(question=q, choices=CHOICES, answer=a)
            for q, a in zip(questions, answers, strict=True)
        ),
        source="made here",
    )
    result = evaluate_choices(llama.model, llama.tokenizer, task)
    assert result.predictions.tolist() == best
    assert result.correct.tolist() == [True, True, False, True]
    assert (result.accuracy.value, result.accuracy.n) == (0.75, 4)
    assert evaluate_choices(llama.model, llama.tokenizer, task, limit=2).accuracy.n == 2
    with pytest.raises(UserError, match="at least 1; got 0"):
        evaluate_choices(llama.model, llama.tokenizer, task, limit=0)


def test_choices_that_cannot_be_scored_are_refused(llama: LoadedModel) -> None:
    with pytest.raises(UserError, match="has 45 tokens, but the model takes at most 32"):
        score_choices(llama.model, llama.tokenizer, LONG, ["cat", "dog"])
    with pytest.raises(UserError, match="'  ' adds no token"):
        score_choices(llama.model, llama.tokenizer, "the", ["cat", "  "])
    with pytest.raises(UserError, match="must be none, characters, bytes or tokens; got 'chars'"):
        score_choices(llama.model, llama.tokenizer, "the", CHOICES, normalise="chars")  # type: ignore[arg-type]


def test_temperature_zero_takes_the_likeliest_token(llama: LoadedModel) -> None:
    ids = llama.tokenizer("the cat")["input_ids"]
    for _ in range(6):
        with torch.no_grad():
            ids.append(int(llama.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    seen: list[tuple[int, int]] = []
    text = generate_text(
        llama.model,
        llama.tokenizer,
        "the cat",
        max_new_tokens=6,
        progress=lambda done, n: seen.append((done, n)),
    )
    assert text == llama.tokenizer.decode(ids[2:], skip_special_tokens=True)
    assert seen == [(done, 6) for done in range(1, 7)]


def test_drawn_text_repeats_with_its_seed_and_leaves_the_global_generator_alone(llama: LoadedModel) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    options = {"max_new_tokens": 20, "temperature": 2.0}
    texts = [
        generate_text(llama.model, llama.tokenizer, "the", seed=seed, **options)  # type: ignore[arg-type]
        for seed in (1, 1, 2)
    ]
    assert torch.rand(1) == expected
    assert texts[0] == texts[1] != texts[2]


def test_a_chat_template_is_used_when_there_is_one(llama: LoadedModel) -> None:
    plain = generate_text(llama.model, llama.tokenizer, "the cat", max_new_tokens=5)
    assert generate_text(llama.model, llama.tokenizer, "the cat", max_new_tokens=5, chat=True) == plain
    llama.tokenizer.chat_template = (
        "{% for m in messages %}yes {{ m.content }} {% endfor %}{% if add_generation_prompt %}no{% endif %}"
    )
    wrapped = generate_text(llama.model, llama.tokenizer, "the cat", max_new_tokens=5, chat=True)
    assert wrapped == generate_text(llama.model, llama.tokenizer, "yes the cat no", max_new_tokens=5)
    assert generate_text(llama.model, llama.tokenizer, "the cat", max_new_tokens=5) == plain


def test_generation_refuses_what_it_cannot_do(llama: LoadedModel, bert: LoadedModel) -> None:
    with pytest.raises(UserError, match="2 tokens and 31 more are asked for, but the model takes at most 32"):
        generate_text(llama.model, llama.tokenizer, "the cat", max_new_tokens=31)
    with pytest.raises(UserError, match="must be 0 or a positive number; got -1"):
        generate_text(llama.model, llama.tokenizer, "the", temperature=-1.0)
    with pytest.raises(UserError, match="at least 1; got 0"):
        generate_text(llama.model, llama.tokenizer, "the", max_new_tokens=0)
    with pytest.raises(UserError, match="prompt is empty"):
        generate_text(llama.model, llama.tokenizer, "  ")
    with pytest.raises(UserError, match="BertModel cannot generate"):
        generate_text(bert.model, bert.tokenizer, "the")
