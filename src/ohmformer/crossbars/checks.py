"""What this room refuses."""

from __future__ import annotations

from ohmformer.errors import UserError

__all__ = ["CrossbarError"]


class CrossbarError(UserError, ValueError):
    """Operands that do not fit a crossbar."""
