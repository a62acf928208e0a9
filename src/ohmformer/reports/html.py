"""HTML text: tags with escaping, so that no value can become markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Html", "details", "join", "table", "tag"]

VOID = ("br", "meta", "line", "rect", "circle", "path", "col")


class Html(str):
    """Text that is markup already."""


def _inner(child: object) -> str:
    return str(child) if isinstance(child, Html) else escape(str(child))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """``<name attribute="...">children</name>``; text is escaped, ``Html`` is not.

    In attribute names a trailing underscore falls away and other underscores become hyphens.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown = key.rstrip("_").replace("_", "-")
        parts.append(shown if value is True else f'{shown}="{escape(str(value))}"')
    opening = " ".join(parts)
    if name in VOID:
        return Html(f"<{opening}>") if name in ("br", "meta", "col") else Html(f"<{opening}/>")
    return Html(f"<{opening}>" + "".join(_inner(child) for child in children) + f"</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """The parts, escaped where they are no markup, one after the other."""
    return Html(escape(between).join(_inner(part) for part in parts))


def table(
    headings: Sequence[object], rows: Iterable[Sequence[object]], *, right: Sequence[int] = (), label: str
) -> Html:
    """A table that scrolls inside its own box where it is too wide."""

    def cells(kind: str, values: Sequence[object]) -> Html:
        return join(
            tag(
                "th" if kind == "th" or at == 0 else "td",
                value,
                class_="number" if at in right else None,
                scope="col" if kind == "th" else ("row" if at == 0 else None),
            )
            for at, value in enumerate(values)
        )

    head = tag("thead", tag("tr", cells("th", headings)))
    body = tag("tbody", join(tag("tr", cells("td", row)) for row in rows))
    return tag(
        "div", tag("table", head, body), class_="scroll", tabindex="0", role="region", aria_label=label
    )


def details(summary: object, *content: object, open_: bool = False) -> Html:
    """A part that is folded until asked for (and always open on paper)."""
    return tag("details", tag("summary", summary), *content, open_=open_)
