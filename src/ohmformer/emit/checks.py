"""What this room refuses."""

from __future__ import annotations

from ohmformer.errors import UserError

__all__ = ["EmitError", "SimulatorError"]


class EmitError(UserError, ValueError):
    """A spec or operands of which no circuit can be made."""


class SimulatorError(UserError):
    """A tool that is missing, failed, or wrote what cannot be read."""
