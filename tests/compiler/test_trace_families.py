"""Every family on a tiny configuration: the graph, run again on real tensors, is the model."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ohmformer.compiler import ModelGraph, Ref, trace

ENCODER: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
DECODER = {**ENCODER, "num_key_value_heads": 2}
GPT2 = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
DISTIL = {
    "vocab_size": 61,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 40,
}
OPT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 40,
    "word_embed_proj_dim": 32,
}
T5 = {"vocab_size": 61, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 8,
}


@dataclass(frozen=True)
class Family:
    """How a tiny model of one family is made."""

    model: str
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    phases: tuple[str, ...] = ("encode", "prefill", "decode")

    def make_config(self) -> Any:
        config = getattr(hf, self.config)(**self.settings)
        config.architectures = [self.model]
        return config

    def make(self) -> Any:
        """A random model in which attention is far from uniform."""
        torch.manual_seed(0)
        config = self.make_config()
        config._attn_implementation = "eager"
        model = getattr(hf, self.model)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim == 1 else 0.3))
        return model


ONLY = ("encode",)
FAMILIES = {
    "bert": Family("BertModel", "BertConfig", ENCODER, ONLY),
    "bert-mlm": Family("BertForMaskedLM", "BertConfig", ENCODER, ONLY),
    "roberta": Family("RobertaModel", "RobertaConfig", {**ENCODER, "pad_token_id": 1}, ONLY),
    "distilbert": Family("DistilBertModel", "DistilBertConfig", DISTIL, ONLY),
    "gpt2": Family("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt-neox": Family("GPTNeoXForCausalLM", "GPTNeoXConfig", ENCODER),
    "opt": Family("OPTForCausalLM", "OPTConfig", OPT),
    "phi": Family("PhiForCausalLM", "PhiConfig", DECODER),
    "llama": Family("LlamaForCausalLM", "LlamaConfig", DECODER),
    "mistral": Family("MistralForCausalLM", "MistralConfig", {**DECODER, "sliding_window": 4}),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", DECODER),
    "qwen3": Family("Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 8}),
    "gemma": Family("GemmaForCausalLM", "GemmaConfig", {**DECODER, "head_dim": 8}),
    "gemma2": Family("Gemma2ForCausalLM", "Gemma2Config", {**DECODER, "head_dim": 8, "sliding_window": 4}),
    "gemma3": Family(
        "Gemma3ForCausalLM", "Gemma3TextConfig", {**DECODER, "head_dim": 8, "sliding_window": 4}
    ),
    "t5": Family("T5ForConditionalGeneration", "T5Config", T5),
    "vit": Family("ViTModel", "ViTConfig", VIT, ONLY),
    "mixtral": Family(
        "MixtralForCausalLM",
        "MixtralConfig",
        {**DECODER, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "qwen2-moe": Family(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {
            **DECODER,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
}
LATENT = {
    **DECODER,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
}
FAMILIES["deepseek-v3"] = Family("DeepseekV3ForCausalLM", "DeepseekV3Config", LATENT)
FAMILIES["bart"] = Family(
    "BartForConditionalGeneration",
    "BartConfig",
    {
        "vocab_size": 61,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 40,
    },
)
FAMILIES["modernbert"] = Family(
    "ModernBertModel", "ModernBertConfig", {**ENCODER, "pad_token_id": 0, "local_attention": 4}, ONLY
)
RUNS = [(name, phase) for name, family in FAMILIES.items() for phase in family.phases]
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}
BATCH, TOKENS, CONTEXT = 2, 7, 5


def torch_function(name: str) -> Any:
    """The function of torch that a node names."""
    special = {
        "getitem": operator.getitem,
        "rsub": lambda x, c: c - x,
        "rtruediv": lambda x, c: c / x,
        "rpow": lambda x, c: c**x,
        "copy": lambda x, y: y.expand(x.shape).to(x.dtype),
        "where": torch.where,
        "histc": lambda x, **kw: torch.histc(x.float(), **kw).to(x.dtype),  # of whole numbers: not on a CPU
        "T": lambda x: x.T,
        "mT": lambda x: x.mT,
        "invert": operator.invert,
        "and": operator.and_,
        "or": operator.or_,
        "floordiv": operator.floordiv,
    }
    if name in special:
        return special[name]
    for home in (functional, torch.Tensor, torch):
        found = getattr(home, name, None)
        if callable(found) and not isinstance(found, type):
            return found
    raise AssertionError(f"torch has no {name}")


def replay(graph: ModelGraph, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of the graph, its inputs, parameters and buffers looked up in ``given`` by name."""
    values: dict[int, Tensor] = {}
    for value in graph.values:
        if value.kind != "activation":
            tensor = given[value.name]
            assert (tuple(tensor.shape), str(tensor.dtype)) == (value.shape, f"torch.{value.dtype}"), value
            values[value.id] = tensor

    def real(item: Any) -> Any:
        if isinstance(item, Ref):
            return values[item.value]
        if isinstance(item, tuple):
            return tuple(real(part) for part in item)
        if isinstance(item, slice):
            return slice(real(item.start), real(item.stop), real(item.step))
        if isinstance(item, str):
            return "cpu" if item == "meta" else DTYPES.get(item, item)
        return item

    with torch.no_grad():
        for node in graph.nodes:
            args, kwargs = real(node.args), {key: real(item) for key, item in node.kwargs}
            if node.function == "setitem":
                result: Any = args[0].clone()
                result[args[1]] = args[2]
            else:
                result = torch_function(node.function)(*args, **kwargs)
            made = (result,) if isinstance(result, Tensor) else tuple(result)
            for output, tensor in zip(node.outputs, made, strict=True):
                value = graph.values[output]
                assert tuple(tensor.shape) == value.shape, node
                assert str(tensor.dtype) == f"torch.{value.dtype}", node
                values[output] = tensor
    return {name: values[output] for name, output in zip(graph.output_names, graph.outputs, strict=True)}


