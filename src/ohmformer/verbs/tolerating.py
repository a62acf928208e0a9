"""``tolerate``: how much of each noise a model bears before its metric falls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, leaves, override, preset, without_noise
from ohmformer.specs.noises import NOISES, NoiseKind, names, only, present, scaled
from ohmformer.specs.tree import Value, nearest
from ohmformer.verbs.bracketing import Bracket, bracket
from ohmformer.verbs.losses import Verdict, least_items, paired_loss, verdict
from ohmformer.verbs.trials import Trial
from ohmformer.verbs.work import Kind
from ohmformer.workloads import Metric

__all__ = [
    "PUBLISHED",
    "STARTS",
    "Probe",
    "Statement",
    "Tolerance",
    "ToleranceResult",
    "check_request",
    "tolerate",
]

STARTS: Mapping[str, Mapping[str, Value]] = {
    # where a chip has none of a noise: what counts as its amplitude 1. MNSIM 2.0 takes 0.1 % of stuck cells;
    # the others are ours
    "drift": {"dense.cell.noise.drift_time_ratio": 1e6},
    "stuck": {"dense.cell.noise.stuck_low_rate": 0.0005, "dense.cell.noise.stuck_high_rate": 0.0005},
    "wire": {"tile.resistor.wire_resistance_ohm": 0.5},
    "switch": {"tile.resistor.wire_resistance_ohm": 0.5},
    "adc_nonlinearity": {"tile.adc.nonlinearity": 0.25},
}

PUBLISHED: tuple[tuple[str, float], ...] = (("wang2024", 5.0), ("wang2024_1bit_cells", 18.0))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One amplitude.

    amplitude: multiple of the chip's own
    values:    the metric of every chip
    loss:      against the chips without the noise, paired
    """

    amplitude: float
    values: tuple[float, ...]
    loss: Metric
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How much of one noise is borne.

    own:     its fields at amplitude 1
    started: fields that the chip had at 0 and that were set to have an amplitude 1
    crossing: the certain amplitudes on either side
    crossing_of_means: the largest amplitude whose mean loss, like that of all smaller ones, is below the
             bound, and the next one tried
    probes:  every amplitude tried, in order
    """

    noise: str
    title: str
    meaning: str
    own: Mapping[str, Value]
    started: Mapping[str, Value]
    crossing: Bracket
    crossing_of_means: tuple[float | None, float | None]
    probes: tuple[Probe, ...]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A published sentence, tested: accuracy unchanged at so many times the telegraph amplitude."""

    chip_name: str
    amplitude: float
    loss: Metric
    clean: tuple[float, ...]
    values: tuple[float, ...]
    verdict: Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True, kw_only=True)
class ToleranceResult:
    """The tolerance of one model on one task to every noise asked for.

    bound:  loss that counts: accuracy lost (a share), or relative rise of the perplexity
    alone:  whether the other noises were off (else they stayed as they are in the chip)
    fp32:   the metric of the model itself
    clean:  the metric of the chip without any noise
    note:   what the items cannot show, empty where they can
    """

    model: str
    origin: str
    task: str
    source: str
    kind: Kind
    n: int
    seeds: tuple[int, ...]
    bound: float
    alone: bool
    up_to: float
    resolution: float
    chip_name: str
    chip: Mapping[str, Value]
    fp32: Metric
    clean: Metric
    tolerances: tuple[Tolerance, ...]
    published: tuple[Statement, ...]
    note: str
    threads: int
    seconds: float


def tolerate(
    trial: Trial,
    chip: ChipSpec,
    noises: Sequence[str] | None = None,
    *,
    bound: float = 0.01,
    repeat: int = 2,
    alone: bool = True,
    up_to: float = 64.0,
    resolution: float = 1.25,
    published: bool = True,
    seed: int = 0,
) -> ToleranceResult:
    """Search, noise by noise, the amplitude at which the metric falls by ``bound``.

    noises:     names; None takes all of the machine. One that the chip has none of begins at STARTS
    bound:      accuracy lost (0.01 is one percentage point), or relative rise of the perplexity
    repeat:     physical chips behind every amplitude, with the seeds seed … seed + repeat − 1, the same ones
                with and without the noise
    alone:      all other noises off, or as they are in the chip
    up_to:      the largest amplitude tried, a multiple of the chip's own
    resolution: ratio to which the edges are bisected
    published:  whether to test the published statement on its own two machines

    Each amplitude is compared with the same chips without the noise on the same items. Its verdict is
    ``below`` or ``above`` where the whole 95 % interval is; an interval holds for its amplitude, not for all
    amplitudes together.

    Error: UserError for an unknown or repeated noise and for numbers out of their range.
    """
    kinds = check_request(noises, bound=bound, repeat=repeat, up_to=up_to, resolution=resolution)
    started_at = time.perf_counter()
    search = _Search(trial, bound, tuple(range(seed, seed + repeat)), alone)
    fp32, answers = trial.run(None, seed, "fp32")
    clean, _ = trial.run(without_noise(chip), seed, "no noise")
    note, least = "", least_items(bound)
    if trial.kind != "perplexity" and len(answers) < least:
        note = (
            f"Of {len(answers)} answers none can show that less than {100 * bound:g} points are lost: that "
            f"takes at least {least}."
        )
    tolerances = tuple(
        search.tolerance(chip, kind, up_to=up_to, resolution=resolution, downward=not note) for kind in kinds
    )
    statements = tuple(search.statement(name, amplitude) for name, amplitude in PUBLISHED if published)
    return ToleranceResult(
        model=trial.loaded.name,
        origin=trial.loaded.origin,
        task=trial.task,
        source=trial.source,
        kind=trial.kind,
        n=len(answers),
        seeds=search.seeds,
        bound=bound,
        alone=alone,
        up_to=up_to,
        resolution=resolution,
        chip_name=chip.name,
        chip=leaves(chip),
        fp32=fp32,
        clean=clean,
        tolerances=tolerances,
        published=statements,
        note=note,
        threads=torch.get_num_threads(),
        seconds=time.perf_counter() - started_at,
    )


