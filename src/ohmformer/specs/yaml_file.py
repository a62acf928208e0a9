"""Chips as YAML: exact round trip, or a few changes on top of a named preset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ohmformer.errors import UserError, write_atomically
from ohmformer.specs.checks import SpecError
from ohmformer.specs.chip import BufferSpec, ChipSpec, PackageSpec
from ohmformer.specs.tree import build, merge, to_tree

SCHEMA = 2

# version 1 knew none of these: what it described had them off
_ADDED_AFTER_1: dict[str, Any] = {
    "precision": {"outliers": 0},
    "dense": {"secded_data_bits": 0},
    "tile": {"resistor": {"wire_resistance_ohm": 0.0}, "adc": {"nonlinearity": 0.0}},
}
# a later file may leave these out: they have one meaning that keeps what it described
_OPTIONAL: dict[str, Any] = {
    "buffer": {"kv_cache": BufferSpec.kv_cache},
    "package": to_tree(PackageSpec()),
}


def to_yaml(chip: ChipSpec) -> str:
    """The whole description as YAML text; ``from_yaml`` gives the equal chip back."""
    text: str = yaml.safe_dump(
        {"ohmformer_chip": SCHEMA, **to_tree(chip)}, sort_keys=False, allow_unicode=True
    )
    return text


def from_yaml(text: str, preset: Callable[[str], ChipSpec], where: str = "the chip description") -> ChipSpec:
    """Read a chip from YAML text (safe-loaded).

    Either every field is given, or ``base: NAME`` names the preset whose fields are kept where the text
    is silent. A file of version 1 has the fields that it did not know at 0; the home of keys and values and
    the limits of chips may be absent.

    Error: SpecError naming ``where`` for text that is no YAML, another schema version, unknown, missing or
    repeated fields, impossible values.
    """
    try:
        tree = yaml.safe_load(text)
        twice = _given_twice(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = f" (line {line + 1})" if line is not None else ""
        raise SpecError(f"{where} is not readable YAML{at}.") from error
    if twice is not None:
        raise SpecError(f"{where} gives {twice.value!r} twice (line {twice.start_mark.line + 1}).")
    if not isinstance(tree, dict):
        raise SpecError(f"{where} must hold named fields of a chip.")
    schema = tree.pop("ohmformer_chip", SCHEMA)
    if isinstance(schema, bool) or schema not in (1, SCHEMA):
        raise SpecError(f"{where} has schema version {schema!r}: this program reads versions 1 and {SCHEMA}.")
    base = tree.pop("base", None)
    try:
        if base is not None:
            tree = merge(to_tree(preset(str(base))), tree)
        else:
            if schema == 1:
                tree = _with_absent(tree, _ADDED_AFTER_1)
            tree = _with_absent({"package": {}, **tree}, _OPTIONAL)
        return build(ChipSpec, tree)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from error


def _given_twice(tree: yaml.Node | None) -> yaml.ScalarNode | None:
    """The first key that a mapping of ``tree`` holds for the second time."""
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        keys: set[str] = set()
        for part in node.value:
            key, value = part if isinstance(node, yaml.MappingNode) else (None, part)
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    return key
                keys.add(key.value)
            waiting.append(value)
    return None


def _with_absent(tree: dict[str, Any], additions: dict[str, Any]) -> dict[str, Any]:
    """``tree`` with the nested ``additions`` where it has a group for them and says nothing itself."""
    filled = dict(tree)
    for name, value in additions.items():
        if not isinstance(value, dict):
            filled.setdefault(name, value)
        elif isinstance(filled.get(name), dict):
            filled[name] = _with_absent(filled[name], value)
    return filled


def read_chip(path: str | Path, preset: Callable[[str], ChipSpec]) -> ChipSpec:
    """Read a chip from the YAML file at ``path`` (see ``from_yaml``)."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"Cannot read the chip file {path}: {reason}.") from error
    return from_yaml(text, preset, f"The chip file {path}")


def write_chip(path: str | Path, chip: ChipSpec) -> Path:
    """Write ``chip`` to ``path`` as YAML, completely or not at all."""
    return write_atomically(path, to_yaml(chip))
