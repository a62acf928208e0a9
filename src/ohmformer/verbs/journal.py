"""Finished parts of a long run, kept in a file so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ohmformer.errors import UserError, write_atomically
from ohmformer.verbs.documents import plain

SCHEMA = "ohmformer.journal/1"


class Journal:
    """Values by key, written to ``path`` after each one; ``path`` None keeps them in memory only."""

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        self._parts: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            try:
                content = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(
                    f"The journal {self.path} cannot be read: remove it to start anew."
                ) from error
            if not isinstance(content, dict) or content.get("schema") != SCHEMA:
                raise UserError(f"{self.path} is not a journal of schema {SCHEMA}: remove it to start anew.")
            if not isinstance(content.get("parts"), dict):
                raise UserError(f"The journal {self.path} holds no parts: remove it to start anew.")
            self._parts = content["parts"]

    @staticmethod
    def key(*identity: Any) -> str:
        """A key for everything that determines a part."""
        text = json.dumps(plain(list(identity)), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def get(self, key: str) -> Any | None:
        """The part of ``key``, or None if it is still to be done."""
        return self._parts.get(key)

    def put(self, key: str, part: Any) -> None:
        """Keep a finished part of JSON values; unlike in a document, NaN and infinity stay what they are."""
        self._parts[key] = part
        if self.path is not None:
            text = json.dumps({"schema": SCHEMA, "parts": self._parts}, default=plain) + "\n"
            write_atomically(self.path, text)
