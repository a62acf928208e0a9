"""Models of several families, traced and lowered: their schedules keep every rule, their costs add up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import transformers

from ohmformer.compiler import lower, trace
from ohmformer.compiler.steps import step_graph
from ohmformer.costs import estimate
from ohmformer.costs.library import LIBRARY
from ohmformer.costs.running import full_schedule, run_of
from ohmformer.specs import override, preset

SMALL = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
DECODER = {**SMALL, "num_key_value_heads": 2, "vocab_size": 100}
CONFIGS: dict[str, Any] = {
    "bert": lambda: transformers.BertConfig(**SMALL, vocab_size=100),
    "llama": lambda: transformers.LlamaConfig(**DECODER),
    "mixtral": lambda: transformers.MixtralConfig(**DECODER, num_local_experts=4),
    "t5": lambda: transformers.T5Config(
        d_model=64, d_kv=16, d_ff=128, num_layers=4, num_decoder_layers=4, num_heads=4, vocab_size=100
    ),
}
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a small buffer": {"buffer.capacity_bytes": 8192},
    "several chips": {
        "package.max_chips": 500,
        "dense_bank_count": 1,
        "dense.wordlines": 4,
        "dense.bitlines": 16384,
    },
    "intermediates in dense cells": {"buffer.intermediates": "dense"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "phase"), [("bert", "encode"), ("t5", "encode"), ("mixtral", "prefill"), ("llama", "decode")]
)
def test_every_interval_is_checked(name: str, phase: Any, change: str) -> None:
    decoding = phase == "decode"
    graph = trace(
        CONFIGS[name](), phase=phase, batch=2, tokens=1 if decoding else 24, context=40 if decoding else 0
    )
    program = lower(graph)
    chip = override(preset("wang2024"), CHANGES[change])
    report = estimate(program, chip)
    full_schedule(run_of(program, chip, LIBRARY))
    assert (
        sum(kind.macs for kind in report.kinds) == program.macs >= graph.macs
    )  # sums of softmax and norms beside
    assert report.latency_s == math.fsum(term.total for term in report.latency)
    assert report.buffer is not None
    assert (report.buffer.cache_bytes > 0) == (phase != "encode")
    assert (report.chips is not None) == (change == "several chips")


def test_layers_fold() -> None:
    """24 layers: query, key, value, three of attention, output, two norms of two, two matrices."""
    config = transformers.BertConfig(**{**SMALL, "num_hidden_layers": 24}, vocab_size=100)
    graph = step_graph(lower(trace(config, phase="encode", batch=1, tokens=16)))
    assert [(segment.length, segment.times) for segment in graph.segments][1] == (13, 24)
    assert len(graph.runs) == 24
