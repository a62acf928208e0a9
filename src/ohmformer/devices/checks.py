"""What this room refuses."""

from __future__ import annotations

from ohmformer.errors import UserError

__all__ = ["DeviceError"]


class DeviceError(UserError, ValueError):
    """A request that no device could serve."""
