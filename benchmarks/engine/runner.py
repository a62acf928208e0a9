"""Measures the works and makes rows of them."""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.engine import limits, machine, memory, peer_child, peers
from benchmarks.engine.measuring import Contender, Ratio, Sample, alternate, cpu, local, wall
from benchmarks.engine.results import Row
from benchmarks.engine.six_linears import SEQUENCES, TOKENS, SixLinears, inputs
from benchmarks.engine.works import SIX, Work, works

MEMORY = (("smollm2", "causal", "SmolLM2"), ("minilm", "encoder", "MiniLM"))
GROUPS = ("six", "serial", "whole", "decode", "wire", "memory", "limit", "peers")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often. ``slow`` works have fewer rounds; without ``wall`` there are none with two threads."""

    repeats: int = 15
    slow_repeats: int = 7
    warmups: int = 2
    wall: bool = True
    command: str = ""

    def rounds(self, slow: bool) -> int:
        """Timed rounds of one work."""
        return self.slow_repeats if slow else self.repeats


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def short_machine() -> str:
    """The machine in one line."""
    found = machine.machine()
    return "{processor}, {cores} cores, {instructions}; {isa_used}".format(**found)


def short_versions() -> str:
    """The versions in one line."""
    return ", ".join(f"{name} {version}" for name, version in machine.versions().items())


def row_of(
    work: str,
    group: str,
    one: Mapping[str, list[Sample]],
    two: Mapping[str, list[Sample]],
    plan: Plan,
    *,
    mode: str,
    settings: str,
    ours: str = "ours",
    theirs: str = "fp32",
    bar: float | None = None,
    aim: float | None = None,
    higher: bool = False,
    beside: Mapping[str, float] | None = None,
    note: str = "",
) -> Row:
    """A row of samples with one thread and with two."""
    a, b = (theirs, ours) if higher else (ours, theirs)
    by_cpu = Ratio.of(cpu(one[a]), cpu(one[b]))
    by_wall = Ratio.of(wall(two[a]), wall(two[b])) if two else None
    seconds = {f"{name}, cpu, 1 thread": statistics.median(cpu(one[name])) for name in (ours, theirs)}
    seconds |= {f"{name}, wall, 2 threads": statistics.median(wall(two[name])) for name in two}
    spread = {"cpu": (by_cpu.low, by_cpu.high)}
    if by_wall is not None:
        spread["wall"] = (by_wall.low, by_wall.high)
    return Row(
        work=work,
        group=group,
        ratio=by_cpu.median,
        ratio_cpu=by_cpu.median,
        ratio_wall=None if by_wall is None else by_wall.median,
        bar=bar,
        aim=aim,
        higher=higher,
        spread=spread,
        repeats=len(one[ours]),
        mode=mode,
        settings=settings,
        machine=short_machine(),
        versions=short_versions(),
        command=plan.command,
        seconds=seconds,
        beside=beside or {},
        note=note,
    )


def both(
    contenders: Mapping[str, Contender], plan: Plan, slow: bool
) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """All rounds with one thread, then all with two (none where the plan leaves them out)."""
    rounds, warmups = plan.rounds(slow), plan.warmups
    one = alternate(contenders, threads=1, repeats=rounds, warmups=warmups)
    two = alternate(contenders, threads=2, repeats=rounds, warmups=warmups) if plan.wall else {}
    return one, two


def measure_work(work: Work, plan: Plan) -> Row:
    """One work, ours and theirs in turn."""
    say(work.name)
    pair = work.build()
    theirs = "off" if work.group == "wire" else "fp32"
    one, two = both({"ours": pair.ours, theirs: pair.theirs, **pair.others}, plan, work.slow)
    beside = {
        f"{name} over fp32": Ratio.of(cpu(one[name]), cpu(one[theirs])).median for name in pair.others
    } | {f"ours over {name}": Ratio.of(cpu(one["ours"]), cpu(one[name])).median for name in pair.others}
    row = row_of(
        work.name,
        work.group,
        one,
        two,
        plan,
        mode=pair.mode,
        settings=work.settings,
        theirs=theirs,
        bar=work.bar,
        aim=work.aim,
        higher=work.higher,
        beside=beside,
    )
    del pair
    gc.collect()
    return row


def measure_memory(name: str, task: str, title: str, plan: Plan) -> Row:
    """Peak memory over the weights, each run in a process of its own."""
    say(f"peak memory, {title}")
    ours = [memory.in_child(name, task, "deploy") for _ in range(min(3, plan.slow_repeats))]
    alone = memory.in_child(name, task, "fp32")
    ratios = [found["ratio"] for found in ours]
    return Row(
        work=f"peak memory above the loaded fp32 model, over its weights: {title}",
        group="memory",
        ratio=statistics.median(ratios),
        ratio_cpu=None,
        ratio_wall=None,
        bar=0.6,
        aim=0.3,
        higher=False,
        spread={"memory": (min(ratios), max(ratios))},
        repeats=len(ratios),
        mode="collapsed",
        settings=f"deploy on wang2024, one forward run of 1 x {memory.TOKENS} tokens; peak resident set",
        machine=short_machine(),
        versions=short_versions(),
        command=plan.command,
        seconds={},
        beside={"a forward run of the fp32 model alone": alone["ratio"]},
        note=f"weights {ours[0]['weights_bytes'] / 1e6:.1f} MB",
    )


def measure_limits(plan: Plan) -> tuple[list[Row], list[str]]:
    """The processor's limits, over the six linears in fp32."""
    say("the processor's limits")
    contenders, remarks = limits.limits()
    model = SixLinears().eval()
    x = inputs(model, SEQUENCES, TOKENS)
    one, two = both({**contenders, "fp32": local(lambda: model(*x))}, plan, slow=False)
    rows = [
        row_of(
            f"limit, shapes of the {SIX}: {name}",
            "limit",
            one,
            two,
            plan,
            ours=name,
            mode="",
            settings="no quantising, no scales, no noise",
        )
        for name in contenders
    ]
    return rows, remarks


