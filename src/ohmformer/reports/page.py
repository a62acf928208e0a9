"""The page around the sections, and writing it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ohmformer.errors import write_atomically
from ohmformer.reports.html import Html, join, table, tag
from ohmformer.reports.style import STYLE

__all__ = ["page", "write_report"]


def page(
    title: str,
    verdict: Sequence[str],
    sections: Sequence[tuple[str, str, Html]],
    document: dict[str, Any],
) -> str:
    """A self-contained page: the verdict first, then (anchor, name in the menu, section), then the making."""
    shown = [(anchor, name, content) for anchor, name, content in sections if content]
    menu = [*((anchor, name) for anchor, name, _ in shown), ("making", "How it was made")]
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", title),
            tag("div", *(tag("p", sentence) for sentence in verdict), class_="verdict"),
        ),
        tag(
            "nav",
            tag("ul", *(tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name in menu)),
            aria_label="sections",
        ),
        tag("main", *(content for _, _, content in shown)),
        tag("footer", _making(document)),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


def _making(document: dict[str, Any]) -> Html:
    return join(
        (
            tag("h2", "How it was made", id="making"),
            tag("pre", shlex.join(document["command"])),
            table(
                ("part", "version"),
                list(document["versions"].items()),
                label="versions",
            ),
            tag(
                "p",
                f"Schema of the JSON document with the same numbers: {document['schema']}. This page loads "
                "nothing and runs no script.",
                class_="soft",
            ),
        )
    )


def write_report(path: str | Path, html: str) -> Path:
    """Write a page, completely or not at all."""
    return write_atomically(path, html)
