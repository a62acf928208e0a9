"""``evaluate``: a model on a task, fp32 beside chips, with intervals."""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from scipy import stats

from ohmformer.deploy import Calibration, calibrate, deploy, on_chip
from ohmformer.engine import Deviation, FastEngine, Mode
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, leaves, sources_of
from ohmformer.verbs.deviation import layer_deviations
from ohmformer.verbs.journal import Journal
from ohmformer.verbs.kept import is_kept, refuse_other_chips
from ohmformer.verbs.work import Kind, Work, choices_work, classifier_work, head_work, perplexity_work
from ohmformer.workloads import (
    ClassificationSplit,
    Metric,
    MultipleChoiceTask,
    TextTask,
    check_finite,
    paired_difference,
    perplexity_difference,
)

Step = Callable[[str, int, int], None]  # (what is running, done, of how many)


COMPARED_MODES = ("statistical", "calibrated")  # by a law: reports say how far from every conversion


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One column of a comparison: a label and a chip, or None for the fp32 model itself.

    mode: how products are simulated; None takes what the physics of the chip allows
    compensated: weights are rounded with compensation (``deploy.compensate``) on items that are not scored
    calibrated:  operands have fixed scales found on items that are not scored, instead of one for each row
    """

    label: str
    chip: ChipSpec | None = None
    mode: Mode | None = None
    compensated: bool = False
    calibrated: bool = False

    @property
    def precision(self) -> tuple[str, ...]:
        """What is done for precision beside the chip's own fields."""
        named = (("compensated weights", self.compensated), ("calibrated scales", self.calibrated))
        return tuple(name for name, wanted in named if wanted)


FP32 = Setup(label="fp32")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one setup reached.

    metric:     of the first repeat, with its own interval over the items
    values:     the metric of every repeat (another physical chip and other reads each)
    seeds:      of the repeats
    repeat_low, repeat_high: 95 % interval of the mean over repeats (Student t), None below two or if infinite
    difference: against fp32, paired on the same items, None for fp32 itself
    p_value:    exact McNemar, accuracies only
    mode:       how products were simulated, or ``torch`` for fp32
    seconds:    of deploying and running all repeats
    chip:       every field of the chip by path, None for fp32
    mode_asked: whether the user chose the mode
    deviations: modes with a law: errors beside those of every conversion computed, on a few of the items
    precision:  what was done for precision beside the fields of the chip
    """

    label: str
    metric: Metric
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    repeat_low: float | None
    repeat_high: float | None
    difference: Metric | None
    p_value: float | None
    mode: str
    seconds: float
    chip: dict[str, Any] | None
    chip_name: str | None
    sources: dict[str, Any] | None
    mode_asked: bool = False
    deviations: tuple[Deviation, ...] = ()
    precision: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean of the metric over the repeats."""
        return statistics.fmean(self.values)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """A comparison of setups on one model and task.

    kind:    ``head`` (frozen encoder and a logistic regression trained on fp32 vectors), ``classifier``,
             ``perplexity`` or ``choices``
    chance:  score of guessing, where that means something
    """

    model: str
    origin: str
    task: str
    source: str
    kind: Kind
    n: int
    chance: float | None
    scores: tuple[Score, ...]
    threads: int

    def score(self, label: str) -> Score:
        """The score called ``label``."""
        return next(score for score in self.scores if score.label == label)


def evaluate_head(
    model: str, split: ClassificationSplit, setups: Sequence[Setup], *, source: str = "", **options: Any
) -> EvaluationResult:
    """A frozen encoder: logistic regression trained on fp32 vectors, tested on each setup's vectors."""
    return evaluate(head_work(model, split, source=source), setups, **options)


def evaluate_classifier(
    model: str, split: ClassificationSplit, setups: Sequence[Setup], *, source: str = "", **options: Any
) -> EvaluationResult:
    """A sequence-classification model on the test half of ``split``."""
    return evaluate(classifier_work(model, split, source=source), setups, **options)


