"""Where each operation of a program runs, as a deployed model's coverage table says it."""

from __future__ import annotations

from ohmformer.deploy import CoverageRow
from ohmformer.deploy.coverage import (
    ACCUMULATOR,
    COMPUTE,
    CONTROL,
    DENSE,
    FUNCTION,
    MOVEMENT,
    Coverage,
)
from ohmformer.ir import DenseRead, FunctionCall, Move, Program, SubOp

__all__ = ["places"]

_OF_MOVES = {
    "view": (MOVEMENT, "no work: other shape, same numbers"),
    "copy": (MOVEMENT, "no arithmetic"),
    "cache": (MOVEMENT, "keys and values kept for later tokens"),
    "fold": (ACCUMULATOR, "folded into the scale"),
    "control": (CONTROL, "known before the data"),
}


def places(program: Program) -> tuple[CoverageRow, ...]:
    """One row for each kind of operation in each place of the model, layers folded, in order."""
    found = Coverage()
    for subop in program.subops:
        where, why = _place(subop)
        operation = subop.operation if not isinstance(subop, Move) else _moving(subop)
        found.note(subop.module, operation, where, why)
    return found.rows()


def _moving(move: Move) -> str:
    return "moving and shaping tensors" if move.kind in ("view", "copy") else move.operation or move.function


def _place(subop: SubOp) -> tuple[str, str]:
    if isinstance(subop, Move):
        return _OF_MOVES[subop.kind]
    if isinstance(subop, DenseRead):
        return DENSE, ""
    if isinstance(subop, FunctionCall):
        if subop.function == "add":
            return ACCUMULATOR, "addition in the accumulator"
        return FUNCTION, "multiplier of the interpolation" if subop.function == "multiply" else ""
    return COMPUTE, ""
