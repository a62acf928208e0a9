"""``deploy``: put a model on the chip, show where each operation runs, keep the result."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ohmformer.cli.options import Allow, Chip, Debug, Json, Mode, ModelName, Seed, Settings, Threads
from ohmformer.cli.outputs import check_new_folder, open_output
from ohmformer.cli.setups import mode_for, one_chip
from ohmformer.cli.tasks import FINETUNE_RECORD, default_task
from ohmformer.errors import UserError

TASKS = ("encoder", "classifier", "causal", "masked")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployed model.

    coverage:     where each operation runs, as the checking run found it
    stored_words: words of ``weight_bits`` in the dense crossbar
    folder:       where it is kept, None if it is not
    """

    model: str
    origin: str
    task: str
    seed: int
    mode: str
    stored_words: int
    coverage: tuple[Any, ...]
    chip_name: str
    chip: dict[str, Any]
    folder: str | None


def deploy(
    model: ModelName,
    save: Annotated[
        str | None, typer.Option("--save", metavar="DIR", help="Keep the deployed model in this folder.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--as", help="encoder, classifier, causal or masked; by default what its configuration names."
        ),
    ] = None,
    chip: Chip = None,
    settings: Settings = None,
    mode: Mode = None,
    allow: Allow = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Put MODEL on the chip and show where each of its operations runs."""
    output = open_output(json, threads=threads)
    if save is not None:
        check_new_folder(save)
    hardware = one_chip(chip, settings)
    chosen_mode = mode_for(hardware, mode)
    if task is not None and task not in TASKS:
        raise UserError(f"--as is {task!r}: allowed are {', '.join(TASKS)}.")
    from ohmformer.cli.tables import print_coverage
    from ohmformer.deploy import deploy as put_on_chip
    from ohmformer.deploy import on_chip, save_deployed
    from ohmformer.deploy.coverage import HOST
    from ohmformer.reports.wording import mode_reason
    from ohmformer.specs import leaves
    from ohmformer.workloads import load_model

    chosen = task or default_task(model)
    loaded = load_model(model, task=chosen)  # type: ignore[arg-type]
    deployed = put_on_chip(loaded.model, hardware, seed=seed, mode=chosen_mode, allow=tuple(allow or ()))
    state = on_chip(deployed)
    folder = None
    if save is not None:
        folder = str(save_deployed(deployed, folder=Path(save), tokenizer=loaded.tokenizer))
        record = Path(model).expanduser() / FINETUNE_RECORD
        if record.is_file():  # what it was trained on stays known, so that it is not tested on that
            shutil.copyfile(record, Path(save) / FINETUNE_RECORD)
    result = Deployment(
        model=loaded.name,
        origin=loaded.origin,
        task=chosen,
        seed=seed,
        mode=state.mode,
        stored_words=state.stored_words,
        coverage=state.coverage,
        chip_name=hardware.name,
        chip=dict(leaves(hardware)),
        folder=folder,
    )
    print_coverage(
        output.console,
        result.coverage,
        f"{result.model} on {result.chip_name}: {result.stored_words:,} words in the dense crossbar",
    )
    why = mode_reason(state.mode, asked=mode is not None)
    output.say(f"Simulation: {state.mode}, {why}; computed by {state.computed_by}.")
    left = {row.operation for row in state.coverage if row.where == HOST}
    for name in dict.fromkeys(allow or ()):
        if name not in left:
            output.say(
                f"--allow {name}: the checking run met no operation of that name to leave to the host."
            )
    if folder is not None:
        output.say(f"Deployed model: {folder}")
    output.write_json("deployment", result)
