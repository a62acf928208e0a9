"""Results as JSON documents with a versioned schema."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ohmformer.errors import write_atomically
from ohmformer.specs import ChipSpec, leaves

SCHEMA_VERSION = 1
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn")


def plain(value: Any) -> Any:
    """``value`` as JSON values: dataclasses become objects, infinities and NaN become null."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, ChipSpec):
        return leaves(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that produce numbers, and the machine's kind."""
    found = {"ohmformer": _version("ohmformer"), "python": platform.python_version()}
    found.update({name: _version(name) for name in LIBRARIES})
    found["machine"] = f"{platform.system()} {platform.machine()}"
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def document(kind: str, result: Any, command: list[str] | None = None) -> dict[str, Any]:
    """A result with its schema name, the command that made it and the versions behind it.

    kind: ``evaluation``, ``estimate``, ``generation``, ``chips``, ``deployment`` or ``demo``
    """
    return {
        "schema": f"ohmformer.{kind}/{SCHEMA_VERSION}",
        "command": command if command is not None else ["ohmformer", *sys.argv[1:]],
        "versions": versions(),
        "result": plain(result),
    }


def write_document(path: str | Path, content: dict[str, Any]) -> Path:
    """Write a document as JSON, completely or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # an argument that is no UTF-8 reaches us with lone surrogates, which no encoder takes
    return write_atomically(path, text.encode("utf-8", "backslashreplace"))
