"""Tables as Markdown, and a page whose parts between markers are written by a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ohmformer.errors import UserError, write_atomically

__all__ = ["Table", "between", "check_page", "markdown", "marked", "parts_of", "rewrite"]


@dataclass(frozen=True)
class Table:
    """Headings, rows of as many cells, and which columns stand at the right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()


def markdown(table: Table) -> str:
    """The table as Markdown, without a newline at its end; a bar inside a cell is escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join("---:" if at in table.right else "---" for at in range(len(table.headings))) + "|"
    return "\n".join([line(table.headings), rule, *(line(row) for row in table.rows)])


def _ends(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by a command, not by hand -->", f"<!-- end of {name} -->"


def marked(name: str, content: str) -> str:
    """``content`` between the markers called ``name``."""
    begin, end = _ends(name)
    return f"{begin}\n{content}\n{end}"


def between(text: str, name: str) -> str:
    """What stands between the markers called ``name``; UserError where they are missing."""
    begin, end = _ends(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(
            f"The page lacks the markers of {name!r}: one line {begin!r} and one {end!r} below it."
        )
    return text[text.index(begin) + len(begin) : text.index(end)].strip("\n")


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The page {path} cannot be read: give a text file with markers.") from error


def check_page(path: str | Path, names: Sequence[str]) -> None:
    """Refuse, before any work, a page that cannot be read or lacks the markers of one of ``names``."""
    text = _read(path)
    for name in names:
        between(text, name)


def parts_of(path: str | Path, names: Sequence[str]) -> tuple[str, ...]:
    """Those of ``names`` that the page has markers for, whole; UserError where it has none of them."""
    text = _read(path)
    found = tuple(name for name in names if any(end in text for end in _ends(name)))
    if not found:
        raise UserError(f"The page {path} has markers for none of: {', '.join(names)}.")
    for name in found:
        between(text, name)
    return found


def rewrite(path: str | Path, parts: Mapping[str, str]) -> Path:
    """Write ``parts`` between their markers in the page ``path``, all or none."""
    text = _read(path)
    for name, content in parts.items():
        between(text, name)
        begin, end = _ends(name)
        head, rest = text.split(begin)
        text = head + marked(name, content) + rest.split(end)[1]
    return write_atomically(path, text)
