"""Where a number comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceKind = Literal["paper", "derived", "ours", "other work"]


@dataclass(frozen=True)
class Source:
    """The origin of one value.

    kind: ``paper`` (stated publicly about arXiv 2410.15977), ``derived`` (follows from stated facts),
          ``ours`` (decided here where the paper is silent) or ``other work`` (a cited publication).
    text: the statement, derivation, reason or citation.
    """

    kind: SourceKind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in ("paper", "derived", "ours", "other work"):
            raise ValueError(f"source kind is {self.kind!r}: allowed are paper, derived, ours, other work")
        if not self.text.strip():
            raise ValueError("a source needs a text")
