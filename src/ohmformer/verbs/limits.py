"""``limits``: the largest model of a chip, what updating weights takes, what operand widths cost."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.costs.claims_limits import (
    DIES_PER_PACKAGE,
    Capacity,
    Update,
    Width,
    capacities,
    updates,
    widths,
)
from ohmformer.specs import ChipSpec
from ohmformer.verbs.estimating import program_of

__all__ = ["LimitsResult", "limits"]


@dataclass(frozen=True, kw_only=True)
class LimitsResult:
    """The answers to the three questions the paper leaves open, for one model and chip."""

    model: str
    tokens: int
    chip_name: str
    dies_per_package: int
    capacities: tuple[Capacity, ...]
    updates: tuple[Update, ...]
    widths: tuple[Width, ...]


def limits(model: str, chip: ChipSpec, *, tokens: int = 128) -> LimitsResult:
    """The largest model of a chip, updates of weights, widths of operands."""
    program = program_of(model, chip, tokens=tokens)
    return LimitsResult(
        model=program.name,
        tokens=tokens,
        chip_name=chip.name,
        dies_per_package=DIES_PER_PACKAGE,
        capacities=capacities(chip),
        updates=updates(program, chip),
        widths=widths(program, chip),
    )
