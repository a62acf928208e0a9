"""BERT-Large encoder layers as a program, written by hand."""

from __future__ import annotations

from ohmformer.ir import DenseRead, FunctionCall, Product, Program, SubOp


def bert_layer(layer: int, tokens: int, batch: int = 1) -> list[SubOp]:
    """One encoder layer: hidden 1024, feed-forward 4096, 16 heads of 64."""
    at = f"encoder.layer.{layer}"
    n = batch * tokens

    def linear(name: str, inner: int, columns: int) -> list[SubOp]:
        return [
            Product(
                module=f"{at}.{name}",
                operation="linear",
                batch=1,
                rows=n,
                inner=inner,
                columns=columns,
                resident="weight",
            ),
            DenseRead(module=f"{at}.{name}", operation="bias", words=columns),
            FunctionCall(module=f"{at}.{name}", operation="bias", function="add", elements=n * columns),
        ]

    def heads(operation: str, inner: int, columns: int, resident: str = "activation") -> Product:
        return Product(
            module=f"{at}.attention.self",
            operation=operation,
            batch=16 * batch,
            rows=tokens,
            inner=inner,
            columns=columns,
            resident=resident,  # type: ignore[arg-type]
        )

    def f(name: str, operation: str, function: str, elements: int) -> FunctionCall:
        return FunctionCall(module=f"{at}.{name}", operation=operation, function=function, elements=elements)

    def norm(name: str) -> list[SubOp]:
        def sums(operation: str, resident: str) -> Product:
            return Product(
                module=f"{at}.{name}",
                operation=operation,
                batch=n,
                rows=1,
                inner=1024,
                columns=1,
                resident=resident,  # type: ignore[arg-type]
            )

        return [
            f(name, "residual", "add", n * 1024),
            sums("norm sum", "constant"),
            f(name, "centre", "add", n * 1024),
            sums("norm square", "activation"),
            f(name, "norm", "rsqrt", n),
            DenseRead(module=f"{at}.{name}", operation="norm weight", words=2 * 1024),
            f(name, "norm", "multiply", 2 * n * 1024),
            f(name, "norm", "add", n * 1024),
        ]

    scores = 16 * batch * tokens * tokens
    return [
        *linear("attention.self.query", 1024, 1024),
        *linear("attention.self.key", 1024, 1024),
        *linear("attention.self.value", 1024, 1024),
        heads("scores", 64, tokens),
        f("attention.self", "softmax max", "max", scores),
        f("attention.self", "softmax centre", "add", scores),
        f("attention.self", "softmax exp", "exp", scores),
        heads("softmax sum", tokens, 1, "constant"),
        f("attention.self", "softmax reciprocal", "reciprocal", 16 * n),
        heads("context", tokens, 64),
        f("attention.self", "softmax scale", "multiply", n * 1024),
        *linear("attention.output.dense", 1024, 1024),
        *norm("attention.output.LayerNorm"),
        *linear("intermediate.dense", 1024, 4096),
        f("intermediate", "gelu", "gelu", n * 4096),
        *linear("output.dense", 4096, 1024),
        *norm("output.LayerNorm"),
    ]


def bert_large(tokens: int, layers: int = 24, batch: int = 1) -> Program:
    """Embedding reads and ``layers`` layers; 335 M stored words with all 24."""
    subops: list[SubOp] = [
        DenseRead(module="embeddings", operation="embedding", words=3 * batch * tokens * 1024)
    ]
    for layer in range(layers):
        subops += bert_layer(layer, tokens, batch)
    per_layer = 4 * (1024 * 1024 + 1024) + 2 * 4096 * 1024 + 4096 + 1024 + 4 * 1024
    embeddings = (30522 + 512 + 2) * 1024 + 2 * 1024
    return Program(
        name="bert-large",
        batch=batch,
        tokens=tokens,
        subops=tuple(subops),
        stored_words=embeddings + layers * per_layer,
    )
