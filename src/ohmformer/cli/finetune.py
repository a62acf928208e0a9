"""``finetune``: make a classifier once and keep it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ohmformer.cli.options import Debug, Json, ModelName, Seed, Threads
from ohmformer.cli.outputs import check_folder, open_output
from ohmformer.cli.progress import progress


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """A fine-tuned classifier: the folder that holds it, and what it was made from."""

    folder: str
    model: str
    task: str
    source: str
    train: int
    test: int
    epochs: int
    seed: int


def finetune(
    model: ModelName,
    task: Annotated[
        str, typer.Option("--task", help="sarcasm, or a .csv, .tsv or .jsonl file of texts and labels.")
    ],
    train: Annotated[int, typer.Option("--train", min=1, help="Training texts.")] = 8000,
    test: Annotated[
        int, typer.Option("--test", min=1, help="Texts kept out of the training, for `evaluate`.")
    ] = 500,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 1,
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of the labels.")] = "label",
    cache: Annotated[
        str | None,
        typer.Option("--cache", metavar="DIR", help="Where classifiers are kept; default: the user's cache."),
    ] = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train MODEL with a classification head in fp32, keep it, and print its folder; evaluates nothing."""
    output = open_output(json, threads=threads)
    if cache is not None:
        check_folder(cache)
    from ohmformer.workloads import finetune_classifier, load_classification

    texts = load_classification(task, text_column=text_column, label_column=label_column)
    split = texts.split(train, test, seed)
    with progress() as step:
        folder = finetune_classifier(
            model,
            split,
            epochs=epochs,
            seed=seed,
            cache_dir=Path(cache) if cache is not None else None,
            progress=lambda done, total: step("training steps", done, total),
        )
    result = Finetuning(
        folder=str(folder),
        model=model,
        task=texts.name,
        source=texts.source,
        train=len(split.train_texts),
        test=len(split.test_texts),
        epochs=epochs,
        seed=seed,
    )
    output.say(result.folder)
    output.write_json("finetuning", result)
