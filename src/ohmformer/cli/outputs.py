"""Where text and files go: targets are checked before work starts, files are written whole."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from ohmformer.cli.ends import PipeClosed
from ohmformer.errors import UserError

__all__ = [
    "STDOUT",
    "Output",
    "Terminal",
    "check_file",
    "check_folder",
    "check_new_folder",
    "open_output",
]

STDOUT = "-"
PLAIN_WIDTH = 160


class Terminal(Console):
    """Plain text unless styled on purpose: brackets in a user's text are only brackets."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(
            file=file,
            markup=False,
            highlight=False,
            emoji=False,
            width=None if file.isatty() else PLAIN_WIDTH,
        )

    def on_broken_pipe(self) -> None:
        """Called by rich when the pipe is closed."""
        raise PipeClosed


@dataclass(frozen=True)
class Output:
    """Where one command prints, and where its JSON goes."""

    console: Terminal
    json: str | None

    def write_json(self, kind: str, result: Any) -> dict[str, Any]:
        """The result as a document; written to the file the user named, or to standard output."""
        import json

        from ohmformer.verbs.documents import document, write_document

        content = document(kind, result)
        if self.json == STDOUT:
            try:
                sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
                sys.stdout.flush()
            except BrokenPipeError as error:
                raise PipeClosed from error
        elif self.json is not None:
            write_document(self.json, content)
            self.say(f"Result: {self.json}")
        return content

    def say(self, sentence: str) -> None:
        """Print one line."""
        self.console.print(sentence, soft_wrap=True)


def open_output(json: str | None, *files: str | None, threads: int | None = None) -> Output:
    """Check every file that will be written, set the threads, and choose the stream for tables."""
    for target in (json, *files):
        if target is not None and target != STDOUT:
            check_file(target)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return Output(console=Terminal(sys.stderr if json == STDOUT else sys.stdout), json=json)


def check_file(target: str) -> None:
    """Refuse, before any work, a file that could not be written at its end."""
    if not target:
        raise UserError(
            "The name of a file to write is empty: give the path of a file, or - for standard output."
        )
    path = Path(target)
    if path.is_dir():
        raise UserError(f"Cannot write {target}: it is a folder; give the path of a file.")
    if path.exists() and not path.is_file():
        raise UserError(f"Cannot write {target}: it is not an ordinary file.")
    _check_parent(path, target)


def check_folder(target: str) -> None:
    """Refuse, before any work, a folder that could not be made or written into."""
    path = Path(target)
    if path.exists() and not path.is_dir():
        raise UserError(f"Cannot write into {target}: it is a file; give the path of a folder.")
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"Cannot write into {target}: no permission.")
        return
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"Cannot make the folder {target}: {above} cannot be written.")


def check_new_folder(target: str) -> None:
    """Refuse, before any work, a folder that exists already or could not be made."""
    path = Path(target)
    if path.exists():
        raise UserError(f"{target} exists already: give the name of a new folder.")
    _check_parent(path, target)


def _check_parent(path: Path, target: str) -> None:
    parent = path.absolute().parent
    if not parent.exists():
        raise UserError(f"Cannot write {target}: there is no folder {path.parent}.")
    if not parent.is_dir():
        raise UserError(f"Cannot write {target}: {path.parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write {target}: no permission to write in {path.parent}.")
