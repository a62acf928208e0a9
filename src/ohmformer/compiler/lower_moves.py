"""Lowering of what computes nothing: views, copies, selection by masks, the cache of keys and values."""

from __future__ import annotations

from math import prod
from typing import Any

from ohmformer.compiler.graph import ModelGraph, Ref
from ohmformer.compiler.lower_experts import lower_stack_view
from ohmformer.compiler.lower_work import Lowering, is_cache_name, refs_of
from ohmformer.ir import CACHE_APPEND, CACHE_READ, MoveKind

__all__ = ["Caches", "lower_control", "lower_move", "lower_routing", "place_of", "read_cache"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Nothing is computed: shapes, copies, constants.
MOVEMENT = _words(
    """view view_as reshape reshape_as transpose permute contiguous expand expand_as repeat repeat_interleave
    tile unsqueeze squeeze flatten unflatten cat stack hstack vstack split split_with_sizes tensor_split chunk
    unbind narrow select index_select gather take_along_dim getitem setitem to float double type type_as
    detach clone
    movedim swapaxes swapdims t T mT H mH real data roll flip zeros_like ones_like empty_like full_like
    new_zeros new_ones new_full new_empty new_tensor tensor as_tensor dropout dropout1d dropout2d dropout3d
    feature_dropout alpha_dropout index_put index_copy copy scatter slice_scatter select_scatter pad
    constant_pad_nd broadcast_to unfold diagonal tril triu diag_embed atleast_1d atleast_2d index_fill zero
    fill meshgrid as_strided bool set_data"""
)
# Bits of the numbers' fractions; a type that is not here holds whole numbers.
WIDTHS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7, "complex128": 52, "complex64": 23}
# Comparisons and selection by masks: no values are made.
SELECTION = _words(
    """masked_fill where eq ne lt le gt ge less less_equal greater greater_equal not_equal isnan isinf
    isfinite
    any all logical_not logical_and logical_or masked_select masked_scatter nonzero argmax argmin argsort sort
    topk nan_to_num bucketize count_nonzero"""
)
# Only the shape of the argument matters: a stored parameter need not be read for these.
SHAPES = _words("zeros_like ones_like empty_like full_like new_zeros new_ones new_full new_empty new_tensor")
# ATen operations that give another view of the same numbers (a conversion among floats changes none here).
VIEWING = _words(
    """view _unsafe_view reshape _reshape_alias transpose permute expand unsqueeze squeeze slice select split
    split_with_sizes chunk t unbind alias detach as_strided diagonal unfold lift_fresh narrow _to_copy"""
)


def place_of(name: str) -> str:
    """Where a function without a rule belongs: ``movement``, ``selection``, or nowhere (empty)."""
    return "movement" if name in MOVEMENT else "selection" if name in SELECTION else ""


def _outputs(work: Lowering, constant: bool) -> tuple[tuple[int, ...], int]:
    """The node's results, and how many numbers they are."""
    kind: Any = "constant" if constant else "activation"
    made = tuple([work.out(place, kind) for place in range(len(work.node.outputs))])
    return made, sum([prod(work.values[value].shape) for value in made])


def lower_control(work: Lowering) -> None:
    """Addresses, masks and tables: they depend on no stored number and on no data."""
    inputs, arguments = work.torch_call(read=False)
    made, elements = _outputs(work, True)
    work.move("control", work.node.function, inputs, made, elements, arguments)
    for value in work.node.outputs:
        work.constant[value] = True


def lower_routing(work: Lowering) -> None:
    """Addresses that depend on the data, such as which expert takes which token."""
    inputs, arguments = work.torch_call(read=False)
    made, elements = _outputs(work, False)
    work.move("copy", "routing", inputs, made, elements, arguments)
    for value in work.node.outputs:
        work.constant[value] = work.floating[value]


def lower_move(work: Lowering) -> None:
    """Views and copies; a stored parameter is read from the dense crossbar on its way."""
    node = work.node
    name = node.function
    if "dropout" in name and _active_dropout(work):
        raise work.refusal("drops numbers: only evaluated models can be lowered")
    if _accumulates(work):
        raise work.refusal("accumulates into what it writes, which has no lowering")
    if name in MOVEMENT and name not in SHAPES:
        _refuse_conversion(work)
    if lower_stack_view(work):
        return
    used = sum([prod(work.graph.values[value].shape) for value in node.outputs])
    inputs, arguments = work.torch_call(read=name not in SHAPES, used=used)
    made, elements = _outputs(work, False)
    operation = "selection" if name in SELECTION else name
    work.move(_way(work), operation, inputs, made, elements, arguments)


