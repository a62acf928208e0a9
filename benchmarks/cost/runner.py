"""Measures the works and makes rows of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cost import peer, works
from benchmarks.cost.results import Row
from benchmarks.engine import machine

GROUPS = ("estimate", "again", "specs", "zigzag")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often, with which command, and whether ZigZag may be installed.

    specs: chips of the sweep; fewer than ``works.SPECS`` are for a trial and make no row of the bar
    """

    repeats: int = 3
    again: int = 60
    specs: int = works.SPECS
    zigzag_repeats: int = 1
    make_peers: bool = False
    command: str = ""


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def spread(values: list[float]) -> tuple[float, float]:
    """Quartiles, or least and largest of fewer than four values."""
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _row(
    plan: Plan,
    work: str,
    values: list[float],
    unit: str,
    bar: float | None,
    settings: str,
    *,
    higher: bool = False,
    ratio: float | None = None,
    seconds: dict[str, float] | None = None,
    note: str = "",
    versions: str = "",
) -> Row:
    about = "{processor}, {cores} cores, {instructions}".format(**machine.machine())
    own = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    value = statistics.median(values)
    return Row(
        work=work,
        value=value,
        unit=unit,
        bar=bar,
        higher=higher,
        ratio=value / bar if ratio is None and bar else ratio or 0.0,
        spread=spread(values),
        repeats=len(values),
        settings=settings,
        machine=about,
        versions=own + versions,
        command=plan.command,
        seconds=seconds or {},
        note=note,
    )


