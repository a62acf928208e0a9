"""What --chip, --set, --noise-scale and --kind mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ohmformer.cli.setups import chips_from, one_chip, setups_from
from ohmformer.cli.tasks import (
    FINETUNE_RECORD,
    Columns,
    classification_split,
    default_task,
    kind_of,
    refuse_overlap,
)
from ohmformer.errors import UserError
from ohmformer.specs import ideal, override, preset, write_chip
from ohmformer.workloads import load_classification


def labels(names: list[str], **options: object) -> list[str]:
    return [setup.label for setup in setups_from(chips_from(names, None), **options)]  # type: ignore[arg-type]


def test_by_default_fp32_ideal_and_noisy_stand_side_by_side() -> None:
    setups = setups_from(chips_from(None, None))
    assert [setup.label for setup in setups] == ["fp32", "ideal chip", "wang2024"]
    assert [setup.chip for setup in setups] == [None, ideal(preset("wang2024")), preset("wang2024")]


def test_ideal_chips_that_compute_the_same_run_once() -> None:
    assert labels(["wang2024", "wang2024_1bit_cells"]) == [
        "fp32",
        "ideal chip",
        "wang2024",
        "wang2024_1bit_cells",
    ]
    four_bits = override(preset("wang2024"), {"name": "narrow", "precision.weight_bits": 4})
    found = [setup.label for setup in setups_from([preset("wang2024"), four_bits])]
    assert found == ["fp32", "ideal chip", "wang2024", "ideal narrow", "narrow"]
    assert labels(["wang2024"], with_ideal=False) == ["fp32", "wang2024"]


def test_noise_scales_replace_the_chip_s_own_amplitude() -> None:
    setups = setups_from(chips_from(None, None), scales=[1.0, 5.0], with_ideal=False)
    assert [setup.label for setup in setups[1:]] == [
        "wang2024, 1x telegraph noise",
        "wang2024, 5x telegraph noise",
    ]
    assert [setup.chip.dense.cell.noise.telegraph_scale for setup in setups[1:] if setup.chip] == [1.0, 5.0]


def test_settings_reach_every_chip_and_every_label() -> None:
    settings = ["dense.adc_bits=3"]
    setups = setups_from(
        chips_from(["wang2024", "wang2024_1bit_cells"], settings), settings, with_ideal=False
    )
    assert [setup.label for setup in setups[1:]] == [
        "wang2024 (dense.adc_bits=3)",
        "wang2024_1bit_cells (dense.adc_bits=3)",
    ]
    assert all(setup.chip.dense.adc_bits == 3 for setup in setups[1:] if setup.chip)


def test_a_chip_file(tmp_path: Path) -> None:
    own = override(preset("wang2024"), {"name": "mine", "tile_count": 5})
    file = write_chip(tmp_path / "mine.yaml", own)
    assert one_chip(str(file), None) == own
    short = tmp_path / "short.yml"
    short.write_text("base: wang2024\nname: short\ntile_count: 7\n", encoding="utf-8")
    assert one_chip(str(short), None).tile_count == 7


def test_the_same_chip_twice_is_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        chips_from(["wang2024", "wang2024"], None)


def test_kinds(make_model: Callable[[str], Path], table: Path, book: Path, quiz: Path) -> None:
    encoder, classifier = str(make_model("bert")), str(make_model("classifier"))
    columns = Columns()
    assert kind_of(encoder, str(table), None, columns) == "head"
    assert kind_of(classifier, str(table), None, columns) == "classifier"
    assert kind_of(classifier, str(table), "head", columns) == "head"
    assert kind_of(encoder, str(book), None, columns) == "perplexity"
    assert kind_of(encoder, str(quiz), None, columns) == "choices"
    assert kind_of(encoder, "wikipedia-sample", None, columns) == "perplexity"
    assert kind_of(encoder, "mmlu-sample", None, columns) == "choices"
    with pytest.raises(UserError, match="allowed are head, classifier, perplexity, choices"):
        kind_of(encoder, str(table), "vibes", columns)


def test_how_a_model_is_loaded_when_no_task_says(make_model: Callable[[str], Path]) -> None:
    found = {kind: default_task(str(make_model(kind))) for kind in ("bert", "classifier", "llama")}
    assert found == {"bert": "encoder", "classifier": "classifier", "llama": "causal"}


def test_sizes_of_a_split(table: Path) -> None:
    task = load_classification(str(table))
    split = classification_split(task, None, None, 0)
    assert len(split.test_texts) == len(task.texts) // 5
    assert len(split.train_texts) == len(task.texts) - len(split.test_texts)
    assert len(classification_split(task, 10, 8, 0).train_texts) == 10


def record(folder: Path, **content: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / FINETUNE_RECORD).write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def test_a_fine_tuned_model_is_not_tested_on_its_training_texts(table: Path, tmp_path: Path) -> None:
    import hashlib

    task = load_classification(str(table))
    split = task.split(40, 16, 1)
    pairs = list(zip(split.train_texts, split.train_labels, strict=True))
    digest = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
    model = record(
        tmp_path / "model",
        task=task.name,
        split_seed=1,
        training_texts=40,
        training_data_sha256=digest,
    )
    refuse_overlap(model, task, split)
    refuse_overlap(str(tmp_path), task, task.split(40, 16, 2))  # no record: nothing is known, nothing refused
    with pytest.raises(UserError, match="--seed 1"):
        refuse_overlap(model, task, task.split(40, 16, 2))
    other = record(
        tmp_path / "other", task="elsewhere", split_seed=0, training_texts=9, training_data_sha256=""
    )
    refuse_overlap(other, task, split)
    with pytest.raises(UserError, match="cannot be read"):
        refuse_overlap(record(tmp_path / "broken", task=1), task, split)
