"""``chips``: the named chips, one with its sources, the differences of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table

from ohmformer.cli.options import Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import chips_from, one_chip
from ohmformer.specs import Source, describe, differences, leaves, names, sources_of

__all__ = ["Change", "ChipField", "NamedChip", "app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Named chips, their fields and sources.")

Value = bool | int | float | str
ChipArgument = Annotated[str, typer.Argument(metavar="NAME|FILE.yaml")]


@dataclass(frozen=True, kw_only=True)
class NamedChip:
    """A chip that can be named."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class ChipField:
    """One field of a chip: dotted path, value, where the value comes from."""

    path: str
    value: Value
    source: Source


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field in which two chips differ."""

    path: str
    first: Value
    second: Value


@app.command("list")
def list_chips(json: Json = None, seed: Seed = 0, threads: Threads = None, debug: Debug = False) -> None:
    """List the named chips."""
    output = open_output(json, threads=threads)
    result = [NamedChip(name=name, description=describe(name)) for name in names()]
    table = _table("chip", "what it is")
    for chip in result:
        table.add_row(chip.name, chip.description)
    output.console.print(table)
    if json is not None:
        output.write_json("chips", result)


@app.command("show")
def show(
    chip: ChipArgument,
    settings: Settings = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Show every field of a chip with its source."""
    output = open_output(json, threads=threads)
    hardware = one_chip(chip, settings)
    sources = sources_of(hardware)
    result = [
        ChipField(path=path, value=value, source=sources[path]) for path, value in leaves(hardware).items()
    ]
    table = _table("field", "value", "kind", "source")
    for field in result:
        table.add_row(field.path, _text(field.value), field.source.kind, field.source.text)
    output.console.print(table)
    if json is not None:
        output.write_json("chip", result)


@app.command("diff")
def diff(
    first: ChipArgument,
    second: ChipArgument,
    settings: Settings = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Show the fields in which two chips differ."""
    output = open_output(json, threads=threads)
    one, other = (chips_from([name], settings)[0] for name in (first, second))
    result = [
        Change(path=path, first=values[0], second=values[1])
        for path, values in differences(one, other).items()
    ]
    table = _table("field", first, second)
    for change in result:
        table.add_row(change.path, _text(change.first), _text(change.second))
    output.console.print(table)
    if json is not None:
        output.write_json("chip_difference", result)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
