"""What the rules of lowering write into: the program's values and sub-operations, node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

from ohmformer.compiler.graph import GraphNode, GraphValue, ModelGraph, Ref
from ohmformer.compiler.lower_stored import Stored, stored_parameters, word_basis, words_read
from ohmformer.errors import UserError
from ohmformer.ir import (
    Arguments,
    DenseRead,
    FunctionCall,
    Move,
    MoveKind,
    Product,
    Resident,
    SubOp,
    Value,
    ValueKind,
)
from ohmformer.specs import ChipSpec

__all__ = [
    "Lowering",
    "Shape",
    "encoded",
    "given_by_name",
    "is_cache_name",
    "refs_of",
    "two_operands",
]

Shape = tuple[int, ...]


class Lowering:
    """A graph on its way to a program; rules call it for the node that is being lowered.

    values, subops: of the program so far
    of:       id of the program's value for each value of the graph, -1 where it is not made yet
    constant: whether each value of the graph is known before the data
    stored:   the parameters in the dense crossbar, by the id of their value in the graph; parts: experts of
              them, by name; stored_names: ids by name
    held:     how many parameters of each size and width
    caches:   the cache itself, for values of the graph that were read from one
    """

    def __init__(self, graph: ModelGraph, chip: ChipSpec) -> None:
        self.graph = graph
        self.chip = chip
        self.values: list[Value] = []
        self.subops: list[SubOp] = []
        self.of = [-1] * len(graph.values)
        self.constant = bytearray(len(graph.values))
        self.floating = [value.dtype.startswith(("float", "bfloat", "complex")) for value in graph.values]
        self.basis = word_basis(chip)
        self.stored = stored_parameters(graph)
        # before experts come to stand beside their stacks
        self.held = Counter((stored.numbers, stored.vector) for stored in self.stored.values())
        self.stored_names = {stored.name: value for value, stored in self.stored.items()}
        self.parts: dict[str, int] = {}
        self.caches: dict[int, int] = {}
        self.assumptions: dict[str, None] = {}
        self.node: GraphNode = GraphNode("", (), (), (), "", "", "", ())
        self.module = ""
        for value in graph.values:
            if value.kind == "input":
                self._given(value, "cache" if is_cache_name(value.name) else "input")
                self.constant[value.id] = "mask" in value.name or not self.floating[value.id]
            elif value.kind == "buffer":
                self.constant[value.id] = True
            elif value.id in self.stored:
                self._given(value, "stored")

    # --- values ----------------------------------------------------------------------------------------

    def _given(self, value: GraphValue, kind: ValueKind) -> int:
        made = self.of[value.id] = self.value(value.shape, kind, value.name)
        return made

    def value(self, shape: Shape, kind: ValueKind = "activation", name: str = "") -> int:
        """A new value of the program."""
        made = len(self.values)
        self.values.append(Value(id=made, shape=shape, kind=kind, name=name))
        return made

    def id_of(self, ref: Ref) -> int:
        """The program's value for one of the graph, as it is stored or was made."""
        made = self.of[ref.value]
        if made >= 0:
            return made
        value = self.graph.values[ref.value]
        if value.kind == "activation":
            raise self.refusal("reads a value that nothing made")
        return self._given(value, "constant")

    def shape(self, ref: Ref) -> Shape:
        """Shape of a value of the graph."""
        return self.graph.values[ref.value].shape

    def out(self, place: int = 0, kind: ValueKind = "activation") -> int:
        """The program's value for a result of the node."""
        result = self.node.outputs[place]
        made = self.of[result] = self.value(self.graph.values[result].shape, kind)
        return made

    def stored_of(self, given: object) -> Stored | None:
        """The stored parameter that an argument is, or None."""
        return self.stored.get(given.value) if isinstance(given, Ref) else None

    def is_number(self, given: object) -> bool:
        """Whether an argument is a number known before the run: it folds into a scale."""
        if isinstance(given, Ref):
            return bool(self.constant[given.value]) and self.floating[given.value] and not self.shape(given)
        return isinstance(given, (int, float))

    def read(self, given: Ref, used: int | None = None) -> int:
        """The value of an argument; a stored parameter is read from the dense crossbar first.

        used: how many of its numbers are needed; None needs all
        """
        stored = self.stored.get(given.value)
        if stored is None:
            return self.id_of(given)
        shape = self.shape(given)
        whole = prod(shape)
        made = self.value(shape)
        part = whole if used is None else min(whole, used)
        self.dense_read("read of stored vector", (self.of[given.value],), made, stored.read(part, whole))
        return made

    # --- sub-operations --------------------------------------------------------------------------------

    def product(
        self,
        operation: str,
        counts: tuple[int, int, int, int],
        resident: Resident,
        inputs: tuple[int, ...],
        output: int,
        arguments: Arguments = (),
    ) -> None:
        """``counts``: batch, rows, inner, columns."""
        batch, rows, inner, columns = counts
        if batch * rows * inner * columns == 0:
            return self.move("copy", operation, inputs, (output,), 0)
        self.subops.append(
            Product(
                module=self.module,
                operation=operation,
                batch=batch,
                rows=rows,
                inner=inner,
                columns=columns,
                resident=resident,
                inputs=inputs,
                outputs=(output,),
                arguments=arguments,
            )
        )

    def call(
        self,
        operation: str,
        function: str,
        elements: int,
        inputs: tuple[int, ...],
        output: int,
        arguments: Arguments = (),
        more: tuple[int, ...] = (),
    ) -> None:
        """``elements`` evaluations of ``function``; ``more``: its other results."""
        if not elements:
            return self.move("copy", operation, inputs, (output, *more), 0, arguments)
        self.subops.append(
            FunctionCall(
                module=self.module,
                operation=operation,
                function=function,
                elements=elements,
                inputs=inputs,
                outputs=(output, *more),
                arguments=arguments,
            )
        )

    def dense_read(self, operation: str, inputs: tuple[int, ...], output: int, read: Arguments) -> None:
        """Numbers read from the dense crossbar; ``read`` says of what and how many (``words_read``)."""
        words = words_read(dict(read), self.basis)
        if not words:
            return self.move("copy", operation, inputs, (output,), 0, read[:1])
        self.subops.append(
            DenseRead(
                module=self.module,
                operation=operation,
                words=words,
                inputs=inputs,
                outputs=(output,),
                arguments=read,
            )
        )

    def table_read(self, operation: str, table: int, output: int, largest: float) -> None:
        """Constants prepared before the run are read from the dense crossbar, at ``vector_bits``.

        largest: of all values that the table can hold, so that one scale serves whatever part is read
        """
        numbers = prod(self.values[table].shape)
        read: Arguments = (("stored", "table"), ("largest", largest), ("numbers", numbers))
        self.dense_read(operation, (table,), output, read)

    def move(
        self,
        kind: MoveKind,
        operation: str,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        elements: int,
        arguments: Arguments = (),
    ) -> None:
        """Work that no crossbar and no function unit does."""
        self.subops.append(
            Move(
                module=self.module,
                operation=operation,
                kind=kind,
                elements=elements,
                function=self.node.function,
                inputs=inputs,
                outputs=outputs,
                arguments=arguments,
            )
        )

    def reshaped(self, value: int, shape: Shape, how: str, *arguments: int) -> int:
        """A view of a value by a torch function of whole numbers, such as ``transpose`` of two axes."""
        kind = self.values[value].kind
        made = self.value(shape, kind if kind in ("stored", "constant") else "activation")
        call: Arguments = (("torch", how), ("args", (("%", 0), *arguments)))
        self.move("view", how, (value,), (made,), prod(shape), call)
        return made

    def torch_call(self, read: bool = True, used: int | None = None) -> tuple[tuple[int, ...], Arguments]:
        """The node as its torch function: the values it reads, and its arguments for an interpreter.

        read: stored parameters are read from the dense crossbar first
        """
        inputs: list[int] = []

        def place(ref: Ref) -> int:
            value = self.read(ref, used) if read else self.id_of(ref)
            if value not in inputs:
                inputs.append(value)
            return inputs.index(value)

        known: dict[int, int] = {}
        args = encoded(self.node.args, place, known)
        arguments: Arguments = (("torch", self.node.function), ("args", args))
        if self.node.kwargs:
            arguments += (
                ("kwargs", tuple([(key, encoded(value, place, known)) for key, value in self.node.kwargs])),
            )
        return tuple(inputs), arguments

    def assume(self, sentence: str) -> None:
        """Note what is assumed, once."""
        self.assumptions[sentence] = None

    def refusal(self, what: str) -> UserError:
        """A sentence about the node that is being lowered."""
        node = self.node
        where = (
            f"{node.module or 'the model'} ({node.module_type or self.graph.name}, {node.source or 'torch'})"
        )
        return UserError(f"The operation {node.function} in {where} {what}.")