def _way(work: Lowering) -> MoveKind:
    """``view`` where the same numbers get another shape, or are repeated by address alone; else ``copy``."""
    node = work.node
    if node.aten and all(call.name in VIEWING for call in node.aten):
        return "view"
    first = node.args[0] if node.args else None
    if node.function in ("reshape", "contiguous", "flatten") and isinstance(first, Ref):
        value = work.graph.values[first.value]
        if any(step == 0 and length > 1 for step, length in zip(value.stride, value.shape, strict=True)):
            return "view"
    return "copy"


def _refuse_conversion(work: Lowering) -> None:
    """A movement that changes numbers is none: rounding to a narrower type, or to whole numbers."""
    node = work.node
    made = work.graph.values[node.outputs[0]].dtype
    read = [work.graph.values[value].dtype for value in refs_of(node) if work.floating[value]]
    if made != "bool" and any(dtype != made and WIDTHS[dtype] > WIDTHS.get(made, 0) for dtype in read):
        raise work.refusal(f"makes {made} of {read[0]}, which has no lowering")


def _active_dropout(work: Lowering) -> bool:
    given = {**dict(zip(("input", "p", "training"), work.node.args, strict=False)), **dict(work.node.kwargs)}
    return bool(given.get("training", True)) and bool(given.get("p", 0.5))


def _accumulates(work: Lowering) -> bool:
    given = dict(work.node.kwargs)
    many = work.node.function == "index_put" and len(work.node.args) > 3 and bool(work.node.args[3])
    return bool(given.get("accumulate") or given.get("reduce") or many)


class Caches:
    """Which nodes of a graph append to the cache of keys and values.

    outputs: values that the run gives back as its cache
    appends: nodes (by their result) that join a past and new states: a result or what a window keeps of it
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.outputs = {
            value
            for value, name in zip(graph.outputs, graph.output_names, strict=False)
            if is_cache_name(name)
        }
        self.appends: set[int] = set()
        if not self.outputs:
            return
        makers = {value: node for node in graph.nodes for value in node.outputs}
        for value in self.outputs:
            maker = makers.get(value)
            if maker is not None and maker.function == "getitem" and isinstance(maker.args[0], Ref):
                value = maker.args[0].value
                maker = makers.get(value)
            if maker is not None and maker.function in ("cat", "index_copy"):
                self.appends.add(value)

    def lower(self, work: Lowering) -> bool:
        """Lower the node if it is work of the cache; whether it was."""
        out = work.node.outputs[0]
        if out in self.appends:
            self._append(work, out)
            return True
        if out in self.outputs and work.node.function == "getitem":
            given = work.node.args[0]
            held = work.caches.get(given.value)
            if held is not None:
                _, arguments = work.torch_call()
                made = work.value(work.graph.values[out].shape, "cache")
                work.move("cache", "cache window", (held,), (made,), 0, arguments)
                work.caches[out] = work.of[out] = made
                return True
        return False

    def _append(self, work: Lowering, out: int) -> None:
        """The new keys or values are written, and all of them are read."""
        parts = work.node.args[0]
        held = [part for part in parts if isinstance(part, Ref) and 0 not in work.shape(part)]
        shape = work.graph.values[out].shape
        inputs = tuple([work.id_of(part) for part in held])
        made = work.value(shape, "cache")
        new = prod(work.shape(held[-1]))
        work.move("cache", CACHE_APPEND, inputs, (made,), new, (("axis", -2),))
        work.caches[out] = made
        work.move("cache", CACHE_READ, (made,), (work.out(),), prod(shape))


def read_cache(work: Lowering, value: int) -> None:
    """A part of the cache that the run was given is read before it is used otherwise than to append to it."""
    given = work.of[value]
    shape = work.graph.values[value].shape
    made = work.value(shape)
    work.move("cache", CACHE_READ, (given,), (made,), prod(shape))
    work.caches[value] = given
    work.of[value] = made
