"""The account of a lowering: every ATen call of the graph, and every multiply-accumulate, has a place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ohmformer.compiler.graph import GraphNode, ModelGraph
from ohmformer.compiler.lower import Spans, lower_with_spans
from ohmformer.ir import DenseRead, FunctionCall, Product, Program, ProgramError, SubOp
from ohmformer.specs import ChipSpec

__all__ = ["Account", "account"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where the ATen calls of a graph went, and what its multiply-accumulates became.

    calls:   ATen calls by what their node became: ``product``, ``function``, ``read``, or the kind of a move
             where it became nothing but moves; the first of these that applies
    by_name: the same by name of the ATen operation
    products: multiply-accumulates of products that stand for matrix products and convolutions of the graph
    before_the_data: of the graph's, those of tables that are made before the run
    sums, squares: multiply-accumulates that the graph has as sums and squares: products with ones, and of
             rows with themselves
    """

    calls: dict[str, int]
    by_name: dict[str, dict[str, int]]
    products: int
    before_the_data: int
    sums: int
    squares: int


def account(
    graph: ModelGraph, program: Program, chip: ChipSpec | None = None, *, spans: Spans | None = None
) -> Account:
    """Account for every ATen call of ``graph`` in ``program``; the chip is that of the lowering.

    spans: as ``lower_with_spans`` gave them with this very program; without them the graph is lowered again
           and the program must be what comes out

    The multiply-accumulates of every node are compared to the unit with those of the products that it became
    (sums with ones and rows with themselves apart), and those of the graph with those of the program.
    Error: ProgramError where the program is not the graph's, or anything does not add up.
    """
    if spans is None:
        again, spans = lower_with_spans(graph, chip)
        if again != program:
            raise ProgramError(
                f"The program {program.name!r} is not what the graph {graph.name!r} is lowered to."
            )
    calls: Counter[str] = Counter()
    names: dict[str, Counter[str]] = {}
    products = before = sums = squares = 0
    done = -1
    for node, (start, stop) in zip(graph.nodes, spans, strict=True):
        subops = program.subops[start:stop]
        way = _way(subops)
        for call in node.aten:
            calls[way] += 1
            names.setdefault(call.name, Counter())[way] += 1
        if start == done:  # a node of a formula that is counted already
            if node.macs:
                raise _wrong(node, node.macs, 0)
            continue
        done = start
        made = sum(subop.macs for subop in subops if isinstance(subop, Product) and _multiplies(subop))
        sums += sum(s.macs for s in subops if isinstance(s, Product) and s.resident == "constant")
        squares += sum(s.macs for s in subops if isinstance(s, Product) and _is_square(s))
        if way == "control":
            before += node.macs
        elif made != node.macs:
            raise _wrong(node, node.macs, made)
        products += made
    if products + before != graph.macs or products + sums + squares != program.macs:
        raise ProgramError(
            f"The program {program.name!r} has {program.macs} multiply-accumulates, {products} of products: "
            f"the graph has {graph.macs}, {before} of them before the data."
        )
    return Account(
        calls=dict(calls),
        by_name={name: dict(count) for name, count in sorted(names.items())},
        products=products,
        before_the_data=before,
        sums=sums,
        squares=squares,
    )


def _way(subops: tuple[SubOp, ...]) -> str:
    for kind, name in ((Product, "product"), (FunctionCall, "function"), (DenseRead, "read")):
        if any(isinstance(subop, kind) for subop in subops):
            # a table that is read belongs to the constants it is made of
            controlled = name == "read" and any(getattr(subop, "kind", "") == "control" for subop in subops)
            return "control" if controlled else name
    kinds = {getattr(subop, "kind", "") for subop in subops}
    return next(kind for kind in ("fold", "cache", "copy", "view", "control") if kind in kinds)


def _is_square(subop: Product) -> bool:
    return subop.operation == "dot with itself"


def _multiplies(subop: Product) -> bool:
    return subop.resident != "constant" and not _is_square(subop)


def _wrong(node: GraphNode, wanted: int, made: int) -> ProgramError:
    return ProgramError(
        f"The operation {node.function} in {node.module or 'the model'} has {wanted} multiply-accumulates: "
        f"{made} were made of it."
    )
