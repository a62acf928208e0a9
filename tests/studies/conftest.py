"""A small program for the studies: one layer of hidden size 256."""

from __future__ import annotations

import pytest

from ohmformer.ir import FunctionCall, Product, Program
from ohmformer.specs import preset
from ohmformer.verbs.estimating import program_of


@pytest.fixture(scope="session")
def bert_large() -> Program:
    """BERT-Large at 128 tokens."""
    return program_of("bert-large", preset("wang2024"), tokens=128)


@pytest.fixture(scope="session")
def small() -> Program:
    def product(inner: int, columns: int, resident: str, batch: int = 1) -> Product:
        return Product(
            module="layer",
            operation="linear",
            batch=batch,
            rows=64,
            inner=inner,
            columns=columns,
            resident=resident,  # type: ignore[arg-type]
        )

    return Program(
        name="small",
        batch=1,
        tokens=64,
        subops=(
            product(256, 1024, "weight"),
            FunctionCall(module="layer", operation="gelu", function="gelu", elements=64 * 1024),
            product(1024, 256, "weight"),
            product(64, 64, "activation", batch=4),
        ),
        stored_words=2 * 256 * 1024,
    )
