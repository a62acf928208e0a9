"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli import (
    amplitudes,
    chips,
    claims,
    compile,
    demo,
    deploy,
    emit,
    encodings,
    estimate,
    evaluate,
    finetune,
    generate,
    models,
    tolerance,
    verify,
    wires,
)

__all__ = ["app"]

app = typer.Typer(
    name="ohmformer",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Runs language models on a simulated chip of memristor and resistor crossbars, and counts its cost.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ohmformer {version('ohmformer')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a command."""


app.command("demo")(demo.demo)
app.command("evaluate")(evaluate.evaluate)
app.command("tolerance")(tolerance.tolerance)
app.command("amplitudes")(amplitudes.amplitudes)
app.command("generate")(generate.generate)
app.command("compile")(compile.compile_)
app.command("estimate")(estimate.estimate)
app.command("claims")(claims.claims)
app.command("limits")(claims.limits)
app.command("encodings")(encodings.encodings)
app.command("verify")(verify.verify)
app.command("wires")(wires.wires)
app.command("deploy")(deploy.deploy)
app.command("finetune")(finetune.finetune)
app.command("models")(models.models)
app.add_typer(emit.app, name="emit")
app.add_typer(chips.app, name="chips")
