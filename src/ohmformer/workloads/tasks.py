"""Text classification: texts with labels, split once, without a text on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ohmformer.errors import UserError
from ohmformer.workloads.packages import EVALS, package_file
from ohmformer.workloads.tables import Row, read_table

__all__ = ["ClassificationSplit", "TextClassificationTask", "load_classification"]

_SARCASM = "evals/registry/data/sarcasm/samples.jsonl"


@dataclass(frozen=True, kw_only=True)
class ClassificationSplit:
    """Disjoint training and test texts of one task; labels index ``label_names``."""

    task_name: str
    label_names: tuple[str, ...]
    train_texts: tuple[str, ...]
    train_labels: tuple[int, ...]
    test_texts: tuple[str, ...]
    test_labels: tuple[int, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class TextClassificationTask:
    """Unique texts, each with a label that indexes ``label_names`` (at least two classes occur)."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    source: str
    duplicates_removed: int = 0

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise UserError(f"{self.name}: {len(self.texts)} texts but {len(self.labels)} labels.")
        if len(set(self.texts)) != len(self.texts):
            raise UserError(f"{self.name}: texts must be unique; remove the duplicates first.")
        found = sorted(set(self.labels))
        if len(found) < 2:
            raise UserError(
                f"{self.name}: all {len(self.labels)} texts have the same label; two classes are needed."
            )
        if found[0] < 0 or found[-1] >= len(self.label_names):
            raise UserError(
                f"{self.name}: labels must lie in 0 ... {len(self.label_names) - 1}; "
                f"got {found[0]} ... {found[-1]}."
            )

    def split(self, train: int, test: int, seed: int) -> ClassificationSplit:
        """Draw ``test`` and then ``train`` texts at random, each with the task's class proportions.

        Per class the share is size x class frequency, rounded by largest remainder. The same seed and
        test size give the same test texts whatever ``train`` is.

        Error: UserError where a size is below 1, the texts do not suffice, or a class would be absent.
        """
        if train < 1 or test < 1:
            raise UserError(f"Both parts of a split need at least 1 text; got train={train}, test={test}.")
        if train + test > len(self.texts):
            raise UserError(
                f"{self.name} has {len(self.texts)} different texts; train={train} and test={test} "
                f"need {train + test}."
            )
        generator = torch.Generator().manual_seed(seed)
        members: list[list[int]] = []
        for label in range(len(self.label_names)):
            indices = [index for index, value in enumerate(self.labels) if value == label]
            members.append(_shuffled(indices, generator))
        sizes = [len(indices) for indices in members]
        test_counts = _largest_remainder(sizes, test)
        left = [size - count for size, count in zip(sizes, test_counts, strict=True)]
        train_counts = _largest_remainder(left, train)
        for label, count in enumerate(train_counts):
            if sizes[label] and not (count and test_counts[label]):
                raise UserError(
                    f"{self.name}: the class {self.label_names[label]!r} has {sizes[label]} text(s), too few "
                    f"to occur in both parts of a split into train={train} and test={test}."
                )
        shares = list(zip(members, test_counts, train_counts, strict=True))
        test_part = _shuffled([i for own, n, _ in shares for i in own[:n]], generator)
        train_part = _shuffled([i for own, n, m in shares for i in own[n : n + m]], generator)
        return ClassificationSplit(
            task_name=self.name,
            label_names=self.label_names,
            train_texts=tuple(self.texts[index] for index in train_part),
            train_labels=tuple(self.labels[index] for index in train_part),
            test_texts=tuple(self.texts[index] for index in test_part),
            test_labels=tuple(self.labels[index] for index in test_part),
            seed=seed,
        )


def load_classification(
    spec: str, *, text_column: str = "text", label_column: str = "label"
) -> TextClassificationTask:
    """Load ``"sarcasm"`` (headlines carried by a Python package) or a CSV, TSV or JSONL file.

    Labels may be words or whole numbers; a repeated text is kept once, and refused where its labels differ.
    """
    if spec == "sarcasm":
        return _sarcasm()
    path = Path(spec).expanduser()
    if not path.exists():
        raise UserError(f"There is no file {spec!r}; give a CSV, TSV or JSONL file, or the task 'sarcasm'.")
    rows = read_table(path, (text_column, label_column))
    texts = [_text(path, row, text_column) for row in rows]
    words = [_label(path, row, label_column) for row in rows]
    return _unique(path.stem, texts, words, [row.line for row in rows], f"local file {path}")


def _sarcasm() -> TextClassificationTask:
    file = package_file(EVALS, _SARCASM)
    samples = [row.values for row in read_table(file, ("input", "ideal"))]
    texts = [sample["input"][1]["content"] for sample in samples]
    words = ["sarcastic" if sample["ideal"] == "1" else "serious" for sample in samples]
    source = (
        f"sarcasm headlines of the Python package {EVALS.name} {EVALS.version} (package MIT; the licence "
        "of the headlines themselves is not stated there), read where it is installed"
    )
    task = _unique("sarcasm", texts, words, list(range(1, len(texts) + 1)), source)
    return _with_order(task, ("serious", "sarcastic"))


def _unique(
    name: str, texts: Sequence[str], words: Sequence[str], lines: Sequence[int], source: str
) -> TextClassificationTask:
    first: dict[str, tuple[str, int]] = {}
    for text, word, line in zip(texts, words, lines, strict=True):
        kept = first.setdefault(text.strip(), (word, line))
        if kept[0] != word:
            raise UserError(
                f"{name}, line {line}: the text has the label {word!r} here, {kept[0]!r} in line {kept[1]}."
            )
    names = _ordered({word for word, _ in first.values()})
    return TextClassificationTask(
        name=name,
        texts=tuple(first),
        labels=tuple(names.index(word) for word, _ in first.values()),
        label_names=names,
        source=source,
        duplicates_removed=len(texts) - len(first),
    )


def _with_order(task: TextClassificationTask, names: tuple[str, ...]) -> TextClassificationTask:
    return TextClassificationTask(
        name=task.name,
        texts=task.texts,
        labels=tuple(names.index(task.label_names[label]) for label in task.labels),
        label_names=names,
        source=task.source,
        duplicates_removed=task.duplicates_removed,
    )


def _ordered(words: set[str]) -> tuple[str, ...]:
    """Numbers by value, everything else alphabetically."""
    try:
        return tuple(sorted(words, key=int))
    except ValueError:
        return tuple(sorted(words))


def _text(path: Path, row: Row, column: str) -> str:
    value = row.values[column]
    if not isinstance(value, str):
        raise UserError(
            f"{path}, line {row.line}: the column {column!r} holds {type(value).__name__}, not text."
        )
    return value


def _label(path: Path, row: Row, column: str) -> str:
    value = row.values[column]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{path}, line {row.line}: the label {value!r} is neither a word nor a whole number.")
    return str(value).strip()


def _shuffled(indices: list[int], generator: torch.Generator) -> list[int]:
    return [indices[at] for at in torch.randperm(len(indices), generator=generator).tolist()]


def _largest_remainder(sizes: Sequence[int], total: int) -> list[int]:
    """Share ``total`` in proportion to ``sizes``; exact in integers, ties to the earlier class."""
    whole = sum(sizes)
    shares = [size * total // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda at: (-(sizes[at] * total % whole), at))
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares
