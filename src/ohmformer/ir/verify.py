"""The verifier: refuses a program that no chip could run, or that does not add up."""

from __future__ import annotations

from typing import get_args

from ohmformer.errors import UserError
from ohmformer.ir.flow import flow_fault
from ohmformer.ir.program import Program
from ohmformer.ir.shapes import shape_fault
from ohmformer.ir.subops import DenseRead, FunctionCall, Move, MoveKind, Product, Resident, SubOp

__all__ = ["FUNCTIONS", "ProgramError", "verify"]

FUNCTIONS = (
    "exp",
    "reciprocal",
    "rsqrt",
    "gelu",
    "gelu_tanh",
    "silu",
    "tanh",
    "sigmoid",
    "relu",
    "max",
    "multiply",
    "add",
)


class ProgramError(UserError, ValueError):
    """A program that is wrong: the message names the sub-operation and what is."""


def verify(program: Program, *, macs: int | None = None) -> None:
    """Check ``program``; return nothing, or raise a ProgramError that names the first fault.

    Checked: batch, tokens and every count are whole numbers above 0; function names and kinds of resident
    operand are known; no weight is larger than all that is stored; the resident operand of a sum with ones
    is one column; and, if ``macs`` is given (counted by another way), the multiply-accumulates are equal
    to the unit.

    Where the program tells its values, also: every id is one of them; every value is written once, and
    before it is read, or given from outside; shapes of operands and results agree with rows, inner,
    columns and elements; a resident weight is a stored value, a resident activation is none; what is
    appended to a cache, and what is read of it, is what its values hold.
    """
    for field in ("batch", "tokens"):
        _require_count(program.name, field, getattr(program, field), 1)
    for field in ("stored_words", "context"):
        _require_count(program.name, field, getattr(program, field), 0)
    if not program.subops:
        raise ProgramError(f"The program {program.name!r} has no sub-operation.")
    for index, subop in enumerate(program.subops):
        _verify_subop(index, subop, program)
    if program.values:
        fault = flow_fault(program)
        if fault is not None:
            raise ProgramError(f"{_place(program, fault.index)} {fault.what}")
        for index, subop in enumerate(program.subops):
            what = shape_fault(subop, program.values)
            if what is not None:
                raise ProgramError(f"{_where(index, subop)} {what}")
    if macs is not None and program.macs != macs:
        raise ProgramError(
            f"The program {program.name!r} has {program.macs} multiply-accumulates: {macs} were counted."
        )


def _where(index: int, subop: SubOp) -> str:
    return f"Sub-operation {index} ({getattr(subop, 'operation', '?')} of {getattr(subop, 'module', '?')})"


def _place(program: Program, index: int | None) -> str:
    return f"The program {program.name!r}" if index is None else _where(index, program.subops[index])


def _verify_subop(index: int, subop: SubOp, program: Program) -> None:
    where = _where(index, subop)
    if isinstance(subop, Product):
        for field in ("batch", "rows", "inner", "columns"):
            _require_count(where, field, getattr(subop, field), 1)
        if subop.resident not in get_args(Resident):
            raise ProgramError(
                f"{where} has a resident operand of kind {subop.resident!r}: "
                f"allowed are {', '.join(get_args(Resident))}."
            )
        if subop.resident == "weight" and subop.resident_elements > program.stored_words:
            raise ProgramError(
                f"{where} needs a weight of {subop.resident_elements} words: "
                f"only {program.stored_words} are stored."
            )
        if subop.resident == "constant" and subop.columns != 1:
            raise ProgramError(f"{where} is a sum with {subop.columns} columns of ones: allowed is 1.")
    elif isinstance(subop, FunctionCall):
        _require_count(where, "elements", subop.elements, 1)
        if subop.function not in FUNCTIONS:
            raise ProgramError(
                f"{where} calls the function {subop.function!r}: allowed are {', '.join(FUNCTIONS)}."
            )
    elif isinstance(subop, DenseRead):
        _require_count(where, "words", subop.words, 1)
        if not program.stored_words:
            raise ProgramError(f"{where} reads {subop.words} words: none are stored.")
    elif isinstance(subop, Move):
        _require_count(where, "elements", subop.elements, 0)
        if subop.kind not in get_args(MoveKind):
            raise ProgramError(
                f"{where} moves in the way {subop.kind!r}: allowed are {', '.join(get_args(MoveKind))}."
            )
    else:
        raise ProgramError(f"{where} is a {type(subop).__name__}: no such sub-operation.")


def _require_count(where: str, field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ProgramError(f"{where}: {field} is {value!r}, it must be a whole number of at least {least}.")