def is_cache_name(name: str) -> bool:
    """Whether an input or output of the model is part of its cache of keys and values."""
    return name.startswith(("past_keys.", "past_values.", "cross_keys.", "cross_values."))


def encoded(value: Any, place: Any, known: dict[int, int]) -> Any:
    """An argument as plain data: ("%", n) for the n-th value read, ("slice", a, b, c), ("...",)."""
    kind = type(value)
    if kind is Ref:
        found = known.get(value.value)
        if found is None:
            found = known[value.value] = place(value)
        return ("%", found)
    if kind is tuple:
        return tuple([encoded(item, place, known) for item in value])
    if kind is slice:
        parts = (value.start, value.stop, value.step)
        return ("slice", *[encoded(part, place, known) for part in parts])
    if value is Ellipsis:
        return ("...",)
    return value


def refs_of(node: GraphNode) -> list[int]:
    """Ids of the graph's values that a node reads, in order."""
    found: list[int] = []
    for item in node.args:
        if type(item) is Ref:
            found.append(item.value)
        elif type(item) is tuple or type(item) is slice:
            _refs_in(item, found)
    for _, item in node.kwargs:
        if type(item) is Ref:
            found.append(item.value)
        elif type(item) is tuple:
            _refs_in(item, found)
    return found


def _refs_in(value: Any, found: list[int]) -> None:
    items = value if type(value) is tuple else (value.start, value.stop, value.step)
    for item in items:
        if type(item) is Ref:
            found.append(item.value)
        elif type(item) is tuple or type(item) is slice:
            _refs_in(item, found)


def given_by_name(node: GraphNode, names: Sequence[str]) -> dict[str, Any]:
    """The arguments of a node by the names of a signature."""
    return {**dict(zip(names, node.args, strict=False)), **dict(node.kwargs)}


def two_operands(work: Lowering) -> tuple[Any, Any]:
    """First and second operand of the node, however they were passed."""
    given: dict[str, Any] = dict(work.node.kwargs)
    args = work.node.args
    first: Any = args[0] if args else given.get("input", given.get("self"))
    if len(args) > 1:
        return first, args[1]
    for name in ("other", "mat2", "exponent", "vec", "tensor"):
        if name in given:
            return first, given[name]
    return first, None
