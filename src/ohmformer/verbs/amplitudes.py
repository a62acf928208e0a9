"""``amplitudes``: an encoder and a decoder against the amplitude of one noise, on several machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, preset, without_noise
from ohmformer.specs.noises import scaled
from ohmformer.verbs.evaluating import (
    FP32,
    EvaluationResult,
    Setup,
    Step,
    evaluate_head,
    evaluate_perplexity,
)
from ohmformer.verbs.journal import Journal
from ohmformer.workloads import load_classification, load_text

__all__ = ["GRID", "NO_NOISE", "AmplitudePoint", "AmplitudeResult", "measure_amplitudes"]

NO_NOISE = "chip without noise"

# where misreads of the top level of each kind of cell, in closed form, rise from rare to half of its reads
GRID: Mapping[str, tuple[float, ...]] = {
    "wang2024_1bit_cells": (18.0, 30.0, 34.0),
    "wang2024": (1.0, 5.0, 6.0, 7.0),
    "wang2024_4bit_cells": (1.0,),
}


@dataclass(frozen=True, kw_only=True)
class AmplitudePoint:
    """Which setup stands at which place of the picture.

    label: of the setup in both evaluations
    amplitude: multiple of the chip's own
    """

    label: str
    chip_name: str
    cell_bits: int
    amplitude: float


@dataclass(frozen=True, kw_only=True)
class AmplitudeResult:
    """Scores of an encoder (accuracy) and of a decoder (perplexity); None where one was left out."""

    noise: str
    points: tuple[AmplitudePoint, ...]
    encoder: EvaluationResult | None
    decoder: EvaluationResult | None


def measure_amplitudes(
    encoder: str | None = "minilm",
    decoder: str | None = "smollm2",
    *,
    chips: Sequence[ChipSpec] | None = None,
    amplitudes: Sequence[float] | None = None,
    noise: str = "telegraph",
    task: str = "sarcasm",
    text: str = "wikipedia-sample",
    train: int = 2000,
    test: int = 500,
    max_tokens: int = 1024,
    window: int = 256,
    encoder_repeat: int = 3,
    decoder_repeat: int = 2,
    seed: int = 1,
    journal: Journal | None = None,
    progress: Step | None = None,
) -> AmplitudeResult:
    """Put both models on every chip at every amplitude of one noise; all other noises stay as they are.

    encoder, decoder: models; None leaves one out
    chips, amplitudes: None takes GRID
    test, max_tokens: texts and tokens, the same ones at every amplitude
    encoder_repeat, decoder_repeat: physical chips at every amplitude
    seed: of the split into training and test texts; the chips have the seeds from it on

    Error: UserError where a chip has none of the noise, and for an amplitude that it does not allow.
    """
    if encoder is None and decoder is None:
        raise UserError("Neither an encoder nor a decoder is given: give at least one.")
    machines = [preset(name) for name in GRID] if chips is None else list(chips)
    points, setups = [], [FP32, Setup(label=NO_NOISE, chip=without_noise(machines[0]))]
    for chip in machines:
        own = tuple(amplitudes) if amplitudes else GRID.get(chip.name, GRID["wang2024"])
        for amplitude in sorted(set(own)):
            label = f"{chip.name}, {amplitude:g}x {noise} noise"
            setups.append(Setup(label=label, chip=scaled(chip, noise, amplitude)))
            points.append(
                AmplitudePoint(
                    label=label, chip_name=chip.name, cell_bits=chip.dense.cell.bits, amplitude=amplitude
                )
            )
    common: dict[str, Any] = {"seed": seed, "journal": journal, "progress": progress}
    accuracy = perplexity = None
    if encoder is not None:
        texts = load_classification(task)
        accuracy = evaluate_head(
            encoder,
            texts.split(train, test, seed),
            setups,
            source=texts.source,
            repeat=encoder_repeat,
            **common,
        )
    if decoder is not None:
        perplexity = evaluate_perplexity(
            decoder,
            load_text(text),
            setups,
            window=window,
            stride=window // 2,
            max_tokens=max_tokens,
            repeat=decoder_repeat,
            **common,
        )
    return AmplitudeResult(noise=noise, points=tuple(points), encoder=accuracy, decoder=perplexity)
