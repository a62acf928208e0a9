"""A walk through a program that collects its steps, and who wrote what each of them reads."""

from __future__ import annotations

from ohmformer.compiler.steps_types import SCALES, Step, Stored, class_of
from ohmformer.ir import CACHE_APPEND, DenseRead, FunctionCall, Move, Product, Program, SubOp, Value

__all__ = ["LATE", "RESIDENT", "STREAMED", "Collected", "Walk", "attention_runs"]


class Collected:
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
        self.weight: object = None

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


STREAMED, RESIDENT, LATE, WAITS = 0, 1, 2, 3


class Walk:
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
        self.done: list[Collected] = []
        self.current: Collected | None = None
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

    def _open(self, subop: SubOp) -> Collected:
        self.current = Collected(len(self.done), subop)
        self.done.append(self.current)
        return self.current

    def _continue(self, subop: SubOp) -> Collected:
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
            step.weight = key
            self.stored.setdefault(key, Stored(step=step.index, name=subop.module, words=words))
        if subop.inputs:
            self._use(step, subop.inputs[0], STREAMED, subop.streamed_elements, step.product_class)
        if weight is not None and subop.resident == "activation":
            self._use(step, weight, RESIDENT, subop.resident_elements, step.product_class)
        self._write(step, subop)

    def _late(self, step: Collected, subop: FunctionCall) -> None:
        for place, value in enumerate(subop.inputs):
            # of stored vectors only the scales are taken, which come from the encoder
            scales = subop.operation == SCALES and place > 0
            self._use(step, value, WAITS if scales else LATE, 0, class_of(subop))
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

    def _use(self, step: Collected, value: int, role: int, elements: int, reader: str) -> None:
        if not self.flowing:
            return
        root = self._root(value)
        if root in self.pending:
            kind, words = self.pending.pop(root)
            kind = reader if kind == "element-wise" else kind
            step.words[kind] = step.words.get(kind, 0) + words
            self.writer[root] = step.index
            if role in (STREAMED, RESIDENT):
                step.own_read = True
        if self.values[root].kind == "cache":
            step.cache_operands += elements
            if root in self.writer:
                step.waits[min(role, LATE)].add(self.writer[root])
            return
        writer = self.writer.get(root)
        if writer is None or writer == step.index:
            return
        step.waits[min(role, LATE)].add(writer)
        if role != WAITS:
            self.uses.setdefault(root, []).append((step.index, role))

    def _write(self, step: Collected, subop: SubOp) -> None:
        for value in subop.outputs:
            self.writer[value] = step.index


def attention_runs(walk: Walk) -> tuple[tuple[int, int, int], ...]:
    """Attention runs: first and last step, batch. Found where every value between is cut by the batch."""
    done, found = walk.done, []
    written: dict[int, list[int]] = {}
    for root in walk.uses:
        written.setdefault(walk.writer[root], []).append(root)
    first = 0
    while first < len(done):
        last = _run_from(walk, first, written)
        if last is not None:
            product = done[first].product
            assert product is not None
            found.append((first, last, product.batch))
            first = last
        first += 1
    return tuple(found)


def _run_from(walk: Walk, first: int, written: dict[int, list[int]]) -> int | None:
    """Last step of the run that begins at ``first``: the next product of the same batch fed by the run."""
    done = walk.done
    product = done[first].product
    if product is None or product.resident != "activation" or product.batch == 1 or product.columns == 1:
        return None
    batch = product.batch
    for last in range(first + 1, min(first + 8, len(done))):
        end = done[last].product
        if end is None or end.resident == "weight":
            return None
        if end.resident == "activation":
            whole = end.batch == batch and any(first <= w < last for w in done[last].waits[STREAMED])
            steps = done[first : last + 1]
            whole = whole and all(_divides(one, batch) for one in steps)
            inside = (root for step in range(first, last) for root in written.get(step, ()))
            return last if whole and all(_cut(walk, root, last, batch) for root in inside) else None
    return None


def _divides(one: Collected, batch: int) -> bool:
    product = one.product
    assert product is not None
    numbers = [product.batch * product.rows, one.copied, one.cache_operands]
    numbers += [elements for _, elements in one.functions]
    even = product.batch % batch == 0 or (product.batch == 1 and product.rows % batch == 0)
    return even and not one.words and not one.appended and not any(number % batch for number in numbers)


def _cut(walk: Walk, root: int, last: int, batch: int) -> bool:
    """Whether a value is read inside the run alone, and its first axes are those of the batch."""
    size = 1
    for length in walk.values[root].shape:
        size *= length
        if size == batch:
            return all(step <= last for step, _ in walk.uses[root])
    return False
