"""Parameters in the dense crossbar: which are operands of products, and how many words each takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ohmformer.compiler.graph import GraphNode, GraphValue, ModelGraph, Ref
from ohmformer.numerals import check_bits, symbols_per_value
from ohmformer.specs import ChipSpec

__all__ = ["Role", "Stored", "stored_parameters"]

Role = Literal["rows", "columns", "vector"]
KERNELS = ("conv1d", "conv2d")


@dataclass(frozen=True, slots=True)
class Stored:
    """One parameter, or one expert of it.

    role:  ``rows``: an operand [out, in] of products (also a kernel, and stacked experts), ``columns``: an
           operand kept transposed, [in, out]; ``vector``: no operand, wider codes
    words: of the whole parameter, in words of ``weight_bits``
    part:  number of the expert; None for the whole parameter
    """

    name: str
    role: Role
    shape: tuple[int, ...]
    words: int
    part: int | None = None

    @property
    def operand(self) -> str:
        """How it may serve as an operand: ``rows``, ``columns``, or not (``vector``)."""
        shape = self.shape if self.part is None else self.shape[1:]
        return self.role if self.role == "rows" or len(shape) == 2 else "vector"

    def words_of(self, share: float) -> int:
        """Words read when a share of its numbers is read."""
        if self.part is not None:
            share /= self.shape[0]
        return min(self.words, math.ceil(self.words * share))


def stored_parameters(graph: ModelGraph, chip: ChipSpec) -> dict[int, Stored]:
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
        found[value.id] = Stored(value.name, role, value.shape, _words(value, role, chip))
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


def _words(value: GraphValue, role: Role, chip: ChipSpec) -> int:
    """Words of ``weight_bits`` that hold its cells, check cells of protected words included."""
    precision, dense = chip.precision, chip.dense
    bits = precision.vector_bits if role == "vector" else precision.weight_bits
    cell_bits = dense.vector_bits_per_cell if role == "vector" else dense.cell.bits
    numbers = math.prod(value.shape)
    cells = numbers * symbols_per_value(bits, cell_bits)
    if dense.secded_data_bits:
        checked = -(-numbers * bits // dense.secded_data_bits)
        cells += checked * symbols_per_value(check_bits(dense.secded_data_bits), cell_bits)
    return -(-cells // symbols_per_value(precision.weight_bits, dense.cell.bits))
