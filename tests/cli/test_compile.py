"""``compile``: printed, kept, costed from the file; refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ohmformer.ir import load_program, render

Command = Callable[..., Any]


def test_a_program_is_printed_and_kept(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    out, result = tmp_path / "program.json", tmp_path / "result.json"
    folder = make_model("bert")
    ended = command("compile", folder, "--tokens", 8, "--batch", 2, "--out", out, "--json", result)
    assert ended.code == 0, ended.err
    kept = load_program(out)
    # four projections, the two matrices of the feed-forward part, the pooler; scores and context
    linears = 2 * 8 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 16 * 16
    assert kept.macs_by_resident()["weight"] == linears
    attention = 2 * 2 * 8 * 8 * 16
    document = json.loads(result.read_text())["result"]
    assert document["aten_macs"] == linears + attention
    assert render(kept).splitlines()[0] in ended.out
    assert f"{linears + attention:,} multiply-accumulates" in ended.out
    assert f"{kept.macs - linears - attention:,} more" in ended.out
    # a plain listing shows moves of numbers, the short one does not
    whole = command("compile", folder, "--tokens", 8, "--all")
    assert " view " in whole.out
    assert " view " not in ended.out


def test_a_decode_step_reads_the_cache(command: Command, make_model: Callable[[str], Path]) -> None:
    folder = make_model("llama")
    ended = command("compile", folder, "--phase", "decode", "--tokens", 9)
    assert ended.code == 0, ended.err
    assert "9" in ended.out.splitlines()[0]
    longer = command("compile", folder, "--phase", "decode", "--context", 11)
    assert longer.code == 0
    assert longer.out != ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--phase", "sideways"), "encode, prefill, decode"),
        (("--context", 3), "no cache"),
        (("--tokens", 4000), "4000"),
        (("--phase", "decode", "--tokens", 4), "no key-value cache"),
    ],
)
def test_what_cannot_be_compiled_is_one_sentence(
    command: Command,
    make_model: Callable[[str], Path],
    tmp_path: Path,
    arguments: tuple[object, ...],
    words: str,
) -> None:
    out = tmp_path / "program.json"
    ended = command("compile", make_model("bert"), *arguments, "--out", out)
    assert ended.code == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not out.exists()
