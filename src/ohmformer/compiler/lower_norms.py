"""RMS norms among the nodes of a module, and rotary tables: what a chip does as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ohmformer.compiler.graph import GraphNode, ModelGraph, Ref
from ohmformer.compiler.lower_stored import Stored
from ohmformer.compiler.lower_work import Lowering

__all__ = ["RmsNorm", "RotaryTables", "rms_norms"]

Stores = Mapping[int, Stored]
SAME = frozenset({"to", "float", "type_as", "type"})


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """Nodes ``first`` ... ``last`` are x·rsqrt(mean x² + eps)·(offset + weight).

    x, weight, out: values of the graph; weight None: no gain
    """

    first: int
    last: int
    x: int
    weight: int | None
    eps: float
    offset: float
    out: int


def rms_norms(graph: ModelGraph, stored: Stores) -> dict[int, RmsNorm]:
    """The RMS norms of a graph by their first node.

    Looked at are runs of nodes of one module called *Norm; a run that is not exactly this formula over the
    last axis, with one stored vector as gain or none, is left to the rules of its single operations.
    """
    found: dict[int, RmsNorm] = {}
    nodes = graph.nodes
    shapes = [value.shape for value in graph.values]
    start, count = 0, len(nodes)
    while start < count:
        node = nodes[start]
        if "Norm" not in node.module_type:
            start += 1
            continue
        stop = start + 1
        while stop < count and nodes[stop].module == node.module:
            stop += 1
        match = _Match(nodes, start, stop, shapes, stored).found()
        if match is not None:
            found[start] = match
        start = stop
    return found


class _Match:
    """Follows one run of nodes; each value is known by what it is a formula of."""

    def __init__(
        self,
        nodes: Sequence[GraphNode],
        start: int,
        stop: int,
        shapes: Sequence[tuple[int, ...]],
        stored: Any,
    ) -> None:
        self.nodes, self.start, self.stop, self.shapes, self.stored = nodes, start, stop, shapes, stored
        self.known: dict[int, str] = {}
        self.x = -1
        self.weight: int | None = None
        self.eps, self.offset = 0.0, 0.0

    def found(self) -> RmsNorm | None:
        last, out = -1, -1
        for place in range(self.start, self.stop):
            node = self.nodes[place]
            what = self._what(node) if len(node.outputs) == 1 else ""
            if what == "":
                return None
            self.known[node.outputs[0]] = what
            if what in ("normal", "scaled"):
                last, out = place, node.outputs[0]
        if last < 0 or self.known[out] != ("normal" if self.weight is None else "scaled"):
            return None
        return RmsNorm(self.start, last, self.x, self.weight, self.eps, self.offset, out)

    def _kind(self, given: Any) -> str:
        if not isinstance(given, Ref):
            return "number" if isinstance(given, (int, float)) else "other"
        known = self.known.get(given.value)
        if known is not None:
            return known
        stored = self.stored.get(given.value)
        if stored is not None:
            if self.weight not in (None, given.value) or len(stored.shape) != 1:
                return "other"
            self.weight = given.value
            self.known[given.value] = "weight"
            return "weight"
        if self.x < 0:
            self.x = given.value
            self.known[given.value] = "x"
            return "x"
        return "other"

    def _what(self, node: GraphNode) -> str:
        """What the node's result is; empty where it is no part of the formula."""
        name, args = node.function, node.args
        if not args:
            return ""
        kinds = [self._kind(item) for item in args[:2]]
        first = kinds[0]
        if name in SAME:
            return first if first in ("x", "normal", "scaled", "weight", "gain") else ""
        if name == "pow" and first == "x" and args[1] == 2:
            return "square"
        if name == "square" and first == "x":
            return "square"
        if name == "pow" and first == "mean and eps" and args[1] == -0.5:
            return "root"
        if name == "rsqrt" and first == "mean and eps":
            return "root"
        if name == "mean" and first == "square":
            return "mean" if self._over_last(node) else ""
        if name == "add" and len(kinds) == 2:
            return self._sum(args, kinds)
        if name == "mul" and len(kinds) == 2:
            return self._product(set(kinds))
        return ""

    def _over_last(self, node: GraphNode) -> bool:
        given = {**dict(zip(("input", "dim", "keepdim"), node.args, strict=False)), **dict(node.kwargs)}
        dim, axes = given.get("dim"), len(self.shapes[self.x])
        dim = dim[0] if isinstance(dim, tuple) and len(dim) == 1 else dim
        return isinstance(dim, int) and dim % axes == axes - 1 and bool(given.get("keepdim"))

    def _sum(self, args: tuple[Any, ...], kinds: list[str]) -> str:
        if "number" not in kinds:
            return ""
        number = float(args[kinds.index("number")])
        other = kinds[1 - kinds.index("number")]
        if other == "mean":
            self.eps = number
            return "mean and eps"
        if other == "weight" and number == 1.0:
            self.offset = 1.0
            return "gain"
        return ""

    def _product(self, kinds: set[str]) -> str:
        if kinds == {"x"}:
            return "square"
        if kinds == {"x", "root"}:
            return "normal"
        if kinds in ({"normal", "weight"}, {"normal", "gain"}):
            return "scaled" if ("gain" in kinds) == bool(self.offset) else ""
        return ""


class RotaryTables:
    """Cosines and sines that leave a module called *RotaryEmbedding*.

    They depend on positions alone, so they are made before the run and read from the dense crossbar.
    made: constants of such modules that have not been read, with the nodes that made them
    """

    def __init__(self) -> None:
        self.made: dict[int, GraphNode] = {}

    def note(self, node: GraphNode) -> None:
        """Remember the constants that ``node`` makes, if it is one of such a module."""
        if "RotaryEmbedding" in node.module_type:
            self.made.update(dict.fromkeys(node.outputs, node))

    def read_escaped(self, work: Lowering, read: Sequence[int]) -> None:
        """Read the tables among what the node that is being lowered reads, if it is of another module."""
        for value in read:
            maker = self.made.get(value)
            if maker is None or maker.module == work.node.module:
                continue
            del self.made[value]
            if work.floating[value]:
                table, module = work.of[value], work.module
                made = work.of[value] = work.value(work.values[table].shape, "constant")
                work.module = maker.module
                work.table_read("rotary table", table, made, _largest(maker))
                work.module = module


def _largest(node: GraphNode) -> float:
    """A cosine or sine is at most 1, times the factor of the longer contexts."""
    if node.function == "mul":
        for item in node.args:
            if isinstance(item, (int, float)):
                return float(item)
    return 1.0
