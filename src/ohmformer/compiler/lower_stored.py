"""Parameters in the dense crossbar: which are operands of products, and how many words each takes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ohmformer.compiler.graph import GraphNode, GraphValue, ModelGraph, Ref
from ohmformer.ir import Arguments, DenseRead, Program
from ohmformer.numerals import check_bits, symbols_per_value
from ohmformer.specs import ChipSpec

__all__ = ["Role", "Stored", "for_chip", "stored_parameters", "word_basis", "words_read", "words_stored"]

Role = Literal["rows", "columns", "vector"]
KERNELS = ("conv1d", "conv2d")


@dataclass(frozen=True, slots=True)
class Stored:
    """One parameter, or one expert of it.

    role:  ``rows``: an operand [out, in] of products (also a kernel, and stacked experts), ``columns``: an
           operand kept transposed, [in, out]; ``vector``: no operand, wider codes
    part:  number of the expert; None for the whole parameter
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    part: int | None = None

    @property
    def operand(self) -> str:
        """How it may serve as an operand: ``rows``, ``columns``, or not (``vector``)."""
        shape = self.shape if self.part is None else self.shape[1:]
        return self.role if self.role == "rows" or len(shape) == 2 else "vector"

    @property
    def numbers(self) -> int:
        """Numbers of the whole parameter."""
        return math.prod(self.shape)

    @property
    def vector(self) -> bool:
        """Whether its numbers are ``vector_bits`` wide."""
        return self.role == "vector"

    def read(self, part: int, whole: int) -> Arguments:
        """What a dense read of ``part`` of its ``whole`` numbers (or rows) says of itself."""
        return (
            ("stored", self.role),
            ("part", (part, whole if self.part is None else whole * self.shape[0])),
            ("numbers", self.numbers),
        )


def stored_parameters(graph: ModelGraph) -> dict[int, Stored]:
    """Every floating-point parameter of the graph as it lies in the dense crossbar, by the id of its value.

    Matrices called ``weight`` are operands, and kernels of convolutions in one group, and the stacked
    matrices of modules called *Experts; all else is a vector.
    """
    kernels, transposed, experts = _uses(graph)
    found: dict[int, Stored] = {}
    for value in graph.of_kind("parameter"):
        if not value.dtype.startswith(("float", "bfloat")):
            continue
        role = _role(value, kernels, transposed, experts)
        found[value.id] = Stored(value.name, role, value.shape)
    return found


def _uses(graph: ModelGraph) -> tuple[set[int], set[int], dict[int, bool]]:
    """Kernels of convolutions, weights of Conv1D layers, and stacks of experts (True: of [in, out])."""
    kernels: set[int] = set()
    transposed: set[int] = set()
    experts: dict[int, bool] = {}
    shown: dict[int, int] = {}
    for node in graph.nodes:
        if node.module_type == "Conv1D" and node.function == "addmm":
            transposed.add(_given(node, 2, "mat2"))
        elif node.function in KERNELS and _groups(node) == 1:
            kernels.add(_given(node, 1, "weight"))
        elif node.function in ("transpose", "mT"):
            shown[node.outputs[0]] = _given(node, 0, "input")
        elif node.function == "grouped_mm":
            weight = _given(node, 1, "mat_b")
            experts[shown.get(weight, weight)] = weight not in shown
    return kernels, transposed, experts


def _given(node: GraphNode, place: int, name: str) -> int:
    value = node.args[place] if len(node.args) > place else dict(node.kwargs).get(name)
    return value.value if isinstance(value, Ref) else -1


def _groups(node: GraphNode) -> int:
    return int(node.args[6] if len(node.args) > 6 else dict(node.kwargs).get("groups", 1))


def _role(value: GraphValue, kernels: set[int], transposed: set[int], experts: dict[int, bool]) -> Role:
    attribute = value.name.rpartition(".")[2]
    if attribute == "weight" and len(value.shape) == 2:
        return "columns" if value.id in transposed else "rows"
    if value.id in kernels:
        return "rows"
    if len(value.shape) == 3 and value.id in experts:
        return "columns" if experts[value.id] else "rows"
    return "vector"


def word_basis(chip: ChipSpec) -> tuple[int, ...]:
    """What words depend on: bits of a word, a vector's number, the cells of both, a protected word."""
    precision, dense = chip.precision, chip.dense
    return (
        precision.weight_bits,
        precision.vector_bits,
        dense.cell.bits,
        dense.vector_bits_per_cell,
        dense.secded_data_bits,
    )


def words_stored(numbers: int, vector: bool, basis: tuple[int, ...]) -> int:
    """Words of ``weight_bits`` that hold a parameter's cells, check cells of protected words included."""
    weight_bits, vector_bits, matrix_cell, vector_cell, protected = basis
    bits, cell_bits = (vector_bits, vector_cell) if vector else (weight_bits, matrix_cell)
    cells = numbers * symbols_per_value(bits, cell_bits)
    if protected:
        cells += -(-numbers * bits // protected) * symbols_per_value(check_bits(protected), cell_bits)
    return -(-cells // symbols_per_value(weight_bits, matrix_cell))


def words_read(arguments: Mapping[str, Any], basis: tuple[int, ...]) -> int:
    """Words of a dense read, from what it says of itself (``Stored.read``, or a table made beforehand)."""
    numbers = arguments["numbers"]
    if arguments["stored"] == "table":  # no check cells: it is no parameter
        return words_stored(numbers, True, (*basis[:4], 0))
    part, whole = arguments["part"]
    words = words_stored(numbers, arguments["stored"] == "vector", basis)
    return int(-(-part * words // whole))


_COUNTED: dict[int, tuple[weakref.ref[Program], dict[tuple[int, ...], Program]]] = {}


def for_chip(program: Program, chip: ChipSpec) -> Program:
    """``program`` with its stored numbers and dense reads counted in the words of ``chip``.

    The same as lowering for ``chip``, made once for each way of counting and kept as long as ``program``
    lives; a program that was not lowered (no ``word_basis``) is left as it is.
    """
    basis = word_basis(chip)
    if not program.word_basis or program.word_basis == basis:
        return program
    key = id(program)
    kept = _COUNTED.get(key)
    if kept is None or kept[0]() is not program:
        kept = _COUNTED[key] = (weakref.ref(program, lambda _: _COUNTED.pop(key, None)), {})
    if basis not in kept[1]:
        kept[1][basis] = _for_basis(program, basis)
    return kept[1][basis]


def _for_basis(program: Program, basis: tuple[int, ...]) -> Program:
    subops = tuple(
        replace(subop, words=words_read(dict(subop.arguments), basis)) if type(subop) is DenseRead else subop
        for subop in program.subops
    )
    words = sum(
        times * words_stored(numbers, bool(vector), basis) for numbers, vector, times in program.stored
    )
    return replace(program, subops=subops, stored_words=words, word_basis=basis)
