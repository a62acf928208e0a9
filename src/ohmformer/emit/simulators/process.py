"""Running a command-line tool: found or named, watched, its last words kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ohmformer.emit.checks import SimulatorError

__all__ = ["find_tool", "last_lines", "run_tool"]

LINES = 8
LINE_LENGTH = 200  # signs of each


def find_tool(name: str, package: str) -> str:
    """Path of a tool, on PATH or beside the running Python.

    Error: SimulatorError with the package that brings it.
    """
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise SimulatorError(f"{name} is not installed: {package} brings it.")
    return found


def run_tool(command: Sequence[str], folder: Path, tool: str, limit_s: float) -> str:
    """Run a tool in ``folder``; returns what it printed.

    Error: SimulatorError with its last lines where it fails or does not end within ``limit_s``.
    """
    try:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except OSError as error:
        raise SimulatorError(f"{command[0]} cannot be started: {error.strerror or error}.") from error
    try:
        printed = process.communicate(timeout=limit_s)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        _stop(process)
        raise SimulatorError(f"{tool} did not end within {limit_s:g} s.") from None
    except BaseException:
        _stop(process)
        raise
    if process.returncode:
        code = process.returncode
        how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
        raise SimulatorError(f"{tool} failed ({how}). {last_lines(printed)}")
    return printed


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a tool and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def last_lines(printed: str) -> str:
    """The end of what a tool printed, as part of a sentence; what cannot be printed is ?."""
    plain = "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in printed.expandtabs())
    lines = [line.strip()[:LINE_LENGTH] for line in plain.splitlines() if line.strip()]
    return "Its last lines: " + " | ".join(lines[-LINES:]) if lines else "It printed nothing."


@cache
def version_line(command: tuple[str, ...], mark: str) -> str:
    """The first printed line that has ``mark`` in it, or an empty text."""
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return next((line.strip(" *") for line in lines if mark in line), "")
