"""Which sections the report of a result has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ohmformer.reports.accuracy import amplitude_figure, evaluation_section, generation_section
from ohmformer.reports.cells import cells_section
from ohmformer.reports.costs import costs_section
from ohmformer.reports.hardware import Hardware, UsedChip
from ohmformer.reports.html import Html
from ohmformer.reports.numbers import integer
from ohmformer.reports.page import page
from ohmformer.reports.wording import estimate_sentences, evaluation_sentences

if TYPE_CHECKING:
    from ohmformer.verbs import DemoResult, EstimateResult, EvaluationResult, Score

__all__ = ["demo_report", "estimate_report", "evaluation_report"]


def demo_report(result: DemoResult, document: dict[str, Any]) -> str:
    """The page of a demonstration: accuracy, language, cells, costs, chips."""
    evaluations = (result.classification, result.sweep, result.perplexity)
    scores = [score for evaluation in evaluations for score in evaluation.scores]
    hardware = Hardware([*_chips_of_estimates(result.estimates), *_chips_of_scores(scores)])
    sections = [
        (
            "accuracy",
            "Accuracy",
            evaluation_section(
                result.classification,
                f"Accuracy: {result.classification.model} on {result.classification.task}",
                "accuracy",
                *_pictures(amplitude_figure((result.classification, result.sweep))),
            ),
        ),
        (
            "sweep",
            "Larger noise",
            evaluation_section(
                result.sweep, f"Larger amplitudes: {result.sweep.model} on {result.sweep.task}", "sweep"
            ),
        ),
        (
            "perplexity",
            "Perplexity",
            evaluation_section(
                result.perplexity,
                f"Language: {result.perplexity.model} on {result.perplexity.task}",
                "perplexity",
            ),
        ),
        (
            "texts",
            "Texts",
            generation_section(result.generation, f"Texts written by {result.generation.model}", "texts"),
        ),
        ("cells", "Cells", cells_section(scores, "Levels of the dense cells, stored and read", "cells")),
        *_cost_sections(result.estimates, hardware),
        ("chips", "Chips", hardware.section("The chips, field by field", "chips")),
    ]
    title = "A transformer on the two-crossbar chip"
    return page(title, result.verdict, sections, document)


def evaluation_report(result: EvaluationResult, document: dict[str, Any]) -> str:
    """The page of one evaluation."""
    hardware = Hardware(_chips_of_scores(result.scores))
    sections = [
        (
            "scores",
            "Scores",
            evaluation_section(
                result, "Scores", "scores", *_pictures(amplitude_figure((result,))), sentences=False
            ),
        ),
        (
            "cells",
            "Cells",
            cells_section(list(result.scores), "Levels of the dense cells, stored and read", "cells"),
        ),
        ("chips", "Chips", hardware.section("The chips, field by field", "chips")),
    ]
    return page(f"{result.model} on {result.task}", evaluation_sentences(result), sections, document)


def estimate_report(result: EstimateResult, document: dict[str, Any]) -> str:
    """The page of one estimate."""
    hardware = Hardware(_chips_of_estimates((result,)))
    sections = [
        *_cost_sections((result,), hardware, sentences=False),
        ("chips", "Chip", hardware.section("The chip, field by field", "chips")),
    ]
    return page(
        f"What {result.model} costs on {result.chip_name}", estimate_sentences(result), sections, document
    )


def _cost_sections(
    results: Iterable[EstimateResult], hardware: Hardware, *, sentences: bool = True
) -> list[tuple[str, str, Html]]:
    sections = []
    for index, result in enumerate(results):
        anchor = f"costs-{index}"
        heading = (
            f"Costs of {result.model}: {result.batch} × {integer(result.tokens)} tokens on {result.chip_name}"
        )
        sections.append(
            (
                anchor,
                f"Costs of {result.model}",
                costs_section(result, heading, anchor, hardware, sentences=sentences),
            )
        )
    return sections


def _pictures(picture: Html | None) -> tuple[Html, ...]:
    return () if picture is None else (picture,)


def _chips_of_estimates(results: Iterable[EstimateResult]) -> list[UsedChip]:
    return [
        UsedChip(
            label=f"costs of {result.model}",
            name=result.chip_name,
            fields=result.chip,
            sources=result.sources,
        )
        for result in results
    ]


def _chips_of_scores(scores: Iterable[Score]) -> list[UsedChip]:
    """Chips as the user named them first, those derived from them (ideal, other amplitudes) after."""
    found = [
        UsedChip(
            label=score.label,
            name=score.chip_name or score.label,
            fields=score.chip,
            sources=score.sources or {},
        )
        for score in scores
        if score.chip is not None
    ]
    return sorted(found, key=_changed)


def _changed(chip: UsedChip) -> int:
    return sum(source.text.startswith("set by the user") for source in chip.sources.values())
