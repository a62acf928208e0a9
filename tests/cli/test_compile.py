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


def test_a_program_file_is_estimated_as_the_model_is(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, out = make_model("llama"), tmp_path / "program.json"
    run = ("--phase", "decode", "--tokens", 9)
    assert command("compile", folder, *run, "--out", out).code == 0
    results = []
    for place, asked in enumerate(((folder, *run), (out,))):
        file = tmp_path / f"{place}.json"
        ended = command("estimate", *asked, "--json", file, "--timeline", tmp_path / f"{place}-t.json")
        assert ended.code == 0, ended.err
        results.append(json.loads(file.read_text())["result"])
    first, second = results
    assert (first["phase"], first["context"]) == ("decode", 9)
    first.pop("seconds"), second.pop("seconds")
    assert first == second
    # the timeline ends when the estimate says that the run ends, in microseconds
    events = json.loads((tmp_path / "0-t.json").read_text())["traceEvents"]
    end = max(event["ts"] + event["dur"] for event in events if event["ph"] == "X")
    typical = first["comparison"]["chip"]["typical"]
    assert end == pytest.approx(1e6 * typical["latency_s"], rel=1e-9)
    damaged = tmp_path / "damaged.json"
    damaged.write_text(out.read_text().replace('"schema":1', '"schema":7'))
    ended = command("estimate", damaged)
    assert (ended.code, len(ended.err.strip().splitlines())) == (2, 1)
    assert "schema 7" in ended.err


def test_a_generation_is_a_prompt_and_a_growing_cache(
    command: Command, make_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, out = make_model("llama"), tmp_path / "out.json"
    ended = command("estimate", folder, "--generate", 5, "--tokens", 6, "--json", out)
    assert ended.code == 0, ended.err
    found = json.loads(out.read_text())["result"]["levels"]["typical"]
    steps = [("prefill", 6, 0), *(("decode", 1, context) for context in range(6, 10))]
    macs = 0
    for phase, tokens, context in steps:
        asked = ["--phase", phase, "--tokens", tokens if phase == "prefill" else context]
        assert command("compile", folder, *asked, "--json", out).code == 0
        made = json.loads(out.read_text())["result"]["program"]
        macs += sum(
            one["batch"] * one["rows"] * one["inner"] * one["columns"]
            for one in made["subops"]
            if "rows" in one
        )
    assert found["macs"] == macs
    assert f"{5} tokens behind a prompt of 1 x 6" in ended.out
    for option in (("--phase", "decode"), ("--context", 3), ("--timeline", tmp_path / "t.json")):
        refused = command("estimate", folder, "--generate", 5, *option)
        assert (refused.code, len(refused.err.strip().splitlines())) == (2, 1)
        assert str(option[0]) in refused.err
    assert command("estimate", make_model("bert"), "--generate", 2, "--tokens", 4).code == 2


T5 = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 40,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 12,
    "num_layers": 1,
    "num_heads": 2,
    "num_decoder_layers": 1,
    "decoder_start_token_id": 0,
}


def t5_step_macs(given: int, context: int) -> int:
    """Own products of one decode step: projections, feed-forward, both attentions, next-token head."""
    linear = 4 * 8 * 8 + 2 * 8 * 8 + 2 * 8 * 12 + 8 * 40  # keys and values of the encoder are there already
    return linear + 2 * 8 * (context + 1) + 2 * 8 * given


def test_a_decoder_reads_all_that_its_encoder_was_given(command: Command, tmp_path: Path) -> None:
    model, out = tmp_path / "tiny.json", tmp_path / "out.json"  # a configuration of any file name
    model.write_text(json.dumps(T5))
    for context in (None, 3):
        more = () if context is None else ("--context", context)
        ended = command("compile", model, "--phase", "decode", "--tokens", 9, *more, "--json", out)
        assert ended.code == 0, ended.err
        found = json.loads(out.read_text())["result"]["aten_macs"]
        assert found == t5_step_macs(9, 9 if context is None else context)


def test_a_generation_of_an_encoder_decoder_starts_with_one_token(command: Command, tmp_path: Path) -> None:
    model, out = tmp_path / "tiny.json", tmp_path / "out.json"
    model.write_text(json.dumps(T5))

    def macs(*arguments: object) -> int:
        ended = command(*arguments, "--json", out)
        assert ended.code == 0, ended.err
        result = json.loads(out.read_text())["result"]
        return int(result["levels"]["typical"]["macs"] if "levels" in result else result["macs"])

    whole = macs("estimate", model, "--generate", 4, "--tokens", 9)
    steps = [macs("estimate", model, "--phase", "prefill", "--tokens", 9)]
    for context in (1, 2, 3):
        steps.append(macs("estimate", model, "--phase", "decode", "--tokens", 9, "--context", context))
    assert whole == sum(steps)
