"""Rows of the table of costs: written whole to a JSON file, printed as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import kept
from benchmarks.kept import merged
from ohmformer.errors import write_atomically

__all__ = ["SCHEMA", "Row", "Table", "as_text", "merged", "read_rows"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured row.

    value:   median, in ``unit``; spread: quartiles (least and largest below four repeats)
    bar:     what is asked, None where nothing is; higher: whether more is better
    ratio:   to the peer where one is run, else to the bar
    seconds: medians by what they are of
    """

    work: str
    value: float
    unit: str
    bar: float | None
    higher: bool
    ratio: float
    spread: tuple[float, float]
    repeats: int
    settings: str
    machine: str
    versions: str
    command: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met`` or ``missed``; empty where nothing is asked."""
        if self.bar is None:
            return ""
        return "met" if (self.value >= self.bar if self.higher else self.value <= self.bar) else "missed"


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
        document = {
            "schema": SCHEMA,
            "machine": self.machine,
            "versions": self.versions,
            "command": self.command,
            "remarks": self.remarks,
            "rows": [{**asdict(row), "verdict": row.verdict} for row in self.rows],
        }
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path) -> Path:
        """Write to ``path``, completely or not at all."""
        return write_atomically(path, self.as_json())


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table written before (see ``benchmarks.kept``)."""
    return kept.read_rows(path, Row, SCHEMA)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"


def as_text(rows: Iterable[Row]) -> str:
    """The rows as a table: value, quartiles, bar, ratio, verdict."""
    lines = [("work", "value", "quartiles", "bar", "ratio", "")]
    notes: dict[int, str] = {}
    for row in rows:
        sign = "≥" if row.higher else "≤"
        lines.append(
            (
                row.work,
                f"{_number(row.value)} {row.unit}",
                f"{_number(row.spread[0])} … {_number(row.spread[1])}",
                "" if row.bar is None else f"{sign} {_number(row.bar)} {row.unit}",
                _number(row.ratio),
                row.verdict,
            )
        )
        if row.note:
            notes[len(lines) - 1] = row.note
    widths = [max(len(line[at]) for line in lines) for at in range(6)]
    text = []
    for index, line in enumerate(lines):
        cells = [
            part.ljust(widths[at]) if at == 0 else part.rjust(widths[at]) for at, part in enumerate(line)
        ]
        text.append("  ".join(cells).rstrip())
        if index in notes:
            text.append(f"    {notes[index]}")
    return "\n".join(text)
