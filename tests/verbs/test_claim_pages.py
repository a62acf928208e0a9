"""docs/claims.md holds what `ohmformer claims` and `ohmformer limits` compute."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ohmformer.costs import claims_assumptions
from ohmformer.costs.claims import CLAIMS, DERIVED_CLAIMS
from ohmformer.costs.claims_assumptions import Question
from ohmformer.costs.claims_table import claim_lines, claimed_line, implied_by_claims
from ohmformer.ir import Program
from ohmformer.reports.claims import accuracy_table, assumption_table, implied_table, verdict_table
from ohmformer.reports.limits import capacity_table, update_table, width_table
from ohmformer.reports.markdown import Table, between, markdown
from ohmformer.specs import preset
from ohmformer.verbs.documents import plain
from ohmformer.verbs.estimating import program_of
from ohmformer.verbs.limits import limits

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHIP = preset("wang2024")


@cache
def program(tokens: int, batch: int) -> Program:
    return program_of("bert-large", CHIP, tokens=tokens, batch=batch)


def lines_of(table: Table) -> list[str]:
    return markdown(table).splitlines()[2:]


def test_the_chips_own_claim_is_as_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the two assumptions that need the model traced at other lengths and batches."""
    monkeypatch.setattr(claims_assumptions, "TOKENS", (128,))
    monkeypatch.setattr(claims_assumptions, "BATCHES", (1,))
    line = claimed_line(Question(claim=CLAIMS[0], programs=program, chip=CHIP, tokens=128, batch=1))
    result = {"lines": [plain(line)]}
    here, there = lines_of(verdict_table(result))[0], between(PAGE, "claims").splitlines()[2]
    assert here.split(" | ")[:6] == there.split(" | ")[:6]
    traced = ("tokens of a sequence", "sequences at once")

    def others(rows: list[str]) -> list[str]:
        return [row for row in rows if line.text in row and not any(name in row for name in traced)]

    assert others(lines_of(assumption_table(result))) == others(
        between(PAGE, "claims-assumptions").splitlines()
    )
    assert len(others(lines_of(assumption_table(result)))) == 7


def test_the_first_page_says_what_the_page_of_claims_says() -> None:
    """The short table is the long one without how far off a figure is and what it would take."""
    long = [row.split(" | ") for row in between(PAGE, "claims").splitlines()[2:]]
    short = [row.strip("| ").split(" | ") for row in between(README, "claims-short").splitlines()[2:]]
    assert [[row[0].strip("| "), row[1], row[2], row[4], row[5]] for row in long] == short
    assert len(short) == 14


@pytest.mark.parametrize("claim", [*CLAIMS[1:3], *(c for c in CLAIMS if c.kind == "energy_saving")])
def test_a_quick_claim_is_as_on_the_page(claim: Any) -> None:
    line = claimed_line(Question(claim=claim, programs=program, chip=CHIP, tokens=128, batch=1))
    assert lines_of(verdict_table({"lines": [plain(line)]}))[0] in between(PAGE, "claims").splitlines()


def test_storage_accuracy_and_what_is_implied_are_as_on_the_page() -> None:
    lines = claim_lines(program, CHIP, claims=())
    result = {"lines": plain(list(lines)), "implied": plain(list(implied_by_claims()))}
    assert lines_of(verdict_table(result)) == between(PAGE, "claims").splitlines()[-4:]
    assert markdown(implied_table(result)) == between(PAGE, "claims-implied")
    assert markdown(accuracy_table(result)) == between(PAGE, "claims-accuracy")


def test_every_claim_is_on_the_page_once() -> None:
    rows = between(PAGE, "claims").splitlines()[2:]
    named = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    expected = [claim.text for claim in (*CLAIMS, *DERIVED_CLAIMS)]
    assert named[: len(expected)] == expected
    assert len(named) == len(expected) + 4


def test_limits_are_as_on_the_page() -> None:
    result = plain(limits("bert-large", CHIP))
    assert markdown(capacity_table(result)) == between(PAGE, "capacities")
    assert markdown(update_table(result)) == between(PAGE, "updates")
    assert markdown(width_table(result)) == between(PAGE, "widths")
