"""Alternated timing: ours, theirs, ours, theirs, ...; ratios of neighbours, their median and quartiles."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run: CPU time of the whole process and wall time, s."""

    cpu_s: float
    wall_s: float


Contender = Callable[[int], Sample]  # threads -> one run


def local(run: Callable[[], object], before: Callable[[], object] | None = None) -> Contender:
    """Time ``run`` in this process with the given number of torch threads; ``before`` is not timed."""
    import torch

    def contender(threads: int) -> Sample:
        torch.set_num_threads(threads)
        if before is not None:
            before()
        with torch.no_grad():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            return Sample(cpu_s=time.process_time() - cpu, wall_s=time.perf_counter() - wall)

    return contender


def alternate(
    contenders: Mapping[str, Contender], *, threads: int, repeats: int, warmups: int
) -> dict[str, list[Sample]]:
    """Run all contenders in turn, ``repeats`` rounds after ``warmups`` rounds that are thrown away."""
    if repeats < 1 or warmups < 0:
        raise ValueError(f"repeats is {repeats}, warmups {warmups}: at least 1 and 0 are needed")
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round_ in range(-warmups, repeats):
            for name, contender in contenders.items():
                sample = contender(threads)
                if round_ >= 0:
                    samples[name].append(sample)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median of the ratios of neighbouring runs, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerator: list[float], denominator: list[float]) -> Ratio:
        """Ratios of the runs of one round each."""
        ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
        if len(ratios) == 1:
            return cls(median=ratios[0], low=ratios[0], high=ratios[0])
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)


def cpu(samples: list[Sample]) -> list[float]:
    """CPU times, s."""
    return [sample.cpu_s for sample in samples]


def wall(samples: list[Sample]) -> list[float]:
    """Wall times, s."""
    return [sample.wall_s for sample in samples]
