"""What arXiv 2410.15977 claims, as data; nothing here enters a cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ohmformer.specs import Source

__all__ = ["ACCURACY_CLAIMS", "CLAIMS", "DERIVED_CLAIMS", "AccuracyClaim", "Claim"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published figure.

    kind:    ``area_delay`` (mm²·s), ``area_delay_ratio``, ``area_ratio`` and ``energy_ratio`` (other over
             chip), ``energy_saving`` (1 − chip over other)
    subject: ``chip``, or the name of the baseline it is about; ``tpu_v4 or a100``: the better of the two
    upper:   stated as "up to"
    """

    name: str
    text: str
    kind: Literal["area_delay", "area_delay_ratio", "area_ratio", "energy_ratio", "energy_saving"]
    subject: str
    value: float
    upper: bool = False

    @property
    def source(self) -> Source:
        """Where it was read."""
        return Source("paper", f"arXiv 2410.15977: {self.text}")


CLAIMS = (
    Claim(
        name="adp_chip",
        text="area-delay product .03 mm²·s on BERT-Large",
        kind="area_delay",
        subject="chip",
        value=0.03,
    ),
    Claim(
        name="adp_tpu_v4",
        text="area-delay product of TPUv4 2.24 mm²·s on BERT-Large",
        kind="area_delay",
        subject="tpu_v4",
        value=2.24,
    ),
    Claim(
        name="adp_a100",
        text="area-delay product of A100 2.04 mm²·s on BERT-Large",
        kind="area_delay",
        subject="a100",
        value=2.04,
    ),
    Claim(
        name="area_single_bit",
        text="area up to 39x below single-bit crossbars",
        kind="area_ratio",
        subject="single_bit_crossbar",
        value=39.0,
        upper=True,
    ),
    Claim(
        name="area_multi_bit",
        text="area up to 6x below multi-bit crossbars",
        kind="area_ratio",
        subject="multi_bit_crossbar",
        value=6.0,
        upper=True,
    ),
    Claim(
        name="energy_multi_bit",
        text="energy up to 18x below multi-bit crossbars",
        kind="energy_ratio",
        subject="multi_bit_crossbar",
        value=18.0,
        upper=True,
    ),
    Claim(
        name="energy_single_bit",
        text="energy up to 3x below single-bit crossbars",
        kind="energy_ratio",
        subject="single_bit_crossbar",
        value=3.0,
        upper=True,
    ),
    Claim(
        name="energy_tpu_v4",
        text="energy 69 % below TPU/GPU (TPUv4)",
        kind="energy_saving",
        subject="tpu_v4",
        value=0.69,
    ),
    Claim(
        name="energy_a100",
        text="energy 69 % below TPU/GPU (A100)",
        kind="energy_saving",
        subject="a100",
        value=0.69,
    ),
)

# What follows from the published figures and is said of them.
DERIVED_CLAIMS = (
    Claim(
        name="adp_ratio",
        text="area-delay product at least 68x below that of TPUv4 and A100 on BERT-Large",
        kind="area_delay_ratio",
        subject="tpu_v4 or a100",
        value=68.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class AccuracyClaim:
    """A published score: ``before`` on the host, ``after`` on the chip; ``instead``: what we measured."""

    name: str
    model: str
    task: str
    metric: str
    before: float
    after: float
    instead: str

    @property
    def text(self) -> str:
        """What is claimed, in words."""
        return f"{self.model} on {self.task}: {self.before:g} becomes {self.after:g}"

    @property
    def source(self) -> Source:
        """Where it was read."""
        return Source("paper", f"arXiv 2410.15977: {self.text}")


# The README's table and docs/tolerance.md say how these were measured; a test holds these sentences to it.
ENCODER_INSTEAD = (
    "MiniLM, 1,000 sarcasm headlines: fp32 76.3 %, ideal chip 76.0 %, 2-bit cells at 5x "
    "telegraph noise 75.4 %, 1-bit cells at 18x 76.0 %."
)
DECODER_INSTEAD = (
    "SmolLM2-135M, perplexity on 1,023 tokens: fp32 18.0, ideal chip 18.9, 2-bit cells at 1x 18.9."
)


def _scores(
    model: str, metric: str, instead: str, scores: dict[str, tuple[float, float]]
) -> tuple[AccuracyClaim, ...]:
    return tuple(
        AccuracyClaim(
            name=f"{model} {task}".lower().replace(" ", "_").replace("-", "_"),
            model=model,
            task=task,
            metric=metric,
            before=before,
            after=after,
            instead=instead,
        )
        for task, (before, after) in scores.items()
    )


ACCURACY_CLAIMS = (
    *_scores("BERT-Base", "GLUE", ENCODER_INSTEAD, {"CoLA": (58.03, 59.07), "SST-2": (93.00, 93.12)}),
    *_scores("BERT-Large", "GLUE", ENCODER_INSTEAD, {"CoLA": (62.63, 62.43)}),
    *_scores(
        "Phi-1.5",
        "accuracy",
        DECODER_INSTEAD,
        {
            "WinoGrande": (0.729, 0.717),
            "ARC-E": (0.762, 0.756),
            "ARC-C": (0.445, 0.451),
            "PIQA": (0.766, 0.755),
            "MMLU": (0.418, 0.394),
        },
    ),
    *_scores("GPT-2", "accuracy", DECODER_INSTEAD, {"WinoGrande": (0.516, 0.510), "ARC-E": (0.438, 0.406)}),
)
