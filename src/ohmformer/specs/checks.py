"""Refusals of impossible values: each names the field, the value and the bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from ohmformer.errors import UserError

__all__ = [
    "SpecError",
    "refuse",
    "require_between",
    "require_choice",
    "require_count",
    "require_flag",
    "require_positive",
]


class SpecError(UserError, ValueError):
    """A hardware description that cannot exist."""


def refuse(owner: object, field: str, reason: str) -> NoReturn:
    """Raise a SpecError that names ``field`` of ``owner``, its value and the reason."""
    value = getattr(owner, field)
    raise SpecError(f"{type(owner).__name__}.{field} is {value!r}: {reason}.")


def _number(owner: object, field: str, allowed: str) -> float:
    value = getattr(owner, field)
    if not isinstance(value, bool) and isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            number = math.inf
        if math.isfinite(number):
            return number
    refuse(owner, field, f"it must be a finite number, {allowed}")


def require_between(owner: object, low: float, high: float, *fields: str) -> None:
    """Require low <= value <= high for each of ``fields``."""
    for field in fields:
        allowed = f"between {low:g} and {high:g}" if math.isfinite(high) else f"at least {low:g}"
        if not low <= _number(owner, field, allowed) <= high:
            refuse(owner, field, f"it must be {allowed}")


def require_positive(owner: object, *fields: str) -> None:
    """Require value > 0 for each of ``fields``."""
    for field in fields:
        if not _number(owner, field, "above 0") > 0:
            refuse(owner, field, "it must be above 0")


def require_count(owner: object, low: int, high: int, *fields: str) -> None:
    """Require a whole number, low <= value <= high, for each of ``fields``."""
    for field in fields:
        value = getattr(owner, field)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            refuse(owner, field, f"it must be a whole number between {low} and {high}")


def require_flag(owner: object, *fields: str) -> None:
    """Require true or false for each of ``fields`` (1 and 0 would not survive a file)."""
    for field in fields:
        if not isinstance(getattr(owner, field), bool):
            refuse(owner, field, "it must be true or false")


def require_choice(owner: object, choices: Sequence[object], *fields: str) -> None:
    """Require one of ``choices`` for each of ``fields``."""
    for field in fields:
        if getattr(owner, field) not in choices:
            refuse(owner, field, "allowed are " + ", ".join(str(choice) for choice in choices))
