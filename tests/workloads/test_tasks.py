"""Tasks: rows read as they stand, duplicates out before the split, every bad row named by its line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmformer.errors import UserError
from ohmformer.workloads import (
    ChoiceQuestion,
    TextClassificationTask,
    load_choices,
    load_classification,
    load_text,
)


def write(folder: Path, name: str, content: str | bytes) -> str:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


def refused_classification(spec: str, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        load_classification(spec, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'id,text,label\n1,"one, two",pos\n2,"line\nbreak",neg\n3,"say ""x""",pos\n'),
        ("t.tsv", 'id\ttext\tlabel\n1\tone, two\tpos\n2\t"line\nbreak"\tneg\n3\t"say ""x"""\tpos\n'),
        ("bom.csv", b'\xef\xbb\xbftext,label\n"one, two",pos\n"line\nbreak",neg\n"say ""x""",pos\n'),
        (
            "t.jsonl",
            '{"text": "one, two", "label": "pos"}\n\n{"text": "line\\nbreak", "label": "neg"}\n'
            '{"text": "say \\"x\\"", "label": "pos"}\n',
        ),
    ],
)
def test_the_same_rows_in_any_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    task = load_classification(write(tmp_path, name, content))
    assert task.texts == ("one, two", "line\nbreak", 'say "x"')
    assert task.label_names == ("neg", "pos")
    assert task.labels == (1, 0, 1)


def test_labels_that_are_numbers_are_ordered_by_value(tmp_path: Path) -> None:
    file = write(tmp_path, "t.csv", "comment,stars\na,10\nb,9\nc,-1\na,10\n")
    task = load_classification(file, text_column="comment", label_column="stars")
    assert task.label_names == ("-1", "9", "10")
    assert (task.texts, task.labels, task.duplicates_removed) == (("a", "b", "c"), (2, 1, 0), 1)
    numbers = write(tmp_path, "t.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n')
    assert load_classification(numbers).labels == (1, 0)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("t.csv", "text,mark\na,1\n", "line 2: there is no column 'label'; there are 'text', 'mark'"),
        ("t.csv", "", "holds no rows"),
        ("t.csv", "text,label\n", "holds no rows"),
        ("t.csv", "text,label\na,1\nb\n", "line 3: 1 cells where the header has 2"),
        ("t.csv", "text,label\na,1\nb,2,3\n", "line 3: 3 cells where the header has 2"),
        ("t.csv", 'text,label\na,1\n"b,2\n', "line 3: unreadable row"),
        ("t.csv", "text,label\na,1\n ,2\n", "line 3: the column 'text' is empty"),
        ("t.csv", "text,label\na,1\nb,\n", "line 3: the column 'label' is empty"),
        ("t.csv", "text,text\na,1\n", "two columns of the header have the same name"),
        ("t.csv", "text,label\na,1\nb,1\n", "all 2 texts have the same label"),
        ("t.csv", "text,label\na,1\nb,2\na,2\n", "line 4: the text has the label '2' here, '1' in line 2"),
        ("t.csv", b"text,label\n\xff\xfe,1\n", "not UTF-8"),
        ("t.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "line 2: not valid JSON"),
        ("t.jsonl", "[1, 2]\n", "line 1: expected a JSON object"),
        ("t.jsonl", '{"text": "a", "label": 0.5}\n', "line 1: the label 0.5 is neither"),
        ("t.jsonl", '{"text": "a", "label": true}\n', "line 1: the label True is neither"),
        ("t.jsonl", '{"text": 7, "label": 1}\n', "line 1: the column 'text' holds int, not text"),
        ("t.jsonl", '{"text": null, "label": 1}\n', "line 1: the column 'text' is empty"),
        ("t.parquet", "x", "must end in one of .csv, .tsv, .jsonl"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, part: str
) -> None:
    message = refused_classification(write(tmp_path, name, content))
    assert part in message
    assert name in message or name.split(".")[0] in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "There is no file" in refused_classification(str(tmp_path / "absent.csv"))
    (tmp_path / "folder.csv").mkdir()
    assert "Cannot read" in refused_classification(str(tmp_path / "folder.csv"))


@given(
    sizes=st.lists(st.integers(5, 60), min_size=2, max_size=4),
    test=st.integers(10, 40),
    train=st.integers(10, 40),
    seed=st.integers(0, 2**31),
)
def test_a_split_is_disjoint_stratified_and_repeatable(
    sizes: list[int], test: int, train: int, seed: int
) -> None:
    labels = tuple(label for label, size in enumerate(sizes) for _ in range(size))
    task = TextClassificationTask(
        name="made",
        texts=tuple(f"text {index}" for index in range(len(labels))),
        labels=labels,
        label_names=tuple("abcd"[: len(sizes)]),
        source="made here",
    )
    if train + test > sum(sizes):
        with pytest.raises(UserError, match=f"need {train + test}"):
            task.split(train, test, seed)
        return
    if any(size * part < 2 * sum(sizes) for size in sizes for part in (train, test)):
        return  # a share below 2 may round to none: test_splits_that_cannot_be_made_are_refused
    split = task.split(train, test, seed)
    assert (len(split.train_texts), len(split.test_texts)) == (train, test)
    assert len(set(split.train_texts) | set(split.test_texts)) == train + test
    truth = dict(zip(task.texts, task.labels, strict=True))
    assert all(truth[t] == y for t, y in zip(split.train_texts, split.train_labels, strict=True))
    assert all(truth[t] == y for t, y in zip(split.test_texts, split.test_labels, strict=True))
    counts = Counter(split.test_labels)
    for label, size in enumerate(sizes):  # largest remainder: within one of the exact share
        assert abs(counts[label] - test * size / sum(sizes)) < 1
    assert split == task.split(train, test, seed)
    assert task.split(train - 1, test, seed).test_texts == split.test_texts


def test_splits_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"text {index},{'rare' if index == 0 else 'common'}\n" for index in range(20))
    task = load_classification(write(tmp_path, "t.csv", "text,label\n" + rows))
    with pytest.raises(UserError, match="20 different texts; train=15 and test=6 need 21"):
        task.split(15, 6, 0)
    with pytest.raises(UserError, match="at least 1 text; got train=0"):
        task.split(0, 6, 0)
    with pytest.raises(UserError, match=r"the class 'rare' has 1 text\(s\), too few"):
        task.split(10, 10, 0)


def test_sarcasm_is_read_whole_and_without_duplicates() -> None:
    task = load_classification("sarcasm")
    # Counted in the package's file: 28,614 lines, 28,498 different headlines, none with two labels.
    assert (len(task.texts), task.duplicates_removed) == (28_498, 116)
    assert task.label_names == ("serious", "sarcastic")
    at = task.texts.index("thirtysomething scientists unveil doomsday clock of hair loss")
    assert task.label_names[task.labels[at]] == "sarcastic"
    assert "not stated" in task.source


def test_questions_name_their_answer_by_index_letter_or_text(tmp_path: Path) -> None:
    base = {"question": "2 + 2 =", "choices": ["3", "4", "5"]}
    lines = "".join(json.dumps(base | {"answer": answer}) + "\n" for answer in (1, "B", "b", "4"))
    task = load_choices(write(tmp_path, "q.jsonl", lines))
    assert [item.answer for item in task.questions] == [1, 1, 1, 1]
    assert task.chance == pytest.approx(1 / 3)
    assert load_choices("mmlu-sample").questions[1].answer == 1
    assert len(load_choices("mmlu-sample").questions) == 1000


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"answer": 3}, "line 1: the answer 3 is neither an index 0 ... 2"),
        ({"answer": -1}, "the answer -1"),
        ({"answer": True}, "the answer True"),
        ({"answer": "D"}, "the answer 'D'"),
        ({"choices": "3 4 5"}, "must be a list of texts"),
        ({"choices": ["3", ""]}, "must be a list of texts, none empty"),
        ({"choices": ["3"]}, "at least 2 choices"),
        ({"choices": ["3", "3"]}, "all different"),
        ({"question": 4}, "holds int, not text"),
    ],
)
def test_a_bad_question_is_refused(tmp_path: Path, change: dict[str, object], part: str) -> None:
    row = {"question": "2 + 2 =", "choices": ["3", "4", "5"], "answer": 1} | change
    with pytest.raises(UserError, match="line 1") as caught:
        load_choices(write(tmp_path, "q.jsonl", json.dumps(row)))
    assert part in str(caught.value)


