"""The demonstration on tiny models, and its two sentences on numbers that are known."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from ohmformer.specs import leaves, preset
from ohmformer.verbs import EvaluationResult, Score, demonstrate, document, estimate
from ohmformer.verbs.demonstrating import accuracy_sentence, cost_sentence, noisy
from ohmformer.workloads import Metric


def metric(value: float, low: float, high: float) -> Metric:
    return Metric(name="accuracy", value=value, low=low, high=high, n=1000)


def score(label: str, value: float, change: tuple[float, float, float] | None) -> Score:
    return Score(
        label=label,
        metric=metric(value, value - 0.03, value + 0.03),
        values=(value,),
        seeds=(0,),
        repeat_low=None,
        repeat_high=None,
        difference=None if change is None else metric(*change),
        p_value=None,
        mode="collapsed",
        seconds=1.0,
        chip=None,
        chip_name=None,
        sources=None,
    )


def result(*scores: Score) -> EvaluationResult:
    return EvaluationResult(
        model="m", origin="o", task="t", source="s", kind="head", n=1000, chance=0.5, scores=scores, threads=1
    )


FP32_SCORE = score("fp32", 0.883, None)


def test_the_sentence_says_where_accuracy_is_first_lost_for_sure():
    found = result(
        FP32_SCORE,
        score("ideal chip", 0.881, (-0.002, -0.006, 0.002)),
        score("5x", 0.863, (-0.02, -0.030, -0.0149)),  # worse, but not by more than 1.5 points for sure
    )
    sweep = result(
        FP32_SCORE, score("7x", 0.80, (-0.083, -0.10, -0.0151)), score("9x", 0.6, (-0.28, -0.3, -0.25))
    )
    assert accuracy_sentence(found, sweep) == (
        "Of 1000 headlines fp32 classifies 88.3 %, ideal chip 88.1 % (−0.2 points), 5x 86.3 % (−2.0 points); "
        "it is first lost (more than 1.5 points, 95 % sure) at 7x: 80.0 %."
    )


def test_the_sentence_admits_that_nothing_failed():
    found = result(FP32_SCORE, score("ideal chip", 0.885, (0.002, -0.006, 0.01)))
    assert accuracy_sentence(found, result(FP32_SCORE)) == (
        "Of 1000 headlines fp32 classifies 88.3 %, ideal chip 88.5 % (+0.2 points); "
        "no tested amplitude loses more than 1.5 points with 95 % certainty."
    )


def report(area_mm2: float, latency_ms: float, energy_mJ: float) -> SimpleNamespace:
    return SimpleNamespace(
        area_m2=area_mm2 * 1e-6,
        latency_s=latency_ms * 1e-3,
        energy_J=energy_mJ * 1e-3,
        area_delay_mm2_s=area_mm2 * latency_ms * 1e-3,
        power_density_W_per_mm2=energy_mJ / latency_ms / area_mm2,
    )


def costed(*, within: bool, comparable: bool) -> SimpleNamespace:
    claim = SimpleNamespace(
        claim=SimpleNamespace(name="adp_chip", value=0.03),
        within=within,
        comparable=comparable,
    )
    comparison = SimpleNamespace(
        chip={"low": report(50, 0.5, 10), "typical": report(100, 0.5, 20), "high": report(200, 0.5, 40)},
        baseline=lambda name: {"digital_mac_dense": report(50, 0.5, 30)}[name],
        claims=(claim,),
    )
    return SimpleNamespace(model="bert-large", tokens=128, comparison=comparison)


@pytest.mark.parametrize(("within", "words"), [(True, "within"), (False, "outside")])
def test_the_costs_are_told_against_plain_logic_and_the_claim(within, words):
    """100 mm² · 0.5 ms = 0.05 mm²·s; plain logic has half of that and 1.5 times the energy."""
    assert cost_sentence(costed(within=within, comparable=True)) == (
        "One bert-large inference of 128 tokens costs 100 mm², 0.50 ms and 20.0 mJ at 0.40 W/mm², "
        "an area-delay product of 0.050 mm²·s (0.025 to 0.100) "
        f"(the paper states 0.03 mm²·s: {words} our interval); "
        "plain 32 nm int8 multipliers beside the same dense crossbar need 0.50 times that product and "
        "1.50 times the energy."
    )


def test_a_claim_about_other_work_is_not_held_against_this():
    assert "the paper states" not in cost_sentence(costed(within=False, comparable=False))


def test_the_costs_of_bert_large_are_those_of_the_estimate():
    found = estimate("bert-large", preset("wang2024"), batch=1, tokens=128)
    own = found.comparison.chip["typical"]
    sentence = cost_sentence(found)
    assert f"{own.area_m2 * 1e6:.0f} mm²" in sentence
    assert f"{own.latency_s * 1e3:.2f} ms" in sentence
    assert "the paper states 0.03 mm²·s" in sentence
    assert own.area_delay_mm2_s == pytest.approx(own.area_m2 * 1e6 * own.latency_s, rel=1e-12)


def test_noisy_scales_the_telegraph_noise_alone():
    chip = preset("wang2024")
    changed = leaves(noisy(chip, 5.0))
    assert changed.pop("dense.cell.noise.telegraph_scale") == 5.0
    assert changed.items() <= leaves(chip).items()


def test_the_whole_demonstration_on_tiny_models(make_folder):
    """Random weights say nothing of accuracy; everything else is as in the real one."""
    encoder, decoder = str(make_folder("bert")), str(make_folder("llama"))
    seen: set[str] = set()
    found = demonstrate(
        encoder=encoder,
        decoder=decoder,
        train=40,
        test=30,
        window=16,
        max_tokens=140,
        max_new_tokens=3,
        tokens=16,
        seed=1,
        progress=lambda label, *_: seen.add(label),
    )
    labels = [score.label for score in found.classification.scores]
    assert labels[:3] == ["fp32", "ideal chip", "2-bit cells, 1x"]
    assert "1-bit cells, 5x" in labels
    assert found.classification.n == 30
    assert found.sweep.scores[0] == found.classification.scores[0]
    scales = {s.label: s.chip["dense.cell.noise.telegraph_scale"] for s in found.sweep.scores[1:]}
    assert all(label.endswith(f" {scale:g}x") for label, scale in scales.items())
    assert min(scales.values()) > 5
    assert not set(scales) & set(labels)
    assert {s.label for s in found.perplexity.scores} == {"fp32", "ideal chip", "2-bit cells, 1x"}
    assert len(found.generation.texts) == 4
    assert [e.model for e in found.estimates] == [encoder, "bert-large"]
    assert found.verdict == (
        accuracy_sentence(found.classification, found.sweep),
        cost_sentence(found.estimates[-1]),
    )
    assert seen >= set(labels) | set(scales)
    content = json.loads(json.dumps(document("demo", found, []), allow_nan=False))
    assert content["result"]["verdict"] == list(found.verdict)
    assert math.isfinite(found.seconds)
