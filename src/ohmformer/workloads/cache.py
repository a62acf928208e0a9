"""Where made things (converted checkpoints, fine-tuned classifiers) are kept between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from ohmformer.errors import UserError

__all__ = ["default_cache_dir", "file_digest", "make_folder_once"]


def default_cache_dir() -> Path:
    """``$OHMFORMER_CACHE``, else ``$XDG_CACHE_HOME/ohmformer``, else ``~/.cache/ohmformer`` (not created)."""
    own = os.environ.get("OHMFORMER_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    # The XDG Base Directory specification: a relative path there is invalid and is ignored.
    if shared and os.path.isabs(shared):
        return Path(shared) / "ohmformer"
    return Path("~/.cache/ohmformer").expanduser()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def make_folder_once(target: Path, fill: Callable[[Path], object]) -> Path:
    """Return the folder ``target``, letting ``fill`` make it first where it does not exist.

    ``fill`` writes into a temporary folder beside ``target`` that is renamed when complete, so an
    interrupted or failed run leaves nothing that looks finished.

    Error: UserError where the folder cannot be written.
    """
    if target.is_dir():
        return target
    hint = "free some space or point OHMFORMER_CACHE at a folder that can be written"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"Cannot write the cache folder {target}: {reason}; {hint}.") from error
    try:
        fill(temporary)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        # Another process may have finished the same folder meanwhile: its content is the same.
        if not target.is_dir():
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"Cannot write the cache folder {target}: {reason}; {hint}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
