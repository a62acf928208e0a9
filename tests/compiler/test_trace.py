"""What a graph states: multiply-accumulates, values, names, places; and what is refused, in one sentence."""

from __future__ import annotations

import inspect
import linecache
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from ohmformer.compiler import GraphNode, ModelGraph, Ref, trace
from ohmformer.compiler.experts import distinct_experts
from ohmformer.errors import UserError

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}


def bert(**more: Any) -> Any:
    return hf.BertConfig(**{**SMALL, "architectures": ["BertModel"], **more})


def llama(**more: Any) -> Any:
    settings = {**SMALL, "num_key_value_heads": 2, "architectures": ["LlamaForCausalLM"], **more}
    return hf.LlamaConfig(**settings)


def refs(item: Any) -> list[int]:
    if isinstance(item, Ref):
        return [item.value]
    if isinstance(item, tuple):
        return [value for part in item for value in refs(part)]
    if isinstance(item, slice):
        return refs((item.start, item.stop, item.step))
    return []


def reads(node: GraphNode) -> list[int]:
    return refs(node.args) + refs(tuple(item for _, item in node.kwargs))


def products(graph: ModelGraph, module: str) -> int:
    return sum(node.macs for node in graph.nodes if node.module.startswith(module))


def test_bert_layers_are_counted_as_by_hand() -> None:
    """A layer of width d on B sequences of T tokens: four projections of T·d², two attention products of
    T²·d (scores and context, summed over heads), two feed-forward matrices of T·d·f. Pooler: B·d²."""
    batch, tokens, d, f = 3, 11, 32, 48
    graph = trace(bert(), batch=batch, tokens=tokens)
    layer = batch * (4 * tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * f)
    for number in range(3):
        assert products(graph, f"encoder.layer.{number}.") == layer
    assert graph.macs == 3 * layer + batch * d * d
    assert (graph.phase, graph.batch, graph.tokens, graph.context) == ("encode", batch, tokens, 0)


@pytest.mark.parametrize(
    ("phase", "new", "context"), [("encode", 9, 0), ("prefill", 9, 0), ("decode", 1, 13)]
)
def test_llama_layers_are_counted_as_by_hand(phase: Any, new: int, context: int) -> None:
    """T new tokens after L: q and o are T·d·d, k and v T·d·(d·shared/heads), the gated feed-forward
    3·T·d·f, each attention product T·(L + T)·d; the head T·d·vocabulary."""
    d, f, heads, shared = 32, 48, 4, 2
    graph = trace(llama(), phase=phase, tokens=9, context=context)
    kv = d * shared // heads
    layer = 2 * new * d * d + 2 * new * d * kv + 3 * new * d * f + 2 * new * (context + new) * d
    for number in range(3):
        assert products(graph, f"model.layers.{number}.") == layer
    assert graph.macs == 3 * layer + new * d * 61
    assert graph.tokens == new


def test_a_prefill_can_continue_a_cache() -> None:
    graph = trace(llama(), phase="prefill", tokens=4, context=6)
    assert graph.values[graph.outputs[graph.output_names.index("past_keys.2")]].shape == (1, 2, 10, 8)


def test_a_sliding_window_keeps_no_more_than_its_window() -> None:
    """With a window of w a layer keeps w − 1 tokens, and the new one attends to them and itself."""
    config = hf.MistralConfig(
        **SMALL, num_key_value_heads=2, sliding_window=5, architectures=["MistralForCausalLM"]
    )
    graph = trace(config, phase="decode", context=20)
    past = {value.name: value.shape for value in graph.of_kind("input") if value.name.startswith("past")}
    assert past == {f"past_{kind}.{n}": (1, 2, 4, 8) for n in range(3) for kind in ("keys", "values")}
    scores = next(node for node in graph.nodes if node.function == "softmax")
    assert graph.values[scores.outputs[0]].shape == (1, 4, 1, 5)


def test_a_short_past_fills_a_sliding_window_only_so_far() -> None:
    config = hf.MistralConfig(
        **SMALL, num_key_value_heads=2, sliding_window=5, architectures=["MistralForCausalLM"]
    )
    graph = trace(config, phase="decode", context=2)
    assert {value.shape for value in graph.of_kind("input") if value.name.startswith("past")} == {
        (1, 2, 2, 8)
    }


def test_every_value_is_written_once_and_before_it_is_read() -> None:
    graph = trace(llama(), phase="decode", context=7)
    assert [value.id for value in graph.values] == list(range(len(graph.values)))
    known = {value.id for value in graph.values if value.kind != "activation"}
    for node in graph.nodes:
        assert known.issuperset(reads(node)), node
        assert not known.intersection(node.outputs), node
        known.update(node.outputs)
    assert known == {value.id for value in graph.values}
    assert known.issuperset(graph.outputs)


