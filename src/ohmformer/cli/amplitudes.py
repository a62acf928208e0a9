"""``amplitudes``: accuracy and perplexity against the amplitude of a noise, and the picture of it."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from ohmformer.cli.options import Chips, Debug, Json, Out, Seed, Settings, Threads
from ohmformer.cli.outputs import check_file, open_output
from ohmformer.cli.progress import progress
from ohmformer.cli.setups import chips_from
from ohmformer.cli.tolerance import kept_in, write_result
from ohmformer.errors import UserError, write_atomically

__all__ = ["amplitudes"]

RESULT_FILE = "amplitudes.json"
NONE = "none"


def amplitudes(
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="MODEL", help="Classifies headlines; none leaves it out.")
    ] = "minilm",
    decoder: Annotated[
        str, typer.Option("--decoder", metavar="MODEL", help="Predicts text; none leaves it out.")
    ] = "smollm2",
    chip: Chips = None,
    settings: Settings = None,
    amplitude: Annotated[
        list[float] | None,
        typer.Option("--amplitude", metavar="X", help="A multiple of the chip's own; repeatable."),
    ] = None,
    noise: Annotated[str, typer.Option("--noise", metavar="NAME", help="The noise.")] = "telegraph",
    task: Annotated[str, typer.Option("--task", help="Texts with labels.")] = "sarcasm",
    text: Annotated[str, typer.Option("--text", help="Running text.")] = "wikipedia-sample",
    train: Annotated[int, typer.Option("--train", min=1, help="Training texts of the head.")] = 2000,
    test: Annotated[int, typer.Option("--test", min=1, help="Test texts.")] = 500,
    limit: Annotated[int, typer.Option("--limit", min=129, help="Tokens.")] = 1024,
    window: Annotated[int, typer.Option("--window", min=2, help="Tokens seen at once.")] = 256,
    encoder_repeat: Annotated[
        int, typer.Option("--encoder-repeat", min=1, help="Physical chips at each amplitude.")
    ] = 3,
    decoder_repeat: Annotated[
        int, typer.Option("--decoder-repeat", min=1, help="Physical chips at each amplitude.")
    ] = 2,
    drawn_from: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE.json", help="Only draw the picture of an earlier result."),
    ] = None,
    picture: Annotated[
        str | None, typer.Option("--picture", metavar="FILE.svg", help="Draw the picture.")
    ] = None,
    out: Out = None,
    json: Json = None,
    seed: Seed = 1,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Measure an encoder and a decoder at several amplitudes of a noise, with cells of 1, 2 and 4 bits.

    All other noises stay as they are in each chip. Without --chip and --amplitude the amplitudes lie where
    each kind of cell begins to be misread.
    """
    output = open_output(json, threads=threads)
    if picture is not None:
        check_file(picture)
    if drawn_from is not None:
        if picture is None:
            raise UserError("--from only draws: give the picture's file with --picture.")
        content = _read(drawn_from)
    else:
        chips = None if chip is None and settings is None else chips_from(chip, settings)
        from ohmformer.verbs.amplitudes import measure_amplitudes

        with kept_in(out) as journal, progress() as step:
            result = measure_amplitudes(
                None if encoder == NONE else encoder,
                None if decoder == NONE else decoder,
                chips=chips,
                amplitudes=amplitude,
                noise=noise,
                task=task,
                text=text,
                train=train,
                test=test,
                max_tokens=limit,
                window=window,
                encoder_repeat=encoder_repeat,
                decoder_repeat=decoder_repeat,
                seed=seed,
                progress=step,
                **journal,
            )
            from ohmformer.cli.tables import print_evaluation

            for found in (result.encoder, result.decoder):
                if found is not None:
                    print_evaluation(output.console, found)
            content = write_result(output, "amplitudes", result, out, RESULT_FILE)
    if picture is not None:
        from ohmformer.reports.amplitudes import amplitude_picture

        output.say(f"Picture: {write_atomically(picture, amplitude_picture(content) + chr(10))}")


def _read(file: str) -> dict[str, Any]:
    try:
        content = json_format.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: give the amplitudes.json of a run.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no result of `ohmformer amplitudes`.")
    return content
