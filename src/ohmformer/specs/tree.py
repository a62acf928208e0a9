"""A chip as a tree of paths: read, override, compare, and the ideal copy."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import yaml

from ohmformer.specs.checks import SpecError
from ohmformer.specs.chip import ChipSpec

Spec = TypeVar("Spec")
Value = bool | int | float | str

NOISE_OFF: dict[str, Value] = {
    "dense.cell.noise.programming_noise": 0.0,
    "dense.cell.noise.telegraph_scale": 0.0,
    "dense.cell.noise.environment_noise": 0.0,
    "dense.cell.noise.read_noise": 0.0,
    "dense.cell.noise.drift_exponent": 0.0,
    "dense.cell.noise.stuck_low_rate": 0.0,
    "dense.cell.noise.stuck_high_rate": 0.0,
    "tile.environment_noise": 0.0,
    "tile.resistor.mismatch": 0.0,
    "tile.resistor.wire_resistance_ohm": 0.0,
    "tile.adc.noise": 0.0,
    "tile.adc.nonlinearity": 0.0,
}


def leaves(spec: object, prefix: str = "") -> dict[str, Value]:
    """Every field of ``spec`` by its dotted path, in declaration order."""
    found: dict[str, Value] = {}
    for field in dataclasses.fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        path = prefix + field.name
        if dataclasses.is_dataclass(value):
            found.update(leaves(value, path + "."))
        else:
            found[path] = value
    return found


def nearest(name: str, names: list[str]) -> str:
    """A sentence part that offers the valid name nearest to ``name``."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    tail = [other for other in names if other.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    choice = tail[0] if tail else (close[0] if close else "")
    return f"did you mean {choice!r}?" if choice else "there is none"


def _typed(path: str, value: object, kind: object) -> Value:
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # YAML 1.1 reads 1e-9, without a point, as a word
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind not in (float, int, bool) and isinstance(value, str):
        return value
    wanted = {float: "a number", int: "a whole number", bool: "true or false"}.get(kind, "a word")  # type: ignore[call-overload]
    raise SpecError(f"{path} is {value!r}: it must be {wanted}.")


def build(kind: type[Spec], tree: Mapping[str, object], prefix: str = "") -> Spec:
    """Construct the dataclass ``kind`` from nested mappings; refuses unknown and missing names."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in tree:
        if name not in names:
            raise SpecError(f"There is no field {prefix + str(name)!r}: {nearest(str(name), names)}")
    arguments: dict[str, Any] = {}
    for name in names:
        path = prefix + name
        if name not in tree:
            raise SpecError(f"The field {path!r} is missing from the chip description.")
        value, hint = tree[name], hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise SpecError(f"{path} is {value!r}: it must be a group of fields.")
            arguments[name] = build(hint, value, path + ".")  # type: ignore[arg-type]
        else:
            arguments[name] = _typed(path, value, hint)
    return kind(**arguments)


def to_tree(spec: object) -> dict[str, Any]:
    """Nested dictionaries of ``spec``."""
    return dataclasses.asdict(spec)  # type: ignore[call-overload, no-any-return]


def merge(tree: dict[str, Any], changes: Mapping[str, object], prefix: str = "") -> dict[str, Any]:
    """``tree`` with the nested ``changes`` put over it; refuses unknown names."""
    merged = dict(tree)
    for name, value in changes.items():
        if name not in tree:
            raise SpecError(f"There is no field {prefix + str(name)!r}: {nearest(str(name), list(tree))}")
        if isinstance(tree[name], dict):
            if not isinstance(value, Mapping):
                raise SpecError(f"{prefix}{name} is {value!r}: it must be a group of fields.")
            merged[name] = merge(tree[name], value, f"{prefix}{name}.")
        else:
            merged[name] = value
    return merged


def override(chip: ChipSpec, changes: Mapping[str, Value]) -> ChipSpec:
    """A copy of ``chip`` with the fields at the dotted paths changed, all of them at once.

    Error: SpecError for an unknown path (with the nearest valid one) or an impossible value.
    """
    paths = list(leaves(chip))
    nested: dict[str, Any] = {}
    for path, value in changes.items():
        if path not in paths:
            raise SpecError(f"There is no field {path!r} in a chip: {nearest(path, paths)}")
        node = nested
        *groups, last = path.split(".")
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return build(ChipSpec, merge(to_tree(chip), nested))


def parse_settings(settings: list[str]) -> dict[str, Value]:
    """Read ``path=value`` strings; values in YAML notation (``5``, ``0.1``, ``1e-3``, ``true``, a word)."""
    changes: dict[str, Value] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip() or not text.strip():
            raise SpecError(f"The setting {setting!r} is not of the form path=value.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SpecError(f"The value in {setting!r} cannot be read.") from error
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
            with contextlib.suppress(ValueError):
                value = float(value)
        if not isinstance(value, (bool, int, float, str)):
            raise SpecError(f"The value in {setting!r} must be a number, true, false or a word.")
        changes[path.strip()] = value
    return changes


def differences(first: ChipSpec, second: ChipSpec) -> dict[str, tuple[Value, Value]]:
    """Paths at which two chips differ, with both values."""
    left, right = leaves(first), leaves(second)
    return {path: (left[path], right[path]) for path in left if left[path] != right[path]}


def without_noise(chip: ChipSpec) -> ChipSpec:
    """``chip`` with every disturbance off (noise, mismatch, wires, nonlinearity, drift, stuck cells).

    The numbers of levels, codes and check bits are unchanged.
    """
    return override(chip, NOISE_OFF)


def ideal(chip: ChipSpec) -> ChipSpec:
    """``chip`` without noise and with converters just wide enough to lose nothing.

    Its products equal integer matrix products; its function unit keeps its tables.
    """
    quiet = without_noise(chip)
    if quiet.tile.lossless:
        return quiet
    return override(quiet, {"tile.adc.step": 1, "tile.adc.bits": quiet.tile.max_sum.bit_length()})
