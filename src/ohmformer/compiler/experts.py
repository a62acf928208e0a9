"""What is assumed of routing that depends on the data."""

from __future__ import annotations

from ohmformer.compiler.trace_recording import Recording

__all__ = ["routing_assumptions"]


def routing_assumptions(recording: Recording) -> tuple[str, ...]:
    return ()
