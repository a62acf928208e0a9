"""Where each operation of a deployed model runs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

COMPUTE = "computation crossbar"
DENSE = "dense crossbar"
FUNCTION = "function unit"
ACCUMULATOR = "accumulator"
MOVEMENT = "data movement"
CONTROL = "control logic"
HOST = "host"


@dataclass(frozen=True, kw_only=True)
class CoverageRow:
    """One kind of operation in one place of the model.

    module: path with layer numbers replaced by ``*``
    where:  crossbar, function unit, accumulator, data movement, control logic or host
    why:    the reason, where it is not a crossbar
    calls:  how often it ran in the checking run
    """

    module: str
    operation: str
    where: str
    why: str
    calls: int


class Coverage:
    """Collects rows while a model runs."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str, str, str]] = Counter()

    def note(self, module: str, operation: str, where: str, why: str = "") -> None:
        """Count one call."""
        folded = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", module)
        self._calls[folded, operation, where, why] += 1

    def rows(self) -> tuple[CoverageRow, ...]:
        """The table, in order of first appearance."""
        return tuple(
            CoverageRow(module=module, operation=operation, where=where, why=why, calls=calls)
            for (module, operation, where, why), calls in self._calls.items()
        )
