"""``evaluate``: a model on a task, fp32 beside chips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
    Report,
    Resume,
    Scales,
    Seed,
    Settings,
    Threads,
)
from ohmformer.cli.outputs import Output, open_output
from ohmformer.cli.progress import progress
from ohmformer.cli.setups import chips_from, setups_from
from ohmformer.cli.tasks import Columns, classification_split, kind_of, refuse_overlap
from ohmformer.errors import UserError

if TYPE_CHECKING:
    from ohmformer.verbs import EvaluationResult, Setup

DEFAULT_TOKENS = 2048
DEFAULT_QUESTIONS = 100
MEASURED = {"head": "an accuracy", "classifier": "an accuracy", "perplexity": "a perplexity"}


def evaluate(
    context: typer.Context,
    model: ModelName,
    task: Annotated[
        str,
        typer.Option(
            "--task", help="sarcasm, wikipedia-sample, mmlu-sample, or a .csv, .tsv, .jsonl or .txt file."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="head (frozen encoder under a logistic regression), classifier, perplexity or choices; "
            "by default what the task and the model's own head mean.",
        ),
    ] = None,
    chip: Chips = None,
    settings: Settings = None,
    noise_scale: Scales = None,
    ideal: Ideal = True,
    mode: Mode = None,
    compensate: Annotated[
        bool,
        typer.Option("--compensate", help="Round weights with compensation, on items that are not scored."),
    ] = False,
    static_scales: Annotated[
        bool,
        typer.Option("--static-scales", help="Fixed scales of operands, found on items that are not scored."),
    ] = False,
    train: Annotated[
        int | None, typer.Option("--train", min=1, help="Training texts of the head; default 2,000.")
    ] = None,
    test: Annotated[int | None, typer.Option("--test", min=1, help="Test texts; default 500.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=0, help="Tokens (default 2,048) or questions (default 100); 0 takes all."
        ),
    ] = None,
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column of the labels.")] = "label",
    question_column: Annotated[str, typer.Option("--question-column")] = "question",
    choices_column: Annotated[str, typer.Option("--choices-column")] = "choices",
    answer_column: Annotated[str, typer.Option("--answer-column")] = "answer",
    window: Annotated[int, typer.Option("--window", min=2, help="Perplexity: tokens seen at once.")] = 512,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Perplexity: tokens a window moves.")] = 256,
    normalise: Annotated[
        str, typer.Option("--normalise", help="Choices: divide the likelihood by none, bytes or tokens.")
    ] = "none",
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Physical chips (seeds) behind each noisy score.")
    ] = 1,
    allow: Allow = None,
    resume: Resume = None,
    report: Report = None,
    json: Json = None,
    seed: Seed = 0,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Score MODEL on a task: fp32, the ideal chip and noisy chips side by side, with intervals.

    A folder that `deploy --save` wrote is scored on its own physical chip alone.
    """
    output = open_output(json, report, resume, threads=threads)
    setups: list[Setup] = []
    kept = kept_seed(context, model)
    if kept is None:
        setups = setups_from(
            chips_from(chip, settings),
            settings,
            noise_scale,
            with_ideal=ideal,
            mode=mode,
            compensated=compensate,
            calibrated=static_scales,
        )
    else:
        seed = kept
    columns = Columns(
        text=text_column,
        label=label_column,
        question=question_column,
        choices=choices_column,
        answer=answer_column,
    )
    meant = kind_of(model, task, kind, columns)
    given = context.get_parameter_source("normalise")
    if meant != "choices" and given is not None and given.name == "COMMANDLINE":
        raise UserError(f"--normalise is for choices alone: this measures {MEASURED[meant]}.")
    from ohmformer.verbs import Journal

    with progress() as step:
        result = _measure(
            model,
            task,
            meant,
            columns,
            setups,
            train=train,
            test=test,
            limit=limit,
            window=window,
            stride=stride,
            normalise=normalise,
            common={
                "seed": seed,
                "repeat": repeat,
                "allow": tuple(allow or ()),
                "journal": Journal(resume) if resume else None,
                "progress": step,
            },
        )
    _show(output, result, report)


def _measure(
    model: str,
    task: str,
    kind: str,
    columns: Columns,
    setups: list[Setup],
    *,
    train: int | None,
    test: int | None,
    limit: int | None,
    window: int,
    stride: int,
    normalise: str,
    common: dict[str, Any],
) -> EvaluationResult:
    from ohmformer import verbs
    from ohmformer.workloads import load_choices, load_classification, load_text

    if kind in ("head", "classifier"):
        texts = load_classification(task, text_column=columns.text, label_column=columns.label)
        split = classification_split(texts, train, test, common["seed"])
        if kind == "head":
            return verbs.evaluate_head(model, split, setups, source=texts.source, **common)
        refuse_overlap(model, texts, split)
        return verbs.evaluate_classifier(model, split, setups, source=texts.source, **common)
    if kind == "perplexity":
        text = load_text(task, text_column=columns.text)
        tokens = DEFAULT_TOKENS if limit is None else limit or None
        return verbs.evaluate_perplexity(
            model, text, setups, window=window, stride=stride, max_tokens=tokens, **common
        )
    questions = load_choices(
        task,
        question_column=columns.question,
        choices_column=columns.choices,
        answer_column=columns.answer,
    )
    count = DEFAULT_QUESTIONS if limit is None else limit or None
    return verbs.evaluate_multiple_choice(
        model,
        questions,
        setups,
        limit=count,
        normalise=normalise,  # type: ignore[arg-type]  # refused there if it is none of the three
        **common,
    )


def _show(output: Output, result: EvaluationResult, report: str | None) -> None:
    from ohmformer.cli.tables import print_evaluation

    print_evaluation(output.console, result)
    content = output.write_json("evaluation", result)
    if report is not None:
        from ohmformer.reports import evaluation_report, write_report

        output.say(f"Report: {write_report(report, evaluation_report(result, content))}")
