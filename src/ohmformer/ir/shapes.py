"""Whether the values of a sub-operation have the shapes and kinds that its counts say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from ohmformer.ir.program import CACHE_APPEND, CACHE_READ
from ohmformer.ir.subops import DenseRead, FunctionCall, Move, Product, SubOp, Value

__all__ = ["SCALED", "SCATTERED", "broadcast", "shape_fault"]

SCATTERED = ("form", "at addresses")
"""The argument of a call whose addends, read last, are fewer than the elements of its result."""

SCALED = "scale of stored vectors"
"""The operation that multiplies streamed rows by the scales of the resident vectors they will meet."""


def shape_fault(subop: SubOp, values: Sequence[Value]) -> str | None:
    """What does not agree between the counts of ``subop`` and its values; None if all does.

    A sub-operation whose values were not recorded (no outputs) is not looked at.
    """
    if not subop.outputs:
        return None
    inputs = [values[value] for value in subop.inputs]
    outputs = [values[value] for value in subop.outputs]
    if isinstance(subop, Product):
        return _product(subop, inputs, outputs)
    if isinstance(subop, FunctionCall):
        return _function(subop, inputs, outputs)
    if isinstance(subop, DenseRead):
        return _read(inputs)
    return _move(subop, inputs, outputs)


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape that element-by-element work on these shapes gives; None where they do not fit."""
    longest: list[int] = []
    for lengths in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        wide = {length for length in lengths if length != 1}
        if len(wide) > 1:
            return None
        longest.append(wide.pop() if wide else 1)
    return tuple(reversed(longest))


def _product(subop: Product, inputs: Sequence[Value], outputs: Sequence[Value]) -> str | None:
    wanted = 1 if subop.resident == "constant" else 2
    if len(inputs) != wanted or len(outputs) != 1:
        return f"has {len(inputs)} operands and {len(outputs)} results: a product has {wanted} and 1."
    (streamed, *rest), result = inputs, outputs[0]
    if streamed.kind == "stored":
        return f"streams %{streamed.id}, which is stored: it has to be read first."
    if not _fills(streamed, subop.streamed_elements, subop.resident == "activation"):
        return (
            f"streams %{streamed.id} of shape {_shape(streamed)}: "
            f"{subop.batch} x [{subop.rows}, {subop.inner}] is wanted."
        )
    if subop.resident != "constant" and streamed.shape[-1:] != (subop.inner,):
        return f"streams %{streamed.id} of shape {_shape(streamed)}: its last axis must be {subop.inner}."
    if result.elements != subop.output_elements:
        return (
            f"gives %{result.id} of shape {_shape(result)}: "
            f"{subop.batch} x [{subop.rows}, {subop.columns}] is made."
        )
    for resident in rest:
        stored = resident.kind == "stored"
        if stored != (subop.resident == "weight"):
            return f"has the resident operand %{resident.id} of kind {resident.kind}, not {subop.resident}."
        if not _fills(resident, subop.resident_elements, subop.resident == "activation"):
            return (
                f"has the resident operand %{resident.id} of shape {_shape(resident)}: "
                f"[{subop.inner}, {subop.columns}] is wanted."
            )
    return None


def _fills(value: Value, elements: int, repeated: bool) -> bool:
    """Whether a value has so many elements, or serves several matrices of a batch with fewer."""
    if value.elements == elements:
        return True
    return repeated and value.elements > 0 and elements % value.elements == 0


def _function(subop: FunctionCall, inputs: Sequence[Value], outputs: Sequence[Value]) -> str | None:
    if not inputs:
        return "reads nothing."
    for value in inputs:
        if value.kind == "stored":
            return f"reads %{value.id}, which is stored: it has to be read first."
    result = outputs[0]
    if SCATTERED in subop.arguments:
        return _count(subop, inputs[-1])
    if subop.operation == SCALED:
        return _count(subop, result)
    if subop.function in ("add", "multiply"):
        if broadcast([value.shape for value in inputs]) != result.shape:
            shapes = " and ".join(_shape(value) for value in inputs)
            return f"makes %{result.id} of shape {_shape(result)} of {shapes}."
        return _count(subop, result)
    if subop.function == "max":
        return _count(subop, inputs[0])
    if len(inputs) != 1 or inputs[0].shape != result.shape:
        return (
            f"makes %{result.id} of shape {_shape(result)} of %{inputs[0].id} of shape {_shape(inputs[0])}."
        )
    return _count(subop, result)


def _count(subop: FunctionCall, value: Value) -> str | None:
    if value.elements == subop.elements:
        return None
    return f"counts {subop.elements} elements: %{value.id} of shape {_shape(value)} has {value.elements}."


def _read(inputs: Sequence[Value]) -> str | None:
    if not inputs:
        return "reads nothing."
    if inputs[0].kind not in ("stored", "constant"):
        return f"reads %{inputs[0].id}, which is {inputs[0].kind}: stored values and tables are read."
    return None


def _move(subop: Move, inputs: Sequence[Value], outputs: Sequence[Value]) -> str | None:
    if subop.kind != "cache":
        return None
    result = outputs[0]
    if subop.operation == CACHE_APPEND:
        if result.kind != "cache" or not inputs:
            return f"appends to %{result.id}, which is {result.kind}."
        if inputs[-1].elements != subop.elements:
            return f"appends {subop.elements} elements: %{inputs[-1].id} has {inputs[-1].elements}."
        held = sum(value.elements for value in inputs)
        if result.elements > held:
            return f"makes a cache of {result.elements} elements of {held}."
    elif subop.operation == CACHE_READ:
        if not inputs or inputs[0].kind != "cache":
            return "reads no cache."
        if result.elements != subop.elements:
            return f"reads {subop.elements} elements: %{result.id} has {result.elements}."
    return None


def _shape(value: Value) -> str:
    return f"[{', '.join(map(str, value.shape))}]"
