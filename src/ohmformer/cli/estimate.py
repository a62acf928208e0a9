"""``estimate``: what a model costs on the chip, beside the alternatives."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.options import Debug, Json, ModelName, Report, Seed, Settings, Threads
from ohmformer.cli.outputs import open_output
from ohmformer.cli.setups import one_chip


def estimate(
    model: ModelName,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of each sequence.")] = 128,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Sequences at once.")] = 1,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip", metavar="NAME|FILE.yaml", help="A named chip or a chip file. Default: wang2024."
        ),
    ] = None,
    settings: Settings = None,
    report: Report = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Area, energy, time and lifetime of one run of MODEL, counted from its shapes (no weights)."""
    output = open_output(json, report, threads=threads)
    hardware = one_chip(chip, settings)
    from ohmformer import verbs
    from ohmformer.cli.tables import print_estimate

    result = verbs.estimate(model, hardware, batch=batch, tokens=tokens)
    print_estimate(output.console, result)
    content = output.write_json("estimate", result)
    if report is not None:
        from ohmformer.reports import estimate_report, write_report

        output.say(f"Report: {write_report(report, estimate_report(result, content))}")
