"""Every end of a command is one sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ohmformer.cli import chips, running
from ohmformer.cli.ends import PipeClosed
from ohmformer.errors import UserError

Command = Callable[..., Any]


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("The file x\n is missing."), 2, "The file x is missing."),
        (
            RuntimeError("broken"),
            70,
            "An internal error (RuntimeError: broken) ended the run; run with --debug to see where.",
        ),
        (
            AssertionError(),
            70,
            "An internal error (AssertionError) ended the run; run with --debug to see where.",
        ),
        (KeyboardInterrupt(), 130, "Interrupted: nothing was left half-written."),
    ],
)
def test_an_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, command: Command, error: BaseException, code: int, sentence: str
) -> None:
    monkeypatch.setattr(chips, "open_output", failing(error))
    ended = command("chips", "list")
    assert ended.code == code
    assert ended.sentence == sentence
    assert ended.out == ""


def test_debug_adds_the_traceback(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr(chips, "open_output", failing(RuntimeError("broken")))
    ended = command("chips", "list", "--debug")
    assert ended.code == 70
    assert "Traceback" in ended.err
    assert "test_running.py" in ended.err


def test_a_long_internal_error_is_cut(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr(chips, "open_output", failing(RuntimeError("x" * 5000)))
    assert len(command("chips", "list").sentence) < 500


def test_a_closed_pipe_is_no_error_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_silence_stdout", lambda: None)
    monkeypatch.setattr(chips, "open_output", failing(PipeClosed()))
    assert running.run(["chips", "list"]) == 141


@pytest.mark.parametrize("arguments", [["chips", "show", "wang2024"], ["chips", "list", "--json", "-"]])
def test_a_reader_that_goes_away_is_met_in_silence(arguments: list[str]) -> None:
    """The pipe's reading end is closed before the program writes."""
    code = (
        "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r);"
        "from ohmformer.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 141
    told = ended.stderr if "--json" not in arguments else "".join(ended.stderr.split("chip  ", 1)[:1])
    assert told == ""  # with --json - the table itself is on stderr
    for word in ("Traceback", "rror", "pipe"):
        assert word not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evaluate"], "MODEL"),
        (["evaluate", "minilm"], "--task"),
        (["nonsense"], "nonsense"),
        (["chips", "list", "--nonsense"], "--nonsense"),
        (["estimate", "minilm", "--tokens", "many"], "--tokens"),
        (["estimate", "minilm", "--threads", "0"], "--threads"),
        (["chips", "list", "--seed", "-1"], "--seed"),
    ],
)
def test_a_wrong_command_line_names_what_is_wrong(command: Command, arguments: list[str], named: str) -> None:
    ended = command(*arguments)
    assert ended.code == 2
    assert named in ended.sentence
    assert "--help" in ended.sentence


def test_version_and_help(command: Command) -> None:
    assert command("--version").out.startswith("ohmformer ")
    shown = command("--help")
    assert shown.code == 0
    for name in ("demo", "evaluate", "generate", "estimate", "deploy", "finetune", "models", "chips"):
        assert name in shown.out


@pytest.mark.parametrize("name", ["demo", "evaluate", "generate", "estimate", "deploy", "finetune", "models"])
def test_every_command_takes_the_common_options(command: Command, name: str) -> None:
    shown = command(name, "--help").out
    for option in ("--json", "--seed", "--threads", "--debug"):
        assert option in shown


def test_help_and_chips_stay_light() -> None:
    code = (
        "import sys; from ohmformer.cli import run;"
        "codes = [run(['--help']), run(['chips', 'list']), run(['chips', 'show', 'wang2024'])];"
        "heavy = {'torch', 'transformers', 'scipy', 'sklearn', 'numpy'} & set(sys.modules);"
        "sys.exit(f'{codes} {heavy}' if heavy or any(codes) else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_it_also_runs_as_a_module() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ohmformer", "chips", "list"], capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert "wang2024" in ended.stdout
