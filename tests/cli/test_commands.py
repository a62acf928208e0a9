"""Each command from arguments to document, on tiny models."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ohmformer.costs as costs
from ohmformer import verbs
from ohmformer.cli import chips, deploy, finetune, models
from ohmformer.deploy import CoverageRow, load_deployed, on_chip
from ohmformer.specs import Source, preset
from ohmformer.workloads import Metric

Command = Callable[..., Any]
DOCUMENT = Path(__file__).parents[2] / "docs" / "json-schema.md"


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"schema", "command", "versions", "result"}
    return content


def test_evaluate_with_a_head(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "out.json", tmp_path / "out.html"
    ended = command(
        "evaluate", make_model("bert"), "--task", table, "--train", 40, "--test", 20, "--noise-scale", 1,
        "--noise-scale", 30, "--seed", 4, "--repeat", 2, "--json", out, "--report", report,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    content = load(out)
    assert content["schema"] == "ohmformer.evaluation/1"
    result = content["result"]
    assert [score["label"] for score in result["scores"]] == [
        "fp32",
        "ideal chip",
        "wang2024, 1x telegraph noise",
        "wang2024, 30x telegraph noise",
    ]
    assert (result["kind"], result["n"], result["chance"]) == ("head", 20, 0.5)
    assert result["scores"][0]["seeds"] == [4]
    assert result["scores"][2]["seeds"] == [4, 5]
    for score in result["scores"]:
        metric = score["metric"]
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert round(metric["value"] * 20) == pytest.approx(metric["value"] * 20, abs=1e-9)
        assert f"{100 * sum(score['values']) / len(score['values']):.1f} %" in ended.out
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_evaluate_a_classifier(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    ended = command(
        "evaluate", make_model("classifier"), "--task", table, "--test", 12, "--no-ideal", "--json", out
    )
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    assert result["kind"] == "classifier"
    assert [score["label"] for score in result["scores"]] == ["fp32", "wang2024"]


def test_evaluate_perplexity(
    command: Command, make_model: Callable[[str], Path], book: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    ended = command(
        "evaluate", make_model("llama"), "--task", book, "--window", 16, "--stride", 8, "--limit", 160,
        "--no-ideal", "--json", out,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    assert result["kind"] == "perplexity"
    assert result["n"] == 159  # the first token is not predicted
    assert all(score["metric"]["value"] > 1 for score in result["scores"])


def test_evaluate_choices(
    command: Command, make_model: Callable[[str], Path], quiz: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    ended = command(
        "evaluate", make_model("llama"), "--task", quiz, "--limit", 5, "--no-ideal", "--json", out
    )
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    assert (result["kind"], result["n"], result["chance"]) == ("choices", 5, 0.5)


def test_generate(command: Command, make_model: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ended = command(
        "generate",
        make_model("llama"),
        "the cat",
        "a [dog]",
        "--max-new-tokens",
        3,
        "--no-ideal",
        "--json",
        out,
    )
    assert ended.code == 0, ended.err
    texts = load(out)["result"]["texts"]
    assert [(text["label"], text["prompt"]) for text in texts] == [
        ("fp32", "the cat"),
        ("fp32", "a [dog]"),
        ("wang2024", "the cat"),
        ("wang2024", "a [dog]"),
    ]
    assert "a [dog]" in ended.out
    for text in texts:
        assert text["text"].strip().split()[0] in ended.out


def test_estimate(command: Command, make_model: Callable[[str], Path], tmp_path: Path) -> None:
    out, report = tmp_path / "out.json", tmp_path / "out.html"
    folder = make_model("bert")
    ended = command("estimate", folder, "--tokens", 8, "--batch", 2, "--json", out, "--report", report)
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    # One BERT layer of width 16 and 32 in between, 2 x 8 tokens: four projections, two matrices of the
    # feed-forward part; the pooler is one more projection of 2 rows.
    assert result["macs_by_resident"]["weight"] == 2 * 8 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 16 * 16
    typical = result["comparison"]["chip"]["typical"]
    assert typical["area_m2"] == pytest.approx(sum(term["total"] for term in typical["area"]), rel=1e-12)
    assert {row["name"] for row in result["comparison"]["rows"]} >= {"chip", "a100", "tpu_v4", "digital_mac"}
    assert str(folder) in ended.out
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_deploy_saves_what_loads_again(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    out, folder = tmp_path / "out.json", tmp_path / "deployed"
    ended = command(
        "deploy",
        make_model("bert"),
        "--save",
        folder,
        "--set",
        "dense.cell.bits=1",
        "--seed",
        5,
        "--json",
        out,
    )
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    assert (result["task"], result["seed"], result["folder"]) == ("encoder", 5, str(folder))
    assert result["coverage"]
    assert "computation crossbar" in ended.out
    state = on_chip(load_deployed(folder))
    assert state.seed == 5
    assert state.chip.dense.cell.bits == 1
    again = command("deploy", "no such model", "--save", folder)
    assert again.code == 2
    assert "exists already" in again.sentence


def test_finetune_then_evaluate(
    command: Command, make_model: Callable[[str], Path], table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    ended = command(
        "finetune", make_model("bert"), "--task", table, "--train", 40, "--test", 16, "--seed", 1,
        "--cache", tmp_path / "cache", "--json", out,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    result = load(out)["result"]
    assert (result["train"], result["test"], result["seed"]) == (40, 16, 1)
    folder = result["folder"]
    assert Path(folder).is_dir()
    assert folder in ended.out
    measure = ("evaluate", folder, "--task", table, "--test", 16, "--no-ideal")
    good = command(*measure, "--seed", 1)
    assert good.code == 0, good.err
    assert "classifier" in good.out
    bad = command(*measure, "--seed", 2)
    assert bad.code == 2
    assert "--seed 1" in bad.sentence


def test_models(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    ended = command("models", "--json", out)
    assert ended.code == 0, ended.err
    found = {model["name"]: model for model in load(out)["result"]}
    assert {"minilm", "smollm2", "rxnmapper"} <= set(found)
    assert all(model["licence"] for model in found.values())


def test_the_demo_writes_its_report_and_ends_with_the_verdict(
    command: Command, monkeypatch: pytest.MonkeyPatch, make_model: Callable[[str], Path], tmp_path: Path,
    table: Path, book: Path,
) -> None:  # fmt: skip
    """The verb itself is tested with the verbs; here a small run of the same parts stands in for it."""
    chip = preset("wang2024")
    setups = [verbs.FP32, verbs.Setup(label="2-bit cells, 1x", chip=chip)]
    encoder, decoder = str(make_model("bert")), str(make_model("llama"))
    from ohmformer.workloads import load_classification, load_text

    asked: dict[str, Any] = {}

    def small(**options: Any) -> verbs.DemoResult:
        asked.update(options)
        task = load_classification(str(table))
        scores = verbs.evaluate_head(encoder, task.split(30, 20, options["seed"]), setups, source=task.source)
        return verbs.DemoResult(
            classification=scores,
            sweep=scores,
            perplexity=verbs.evaluate_perplexity(
                decoder, load_text(str(book)), setups, window=16, stride=8, max_tokens=160
            ),
            generation=verbs.generate(decoder, ["the cat"], setups, max_new_tokens=2),
            estimates=(verbs.estimate(encoder, chip, tokens=8),),
            verdict=("First sentence.", "Second sentence."),
            seconds=1.0,
        )

    monkeypatch.setattr(verbs, "demonstrate", small)
    out = tmp_path / "a" / "reports"
    ended = command("demo", "--out", out, "--train", 30, "--test", 20, "--seed", 2)
    assert ended.code == 0, ended.err
    assert (asked["train"], asked["test"], asked["seed"], asked["journal"]) == (30, 20, 2, None)
    assert ended.out.strip().splitlines()[-2:] == ["First sentence.", "Second sentence."]
    assert str(out / "report.html") in ended.out
    assert load(out / "report.json")["schema"] == "ohmformer.demo/1"
    assert "First sentence." in (out / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize(
    "kind",
    [
        verbs.EvaluationResult,
        verbs.Score,
        Metric,
        verbs.GenerationResult,
        verbs.GeneratedText,
        verbs.EstimateResult,
        verbs.DemoResult,
        CoverageRow,
        costs.Baseline,
        costs.ClaimRow,
        costs.Claim,
        costs.StepCost,
        costs.Counts,
        Source,
        deploy.Deployment,
        finetune.Finetuning,
        models.KnownModel,
        chips.NamedChip,
        chips.ChipField,
        chips.Change,
    ],
    ids=lambda kind: kind.__name__,
)
def test_the_schema_is_documented_field_by_field(kind: type) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in text]
    assert missing == []


def test_the_derived_fields_of_costs_are_documented(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert command("estimate", make_model("bert"), "--tokens", 4, "--json", out).code == 0
    comparison = load(out)["result"]["comparison"]
    typical = comparison["chip"]["typical"]
    names = {*comparison, *typical, *comparison["rows"][0], *typical["area"][0], *typical["steps"][0]}
    documented = set(re.findall(r"`(\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert names - documented == set()
