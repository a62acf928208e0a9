"""Fail if a gated room covers fewer of its branches, or of its lines, than demanded.

usage: coverage_gate.py COVERAGE.json PERCENT ROOM...
"""

import json
import sys
from pathlib import Path


def room_of(path: str) -> str:
    """The folder below ``ohmformer`` that a measured file lies in."""
    parts = Path(path).parts
    return parts[parts.index("ohmformer") + 1]


def share(covered: int, total: int) -> float:
    return 100.0 * covered / total if total else 100.0


def main(report: str, percent: str, *rooms: str) -> int:
    files = json.loads(Path(report).read_text())["files"]
    failed = []
    print(f"{'room':<12}{'branches':>10}{'lines':>10}   at least {percent} %")
    for room in rooms:
        of_room = [entry["summary"] for path, entry in files.items() if room_of(path) == room]
        count = {key: sum(entry[key] for entry in of_room) for key in (of_room or [{}])[0]}
        if not of_room:
            print(f"{room:<12}  nothing measured")
            failed.append(room)
            continue
        branches = share(count["covered_branches"], count["num_branches"])
        lines = share(count["covered_lines"], count["num_statements"])
        print(f"{room:<12}{branches:>9.1f}%{lines:>9.1f}%")
        if min(branches, lines) < float(percent):
            failed.append(room)
    if failed:
        print(f"Coverage below {percent} %: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
