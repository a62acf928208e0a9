"""``python -m benchmarks.cost``: measure, print the table, write it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from benchmarks.cost.runner import GROUPS, Plan


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--only", action="append", choices=GROUPS, help="measure this, keep the other rows")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each model")
    parser.add_argument("--zigzag-repeats", type=int, default=1, help="runs of ZigZag, a minute each")
    parser.add_argument("--specs", type=int, help="fewer chips in the sweep: a trial, no row")
    parser.add_argument(
        "--make-peers", action="store_true", help="install ZigZag in an environment of its own"
    )
    parser.add_argument("--out", type=Path, help="file to write (default results/cost.json)")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    given = parser.parse_args(words)
    for name in ("repeats", "zigzag_repeats"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return given


def main(words: list[str]) -> int:
    """Run; 0, 1 where a bar is missed, or 2 for a user's error."""
    given = _arguments(words)
    # one core: before torch is imported
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.cost import results, runner, works
    from benchmarks.engine import machine
    from ohmformer.errors import UserError

    out = given.out or runner.results_file()
    plan = Plan(
        repeats=given.repeats,
        specs=given.specs or works.SPECS,
        zigzag_repeats=given.zigzag_repeats,
        make_peers=given.make_peers,
        command=shlex.join(["python", "-m", "benchmarks.cost", *words]),
    )
    remarks: list[str] = []
    load = os.getloadavg()[0]
    if load > 1:
        remarks.append(
            f"The machine was busy before the run (load {load:.1f}): CPU times suffer a little too."
        )
    try:
        before = results.read_rows(out)
        about, versions = machine.machine(), machine.versions()
        done: list[results.Row] = []

        def keep(row: results.Row) -> None:
            done.append(row)
            if not given.dry:
                results.Table(
                    machine=about,
                    versions=versions,
                    command=plan.command,
                    rows=results.merged(before, done),
                    remarks=tuple(remarks),
                ).write(out)

        rows, said = runner.measure(given.only or list(GROUPS), plan, keep)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(results.as_text(rows))
    for remark in (*remarks, *said):
        print(remark)
    if not given.dry and rows:
        print(f"written: {out}", file=sys.stderr)
    return 0 if all(row.verdict != "missed" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
