"""Tables as Markdown, and pages that are rewritten between markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohmformer.errors import UserError
from ohmformer.reports.markdown import Table, between, check_page, markdown, marked, rewrite


def test_a_table_has_its_rule_and_escapes_bars() -> None:
    text = markdown(Table(("a", "b"), [("1", "x|y"), ("2", "")], right=(0,)))
    assert text.splitlines() == ["| a | b |", "|---:|---|", "| 1 | x\\|y |", "| 2 |  |"]


def test_what_stands_between_markers_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n{marked('one', 'old')}\nmiddle\n{marked('two', 'old')}\nafter\n", encoding="utf-8"
    )
    rewrite(page, {"one": "new\nlines", "two": "other"})
    text = page.read_text(encoding="utf-8")
    assert between(text, "one") == "new\nlines"
    assert between(text, "two") == "other"
    assert [line for line in text.splitlines() if line in ("before", "middle", "after")] == [
        "before",
        "middle",
        "after",
    ]
    rewrite(page, {"one": "new\nlines"})
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("text", ["nothing", marked("one", "x") * 2, marked("one", "x")[:30]])
def test_a_page_without_its_markers_is_refused_and_left_alone(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    for refused in (lambda: rewrite(page, {"one": "new"}), lambda: check_page(page, ["one"])):
        with pytest.raises(UserError, match="lacks the markers of 'one'"):
            refused()
    assert page.read_text(encoding="utf-8") == text


def test_a_page_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        rewrite(tmp_path / "absent.md", {})
