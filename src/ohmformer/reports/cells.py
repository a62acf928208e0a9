"""The confusion matrix of the dense cells' levels, from the chip in the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ohmformer.devices import QUADRATURE_ERROR, confusion_matrix
from ohmformer.reports.html import Html, join, tag
from ohmformer.reports.numbers import MINUS, significant
from ohmformer.specs import ChipSpec, override, preset, without_noise

if TYPE_CHECKING:
    from ohmformer.verbs import Score

__all__ = ["cells_section", "chip_of"]

CELL = "dense.cell."


def chip_of(fields: dict[str, Any]) -> ChipSpec:
    """The chip whose fields by path are given in full."""
    return override(preset("wang2024"), fields)


def cells_section(scores: list[Score], heading: str, anchor: str) -> Html:
    """One matrix for each kind of dense cell that the scores used; cells without any noise are left out."""
    blocks: list[Html] = []
    seen: list[dict[str, Any]] = []
    for score in scores:
        if score.chip is None:
            continue
        own = {path: value for path, value in score.chip.items() if path.startswith(CELL)}
        if own in seen:
            continue
        seen.append(own)
        chip = chip_of(score.chip)
        if chip.dense.cell == without_noise(chip).dense.cell:
            continue
        blocks.append(_matrix(score.label, confusion_matrix(chip.dense.cell).tolist()))
    if not blocks:
        return Html("")
    about = (
        "How often a stored symbol is read as each symbol: mean over writes, cells and reads, in closed form "
        f"from programming, telegraph, environment and read noise (error below {QUADRATURE_ERROR:.0e}). "
        "Every read of the dense crossbar passes through this matrix."
    )
    return tag(
        "section",
        tag("h2", heading, id=anchor),
        tag("p", about, class_="soft"),
        tag("div", *blocks, class_="grid"),
    )


def _matrix(label: str, matrix: list[list[float]]) -> Html:
    size = len(matrix)
    wrong = sum(1.0 - matrix[at][at] for at in range(size)) / size
    head = tag("tr", tag("th", "stored \\ read"), *(tag("th", at, scope="col") for at in range(size)))
    rows = [
        tag(
            "tr",
            tag("th", stored, scope="row"),
            *(_cell(value, stored == read) for read, value in enumerate(row)),
        )
        for stored, row in enumerate(matrix)
    ]
    grid = tag("table", tag("thead", head), tag("tbody", join(rows)), class_="heat")
    box = tag(
        "div", grid, class_="scroll", tabindex="0", role="region", aria_label=f"confusion matrix, {label}"
    )
    caption = tag(
        "figcaption",
        label,
        tag(
            "span",
            f"read wrongly on average, all symbols equally often: {_probability(wrong)}; "
            "shade by the logarithm",
            class_="soft",
        ),
    )
    return tag("figure", caption, box)


def _cell(value: float, kept: bool) -> Html:
    if value < QUADRATURE_ERROR:
        return tag("td", _probability(value))
    depth = 0.55 if kept else max(0.0, 0.5 * (1 + math.log10(value) / 12))
    return tag("td", _probability(value), style=f"background: rgba(var(--heat), {depth:.2f})")


def _probability(value: float) -> str:
    """Close to 1 the distance from 1 is what counts: 1 − 2.0e−6; what the integration cannot tell is said."""
    if 0 < value < QUADRATURE_ERROR:
        return f"< {QUADRATURE_ERROR:.0e}".replace("e-", f"e{MINUS}")
    if value > 0.99:
        return f"1 − {significant(1 - value, 2)}" if 1 - value >= QUADRATURE_ERROR else "1"
    return significant(value, 2)
