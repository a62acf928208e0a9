"""The verifier refuses each kind of fault; the printer folds what repeats and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ohmformer.errors import UserError
from ohmformer.ir import DenseRead, FunctionCall, Product, Program, ProgramError, SubOp, render, verify


def layer(at: str, columns: int = 8) -> list[SubOp]:
    return [
        Product(
            module=f"{at}.dense",
            operation="linear",
            batch=1,
            rows=4,
            inner=8,
            columns=columns,
            resident="weight",
        ),
        FunctionCall(module=f"{at}.act", operation="gelu", function="gelu", elements=4 * columns),
    ]


def program(subops: list[SubOp], stored: int = 1000) -> Program:
    return Program(name="toy", batch=1, tokens=4, subops=tuple(subops), stored_words=stored)


def altered(subop: SubOp, **fields: object) -> SubOp:
    """A sub-operation with fields that its constructor would refuse or does not check."""
    changed = replace(subop)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    return changed


def test_a_sound_program_passes_and_its_macs_are_compared_to_the_unit() -> None:
    sound = program([*layer("layer.0"), *layer("layer.1")])
    verify(sound)
    verify(sound, macs=2 * 4 * 8 * 8)
    with pytest.raises(ProgramError, match="has 512 multiply-accumulates: 513 were counted"):
        verify(sound, macs=513)


@pytest.mark.parametrize(
    ("subop", "message"),
    [
        (altered(layer("a")[0], rows=0), "rows is 0, it must be a whole number of at least 1"),
        (altered(layer("a")[0], inner=True), "inner is True"),
        (altered(layer("a")[0], columns=2.5), "columns is 2.5"),
        (altered(layer("a")[0], resident="guess"), "kind 'guess': allowed are weight, activation, constant"),
        (altered(layer("a")[0], columns=200), "weight of 1600 words: only 1000 are stored"),
        (altered(layer("a")[0], resident="constant"), "8 columns of ones: allowed is 1"),
        (altered(layer("a")[1], function="erf"), "calls the function 'erf': allowed are exp"),
        (altered(layer("a")[1], elements=-3), "elements is -3"),
        ("matmul", "is a str: no such sub-operation"),
    ],
)
def test_each_fault_is_named_with_its_place(subop: SubOp, message: str) -> None:
    with pytest.raises(ProgramError, match="Sub-operation 2 ") as caught:
        verify(program([*layer("layer.0"), subop]))
    assert message in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_program_fields_are_checked() -> None:
    read = DenseRead(module="e", operation="embedding", words=5)
    with pytest.raises(ProgramError, match="reads 5 words: none are stored"):
        verify(program([read], stored=0))
    with pytest.raises(ProgramError, match="words is 0"):
        verify(program([altered(read, words=0)]))
    with pytest.raises(ProgramError, match="no sub-operation"):
        verify(program([]))
    with pytest.raises(ProgramError, match="tokens is 0"):
        verify(replace(program([read]), tokens=0))
    with pytest.raises(ProgramError, match="stored_words is -1"):
        verify(program([read], stored=-1))


def body(text: str) -> list[str]:
    return text.splitlines()[1:]


def test_equal_layers_are_printed_once_with_their_number() -> None:
    head = DenseRead(module="embeddings", operation="embedding", words=1500)
    text = render(program([head, *(s for i in range(12) for s in layer(f"encoder.layer.{i}"))]))
    assert text.splitlines()[0] == (
        "program toy: batch 1, 4 tokens, 25 sub-operations, 3,072 multiply-accumulates, 1,000 stored words"
    )
    assert [line.split() for line in body(text)] == [
        ["embedding", "read", "1,500", "words", "embeddings"],
        ["encoder.layer.0", "...", "11:", "12", "x"],
        ["linear", "1", "x", "[4,", "8]", "·", "W[8,", "8]", "encoder.layer.*.dense"],
        ["gelu", "F:gelu", "32", "encoder.layer.*.act"],
    ]


def test_a_shared_layer_that_runs_again_is_folded_too() -> None:
    lines = body(render(program(layer("groups.0") * 3)))
    assert lines[0].strip() == "groups.0: 3 x"
    assert len(lines) == 3


def test_a_layer_that_differs_stands_by_itself() -> None:
    subops = [*layer("layer.0"), *layer("layer.1"), *layer("layer.2", columns=16), *layer("layer.3")]
    heads = [line.strip() for line in body(render(program(subops))) if line.endswith(" x")]
    assert heads == ["layer.0 ... 1: 2 x", "layer.2: 1 x", "layer.3: 1 x"]


def test_nothing_is_dropped_without_folding() -> None:
    subops = [s for i in range(3) for s in layer(f"layer.{i}")]
    lines = body(render(program(subops), fold=False))
    assert len(lines) == 6
    assert lines[4].endswith("layer.2.dense")


def test_folding_keeps_every_sub_operation() -> None:
    """Lines of a folded group times its number add up to the program's length."""
    subops = [*(s for i in range(5) for s in layer(f"h.{i}")), *layer("h.5", columns=4), *layer("head")]
    counted, times, inside = 0, 1, False
    for line in body(render(program(subops))):
        if line.endswith(" x"):
            times, inside = int(line.split()[-2]), True
        else:
            counted += times if inside and "*" in line else 1
    assert counted == len(subops)
