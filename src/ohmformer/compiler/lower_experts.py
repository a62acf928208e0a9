"""Lowering of mixtures of experts: rows in groups, each group times the matrix of its own expert."""

from __future__ import annotations

from math import prod
from typing import Any

from ohmformer.compiler.experts import distinct_experts
from ohmformer.compiler.lower_stored import Stored
from ohmformer.compiler.lower_work import Lowering, given_by_name

__all__ = ["costed_experts", "lower_grouped", "lower_stack_view", "stored_expert"]


def costed_experts(rows: int, experts: int, tokens: int) -> list[int]:
    """Rows of each expert that is used: as many experts as on average, to the nearest whole number.

    rows: tokens times the experts each goes to; they are spread as evenly as whole numbers can be.
    """
    used = round(distinct_experts(experts, min(experts, round(rows / tokens)), tokens))
    used = max(1, min(used, experts, rows))
    most, more = divmod(rows, used)
    return [most + (place < more) for place in range(used)]


def lower_grouped(work: Lowering) -> None:
    """grouped_mm(rows [S, inner], matrices [E, inner, column], offs): which rows go where is assumed."""
    given = given_by_name(work.node, ("input", "mat_b", "offs", "bias"))
    x: Any = given["input"]
    weight: Any = given.get("mat_b")
    stored = work.stored_of(weight)
    if stored is None or stored.role == "vector" or len(stored.shape) != 3 or given.get("bias") is not None:
        raise work.refusal("multiplies groups by what is no stack of stored matrices, which has no lowering")
    rows, inner = work.shape(x)
    experts, columns = stored.shape[0], work.shape(weight)[-1]
    parts = costed_experts(rows, experts, work.graph.batch * work.graph.tokens)
    work.assume(
        f"Counted are {len(parts)} of the {experts} experts of a layer, "
        f"{parts[-1]}{f' to {parts[0]}' if parts[0] != parts[-1] else ''} row(s) each."
    )
    streamed, made, start = work.read(x), [], 0
    for number, share in enumerate(parts):
        mine, result = work.value((share, inner)), work.value((share, columns))
        rows_of: Any = (("rows", (start, start + share)),)
        work.move("view", "rows of an expert", (streamed,), (mine,), share * inner, rows_of)
        operand = stored_expert(work, stored, number)
        role = (("stored", stored.role),)
        work.product("linear", (1, share, inner, columns), "weight", (mine, operand), result, role)
        made.append(result)
        start += share
    work.move("view", "rows of all experts", tuple(made), (work.out(),), rows * columns)


def lower_stack_view(work: Lowering) -> bool:
    """Whether the node shows stacked matrices otherwise: transposed, or one of them; nothing is read then."""
    node = work.node
    first: Any = node.args[0] if node.args else None
    stored = work.stored_of(first)
    if stored is None or stored.part is not None or stored.role == "vector" or len(stored.shape) != 3:
        return False
    out = node.outputs[0]
    if node.function in ("transpose", "mT", "swapaxes", "swapdims") and _last_two(node.args[1:]):
        work.stored[out] = stored
        made = work.of[out] = work.value(work.graph.values[out].shape, "stored", f"{stored.name}.mT")
        work.move("view", "transpose", (work.of[first.value],), (made,), prod(stored.shape))
        return True
    if node.function == "getitem" and type(node.args[1]) is int:
        number = node.args[1] % stored.shape[0]
        work.of[out] = stored_expert(work, stored, number)
        work.stored[out] = Stored(stored.name, stored.role, stored.shape, number)
        return True
    return False


def _last_two(axes: tuple[Any, ...]) -> bool:
    return not axes or {axis % 3 for axis in axes} == {1, 2}


def stored_expert(work: Lowering, stored: Stored, number: int) -> int:
    """The matrix of one expert as a value of its own."""
    name = f"{stored.name}[{number}]"
    found = work.parts.get(name)
    if found is None:
        found = work.parts[name] = work.value(stored.shape[1:], "stored", name)
        whole = work.of[work.stored_names[stored.name]]
        work.move("view", "expert", (whole,), (found,), prod(stored.shape[1:]), (("part", number),))
    return found
