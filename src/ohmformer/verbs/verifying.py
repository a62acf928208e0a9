"""The chain of checks: circuits say what the model says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ohmformer.specs import ChipSpec
from ohmformer.verbs.verify_circuits import circuit_checks
from ohmformer.verbs.verify_rows import Check
from ohmformer.verbs.verify_rtl import rtl_checks

__all__ = ["Verification", "verify"]


def _circuits(
    chip: ChipSpec, *, quick: bool, seed: int, liberty: str | os.PathLike[str] | None
) -> Iterator[Check]:
    return circuit_checks(chip, quick=quick, seed=seed)


# A chain takes a chip, whether to be quick, a seed, and cells to map to.
CHAINS: tuple[Callable[..., Iterator[Check]], ...] = (_circuits, rtl_checks)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All rows, and whether every one of them passed."""

    chip: str
    quick: bool
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether there are checks and all of them passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


def verify(
    chip: ChipSpec,
    *,
    quick: bool = False,
    seed: int = 0,
    liberty: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    row: Callable[[Check], object] | None = None,
) -> Verification:
    """Run every check of a chip.

    quick:   small tiles, well under a minute
    liberty: cells to which the hardware's gates are mapped; None: generic gates
    row:     told of each check when it is done; what it has seen stands where a later one cannot be made
    Error: UserError where a tool is missing or fails, or the chip has a part that cannot be built.
    """
    found: list[Check] = []
    for chain in CHAINS:
        for check in chain(chip, quick=quick, seed=seed, liberty=liberty):
            found.append(check)
            if row is not None:
                row(check)
            if progress is not None:
                progress(check.name, len(found), len(found))
    return Verification(chip=chip.name, quick=quick, checks=tuple(found))
