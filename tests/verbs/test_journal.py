"""A journal keeps finished parts, refuses what it did not write, and is never half-written."""

from __future__ import annotations

import json
import math
import os

import pytest

from ohmformer.errors import UserError
from ohmformer.specs import override, preset
from ohmformer.verbs import Journal


def test_parts_survive_the_program(tmp_path):
    path = tmp_path / "run.json"
    journal = Journal(path)
    assert journal.get("a") is None
    assert not path.exists()
    journal.put("a", {"value": 0.1, "items": [True, False], "none": None})
    journal.put("b", 3)
    again = Journal(path)
    assert again.get("a") == {"value": 0.1, "items": [True, False], "none": None}
    assert again.get("b") == 3
    assert again.get("c") is None
    again.put("a", 4)
    assert Journal(path).get("a") == 4


def test_numbers_come_back_as_they_were(tmp_path):
    """A perplexity may be infinite, and a part must not differ whether it was resumed or not."""
    values = [0.1 + 0.2, 1e-300, math.inf, -math.inf, 12345678901234567]
    Journal(tmp_path / "j").put("a", values)
    assert Journal(tmp_path / "j").get("a") == values
    Journal(tmp_path / "j").put("nan", math.nan)
    assert math.isnan(Journal(tmp_path / "j").get("nan"))


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal(None)
    journal.put("a", 1)
    assert journal.get("a") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b'{"schema": "ohmformer.journal/1", "parts": {"a": 1', "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[1, 2]", "is not a journal of schema ohmformer.journal/1"),
        (b'{"schema": "ohmformer.journal/2", "parts": {}}', "is not a journal of schema ohmformer.journal/1"),
        (b'{"parts": {}}', "is not a journal of schema"),
        (b'{"schema": "ohmformer.journal/1"}', "holds no parts"),
        (b'{"schema": "ohmformer.journal/1", "parts": [1]}', "holds no parts"),
    ],
)
def test_what_is_no_journal_is_refused_and_left_alone(tmp_path, content, part):
    path = tmp_path / "my journal"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Journal(path)
    assert part in str(caught.value)
    assert "my journal" in str(caught.value)
    assert "remove it to start anew" in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_or_an_unreadable_place_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Journal(tmp_path)
    with pytest.raises(UserError, match="Cannot write"):
        Journal(tmp_path / "absent" / "j").put("a", 1)


def test_a_write_that_fails_leaves_the_last_state(tmp_path, monkeypatch):
    path = tmp_path / "j"
    journal = Journal(path)
    journal.put("a", 1)
    before = path.read_bytes()

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        journal.put("b", 2)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["j"]
    assert json.loads(before) == {"schema": "ohmformer.journal/1", "parts": {"a": 1}}


def test_a_key_changes_with_everything_that_determines_a_part():
    chip = preset("wang2024")
    base = ("head", "folder", ("texts", 3), chip, 0, ())
    variants = [
        base,
        ("classifier", *base[1:]),
        ("head", "other", *base[2:]),
        (*base[:2], ("texts", 4), *base[3:]),
        (*base[:3], None, *base[4:]),
        (*base[:3], override(chip, {"tile.adc.noise": 0.051}), *base[4:]),
        (*base[:4], 1, ()),
        (*base[:5], ("aten.foo",)),
    ]
    keys = [Journal.key(*variant) for variant in variants]
    assert len(set(keys)) == len(keys)
    assert Journal.key(*base) == Journal.key("head", "folder", ("texts", 3), preset("wang2024"), 0, ())
    assert Journal.key({"a": 1, "b": 2}) == Journal.key({"b": 2, "a": 1})