def test_files_of_questions_must_be_there_and_be_json_lines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        load_choices(str(tmp_path / "absent.jsonl"))
    with pytest.raises(UserError, match="must be a .jsonl file"):
        load_choices(write(tmp_path, "q.csv", "question,choices,answer\n"))
    with pytest.raises(UserError, match="there is no column 'key'; there are 'question'"):
        load_choices(write(tmp_path, "q.jsonl", '{"question": "x"}\n'), choices_column="key")
    with pytest.raises(UserError, match=r"index 0 \.\.\. 1; got 2"):
        ChoiceQuestion(question="x", choices=("a", "b"), answer=2)


def test_text_comes_from_a_file_or_a_column(tmp_path: Path) -> None:
    assert load_text(write(tmp_path, "a.txt", "one\ntwo\n")).text == "one\ntwo\n"
    assert load_text(write(tmp_path, "a.csv", "body\nx\ny\n"), text_column="body").text == "x\n\ny"
    for name, content, part in (
        ("b.txt", " \n", "holds no text"),
        ("c.txt", b"\xff\xff", "not UTF-8"),
        ("d.csv", "body\nx\n", "no column 'text'"),
    ):
        with pytest.raises(UserError, match=part):
            load_text(write(tmp_path, name, content))
    with pytest.raises(UserError, match="There is no file"):
        load_text(str(tmp_path / "absent.txt"))


def test_the_wikipedia_sample_says_what_it_is() -> None:
    task = load_text("wikipedia-sample")
    assert len(task.text.split()) > 20_000
    assert "CC BY-SA" in task.source
    assert "may have seen" in task.source
