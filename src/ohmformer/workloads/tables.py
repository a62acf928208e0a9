"""Read named columns from a CSV, TSV or JSONL file, each value with the line it stood on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohmformer.errors import UserError

__all__ = ["TABLE_SUFFIXES", "Row", "read_table"]

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The values of one row by column, and the number of the line where it ends."""

    values: dict[str, Any]
    line: int


def read_table(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """All rows of ``path`` restricted to ``columns``, every one of them present and not empty.

    Error: UserError naming the file and, for a bad row, its line; a missing column lists those there are.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UserError(f"{path} must end in one of {', '.join(TABLE_SUFFIXES)}.")
    try:
        # utf-8-sig also takes the byte-order mark that spreadsheets write.
        with open(path, encoding="utf-8-sig", newline="") as lines:
            read = _jsonl(path, lines) if path.suffix.lower() == ".jsonl" else _separated(path, lines)
            rows = [_checked(path, row, columns) for row in read]
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not rows:
        raise UserError(f"{path} holds no rows.")
    return rows


def _checked(path: Path, row: Row, columns: tuple[str, ...]) -> Row:
    for column in columns:
        if column not in row.values:
            there = ", ".join(repr(name) for name in row.values)
            raise UserError(f"{path}, line {row.line}: there is no column {column!r}; there are {there}.")
        value = row.values[column]
        if value is None or (isinstance(value, str) and not value.strip()):
            raise UserError(f"{path}, line {row.line}: the column {column!r} is empty.")
    return Row(values={column: row.values[column] for column in columns}, line=row.line)


def _jsonl(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg}).") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object with named columns.")
        yield Row(values=values, line=number)


def _separated(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = [name.strip() for name in cells]
                if len(set(header)) != len(header):
                    raise UserError(f"{path}: two columns of the header have the same name.")
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}."
                )
            yield Row(values=dict(zip(header, cells, strict=True)), line=reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: unreadable row ({error}).") from error
