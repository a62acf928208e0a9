"""``encodings``: radix, polarity, active wordlines and converter bits against cost and loss."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Annotated

import typer

from ohmformer.cli.options import Chip, Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import one_chip
from ohmformer.errors import write_atomically

if TYPE_CHECKING:
    from ohmformer.studies import Encoding

__all__ = ["encodings"]


def encodings(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A configuration to cost, as for `estimate`.")
    ] = "bert-large",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of the sequence.")] = 128,
    chip: Chip = None,
    settings: Settings = None,
    level: Annotated[
        str, typer.Option("--level", metavar="LEVEL", help="Unit values: low, typical or high.")
    ] = "typical",
    base: Annotated[
        list[int] | None,
        typer.Option("--base", metavar="N", help="An odd base; repeatable. Default: 3, 5, ... 27."),
    ] = None,
    picture: Annotated[
        str | None, typer.Option("--picture", metavar="FILE.svg", help="Draw the picture.")
    ] = None,
    table: Annotated[
        str | None, typer.Option("--csv", metavar="FILE.csv", help="Write every point as CSV.")
    ] = None,
    page: Annotated[
        str | None,
        typer.Option("--page", metavar="FILE.md", help="Write the tables between the markers of a page."),
    ] = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Cost MODEL with every encoding: base 3 to 27, groups of wordlines, converter bits.

    Exact encodings lose nothing; the others have an error. A front holds what no other point beats; at
    equal area each encoding has as many tiles as fit the chip as it is given.
    """
    output = open_output(json, picture, table, page, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer.costs.component import require_level
    from ohmformer.reports.encodings import (
        COLUMNS,
        TABLES,
        condition_rows,
        encoding_picture,
        encoding_tables,
        exact_rows,
        finding_lines,
    )
    from ohmformer.reports.markdown import check_page, rewrite
    from ohmformer.studies import study_encodings
    from ohmformer.studies.encodings import RADICES
    from ohmformer.verbs.estimating import program_of

    require_level(level)
    if page is not None:
        check_page(page, TABLES)
    result = study_encodings(
        lambda count: program_of(model, hardware, tokens=count),
        hardware,
        tokens=tokens,
        level=level,  # type: ignore[arg-type]
        radices=tuple(dict.fromkeys(base)) if base else RADICES,
    )
    content = output.write_json("encodings", result)
    found = content["result"]
    from ohmformer.cli.grids import print_rows

    print_rows(
        output.console,
        f"{model}, {tokens} tokens, {hardware.name}: the fastest exact encodings at equal area",
        COLUMNS,
        exact_rows(found["points"]),
    )
    print_rows(
        output.console,
        "which of them last under other conditions (exact encodings, equal area)",
        ("condition", "base 7 on front", "front, fastest first", "base 7", "time", "energy"),
        condition_rows(found["outcomes"]),
    )
    for line in finding_lines(found):
        output.say(line)
    if table is not None:
        output.say(f"Points: {write_atomically(table, as_csv(result.points))}")
    if picture is not None:
        output.say(f"Picture: {write_atomically(picture, encoding_picture(content) + chr(10))}")
    if page is not None:
        output.say(f"Page: {rewrite(page, encoding_tables(content))}")


def as_csv(points: tuple[Encoding, ...]) -> str:
    """Every point, one a line, in SI units."""
    import dataclasses

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(points[0])]
    writer.writerow([*names, "lossless"])
    writer.writerows([*(getattr(point, name) for name in names), point.lossless] for point in points)
    return text.getvalue()
