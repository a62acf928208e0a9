"""A program as readable text, repeated layers folded into one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby

from ohmformer.ir.program import Program
from ohmformer.ir.subops import DenseRead, FunctionCall, Move, Product, SubOp

__all__ = ["render"]

_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")
Writer = Callable[[SubOp, str, int], str]
_MARKS = {"weight": "W", "activation": "A", "constant": "1"}


def render(program: Program, *, fold: bool = True, moves: bool = False, values: bool = False) -> str:
    """``program`` as text, one sub-operation a line; with ``fold``, repeated layers once, "24 x".

    A product reads ``batch x [rows, inner] · R[inner, columns]`` with R = W (weight), A (activation) or
    1 (ones). The first index of a module path becomes ``*`` where layers are folded.

    moves:  also what computes nothing (views, copies, control); keys and values of a cache always show
    values: also the values read and written, ``%3 %5 -> %6``; of folded layers, those of the first
    """
    shown = [
        subop for subop in program.subops if moves or not isinstance(subop, Move) or subop.kind == "cache"
    ]
    write = _written if values else _line
    lines = [*_heading(program, len(program.subops) - len(shown))]
    if not fold:
        return "\n".join([*lines, *(write(subop, subop.module, 2) for subop in shown), ""])
    for prefix, run in groupby(shown, key=_prefix):
        subops = list(run)
        if prefix is None:
            lines += [write(subop, subop.module, 2) for subop in subops]
        else:
            lines += _fold(subops, write)
    return "\n".join([*lines, ""])


def _heading(program: Program, hidden: int) -> list[str]:
    flow = "" if program.phase == "encode" else f", {program.phase} behind {program.context} tokens"
    lines = [
        f"program {program.name}: batch {program.batch}, {program.tokens} tokens{flow}, "
        f"{len(program.subops)} sub-operations, {program.macs:,} multiply-accumulates, "
        f"{program.stored_words:,} stored words"
    ]
    if program.cache_written or program.cache_read:
        lines.append(f"  cache: {program.cache_written:,} numbers written, {program.cache_read:,} read")
    lines += [f"  assumed: {assumption}" for assumption in program.assumptions]
    return [*lines, f"  {hidden} moves without work of a crossbar are not shown"] if hidden else lines


def _prefix(subop: SubOp) -> str | None:
    """The path before the first index (``encoder.layer.3.x`` -> ``encoder.layer.``), None without one."""
    match = _INDEX.search(subop.module)
    return subop.module[: match.start()] if match else None


def _index(subop: SubOp) -> str:
    match = _INDEX.search(subop.module)
    return match.group() if match else ""


def _key(subop: SubOp) -> str:
    """A sub-operation as text without the first index of its module."""
    return _line(subop, _INDEX.sub("*", subop.module, count=1), 4)


def _period(keys: Sequence[str]) -> int:
    """Length of the shortest block whose repetition is ``keys`` (Knuth, Morris and Pratt's borders)."""
    border = [0] * len(keys)
    for i in range(1, len(keys)):
        k = border[i - 1]
        while k and keys[i] != keys[k]:
            k = border[k - 1]
        border[i] = k + (keys[i] == keys[k])
    period = len(keys) - border[-1]
    return period if len(keys) % period == 0 else len(keys)


def _fold(subops: list[SubOp], write: Writer) -> list[str]:
    """Lines of one run of layers: the whole run if it is periodic, else equal neighbours by index."""
    keys = [_key(subop) for subop in subops]
    period = _period(keys)
    if period < len(keys):
        return [_head(subops, len(keys) // period), *_folded(subops[:period], write)]
    layers = [list(layer) for _, layer in groupby(subops, key=_index)]
    lines: list[str] = []
    for _, same in groupby(layers, key=lambda layer: [_key(subop) for subop in layer]):
        group = list(same)
        members = [subop for layer in group for subop in layer]
        lines += [_head(members, len(group)), *_folded(group[0], write)]
    return lines


def _folded(subops: Sequence[SubOp], write: Writer) -> list[str]:
    return [write(subop, _INDEX.sub("*", subop.module, count=1), 4) for subop in subops]


def _head(subops: list[SubOp], times: int) -> str:
    first, last = _index(subops[0]), _index(subops[-1])
    indices = first if first == last else f"{first} ... {last}"
    return f"  {_prefix(subops[0])}{indices}: {times} x"


def _line(subop: SubOp, module: str, indent: int) -> str:
    if isinstance(subop, Product):
        body = (
            f"{subop.batch} x [{subop.rows}, {subop.inner}] · "
            f"{_MARKS.get(subop.resident, '?')}[{subop.inner}, {subop.columns}]"
        )
    elif isinstance(subop, FunctionCall):
        body = f"F:{subop.function} {subop.elements:,}"
    elif isinstance(subop, DenseRead):
        body = f"read {subop.words:,} words"
    else:
        body = f"{subop.kind} {subop.elements:,} {subop.function}".rstrip()
    return f"{' ' * indent}{subop.operation:<24} {body:<44} {module}".rstrip()


def _written(subop: SubOp, module: str, indent: int) -> str:
    """A line with the values read and written."""
    read, made = (" ".join(f"%{value}" for value in part) for part in (subop.inputs, subop.outputs))
    return f"{_line(subop, module, indent)}  {read} -> {made}".rstrip()
