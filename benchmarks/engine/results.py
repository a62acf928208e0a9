"""Rows of the table: written whole to a JSON file, printed as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import kept
from benchmarks.kept import merged
from ohmformer.errors import UserError, write_atomically

__all__ = ["SCHEMA", "Row", "Table", "as_text", "merged", "read_rows"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured row.

    ratio_cpu:  one thread, CPU time of the process, over fp32 torch eager
    ratio_wall: two threads, wall time, over the same
    ratio:      the figure that bar and aim judge: ratio_cpu, or bytes over bytes
    spread:     quartiles of the ratios of single rounds, by measure
    seconds:    medians, by contender and measure
    beside:     ratios of other contenders of the same rounds to fp32, one-thread CPU time
    """

    work: str
    group: str
    ratio: float
    ratio_cpu: float | None
    ratio_wall: float | None
    bar: float | None
    aim: float | None
    higher: bool
    spread: Mapping[str, tuple[float, float]]
    repeats: int
    mode: str
    settings: str
    machine: str
    versions: str
    command: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def verdict(self) -> str:
        """``aim``, ``bar`` or ``missed``; empty where nothing is asked."""
        if self.bar is None or self.aim is None:
            return ""

        def reached(limit: float) -> bool:
            return self.ratio >= limit if self.higher else self.ratio <= limit

        return "aim" if reached(self.aim) else "bar" if reached(self.bar) else "missed"


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows with what they were measured on, and sentences on what could not be measured."""

    machine: Mapping[str, object]
    versions: Mapping[str, str]
    command: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> str:
        """The table as JSON text."""
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        document = {
            "schema": SCHEMA,
            "machine": self.machine,
            "versions": self.versions,
            "command": self.command,
            "remarks": self.remarks,
            "rows": rows,
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path) -> Path:
        """Write to ``path``, completely or not at all; its folder is made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make the folder {path.parent}: {error.strerror or error}.") from error
        return write_atomically(path, self.as_json())


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table written before (see ``benchmarks.kept``)."""
    return kept.read_rows(path, Row, SCHEMA)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def as_text(rows: Iterable[Row]) -> str:
    """The rows as a table: judged ratio, its quartiles, wall ratio, bar, aim, what was reached."""
    head = ("work", "cpu, 1 thread", "quartiles", "wall, 2 threads", "bar", "aim", "reached")
    lines = [head]
    for row in rows:
        low, high = row.spread.get("cpu", (row.ratio, row.ratio))
        sign = "≥" if row.higher else "≤"
        lines.append(
            (
                row.work,
                _number(row.ratio),
                f"{_number(low)} … {_number(high)}",
                _number(row.ratio_wall),
                "" if row.bar is None else f"{sign} {row.bar}",
                "" if row.aim is None else f"{sign} {row.aim}",
                row.verdict,
            )
        )
        lines.extend(
            (f"    {name}", _number(value), "", "", "", "", "") for name, value in row.beside.items()
        )
        if row.note:
            lines.append((f"    {row.note}", "", "", "", "", "", ""))
    widths = [max(len(line[at]) for line in lines if at or not line[0].startswith("    ")) for at in range(7)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
