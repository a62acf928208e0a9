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


def test_gates_and_what_they_take(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "encoder.v"
    ended = command("emit", "rtl", "encoder", "--gates", "--out", out)
    assert ended.code == 0
    assert "gates, " in ended.out + ended.err
    assert "switches" not in out.read_text()  # the table's function is gone
    bad = tmp_path / "cells.lib"
    bad.write_text("a letter to a friend")
    ended = command("emit", "rtl", "encoder", "--liberty", bad, "--out", tmp_path / "never.v")
    assert ended.code == 2
    assert "is no liberty file" in ended.err
    assert not (tmp_path / "never.v").exists()


def test_a_file_without_a_name_is_refused(command: Command) -> None:
    for target in (("--out", ""), ("--liberty", "")):
        ended = command("emit", "rtl", "encoder", *target)
        assert ended.code == 2
        assert "is empty: " in ended.sentence


def test_a_liberty_file_is_looked_at_ahead_of_the_part(command: Command, tmp_path: Path) -> None:
    """Even where the part could not be made."""
    no_part = ("--set", "tile.settling_time_s=900")
    assert "over 2^24" in command("emit", "rtl", "tile_control", *no_part).sentence
    ended = command("emit", "rtl", "tile_control", *no_part, "--liberty", tmp_path / "none.lib")
    assert "none.lib: No such file or directory; give a liberty file" in ended.sentence


def test_a_product_of_a_given_shape(command: Command) -> None:
    source = command("emit", "rtl", "product_control", "--inner", 100, "--columns", 20).out
    assert "module product_control (" in source
    assert "reg signed [7:0] row [0:99];" in source
    ended = command("emit", "rtl", "encoder", "--inner", 4)
    assert ended.code == 2
    assert "--inner and --columns belong to product_control" in ended.err
