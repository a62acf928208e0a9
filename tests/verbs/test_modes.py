"""A mode that the user chose: in scores, in journals, in texts; and what a statistical run says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ohmformer.deploy import deploy
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, override
from ohmformer.verbs import (
    FP32,
    Journal,
    Setup,
    evaluate_classifier,
    evaluate_head,
    evaluate_multiple_choice,
    evaluate_perplexity,
    generate,
    layer_deviations,
    plain,
)
from ohmformer.verbs.deviation import COMPARED_TEXTS, COMPARED_TOKENS, compared_inputs
from ohmformer.workloads import ClassificationSplit, embed, load_model, train_head


@pytest.fixture
def coarse(chip: ChipSpec) -> ChipSpec:
    """Converters that lose half of what they see."""
    return override(chip, {"tile.adc.bits": 4, "tile.adc.step": 2, "dense.cell.noise.telegraph_scale": 0.0})


@pytest.fixture
def encoder(make_folder: Callable[[str], Path]) -> str:
    return str(make_folder("bert"))


@pytest.fixture
def decoder(make_folder: Callable[[str], Path]) -> str:
    return str(make_folder("llama"))


def test_the_mode_asked_for_is_the_one_that_runs(
    encoder: str, split: ClassificationSplit, coarse: ChipSpec
) -> None:
    few = {"test_texts": split.test_texts[20:40], "test_labels": split.test_labels[20:40]}
    split = replace(split, **few)  # type: ignore[arg-type]
    setups = [
        FP32,
        Setup(label="every", chip=coarse),
        Setup(label="asked", chip=coarse, mode="digit-serial"),
        Setup(label="drawn", chip=coarse, mode="statistical"),
    ]
    found = evaluate_head(encoder, split, setups, seed=2)
    assert [(s.mode, s.mode_asked) for s in found.scores] == [
        ("torch", False),
        ("digit-serial", False),
        ("digit-serial", True),
        ("statistical", True),
    ]
    every, asked, drawn = found.scores[1:]
    assert replace(asked, label="", mode_asked=False, seconds=0) == replace(every, label="", seconds=0)
    loaded = load_model(encoder, task="encoder")
    train = embed(loaded.model, loaded.tokenizer, split.train_texts)
    head = train_head(train, np.array(split.train_labels), seed=split.seed)
    running = deploy(loaded.model, coarse, seed=2, mode="statistical")
    right = head.predict(embed(running, loaded.tokenizer, split.test_texts, batch_tokens=8192))
    assert drawn.metric.value == np.mean(right == np.array(split.test_labels))
    # only a statistical run has something to say about its distance from digit-serial
    assert every.deviations == asked.deviations == found.scores[0].deviations == ()
    inputs = compared_inputs(loaded, split.test_texts)
    assert list(drawn.deviations) == layer_deviations(loaded.model, coarse, inputs, seed=2)
    assert {"encoder.layer.0.attention.self.query", "encoder.layer.1.output.dense"} <= {
        row.layer for row in drawn.deviations
    }
    json.dumps(plain(found), allow_nan=False)


def test_what_is_compared_is_a_few_texts_cut_short(encoder: str) -> None:
    loaded = load_model(encoder, task="encoder")
    texts = ["the cat " * 7, "dog", "red", "sad", "fine"]
    inputs = compared_inputs(loaded, texts)
    rows = loaded.tokenizer(texts)["input_ids"]
    width = min(COMPARED_TOKENS, max(map(len, rows[:COMPARED_TEXTS])))
    assert inputs["input_ids"].shape == (COMPARED_TEXTS, width)
    assert inputs["input_ids"][1, : len(rows[1])].tolist() == rows[1]
    assert inputs["attention_mask"].sum(1).tolist() == [min(width, len(row)) for row in rows[:COMPARED_TEXTS]]


def test_a_journal_tells_modes_apart_and_keeps_the_table(
    encoder: str, split: ClassificationSplit, coarse: ChipSpec, tmp_path: Path, timeless: Any
) -> None:
    path = tmp_path / "journal"
    few = {"test_texts": split.test_texts[26:34], "test_labels": split.test_labels[26:34]}
    split = replace(split, **few)  # type: ignore[arg-type]
    drawn = Setup(label="chip", chip=coarse, mode="statistical")
    first = evaluate_head(encoder, split, [FP32, drawn], journal=Journal(path))
    again = evaluate_head(encoder, split, [FP32, drawn], journal=Journal(path))
    assert again.scores[1].deviations == first.scores[1].deviations != ()
    assert timeless(plain(again)) == timeless(plain(first))
    other = evaluate_head(encoder, split, [FP32, replace(drawn, mode=None)], journal=Journal(path))
    assert (other.scores[1].mode, other.scores[1].deviations) == ("digit-serial", ())


def test_every_kind_of_task_has_the_table(
    make_folder: Callable[[str], Path], decoder: str, split: Any, text: Any, choices: Any, coarse: ChipSpec
) -> None:
    setups = [FP32, Setup(label="drawn", chip=coarse, mode="statistical")]
    few = {"test_texts": split.test_texts[26:34], "test_labels": split.test_labels[26:34]}
    split = replace(split, **few)
    found = (
        evaluate_classifier(str(make_folder("classifier")), split, setups),
        evaluate_perplexity(decoder, text, setups, window=32, stride=31, max_tokens=140),
        evaluate_multiple_choice(decoder, choices, setups, limit=1),
    )
    for result in found:
        rows = result.scores[1].deviations
        assert {"linear", "matmul"} <= {row.operation for row in rows}
        assert all(row.rows > 0 and row.signal_sd > 0 for row in rows)


def test_a_mode_that_the_chip_does_not_allow(
    encoder: str, split: ClassificationSplit, coarse: ChipSpec
) -> None:
    with pytest.raises(UserError, match="converters that lose nothing"):
        evaluate_head(encoder, split, [FP32, Setup(label="x", chip=coarse, mode="collapsed")])


def test_texts_are_made_in_the_mode_asked_for(decoder: str, coarse: ChipSpec) -> None:
    setups = [Setup(label=str(mode), chip=coarse, mode=mode) for mode in (None, "statistical")]
    found = generate(decoder, ["the cat"], setups, max_new_tokens=1)
    assert [text.mode for text in found.texts] == ["digit-serial", "statistical"]
