"""Rows of a benchmark that were written before: read again, replaced by what is measured now."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ohmformer.errors import UserError


class Named(Protocol):
    """A row of one piece of work."""

    @property
    def work(self) -> str: ...


Row = TypeVar("Row")
NamedRow = TypeVar("NamedRow", bound=Named)


def read_rows(path: Path, kind: type[Row], schema: int) -> tuple[Row, ...]:
    """The rows of a table written before; none if there is no such file.

    Error: UserError where the file is not such a table.
    """
    if not path.exists():
        return ()
    names = set(getattr(kind, "__dataclass_fields__", ()))
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != schema:
            raise ValueError(f"schema {document['schema']}")
        return tuple(
            kind(**{name: value for name, value in row.items() if name in names}) for row in document["rows"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no table of this benchmark ({type(error).__name__}: {error}): move it away."
        ) from error


def merged(before: Iterable[NamedRow], now: Iterable[NamedRow]) -> tuple[NamedRow, ...]:
    """Rows measured now in the place of earlier rows of the same work, new ones behind."""
    fresh = {row.work: row for row in now}
    kept = [fresh.pop(row.work, row) for row in before]
    return (*kept, *fresh.values())