def test_every_aten_operation_belongs_to_a_node() -> None:
    """Seen from outside by torch's own profiler of operator calls: the same operations, as often."""
    config = llama()
    graph = trace(config, tokens=5)
    seen: dict[str, int] = {}

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func._schema.name.split("::")[-1]
            seen[name] = seen.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    config._attn_implementation = "eager"
    model = hf.LlamaForCausalLM(config).eval()
    ids = torch.zeros(1, 5, dtype=torch.long)
    with torch.no_grad(), Count():
        model(input_ids=ids, use_cache=False)
    # ``item`` asks a real tensor what the trace answers without one
    seen.pop("_local_scalar_dense")
    assert graph.aten_counts() == seen


def test_tied_parameters_are_one_value() -> None:
    config = bert(architectures=["BertForMaskedLM"])
    graph = trace(config, tokens=4)
    tables = [value for value in graph.of_kind("parameter") if value.shape == (61, 32)]
    assert [value.name for value in tables] == ["bert.embeddings.word_embeddings.weight"]
    users = [node.function for node in graph.nodes if tables[0].id in reads(node)]
    assert users == ["embedding", "linear"]


def test_a_node_knows_its_module_and_its_line() -> None:
    graph = trace(bert(), tokens=4)
    node = next(node for node in graph.nodes if node.function == "softmax")
    assert (node.module, node.module_type) == ("encoder.layer.0.attention.self", "BertSelfAttention")
    file, line = node.source.split(":")
    path = Path(inspect.getfile(hf.BertModel))
    assert file == path.name
    assert "softmax" in linecache.getline(str(path), int(line))


def test_parameters_buffers_and_inputs_are_named() -> None:
    graph = trace(llama(), phase="decode", context=3)
    model = hf.LlamaForCausalLM(llama())
    assert {v.name for v in graph.of_kind("parameter")} == {name for name, _ in model.named_parameters()}
    assert {v.name for v in graph.of_kind("buffer")} == {name for name, _ in model.named_buffers()}
    past = {f"past_{kind}.{n}" for n in range(3) for kind in ("keys", "values")}
    assert {v.name for v in graph.of_kind("input")} == {"input_ids"} | past
    assert set(graph.output_names) == {"logits"} | past


def test_a_model_gives_the_graph_of_its_configuration_and_stays_as_it_was() -> None:
    config = bert()
    model = hf.BertModel(config).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert trace(model, tokens=5) == trace(bert(), tokens=5)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model._forward_hooks
    assert config.to_dict() == hf.BertModel(bert()).config.to_dict()


def test_a_trace_leaves_no_hook_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    hooks = torch.nn.modules.module
    before = len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks)
    trace(llama(), phase="prefill", tokens=3)
    with pytest.raises(UserError):
        trace(llama(), tokens=41)
    assert (len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks)) == before
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_pictures_are_counted_in_patches() -> None:
    """Pictures of 16 × 16 in patches of 8 × 8: 4 patches and the class token; the patches' own product is
    4·(3·8·8)·d."""
    config = hf.ViTConfig(**{**SMALL, "image_size": 16, "patch_size": 8, "architectures": ["ViTModel"]})
    graph = trace(config)
    assert graph.tokens == 5
    assert products(graph, "embeddings") == 4 * 3 * 8 * 8 * 32


def test_experts_are_counted_for_the_tokens_that_choose_them() -> None:
    """Each of T tokens passes k experts of 3·d·f (gate, up, down) and the router of d·E."""
    config = hf.MixtralConfig(
        **SMALL,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        architectures=["MixtralForCausalLM"],
    )
    graph = trace(config, batch=2, tokens=3)
    assert products(graph, "model.layers.1.mlp") == 6 * (2 * 3 * 32 * 48 + 32 * 8)
    assert len(graph.assumptions) == 1
    assert "each of 6 token(s) goes to 2 of 8 experts, 12 rows in all, 1.5 for each" in graph.assumptions[0]
    assert f"{8 * (1 - 0.75**6):.6g} different experts" in graph.assumptions[0]


