"""Fail if a gated room covers fewer of its branches, or of its lines, than demanded.

usage: coverage_gate.py COVERAGE.json PERCENT ROOM...
"""

import json
import sys
from pathlib import Path


def room_of(path: str) -> str:
    """The folder below the package that a measured file lies in."""
    return path.rpartition("/ohmformer/")[2].partition("/")[0]


def share(summaries: list[dict[str, int]], covered: str, total: str) -> float:
    """Percentage covered over several files, 100 where there is nothing to cover."""
    count = sum(summary[total] for summary in summaries)
    return 100.0 * sum(summary[covered] for summary in summaries) / count if count else 100.0


def main(report: str, percent: str, *rooms: str) -> int:
    files = json.loads(Path(report).read_text())["files"]
    failed = []
    print(f"{'room':<12}{'branches':>10}{'lines':>10}   at least {percent} %")
    for room in rooms:
        of_room = [entry["summary"] for path, entry in files.items() if room_of(path) == room]
        if not of_room:
            print(f"{room:<12}nothing measured")
            failed.append(room)
            continue
        branches = share(of_room, "covered_branches", "num_branches")
        lines = share(of_room, "covered_lines", "num_statements")
        print(f"{room:<12}{branches:>9.1f}%{lines:>9.1f}%")
        if min(branches, lines) < float(percent):
            failed.append(room)
    if failed:
        print(f"Coverage below {percent} %: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
