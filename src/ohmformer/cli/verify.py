"""``verify``: circuits and hardware of a chip against the model, one row a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ohmformer.cli.options import Debug, Json, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import one_chip

if TYPE_CHECKING:
    from ohmformer.verbs.verify_rows import Check

__all__ = ["verify"]

COLUMNS = ("check", "what", "tool", "cases", "worst error", "bound", "verdict", "s")


def verify(
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", metavar="NAME|FILE.yaml", help="A named chip or a chip file. Default: wang2024."
        ),
    ] = None,
    settings: Settings = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small tiles: under a minute.")] = False,
    liberty: Annotated[
        str | None,
        typer.Option("--liberty", metavar="FILE.lib", help="Map the hardware's gates to this file's cells."),
    ] = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Check the model of a chip against simulations of its circuits and hardware.

    The exit code is 1 where a check did not pass.
    """
    output = open_output(json, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer.cli.grids import print_rows
    from ohmformer.cli.progress import progress
    from ohmformer.verbs.verifying import verify as run_checks

    seen: list[Check] = []
    try:
        with progress() as step:
            result = run_checks(
                hardware, quick=quick, seed=seed, liberty=liberty, progress=step, row=seen.append
            )
    finally:  # where a part of the chip cannot be built, what was found of the others stands
        if seen:
            title = f"{hardware.name}: the model against circuits and hardware"
            print_rows(output.console, title, COLUMNS, [_row(check) for check in seen], right=(3, 7))
    if json is not None:
        output.write_json("verification", result)
    if not result.passed:
        raise typer.Exit(1)


def _row(check: Check) -> tuple[str, ...]:
    return (
        check.name,
        check.what,
        check.tool,
        str(check.cases),
        f"{check.worst:.1e} {check.unit}",
        f"{check.bound:g}",
        "passed" if check.passed else "FAILED",
        f"{check.seconds:.1f}",
    )
