"""``tune``: fine-tune a classifier with the chip in the loop, and compare it with the plainly tuned one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ohmformer.deploy import deploy
from ohmformer.deploy.straight_through import StraightThrough
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, leaves, override
from ohmformer.verbs.evaluating import FP32, Setup, Step
from ohmformer.verbs.work import BATCH_TOKENS
from ohmformer.workloads import (
    ClassificationSplit,
    Metric,
    PairedDifference,
    TextClassificationTask,
    accuracy_interval,
    finetune_classifier,
    load_model,
    paired_difference,
    predict_classifier,
)

__all__ = ["ChipInTheLoop", "TunedPair", "TunedScore", "compare_tuned", "tune_on_chip", "validation_split"]

TELEGRAPH = "dense.cell.noise.telegraph_scale"
RAMP_STEPS = 16
_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class ChipInTheLoop:
    """Training passes through a chip: other misreads in every step, of freshly programmed cells.

    chip:      the hardware at the amplitude that the model shall bear
    seed:      of the misreads; step s draws from (seed, s) alone
    ramp_from: telegraph amplitude of the first step, in units of the published one; it rises linearly, in
               RAMP_STEPS steps, to the chip's own. None begins with the chip's own
    ramp:      share of the training during which it rises
    """

    chip: ChipSpec
    seed: int = 0
    ramp_from: float | None = None
    ramp: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.ramp <= 1:
            raise UserError(
                f"ramp is {self.ramp!r}: it must be a share of the training, above 0 and at most 1."
            )
        if self.ramp_from is not None and not 0 <= self.ramp_from <= self._full:
            raise UserError(
                f"ramp_from is {self.ramp_from!r}: it must lie between 0 and the chip's own telegraph "
                f"amplitude, {self._full:g}."
            )

    @property
    def _full(self) -> float:
        return self.chip.dense.cell.noise.telegraph_scale

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the trained weights depend on."""
        return {
            "straight_through": 1,
            "chip": leaves(self.chip),
            "seed": self.seed,
            "ramp_from": self.ramp_from,
            "ramp": self.ramp,
        }

    def amplitude(self, step: int, steps: int) -> float:
        """Telegraph amplitude of a step."""
        if self.ramp_from is None:
            return self._full
        share = min(1.0, (step + 1) / (self.ramp * steps))
        return self.ramp_from + (self._full - self.ramp_from) * math.ceil(share * RAMP_STEPS) / RAMP_STEPS

    def on(self, model: nn.Module) -> Callable[[dict[str, Tensor], int, int], Tensor]:
        """The forward run of ``model`` in one step, on the chip of that step."""
        latest: dict[float, StraightThrough] = {}

        def forward(inputs: dict[str, Tensor], step: int, steps: int) -> Tensor:
            amplitude = self.amplitude(step, steps)
            if amplitude not in latest:
                latest.clear()
                latest[amplitude] = StraightThrough(model, override(self.chip, {TELEGRAPH: amplitude}))
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % (1 << 63))
            with latest[amplitude].drawing(generator):
                logits: Tensor = model(**inputs).logits
            return logits

        return forward


