"""Tuning with the chip in the loop: how the noise rises, what is trained, what is compared with what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ohmformer.deploy import deploy
from ohmformer.deploy.straight_through import StraightThrough
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, leaves, override
from ohmformer.verbs import FP32, Setup, plain
from ohmformer.verbs.tuning import (
    TELEGRAPH,
    ChipInTheLoop,
    compare_tuned,
    tune_on_chip,
    validation_split,
)
from ohmformer.workloads import (
    ClassificationSplit,
    TextClassificationTask,
    finetune_classifier,
    load_model,
    paired_difference,
    predict_classifier,
)


def at(chip: ChipSpec, amplitude: float) -> ChipSpec:
    return override(chip, {TELEGRAPH: amplitude})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_noise_rises_in_equal_steps_and_stays(chip: ChipSpec) -> None:
    loop = ChipInTheLoop(chip=at(chip, 7.0), ramp_from=5.0, ramp=0.5)
    found = [loop.amplitude(step, 64) for step in range(64)]
    # 32 steps of rising, two for each of the 16 amplitudes above 5
    assert found[:32] == [5.0 + (step // 2 + 1) / 8 for step in range(32)]
    assert set(found[32:]) == {7.0}
    assert {ChipInTheLoop(chip=at(chip, 7.0)).amplitude(step, 9) for step in range(9)} == {7.0}


def test_bad_ramps_are_refused(chip: ChipSpec) -> None:
    with pytest.raises(UserError, match="ramp is 0"):
        ChipInTheLoop(chip=chip, ramp=0.0)
    with pytest.raises(UserError, match="ramp_from is 2.0: it must lie between 0 and the chip's own .* 1"):
        ChipInTheLoop(chip=chip, ramp_from=2.0)


def test_a_step_draws_from_its_seed_and_number_alone(make_folder: Any, chip: ChipSpec) -> None:
    model = load_model(str(make_folder("classifier")), task="classifier").model
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    loop = ChipInTheLoop(chip=at(chip, 9.0), seed=4)
    forward = loop.on(model)
    first, second = forward(inputs, 0, 2).detach(), forward(inputs, 1, 2).detach()
    assert not torch.equal(first, second)
    assert torch.equal(loop.on(model)(inputs, 1, 2).detach(), second)
    with StraightThrough(model, loop.chip).drawing(torch.Generator().manual_seed(4 * 1_000_003 + 1)):
        assert torch.equal(model(**inputs).logits.detach(), second)
    ramped = replace(loop, ramp_from=0.0, ramp=1.0).on(model)(inputs, 0, 16).detach()
    with StraightThrough(model, at(chip, 9.0 / 16)).drawing(torch.Generator().manual_seed(4 * 1_000_003)):
        assert torch.equal(model(**inputs).logits.detach(), ramped)


def test_tuning_starts_where_the_plain_training_ended(
    make_folder: Any, split: ClassificationSplit, chip: ChipSpec, tmp_path: Path
) -> None:
    start = finetune_classifier(str(make_folder("bert")), split, cache_dir=tmp_path)
    options: dict[str, Any] = {"cache_dir": tmp_path, "lr": 1e-9}
    loop = ChipInTheLoop(chip=at(chip, 8.0), ramp_from=6.0, seed=2)
    tuned = tune_on_chip(str(start), split, loop, **options)
    before, after = weights(start), weights(tuned)
    # two steps at a rate of 1e-9: AdamW moves no weight by more than about the rate
    assert all(float((after[name] - before[name]).abs().max()) <= 1e-7 for name in before)
    record = json.loads((tuned / "ohmformer_finetune.json").read_text())
    assert record["through"]["chip"] == plain(leaves(at(chip, 8.0)))
    assert (record["through"]["ramp_from"], record["through"]["seed"]) == (6.0, 2)
    others = [
        tune_on_chip(str(start), split, replace(loop, chip=at(chip, 7.5)), **options),
        tune_on_chip(str(start), split, replace(loop, ramp_from=None), **options),
    ]
    assert len({start, tuned, *others}) == 4


def test_the_comparison_is_of_the_same_texts_on_the_same_chips(
    make_folder: Any, split: ClassificationSplit, chip: ChipSpec, tmp_path: Path
) -> None:
    first = finetune_classifier(str(make_folder("bert")), split, cache_dir=tmp_path, lr=1e-3)
    second = finetune_classifier(str(first), split, cache_dir=tmp_path, lr=1e-3)
    few = [*range(8), *range(30, 38)]  # of either class
    split = replace(
        split,
        test_texts=tuple(split.test_texts[index] for index in few),
        test_labels=tuple(split.test_labels[index] for index in few),
    )
    noisy, steps = at(chip, 7.0), []
    scores = compare_tuned(
        str(first),
        str(second),
        split,
        [FP32, Setup(label="loud", chip=noisy)],
        seeds=(3, 9),
        progress=lambda *step: steps.append(step),
    )
    assert [score.label for score in scores] == ["fp32", "loud"]
    assert [pair.seed for score in scores for pair in score.pairs] == [None, 3, 9]

    def answers(folder: Path, seed: int | None) -> np.ndarray:
        loaded = load_model(str(folder), task="classifier")
        running = loaded.model if seed is None else deploy(loaded.model, noisy, seed=seed)
        found = predict_classifier(
            running, loaded.tokenizer, split.test_texts, label_names=split.label_names, batch_tokens=8192
        )
        return found == np.array(split.test_labels)

    for score in scores:
        gains = []
        for pair in score.pairs:
            one, other = answers(first, pair.seed), answers(second, pair.seed)
            assert (pair.plain.value, pair.on_chip.value) == (one.mean(), other.mean())
            assert pair.gain == paired_difference(one, other)
            gains.append(other.astype(float) - one)
        mean = np.mean(gains, axis=0)
        half = 1.959963984540054 * mean.std(ddof=1) / len(mean) ** 0.5
        assert score.gain.value == pytest.approx(mean.mean())
        assert score.gain.low == pytest.approx(mean.mean() - half)
        assert score.gain.high == pytest.approx(mean.mean() + half)
        assert score.on_chip == pytest.approx(np.mean([pair.on_chip.value for pair in score.pairs]))
    assert steps[-1] == ("loud, trained on the chip", 16, 16)
    with pytest.raises(UserError, match="no chip seed"):
        compare_tuned(str(first), str(second), split, [], seeds=())


def test_validation_texts_are_in_neither_half() -> None:
    task = TextClassificationTask(
        name="numbers",
        texts=tuple(str(number) for number in range(40)),
        labels=tuple(number % 2 for number in range(40)),
        label_names=("even", "odd"),
        source="made up",
    )
    split = task.split(16, 10, 5)
    found = validation_split(task, split, 14)
    assert set(found.test_texts) == set(task.texts) - set(split.train_texts) - set(split.test_texts)
    assert [int(text) % 2 for text in found.test_texts] == list(found.test_labels)
    assert (found.train_texts, found.seed) == (split.train_texts, 5)
    assert validation_split(task, split, 14) == found
    assert found.test_texts[:6] == validation_split(task, split, 6).test_texts
    for wrong in (0, 15):
        with pytest.raises(UserError, match=f"14 texts left for validation beside 26; asked .* {wrong}"):
            validation_split(task, split, wrong)
