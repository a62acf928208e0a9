"""Who writes and who reads each value: the first fault of a program's data flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ohmformer.ir.program import Program
from ohmformer.ir.subops import Move, SubOp, Value, ValueKind

__all__ = ["Fault", "flow_fault"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``what`` is wrong, in the sub-operation of that index (None: in the program)."""

    index: int | None
    what: str


def flow_fault(program: Program) -> Fault | None:
    """The first fault of values and data flow, or None.

    A value is given from outside if it is an input, a stored parameter, or a constant or cache that has a
    name; any other must be written by exactly one sub-operation before the first that reads it. What is
    given is never written, but a view may name a part of a stored parameter.
    """
    what = _values_fault(program.values)
    if what is not None:
        return Fault(index=None, what=what)
    values, count = program.values, len(program.values)
    written = [False] * count
    for index, subop in enumerate(program.subops):
        for value in subop.inputs:
            if not _is_id(value, count):
                return Fault(index=index, what=f"reads %{value}: the program has {count} values.")
            if not written[value] and not _given(values[value]):
                return Fault(index=index, what=f"reads %{value} before it is written.")
        for value in subop.outputs:
            if not _is_id(value, count):
                return Fault(index=index, what=f"writes %{value}: the program has {count} values.")
            if written[value]:
                return Fault(index=index, what=f"writes %{value}, which is written before.")
            if _given(values[value]) and not _names_a_part(subop, values[value]):
                return Fault(index=index, what=f"writes %{value}, which is {values[value].kind}.")
            written[value] = True
    for value in program.outputs:
        if not _is_id(value, count):
            return Fault(index=None, what=f"returns %{value}: it has {count} values.")
        if not written[value] and not _given(values[value]):
            return Fault(index=None, what=f"returns %{value}, which nothing writes.")
    for made, done in zip(values, written, strict=True):
        if not done and not _given(made):
            return Fault(index=None, what=f"has the value %{made.id}, which nothing writes.")
    return None


def _is_id(value: object, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def _given(value: Value) -> bool:
    return value.kind in ("input", "stored") or (value.kind in ("constant", "cache") and value.name != "")


def _names_a_part(subop: SubOp, value: Value) -> bool:
    return isinstance(subop, Move) and subop.kind == "view" and value.kind == "stored"


def _values_fault(values: Sequence[Value]) -> str | None:
    for place, value in enumerate(values):
        if value.id != place:
            return f"has the value %{value.id} in place {place}: ids count from 0."
        if value.kind not in get_args(ValueKind):
            return (
                f"has the value %{value.id} of kind {value.kind!r}: "
                f"allowed are {', '.join(get_args(ValueKind))}."
            )
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in value.shape):
            return f"has the value %{value.id} of shape {value.shape}: lengths are whole numbers from 0."
    return None
