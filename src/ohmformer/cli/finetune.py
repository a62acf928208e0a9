"""``finetune``: make a classifier once and keep it; with the chip in the loop, if asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ohmformer.cli.options import Debug, Json, ModelName, Seed, Settings, Threads
from ohmformer.cli.outputs import Output, check_folder, open_output
from ohmformer.cli.progress import progress
from ohmformer.cli.setups import TELEGRAPH, one_chip, setups_from
from ohmformer.errors import UserError

if TYPE_CHECKING:
    from ohmformer.specs import ChipSpec
    from ohmformer.verbs.tuning import TunedScore


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """A fine-tuned classifier: the folder that holds it, and what it was made from.

    chip, chip_name, plain_folder: where it was trained with a chip in the loop: the chip, and the classifier
                                   that it began with, tuned in fp32
    texts, comparison:             the texts compared on (``test`` or ``validation``), both classifiers there
    """

    folder: str
    model: str
    task: str
    source: str
    train: int
    test: int
    epochs: int
    seed: int
    chip_name: str | None = None
    chip: ChipSpec | None = None
    chip_epochs: int | None = None
    plain_folder: str | None = None
    texts: str | None = None
    comparison: tuple[TunedScore, ...] = ()


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
    on_chip: Annotated[
        str | None,
        typer.Option(
            "--on-chip",
            metavar="NAME|FILE.yaml",
            help="After the fp32 training, go on with this chip in the loop.",
        ),
    ] = None,
    noise_scale: Annotated[
        float | None,
        typer.Option(
            "--noise-scale",
            min=0.0,
            metavar="X",
            help="Train at X times the published telegraph noise instead of the chip's own.",
        ),
    ] = None,
    ramp_from: Annotated[
        float | None,
        typer.Option(
            "--ramp-from", min=0.0, metavar="X", help="Let the noise rise from X in the first third."
        ),
    ] = None,
    chip_epochs: Annotated[
        int, typer.Option("--chip-epochs", min=1, help="Epochs with the chip in the loop.")
    ] = 1,
    settings: Settings = None,
    compare: Annotated[
        list[float] | None,
        typer.Option(
            "--compare",
            metavar="X",
            help="Afterwards put both classifiers on chips at X times the telegraph noise; repeatable.",
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            "--validation",
            min=1,
            help="Compare on so many texts that are neither trained on nor kept for the test.",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Physical chips that are compared on.")] = 2,
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
    """Train MODEL with a classification head, keep it, and print its folder.

    In fp32; with --on-chip then in the loop with a chip, which makes it bear that chip's noise. Only
    --compare evaluates anything.
    """
    output = open_output(json, threads=threads)
    if cache is not None:
        check_folder(cache)
    if on_chip is None and (noise_scale, ramp_from, settings, compare) != (None,) * 4:
        raise UserError("--noise-scale, --ramp-from, --set and --compare need a chip: give --on-chip.")
    chip = None if on_chip is None else _training_chip(on_chip, settings, noise_scale)
    from ohmformer.verbs import tuning
    from ohmformer.workloads import finetune_classifier, load_classification

    loop = None if chip is None else tuning.ChipInTheLoop(chip=chip, seed=seed, ramp_from=ramp_from)
    texts = load_classification(task, text_column=text_column, label_column=label_column)
    split = texts.split(train, test, seed)
    kept = Path(cache) if cache is not None else None
    measured = split if validation is None else tuning.validation_split(texts, split, validation)
    with progress() as step:
        folder = finetune_classifier(
            model,
            split,
            epochs=epochs,
            seed=seed,
            cache_dir=kept,
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
        if loop is not None:
            tuned = tuning.tune_on_chip(
                str(folder),
                split,
                loop,
                epochs=chip_epochs,
                cache_dir=kept,
                progress=lambda done, total: step("training steps on the chip", done, total),
            )
            result = replace(
                result,
                folder=str(tuned),
                chip_name=loop.chip.name,
                chip=loop.chip,
                chip_epochs=chip_epochs,
                plain_folder=str(folder),
            )
        if compare and on_chip is not None:
            setups = setups_from([one_chip(on_chip, settings)], settings, compare, with_ideal=True)
            # the seed of the training is left out: other chips than any it may have seen
            seeds = range(seed + 1, seed + 1 + repeat)
            found = tuning.compare_tuned(
                str(folder), result.folder, measured, setups, seeds=seeds, progress=step
            )
            result = replace(result, comparison=found, texts="test" if validation is None else "validation")
    output.say(result.folder)
    _print_comparison(output, result)
    output.write_json("finetuning", result)


def _training_chip(name: str, settings: list[str] | None, scale: float | None) -> ChipSpec:
    from ohmformer.specs import override

    chip = one_chip(name, settings)
    return chip if scale is None else override(chip, {TELEGRAPH: float(scale)})


def _print_comparison(output: Output, result: Finetuning) -> None:
    """One line a setup: accuracy of both classifiers and the paired gain, mean over chips."""
    if not result.comparison:
        return
    n = result.comparison[0].gain.n
    seeds = ", ".join(str(pair.seed) for pair in result.comparison[-1].pairs)
    output.say(f"Accuracy on {n:,} {result.texts} texts, mean over chips (seeds {seeds}):")
    for score in result.comparison:
        gain = score.gain
        output.say(
            f"{score.label}: fp32 training {100 * score.plain:.1f} %, with the chip "
            f"{100 * score.on_chip:.1f} %, gain {100 * gain.value:+.1f} points "
            f"({100 * gain.low:+.1f} … {100 * gain.high:+.1f})"
        )