def cached(prefix: str, cache: Any) -> dict[str, Tensor]:
    return {
        f"{prefix}_{kind}.{number}": getattr(layer, kind).clone()
        for number, layer in enumerate(cache.layers)
        for kind in ("keys", "values")
    }


def run_for_real(model: Any, phase: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs of one run by name, and what the model itself gives for them."""
    config = model.config
    ids = torch.randint(2, 61, (BATCH, TOKENS if phase != "decode" else CONTEXT + 1))
    with torch.no_grad():
        if model.main_input_name == "pixel_values":
            given = {"pixel_values": torch.randn(BATCH, 3, 16, 16)}
            return given, dict(model(**given).items())
        if config.is_encoder_decoder:
            source = torch.randint(2, 61, (BATCH, TOKENS))
            if phase == "decode":
                first = model(input_ids=source, decoder_input_ids=ids[:, :-1], use_cache=True)
                cache = first.past_key_values
                hidden = first.encoder_last_hidden_state
                given = {"decoder_input_ids": ids[:, -1:], "encoder_hidden_states": hidden}
                given |= cached("past", cache.self_attention_cache)
                given |= cached("cross", cache.cross_attention_cache)
                result = model(
                    encoder_outputs=(hidden,),
                    decoder_input_ids=ids[:, -1:],
                    past_key_values=cache,
                    use_cache=True,
                )
            else:
                started = ids if phase == "encode" else ids[:, :1]
                given = {"input_ids": source, "decoder_input_ids": started}
                result = model(**given, use_cache=phase != "encode")
        elif phase == "decode":
            cache = hf.DynamicCache(config=config)
            model(ids[:, :-1], past_key_values=cache, use_cache=True)
            given = {"input_ids": ids[:, -1:], **cached("past", cache)}
            result = model(ids[:, -1:], past_key_values=cache, use_cache=True)
        else:
            given = {"input_ids": ids}
            cache = hf.DynamicCache(config=config)
            result = model(ids, past_key_values=cache, use_cache=True) if phase == "prefill" else model(ids)
    made = {name: item for name, item in result.items() if isinstance(item, Tensor)}
    if phase != "encode":
        cache = result.past_key_values
        made |= cached("past", getattr(cache, "self_attention_cache", cache))
        if config.is_encoder_decoder:
            made |= cached("cross", cache.cross_attention_cache)
    return given, made


@pytest.mark.parametrize(("name", "phase"), RUNS)
def test_the_graph_on_real_tensors_is_the_model_bit_for_bit(name: str, phase: str) -> None:
    """Data flow, constants, masks (causal, of a window) and cache: nothing of the run is missing."""
    model = FAMILIES[name].make()
    graph = trace(
        FAMILIES[name].make_config(),
        phase=phase,
        batch=BATCH,
        tokens=TOKENS,
        context=CONTEXT if phase == "decode" else 0,
    )
    given, made = run_for_real(model, phase)
    inputs = {value.name for value in graph.of_kind("input")}
    assert set(given) == inputs
    given |= dict(model.named_parameters()) | dict(model.named_buffers())
    replayed = replay(graph, given)
    assert set(replayed) == set(made)
    for key, tensor in made.items():
        assert torch.equal(replayed[key], tensor), key


@pytest.mark.parametrize("name", FAMILIES)
def test_multiply_accumulates_are_those_torch_counts_in_the_real_model(name: str) -> None:
    """An independent counter (two operations each) over an independent run, on real tensors; experts chosen
    by the data and run one by one, as the model does by itself."""
    graph = trace(FAMILIES[name].make_config(), batch=BATCH, tokens=TOKENS)
    model = FAMILIES[name].make()
    model.config._experts_implementation = "eager"
    with FlopCounterMode(display=False) as counter:
        run_for_real(model, "encode")
    assert graph.macs == counter.get_total_flops() / 2