def measure_peers(python: Path, plan: Plan) -> tuple[list[Row], list[str]]:
    """Each peer in turn with ours: peer, its fp32, ours, our fp32."""
    from benchmarks.engine import chips
    from benchmarks.engine.works import deployed

    model = SixLinears().eval()
    rows: list[Row] = []
    remarks = [peers.NOT_PACKAGED]
    for name in peers.names():
        sequences = peer_child.SEQUENCES.get(name, SEQUENCES)
        say(f"peer {name}, {sequences} x {TOKENS} tokens")
        # a peer that computes conversions stands beside our digit-serial chip, the others beside collapsed
        chip = chips.digit_serial("bits", 8) if name == "memintelli" else chips.collapsed(5.0)
        ours = deployed(model, chip)
        x = inputs(model, sequences, TOKENS)
        ours_run, fp32_run = local(partial(ours, *x)), local(partial(model, *x))
        found: dict[int, dict[str, list[Sample]]] = {1: {}, 2: {}}
        try:
            for threads in (1, 2) if plan.wall else (1,):
                with peers.Peer(python, name, sequences, TOKENS, threads) as peer:
                    contenders = {
                        "peer": peer.contender("peer"),
                        "its fp32": peer.contender("fp32"),
                        "ours": ours_run,
                        "fp32": fp32_run,
                    }
                    found[threads] = alternate(
                        contenders, threads=threads, repeats=plan.slow_repeats, warmups=plan.warmups
                    )
        except peers.PeerError as error:
            remarks.append(str(error))
            continue
        one = found[1]
        rows.append(
            row_of(
                f"peer {name} {peer.version}: the six linears, {sequences} x {TOKENS} tokens",
                "peers",
                one,
                found[2],
                plan,
                ours="peer",
                theirs="its fp32",
                mode="",
                settings=peer.settings,
                beside={
                    "the peer over fp32 of our process": Ratio.of(cpu(one["peer"]), cpu(one["fp32"])).median,
                    f"ours in the same rounds, {ours.on_chip.mode}": Ratio.of(
                        cpu(one["ours"]), cpu(one["fp32"])
                    ).median,
                },
            )
        )
    return rows, remarks


def measure(
    groups: Iterable[str], plan: Plan, python: Path | None, keep: Callable[[Row], None]
) -> tuple[list[Row], list[str]]:
    """Every row of ``groups``, and remarks on what could not be measured; ``keep`` gets each row at once.

    A work that fails is remarked upon and left out; the others are still measured.
    """
    wanted, rows, remarks = set(groups), [], []

    def kept(found: Iterable[Row]) -> None:
        for row in found:
            rows.append(row)
            keep(row)

    def attempt(name: str, run: Callable[[], Iterable[Row]]) -> None:
        try:
            kept(run())
        except Exception as error:  # one work that fails costs its own rows alone, and the table says why
            remarks.append(f"{name} was not measured: {type(error).__name__}: {error}".splitlines()[0])
            say(remarks[-1])

    def saying(run: Callable[[], tuple[list[Row], list[str]]]) -> Iterable[Row]:
        found, said = run()
        remarks.extend(said)
        return found

    every = list(works())
    for work in every:
        if work.group in wanted:
            attempt(work.name, partial(_one, work, plan))
    if "wire" in wanted and not any(work.group == "wire" for work in every):
        remarks.append("Wire resistance was not timed: this version has no field for it.")
    if "memory" in wanted:
        for which in MEMORY:
            attempt(f"The peak memory of {which[2]}", partial(_one_memory, which, plan))
    if "limit" in wanted:
        attempt("The limits of the processor", partial(saying, partial(measure_limits, plan)))
    if "peers" in wanted:
        if python is None:
            remarks.append("No peer was run: give --peer-python PATH, or --make-peers to install them.")
        else:
            attempt("The peers", partial(saying, partial(measure_peers, python, plan)))
    return rows, remarks


def _one(work: Work, plan: Plan) -> list[Row]:
    return [measure_work(work, plan)]


def _one_memory(which: tuple[str, str, str], plan: Plan) -> list[Row]:
    return [measure_memory(*which, plan)]
