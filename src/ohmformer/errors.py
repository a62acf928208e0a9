"""The one kind of error a user causes, and the one way a file is written.

Stands under every room beside ``units``; imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["UserError", "replace_atomically", "write_atomically"]


class UserError(Exception):
    """One plain sentence for the user: what is wrong, where, and what is allowed."""


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
