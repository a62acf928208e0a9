"""What steps are made of, and the kinds of operations they belong to."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.compiler.steps_folding import Segment
from ohmformer.ir import DenseRead, Move, Product, SubOp

__all__ = ["CLASSES", "SCALES", "Form", "Step", "StepGraph", "Stored", "Written", "class_of"]

SCALES = "scale of stored vectors"
CLASSES = (
    "linear",
    "attention products",
    "softmax",
    "norms",
    "activations",
    "embedding",
    "cache",
    "element-wise",
)
_ACTIVATIONS = ("gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "relu")


def class_of(subop: SubOp) -> str:
    """The kind of operation that ``subop`` belongs to, one of ``CLASSES``, by what it is and is called."""
    name = subop.operation.lower()
    if isinstance(subop, Move):
        return "cache" if subop.kind == "cache" else "element-wise"
    if "softmax" in name:
        return "softmax"
    if "norm" in name or name == "dot with itself":
        return "norms"
    if name == SCALES:
        return "attention products"
    if isinstance(subop, Product):
        if subop.resident == "weight":
            return "linear"
        return "attention products" if subop.resident == "activation" else "softmax"
    if isinstance(subop, DenseRead):
        return "embedding" if "embedding" in name else "linear" if "bias" in name else "element-wise"
    if subop.function in _ACTIVATIONS:
        return "activations"
    return "linear" if "bias" in name else "element-wise"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """At most one product, the functions and copies that follow it, the dense reads before it.

    operation:      what the product (or the first function) is for; steps that differ in nothing else are
                    still kept apart by it
    product:        without module and values
    functions:      (function, elements), in order
    dense_words:    stored numbers read that are no weight of the product
    copied:         numbers read and written by copies
    appended:       numbers added to the cache of keys and values
    cache_operands: numbers of operands that are read from that cache
    classes:        kind of operation of the product ("" without one), then of each function
    read_classes:   (kind of operation, words) of the dense reads
    """

    operation: str
    product: Product | None
    functions: tuple[tuple[str, int], ...]
    dense_words: int
    copied: int = 0
    appended: int = 0
    cache_operands: int = 0
    classes: tuple[str, ...] = ()
    read_classes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A value that later steps read.

    elements: numbers in it
    coded:    read by products alone, so that it is kept in activation bits, not in accumulator words
    uses:     steps between writing and each reading; () for one that is read over many layers
    last:     index of the last step that reads it, where it is read over many layers; else -1
    """

    elements: int
    coded: bool
    uses: tuple[int, ...]
    last: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a step is and whom it waits for; equal forms are equal work.

    kind:     index among the kinds of steps
    streamed, resident, late: steps that write its streamed operand, its resident operand, and what its
              functions and copies read besides; negative: relative to the step, else index of the step
    own_read: the streamed operand is (made of) what this step reads from the dense crossbar
    writes:   values that later steps read
    reads:    (writing step as above, place among its writes, role: 0 streamed, 1 resident, 2 late)
    """

    kind: int
    streamed: tuple[int, ...]
    resident: tuple[int, ...]
    late: tuple[int, ...]
    own_read: bool
    writes: tuple[Written, ...]
    reads: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Stored words that the product of a step is the first to need."""

    step: int
    name: str
    words: int


@dataclass(frozen=True, kw_only=True, eq=False)
class StepGraph:
    """The steps of a program, independent of any chip.

    kinds:    different steps; forms: different steps with whom they wait for
    order:    form of each step; kind_of: kind of each step
    reach:    how far back a step waits for another, those left out that many layers wait for
    modules:  path of the module of each step
    segments: the order as runs of repeated blocks (a block that comes once is a run of one)
    times:    how often each kind comes
    stored:   weights in order of first use; what no product uses is in ``unplaced_words``
    holds:    place among ``stored`` of the weight of each step, −1 without one
    cache_words: keys and values that the cache holds after the run
    flowing:  whether data flow was known; if not, every step waits for the one before
    runs:     attention runs, which may be done in groups of heads: first step, last step, batch
    """

    name: str
    kinds: tuple[Step, ...]
    forms: tuple[Form, ...]
    order: tuple[int, ...]
    kind_of: tuple[int, ...]
    reach: int
    modules: tuple[str, ...]
    segments: tuple[Segment, ...]
    times: tuple[int, ...]
    stored: tuple[Stored, ...]
    holds: tuple[int, ...]
    unplaced_words: int
    cache_words: int
    flowing: bool
    runs: tuple[tuple[int, int, int], ...]
