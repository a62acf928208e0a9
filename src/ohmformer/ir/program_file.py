"""A program as a JSON file: a numbered schema, whole or not at all, refused in one sentence."""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from ohmformer.errors import UserError, write_atomically
from ohmformer.ir.program import Phase, Program
from ohmformer.ir.subops import DenseRead, FunctionCall, Move, Product, SubOp, SubOpError, Value
from ohmformer.ir.verify import verify

__all__ = ["FORMAT", "SCHEMA", "load_program", "save_program"]

FORMAT, SCHEMA = "ohmformer program", 1
KINDS: dict[str, type[Product | FunctionCall | DenseRead | Move]] = {
    "product": Product,
    "function": FunctionCall,
    "read": DenseRead,
    "move": Move,
}
_KIND_OF = {kind: name for name, kind in KINDS.items()}
Made = TypeVar("Made", Value, Product, FunctionCall, DenseRead, Move, Program)


def save_program(program: Program, path: str | os.PathLike[str]) -> Path:
    """Write ``program`` to ``path`` as JSON.

    An object with ``format``, ``schema`` and the fields of the program; a sub-operation is an object with
    its kind and those of its fields that are not empty; a number that is not finite is {"float": name}.
    Error: UserError where the file cannot be written.
    """
    document: dict[str, Any] = {"format": FORMAT, "schema": SCHEMA}
    for field in fields(program):
        document[field.name] = getattr(program, field.name)
    document["values"] = [[value.kind, list(value.shape), value.name] for value in program.values]
    document["subops"] = [_plain(subop) for subop in program.subops]
    return write_atomically(path, json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n")


def load_program(path: str | os.PathLike[str]) -> Program:
    """The program in the file ``path``, verified.

    Error: UserError, one sentence, for a file that cannot be read, is no program, is of another schema, lacks
    a field or has an unknown one, or holds a program that the verifier refuses.
    """
    where = Path(path)
    try:
        document = json.loads(where.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {where}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no program: it is not JSON.") from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise UserError(f"{where} is no program: its format is not {FORMAT!r}.")
    schema = document.pop("schema", None)
    if schema != SCHEMA or isinstance(schema, bool):
        raise UserError(
            f"{where} is a program of schema {schema!r}: only {SCHEMA} can be read, compile the model again."
        )
    try:
        document["values"] = _listed(document, "values", _value)
        document["subops"] = _listed(document, "subops", _subop)
        program = _made(Program, document, "the program")
    except _Malformed as error:
        raise UserError(f"{where} is a malformed program: {error}.") from error
    verify(program)
    return program


class _Malformed(Exception):
    """What is wrong with the document."""


def _plain(subop: SubOp) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": _KIND_OF[type(subop)]}
    for name in subop.__slots__:
        value = getattr(subop, name)
        if value == () or (name == "function" and value == ""):
            continue
        # the way of a move is also called kind
        made["way" if name == "kind" else name] = _jsonable(value) if name == "arguments" else value
    return made


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _argument(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_argument(item) for item in value)
    if isinstance(value, dict):
        if set(value) != {"float"} or value["float"] not in ("inf", "-inf", "nan"):
            raise _Malformed("an argument is an object")
        return float(value["float"])
    return value


def _listed(document: Mapping[str, Any], name: str, make: Callable[[int, Any], Any]) -> tuple[Any, ...]:
    found = document.get(name)
    if not isinstance(found, list):
        raise _Malformed(f"{name} is missing" if name not in document else f"{name} is no list")
    return tuple(make(index, item) for index, item in enumerate(found))


def _value(index: int, item: Any) -> Value:
    if not isinstance(item, list) or len(item) != 3:
        raise _Malformed(f"value {index} is not [kind, shape, name]")
    kind, shape, name = item
    return _made(Value, {"id": index, "kind": kind, "shape": shape, "name": name}, f"value {index}")


def _subop(index: int, item: Any) -> SubOp:
    where = f"sub-operation {index}"
    if not isinstance(item, dict):
        raise _Malformed(f"{where} is no object")
    given = dict(item)
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise _Malformed(f"{where} is of kind {kind!r}, allowed are {', '.join(KINDS)}")
    if "way" in given:
        given["kind"] = given.pop("way")
    made: SubOp = _made(KINDS[kind], given, where)  # type: ignore[type-var]
    return made


def _whole(value: Any) -> bool:
    return type(value) is int


def _text(value: Any) -> bool:
    return type(value) is str


def _three_counts(value: Any) -> bool:
    return type(value) is tuple and len(value) == 3 and all(type(n) is int and n >= 0 for n in value)


def _anything(value: Any) -> bool:
    return True


_CHECKS: dict[str, tuple[bool, Callable[[Any], bool]]] = {
    # by the name of a field's type: whether it holds many, and what one of them must be
    "int": (False, _whole),
    "str": (False, _text),
    "Resident": (False, _text),
    "MoveKind": (False, _text),
    "ValueKind": (False, _text),
    "Phase": (False, lambda value: value in get_args(Phase)),
    "tuple[int, ...]": (True, _whole),
    "tuple[str, ...]": (True, _text),
    "tuple[tuple[int, ...], ...]": (True, _three_counts),
    "Arguments": (True, lambda item: type(item) is tuple and len(item) == 2 and _text(item[0])),
    "tuple[Value, ...]": (True, _anything),
    "tuple[SubOp, ...]": (True, _anything),
}


# of each class, each field: whether it must be given, and its check
_FIELDS: dict[Any, dict[str, tuple[bool, bool, Callable[[Any], bool]]]] = {
    kind: {field.name: (field.default is MISSING, *_CHECKS[str(field.type)]) for field in fields(kind)}
    for kind in (Value, Program, *KINDS.values())
}


def _made(kind: type[Made], given: dict[str, Any], where: str) -> Made:
    """An object of the fields given, each of the type that its class says."""
    known = _FIELDS[kind]
    for name in given:
        if name not in known:
            raise _Malformed(f"{where} has an unknown field {name!r}")
    checked: dict[str, Any] = {}
    for name, (required, many, fits) in known.items():
        if name not in given:
            if required:
                raise _Malformed(f"{where} lacks {name}")
            continue
        value = _argument(given[name]) if isinstance(given[name], list) else given[name]
        if many != isinstance(value, tuple) or not (all(map(fits, value)) if many else fits(value)):
            raise _Malformed(f"{where} has {name} = {reprlib.repr(given[name])}")
        checked[name] = value
    try:
        return kind(**checked)
    except SubOpError as error:
        raise _Malformed(f"{where} is refused, {str(error).rstrip('.')}") from error
