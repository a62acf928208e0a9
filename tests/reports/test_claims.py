"""Tables of claims and limits, from documents made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ohmformer.errors import UserError
from ohmformer.reports.claims import claim_tables, claims_result
from ohmformer.reports.limits import limit_tables, limits_result


def line(**changes: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "group": "cost",
        "text": "energy 69 % below",
        "unit": "%",
        "claimed": 0.69,
        "relation": "or more",
        "low": 0.1,
        "typical": 0.5,
        "high": 0.6,
        "ratio": 0.5 / 0.69,
        "plain": 0.7,
        "plain_alone": 0.9,
        "verdict": "only if",
        "assumptions": [
            {
                "name": "process node",
                "unit": "nm",
                "given": "32",
                "allowed": "7, 32",
                "value": 7.0,
                "best": 0.7,
                "stated": "32 nm",
                "then": {"area_m2": 2e-5, "latency_s": 4e-3, "energy_J": 8e-3, "sequences": 4},
            },
            {
                "name": "tokens",
                "unit": "",
                "given": "128",
                "allowed": "8 … 512",
                "value": None,
                "best": 0.6,
                "stated": "",
                "then": None,
            },
        ],
        "note": "a remark",
    } | changes


def document(*lines: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "ohmformer.claims/1", "result": {"lines": list(lines), "implied": []}}


def test_a_claim_in_words_and_percent() -> None:
    tables = claim_tables(document(line()))
    assert tables["claims"].splitlines()[2] == (
        "| energy 69 % below | 69 % or more | 50 % (10 % … 60 %) | 0.725× | 70 % | only if | "
        "process node: 7.00 nm (here 32, stated: 32 nm) |"
    )
    assert tables["claims-short"].splitlines()[2].endswith("| 50 % (10 % … 60 %) | 70 % | only if |")
    rows = tables["claims-assumptions"].splitlines()[2:]
    # time and energy of one of four sequences
    assert rows[0].endswith("| 7.00 nm |  | 20.0 mm², 1.00 ms, 2.00 mJ |")
    assert rows[1].endswith("| no value in the range | 60 % |  |")
    assert tables["claims-notes"] == "- energy 69 % below: a remark"


def test_what_is_not_reproduced_offers_nothing_and_accuracy_is_apart() -> None:
    untested = line(
        group="accuracy",
        text="BERT on CoLA",
        low=None,
        typical=None,
        high=None,
        ratio=None,
        plain=None,
        verdict="not tested",
        assumptions=[],
        note="measured something else",
    )
    tables = claim_tables(document(line(verdict="not reproduced", assumptions=[]), untested))
    assert len(tables["claims"].splitlines()) == 3
    assert tables["claims"].splitlines()[2].endswith("| not reproduced |  |")
    assert tables["claims-accuracy"].splitlines()[2] == (
        "| BERT on CoLA | needs a model hub: not tested here | measured something else |"
    )


def test_other_documents_are_refused() -> None:
    for broken in ({"schema": "ohmformer.limits/1"}, {"schema": "ohmformer.claims/1", "result": {}}):
        with pytest.raises(UserError, match="ohmformer claims"):
            claims_result(broken)
    for broken in ({"schema": "ohmformer.claims/1"}, {"schema": "ohmformer.limits/1", "result": {}}):
        with pytest.raises(UserError, match="ohmformer limits"):
            limits_result(broken)


def test_a_die_that_holds_nothing_says_0() -> None:
    def capacity(area: float, words: int, fits: str) -> dict[str, Any]:
        return {
            "node_nm": 32.0,
            "cell_bits": 2,
            "die_mm2": area,
            "rest_mm2": 137.4,
            "words_alone": 23_000_000_000,
            "words": words,
            "package_words": 8 * words,
            "fits": fits,
            "package_fits": fits,
        }

    result = {
        "dies_per_package": 8,
        "capacities": [capacity(100.0, 0, ""), capacity(800.0, 19_200_000_000, "T5-11B")],
        "updates": [],
        "widths": [],
    }
    tables = limit_tables({"schema": "ohmformer.limits/1", "result": result})
    assert tables["capacities"].splitlines()[2] == (
        "| 32 | 2 | 137 | 0 | 19.2 G: T5-11B | 23.0 G | 154 G: T5-11B |"
    )
