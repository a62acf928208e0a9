"""The chain of checks: circuits say what the model says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ohmformer.emit.simulators import icarus, ngspice, vacask, yosys
from ohmformer.emit.simulators.process import find_tool
from ohmformer.specs import ChipSpec
from ohmformer.verbs.verify_circuits import CIRCUIT_ROWS, circuit_checks
from ohmformer.verbs.verify_rows import Check
from ohmformer.verbs.verify_rtl import QUICK_ROWS, RTL_ROWS, rtl_checks

__all__ = ["Verification", "verify"]


def _circuits(
    chip: ChipSpec, *, quick: bool, seed: int, liberty: str | os.PathLike[str] | None
) -> Iterator[Check]:
    return circuit_checks(chip, quick=quick, seed=seed)


# A chain takes a chip, whether to be quick, a seed, and cells to map to.
CHAINS: tuple[Callable[..., Iterator[Check]], ...] = (_circuits, rtl_checks)
TOOLS = {
    "ngspice": ngspice.PACKAGE,
    "vacask": vacask.PACKAGE,
    "iverilog": icarus.PACKAGE,
    "vvp": icarus.PACKAGE,
    "yosys": yosys.PACKAGE,
}


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
    progress: told of checks that are done, and of how many
    row:     told of each check when it is done; what it has seen stands where a later one cannot be made
    Error: UserError where a tool is missing or fails, a liberty file is none (both before any check), or the
           chip has a part that cannot be built.
    """
    for tool, package in TOOLS.items():
        find_tool(tool, package)
    if liberty is not None:
        yosys.check_liberty(liberty, registers=not quick)
    found: list[Check] = []
    total = CIRCUIT_ROWS + (QUICK_ROWS if quick else RTL_ROWS)
    if progress is not None:
        progress("checks", 0, total)
    for chain in CHAINS:
        for check in chain(chip, quick=quick, seed=seed, liberty=liberty):
            found.append(check)
            if row is not None:
                row(check)
            if progress is not None:
                progress("checks", len(found), total)
    return Verification(chip=chip.name, quick=quick, checks=tuple(found))
