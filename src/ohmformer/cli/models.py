"""``models``: what can be loaded by name, without a network."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from ohmformer.cli.options import Debug, Json, Seed, Threads
from ohmformer.cli.outputs import open_output


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model that a Python package carries; ``installed``: the package's version, None if missing."""

    name: str
    architecture: str
    parameters: str
    tasks: tuple[str, ...]
    licence: str
    package: str
    installed: str | None


def models(json: Json = None, seed: Seed = 0, threads: Threads = None, debug: Debug = False) -> None:
    """List the embedded models with their licences, and the configurations that need no weights."""
    output = open_output(json, threads=threads)
    from ohmformer.workloads import embedded_models
    from ohmformer.workloads.shapes import SHAPES

    result = [
        KnownModel(
            name=model.name,
            architecture=model.architecture,
            parameters=model.parameters,
            tasks=model.tasks,
            licence=model.licence,
            package=f"{model.package.name}=={model.package.version}",
            installed=model.installed_version,
        )
        for model in embedded_models().values()
    ]
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "what", "parameters", "tasks", "licence", "package"):
        table.add_column(heading, overflow="fold")
    for model in result:
        package = model.package if model.installed else f"{model.package} (not installed)"
        table.add_row(
            model.name, model.architecture, model.parameters, ", ".join(model.tasks), model.licence, package
        )
    output.console.print(table)
    output.say(f"Without weights, for compile and estimate: {', '.join(SHAPES)}.")
    output.write_json("models", result)
