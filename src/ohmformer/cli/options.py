"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Allow",
    "Batch",
    "Chip",
    "Chips",
    "Context",
    "Debug",
    "Ideal",
    "Json",
    "Mode",
    "ModelName",
    "Out",
    "Phase",
    "Report",
    "Resume",
    "Scales",
    "Seed",
    "Settings",
    "TaskName",
    "Threads",
    "Tokens",
]

MAX_SEED = (1 << 63) - 1  # a generator takes 64 bits, and some seeds are counted up from it

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="An embedded model (see `models`), a Hugging Face folder or hub id; to compile or to estimate "
        "also a published configuration or a JSON file.",
    ),
]
TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="sarcasm, wikipedia-sample, mmlu-sample, or a .csv, .tsv, .jsonl or .txt file."
    ),
]
Chips = Annotated[
    list[str] | None,
    typer.Option(
        "--chip",
        metavar="NAME|FILE.yaml",
        help="A named chip (see `chips list`) or a chip file; repeatable. Default: wang2024.",
    ),
]
Chip = Annotated[
    str | None,
    typer.Option("--chip", metavar="NAME|FILE.yaml", help="A named chip or a chip file. Default: wang2024."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a field of every chip, such as dense.cell.bits=1; repeatable.",
    ),
]
Scales = Annotated[
    list[float] | None,
    typer.Option(
        "--noise-scale",
        metavar="X",
        help="Telegraph noise at X times the published amplitude instead of the chip's own; repeatable.",
    ),
]
Ideal = Annotated[
    bool, typer.Option("--ideal/--no-ideal", help="Also run the chip without any noise (on by default).")
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="How products are simulated on every noisy chip: collapsed, calibrated, digit-serial or "
        "statistical; by default the cheapest that the physics of each chip allows.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="OP",
        help="A torch operation without a place on the chip that may stay on the host; repeatable.",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Keep finished parts in FILE; after an interruption the same command goes on from there.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Keep the result and finished parts in DIR; after an interruption the same command goes on.",
    ),
]
Report = Annotated[
    str | None, typer.Option("--report", metavar="FILE.html", help="Write a self-contained HTML report.")
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON (- for standard output)."),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=MAX_SEED, help="Seed of everything drawn: split, physical chip, reads, sampling."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads that torch may use.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Phase = Annotated[
    str,
    typer.Option(
        "--phase",
        metavar="PHASE",
        help="encode (a plain run), prefill (it leaves keys and values) or decode (one token more).",
    ),
]
Tokens = Annotated[int, typer.Option("--tokens", min=1, help="Tokens of each sequence (of the prompt).")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Sequences at once.")]
Context = Annotated[
    int | None,
    typer.Option("--context", min=0, help="Tokens in the cache: of a decode step, by default --tokens."),
]
