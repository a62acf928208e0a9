"""``compile``: a model's run as sub-operations, printed and kept."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.options import Batch, Chip, Context, Debug, Json, ModelName, Phase, Settings, Tokens
from ohmformer.cli.outputs import open_output
from ohmformer.cli.runs import run_of
from ohmformer.cli.setups import one_chip


def compile_(
    model: ModelName,
    phase: Phase = "encode",
    tokens: Tokens = 128,
    batch: Batch = 1,
    context: Context = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE.json", help="Keep the program in this file.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every layer and every move of numbers.")
    ] = False,
    chip: Chip = None,
    settings: Settings = None,
    json: Json = None,
    debug: Debug = False,
) -> None:
    """Take the run of MODEL apart into sub-operations, from its configuration alone (no weights)."""
    output = open_output(json, out)
    hardware = one_chip(chip, settings)
    run = run_of(phase, tokens=tokens, batch=batch, context=context)
    from ohmformer.ir import render, save_program
    from ohmformer.verbs import compile_model

    made = compile_model(model, hardware, **run)
    saved = save_program(made.program, out) if out is not None else None
    output.say(render(made.program, fold=not everything, moves=everything))
    for assumption in made.program.assumptions:
        output.say(f"Assumed: {assumption}")
    calls = sum(made.aten_calls.values())
    output.say(
        f"{calls:,} ATen operations are all accounted for; their products make {made.aten_macs:,} "
        f"multiply-accumulates, sums and squares in crossbars {made.program.macs - made.aten_macs:,} more."
    )
    if saved is not None:
        output.say(f"Program: {saved}")
    output.write_json("compilation", made)
