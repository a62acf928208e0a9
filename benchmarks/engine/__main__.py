"""``python -m benchmarks.engine``: measure, print the table, write it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results" / "engine.json"


def _arguments(words: list[str]) -> argparse.Namespace:
    from benchmarks.engine.runner import GROUPS

    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="check that the numbers are right, not the speed"
    )
    parser.add_argument("--out", type=Path, help=f"file to write (default {RESULTS.name}; --short: none)")
    parser.add_argument(
        "--only",
        action="append",
        choices=GROUPS,
        help="measure this group, keep the other rows",
    )
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds of a quick work")
    parser.add_argument("--slow-repeats", type=int, default=7, help="timed rounds of a slow work")
    parser.add_argument("--warmups", type=int, default=2, help="rounds thrown away before")
    parser.add_argument("--cpu-only", action="store_true", help="one thread only, no wall time")
    parser.add_argument("--peer-python", type=Path, help="python of an environment that holds the peers")
    parser.add_argument("--make-peers", action="store_true", help="make benchmarks/.peers and install them")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    given = parser.parse_args(words)
    for name in ("repeats", "slow_repeats"):
        if getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if given.warmups < 0:
        parser.error("--warmups must be at least 0")
    return given


def main(words: list[str]) -> int:
    """Run; 0, or 1 where a number is wrong, or 2 for a user's error."""
    # the two-thread figures need two threads, whatever the caller's environment says
    os.environ.pop("OMP_NUM_THREADS", None)
    given = _arguments(words)
    from ohmformer.errors import UserError

    try:
        return (
            _short(given)
            if given.short
            else _full(given, shlex.join(["python -m benchmarks.engine", *words]))
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _short(given: argparse.Namespace) -> int:
    from benchmarks.engine import parity

    checks = parity.run_all()
    text = parity.as_text(checks)
    print(text)
    if given.out is not None:
        from ohmformer.errors import write_atomically

        write_atomically(given.out, parity.as_json(checks))
    return 0 if all(check.passed for check in checks) else 1


def _full(given: argparse.Namespace, command: str) -> int:
    from benchmarks.engine import machine, peers, results, runner

    out = given.out or RESULTS
    before = results.read_rows(out)
    remarks: list[str] = []
    python = given.peer_python
    if given.make_peers:
        python, refused = peers.make_environment()
        remarks.extend(refused)
    elif python is None and (peers.ENVIRONMENT / "bin" / "python").exists():
        python = peers.ENVIRONMENT / "bin" / "python"
    about, versions = machine.machine(), machine.versions()
    load = os.getloadavg()[0]
    if load > 1:
        remarks.append(
            f"The machine was busy before the run (load {load:.1f}): wall times are not to be trusted."
        )
    done: list[results.Row] = []

    def write(rows: tuple[results.Row, ...]) -> None:
        if not given.dry:
            results.Table(
                machine=about, versions=versions, command=command, rows=rows, remarks=tuple(remarks)
            ).write(out)

    def keep(row: results.Row) -> None:
        done.append(row)
        write(results.merged(before, done))

    plan = runner.Plan(
        repeats=given.repeats,
        slow_repeats=given.slow_repeats,
        warmups=given.warmups,
        wall=not given.cpu_only,
        command=command,
    )
    rows, said = runner.measure(given.only or runner.GROUPS, plan, python, keep)
    remarks.extend(said)
    write(results.merged(before, rows) if given.only else tuple(rows))
    print(results.as_text(rows))
    for remark in remarks:
        print(remark)
    if not given.dry:
        print(f"written: {out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