def tune_on_chip(
    start: str,
    split: ClassificationSplit,
    loop: ChipInTheLoop,
    *,
    epochs: int = 1,
    lr: float = 1e-4,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Go on training the classifier in the folder ``start`` with a chip in the loop; a new folder.

    The seed of ``loop`` is also that of the order of the texts and of dropout. Everything else is as in
    ``finetune_classifier``: kept, found again, resumed.
    """
    return finetune_classifier(
        start,
        split,
        epochs=epochs,
        lr=lr,
        seed=loop.seed,
        cache_dir=cache_dir,
        progress=progress,
        through=loop,
    )


def validation_split(
    task: TextClassificationTask, split: ClassificationSplit, texts: int
) -> ClassificationSplit:
    """``split`` with its test half replaced by texts that are in neither half of it.

    Error: UserError where fewer than ``texts`` are left.
    """
    used = {*split.train_texts, *split.test_texts}
    left = [(text, label) for text, label in zip(task.texts, task.labels, strict=True) if text not in used]
    if not 1 <= texts <= len(left):
        raise UserError(
            f"{task.name} has {len(left)} texts left for validation beside {len(used)}; asked for were "
            f"{texts}."
        )
    order = torch.randperm(len(left), generator=torch.Generator().manual_seed(split.seed)).tolist()[:texts]
    return ClassificationSplit(
        task_name=split.task_name,
        label_names=split.label_names,
        train_texts=split.train_texts,
        train_labels=split.train_labels,
        test_texts=tuple(left[at][0] for at in order),
        test_labels=tuple(left[at][1] for at in order),
        seed=split.seed,
    )


@dataclass(frozen=True, kw_only=True)
class TunedPair:
    """Both classifiers on one physical chip (or in fp32), on the same texts.

    seed:     of the chip, None for fp32
    gain:     accuracy of the one trained with the chip minus that of the plain one, paired
    """

    seed: int | None
    plain: Metric
    on_chip: Metric
    gain: PairedDifference


@dataclass(frozen=True, kw_only=True)
class TunedScore:
    """Both classifiers on one setup, over physical chips.

    pairs:     one for each seed
    plain, on_chip: mean accuracy over the chips
    gain:      mean over chips of the paired difference; its interval is of the mean over texts of each text's
               own mean over the chips, so it covers other texts, these chips
    """

    label: str
    pairs: tuple[TunedPair, ...]
    plain: float
    on_chip: float
    gain: Metric


def compare_tuned(
    plain: str,
    on_chip: str,
    split: ClassificationSplit,
    setups: Sequence[Setup],
    *,
    seeds: Sequence[int],
    progress: Step | None = None,
) -> tuple[TunedScore, ...]:
    """Two classifier folders on the test texts of ``split``: in fp32, and on every chip with every seed."""
    if not seeds:
        raise UserError("There is no chip seed: give at least one.")
    models = {name: load_model(name, task="classifier") for name in (plain, on_chip)}
    truth = np.array(split.test_labels)

    def correct(name: str, setup: Setup, seed: int) -> np.ndarray[Any, Any]:
        loaded = models[name]
        running = loaded.model if setup.chip is None else deploy(loaded.model, setup.chip, seed=seed)
        label = f"{setup.label}, {'plain' if name == plain else 'trained on the chip'}"
        found = predict_classifier(
            running,
            loaded.tokenizer,
            split.test_texts,
            label_names=split.label_names,
            batch_tokens=BATCH_TOKENS,
            progress=None if progress is None else lambda done, total: progress(label, done, total),
        )
        return np.asarray(found == truth)

    scores = []
    for setup in [FP32, *(setup for setup in setups if setup.chip is not None)]:
        pairs, gains = [], []
        for seed in seeds if setup.chip is not None else (None,):
            first, second = (correct(name, setup, seed or 0) for name in (plain, on_chip))
            gains.append(second.astype(float) - first)
            pairs.append(
                TunedPair(
                    seed=seed,
                    plain=accuracy_interval(first),
                    on_chip=accuracy_interval(second),
                    gain=paired_difference(first, second),
                )
            )
        scores.append(
            TunedScore(
                label=setup.label,
                pairs=tuple(pairs),
                plain=float(np.mean([pair.plain.value for pair in pairs])),
                on_chip=float(np.mean([pair.on_chip.value for pair in pairs])),
                gain=_mean_gain(np.mean(gains, axis=0)),
            )
        )
    return tuple(scores)


def _mean_gain(gains: np.ndarray[Any, Any]) -> Metric:
    """Mean of one number a text, with its normal 95 % interval."""
    n = len(gains)
    half = _Z95 * float(gains.std(ddof=1)) / n**0.5 if n > 1 else math.inf
    mean = float(gains.mean())
    return Metric(
        name="accuracy difference",
        value=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        method="normal, over texts; each text is averaged over the chips",
    )
