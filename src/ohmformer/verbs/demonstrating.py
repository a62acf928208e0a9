"""``demonstrate``: the main job on the embedded models and data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ohmformer.specs import ChipSpec, ideal, override, preset
from ohmformer.verbs.estimating import EstimateResult, estimate
from ohmformer.verbs.evaluating import FP32, EvaluationResult, Setup, evaluate_head, evaluate_perplexity
from ohmformer.verbs.generating import GenerationResult, generate
from ohmformer.verbs.journal import Journal
from ohmformer.workloads import load_classification, load_text

PROMPTS = ("The capital of France is", "Once upon a time")
SWEEP = (6.0, 7.0, 8.0)
ONE_BIT_SWEEP = (18.0,)  # what the paper states for 1-bit cells
SCALE = "dense.cell.noise.telegraph_scale"


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Everything the demonstration found.

    classification: sarcasm headlines: fp32, ideal chip, noisy chips at 1x and 5x telegraph noise with 2- and
                    1-bit cells
    sweep:          the same task at larger amplitudes, until it fails
    verdict:        two sentences, made from the numbers above
    """

    classification: EvaluationResult
    sweep: EvaluationResult
    perplexity: EvaluationResult
    generation: GenerationResult
    estimates: tuple[EstimateResult, ...]
    verdict: tuple[str, str]
    seconds: float


def noisy(chip: ChipSpec, scale: float) -> ChipSpec:
    """``chip`` with its telegraph noise scaled."""
    return override(chip, {SCALE: scale})


def demonstrate(
    *,
    encoder: str = "minilm",
    decoder: str = "smollm2",
    train: int = 2000,
    test: int = 1000,
    window: int = 256,
    max_tokens: int = 1024,
    max_new_tokens: int = 24,
    tokens: int = 128,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> DemoResult:
    """Run the main job: classify, speak, estimate.

    encoder, decoder: the models that classify and that write
    train, test: headlines for the head and for the test
    window, max_tokens: of the perplexity, in tokens
    max_new_tokens: of each generated text
    tokens: of one sequence in the estimates
    journal:     finished parts of an interrupted run are not repeated
    """
    started = time.perf_counter()
    chip, one_bit = preset("wang2024"), preset("wang2024_1bit_cells")
    task = load_classification("sarcasm")
    split = task.split(train, test, seed)
    setups = [
        FP32,
        Setup(label="ideal chip", chip=ideal(chip)),
        Setup(label="2-bit cells, 1x", chip=chip),
        Setup(label="2-bit cells, 5x", chip=noisy(chip, 5.0)),
        Setup(label="1-bit cells, 1x", chip=one_bit),
        Setup(label="1-bit cells, 5x", chip=noisy(one_bit, 5.0)),
    ]
    larger = [Setup(label=f"2-bit cells, {x:g}x", chip=noisy(chip, x)) for x in SWEEP]
    larger += [Setup(label=f"1-bit cells, {x:g}x", chip=noisy(one_bit, x)) for x in ONE_BIT_SWEEP]
    both = evaluate_head(
        encoder, split, setups + larger, source=task.source, seed=seed, journal=journal, progress=progress
    )
    classification = replace(both, scores=both.scores[: len(setups)])
    sweep = replace(both, scores=(both.scores[0], *both.scores[len(setups) :]))
    language = [FP32, Setup(label="ideal chip", chip=ideal(chip)), Setup(label="2-bit cells, 1x", chip=chip)]
    text = load_text("wikipedia-sample")
    perplexity = evaluate_perplexity(
        decoder,
        text,
        language,
        window=window,
        stride=window // 2,
        max_tokens=max_tokens,
        seed=seed,
        journal=journal,
        progress=progress,
    )
    generation = generate(
        decoder, PROMPTS, [FP32, language[2]], max_new_tokens=max_new_tokens, seed=seed, progress=progress
    )
    estimates = (
        estimate(encoder, chip, batch=1, tokens=tokens),
        estimate("bert-large", chip, batch=1, tokens=tokens),
    )
    return DemoResult(
        classification=classification,
        sweep=sweep,
        perplexity=perplexity,
        generation=generation,
        estimates=estimates,
        verdict=(accuracy_sentence(classification, sweep), cost_sentence(estimates[-1])),
        seconds=time.perf_counter() - started,
    )


def accuracy_sentence(found: EvaluationResult, sweep: EvaluationResult) -> str:
    """What the accuracies say: kept or lost, at which amplitude."""
    reference = found.scores[0]
    parts = [
        f"{score.label} {100 * score.metric.value:.1f} % ({_points(score.difference.value)})"
        for score in found.scores[1:]
        if score.difference is not None
    ]
    failed = [
        score
        for score in (*found.scores[1:], *sweep.scores[1:])
        if score.difference is not None and score.difference.high < -0.015
    ]
    end = (
        f"it is first lost (more than 1.5 points, 95 % sure) at {failed[0].label}: "
        f"{100 * failed[0].metric.value:.1f} %."
        if failed
        else "no tested amplitude loses more than 1.5 points with 95 % certainty."
    )
    return (
        f"Of {found.n} headlines fp32 classifies {100 * reference.metric.value:.1f} %, "
        + ", ".join(parts)
        + f"; {end}"
    )


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points".replace("-", "−")


def cost_sentence(found: EstimateResult) -> str:
    """What the costs say, against plain digital logic and against the paper where it made the same claim."""
    own = found.comparison.chip["typical"]
    low, high = found.comparison.chip["low"], found.comparison.chip["high"]
    plain = found.comparison.baseline("digital_mac_dense")
    ratio = own.area_delay_mm2_s / plain.area_delay_mm2_s
    energy = own.energy_J / plain.energy_J
    claims = {row.claim.name: row for row in found.comparison.claims}
    claim = claims.get("adp_chip")
    stated = ""
    if claim is not None and claim.comparable:
        stated = (
            f" (the paper states {claim.claim.value:g} mm²·s: "
            + ("within our interval" if claim.within else "outside our interval")
            + ")"
        )
    return (
        f"One {found.model} inference of {found.tokens} tokens costs {own.area_m2 * 1e6:.0f} mm², "
        f"{own.latency_s * 1e3:.2f} ms and {own.energy_J * 1e3:.1f} mJ at "
        f"{own.power_density_W_per_mm2:.2f} W/mm², an area-delay product of {own.area_delay_mm2_s:.3f} mm²·s "
        f"({low.area_delay_mm2_s:.3f} to {high.area_delay_mm2_s:.3f}){stated}; plain 32 nm int8 multipliers "
        f"beside the same dense crossbar need {1 / ratio:.2f} times that product and "
        f"{1 / energy:.2f} times the energy."
    )
