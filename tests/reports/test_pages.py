"""Whole pages: well-formed, self-contained, escaped; every number comes from the result."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ohmformer.devices import confusion_matrix
from ohmformer.errors import UserError
from ohmformer.reports import demo_report, estimate_report, evaluation_report, write_report
from ohmformer.reports.cells import cells_section, chip_of
from ohmformer.reports.numbers import area, percent, points, quantity, significant
from ohmformer.reports.wording import estimate_sentences, evaluation_sentences, interval_ends
from ohmformer.specs import leaves, preset
from ohmformer.verbs import DemoResult, EstimateResult, EvaluationResult

VOID = {"meta", "br", "col"}
LOADING = {"src", "data", "poster", "srcset", "action", "formaction", "background"}


class Reader(HTMLParser):
    """Checks that tags close in order and collects what the tests ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.loading: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")
            if name in LOADING or name.startswith("on"):
                self.loading.append(f"{tag} {name}={value}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(params=["demo", "evaluation", "estimate"])
def page(
    request: pytest.FixtureRequest,
    demo_result: DemoResult,
    make_evaluation: Callable[..., EvaluationResult],
    estimate_result: EstimateResult,
    document: dict[str, Any],
) -> str:
    if request.param == "demo":
        return demo_report(demo_result, document)
    if request.param == "evaluation":
        return evaluation_report(make_evaluation(), document)
    return estimate_report(estimate_result, document)


def test_tags_close_in_order_and_anchors_lead_somewhere(page: str) -> None:
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.links
    assert {link for link in reader.links if not link.startswith("#")} == set()
    assert {link[1:] for link in reader.links} <= set(reader.ids)


def test_nothing_is_loaded_and_no_script_runs(page: str) -> None:
    reader = read(page)
    assert reader.loading == []
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(reader.tags)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_page_fits_screens_paper_and_dark_rooms(page: str) -> None:
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    # Every table stands in a box of its own that scrolls.
    assert page.count("<table") == len(re.findall(r'<div class="scroll"[^>]*><table', page))
    # No element has a width in pixels that could exceed a narrow screen.
    wide = [int(px) for px in re.findall(r'(?<!max-)\bwidth(?:=|:)\s*"?(\d+)px', page)]
    assert all(px <= 300 for px in wide)


def test_the_command_and_the_versions_stand_on_the_page(page: str, document: dict[str, Any]) -> None:
    text = "".join(read(page).text)
    assert shlex.join(document["command"]) in text
    for name, version in document["versions"].items():
        assert name in text
        assert version in text


def test_hostile_text_stays_text(demo_result: DemoResult, document: dict[str, Any]) -> None:
    page = demo_report(demo_result, document)
    assert "<script" not in page
    assert "<i>upon" not in page
    text = "".join(read(page).text)
    for said in ("<script>x", "Once <i>upon</i>", "It costs <this>.", "two <products>"):
        assert said in text


def test_the_verdict_stands_before_everything_else(demo_result: DemoResult, document: dict[str, Any]) -> None:
    text = "".join(read(demo_report(demo_result, document)).text)
    first = text.index(demo_result.verdict[0])
    assert first < text.index(demo_result.verdict[1]) < text.index("Accuracy")


def test_every_score_is_shown_with_n_interval_difference_and_seeds(
    make_evaluation: Callable[..., EvaluationResult], document: dict[str, Any]
) -> None:
    result = make_evaluation()
    text = " ".join(read(evaluation_report(result, document)).text)
    for score in result.scores:
        assert score.label in text
        for value in (score.metric.value, score.metric.low, score.metric.high):
            assert percent(value) in text
        if score.difference is not None:
            assert f"{points(score.difference.value)} points" in text
            assert points(score.difference.low) in text
    assert "n = 40" in text
    assert result.source in text
    assert percent(result.chance or 0.0) in text
    changed = make_evaluation(chance=0.123)
    assert "12.3 %" in evaluation_report(changed, document)  # the number is read, not remembered


def test_a_perplexity_is_no_percentage(perplexity_result: EvaluationResult, document: dict[str, Any]) -> None:
    text = " ".join(read(evaluation_report(perplexity_result, document)).text)
    for score in perplexity_result.scores:
        assert significant(score.metric.value) in text
    assert "lower is better" in text


def test_the_interval_of_several_chips_covers_items_and_chips(
    make_evaluation: Callable[..., EvaluationResult],
) -> None:
    import dataclasses

    score = dataclasses.replace(
        make_evaluation().scores[2], values=(0.875, 0.825), seeds=(3, 4), repeat_low=0.5, repeat_high=0.9
    )
    low, high = interval_ends(score)
    assert low == 0.5  # chips differ more than items below
    assert high == pytest.approx(0.85 + score.metric.high - 0.875, abs=1e-12)  # items more than chips above


def test_sentences_name_the_worst_chip_and_judge_it(make_evaluation: Callable[..., EvaluationResult]) -> None:
    first, second = evaluation_sentences(make_evaluation())
    assert "90.0 %" in first
    assert "wang2024, 12x" in second
    assert "45.0 %" in second
    assert "more than the choice of items alone makes" in second
    small = make_evaluation(scores=make_evaluation().scores[:3])
    assert "that the choice of items alone can make" in evaluation_sentences(small)[1]
    alone = make_evaluation(scores=make_evaluation().scores[:1])
    assert len(evaluation_sentences(alone)) == 1


def test_every_cost_line_shows_its_formula_its_fields_and_its_source(
    estimate_result: EstimateResult, document: dict[str, Any]
) -> None:
    page = estimate_report(estimate_result, document)
    reader = read(page)
    text = " ".join(reader.text)
    own = estimate_result.comparison.chip["typical"]
    for terms, unit in (
        (own.area, area),
        (own.energy, lambda v: quantity(v, "J")),
        (own.latency, lambda v: quantity(v, "s")),
    ):
        for term in terms:
            assert term.formula in text
            assert f"{term.source.kind}: {term.source.text}" in text
            assert unit(term.total) in text
            for path in term.fields:
                row = next(
                    leaf for leaf in estimate_result.chip if leaf == path or leaf.startswith(f"{path}.")
                )
                anchor = re.search(rf'<a href="#(chip-0-[\w-]+)"><code>{re.escape(path)}</code></a>', page)
                assert anchor is not None, path
                assert f'<code id="{anchor[1]}">{row}</code>' in page
    for path, source in estimate_result.sources.items():
        assert path in text
        assert source.text in text


def test_totals_alternatives_and_claims_are_those_of_the_result(
    estimate_result: EstimateResult, document: dict[str, Any]
) -> None:
    text = " ".join(read(estimate_report(estimate_result, document)).text)
    own = estimate_result.comparison.chip["typical"]
    for shown in (
        area(own.area_m2),
        quantity(own.energy_J, "J"),
        quantity(own.latency_s, "s"),
        f"{significant(own.area_delay_mm2_s)} mm²·s",
        f"{significant(own.power_density_W_per_mm2)} W/mm²",
    ):
        assert shown in text
    for baseline in estimate_result.comparison.baselines:
        assert baseline.title in text
        assert quantity(baseline.energy_J, "J") in text
        for note in baseline.notes:
            assert note in text
        for source in baseline.sources:
            assert source.text in text
    for claim in estimate_result.comparison.claims:
        assert claim.claim.text in text
        assert claim.reason in text
    assert "is other work, so these lines show the distance" in text  # two products are not BERT-Large


def test_an_estimate_says_which_alternatives_are_better(estimate_result: EstimateResult) -> None:
    _, second = estimate_sentences(estimate_result)
    rows = [row for row in estimate_result.comparison.rows() if row["name"] != "chip"]
    better = [row["title"] for row in rows if row["area_delay_ratio"] < 1]
    assert better, "the case is chosen so that there is one"
    assert second.startswith(f"By area-delay product {len(better)} of {len(rows)} alternatives")
    for title in better:
        assert title in second


def test_confusion_matrices_are_those_of_the_cells_in_the_result(
    make_evaluation: Callable[..., EvaluationResult],
) -> None:
    result = make_evaluation()
    section = cells_section(list(result.scores), "Cells", "cells")
    assert section.count("<figure>") == 3  # 1x, 5x, 12x; the ideal cell has nothing to show
    worst = result.scores[-1]
    assert worst.chip is not None
    matrix = confusion_matrix(chip_of(worst.chip).dense.cell)
    wrong = 1 - float(matrix.diagonal().mean())
    assert f"equally often: {significant(wrong, 2)}" in section
    assert f">{significant(float(matrix[3][2]), 2)}<" in section


def test_a_chip_is_rebuilt_exactly_from_its_fields() -> None:
    for name in ("wang2024", "wang2024_4bit_cells", "wang2024_2bit_lossy"):
        assert chip_of(dict(leaves(preset(name)))) == preset(name)


def test_chips_that_differ_in_a_field_are_shown_by_that_field(
    make_evaluation: Callable[..., EvaluationResult], document: dict[str, Any]
) -> None:
    text = " ".join(read(evaluation_report(make_evaluation(), document)).text)
    assert "wang2024, used for: wang2024, 5x — 1 field(s) changed" in text
    assert "switched off: the ideal or noiseless copy of the chip" in text
    assert text.count("name of the preset") == 1  # one chip in full, the others as changes


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    target = write_report(tmp_path / "report.html", "<!DOCTYPE html>")
    assert target.read_text(encoding="utf-8") == "<!DOCTYPE html>"
    with pytest.raises(UserError, match="Cannot write"):
        write_report(tmp_path / "missing" / "report.html", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