def check_request(
    noises: Sequence[str] | None, *, bound: float, repeat: int, up_to: float, resolution: float
) -> list[NoiseKind]:
    """The noises asked for; UserError for an unknown or repeated one and for numbers out of their range."""
    if not 0 < bound < 1:
        raise UserError(f"The loss is {bound:g}: it must lie between 0 and 1 (0 and 100 %).")
    if repeat < 1:
        raise UserError(f"repeat is {repeat}: it must be at least 1.")
    if not 1 <= up_to <= 1e6:
        raise UserError(f"The largest amplitude is {up_to:g}: it must lie between 1 and 1e6.")
    if not 1.01 <= resolution <= 2:
        raise UserError(f"The resolution is {resolution:g}: it must lie between 1.01 and 2.")
    by_name = {kind.name: kind for kind in NOISES}
    asked = names() if noises is None else list(noises)
    for name in asked:
        if name not in by_name:
            raise UserError(
                f"There is no noise {name!r}: {nearest(name, names())} Known: {', '.join(names())}."
            )
        if asked.count(name) > 1:
            raise UserError(f"The noise {name!r} is asked for twice.")
    return [by_name[name] for name in asked]


class _Search:
    """The probes of one trial with one set of chips."""

    def __init__(self, trial: Trial, bound: float, seeds: tuple[int, ...], alone: bool) -> None:
        self.trial, self.bound, self.seeds, self.alone = trial, bound, seeds, alone

    def tolerance(
        self, chip: ChipSpec, kind: NoiseKind, *, up_to: float, resolution: float, downward: bool
    ) -> Tolerance:
        started: Mapping[str, Value] = {}
        if kind.name not in present(chip):
            started = STARTS.get(kind.name, {})
            chip = override(chip, started)
        at = only if self.alone else scaled
        clean = self._run(at(chip, kind.name, 0.0), f"without {kind.title}")
        probes: dict[float, Probe] = {}

        def judge(amplitude: float) -> Verdict:
            noisy = self._run(at(chip, kind.name, amplitude), f"{kind.title}, {amplitude:.3g}x")
            loss = paired_loss(self.trial.kind, clean[1], noisy[1])
            found = verdict(loss, self.bound)
            probes[amplitude] = Probe(amplitude=amplitude, values=noisy[0], loss=loss, verdict=found)
            return found

        crossing = bracket(judge, up_to=up_to, resolution=resolution, downward=downward)
        ordered = tuple(probes[amplitude] for amplitude in sorted(probes))
        values = leaves(chip)
        return Tolerance(
            noise=kind.name,
            title=kind.title,
            meaning=kind.meaning,
            own={path: values[path] for path in kind.paths},
            started=started,
            crossing=crossing,
            crossing_of_means=_crossing_of_means(ordered, self.bound),
            probes=ordered,
        )

    def statement(self, name: str, amplitude: float) -> Statement:
        """The paper's machine as it is, its telegraph noise at ``amplitude``, against the same without it."""
        chip = preset(name)
        clean = self._run(scaled(chip, "telegraph", 0.0), f"{name} without telegraph noise")
        noisy = self._run(scaled(chip, "telegraph", amplitude), f"{name}, {amplitude:g}x telegraph noise")
        loss = paired_loss(self.trial.kind, clean[1], noisy[1])
        said: dict[Verdict, Any] = {"below": "holds", "above": "does not hold", "undecided": "undecided"}
        return Statement(
            chip_name=name,
            amplitude=amplitude,
            loss=loss,
            clean=clean[0],
            values=noisy[0],
            verdict=said[verdict(loss, self.bound)],
        )

    def _run(self, chip: ChipSpec, label: str) -> tuple[tuple[float, ...], NDArray[np.float64]]:
        """The metric of every chip, and what each item costs: [chip, item]."""
        quiet = chip == without_noise(chip)  # nothing is drawn: all seeds are one chip
        runs = []
        for seed in self.seeds[:1] if quiet else self.seeds:
            runs.append(self.trial.run(chip, seed, f"{label}, chip {seed}"))
        runs *= len(self.seeds) // len(runs)
        return tuple(metric.value for metric, _ in runs), np.stack([items for _, items in runs])


def _crossing_of_means(probes: Sequence[Probe], bound: float) -> tuple[float | None, float | None]:
    before: float | None = None
    for probe in probes:
        if not probe.loss.value < bound:
            return before, probe.amplitude
        before = probe.amplitude
    return before, None
