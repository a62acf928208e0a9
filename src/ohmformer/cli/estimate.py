"""``estimate``: what a model costs on the chip, beside the alternatives."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.options import (
    Batch,
    Context,
    Debug,
    Json,
    ModelName,
    Phase,
    Report,
    Seed,
    Settings,
    Threads,
    Tokens,
)
from ohmformer.cli.outputs import open_output
from ohmformer.cli.runs import run_of
from ohmformer.cli.setups import one_chip


def estimate(
    model: ModelName,
    phase: Phase = "encode",
    tokens: Tokens = 128,
    batch: Batch = 1,
    context: Context = None,
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
    """Area, energy, time and lifetime of one run of MODEL, counted from its shapes (no weights).

    MODEL may also be a program file that `compile --out` wrote.
    """
    output = open_output(json, report, threads=threads)
    hardware = one_chip(chip, settings)
    run = run_of(phase, tokens=tokens, batch=batch, context=context)
    from ohmformer import verbs
    from ohmformer.cli.tables import print_estimate

    result = verbs.estimate(model, hardware, **run)
    print_estimate(output.console, result)
    content = output.write_json("estimate", result)
    if report is not None:
        from ohmformer.reports import estimate_report, write_report

        output.say(f"Report: {write_report(report, estimate_report(result, content))}")