def evaluate_perplexity(
    model: str,
    text: TextTask,
    setups: Sequence[Setup],
    *,
    window: int = 512,
    stride: int = 256,
    max_tokens: int | None = None,
    **options: Any,
) -> EvaluationResult:
    """Perplexity of a causal language model on running text, by a sliding window."""
    work = perplexity_work(model, text, window=window, stride=stride, max_tokens=max_tokens)
    return evaluate(work, setups, **options)


def evaluate_multiple_choice(
    model: str,
    task: MultipleChoiceTask,
    setups: Sequence[Setup],
    *,
    limit: int | None = None,
    normalise: Literal["none", "bytes", "tokens"] = "none",
    **options: Any,
) -> EvaluationResult:
    """Multiple choice by the likelihood of each continuation."""
    return evaluate(choices_work(model, task, limit=limit, normalise=normalise), setups, **options)


def evaluate(
    work: Work,
    setups: Sequence[Setup],
    *,
    seed: int = 0,
    repeat: int = 1,
    allow: Sequence[str] = (),
    journal: Journal | None = None,
    progress: Step | None = None,
) -> EvaluationResult:
    """Measure every setup; fp32 first, since the others are compared with it.

    A deployed model is measured as it is, on its own physical chip, without setups and without fp32.
    """
    if is_kept(work.loaded):
        refuse_other_chips(work.loaded, setups)
        return _of_kept(work, progress)
    if repeat < 1:
        raise UserError(f"repeat is {repeat}: it must be at least 1.")
    ordered = [setup for setup in setups if setup.chip is None] or [FP32]
    ordered += [setup for setup in setups if setup.chip is not None]
    labels = [setup.label for setup in ordered]
    if len(set(labels)) != len(labels):
        raise UserError(f"Two setups have the same label: {', '.join(labels)}.")
    loaded, kind = work.loaded, work.kind
    check_finite(loaded.model)
    work.prepare()
    journal = journal if journal is not None else Journal(None)
    digest = _digest(loaded.model) if journal.path is not None else ""
    reference: list[Any] | None = None
    scores: list[Score] = []
    for setup in ordered:
        started = time.perf_counter()
        metrics: list[Metric] = []
        items: list[Any] = []
        deviations: list[dict[str, Any]] = []
        seeds = [seed + index for index in range(repeat if setup.chip is not None else 1)]
        spent = 0.0
        mode = ""
        for own_seed in seeds:
            key = journal_key(work, digest, setup, own_seed, allow)
            known = journal.get(key)
            if known is None:
                known = _measure_once(work, setup, own_seed, allow, progress)
                if known["mode"] in COMPARED_MODES and own_seed == seed:
                    known["deviations"] = _deviations(work, setup, seed, allow, progress)
                journal.put(key, known)
            else:
                spent += known["seconds"]
            mode = str(known["mode"])
            metrics.append(Metric(**known["metric"]))
            items = items or known["items"]
            deviations = deviations or known.get("deviations", [])
        difference, p_value = _difference(kind, items, reference)
        if setup.chip is None:
            reference = items
        low, high = _over_repeats([metric.value for metric in metrics])
        scores.append(
            Score(
                label=setup.label,
                metric=metrics[0],
                values=tuple(metric.value for metric in metrics),
                seeds=tuple(seeds),
                repeat_low=low,
                repeat_high=high,
                difference=difference,
                p_value=p_value,
                mode=mode,
                seconds=time.perf_counter() - started + spent,
                chip=dict(leaves(setup.chip)) if setup.chip is not None else None,
                chip_name=setup.chip.name if setup.chip is not None else None,
                sources=dict(sources_of(setup.chip)) if setup.chip is not None else None,
                mode_asked=setup.mode is not None,
                deviations=tuple(Deviation(**row) for row in deviations),
                precision=setup.precision,
            )
        )
    return EvaluationResult(
        model=loaded.name,
        origin=loaded.origin,
        task=work.task,
        source=work.source,
        kind=kind,
        n=work.n or scores[0].metric.n,
        chance=work.chance,
        scores=tuple(scores),
        threads=torch.get_num_threads(),
    )


