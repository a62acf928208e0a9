"""Results as JSON that every reader takes, with schema and versions."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ohmformer.errors import UserError
from ohmformer.specs import leaves, preset
from ohmformer.verbs import document, plain, versions, write_document


@dataclass(frozen=True)
class Inner:
    ratio: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    table: dict[int, float]
    path: Path
    missing: None = None


class Speaking:
    def to_dict(self) -> dict[str, object]:
        return {"a": math.inf, "b": (1, 2)}


def test_every_value_becomes_plain():
    value = Outer(Inner(math.nan, ("x", "y")), {1: 2.5, 2: -math.inf}, Path("a/b"))
    assert plain(value) == {
        "inner": {"ratio": None, "names": ["x", "y"]},
        "table": {"1": 2.5, "2": None},
        "path": "a/b",
        "missing": None,
    }
    assert plain(Speaking()) == {"a": None, "b": [1, 2]}
    assert plain({"b", "a"}) == ["a", "b"]
    assert plain(np.array([[1.5, np.nan]])) == [[1.5, None]]
    assert plain(torch.tensor([1, 2])) == [1, 2]
    assert plain(preset("wang2024")) == leaves(preset("wang2024"))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.float64("nan"), None),
        (True, True),
    ],
)
def test_scalars_of_libraries_become_pythons(value, wanted):
    found = plain(value)
    assert found == wanted
    assert type(found) is type(wanted)


def test_a_document_says_what_made_it():
    made = document("evaluation", Inner(0.5, ()), ["ohmformer", "evaluate"])
    assert made["schema"] == "ohmformer.evaluation/1"
    assert made["command"] == ["ohmformer", "evaluate"]
    assert made["result"] == {"ratio": 0.5, "names": []}
    assert list(made) == ["schema", "command", "versions", "result"]
    assert document("demo", None)["command"][0] == "ohmformer"


def test_versions_name_what_produces_numbers():
    found = versions()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert {"ohmformer", "python", "transformers", "scipy", "scikit-learn", "machine"} <= set(found)
    assert "not installed" not in found.values()


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


def test_a_written_document_is_strict_json(tmp_path):
    content = document("estimate", {"a": math.nan, "ü": [math.inf, 1]}, ["ohmformer", "é"])
    path = write_document(tmp_path / "result.json", content)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == content
    assert '"ü"' in text
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_an_argument_that_is_no_text_does_not_stop_the_document(tmp_path):
    """A file name of bytes that are no UTF-8 reaches a program as lone surrogates."""
    path = write_document(
        tmp_path / "r.json", document("chips", {}, ["ohmformer", b"\xff".decode("utf-8", "surrogateescape")])
    )
    json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)


def test_what_is_not_plain_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_document(tmp_path / "r.json", {"a": math.nan})
    with pytest.raises(UserError, match="Cannot write"):
        write_document(tmp_path / "absent" / "r.json", {})
    assert list(tmp_path.iterdir()) == []
