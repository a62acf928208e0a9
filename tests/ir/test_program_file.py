"""A saved program comes back equal; anything else is refused in one sentence and leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohmformer.errors import UserError
from ohmformer.ir import Program, load_program, save_program

from .flowing import flowing, subops


def test_a_program_comes_back_equal(tmp_path: Path) -> None:
    program = flowing()
    path = save_program(program, tmp_path / "head.json")
    loaded = load_program(path)
    assert loaded == program
    assert loaded.subops[4].arguments[1] == ("fill", float("-inf"))
    assert isinstance(loaded.subops[4].arguments[0][1], tuple)
    assert json.loads(path.read_text())["schema"] == 1
    bare = Program(
        name="bare",
        batch=1,
        tokens=1,
        subops=tuple(replace(s, inputs=(), outputs=()) for s in subops()),
        stored_words=99,
    )
    assert load_program(save_program(bare, tmp_path / "bare.json")) == bare
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare.json", "head.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no program: it is not JSON"),
        (b"\xff\xfe\x00", "is no program: it is not JSON"),
        ("[" * 100_000, "is no program: it is not JSON"),
        ("[]", "its format is not 'ohmformer program'"),
        ("{}", "its format is not 'ohmformer program'"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_program(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read .*none.json: No such file"):
        load_program(tmp_path / "none.json")
    with pytest.raises(UserError, match="Cannot write"):
        save_program(flowing(), tmp_path / "none" / "x.json")


def _set(path: tuple[Any, ...], value: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        at: Any = document
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


def _drop(*path: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        at: Any = document
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(("schema",), 2), "is a program of schema 2: only 1 can be read"),
        (_set(("schema",), True), "schema True"),
        (_drop("schema"), "schema None"),
        (_drop("name"), "malformed program: the program lacks name"),
        (_drop("subops"), "subops is missing"),
        (_set(("values",), 3), "values is no list"),
        (_set(("color",), 3), "the program has an unknown field 'color'"),
        (_set(("phase",), "sleep"), "the program has phase = 'sleep'"),
        (_set(("tokens",), "3"), "the program has tokens = '3'"),
        (_set(("tokens",), True), "the program has tokens = True"),
        (_set(("assumptions",), [1]), "the program has assumptions"),
        (_set(("values", 2), ["input"]), "value 2 is not"),
        (_set(("values", 2), ["input", 3, ""]), "value 2 has shape = 3"),
        (_set(("values", 2), ["input", [1.5], ""]), "value 2 has shape"),
        (_set(("subops", 1), 3), "sub-operation 1 is no object"),
        (_set(("subops", 1, "kind"), "jump"), "sub-operation 1 is of kind 'jump', allowed are product"),
        (_set(("subops", 1, "kind"), [1]), "is of kind"),
        (_drop("subops", 1, "rows"), "sub-operation 1 lacks rows"),
        (_set(("subops", 1, "rows"), 2.5), "sub-operation 1 has rows = 2.5"),
        (_set(("subops", 1, "rows"), 0), "sub-operation 1 is refused, Product.rows is 0"),
        (_set(("subops", 2, "way"), "jump"), "sub-operation 2 is refused, Move.kind is 'jump'"),
        (_set(("subops", 4, "arguments"), [["a"]]), "sub-operation 4 has arguments"),
        (_set(("subops", 4, "arguments"), [["a", {"b": 1}]]), "an argument is an object"),
        (_set(("subops", 1, "resident"), "guess"), "kind 'guess': allowed are weight"),
        (_set(("subops", 1, "inputs"), [4, 3]), "reads %4 before it is written"),
    ],
)
def test_each_fault_of_a_file_is_named(tmp_path: Path, change: Any, message: str) -> None:
    path = save_program(flowing(), tmp_path / "x.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as caught:
        load_program(path)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = save_program(flowing(), tmp_path / "x.json")
    before = path.read_bytes()
    broken = flowing(assumptions=(object(),))
    with pytest.raises(TypeError):
        save_program(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
