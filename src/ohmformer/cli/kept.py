"""MODEL as a folder that ``deploy --save`` wrote: one physical chip, so no option may ask for another."""

from __future__ import annotations

from pathlib import Path

import typer

from ohmformer.errors import UserError

__all__ = ["is_kept", "kept_seed", "refuse_kept"]

SETTLED = (
    *("chip", "settings", "noise_scale", "ideal", "mode", "compensate", "static_scales", "repeat"),
    *("allow", "resume", "seed"),
)


def kept_seed(context: typer.Context, model: str) -> int | None:
    """The seed of the deployed model that the folder MODEL holds; None for any other model.

    Error: UserError for an option beside it that would need another chip, or a damaged folder.
    """
    if not is_kept(model):
        return None
    from ohmformer.workloads.checkpoints import deployed_index

    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in SETTLED and source is not None and source.name == "COMMANDLINE":
            raise UserError(
                f"{model} holds a deployed model, one physical chip with its own fields, seed and mode: "
                f"{parameter.opts[0]} cannot be given beside it."
            )
    seed = (deployed_index(model) or {}).get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"{model} holds no complete deployed model: its seed is {seed!r}.")
    return seed


def refuse_kept(model: str, command: str) -> None:
    """Error: UserError for a command that runs MODEL on chips of its own."""
    if is_kept(model):
        raise UserError(
            f"{model} holds a deployed model, one physical chip: {command} needs the model that it was made "
            f"of; generate and evaluate run it."
        )


def is_kept(model: str) -> bool:
    """Whether MODEL is a folder that holds a deployed model."""
    if not (Path(model).expanduser() / "ohmformer.json").is_file():
        return False  # without loading what reads models
    from ohmformer.workloads.checkpoints import deployed_index

    return deployed_index(model) is not None
