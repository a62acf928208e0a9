"""A small program with data flow: one attention head of a decoder that writes and reads its cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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

SHAPES: list[tuple[ValueKind, tuple[int, ...], str]] = [
    ("input", (2, 3), "input_ids"),  # 0
    ("stored", (10, 4), "embed.weight"),  # 1
    ("activation", (2, 3, 4), ""),  # 2: embedded
    ("stored", (4, 4), "k.weight"),  # 3
    ("activation", (2, 3, 4), ""),  # 4: keys of the new tokens
    ("cache", (2, 5, 4), "past_keys.0"),  # 5
    ("cache", (2, 8, 4), ""),  # 6: all keys
    ("activation", (2, 8, 4), ""),  # 7: as read
    ("activation", (2, 4, 8), ""),  # 8: transposed
    ("activation", (2, 3, 8), ""),  # 9: scores
    ("constant", (3, 8), ""),  # 10: mask
    ("activation", (2, 3, 8), ""),  # 11: masked
    ("activation", (2, 3, 1), ""),  # 12: sums
    ("activation", (2, 3, 1), ""),  # 13: reciprocals
    ("activation", (2, 3, 8), ""),  # 14: shares
]


def values() -> tuple[Value, ...]:
    return tuple(
        Value(id=place, kind=kind, shape=shape, name=name) for place, (kind, shape, name) in enumerate(SHAPES)
    )


def subops(at: str = "h.0") -> list[SubOp]:
    return [
        DenseRead(module="embed", operation="embedding", words=24, inputs=(1, 0), outputs=(2,)),
        Product(
            module=f"{at}.k",
            operation="linear",
            batch=1,
            rows=6,
            inner=4,
            columns=4,
            resident="weight",
            inputs=(2, 3),
            outputs=(4,),
        ),
        Move(
            module=at,
            operation=CACHE_APPEND,
            kind="cache",
            elements=24,
            function="cat",
            inputs=(5, 4),
            outputs=(6,),
        ),
        Move(module=at, operation=CACHE_READ, kind="cache", elements=64, inputs=(6,), outputs=(7,)),
        Move(
            module=at,
            operation="transpose",
            kind="view",
            elements=64,
            function="transpose",
            inputs=(7,),
            outputs=(8,),
            arguments=(("call", (("input", 0), -1, -2)), ("fill", float("-inf"))),
        ),
        Product(
            module=at,
            operation="matmul",
            batch=2,
            rows=3,
            inner=4,
            columns=8,
            resident="activation",
            inputs=(2, 8),
            outputs=(9,),
        ),
        Move(module="", operation="mask", kind="control", elements=24, function="tril", outputs=(10,)),
        FunctionCall(
            module=at, operation="addition", function="add", elements=48, inputs=(9, 10), outputs=(11,)
        ),
        Product(
            module=at,
            operation="sum",
            batch=1,
            rows=6,
            inner=8,
            columns=1,
            resident="constant",
            inputs=(11,),
            outputs=(12,),
        ),
        FunctionCall(
            module=at,
            operation="softmax reciprocal",
            function="reciprocal",
            elements=6,
            inputs=(12,),
            outputs=(13,),
        ),
        FunctionCall(
            module=at,
            operation="softmax scale",
            function="multiply",
            elements=48,
            inputs=(11, 13),
            outputs=(14,),
        ),
    ]


def flowing(**changes: Any) -> Program:
    """The program; ``changes`` are fields of it."""
    made = Program(
        name="head",
        batch=2,
        tokens=3,
        subops=tuple(subops()),
        stored_words=56,
        values=values(),
        outputs=(14, 6),
        phase="decode",
        context=5,
        assumptions=("every expert takes its share",),
    )
    return replace(made, **changes)


def with_subop(index: int, **fields: Any) -> Program:
    """The program with fields of one sub-operation changed."""
    changed = subops()
    changed[index] = replace(changed[index], **fields)
    return flowing(subops=tuple(changed))


def with_value(index: int, **fields: Any) -> Program:
    """The program with fields of one value changed."""
    changed = list(values())
    changed[index] = replace(changed[index], **fields)
    return flowing(values=tuple(changed))
