"""The one kind of error a user causes, and the one way a file is written.

Stands under every room beside ``units``; imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["UserError", "reason_of", "replace_atomically", "write_atomically"]


class UserError(Exception):
    """One plain sentence for the user: what is wrong, where, and what is allowed."""


def reason_of(error: BaseException) -> str:
    """What an error of another library says, to end a sentence with: its first line, without a full stop.

    A line that ends in a colon takes the next one along; an error of the system is said in words, without
    its number; an error that says nothing has the name of its kind.
    """
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{named}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    for line in lines[1:]:
        if not said.endswith(":"):
            break
        said = f"{said} {line}"
    return said.rstrip(".:") or type(error).__name__


def replace_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    The target is untouched until the new content is complete and flushed to disk; on any failure,
    an interrupt included, the temporary file is removed.

    Error: UserError where the folder is missing, not writable, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise UserError(f"Cannot write {target}: it is a folder; give the path of a file.")
    if target.exists() and not target.is_file():
        raise UserError(f"Cannot write {target}: it is not an ordinary file.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        os.close(handle)
        write(temporary)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return target


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write ``content`` to ``path`` completely or not at all (see ``replace_atomically``)."""
    data = content.encode() if isinstance(content, str) else content
    return replace_atomically(path, lambda temporary: temporary.write_bytes(data))
