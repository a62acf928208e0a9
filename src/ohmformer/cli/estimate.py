"""``estimate``: what a model costs on the chip, beside the alternatives."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.options import (
    Batch,
    Chip,
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
from ohmformer.errors import UserError


def estimate(
    model: ModelName,
    phase: Phase = "encode",
    tokens: Tokens = 128,
    batch: Batch = 1,
    context: Context = None,
    generate: Annotated[
        int | None,
        typer.Option("--generate", min=1, metavar="N", help="Generate N tokens behind a prompt of --tokens."),
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option(
            "--timeline", metavar="FILE.json", help="Write the schedule for Chrome's or Perfetto's viewer."
        ),
    ] = None,
    chip: Chip = None,
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
    output = open_output(json, report, timeline, threads=threads)
    hardware = one_chip(chip, settings)
    run = run_of(phase, tokens=tokens, batch=batch, context=context)
    from ohmformer import verbs
    from ohmformer.cli.tables import print_estimate, print_generation_costs

    if generate is not None:
        _refuse_with_generate(phase, context, report, timeline)
        costs = verbs.estimate_generation(model, hardware, tokens=generate, prompt=tokens, batch=batch)
        print_generation_costs(output.console, costs)
        output.write_json("generation-estimate", costs)
        return
    program = verbs.program_of(model, hardware, **run)
    result = verbs.estimate(program, hardware)
    print_estimate(output.console, result)
    content = output.write_json("estimate", result)
    if report is not None:
        from ohmformer.reports import estimate_report, write_report

        output.say(f"Report: {write_report(report, estimate_report(result, content))}")
    if timeline is not None:
        output.say(f"Timeline: {verbs.write_timeline(program, hardware, timeline)}")


def _refuse_with_generate(phase: str, context: int | None, report: str | None, timeline: str | None) -> None:
    """A generation is a prefill and many decode steps: options of a single run do not belong to it."""
    given = {"--phase": phase != "encode", "--context": context is not None}
    given |= {"--report": report is not None, "--timeline": timeline is not None}
    for option, there in given.items():
        if there:
            raise UserError(f"{option} is for one run: leave it out with --generate.")
