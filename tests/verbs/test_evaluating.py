"""Evaluations on tiny models: what is compared with what, what is repeated, what is resumed."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import BertModel

from ohmformer.deploy import calibrate, compensate, deploy
from ohmformer.errors import UserError
from ohmformer.reports.wording import difference, evaluation_sentences, score_interval
from ohmformer.specs import leaves, override, sources
from ohmformer.verbs import (
    FP32,
    Journal,
    Setup,
    document,
    evaluate_classifier,
    evaluate_head,
    evaluate_multiple_choice,
    evaluate_perplexity,
    evaluating,
    plain,
)
from ohmformer.verbs.work import BATCH_TOKENS as BATCH
from ohmformer.verbs.work import head_work
from ohmformer.workloads import (
    accuracy_interval,
    embed,
    evaluate_choices,
    load_model,
    paired_difference,
    perplexity,
    perplexity_difference,
    predict_classifier,
    token_nll,
    train_head,
)


@pytest.fixture
def encoder(make_folder) -> str:
    return str(make_folder("bert"))


@pytest.fixture
def decoder(make_folder) -> str:
    return str(make_folder("llama"))


def head_answers(folder: str, split: Any, chip: Any, seed: int) -> np.ndarray:
    """Right or wrong, text by text, written out once more."""
    loaded = load_model(folder, task="encoder")
    train = embed(loaded.model, loaded.tokenizer, split.train_texts)
    head = train_head(train, np.array(split.train_labels), seed=split.seed)
    running = loaded.model if chip is None else deploy(loaded.model, chip, seed=seed)
    vectors = embed(running, loaded.tokenizer, split.test_texts, batch_tokens=BATCH)
    return head.predict(vectors) == np.array(split.test_labels)


def test_fp32_ideal_and_noisy_side_by_side(encoder, split, perfect, loud):
    # one bit short of every possible sum, enough for the sums of this model: every conversion is computed
    lossy = override(perfect, {"tile.adc.bits": 7})
    setups = [
        Setup(label="noisy", chip=loud),
        Setup(label="ideal", chip=perfect),
        FP32,
        Setup(label="lossy", chip=lossy),
    ]
    found = evaluate_head(encoder, split, setups, source="made up", seed=4)
    assert [score.label for score in found.scores] == ["fp32", "noisy", "ideal", "lossy"]
    assert (found.kind, found.task, found.source, found.n) == ("head", "mood", "made up", 60)
    assert found.chance == 0.5
    assert found.threads == torch.get_num_threads()
    answers = {}
    for score, chip in zip(found.scores, (None, loud, perfect, lossy), strict=True):
        answers[score.label] = head_answers(encoder, split, chip, 4)
        assert score.metric == accuracy_interval(answers[score.label])
        assert score.values == (score.metric.value,)
        assert score.mean == score.metric.value
        assert (score.repeat_low, score.repeat_high, score.seeds) == (None, None, (4,))
        assert score.seconds > 0
        if chip is None:
            assert (score.difference, score.p_value, score.chip, score.chip_name) == (None, None, None, None)
            assert (score.sources, score.mode) == (None, "torch")
        else:
            paired = paired_difference(answers["fp32"], answers[score.label])
            assert score.difference == paired.difference
            assert score.p_value == paired.p_value
            assert score.chip == leaves(chip)
            assert score.chip_name == chip.name
            assert set(score.sources) == set(sources(chip.name))
            assert score.mode == ("digit-serial" if chip is lossy else "collapsed")
    assert found.score("ideal") is found.scores[2]
    # the task is one the model can do, the ideal chip too, and the noise is heard
    assert found.score("fp32").metric.low > 0.5
    assert found.score("ideal").metric.low > 0.5
    assert found.score("lossy").metric == found.score("ideal").metric
    assert found.score("noisy").metric.value < found.score("fp32").metric.value


def test_fp32_is_measured_even_if_it_is_not_asked_for(encoder, split, perfect):
    found = evaluate_head(encoder, split, [Setup(label="ideal", chip=perfect)])
    assert [score.label for score in found.scores] == ["fp32", "ideal"]
    assert found.scores[1].difference is not None


def test_repeats_are_other_chips_with_an_interval_of_their_own(encoder, split, loud):
    found = evaluate_head(encoder, split, [FP32, Setup(label="noisy", chip=loud)], seed=10, repeat=4)
    reference, noisy = found.scores
    assert reference.seeds == (10,)
    assert (reference.repeat_low, reference.repeat_high) == (None, None)
    assert noisy.seeds == (10, 11, 12, 13)
    wanted = [float(head_answers(encoder, split, loud, seed).mean()) for seed in noisy.seeds]
    assert list(noisy.values) == pytest.approx(wanted, abs=0)
    assert len(set(wanted)) > 1
    half = stats.t.ppf(0.975, 3) * statistics.stdev(wanted) / math.sqrt(4)
    assert noisy.mean == pytest.approx(statistics.fmean(wanted), rel=1e-12)
    assert noisy.repeat_low == pytest.approx(noisy.mean - half, rel=1e-12)
    assert noisy.repeat_high == pytest.approx(noisy.mean + half, rel=1e-12)
    assert noisy.metric.value == noisy.values[0]


def test_the_seed_alone_decides(encoder, split, loud, perfect, timeless):
    setup = Setup(label="noisy", chip=loud)
    one = evaluate_head(encoder, split, [FP32, setup], seed=5)
    # whatever ran before, and in which order, leaves no trace
    torch.manual_seed(1234)
    more = evaluate_head(encoder, split, [Setup(label="ideal", chip=perfect), setup, FP32], seed=5)
    assert timeless(plain(one.score("noisy"))) == timeless(plain(more.score("noisy")))
    assert timeless(plain(one.score("fp32"))) == timeless(plain(more.score("fp32")))
    other = evaluate_head(encoder, split, [FP32, setup], seed=6)
    assert other.score("noisy").seeds == (6,)
    # another physical chip answers other questions wrongly, even if as many
    answers = head_answers(encoder, split, loud, 5)
    assert any(not np.array_equal(answers, head_answers(encoder, split, loud, seed)) for seed in (6, 7, 8))


def test_wrong_requests_are_one_sentence(encoder, split, perfect):
    setup = Setup(label="chip", chip=perfect)
    with pytest.raises(UserError, match="repeat is 0: it must be at least 1"):
        evaluate_head(encoder, split, [setup], repeat=0)
    with pytest.raises(UserError, match="same label"):
        evaluate_head(encoder, split, [setup, setup])
    with pytest.raises(UserError, match="same label"):  # the fp32 model is added, with its own label
        evaluate_head(encoder, split, [Setup(label="fp32", chip=perfect)])


@pytest.fixture
def measured(monkeypatch) -> list[tuple[str, int]]:
    """Label and seed of everything that is really measured."""
    calls: list[tuple[str, int]] = []
    original: Callable[..., Any] = evaluating._measure_once

    def counting(loaded: Any, setup: Setup, seed: int, *rest: Any) -> Any:
        found = original(loaded, setup, seed, *rest)
        calls.append((setup.label, seed))
        return found

    monkeypatch.setattr(evaluating, "_measure_once", counting)
    return calls


def test_weights_are_compensated_and_scales_calibrated_on_items_that_are_not_scored(
    encoder, split, perfect, tmp_path
):
    plainly = Setup(label="plain", chip=perfect)
    setups = [FP32, plainly, replace(plainly, label="c", compensated=True)]
    setups.append(replace(plainly, label="s", calibrated=True))
    path = tmp_path / "journal"
    found = evaluate_head(encoder, split, setups, journal=Journal(path))
    batches = head_work(encoder, split).unscored()
    assert sum(len(batch["input_ids"]) for batch in batches) == min(128, len(split.train_texts))
    loaded = load_model(encoder, task="encoder")
    models = {
        "plain": deploy(loaded.model, perfect),
        "c": deploy(compensate(loaded.model, batches, perfect.precision.weight_bits), perfect),
        "s": deploy(loaded.model, perfect, calibration=calibrate(loaded.model, perfect, batches)),
    }
    train = embed(loaded.model, loaded.tokenizer, split.train_texts)
    head = train_head(train, np.array(split.train_labels), seed=split.seed)
    for label, running in models.items():
        vectors = embed(running, loaded.tokenizer, split.test_texts, batch_tokens=BATCH)
        right = head.predict(vectors) == np.array(split.test_labels)
        assert found.score(label).metric == accuracy_interval(right)
        if label != "plain":
            first = embed(models["plain"], loaded.tokenizer, split.test_texts, batch_tokens=BATCH)
            assert not np.array_equal(first, vectors)
    # each is a measurement of its own: none may be taken for another
    assert len(json.loads(path.read_text())["parts"]) == 4


def test_calibration_without_anything_left_to_calibrate_on(decoder, text, choices, perfect):
    setups = [FP32, Setup(label="x", chip=perfect, compensated=True)]
    with pytest.raises(UserError, match="behind those that are scored"):
        evaluate_perplexity(decoder, text, setups, window=16, stride=8)
    with pytest.raises(UserError, match="items that are not scored"):
        evaluate_multiple_choice(decoder, choices, setups)


def test_a_journal_spares_what_is_done_and_nothing_else(
    encoder, split, loud, perfect, measured, tmp_path, timeless
):
    path = tmp_path / "journal"
    setups = [FP32, Setup(label="noisy", chip=loud)]
    first = evaluate_head(encoder, split, setups, seed=1, repeat=2, journal=Journal(path))
    assert measured == [("fp32", 1), ("noisy", 1), ("noisy", 2)]
    measured.clear()
    again = evaluate_head(encoder, split, setups, seed=1, repeat=2, journal=Journal(path))
    assert measured == []
    assert timeless(plain(again)) == timeless(plain(first))
    # the time of what was spared is still told
    assert all(b.seconds >= a.seconds * 0.5 for a, b in zip(first.scores, again.scores, strict=True))
    more = [*setups, Setup(label="ideal", chip=perfect)]
    evaluate_head(encoder, split, more, seed=1, repeat=3, journal=Journal(path))
    assert measured == [("noisy", 3), ("ideal", 1), ("ideal", 2), ("ideal", 3)]
    measured.clear()
    # a label is a name only; the chip decides
    evaluate_head(encoder, split, [FP32, Setup(label="x", chip=loud)], seed=1, journal=Journal(path))
    assert measured == []


def test_a_journal_knows_the_task_and_the_weights(encoder, split, perfect, measured, tmp_path):
    path, setups = tmp_path / "journal", [FP32, Setup(label="ideal", chip=perfect)]

    def run(own: Any = split) -> int:
        measured.clear()
        evaluate_head(encoder, own, setups, journal=Journal(path))
        return len(measured)

    assert run() == 2
    assert run() == 0
    assert run(replace(split, test_texts=split.test_texts[::-1], test_labels=split.test_labels[::-1])) == 2
    model = BertModel.from_pretrained(encoder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] += 0.01
    model.save_pretrained(encoder)
    assert run() == 2  # the same folder, other weights
    assert run() == 0


def test_an_interrupted_run_goes_on_where_it_stopped(
    encoder, split, loud, measured, tmp_path, monkeypatch, timeless
):
    path, setups = tmp_path / "journal", [FP32, Setup(label="noisy", chip=loud)]
    whole = evaluate_head(encoder, split, setups, repeat=3)
    measured.clear()
    counted = evaluating._measure_once

    def stops(*arguments: Any) -> Any:
        if len(measured) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    monkeypatch.setattr(evaluating, "_measure_once", stops)
    with pytest.raises(KeyboardInterrupt):
        evaluate_head(encoder, split, setups, repeat=3, journal=Journal(path))
    assert json.loads(path.read_text())["schema"] == "ohmformer.journal/1"
    monkeypatch.setattr(evaluating, "_measure_once", counted)
    measured.clear()
    resumed = evaluate_head(encoder, split, setups, repeat=3, journal=Journal(path))
    assert measured == [("noisy", 1), ("noisy", 2)]
    assert timeless(plain(resumed)) == timeless(plain(whole))


def test_progress_names_the_setup_and_ends_at_the_end(encoder, split, perfect):
    seen: list[tuple[str, int, int]] = []
    evaluate_head(
        encoder, split, [FP32, Setup(label="ideal", chip=perfect)], progress=lambda *step: seen.append(step)
    )
    for label in ("fp32", "ideal"):
        own = [(done, total) for name, done, total in seen if name == label]
        assert own[-1] == (60, 60)
        assert own == sorted(own)


def test_a_classifier_is_judged_by_its_own_labels(make_folder, split, perfect):
    folder = str(make_folder("classifier", id2label={0: "HIGH", 1: "low"}, label2id={"HIGH": 0, "low": 1}))
    found = evaluate_classifier(folder, split, [FP32, Setup(label="ideal", chip=perfect)], seed=2)
    loaded = load_model(folder, task="classifier")
    labels = np.array(split.test_labels)
    answers = [
        predict_classifier(
            model, loaded.tokenizer, split.test_texts, label_names=split.label_names, batch_tokens=BATCH
        )
        == labels
        for model in (loaded.model, deploy(loaded.model, perfect, seed=2))
    ]
    assert [score.metric for score in found.scores] == [accuracy_interval(own) for own in answers]
    assert found.scores[1].difference == paired_difference(*answers).difference
    assert (found.kind, found.n, found.chance) == ("classifier", 60, 0.5)


def test_a_lost_perplexity_on_several_chips_has_no_interval(decoder, text, chip, monkeypatch):
    """e^900 is no double: the perplexity is infinite, and so is any mean over chips."""

    def lost(*_args: Any, **_options: Any) -> Any:
        return np.full(149, 900.0)

    monkeypatch.setattr("ohmformer.verbs.work.token_nll", lost)
    setups = [FP32, Setup(label="noisy", chip=chip)]
    found = evaluate_perplexity(decoder, text, setups, window=16, stride=8, max_tokens=150, repeat=2)
    score = found.scores[1]
    assert list(score.values) == [math.inf, math.inf]
    assert score.mean == math.inf
    assert (score.repeat_low, score.repeat_high) == (None, None)
    assert score_interval(score) == "none"
    assert difference(score) in ("∞", "n/a")  # infinity minus infinity is nothing
    said = evaluation_sentences(found)
    assert said[0].startswith("fp32 reaches perplexity ∞ (no interval) on 149 tokens")
    assert "reaches ∞ (no interval)" in said[1]
    assert said[1].endswith("a perplexity that is lost on this chip.")


def test_perplexities_are_compared_token_by_token(decoder, text, perfect, loud):
    setups = [FP32, Setup(label="ideal", chip=perfect), Setup(label="noisy", chip=loud)]
    found = evaluate_perplexity(decoder, text, setups, window=16, stride=8, max_tokens=150, seed=1)
    loaded = load_model(decoder, task="causal")
    options = {"window": 16, "stride": 8, "max_tokens": 150}
    models = [loaded.model, *(deploy(loaded.model, chip, seed=1) for chip in (perfect, loud))]
    nll = [token_nll(model, loaded.tokenizer, text.text, **options) for model in models]
    assert found.scores[0].metric == perplexity(loaded.model, loaded.tokenizer, text.text, **options)
    for score, own in zip(found.scores, nll, strict=True):
        assert score.metric.value == pytest.approx(math.exp(own.mean()), rel=1e-12)
        assert score.p_value is None
    for score, own in zip(found.scores[1:], nll[1:], strict=True):
        assert score.difference == perplexity_difference(nll[0], own)
    assert found.n == found.scores[0].metric.n == 149  # the first token is given
    assert (found.kind, found.chance, found.source) == ("perplexity", None, "made up")
    # noise that shakes the weights moves the likelihoods far more than rounding to 8 bits
    assert abs(found.scores[2].difference.value) > 3 * abs(found.scores[1].difference.value)


def test_multiple_choice_and_its_limit(decoder, choices, perfect):
    setups = [FP32, Setup(label="ideal", chip=perfect)]
    found = evaluate_multiple_choice(decoder, choices, setups, limit=7, normalise="tokens")
    loaded = load_model(decoder, task="causal")
    alone = evaluate_choices(loaded.model, loaded.tokenizer, choices, limit=7, normalise="tokens")
    assert found.scores[0].metric == alone.accuracy
    assert (found.n, found.chance, found.kind) == (7, pytest.approx(1 / 3), "choices")
    whole = evaluate_multiple_choice(decoder, choices, [FP32], limit=100)
    assert whole.n == whole.scores[0].metric.n == 12


def test_an_evaluation_is_a_document(encoder, split, loud):
    found = evaluate_head(encoder, split, [FP32, Setup(label="noisy", chip=loud)])
    text = json.dumps(document("evaluation", found, ["ohmformer"]), allow_nan=False)
    scores = json.loads(text)["result"]["scores"]
    assert scores[1]["chip"] == leaves(loud)
    assert scores[1]["sources"]["dense.cell.noise.telegraph_scale"]["text"] == "set by the user for this run"
    assert scores[0]["difference"] is None
