"""A program: the sub-operations of one run of a model, in order, and what the dense crossbar holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ohmformer.ir.subops import DenseRead, FunctionCall, Product, SubOp


@dataclass(frozen=True, kw_only=True)
class Program:
    """One forward run of a model as sub-operations.

    name:         the model's name
    batch:        sequences at once
    tokens:       tokens of each sequence
    subops:       in order of execution
    stored_words: numbers held in the dense crossbar (weights, embeddings, biases, norm weights)
    """

    name: str
    batch: int
    tokens: int
    subops: tuple[SubOp, ...]
    stored_words: int

    def products(self) -> Iterator[Product]:
        """The products, in order."""
        return (subop for subop in self.subops if isinstance(subop, Product))

    def functions(self) -> Iterator[FunctionCall]:
        """The function calls, in order."""
        return (subop for subop in self.subops if isinstance(subop, FunctionCall))

    def dense_reads(self) -> Iterator[DenseRead]:
        """The dense reads that feed no product, in order."""
        return (subop for subop in self.subops if isinstance(subop, DenseRead))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return sum(product.macs for product in self.products())

    def macs_by_resident(self) -> dict[str, int]:
        """Multiply-accumulates by kind of resident operand."""
        counts: Counter[str] = Counter()
        for product in self.products():
            counts[product.resident] += product.macs
        return dict(counts)

    def evaluations(self) -> dict[str, int]:
        """Function evaluations by function."""
        counts: Counter[str] = Counter()
        for call in self.functions():
            counts[call.function] += call.elements
        return dict(counts)


class Recorder:
    """Collects sub-operations while a model runs; merges nothing and drops nothing."""

    def __init__(self) -> None:
        self._subops: list[SubOp] = []

    def record(self, subop: SubOp) -> None:
        """Append one sub-operation."""
        self._subops.append(subop)

    def program(self, *, name: str, batch: int, tokens: int, stored_words: int) -> Program:
        """What was collected so far, as a program."""
        return Program(
            name=name, batch=batch, tokens=tokens, subops=tuple(self._subops), stored_words=stored_words
        )
