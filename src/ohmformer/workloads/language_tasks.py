"""Tasks for language models: running text for perplexity, and multiple-choice questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ohmformer.errors import UserError
from ohmformer.workloads.packages import EVALS, package_file
from ohmformer.workloads.tables import TABLE_SUFFIXES, Row, read_table

__all__ = [
    "ChoiceQuestion",
    "MultipleChoiceTask",
    "TextTask",
    "load_choices",
    "load_text",
]

_WIKIPEDIA = "evals/registry/data/text_compression/samples.jsonl"
_MMLU = "evals/registry/data/sandbagging/samples-all-large.jsonl"


@dataclass(frozen=True, kw_only=True)
class TextTask:
    """Running text, to be predicted token by token."""

    name: str
    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestion:
    """A prompt, its possible continuations and the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise UserError(f"A question needs at least 2 choices; got {len(self.choices)}.")
        if not 0 <= self.answer < len(self.choices):
            raise UserError(
                f"The answer of a question must be an index 0 ... {len(self.choices) - 1}; got {self.answer}."
            )


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceTask:
    """Questions with one right choice each."""

    name: str
    questions: tuple[ChoiceQuestion, ...]
    source: str

    @property
    def chance(self) -> float:
        """The expected accuracy of guessing, mean of 1 / number of choices."""
        return sum(1 / len(item.choices) for item in self.questions) / len(self.questions)


def load_text(path_or_name: str, *, text_column: str = "text") -> TextTask:
    """Load ``"wikipedia-sample"``, a .txt file, or a text column of a CSV, TSV or JSONL file.

    The rows of a column are joined by an empty line.
    """
    if path_or_name == "wikipedia-sample":
        return _wikipedia_sample()
    path = Path(path_or_name).expanduser()
    if not path.is_file():
        raise UserError(f"There is no file {path_or_name!r}; give a text file or 'wikipedia-sample'.")
    if path.suffix.lower() in TABLE_SUFFIXES:
        rows = read_table(path, (text_column,))
        text = "\n\n".join(_string(path, row, text_column) for row in rows)
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text (byte {error.start}).") from error
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not text.strip():
        raise UserError(f"{path} holds no text.")
    return TextTask(name=path.stem, text=text, source=f"local file {path}")


def load_choices(
    path_or_name: str,
    *,
    question_column: str = "question",
    choices_column: str = "choices",
    answer_column: str = "answer",
) -> MultipleChoiceTask:
    """Load ``"mmlu-sample"`` or a JSONL file of questions.

    ``choices`` is a list of texts; ``answer`` its index from 0, the text of the right choice, or its
    letter (A is the first).
    """
    if path_or_name == "mmlu-sample":
        return _mmlu_sample()
    path = Path(path_or_name).expanduser()
    if not path.is_file():
        raise UserError(f"There is no file {path_or_name!r}; give a JSONL file or the name 'mmlu-sample'.")
    if path.suffix.lower() != ".jsonl":
        raise UserError(f"{path} must be a .jsonl file: a list of choices needs JSON.")
    rows = read_table(path, (question_column, choices_column, answer_column))
    questions = []
    for row in rows:
        choices = row.values[choices_column]
        if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
            raise UserError(
                f"{path}, line {row.line}: {choices_column!r} must be a list of texts, none empty."
            )
        if len(choices) < 2 or len(set(choices)) != len(choices):
            raise UserError(f"{path}, line {row.line}: at least 2 choices are needed, all different.")
        answer = _answer_index(path, row, answer_column, choices)
        question = _string(path, row, question_column)
        questions.append(ChoiceQuestion(question=question, choices=tuple(choices), answer=answer))
    return MultipleChoiceTask(name=path.stem, questions=tuple(questions), source=f"local file {path}")


def _wikipedia_sample() -> TextTask:
    file = package_file(EVALS, _WIKIPEDIA)
    samples = [row.values for row in read_table(file, ("text", "type"))]
    articles = [sample["text"].strip() for sample in samples if sample["type"] == "wikipedia"]
    source = (
        f"{len(articles)} excerpts of English Wikipedia (CC BY-SA 3.0) carried by the Python package "
        f"{EVALS.name} {EVALS.version}, joined in its order and read where it is installed; a model trained "
        "on web text may have seen them, so compare chips with it rather than models"
    )
    return TextTask(name="wikipedia-sample", text="\n\n".join(articles), source=source)


def _mmlu_sample() -> MultipleChoiceTask:
    file = package_file(EVALS, _MMLU)
    letters = ("A", "B", "C", "D")
    questions = [
        ChoiceQuestion(
            question=row.values["question"], choices=letters, answer=letters.index(row.values["answer"])
        )
        for row in read_table(file, ("question", "answer"))
    ]
    source = (
        f"{len(questions)} MMLU questions (MIT) carried by the Python package {EVALS.name} {EVALS.version}; "
        "zero-shot, the continuation is the letter, chance is .25"
    )
    return MultipleChoiceTask(name="mmlu-sample", questions=tuple(questions), source=source)


def _string(path: Path, row: Row, column: str) -> str:
    value = row.values[column]
    if not isinstance(value, str):
        raise UserError(
            f"{path}, line {row.line}: the column {column!r} holds {type(value).__name__}, not text."
        )
    return value


def _answer_index(path: Path, row: Row, column: str, choices: list[str]) -> int:
    answer = row.values[column]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        if len(answer) == 1 and 0 <= ord(answer.upper()) - ord("A") < len(choices):
            return ord(answer.upper()) - ord("A")
    raise UserError(
        f"{path}, line {row.line}: the answer {answer!r} is neither an index 0 ... {len(choices) - 1}, "
        "nor one of the choices, nor the letter of one."
    )
