"""Steps: a product with the functions that follow it; who waits for whom; layers that repeat, folded."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from ohmformer.compiler.steps_folding import Segment, fold, likely_period
from ohmformer.ir import CACHE_APPEND, DenseRead, FunctionCall, Move, Product, Program, SubOp, Value

__all__ = ["CLASSES", "Form", "Step", "StepGraph", "Stored", "Written", "class_of", "step_graph"]

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
    if name == "scale of stored vectors":
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
    """Stored words that a step is the first to need."""

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
    cache_words: keys and values that the cache holds after the run
    flowing:  whether data flow was known; if not, every step waits for the one before
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
    unplaced_words: int
    cache_words: int
    flowing: bool


class _Open:
    """A step that is being collected."""

    def __init__(self, index: int, subop: SubOp) -> None:
        self.index = index
        self.operation = subop.operation
        self.module = subop.module
        self.product: Product | None = None
        self.product_class = ""
        self.functions: list[tuple[str, int]] = []
        self.function_classes: list[str] = []
        self.words: dict[str, int] = {}
        self.copied = self.appended = self.cache_operands = 0
        self.waits: tuple[set[int], set[int], set[int]] = (set(), set(), set())
        self.own_read = False

    def step(self) -> Step:
        if self.operation == "sum":  # of a softmax or of a norm: what follows tells
            known = (kind for kind in self.function_classes if kind in ("softmax", "norms"))
            self.product_class = next(known, self.product_class)
        return Step(
            operation=self.operation,
            product=self.product,
            functions=tuple(self.functions),
            dense_words=sum(self.words.values()),
            copied=self.copied,
            appended=self.appended,
            cache_operands=self.cache_operands,
            classes=(self.product_class, *self.function_classes),
            read_classes=tuple(sorted(self.words.items())),
        )


STREAMED, RESIDENT, LATE = 0, 1, 2


class _Builder:
    """Walks through a program once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.values: tuple[Value, ...] = program.values
        self.flowing = bool(program.values)
        self.root: dict[int, int] = {}
        self.writer: dict[int, int] = {}
        self.uses: dict[int, list[tuple[int, int]]] = {}
        self.pending: dict[int, tuple[str, int]] = {}
        self.waiting: dict[str, int] = {}
        self.done: list[_Open] = []
        self.current: _Open | None = None
        self.stored: dict[object, Stored] = {}
        self.cache_words = 0

    def run(self) -> None:
        for subop in self.program.subops:
            if isinstance(subop, Product):
                self._product(subop)
            elif isinstance(subop, FunctionCall):
                step = self._continue(subop)
                step.functions.append((subop.function, subop.elements))
                step.function_classes.append(class_of(subop))
                self._late(step, subop)
            elif isinstance(subop, DenseRead):
                self._read(subop)
            else:
                self._move(subop)
        for kind, words in self.pending.values():
            self.waiting[kind] = self.waiting.get(kind, 0) + words
        if self.waiting:
            read = DenseRead(module="", operation="dense read", words=sum(self.waiting.values()))
            self._open(read).words = dict(self.waiting)

    def _open(self, subop: SubOp) -> _Open:
        self.current = _Open(len(self.done), subop)
        self.done.append(self.current)
        return self.current

    def _continue(self, subop: SubOp) -> _Open:
        return self.current if self.current is not None else self._open(subop)

    def _product(self, subop: Product) -> None:
        step = self._open(subop)
        step.product = Product(
            module="",
            operation=subop.operation,
            batch=subop.batch,
            rows=subop.rows,
            inner=subop.inner,
            columns=subop.columns,
            resident=subop.resident,
        )
        step.product_class = class_of(subop)
        step.words, self.waiting = self.waiting, {}
        weight = subop.inputs[1] if len(subop.inputs) > 1 else None
        if subop.resident == "weight":
            key = (subop.module, subop.inner, subop.columns) if weight is None else self._root(weight)
            words = subop.inner * subop.columns
            self.stored.setdefault(key, Stored(step=step.index, name=subop.module, words=words))
        if subop.inputs:
            self._use(step, subop.inputs[0], STREAMED, subop.streamed_elements, step.product_class)
        if weight is not None and subop.resident == "activation":
            self._use(step, weight, RESIDENT, subop.resident_elements, step.product_class)
        self._write(step, subop)

    def _late(self, step: _Open, subop: FunctionCall) -> None:
        for value in subop.inputs:
            self._use(step, value, LATE, 0, class_of(subop))
        self._write(step, subop)

    def _read(self, subop: DenseRead) -> None:
        kind = class_of(subop)
        if not subop.outputs or not self.flowing:
            self.waiting[kind] = self.waiting.get(kind, 0) + subop.words
            return
        for value in subop.outputs[:1]:
            self.pending[value] = (kind, subop.words)

    def _move(self, subop: Move) -> None:
        if subop.kind in ("view", "fold") or (subop.kind == "cache" and subop.operation != CACHE_APPEND):
            for value in subop.outputs:
                if subop.inputs:
                    self.root[value] = self._root(subop.inputs[0])
        elif subop.kind in ("copy", "cache"):
            step = self._continue(subop)
            if subop.kind == "copy":
                step.copied += subop.elements
            else:
                step.appended += subop.elements
                if self.flowing:
                    self.cache_words += sum(self.values[value].elements for value in subop.outputs)
            inputs = subop.inputs if subop.kind == "copy" else subop.inputs[1:]
            for value in inputs:
                elements = self.values[value].elements if self.flowing else 0
                self._use(step, value, LATE, elements, class_of(subop))
            self._write(step, subop)

    def _root(self, value: int) -> int:
        return self.root.get(value, value)

    def _use(self, step: _Open, value: int, role: int, elements: int, reader: str) -> None:
        if not self.flowing:
            return
        root = self._root(value)
        if root in self.pending:
            kind, words = self.pending.pop(root)
            kind = reader if kind == "element-wise" else kind
            step.words[kind] = step.words.get(kind, 0) + words
            self.writer[root] = step.index
            if role != LATE:
                step.own_read = True
        if self.values[root].kind == "cache":
            step.cache_operands += elements
            if root in self.writer:
                step.waits[role].add(self.writer[root])
            return
        writer = self.writer.get(root)
        if writer is None or writer == step.index:
            return
        step.waits[role].add(writer)
        self.uses.setdefault(root, []).append((step.index, role))

    def _write(self, step: _Open, subop: SubOp) -> None:
        for value in subop.outputs:
            self.writer[value] = step.index


