"""Small programs with data flow, built step by step, for the tests of steps, schedules and buffers."""

from __future__ import annotations

from ohmformer.ir import (
    CACHE_APPEND,
    CACHE_READ,
    DenseRead,
    FunctionCall,
    Move,
    Product,
    Program,
    SubOp,
    Value,
    ValueKind,
)


class Flow:
    """Collects sub-operations and their values."""

    def __init__(self) -> None:
        self.subops: list[SubOp] = []
        self.values: list[Value] = []
        self.stored = 0
        self.at = ""

    def value(self, *shape: int, kind: ValueKind = "activation", name: str = "") -> int:
        self.values.append(Value(id=len(self.values), shape=shape, kind=kind, name=name))
        return len(self.values) - 1

    def linear(self, x: int, columns: int, name: str) -> int:
        rows, inner = self.values[x].shape
        self.stored += inner * columns
        weight = self.value(inner, columns, kind="stored", name=f"{self.at}{name}")
        return self._product("linear", 1, rows, inner, columns, "weight", (x, weight), f"{self.at}{name}")

    def matmul(self, x: int, y: int, heads: int, operation: str, rows: int, inner: int, columns: int) -> int:
        return self._product(
            operation, heads, rows, inner, columns, "activation", (x, y), f"{self.at}attention"
        )

    def sums(self, x: int, batch: int, operation: str, rows: int, inner: int) -> int:
        return self._product(operation, batch, rows, inner, 1, "constant", (x,), f"{self.at}norm")

    def _product(
        self, operation: str, batch: int, rows: int, inner: int, columns: int, resident: str,
        inputs: tuple[int, ...], module: str,
    ) -> int:  # fmt: skip
        out = (
            self.value(batch, rows, columns) if batch > 1 and rows > 1 else self.value(batch * rows, columns)
        )
        self.subops.append(
            Product(
                module=module, operation=operation, batch=batch, rows=rows, inner=inner, columns=columns,
                resident=resident, inputs=inputs, outputs=(out,),  # type: ignore[arg-type]
            )
        )  # fmt: skip
        return out

    def call(self, function: str, operation: str, *inputs: int) -> int:
        shape = self.values[inputs[0]].shape
        out = self.value(*shape)
        self.subops.append(
            FunctionCall(
                module=f"{self.at}{operation}", operation=operation, function=function,
                elements=self.values[out].elements, inputs=inputs, outputs=(out,),
            )
        )  # fmt: skip
        return out

    def read(self, operation: str, *shape: int) -> int:
        self.stored += 1
        table = self.value(*shape, kind="stored", name=f"{self.at}{operation}")
        out = self.value(*shape)
        self.subops.append(
            DenseRead(
                module=f"{self.at}{operation}", operation=operation, words=self.values[out].elements,
                inputs=(table,), outputs=(out,),
            )
        )  # fmt: skip
        return out

    def move(self, kind: str, x: int, *shape: int) -> int:
        out = self.value(*(shape or self.values[x].shape))
        self.subops.append(
            Move(
                module=self.at, operation=kind, kind=kind, elements=self.values[x].elements,  # type: ignore[arg-type]
                inputs=(x,), outputs=(out,),
            )
        )  # fmt: skip
        return out

    def cached(self, x: int, context: int, name: str) -> int:
        rows, width = self.values[x].shape
        past = self.value(context, width, kind="cache", name=f"{self.at}{name}")
        whole = self.value(context + rows, width, kind="cache")
        read = self.value(context + rows, width)
        self.subops += [
            Move(
                module=self.at, operation=CACHE_APPEND, kind="cache", elements=rows * width,
                inputs=(past, x), outputs=(whole,),
            ),
            Move(
                module=self.at, operation=CACHE_READ, kind="cache", elements=(context + rows) * width,
                inputs=(whole,), outputs=(read,),
            ),
        ]  # fmt: skip
        return read

    def program(self, tokens: int, stored: int | None = None) -> Program:
        return Program(
            name="toy", batch=1, tokens=tokens, subops=tuple(self.subops),
            stored_words=self.stored if stored is None else stored, values=tuple(self.values),
        )  # fmt: skip


def transformer(
    tokens: int = 8,
    layers: int = 6,
    hidden: int = 32,
    heads: int = 2,
    *,
    rotary: bool = False,
    context: int = 0,
) -> Program:
    """Embedding, ``layers`` equal layers of attention and feed-forward with a norm, one last product."""
    flow, n = Flow(), tokens
    x = flow.read("embedding", n, hidden)
    table = flow.call("multiply", "table", flow.read("rotary", n, hidden)) if rotary else None
    for layer in range(layers):
        flow.at = f"layer.{layer}."
        q, k, v = (flow.linear(x, hidden, name) for name in ("q", "k", "v"))
        if table is not None:
            q, k = flow.call("multiply", "rotary", q, table), flow.call("multiply", "rotary", k, table)
        length = n
        if context:
            k, v, length = flow.cached(k, context, "keys"), flow.cached(v, context, "values"), context + n
        width = hidden // heads
        split = flow.move("view", q, heads * n, width), flow.move("view", k, heads * width, length)
        scores = flow.matmul(*split, heads, "scores", n, width, length)
        largest = flow.call("max", "softmax max", scores)
        shares = flow.call("exp", "softmax exp", flow.call("add", "softmax centre", scores, largest))
        total = flow.sums(shares, heads, "softmax sum", n, length)
        scale = flow.call("reciprocal", "softmax reciprocal", total)
        v = flow.move("view", v, heads * length, width)
        mixed = flow.matmul(shares, v, heads, "context", n, length, width)
        mixed = flow.move("view", flow.call("multiply", "softmax scale", mixed, scale), n, hidden)
        y = flow.linear(mixed, hidden, "o")
        x = flow.call("add", "residual", y, x)
        mean = flow.sums(x, n, "norm sum", 1, hidden)
        centred = flow.call("add", "norm centre", x, mean)
        h = flow.linear(centred, 4 * hidden, "up")
        h = flow.call("gelu", "gelu", h)
        x = flow.call("add", "residual", flow.linear(h, hidden, "down"), x)
    flow.at = ""
    flow.linear(x, 4 * hidden, "head")
    return flow.program(tokens)
