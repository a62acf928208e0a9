"""The chips of a result, field by field with sources; other sections link to the fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ohmformer.reports.html import Html, details, table, tag
from ohmformer.specs import Source

__all__ = ["Hardware", "UsedChip"]


@dataclass(frozen=True, kw_only=True)
class UsedChip:
    """A chip that a result used: its label there, every field by path, every source by path."""

    label: str
    name: str
    fields: dict[str, Any]
    sources: dict[str, Source]


class Hardware:
    """The distinct chips of a page: the first of each name in full, the others by what they change."""

    def __init__(self, chips: Sequence[UsedChip]) -> None:
        self._chips: list[UsedChip] = []
        self._labels: list[list[str]] = []
        for chip in chips:
            known = next((at for at, one in enumerate(self._chips) if one.fields == chip.fields), None)
            if known is None:
                self._chips.append(chip)
                self._labels.append([chip.label])
            elif chip.label not in self._labels[known]:
                self._labels[known].append(chip.label)

    def link(self, fields: dict[str, Any], path: str) -> Html:
        """A link to the row of ``path`` (a field, or a group of fields) of the chip with these fields."""
        text = tag("code", path)
        at = next((at for at, chip in enumerate(self._chips) if chip.fields == fields), None)
        if at is None:
            return text
        found = next((leaf for leaf in fields if leaf == path or leaf.startswith(f"{path}.")), None)
        base = self._base(at)
        if found is None:
            return text
        if base is not None and fields[found] == self._chips[base].fields[found]:
            at = base
        return tag("a", text, href=f"#{_anchor(at, found)}")

    def section(self, heading: str, anchor: str) -> Html:
        """All chips."""
        if not self._chips:
            return Html("")
        about = (
            "Kinds of sources: paper (stated publicly about arXiv 2410.15977), derived (follows from stated "
            "facts), other work (a cited publication), ours (decided here where the paper is silent)."
        )
        return tag(
            "section",
            tag("h2", heading, id=anchor),
            tag("p", about, class_="soft"),
            *(self._chip(at) for at in range(len(self._chips))),
        )

    def _base(self, at: int) -> int | None:
        """The chip that this one is shown as a change of: an earlier one, the nearest."""
        own = self._chips[at].fields
        earlier = range(at)
        if not earlier:
            return None
        return min(earlier, key=lambda other: _distance(own, self._chips[other].fields, other))

    def _chip(self, at: int) -> Html:
        chip = self._chips[at]
        labels = ", ".join(self._labels[at])
        base = self._base(at)
        if base is None:
            rows = [
                (
                    tag("code", path, id=_anchor(at, path)),
                    _value(value),
                    chip.sources[path].kind,
                    tag("span", chip.sources[path].text, class_="wide"),
                )
                for path, value in chip.fields.items()
            ]
            grid = table(
                ("field", "value", "kind", "source"), rows, right=(1,), label=f"fields of {chip.name}"
            )
            return details(f"{chip.name}, used for: {labels}", grid, open_=True)
        other = self._chips[base]
        changed = [path for path, value in chip.fields.items() if value != other.fields[path]]
        changes = [
            (
                tag("code", path, id=_anchor(at, path)),
                _value(other.fields[path]),
                _value(chip.fields[path]),
                chip.sources[path].kind,
                tag("span", chip.sources[path].text, class_="wide"),
            )
            for path in changed
        ]
        grid = table(
            ("field", f"{other.name} ({self._labels[base][0]})", "here", "kind", "source"),
            changes,
            right=(1, 2),
            label=f"fields of {chip.name} that differ",
        )
        return details(f"{chip.name}, used for: {labels} — {len(changed)} field(s) changed", grid)


def _distance(own: dict[str, Any], other: dict[str, Any], index: int) -> tuple[int, int]:
    return sum(value != other[path] for path, value in own.items() if path != "name"), index


def _anchor(at: int, path: str) -> str:
    return f"chip-{at}-{re.sub(r'[^A-Za-z0-9_-]', '-', path)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}".replace("e-", "e−") if isinstance(value, float) else str(value)