def _child(name: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost.estimate_child", name],
        cwd=machine.ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode != 0:
        raise RuntimeError(f"estimating {name} failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def estimates(plan: Plan) -> Iterator[Row]:
    """``ohmformer estimate``: CPU time and peak memory, each run in a fresh process."""
    for name, title in works.MODELS.items():
        say(f"estimate {title}")
        found = [_child(name) for _ in range(plan.repeats)]
        settings = (
            f"{works.TOKENS} tokens, {works.CHIP}; configuration read, model traced, costs at low, typical, "
            "high and all alternatives; one thread, CPU time; imports and a tiny model of the family before, "
            "untimed"
        )
        yield _row(
            plan,
            f"estimate {title}",
            [run["cpu_s"] for run in found],
            "s",
            works.ESTIMATE_BAR_S,
            settings,
            seconds={"wall": statistics.median(run["wall_s"] for run in found)},
            note=f"{found[0]['macs']:.4g} multiply-accumulates; wall "
            f"{statistics.median(run['wall_s'] for run in found):.2f} s on this machine as loaded",
        )
        yield _row(
            plan,
            f"peak memory of estimating {title}",
            [run["peak_MiB"] for run in found],
            "MiB",
            works.MEMORY_BAR_MiB,
            settings,
            note=f"{statistics.median(run['imports_MiB'] for run in found):.0f} MiB of it before the model",
        )


def _program() -> Any:
    from ohmformer.verbs.estimating import program_of

    return program_of("bert-large", works.chip(), tokens=works.TOKENS)


def again(plan: Plan) -> Iterator[Row]:
    """A traced BERT-Large on another chip."""
    from ohmformer.costs import estimate

    say("re-estimate BERT-Large")
    program = _program()
    estimate(program, works.chip())
    seconds = []
    for chip in works.few_specs(plan.again):
        start = time.process_time()
        estimate(program, chip)
        seconds.append(time.process_time() - start)
    yield _row(
        plan,
        "re-estimate a traced BERT-Large on another chip",
        seconds,
        "s",
        works.AGAIN_BAR_S,
        f"{works.TOKENS} tokens; each chip has another number of tiles; typical unit values; CPU time",
    )


def sweep(plan: Plan) -> Iterator[Row]:
    """Ten thousand chips of a traced BERT-Large."""
    from ohmformer.costs import estimate

    say(f"{plan.specs} chips")
    program = _program()
    estimate(program, works.chip())
    start = time.process_time()
    best, seen = float("inf"), set()
    for chip in works.specs(plan.specs):
        report = estimate(program, chip)
        best = min(best, report.area_delay_mm2_s)
        seen.add((report.area_m2, report.latency_s, report.energy_J))
    taken = time.process_time() - start
    if plan.specs != works.SPECS:
        say(f"{plan.specs} chips in {taken:.2f} s: a trial, no row")
        return
    yield _row(
        plan,
        "10,000 chips of a traced BERT-Large, one core",
        [taken],
        "s",
        works.SPECS_BAR_S,
        f"{works.TOKENS} tokens; tiles, banks, function units, clocks, buffers, nodes, converters, radices; "
        "making the chips is in the time; CPU time",
        note=f"{len(seen):,} different results, least area-delay product {best:.3g} mm²·s",
    )


def beside_zigzag(plan: Plan) -> Iterator[Row]:
    """BERT-base at 128 tokens: ZigZag given its matrix products, ours given a program and given a name."""
    from ohmformer.costs import estimate
    from ohmformer.verbs.estimating import program_of

    python = peer.python_of(plan.make_peers)
    if python is None:
        raise peer.ZigZagError(
            "ZigZag was not run: make bench-cost PEERS=1 installs it into benchmarks/.peers/zigzag."
        )
    say("ZigZag, BERT-base (about a minute)")
    theirs = [peer.run(python) for _ in range(plan.zigzag_repeats)]
    chip = works.chip()
    program_of("bert-base", chip, tokens=works.TOKENS)  # imports
    traced, first = [], []
    for _ in range(max(5, plan.repeats)):
        start = time.process_time()
        program = program_of("bert-base", chip, tokens=works.TOKENS)
        middle = time.process_time()
        estimate(program, works.few_specs(1)[0])
        first.append(time.process_time() - middle)
        traced.append(time.process_time() - start)
    taken = statistics.median(run["cpu_s"] for run in theirs)
    what = (
        "ZigZag: the eight GEMMs of one layer given by hand, its aimc hardware, mappings searched (lpf_limit "
        "6), energy and cycles, times 12. "
    )
    versions = f", zigzag-dse {theirs[0]['version']}"
    said = f"ZigZag {taken:.1f} s CPU: {theirs[0]['energy_J'] * 1e3:.1f} mJ, {theirs[0]['cycles']:.3g} cycles"
    for work, own, bar, extra in (
        (
            "BERT-base, 128 tokens: ZigZag's time over ours, workload given",
            first,
            works.ZIGZAG_BAR,
            "Ours: a program as traced (all layers, softmax, norms, biases, embeddings), its first estimate, "
            "nothing cached: placing, scheduling, area, energy, time.",
        ),
        (
            "BERT-base, 128 tokens: ZigZag's time over ours, ours with tracing the model",
            traced,
            None,
            "Ours: from the name of the model: configuration, tracing, sub-operations, then as above.",
        ),
    ):
        ratios = [taken / seconds for seconds in own]
        yield _row(
            plan,
            work,
            ratios,
            "×",
            bar,
            what + extra + " One thread each, CPU time.",
            higher=True,
            ratio=statistics.median(ratios),
            seconds={"zigzag, cpu": taken, "ours, cpu": statistics.median(own)},
            note=f"{said}; ours {statistics.median(own) * 1e3:.1f} ms",
            versions=versions,
        )


MEASURES: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "estimate": estimates,
    "again": again,
    "specs": sweep,
    "zigzag": beside_zigzag,
}


def measure(groups: list[str], plan: Plan, keep: Callable[[Row], None]) -> tuple[list[Row], list[str]]:
    """All rows of ``groups``, each kept as soon as it is there; and what could not be measured."""
    rows, remarks = [], []
    for group in groups:
        try:
            for row in MEASURES[group](plan):
                rows.append(row)
                keep(row)
        except peer.ZigZagError as error:
            remarks.append(str(error))
    return rows, remarks


def results_file() -> Path:
    """Where the rows are written."""
    return machine.ROOT / "benchmarks" / "results" / "cost.json"
