"""``demo``: the main job on the embedded models and data, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ohmformer.cli.options import Debug, Json, Resume, Seed, Threads
from ohmformer.cli.outputs import check_folder, open_output
from ohmformer.cli.progress import progress
from ohmformer.errors import UserError

REPORT = "report.html"
DOCUMENT = "report.json"


def demo(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for report.html and report.json.")
    ] = "reports",
    train: Annotated[int, typer.Option("--train", min=2, help="Headlines the head is trained on.")] = 2000,
    test: Annotated[int, typer.Option("--test", min=2, help="Headlines it is tested on.")] = 1000,
    resume: Resume = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """The whole story in minutes: accuracy, text and costs of two real models on the chip, and a report."""
    check_folder(out)
    output = open_output(json, resume, threads=threads)
    from ohmformer.cli.tables import print_estimate, print_evaluation, print_generation
    from ohmformer.reports import demo_report, write_report
    from ohmformer.verbs import Journal, demonstrate, write_document

    with progress() as step:
        result = demonstrate(
            train=train,
            test=test,
            seed=seed,
            journal=Journal(resume) if resume else None,
            progress=step,
        )
    for part in (result.classification, result.sweep, result.perplexity):
        print_evaluation(output.console, part)
    print_generation(output.console, result.generation)
    for costs in result.estimates:
        print_estimate(output.console, costs)
    content = output.write_json("demo", result)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {out}: {error.strerror or error}.") from error
    write_document(folder / DOCUMENT, content)
    report = write_report(folder / REPORT, demo_report(result, content))
    output.say(f"Report: {report}   (the same as JSON: {folder / DOCUMENT})")
    for sentence in result.verdict:
        output.say(sentence)
