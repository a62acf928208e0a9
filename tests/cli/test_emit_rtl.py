"""``emit rtl``: one part of the chip's hardware, whole, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ohmformer.emit import RTL_PARTS, chip_module
from ohmformer.specs import preset

Command = Callable[..., Any]


def test_a_part_goes_to_a_file_or_to_standard_output(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "encoder.v"
    source = chip_module(preset("wang2024"), "encoder").source
    ended = command("emit", "rtl", "encoder", "--out", out)
    assert ended.code == 0, ended.err
    assert out.read_text(encoding="utf-8") == source
    assert command("emit", "rtl", "encoder").out == source
    # another base is another encoder
    other = command("emit", "rtl", "encoder", "--set", "tile.numeral.radix=3", "--set", "tile.adc.bits=9")
    assert other.code == 0, other.err
    assert other.out != source


def test_a_part_that_no_chip_has_names_those_it_has(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "x.v"
    ended = command("emit", "rtl", "nothing", "--out", out)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert all(part in ended.err for part in RTL_PARTS)
    assert not out.exists()
