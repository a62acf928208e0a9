"""``claims`` and ``limits``: what the paper claims beside our numbers, and the questions it leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from ohmformer.cli.options import Chip, Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import Output, open_output
from ohmformer.cli.setups import one_chip

__all__ = ["claims", "limits"]

CLAIM_PARTS = (
    "claims",
    "claims-short",
    "claims-notes",
    "claims-assumptions",
    "claims-implied",
    "claims-accuracy",
)
LIMIT_PARTS = ("capacities", "updates", "widths")
Tokens = Annotated[int, typer.Option("--tokens", min=1, max=512, help="Tokens of each sequence.")]
Page = Annotated[
    str | None,
    typer.Option("--page", metavar="FILE.md", help="Write the tables between the markers that a page has."),
]


def claims(
    tokens: Tokens = 128,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Sequences at once.")] = 1,
    chip: Chip = None,
    settings: Settings = None,
    page: Page = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Set every claim of the paper beside our number: reproduced, only if ..., or not reproduced.

    Costs are of BERT-Large; for a claim that is not met, one assumption at a time is solved for. The column
    of plain multipliers has the same figure with int8 multiply-accumulate units in place of the tiles.
    """
    output = open_output(json, page, threads=threads)
    parts = _parts(page, CLAIM_PARTS)
    hardware = one_chip(chip, settings)
    from ohmformer.cli.grids import print_rows
    from ohmformer.reports import claims as tables
    from ohmformer.verbs.claiming import claims as judge

    result = judge(hardware, tokens=tokens, batch=batch)
    content = output.write_json("claims", result)
    found = content["result"]
    about = f"BERT-Large, {batch} x {tokens} tokens, on {hardware.name}"
    for title, table in (
        (f"arXiv 2410.15977 beside our numbers ({about})", tables.verdict_table(found)),
        ("what it would take, one assumption at a time", tables.assumption_table(found)),
        ("what the processors' area-delay products imply", tables.implied_table(found)),
        ("accuracy", tables.accuracy_table(found)),
    ):
        if table.rows:
            print_rows(output.console, title, table.headings, table.rows, table.right)
    for note in tables.note_rows(found["lines"]):
        output.say(note)
    _write(output, page, parts, tables.claim_tables(content))


def limits(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A configuration to cost, as for `estimate`.")
    ] = "bert-large",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of the sequence.")] = 128,
    chip: Chip = None,
    settings: Settings = None,
    page: Page = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Answer what the paper leaves open: the largest model of a chip, updates of weights, other widths."""
    output = open_output(json, page, threads=threads)
    parts = _parts(page, LIMIT_PARTS)
    hardware = one_chip(chip, settings)
    from ohmformer.cli.grids import print_rows
    from ohmformer.reports import limits as tables
    from ohmformer.verbs.limits import limits as answer

    result = answer(model, hardware, tokens=tokens)
    content = output.write_json("limits", result)
    found = content["result"]
    for title, table in (
        (f"8-bit words of a die beside the rest of {hardware.name}", tables.capacity_table(found)),
        (f"updates of {model} in dense cells", tables.update_table(found)),
        (f"{model}, {tokens} tokens, operands of 2 to 16 bits", tables.width_table(found)),
    ):
        print_rows(output.console, title, table.headings, table.rows, table.right)
    _write(output, page, parts, tables.limit_tables(content))


def _parts(page: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of ``names`` the page has markers for; a page with none is refused before any work."""
    if page is None:
        return ()
    from ohmformer.reports.markdown import parts_of

    return parts_of(page, names)


def _write(output: Output, page: str | None, parts: tuple[str, ...], texts: Mapping[str, str]) -> None:
    if page is not None:
        from ohmformer.reports.markdown import rewrite

        output.say(f"Page: {rewrite(page, {name: texts[name] for name in parts})}")