def _of_kept(work: Work, progress: Step | None) -> EvaluationResult:
    """The one score of a deployed model."""
    state, started = on_chip(work.loaded.model), time.perf_counter()
    label = f"{state.chip.name}, as deployed"

    def step(done: int, total: int) -> None:
        if progress is not None:
            progress(label, done, total)

    metric, _ = work.measure(work.loaded.model, step)
    score = Score(
        label=label,
        metric=metric,
        values=(metric.value,),
        seeds=(state.seed,),
        repeat_low=None,
        repeat_high=None,
        difference=None,
        p_value=None,
        mode=state.mode,
        seconds=time.perf_counter() - started,
        chip=dict(leaves(state.chip)),
        chip_name=state.chip.name,
        sources=dict(sources_of(state.chip)),
    )
    return EvaluationResult(
        model=work.loaded.name,
        origin=work.loaded.origin,
        task=work.task,
        source=work.source,
        kind=work.kind,
        n=work.n or metric.n,
        chance=work.chance,
        scores=(score,),
        threads=torch.get_num_threads(),
    )


def _digest(model: torch.nn.Module) -> str:
    """Digest of every weight: other weights in the same folder are another model."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(memoryview(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return found.hexdigest()


def journal_key(work: Work, digest: str, setup: Setup, seed: int, allow: Sequence[str]) -> str:
    """What one measurement is kept under: everything that determines it."""
    part = (work.kind, work.loaded.origin, digest, work.identity, setup.chip, seed, tuple(allow))
    more: tuple[Any, ...] = (setup.mode,) if setup.mode is not None else ()
    return Journal.key(*part, *more, *((setup.precision,) if setup.precision else ()))


def _measure_once(
    work: Work, setup: Setup, seed: int, allow: Sequence[str], progress: Step | None
) -> dict[str, Any]:
    started = time.perf_counter()

    def step(done: int, total: int) -> None:
        if progress is not None:
            progress(setup.label, done, total)

    if setup.chip is None:
        running, mode = work.loaded.model, "torch"
    else:
        model, calibration = _precise(work, setup, allow, step)
        running = deploy(model, setup.chip, seed=seed, mode=setup.mode, allow=allow, calibration=calibration)
        mode = on_chip(running).mode
    metric, items = work.measure(running, step)
    return {
        "metric": {
            "name": metric.name,
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "n": metric.n,
            "method": metric.method,
        },
        "items": items,
        "mode": mode,
        "seconds": time.perf_counter() - started,
    }


def _precise(
    work: Work, setup: Setup, allow: Sequence[str], step: Callable[[int, int], None]
) -> tuple[Any, Calibration | None]:
    """The model and the scales of operands as ``setup`` wants them prepared."""
    assert setup.chip is not None
    if not setup.precision:
        return work.loaded.model, None
    step(0, 1)  # the name of what is being prepared; it has no steps of its own
    bits = setup.chip.precision.weight_bits
    model = work.compensated(bits) if setup.compensated else work.loaded.model
    if not setup.calibrated:
        return model, None
    return model, calibrate(model, setup.chip, work.unscored(), allow=allow)


def _deviations(
    work: Work, setup: Setup, seed: int, allow: Sequence[str], progress: Step | None
) -> list[dict[str, Any]]:
    """The mode of the setup beside the digit-serial one, place by place, as JSON values."""
    assert setup.chip is not None
    if progress is not None:
        progress(f"{setup.label}: against digit-serial", 0, 1)
    mode = FastEngine(setup.chip.tile, setup.mode).runs
    found = layer_deviations(work.loaded.model, setup.chip, work.few(), mode=mode, seed=seed, allow=allow)
    return [asdict(one) for one in found]


def _difference(
    kind: Kind, items: list[Any], reference: list[Any] | None
) -> tuple[Metric | None, float | None]:
    """Against fp32 on the same items: answers right or wrong, or likelihoods of tokens."""
    if reference is None:
        return None, None
    if kind == "perplexity":
        return perplexity_difference(reference, items), None
    paired = paired_difference(reference, items)
    return paired.difference, paired.p_value


def _over_repeats(values: list[float]) -> tuple[float | None, float | None]:
    """95 % interval of the mean over repeats, Student t; none where a value is infinite (perplexity lost)."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None, None
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return mean - half, mean + half
