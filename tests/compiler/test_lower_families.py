"""Every family lowers to exactly the sub-operations that its deployed model runs, and adds up to the unit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ohmformer import chips
from ohmformer.compiler import account, lower, trace
from ohmformer.deploy import deploy, shape_model
from ohmformer.deploy import trace as trace_deployed
from ohmformer.ir import DenseRead, FunctionCall, Product, Program, SubOp, load_program, save_program, verify

from ..deploy.conftest import DECODERS, FAMILIES

EXPERTS = ("mixtral", "gpt_oss")
TRACED = [name for name in FAMILIES if name != "whisper"]  # sound is not traced
RECORDED = [name for name in TRACED if name not in EXPERTS]  # the deployed model cannot be run on shapes
RUNS = [(name, "encode") for name in TRACED] + [
    (name, phase) for name in (*DECODERS, "t5") for phase in ("prefill", "decode")
]
CHIP = chips.wang2024()


def work(subop: SubOp) -> tuple[Any, ...] | None:
    """A sub-operation as the recorder of a deployed model would note it; None for a move."""
    if isinstance(subop, Product):
        counts = (subop.batch, subop.rows, subop.inner, subop.columns)
        return (subop.module, subop.operation, *counts, subop.resident)
    if isinstance(subop, FunctionCall):
        return subop.module, subop.operation, subop.function, subop.elements
    return (subop.module, subop.operation, subop.words) if isinstance(subop, DenseRead) else None


def works(program: Program) -> Counter[tuple[Any, ...]]:
    return Counter(found for subop in program.subops if (found := work(subop)) is not None)


# Falcon's attention writes its products out where it is traced, and calls torch's where it runs.
WRITTEN_OUT = {"attention scores": "matmul", "attention context": "matmul", "mask": "addition"}


def written_out(works: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """The same work, with the parts of torch's attention under the names of plain operations."""
    found: Counter[tuple[Any, ...]] = Counter()
    for (module, operation, *counts), times in works.items():
        found[(module, WRITTEN_OUT.get(operation, operation), *counts)] += times
    return found


@pytest.mark.parametrize("name", RECORDED)
def test_a_program_holds_what_the_deployed_model_runs(name: str) -> None:
    """Products, function calls and dense reads are equal one by one, module paths and words included."""
    config = FAMILIES[name].make_config()
    graph = trace(config, batch=2, tokens=5)
    program = lower(graph, CHIP)
    verify(program)
    recorded = trace_deployed(deploy(shape_model(FAMILIES[name].make_config()), CHIP), batch=2, tokens=5)
    run = works(recorded)
    assert works(program) == (written_out(run) if name == "falcon" else run)
    assert program.stored_words == recorded.stored_words
    assert program.macs == recorded.macs


@pytest.mark.parametrize(("name", "phase"), RUNS)
def test_every_call_and_every_multiply_accumulate_is_accounted_for(name: str, phase: Any) -> None:
    context = 3 if phase == "decode" else 0
    graph = trace(FAMILIES[name].make_config(), phase=phase, batch=2, tokens=4, context=context)
    program = lower(graph, CHIP)
    found = account(graph, program, CHIP)
    verify(program, macs=found.products + found.sums + found.squares)
    assert found.products + found.before_the_data == graph.macs
    assert {name: sum(ways.values()) for name, ways in found.by_name.items()} == graph.aten_counts()
    assert sum(found.calls.values()) == sum(graph.aten_counts().values())
    assert (program.phase, program.context, program.batch) == (phase, context, 2)


@pytest.mark.parametrize("name", DECODERS)
def test_the_cache_is_written_and_read_as_its_phase_says(name: str) -> None:
    """Keys and values of a layer are [batch, heads, tokens, width] each: a prefill of T tokens writes and
    reads them all, a step behind C tokens writes 1 and reads C + 1 of each; a plain run has no cache.
    """
    config = FAMILIES[name].make_config()
    batch, tokens, context = 2, 4, 3
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    if name == "falcon" and text.multi_query:  # all heads share one of keys and one of values
        heads = 1
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    token = 2 * text.num_hidden_layers * batch * heads * width
    for phase, new, past in (("prefill", tokens, 0), ("decode", 1, context)):
        program = lower(trace(config, phase=phase, batch=batch, tokens=tokens, context=past), CHIP)  # type: ignore[arg-type]
        assert program.cache_written == token * new
        assert program.cache_read == token * (new + past)
    plain = lower(trace(config, batch=batch, tokens=tokens), CHIP)
    assert (plain.cache_written, plain.cache_read) == (0, 0)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_a_lowered_program_survives_its_file(name: str, tmp_path: Any) -> None:
    program = lower(trace(FAMILIES[name].make_config(), phase="prefill", tokens=4), CHIP)
    assert load_program(save_program(program, tmp_path / "program.json")) == program


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_counted_from_a_stated_choice(name: str) -> None:
    """8 tokens x 2 experts are 16 rows over 4 experts. On average 4·(1 − (1 − 2/4)^8) = 3.98 are used: 4."""
    graph = trace(FAMILIES[name].make_config(), batch=2, tokens=4)
    program = lower(graph, CHIP)
    assert any("Counted are 4 of the 4 experts of a layer, 4 row(s) each" in s for s in program.assumptions)
    own = [p for p in program.products() if p.module.endswith("experts") and p.operation == "linear"]
    assert [p.rows for p in own] == [4] * 4 * 2 * 2  # experts, two matrices, two layers
    names = {program.values[p.inputs[1]].name for p in own}
    assert len(names) == len(own)
    assert all(program.values[p.inputs[1]].kind == "stored" for p in own)
