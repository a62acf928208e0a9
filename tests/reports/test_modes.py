"""How each chip was simulated, and why, stands beside its score; a statistical run shows its table."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from ohmformer.cli.tables import print_evaluation
from ohmformer.engine import Deviation
from ohmformer.reports import evaluation_report
from ohmformer.reports.wording import deviation_rows, deviation_title, mode_lines, mode_reason
from ohmformer.verbs import EvaluationResult

ROW = Deviation(
    layer="encoder.<0>",
    operation="linear",
    rows=1200,
    outputs=12000,
    signal_sd=1234.5,
    mean_reference=1.0,
    mean_other=1.5,
    sd_reference=10.0,
    sd_other=11.0,
    mean_difference_se=0.125,
    variance_difference_se=0.1,
)


@pytest.fixture
def drawn(make_evaluation: Callable[..., EvaluationResult]) -> EvaluationResult:
    """The last chip statistical, the one before it digit-serial by its physics."""
    made = make_evaluation()
    scores = list(made.scores)
    scores[3] = dataclasses.replace(scores[3], mode="digit-serial")
    scores[4] = dataclasses.replace(scores[4], mode="statistical", mode_asked=True, deviations=(ROW,))
    return make_evaluation(scores=tuple(scores))


def test_each_chip_has_its_mode_and_a_reason(drawn: EvaluationResult) -> None:
    lines = mode_lines(drawn)
    assert [line.split(" (")[0] for line in lines] == [
        "ideal chip, wang2024: collapsed",
        "wang2024, 5x: digit-serial",
        "wang2024, 12x: statistical",
    ]
    assert "resolve every sum" in lines[0]
    assert "do not resolve every sum" in lines[1]
    assert "asked for" in lines[2]
    assert "do not resolve" not in mode_reason("digit-serial", asked=True)


def test_the_table_in_standard_errors(drawn: EvaluationResult) -> None:
    """(1.5 - 1)/0.125 = 4; (11/10)² - 1 = 0.21, over 0.1 is 2.1: one of two beyond 3."""
    score = drawn.scores[4]
    assert deviation_rows(score) == [("encoder.<0>", "linear", "1,200", "+4.0", "+2.1", "1,230")]
    assert "1 of 2 beyond 3" in deviation_title(score)


def test_page_and_terminal_show_both(drawn: EvaluationResult, document: dict[str, Any]) -> None:
    page = evaluation_report(drawn, document)
    assert page.count("encoder.&lt;0&gt;") == 1
    assert "encoder.<0>" not in page
    stream = io.StringIO()
    print_evaluation(Console(file=stream, width=160), drawn)
    for line in mode_lines(drawn):
        assert line in page
        assert line in stream.getvalue()
    shown = stream.getvalue().split("beyond 3")[1]
    for value in deviation_rows(drawn.scores[4])[0]:
        assert value in shown
        assert value.replace("<", "&lt;").replace(">", "&gt;") in page


def test_no_table_where_every_conversion_was_computed(
    make_evaluation: Callable[..., EvaluationResult], document: dict[str, Any]
) -> None:
    assert "standard errors" not in evaluation_report(make_evaluation(), document)
