"""docs/encodings.md holds what the study computes: the whole first table, parts of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ohmformer.costs import estimate
from ohmformer.ir import Program
from ohmformer.reports.encodings import COLUMNS, base_7_rows, condition_rows, exact_rows
from ohmformer.reports.markdown import Table, between, markdown
from ohmformer.specs import preset
from ohmformer.studies import CONDITIONS, exact_points
from ohmformer.studies.encoding_study import outcome
from ohmformer.studies.encodings import Encoding, choices, costed
from ohmformer.verbs.documents import plain

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "encodings.md").read_text(encoding="utf-8")
CHIP = preset("wang2024")


def values(points: tuple[Encoding, ...]) -> list[dict[str, Any]]:
    found = plain(list(points))
    assert isinstance(found, list)
    return found


def test_the_table_of_all_bases_is_the_computed_one(bert_large: Program) -> None:
    rows = exact_rows(values(exact_points(bert_large, CHIP)))
    assert between(PAGE, "exact") == markdown(Table(COLUMNS, rows, right=tuple(range(2, 13))))


@pytest.mark.parametrize("name", ["as given", "converters of at most 2 bits", "operands of 6 bits"])
def test_a_condition_on_the_page_is_the_computed_one(name: str, bert_large: Program) -> None:
    condition = next(condition for condition in CONDITIONS if condition.name == name)
    found = outcome(condition, bert_large, CHIP, "typical")
    row = condition_rows([plain(found)])[0]
    assert "| " + " | ".join(row) + " |" in between(PAGE, "conditions").splitlines()


def test_every_condition_is_on_the_page() -> None:
    lines = between(PAGE, "conditions").splitlines()[2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [c.name for c in CONDITIONS]


def test_rows_of_base_7_on_the_page_are_the_computed_ones(bert_large: Program) -> None:
    area = estimate(bert_large, CHIP).area_m2
    chosen = [c for c in choices(128, radices=(7,)) if c.wordlines == 128 and c.group in (64, 2)]
    rows = base_7_rows(values(tuple(costed(c, bert_large, CHIP, area, "typical") for c in chosen)))
    lines = between(PAGE, "base-7").splitlines()
    assert len(rows) >= 8
    for row in rows:
        assert "| " + " | ".join(row) + " |" in lines
