"""A program: the sub-operations of one run of a model, in order, and what the dense crossbar holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ohmformer.ir.subops import DenseRead, FunctionCall, Move, MoveKind, Product, SubOp, Value

Phase = Literal["encode", "prefill", "decode"]
CACHE_APPEND, CACHE_READ = "cache append", "cache read"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One forward run of a model as sub-operations.

    name:         the model's name
    batch:        sequences at once
    tokens:       tokens of each sequence
    subops:       in order of execution
    stored_words: numbers held in the dense crossbar (weights, embeddings, biases, norm weights)
    values:       what the sub-operations read and write, by id; empty where data flow was not recorded
    outputs:      values that the model returns
    phase:        ``encode``, ``prefill`` or ``decode`` (one step behind ``context`` tokens)
    context:      tokens in the cache before the run
    assumptions:  what was assumed where the work depends on the data, a sentence each
    word_basis:   what words depend on, as ``compiler.word_basis`` says; empty where the program was recorded
    stored:       (numbers of a parameter, 1 where they are ``vector_bits`` wide, how many such parameters)
    """

    name: str
    batch: int
    tokens: int
    subops: tuple[SubOp, ...]
    stored_words: int
    values: tuple[Value, ...] = ()
    outputs: tuple[int, ...] = ()
    phase: Phase = "encode"
    context: int = 0
    assumptions: tuple[str, ...] = ()
    word_basis: tuple[int, ...] = ()
    stored: tuple[tuple[int, ...], ...] = ()

    def products(self) -> Iterator[Product]:
        """The products, in order."""
        return (subop for subop in self.subops if isinstance(subop, Product))

    def functions(self) -> Iterator[FunctionCall]:
        """The function calls, in order."""
        return (subop for subop in self.subops if isinstance(subop, FunctionCall))

    def dense_reads(self) -> Iterator[DenseRead]:
        """The dense reads that feed no product, in order."""
        return (subop for subop in self.subops if isinstance(subop, DenseRead))

    def moves(self, kind: MoveKind | None = None) -> Iterator[Move]:
        """The moves (of one kind), in order."""
        return (
            subop for subop in self.subops if isinstance(subop, Move) and (kind is None or subop.kind == kind)
        )

    @property
    def cache_written(self) -> int:
        """Numbers appended to the cache of keys and values."""
        return sum(move.elements for move in self.moves("cache") if move.operation == CACHE_APPEND)

    @property
    def cache_read(self) -> int:
        """Numbers read from the cache of keys and values."""
        return sum(move.elements for move in self.moves("cache") if move.operation == CACHE_READ)

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
