"""``tolerance``: how much of each noise a model bears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ohmformer.cli.kept import refuse_kept
from ohmformer.cli.options import Allow, Debug, Json, ModelName, Out, Seed, Settings, TaskName, Threads
from ohmformer.cli.outputs import Output, check_folder, open_output
from ohmformer.cli.progress import progress
from ohmformer.cli.setups import one_chip
from ohmformer.cli.tasks import Columns, classification_split, kind_of, refuse_overlap
from ohmformer.errors import UserError

if TYPE_CHECKING:
    from ohmformer.verbs.trials import Trial

__all__ = ["RESULT_FILE", "kept_in", "tolerance", "trial_of", "write_result"]

DEFAULT_TOKENS = 2048
DEFAULT_QUESTIONS = 100
RESULT_FILE = "tolerance.json"
JOURNAL_FILE = "journal.json"


def tolerance(
    model: ModelName,
    task: TaskName,
    chip: Annotated[
        str | None, typer.Option("--chip", metavar="NAME|FILE.yaml", help="The machine. Default: wang2024.")
    ] = None,
    settings: Settings = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise", metavar="NAME", help="A noise, such as telegraph; repeatable. Default: all of them."
        ),
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            "--loss",
            metavar="X%",
            help="Loss that counts: percentage points of accuracy, or relative rise of the perplexity.",
        ),
    ] = "1%",
    alone: Annotated[
        bool,
        typer.Option(
            "--alone/--with-others", help="All other noises off (default), or as they are in the chip."
        ),
    ] = True,
    up_to: Annotated[
        float, typer.Option("--up-to", metavar="X", help="Largest amplitude, in multiples of the chip's own.")
    ] = 64.0,
    resolution: Annotated[
        float, typer.Option("--resolution", metavar="RATIO", help="Ratio to which an edge is bisected.")
    ] = 1.25,
    published: Annotated[
        bool,
        typer.Option(
            "--published/--no-published",
            help="Also test the published statement (5x, and 18x with 1-bit cells) on its own machines.",
        ),
    ] = True,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Physical chips (seeds) behind each amplitude.")
    ] = 2,
    kind: Annotated[
        str | None, typer.Option("--kind", help="head, classifier, perplexity or choices, as in `evaluate`.")
    ] = None,
    train: Annotated[
        int | None, typer.Option("--train", min=1, help="Training texts of the head; default 2,000.")
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(
            "--test", min=1, help="Test texts (default 500), tokens (default 2,048) or questions (100)."
        ),
    ] = None,
    window: Annotated[int, typer.Option("--window", min=2, help="Perplexity: tokens seen at once.")] = 512,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Perplexity: tokens a window moves.")] = 256,
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of the labels.")] = "label",
    allow: Allow = None,
    out: Out = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find, for each noise alone, the amplitude at which MODEL's metric on TASK falls by 1 %.

    Doubling, then bisection; every amplitude is compared with the same chips without that noise on the same
    items. The result is the largest amplitude that surely costs less and the smallest that surely costs more.
    """
    bound = loss_of(loss)
    output = open_output(json, threads=threads)
    machine = one_chip(chip, settings)
    refuse_kept(model, "tolerance")
    columns = Columns(text=text_column, label=label_column)
    from ohmformer.verbs.tolerating import check_request, tolerate

    check_request(noise or None, bound=bound, repeat=repeat, up_to=up_to, resolution=resolution)
    with kept_in(out) as journal, progress() as step:
        trial = trial_of(
            model,
            task,
            kind_of(model, task, kind, columns),
            columns,
            train=train,
            test=test,
            window=window,
            stride=stride,
            seed=seed,
            options={"allow": tuple(allow or ()), "progress": step, **journal},
        )
        result = tolerate(
            trial,
            machine,
            noise or None,
            bound=bound,
            repeat=repeat,
            alone=alone,
            up_to=up_to,
            resolution=resolution,
            published=published,
            seed=seed,
        )
        from ohmformer.reports.tolerances import print_tolerances

        print_tolerances(output.say, result)
        write_result(output, "tolerance", result, out, RESULT_FILE)


def loss_of(text: str) -> float:
    """``1%`` or ``0.01`` as 0.01."""
    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%"))
    except ValueError as error:
        raise UserError(
            f"--loss is {text!r}: give a percentage such as 1% or a share such as 0.01."
        ) from error
    value = value / 100 if stripped.endswith("%") else value
    if not 0 < value < 1:
        raise UserError(f"--loss is {text!r}: it must lie between 0 and 100 % (write 1% or 0.01).")
    return value


@contextmanager
def kept_in(out: str | None) -> Iterator[dict[str, Any]]:
    """The journal in the folder ``out``, which is made where it is missing; nothing without a folder.

    A new folder in which nothing was written falls away again.
    """
    if out is None:
        yield {}
        return
    check_folder(out)
    from ohmformer.verbs import Journal

    folder = Path(out)
    journal = Journal(folder / JOURNAL_FILE)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield {"journal": journal}
    finally:
        if new:
            with suppress(OSError):  # something was written
                folder.rmdir()


def write_result(output: Output, name: str, result: Any, out: str | None, file: str) -> dict[str, Any]:
    """The JSON where the user wants it, and in the folder ``out``."""
    content = output.write_json(name, result)
    if out is not None:
        from ohmformer.verbs import write_document

        output.say(f"Result: {write_document(Path(out) / file, content)}")
    return content


def trial_of(
    model: str,
    task: str,
    kind: str,
    columns: Columns,
    *,
    train: int | None,
    test: int | None,
    window: int,
    stride: int,
    seed: int,
    options: dict[str, Any],
) -> Trial:
    """The model and its task, read and ready to be measured."""
    from ohmformer.verbs import trials
    from ohmformer.workloads import load_choices, load_classification, load_text

    if kind == "perplexity":
        text = load_text(task, text_column=columns.text)
        return trials.perplexity_trial(
            model, text, window=window, stride=stride, max_tokens=test or DEFAULT_TOKENS, **options
        )
    if kind == "choices":
        return trials.choices_trial(model, load_choices(task), limit=test or DEFAULT_QUESTIONS, **options)
    texts = load_classification(task, text_column=columns.text, label_column=columns.label)
    split = classification_split(texts, train, test, seed)
    if kind == "classifier":
        refuse_overlap(model, texts, split)
        return trials.classifier_trial(model, split, source=texts.source, **options)
    return trials.head_trial(model, split, source=texts.source, **options)
