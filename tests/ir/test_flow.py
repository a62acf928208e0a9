"""Data flow and shapes: a sound program passes, each fault is named with its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ohmformer.ir import FunctionCall, Move, Program, ProgramError, SubOpError, Value, render, verify
from ohmformer.ir.shapes import broadcast

from .flowing import flowing, subops, with_subop, with_value


def test_a_sound_program_passes() -> None:
    program = flowing()
    verify(program, macs=6 * 4 * 4 + 2 * 3 * 4 * 8 + 6 * 8)
    assert program.cache_written == 24
    assert program.cache_read == 64
    assert [move.kind for move in program.moves()] == ["cache", "cache", "view", "control"]
    assert [move.function for move in program.moves("view")] == ["transpose"]
    assert program.values[6].elements == 2 * 8 * 4


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (with_subop(1, inputs=(15, 3)), r"Sub-operation 1 \(linear of h.0.k\) reads %15: .* 15 values"),
        (with_subop(1, inputs=(-1, 3)), "reads %-1"),
        (with_subop(1, outputs=(99,)), "writes %99: the program has 15 values"),
        (with_subop(1, inputs=(4, 3)), "reads %4 before it is written"),
        (with_subop(7, outputs=(9,)), "writes %9, which is written before"),
        (with_subop(6, outputs=(0,)), "writes %0, which is input"),
        (with_subop(2, outputs=(5,)), "writes %5, which is cache"),
        (flowing(outputs=(15,)), "The program 'head' returns %15"),
        (flowing(subops=tuple(subops()[:-1])), "returns %14, which nothing writes"),
        (flowing(subops=tuple(subops()[:-1]), outputs=()), "has the value %14, which nothing writes"),
        (with_value(4, id=5), "has the value %5 in place 4"),
        (with_value(4, kind="guess"), "kind 'guess': allowed are input, stored"),
        (with_value(4, shape=(2, -3, 4)), r"shape \(2, -3, 4\)"),
        (with_value(5, name=""), "Sub-operation 2 .* reads %5 before it is written"),
        (flowing(context=-1), "context is -1"),
    ],
)
def test_faults_of_the_flow_are_named(program: Program, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        verify(program)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (with_subop(1, inputs=(2,)), "has 1 operands and 1 results: a product has 2 and 1"),
        (with_subop(1, inputs=(3, 3)), "streams %3, which is stored: it has to be read first"),
        (with_subop(1, rows=5), r"streams %2 of shape \[2, 3, 4\]: 1 x \[5, 4\] is wanted"),
        (with_subop(1, rows=8, inner=3), "its last axis must be 3"),
        (with_subop(1, columns=3), r"gives %4 of shape \[2, 3, 4\]: 1 x \[6, 3\] is made"),
        (with_value(3, shape=(4, 5)), r"resident operand %3 of shape \[4, 5\]: \[4, 4\] is wanted"),
        (with_subop(1, resident="activation"), "the resident operand %3 of kind stored, not activation"),
        (with_subop(5, resident="weight"), "the resident operand %8 of kind activation, not weight"),
        (with_subop(8, inputs=(11, 11)), "has 2 operands and 1 results: a product has 1 and 1"),
        (with_value(10, shape=(4, 8)), r"makes %11 of shape \[2, 3, 8\] of \[2, 3, 8\] and \[4, 8\]"),
        (with_subop(7, elements=47), "counts 47 elements: %11"),
        (with_subop(7, inputs=(9, 1)), "reads %1, which is stored: it has to be read first"),
        (with_subop(7, inputs=()), "reads nothing"),
        (with_subop(9, inputs=(11,)), r"makes %13 of shape \[2, 3, 1\] of %11"),
        (with_subop(9, elements=7), "counts 7 elements: %13"),
        (with_subop(7, function="max", elements=24), "counts 24 elements: %9"),
        (with_subop(0, inputs=(0,)), "reads %0, which is input: stored values and tables are read"),
        (with_subop(0, inputs=()), "reads nothing"),
        (with_subop(2, elements=23), "appends 23 elements: %4 has 24"),
        (with_value(5, shape=(2, 4, 4)), "makes a cache of 64 elements of 56"),
        (with_value(6, kind="activation"), "appends to %6, which is activation"),
        (with_subop(3, inputs=(4,)), "reads no cache"),
        (with_subop(3, elements=63), "reads 63 elements: %7 has 64"),
    ],
)
def test_shapes_and_kinds_that_do_not_fit_are_named(program: Program, message: str) -> None:
    with pytest.raises(ProgramError, match=rf"Sub-operation \d+ .* {message}"):
        verify(program)


def test_a_resident_of_fewer_matrices_serves_several() -> None:
    """Two samples share one matrix of keys: 64 wanted elements are 2 times the 32 there are."""
    verify(with_value(8, shape=(4, 8)))
    with pytest.raises(ProgramError, match="resident operand %8"):
        verify(with_value(8, shape=(5, 4)))


def test_additions_at_addresses_count_their_addends() -> None:
    made = subops()[7]
    scattered = replace(made, arguments=(("form", "at addresses"),), inputs=(9, 10), elements=24)
    verify(flowing(subops=(*subops()[:7], scattered, *subops()[8:])))
    with pytest.raises(ProgramError, match="counts 48 elements: %10"):
        verify(flowing(subops=(*subops()[:7], replace(scattered, elements=48), *subops()[8:])))


@pytest.mark.parametrize(
    ("fields", "message"), [({"elements": -1}, "elements is -1"), ({"kind": "jump"}, "kind is 'jump'")]
)
def test_a_move_refuses_what_it_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SubOpError, match=message):
        with_subop(4, **fields)


def test_a_move_that_was_altered_is_refused() -> None:
    for field, value in (("elements", True), ("kind", "jump")):
        made = flowing()
        object.__setattr__(made.subops[4], field, value)
        with pytest.raises(ProgramError, match=r"Sub-operation 4 \(transpose of h.0\)"):
            verify(made)


def test_values_are_printed_where_asked_and_moves_hidden_unless() -> None:
    text = render(flowing())
    assert "decode behind 5 tokens" in text
    assert "cache: 24 numbers written, 64 read" in text
    assert "assumed: every expert takes its share" in text
    assert "2 moves without work of a crossbar are not shown" in text
    assert "transpose" not in text
    assert "%" not in text
    full = render(flowing(), moves=True, values=True, fold=False).splitlines()
    assert [line.split()[-1] for line in full if line.startswith("  ") and "->" in line] == [
        f"%{subop.outputs[0]}" for subop in subops()
    ]
    assert any("transpose" in line and line.endswith("%7 -> %8") for line in full)


def test_values_of_folded_layers_are_those_of_the_first() -> None:
    one, other = Value(id=0, shape=(4,), kind="input", name="x"), Value(id=1, shape=(4,), kind="activation")
    calls = [
        FunctionCall(
            module=f"h.{i}", operation="exp", function="exp", elements=4, inputs=(i,), outputs=(i + 1,)
        )
        for i in range(2)
    ]
    last = Value(id=2, shape=(4,), kind="activation")
    text = render(flowing(values=(one, other, last), subops=tuple(calls), outputs=(2,)), values=True)
    assert "h.0 ... 1: 2 x" in text
    assert "h.*  %0 -> %1" in text


def test_values_of_a_move_may_name_parts_of_what_is_stored() -> None:
    made = flowing()
    part = Value(id=15, shape=(4,), kind="stored", name="k.weight[0]")
    view = Move(module="", operation="row", kind="view", elements=4, inputs=(3,), outputs=(15,))
    verify(flowing(values=(*made.values, part), subops=(*made.subops, view)))
    with pytest.raises(ProgramError, match="writes %15, which is stored"):
        verify(flowing(values=(*made.values, part), subops=(*made.subops, replace(view, kind="copy"))))


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ([(2, 3), (3,)], (2, 3)),
        ([(2, 1), (1, 3), ()], (2, 3)),
        ([(2, 3), (2,)], None),
        ([()], ()),
        ([(1,), (0,)], (0,)),
    ],
)
def test_broadcasting(shapes: list[tuple[int, ...]], wanted: tuple[int, ...] | None) -> None:
    assert broadcast(shapes) == wanted
