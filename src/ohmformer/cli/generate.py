"""``generate``: text from a decoder on the chip."""

from __future__ import annotations

from typing import Annotated

import typer

from ohmformer.cli.kept import kept_seed
from ohmformer.cli.options import (
    Allow,
    Chips,
    Debug,
    Ideal,
    Json,
    Mode,
    ModelName,
    Scales,
    Seed,
    Settings,
    Threads,
)
from ohmformer.cli.outputs import open_output
from ohmformer.cli.progress import progress
from ohmformer.cli.setups import chips_from, setups_from


def generate(
    context: typer.Context,
    model: ModelName,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="Texts to continue.")],
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 40,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token each time.")
    ] = 0.0,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the chat template.")] = False,
    chip: Chips = None,
    settings: Settings = None,
    noise_scale: Scales = None,
    ideal: Ideal = True,
    mode: Mode = None,
    allow: Allow = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Continue prompts with MODEL: fp32, the ideal chip and noisy chips side by side.

    A folder that `deploy --save` wrote runs on its own physical chip alone.
    """
    output = open_output(json, threads=threads)
    kept = kept_seed(context, model)
    if kept is None:
        setups = setups_from(chips_from(chip, settings), settings, noise_scale, with_ideal=ideal, mode=mode)
    else:
        setups, seed = [], kept
    from ohmformer import verbs
    from ohmformer.cli.tables import print_generation

    with progress() as step:
        result = verbs.generate(
            model,
            prompts,
            setups,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            chat=chat,
            seed=seed,
            allow=tuple(allow or ()),
            progress=step,
        )
    print_generation(output.console, result)
    output.write_json("generation", result)