def test_distinct_experts_by_drawing() -> None:
    """The mean of 4000 drawings; a count of 0 … 16 experts has a standard deviation of at most 8, in fact
    under 2, so the mean's standard error is under 2/√4000 = 0.032; five of them are allowed."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(4000, 5, 16, generator=generator).topk(3, dim=-1).indices
    used = torch.zeros(4000, 16).scatter_(1, drawn.flatten(1), 1.0).sum(1)
    assert used.std() < 2
    assert abs(float(used.mean()) - distinct_experts(16, 3, 5)) < 5 * 0.032
    assert distinct_experts(16, 3, 1) == pytest.approx(3, rel=1e-12)


@pytest.mark.parametrize(
    ("config", "arguments", "sentence"),
    [
        (bert(), {"phase": "sleep"}, "The phase is 'sleep': it must be one of encode, prefill, decode."),
        (bert(), {"batch": 0}, "batch is 0: it must be a whole number of at least 1."),
        (bert(), {"tokens": True}, "tokens is True: it must be a whole number of at least 1."),
        (bert(), {"context": 3}, "context is 3: a plain run has no cache, so it must be 0."),
        (llama(), {"phase": "decode"}, "context is 0: a decode step needs at least 1 token in the cache."),
        (bert(), {"tokens": 41}, "A sequence of 41 tokens is too long: BertModel takes at most 40."),
        (llama(), {"phase": "decode", "context": 40}, "A sequence of 41 tokens is too long"),
        (bert(), {"phase": "prefill"}, "BertModel has no key-value cache: its only phase is encode."),
        (bert(), {"phase": "decode", "context": 4}, "BertModel has no key-value cache"),
        (hf.ViTConfig(), {"phase": "prefill"}, "ViTModel takes pictures and has no cache"),
        (hf.DistilBertConfig(), {"phase": "prefill"}, "DistilBertModel has no key-value cache"),
        (
            bert(hidden_size=30),
            {},
            "A model of type 'bert' cannot be built: The hidden size (30) is not a multiple of the number of",
        ),
        (
            hf.T5Config(vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4),
            {"phase": "prefill", "tokens": 4, "context": 2},
            "the prefill of an encoder-decoder model starts with an empty cache.",
        ),
        (hf.WhisperConfig(), {}, "takes input_features; only text and pictures can be traced."),
        ("bert-base", {}, "A str cannot be traced: give a configuration or a model of transformers."),
        (
            hf.Lfm2Config(
                **{**SMALL, "num_key_value_heads": 2, "layer_types": ["conv"] + 2 * ["full_attention"]}
            ),
            {"phase": "decode", "context": 4},
            "Layer 0 keeps its past in a LinearAttentionLayer: only key-value caches",
        ),
    ],
)
def test_what_cannot_be_traced_is_said_in_one_sentence(config: Any, arguments: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        trace(config, **{"tokens": 4, **arguments})
    text = str(caught.value)
    assert sentence in text
    assert "\n" not in text
    assert text.endswith(".")


def test_an_unknown_family_is_said_in_one_sentence() -> None:
    class Stranger(hf.PreTrainedConfig):
        model_type = "stranger"

    with pytest.raises(
        UserError, match="A model of type 'stranger' cannot be built: transformers knows no model"
    ):
        trace(Stranger())


def test_the_longest_sequence_of_a_position_table_that_starts_late() -> None:
    """RoBERTa's positions begin after the padding's: the model itself takes 38 of 40, and no more."""
    config = hf.RobertaConfig(**SMALL, pad_token_id=1, architectures=["RobertaModel"])
    model = hf.RobertaModel(config).eval()
    model(torch.full((1, 38), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 39), 5))
    assert trace(config, tokens=38).tokens == 38
    with pytest.raises(UserError, match="A sequence of 39 tokens is too long: RobertaModel takes at most 38"):
        trace(config, tokens=39)


def test_a_model_changed_by_hand_is_refused() -> None:
    model = hf.BertModel(bert())
    model.pooler.dense = torch.nn.Linear(32, 16)
    with pytest.raises(UserError, match=r"changed after it was built \(pooler\.dense\.bias differs"):
        trace(model)


def test_a_question_about_the_data_names_operation_module_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.bert import modeling_bert

    def forward(self: Any, hidden_states: Any, *rest: Any) -> Any:
        return hidden_states[:, : int((hidden_states > 0).sum())]

    monkeypatch.setattr(modeling_bert.BertPooler, "forward", forward)
    with pytest.raises(UserError) as caught:
        trace(bert(), tokens=4)
    line = inspect.getsourcelines(forward)[1] + 1
    assert str(caught.value) == (
        f"The operation int in pooler (BertPooler, {Path(__file__).name}:{line}) depends on the data, "
        f"so shapes alone do not determine the work of this model."
    )


def test_any_other_failure_of_a_run_names_module_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.bert import modeling_bert

    def forward(self: Any, hidden_states: Any, *rest: Any) -> Any:
        raise LookupError("no such thing.\nmore")

    monkeypatch.setattr(modeling_bert.BertPooler, "forward", forward)
    line = inspect.getsourcelines(forward)[1] + 1
    with pytest.raises(UserError) as caught:
        trace(bert(), tokens=4)
    assert str(caught.value) == (
        f"BertModel cannot be run on shapes: no such thing (pooler, {Path(__file__).name}:{line})."
    )


def test_a_graph_compares_by_content() -> None:
    graph = trace(bert(), tokens=4)
    assert graph == trace(bert(), tokens=4)
    assert graph != replace(graph, nodes=graph.nodes[:-1])
    assert graph != trace(bert(), tokens=5)
