"""Run one command line; whatever happens ends as one sentence and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from ohmformer.cli.ends import PipeClosed
from ohmformer.errors import UserError

__all__ = ["DONE", "INTERNAL", "INTERRUPTED", "PIPE_CLOSED", "USER_ERROR", "main", "run"]

DONE = 0
USER_ERROR = 2
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, the shell's convention
PIPE_CLOSED = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


class _Signals:
    """Which signal asked for the end, even where a library swallowed or changed the exception."""

    def __init__(self) -> None:
        self.code: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.code = 128 + number
        raise KeyboardInterrupt


@contextlib.contextmanager
def _listening() -> Iterator[_Signals]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, so that ``finally`` blocks remove unfinished files."""
    signals = _Signals()
    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):  # not in the main thread: leave signals alone
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, signals)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: None if signals.code else hook(args)
    try:
        yield signals
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def run(arguments: Sequence[str]) -> int:
    """Run ``ohmformer ARGUMENTS`` and return the exit code; nothing is raised."""
    own = list(arguments)
    debug = "--debug" in (own[: own.index("--")] if "--" in own else own)
    with _listening() as signals:
        try:
            code = _invoke(own)
            sys.stdout.flush()
        except BaseException as error:  # the boundary: every end passes here
            code = _code_of(error)
            if signals.code is not None:
                code = signals.code
            if debug and code not in (DONE, PIPE_CLOSED):
                traceback.print_exc()
            _explain(code, error)
        if code == PIPE_CLOSED:
            _silence_stdout()
    return code


def _invoke(arguments: list[str]) -> int:
    from typer.main import get_command

    from ohmformer.cli.app import app

    result = get_command(app).main(arguments, prog_name="ohmformer", standalone_mode=False)
    if result == INTERRUPTED:  # typer turns KeyboardInterrupt into this code
        raise KeyboardInterrupt
    return result if isinstance(result, int) else DONE


def _code_of(error: BaseException) -> int:
    if isinstance(error, UserError):
        return USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, (PipeClosed, BrokenPipeError)):
        return PIPE_CLOSED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else INTERNAL
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # typer's usage errors
        return USER_ERROR
    return INTERNAL


def _explain(code: int, error: BaseException) -> None:
    sentence = ""
    if code == INTERRUPTED:
        sentence = "Interrupted: nothing was left half-written."
    elif code == TERMINATED:
        sentence = "Stopped: nothing was left half-written."
    elif isinstance(error, UserError):
        sentence = " ".join(str(error).split())
    elif code == USER_ERROR and hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        hint = f" Try '{context.command_path} --help'." if context is not None else ""
        said = " ".join(str(error.format_message()).split()).rstrip(".")
        sentence = f"{said}.{hint}"
    elif code == INTERNAL:
        said = " ".join(str(error).split())
        if len(said) > 300:
            said = said[:300] + "…"
        what = f"{type(error).__name__}: {said}" if said else type(error).__name__
        sentence = f"An internal error ({what}) ended the run; run with --debug to see where."
    if sentence:
        with contextlib.suppress(OSError):
            print(sentence, file=sys.stderr, flush=True)


def _silence_stdout() -> None:
    """Keep Python's flush at exit from complaining about a closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def main() -> NoReturn:
    """The entry point of the program ``ohmformer``."""
    code = run(sys.argv[1:])
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has begun; a second Ctrl-C adds nothing
    sys.exit(code)
