"""Refusals in one sentence: what has no place on the chip, and what inference forbids."""

from __future__ import annotations

from typing import Any

from ohmformer.deploy.runtime import Runtime
from ohmformer.errors import UserError

DROPS_BY_DEFAULT = ("dropout", "dropout1d", "dropout2d", "dropout3d")


def unknown(runtime: Runtime, what: str) -> UserError:
    """The refusal of an operation without a rule; the first word of ``what`` is its name."""
    place = f" in {runtime.module}" if runtime.module else ""
    return UserError(
        f"The operation {what}{place} has no place on the chip: it is not one of the known products, "
        f"functions, movements or controls; deploy(..., allow=({what.split()[0]!r},)) leaves it to the host."
    )


def refuse_training_dropout(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Dropout is the identity at inference and nothing else is offered."""
    if "dropout" not in name:
        return
    probability = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    given = kwargs.get("training", kwargs.get("train", name in DROPS_BY_DEFAULT))
    training = args[2] if len(args) > 2 else given
    if training and probability:
        raise UserError("Dropout is on: a deployed model is for inference, call eval() first.")
