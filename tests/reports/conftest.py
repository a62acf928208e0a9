"""Results as the verbs return them, made without running a model; costs are estimated for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ohmformer.costs import compare
from ohmformer.deploy import CoverageRow
from ohmformer.ir import DenseRead, FunctionCall, Product, Program
from ohmformer.specs import ChipSpec, ideal, leaves, override, preset, sources_of
from ohmformer.verbs import (
    DemoResult,
    EstimateResult,
    EvaluationResult,
    GeneratedText,
    GenerationResult,
    Score,
)
from ohmformer.workloads import accuracy_interval, paired_difference, perplexity_interval

COMMAND = ["ohmformer", "evaluate", "it's; <b>", "--seed", "3"]


def _score(
    label: str, right: list[int], reference: list[int], chip: ChipSpec | None, **changes: Any
) -> Score:
    paired = paired_difference(reference, right) if chip is not None else None
    metric = accuracy_interval(right)
    options: dict[str, Any] = {
        "label": label,
        "metric": metric,
        "values": (metric.value,),
        "seeds": (3,),
        "repeat_low": None,
        "repeat_high": None,
        "difference": paired.difference if paired else None,
        "p_value": paired.p_value if paired else None,
        "mode": "collapsed" if chip is not None else "torch",
        "seconds": 1.25,
        "chip": dict(leaves(chip)) if chip is not None else None,
        "chip_name": chip.name if chip is not None else None,
        "sources": dict(sources_of(chip)) if chip is not None else None,
    }
    return Score(**{**options, **changes})


def _noisy(scale: float, name: str = "wang2024") -> ChipSpec:
    return override(preset(name), {"dense.cell.noise.telegraph_scale": scale})


@pytest.fixture
def make_evaluation() -> Callable[..., EvaluationResult]:
    """An accuracy on 40 items: fp32 36 right, ideal 36, 1x 35, 5x 35, 12x 18."""

    def make(**changes: Any) -> EvaluationResult:
        def flags(wrong: int) -> list[int]:
            return [0] * wrong + [1] * (40 - wrong)

        reference = flags(4)
        scores = (
            _score("fp32", reference, reference, None),
            _score("ideal chip", flags(4), reference, ideal(preset("wang2024"))),
            _score("wang2024", flags(5), reference, preset("wang2024")),
            _score("wang2024, 5x", flags(5), reference, _noisy(5.0)),
            _score("wang2024, 12x", flags(22), reference, _noisy(12.0)),
        )
        options: dict[str, Any] = {
            "model": "tiny",
            "origin": "local tiny",
            "task": "headlines",
            "source": "local file headlines.csv",
            "kind": "head",
            "n": 40,
            "chance": 0.55,
            "scores": scores,
            "threads": 1,
        }
        return EvaluationResult(**{**options, **changes})

    return make


@pytest.fixture
def perplexity_result() -> EvaluationResult:
    nll = [0.5 + 0.01 * (index % 7) for index in range(256)]
    metric = perplexity_interval(nll)
    chip = preset("wang2024")
    worse = perplexity_interval([value + 0.02 for value in nll])
    empty: list[int] = [1]
    return EvaluationResult(
        model="tiny",
        origin="local tiny",
        task="book",
        source="local file book.txt",
        kind="perplexity",
        n=256,
        chance=None,
        scores=(
            _score("fp32", empty, empty, None, metric=metric, values=(metric.value,)),
            _score(
                "wang2024",
                empty,
                empty,
                chip,
                metric=worse,
                values=(worse.value,),
                difference=metric,
                p_value=None,
            ),
        ),
        threads=1,
    )


@pytest.fixture(scope="session")
def estimate_result() -> EstimateResult:
    """Two small products, a function and a read, costed for real."""
    program = Program(
        name="two <products>",
        batch=1,
        tokens=16,
        subops=(
            DenseRead(module="embeddings", operation="embedding", words=16 * 64),
            Product(
                module="layer.0",
                operation="linear",
                batch=1,
                rows=16,
                inner=64,
                columns=64,
                resident="weight",
            ),
            FunctionCall(module="layer.0", operation="activation", function="gelu", elements=16 * 64),
            Product(
                module="layer.0",
                operation="matmul",
                batch=2,
                rows=16,
                inner=32,
                columns=16,
                resident="activation",
            ),
        ),
        stored_words=64 * 64 + 64,
    )
    chip = preset("wang2024")
    return EstimateResult(
        model=program.name,
        phase="encode",
        batch=1,
        tokens=16,
        context=0,
        assumptions=(),
        macs=program.macs,
        macs_by_resident=program.macs_by_resident(),
        evaluations=program.evaluations(),
        stored_words=program.stored_words,
        comparison=compare(program, chip),
        coverage=(
            CoverageRow(module="layer.*", operation="linear", where="computation crossbar", why="", calls=2),
        ),
        chip=dict(leaves(chip)),
        chip_name=chip.name,
        sources=dict(sources_of(chip)),
        seconds=0.5,
    )


@pytest.fixture
def demo_result(
    make_evaluation: Callable[..., EvaluationResult],
    perplexity_result: EvaluationResult,
    estimate_result: EstimateResult,
) -> DemoResult:
    texts = tuple(
        GeneratedText(
            label=label,
            chip_name=chip,
            prompt="Once <i>upon</i>",
            text=text,
            tokens=3,
            seconds=0.5,
            mode="torch" if chip is None else "collapsed",
        )
        for label, chip, text in (("fp32", None, " a time & a place"), ("wang2024", "wang2024", " <script>x"))
    )
    return DemoResult(
        classification=make_evaluation(),
        sweep=make_evaluation(n=40),
        perplexity=perplexity_result,
        generation=GenerationResult(model="tiny", origin="local tiny", temperature=0.0, seed=3, texts=texts),
        estimates=(estimate_result,),
        verdict=("Nothing is lost at 1x & 5x.", "It costs <this>."),
        seconds=3.0,
    )


@pytest.fixture
def document() -> dict[str, Any]:
    return {
        "schema": "ohmformer.demo/1",
        "command": COMMAND,
        "versions": {"ohmformer": "0.1.0", "torch": "2.13.0"},
        "result": None,
    }
