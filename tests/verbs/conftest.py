"""Tiny models from the workloads' tests, and tasks made of their words."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from ohmformer.specs import ChipSpec, ideal, override, preset
from ohmformer.workloads import ChoiceQuestion, ClassificationSplit, MultipleChoiceTask, TextTask

_PATH = Path(__file__).parents[1] / "workloads" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("workloads_conftest", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

make_folder = _MODULE.make_folder
WORDS: list[str] = _MODULE.WORDS
GOOD, BAD = ("happy", "good", "fine"), ("sad", "bad", "awful")


def sentences(count: int, seed: int, length: int = 6) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(WORDS), (count, length), generator=generator).tolist()
    return [" ".join(WORDS[word] for word in row) for row in drawn]


@pytest.fixture
def split() -> ClassificationSplit:
    """Three good or three bad words among three others; half of the sentences each."""
    generator = torch.Generator().manual_seed(1)
    neutral = [word for word in WORDS if word not in (*GOOD, *BAD)]
    texts: dict[int, list[str]] = {0: [], 1: []}
    for label, mood in enumerate((BAD, GOOD)):
        while len(texts[label]) < 60:
            words = [mood[int(torch.randint(3, (), generator=generator))] for _ in range(3)]
            words += [neutral[int(torch.randint(len(neutral), (), generator=generator))] for _ in range(3)]
            text = " ".join(words[place] for place in torch.randperm(6, generator=generator).tolist())
            if text not in texts[label]:
                texts[label].append(text)

    def halves(start: int, stop: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
        chosen = [(text, label) for label in (0, 1) for text in texts[label][start:stop]]
        return tuple(text for text, _ in chosen), tuple(label for _, label in chosen)

    train, test = halves(0, 30), halves(30, 60)
    return ClassificationSplit(
        task_name="mood",
        label_names=("low", "high"),
        train_texts=train[0],
        train_labels=train[1],
        test_texts=test[0],
        test_labels=test[1],
        seed=3,
    )


@pytest.fixture
def text() -> TextTask:
    return TextTask(name="words", text=" ".join(sentences(30, 2)), source="made up")


@pytest.fixture
def choices() -> MultipleChoiceTask:
    questions = tuple(
        ChoiceQuestion(question=words, choices=("the cat", "red tree", "no"), answer=index % 3)
        for index, words in enumerate(sentences(12, 3, length=4))
    )
    return MultipleChoiceTask(name="endings", questions=questions, source="made up")


@pytest.fixture
def chip() -> ChipSpec:
    return preset("wang2024")


@pytest.fixture
def perfect(chip: ChipSpec) -> ChipSpec:
    return ideal(chip)


@pytest.fixture
def loud(chip: ChipSpec) -> ChipSpec:
    """So much telegraph noise that answers change."""
    return override(chip, {"dense.cell.noise.telegraph_scale": 20.0})


def without_times(value: Any) -> Any:
    """A result as plain values, but for how long it took."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "seconds"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def timeless() -> Any:
    return without_times
