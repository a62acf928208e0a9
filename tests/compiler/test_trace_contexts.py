"""Graphs of decode steps made from a few traces are those that tracing each would give."""

from __future__ import annotations

from typing import Any

import pytest
import transformers as hf

from ohmformer.compiler import decode_family, trace
from ohmformer.compiler import trace_contexts as contexts
from ohmformer.errors import UserError

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 60,
}
CONFIGS = {
    "llama": hf.LlamaConfig(**SMALL, architectures=["LlamaForCausalLM"]),
    "mistral": hf.MistralConfig(**SMALL, sliding_window=8, architectures=["MistralForCausalLM"]),
    "gemma2": hf.Gemma2Config(**SMALL, head_dim=8, sliding_window=6, architectures=["Gemma2ForCausalLM"]),
    "gpt2": hf.GPT2Config(
        vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=60, architectures=["GPT2LMHeadModel"]
    ),
    "t5": hf.T5Config(
        vocab_size=61,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        architectures=["T5ForConditionalGeneration"],
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_context_is_as_traced(name: str) -> None:
    family = decode_family(CONFIGS[name], batch=2, first=3, last=14, tokens=5)
    assert (family.first, family.last) == (3, 14)
    for context in range(3, 15):
        traced = trace(CONFIGS[name], phase="decode", batch=2, context=context, tokens=5)
        assert family(context) == traced
        assert family.macs(context) == traced.macs


def count_traces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    original = contexts.trace_built

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["context"])
        return original(*args, **kwargs)

    monkeypatch.setattr(contexts, "trace_built", counted)
    return seen


def test_three_traces_are_enough_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = count_traces(monkeypatch)
    family = decode_family(CONFIGS["llama"], first=2, last=50)
    for context in range(2, 51):
        family(context)
    assert sorted(seen) == [2, 26, 50]


def test_a_window_adds_one_segment_for_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8: up to 6 all grows, at 7 the kept cache no longer does, from 8 on nothing does."""
    seen = count_traces(monkeypatch)
    family = decode_family(CONFIGS["mistral"], first=2, last=50)
    assert [(s.first, s.last) for s in family.segments] == [(2, 6), (7, 7), (8, 50)]
    assert len(seen) == 7


def test_a_bend_where_none_was_expected_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "window_edges", lambda config: [])
    family = decode_family(CONFIGS["mistral"], first=2, last=17)
    for context in range(2, 18):
        assert family(context) == trace(CONFIGS["mistral"], phase="decode", context=context)


def test_one_context_is_a_family() -> None:
    family = decode_family(CONFIGS["gpt2"], first=7, last=7)
    assert family(7) == trace(CONFIGS["gpt2"], phase="decode", context=7)
    assert family.macs(7) == family(7).macs


@pytest.mark.parametrize(("first", "last"), [(0, 5), (6, 5)])
def test_an_empty_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(UserError, match=f"first and last are {first} and {last}: 1 ≤ first ≤ last must hold"):
        decode_family(CONFIGS["llama"], first=first, last=last)


def test_a_context_outside_or_too_long_is_refused() -> None:
    family = decode_family(CONFIGS["llama"], first=5, last=9)
    for ask in (family, family.macs):
        with pytest.raises(UserError, match="context is 10: it must be 5 to 9"):
            ask(10)
    with pytest.raises(UserError, match="A sequence of 61 tokens is too long"):
        decode_family(CONFIGS["llama"], first=5, last=60)