_GRAPHS: dict[int, tuple[weakref.ref[Program], StepGraph]] = {}


def step_graph(program: Program) -> StepGraph:
    """The steps of ``program``; made once and kept as long as the program lives.

    A product opens a step; functions and copies join the open one. A dense read belongs to the step that
    first uses what was read; where the program does not tell its values, to the next product.
    """
    key = id(program)
    kept = _GRAPHS.get(key)
    if kept is not None and kept[0]() is program:
        return kept[1]
    graph = _build(program)
    _GRAPHS[key] = (weakref.ref(program, lambda _: _GRAPHS.pop(key, None)), graph)
    return graph


def _build(program: Program) -> StepGraph:
    builder = _Builder(program)
    builder.run()
    steps = [one.step() for one in builder.done]
    kinds: dict[Step, int] = {}
    kind_of = [kinds.setdefault(step, len(kinds)) for step in steps]
    counted = [0] * len(kinds)
    for kind in kind_of:
        counted[kind] += 1
    forms: dict[Form, int] = {}
    order = [forms.setdefault(form, len(forms)) for form in _forms(builder, kind_of)]
    stored = tuple(builder.stored.values())
    placed = sum(entry.words for entry in stored)
    return StepGraph(
        name=program.name,
        kinds=tuple(kinds),
        forms=tuple(forms),
        order=tuple(order),
        kind_of=tuple(kind_of),
        reach=max(
            (-writer for form in forms for writer in (*form.streamed, *form.resident, *form.late)), default=1
        ),
        modules=tuple(one.module for one in builder.done),
        segments=fold(order),
        times=tuple(counted),
        stored=stored,
        unplaced_words=max(program.stored_words - placed, 0),
        cache_words=builder.cache_words,
        flowing=builder.flowing,
    )


def _forms(builder: _Builder, kind_of: list[int]) -> list[Form]:
    if not builder.flowing:
        made = []
        for index, kind in enumerate(kind_of):
            before = (-1,) if index else ()
            product = builder.done[index].product
            held = before if product is not None and product.resident == "activation" else ()
            made.append(
                Form(
                    kind=kind,
                    streamed=before,
                    resident=held,
                    late=before,
                    own_read=False,
                    writes=(),
                    reads=(),
                )
            )
        return made
    reach = 2 * likely_period(kind_of)
    writes: list[list[Written]] = [[] for _ in kind_of]
    reads: list[list[tuple[int, int, int]]] = [[] for _ in kind_of]
    far_writers: set[int] = set()
    for root, uses in builder.uses.items():
        writer, last = builder.writer[root], max(step for step, _ in uses)
        far = reach > 0 and last - writer > reach
        place = len(writes[writer])
        writes[writer].append(
            Written(
                elements=builder.values[root].elements,
                coded=all(role != LATE for _, role in uses),
                uses=() if far else tuple(sorted({step - writer for step, _ in uses})),
                last=last if far else -1,
            )
        )
        if far:
            far_writers.add(writer)
        for step, role in uses:
            reads[step].append((writer if far else writer - step, place, role))
    made = []
    for index, (kind, one) in enumerate(zip(kind_of, builder.done, strict=True)):

        def relative(waits: set[int], index: int = index) -> tuple[int, ...]:
            return tuple(
                sorted(
                    step if step in far_writers or (reach and index - step > reach) else step - index
                    for step in waits
                )
            )

        made.append(
            Form(
                kind=kind,
                streamed=relative(one.waits[STREAMED]),
                resident=relative(one.waits[RESIDENT]),
                late=relative(one.waits[LATE]),
                own_read=one.own_read,
                writes=tuple(writes[index]),
                reads=tuple(sorted(set(reads[index]))),
            )
        )
    return made
