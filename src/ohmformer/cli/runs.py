"""Which run of a model: the options of compile and estimate as arguments of the verbs."""

from __future__ import annotations

from typing import Any

from ohmformer.errors import UserError

__all__ = ["run_of"]


def run_of(phase: str, *, tokens: int, batch: int, context: int | None) -> dict[str, Any]:
    """Keyword arguments of ``compile_model``; the cache of a decode step holds ``tokens`` by default.

    What an encoder-decoder model was given has ``tokens`` tokens in every phase, whatever the context.
    """
    from ohmformer.compiler import PHASES

    if phase not in PHASES:
        raise UserError(f"--phase is {phase!r}: allowed are {', '.join(PHASES)}.")
    if context is not None and phase == "encode":
        raise UserError("--context is for a decode step, or for a prefill that goes on: encode has no cache.")
    if phase == "decode":
        return {
            "phase": phase,
            "batch": batch,
            "tokens": tokens,
            "context": tokens if context is None else context,
        }
    return {"phase": phase, "batch": batch, "tokens": tokens, "context": context or 0}
