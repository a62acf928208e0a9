"""``ohmformer wires``: table, sentences, JSON, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_table_and_json_agree(command: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "wires.json"
    ended = command(
        *("wires", "--wire", 2, "--size", 16, "--compensation", "none", "--compensation", "both"),
        *("--rows", 50, "--loadings", 1, "--json", target),
    )
    assert ended.code == 0, ended.err
    content = json.loads(target.read_text())
    assert content["schema"] == "ohmformer.wires/1"
    none, both = content["result"]["2"]
    assert none["size"] == both["size"] == 16
    assert (
        none["unit_resistance_ohm"] > both["unit_resistance_ohm"] or none["worst_codes"] > both["worst_codes"]
    )
    assert f"{none['worst_codes']:.2f} codes" in ended.out
    assert "2 ohm, none: largest tile 16 x 16" in ended.out
    assert none["closed_unit_resistance_ohm"] >= none["unit_resistance_ohm"]
    forms = {error["form"]: error for error in content["result"]["forms"]["2"]}
    assert forms["cell"]["largest"] < forms["typical"]["largest"] < forms["none"]["largest"]
    assert f"{forms['typical']['sd']:.2g}" in ended.out


def test_where_nothing_works_it_says_so(command: Callable[..., Any]) -> None:
    ended = command(
        *("wires", "--wire", 1e6, "--size", 32, "--compensation", "none", "--rows", 20, "--loadings", 1)
    )
    assert ended.code == 0, ended.err
    assert "no tile that was tried is free of wrong codes" in ended.out
    assert "none tried" in ended.out


def test_unknown_names_and_wires_are_refused(command: Callable[..., Any]) -> None:
    ended = command("wires", "--compensation", "magic")
    assert ended.code == 2
    assert "allowed are none, driver, gain, both" in ended.sentence
    ended = command("wires", "--wire", -1, "--size", 16)
    assert ended.code == 2
    assert "wire_resistance_ohm" in ended.sentence
