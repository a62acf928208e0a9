"""Tolerances of tiny models: what is compared with what, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ohmformer.deploy import deploy
from ohmformer.errors import UserError
from ohmformer.specs import leaves, override, preset, without_noise
from ohmformer.specs.noises import names, only, scaled
from ohmformer.verbs import FP32, Journal, Setup, evaluate_head, plain, trials
from ohmformer.verbs.losses import paired_loss, verdict
from ohmformer.verbs.tolerating import STARTS, tolerate
from ohmformer.verbs.trials import choices_trial, classifier_trial, head_trial, perplexity_trial
from ohmformer.verbs.work import BATCH_TOKENS
from ohmformer.workloads import embed, load_model, perplexity, token_nll, train_head

WIDE = 0.3  # a loss that 60 answers can show


@pytest.fixture
def encoder(make_folder) -> str:
    return str(make_folder("bert"))


@pytest.fixture
def decoder(make_folder) -> str:
    return str(make_folder("llama"))


def wrong_answers(folder: str, split: Any, chip: Any, seeds: tuple[int, ...]) -> np.ndarray:
    """1 for a wrong answer: [chip, item], written out once more."""
    loaded = load_model(folder, task="encoder")
    train = embed(loaded.model, loaded.tokenizer, split.train_texts)
    head = train_head(train, np.array(split.train_labels), seed=split.seed)
    rows = []
    for seed in seeds:
        running = deploy(loaded.model, chip, seed=seed)
        vectors = embed(running, loaded.tokenizer, split.test_texts, batch_tokens=BATCH_TOKENS)
        rows.append(head.predict(vectors) != np.array(split.test_labels))
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("alone", [True, False])
def test_every_amplitude_is_compared_with_the_same_chips_without_the_noise(
    encoder, split, chip, alone: bool
) -> None:
    louder = override(
        chip, {"dense.cell.noise.programming_noise": 0.07, "dense.cell.noise.telegraph_scale": 4.0}
    )
    found = tolerate(
        head_trial(encoder, split, source="made up"),
        louder,
        ["telegraph"],
        bound=WIDE,
        repeat=2,
        alone=alone,
        resolution=2.0,
        up_to=2.0,
        published=False,
        seed=5,
    )
    (tolerance,) = found.tolerances
    at = only if alone else scaled
    clean = wrong_answers(encoder, split, at(louder, "telegraph", 0.0), (5, 6))
    if not alone:
        assert not np.array_equal(clean[0], clean[1])  # so that the seeds matter
    for probe in (tolerance.probes[0], tolerance.probes[-1]):
        noisy = wrong_answers(encoder, split, at(louder, "telegraph", probe.amplitude), (5, 6))
        assert probe.loss == paired_loss("head", clean, noisy)
        assert probe.verdict == verdict(probe.loss, WIDE)
        assert probe.values == pytest.approx(tuple(1 - noisy.mean(axis=1)))
    assert [probe.amplitude for probe in tolerance.probes] == sorted(p.amplitude for p in tolerance.probes)
    assert {p.amplitude: p.verdict for p in tolerance.probes}.get(tolerance.crossing.low) in ("below", None)
    assert (found.kind, found.task, found.source, found.n, found.seeds) == (
        "head",
        "mood",
        "made up",
        60,
        (5, 6),
    )
    assert (found.bound, found.alone, found.chip_name, found.published) == (WIDE, alone, "wang2024", ())
    assert found.chip == leaves(louder)
    assert found.fp32.value == pytest.approx(
        1 - wrong_answers(encoder, split, without_noise(chip), (0,)).mean(), abs=0.1
    )


def test_a_finished_search_measures_nothing_again_and_shares_its_parts_with_evaluate(
    encoder, split, loud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeless
) -> None:
    file = tmp_path / "journal.json"
    options = {"bound": WIDE, "repeat": 1, "resolution": 2.0, "up_to": 2.0, "published": False}
    quiet = without_noise(loud)
    before = evaluate_head(encoder, split, [FP32, Setup(label="x", chip=quiet)], journal=Journal(file))
    counted: list[str] = []
    measured = trials._measure_once

    def counting(loaded: Any, setup: Setup, *rest: Any) -> Any:
        counted.append(setup.label)
        return measured(loaded, setup, *rest)

    monkeypatch.setattr(trials, "_measure_once", counting)
    first = tolerate(head_trial(encoder, split, journal=Journal(file)), loud, ["read"], **options)
    assert counted
    assert not any(label in ("fp32", "no noise") or "without" in label for label in counted)
    assert first.fp32 == before.scores[0].metric
    assert first.clean == before.scores[1].metric
    counted.clear()
    again = tolerate(head_trial(encoder, split, journal=Journal(file)), loud, ["read"], **options)
    assert counted == []
    assert timeless(plain(again)) == timeless(plain(first))


def test_a_noise_that_the_chip_lacks_begins_at_a_stated_amplitude(encoder, split, chip) -> None:
    found = tolerate(
        head_trial(encoder, split),
        chip,
        ["stuck", "programming"],
        bound=WIDE,
        repeat=1,
        up_to=2.0,
        resolution=2.0,
        published=False,
    )
    stuck, programming = found.tolerances
    assert stuck.started == STARTS["stuck"]
    assert stuck.own == dict.fromkeys(STARTS["stuck"], 0.0005)
    assert programming.started == {}
    assert programming.own == {"dense.cell.noise.programming_noise": 0.0144}


def test_every_noise_of_the_machine_can_begin_on_every_preset() -> None:
    for name in ("wang2024", "wang2024_1bit_cells", "wang2024_4bit_cells", "wang2024_2bit_lossy"):
        for noise in names():
            chip = preset(name)
            made = only(override(chip, STARTS.get(noise, {})), noise, 1.0)
            quiet = only(override(chip, STARTS.get(noise, {})), noise, 0.0)
            assert made != quiet


def test_the_published_statement_on_its_own_machines(encoder, split, chip) -> None:
    found = tolerate(head_trial(encoder, split), chip, ["adc_noise"], bound=WIDE, repeat=2, up_to=1.0)
    assert [(s.chip_name, s.amplitude) for s in found.published] == [
        ("wang2024", 5.0),
        ("wang2024_1bit_cells", 18.0),
    ]
    for statement in found.published:
        machine = preset(statement.chip_name)
        clean = wrong_answers(encoder, split, scaled(machine, "telegraph", 0.0), (0, 1))
        noisy = wrong_answers(encoder, split, scaled(machine, "telegraph", statement.amplitude), (0, 1))
        assert statement.loss == paired_loss("head", clean, noisy)
        said = {"below": "holds", "above": "does not hold", "undecided": "undecided"}
        assert statement.verdict == said[verdict(statement.loss, WIDE)]


def test_perplexity_counts_tokens(decoder, text, loud) -> None:
    trial = perplexity_trial(decoder, text, window=16, stride=8, max_tokens=160)
    found = tolerate(
        trial, loud, ["telegraph"], bound=0.05, repeat=1, up_to=2.0, resolution=2.0, published=False
    )
    probe = next(probe for probe in found.tolerances[0].probes if probe.amplitude == 1.0)
    loaded = load_model(decoder, task="causal")

    def nll(chip: Any) -> np.ndarray:
        running = deploy(loaded.model, chip, seed=0)
        return token_nll(running, loaded.tokenizer, text.text, window=16, stride=8, max_tokens=160)

    clean, noisy = nll(without_noise(loud)), nll(only(loud, "telegraph", 1.0))
    assert probe.loss == paired_loss("perplexity", clean[None], noisy[None])
    assert probe.loss.value == pytest.approx(np.exp(noisy.mean() - clean.mean()) - 1)
    assert found.fp32.value == pytest.approx(
        perplexity(loaded.model, loaded.tokenizer, text.text, window=16, stride=8, max_tokens=160).value
    )
    assert (found.n, found.note) == (159, "")


def test_few_answers_are_said_to_be_few(make_folder, decoder, split, choices, chip) -> None:
    quick = {"repeat": 1, "up_to": 1.0, "published": False}
    found = tolerate(choices_trial(decoder, choices), chip, ["mismatch"], **quick)
    assert (found.n, found.kind) == (12, "choices")
    assert "at least 196" in found.note
    (tolerance,) = found.tolerances
    assert [probe.amplitude for probe in tolerance.probes] == [1.0]  # smaller ones would show no more
    wide = tolerate(
        classifier_trial(str(make_folder("classifier", id2label={0: "low", 1: "high"})), split),
        chip,
        ["mismatch"],
        bound=WIDE,
        **quick,
    )
    assert (wide.n, wide.kind, wide.note) == (60, "classifier", "")


@pytest.mark.parametrize(
    ("noises", "options", "said"),
    [
        (["telegraf"], {}, "did you mean 'telegraph'"),
        (["read", "read"], {}, "asked for twice"),
        (["read"], {"bound": 0.0}, "loss is 0"),
        (["read"], {"bound": 1.0}, "loss is 1"),
        (["read"], {"repeat": 0}, "repeat is 0"),
        (["read"], {"up_to": 0.5}, "amplitude is 0.5"),
        (["read"], {"up_to": float("nan")}, "amplitude is nan"),
        (["read"], {"resolution": 1.0}, "resolution is 1"),
    ],
)
def test_what_is_refused(encoder, split, chip, noises, options, said) -> None:
    with pytest.raises(UserError, match=said):
        tolerate(head_trial(encoder, split), chip, noises, **options)
