"""A lowered program, interpreted, is the deployed model bit for bit on an ideal chip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ohmformer import chips
from ohmformer.compiler import interpret, lower, trace
from ohmformer.deploy import deploy
from ohmformer.errors import UserError
from ohmformer.ir import FunctionCall, Product, Program, load_program, save_program
from ohmformer.specs import ChipSpec, ideal, override

from ..deploy.conftest import DECODERS, FAMILIES, output, sample_inputs

IDEAL = ideal(chips.wang2024())
# one of each way of attention, positions, norms, activations and layout of weights
FAMILIES_RUN = (
    *("bert", "albert", "mpnet", "modernbert", "gpt2", "gpt_neox", "gptj", "bloom", "phi"),
    *("llama", "qwen3", "gemma2", "t5", "vit"),
)
CACHED = ("gpt2", "gpt_neox", "bloom", "llama", "mistral", "gemma2")


def tensors(model: Any) -> dict[str, Tensor]:
    return {**model.state_dict(), **dict(model.named_buffers())}


def inputs_of(name: str, model: Any) -> dict[str, Tensor]:
    inputs = sample_inputs(name, model)
    if name == "t5":
        inputs["decoder_input_ids"] = inputs["input_ids"]
    return inputs


def compared(name: str, chip: ChipSpec) -> tuple[Tensor, Tensor]:
    """What the program gives, and the deployed model."""
    model = FAMILIES[name].make()
    inputs = inputs_of(name, model)
    settings = {"use_cache": False} if name in (*DECODERS, "t5") else {}
    program = lower(trace(model, batch=2, tokens=7), chip)
    given = interpret(program, chip, tensors(model), inputs)
    return given[0], output(deploy(model, chip, check=False), {**inputs, **settings})


@pytest.mark.parametrize("name", FAMILIES_RUN)
def test_a_program_is_the_deployed_model_bit_for_bit(name: str) -> None:
    mine, deployed = compared(name, IDEAL)
    assert mine.numel() > 200
    assert torch.equal(mine, deployed)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gpt2", {"precision.weight_bits": 4, "precision.activation_bits": 6, "precision.vector_bits": 9}),
        ("bert", {"precision.weight_bits": 12, "precision.activation_bits": 16}),
        ("llama", {"precision.activation_scale": "per_tensor", "function_unit.segments": 16}),
    ],
)
def test_on_other_precisions_too(name: str, change: dict[str, Any]) -> None:
    """Here the deployed model runs without its native kernels, product by product."""
    mine, deployed = compared(name, override(IDEAL, change))
    assert torch.equal(mine, deployed)


@pytest.mark.parametrize("name", CACHED)
def test_a_step_behind_a_cache_and_the_cache_after_it(name: str) -> None:
    """A cache of any values is written as codes by both; logits, keys and values of all layers are equal."""
    model = FAMILIES[name].make()
    ids = sample_inputs(name, model)["input_ids"][:, :1]
    program = lower(trace(model, phase="decode", batch=2, context=5), IDEAL)
    torch.manual_seed(4)
    past = {v.name: torch.randn(v.shape) for v in program.values if v.kind == "cache" and v.name}
    cache = DynamicCache(config=model.config)
    for layer in range(len(past) // 2):
        cache.update(past[f"past_keys.{layer}"], past[f"past_values.{layer}"], layer)
    with torch.no_grad():
        deployed = deploy(model, IDEAL, check=False)(input_ids=ids, past_key_values=cache, use_cache=True)
    made = interpret(program, IDEAL, tensors(model), {"input_ids": ids, **past})
    assert torch.equal(made[0], deployed.logits)
    layers = deployed.past_key_values.layers
    assert len(made) == 1 + 2 * len(layers)
    for place, layer in enumerate(layers):
        assert torch.equal(made[1 + 2 * place], layer.keys)
        assert torch.equal(made[2 + 2 * place], layer.values)


def test_a_step_of_a_decoder_that_sees_an_encoder() -> None:
    """Keys and values of the encoder's tokens are read from a cache of their own."""
    model = FAMILIES["t5"].make()
    program = lower(trace(model, phase="decode", batch=2, tokens=6, context=4), IDEAL)
    torch.manual_seed(3)
    past = {v.name: torch.randn(v.shape) for v in program.values if v.kind == "cache" and v.name}
    ids, encoded = torch.randint(3, 60, (2, 1)), torch.randn(2, 6, 32)
    caches = []
    for kind in ("past", "cross"):
        caches.append(DynamicCache(config=model.config.get_text_config(decoder=True)))
        for layer in range(2):
            caches[-1].update(past[f"{kind}_keys.{layer}"], past[f"{kind}_values.{layer}"], layer)
    with torch.no_grad():
        deployed = deploy(model, IDEAL, check=False)(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            decoder_input_ids=ids,
            past_key_values=EncoderDecoderCache(*caches),
            use_cache=True,
        )
    given = {"decoder_input_ids": ids, "encoder_hidden_states": encoded, **past}
    assert torch.equal(interpret(program, IDEAL, tensors(model), given)[0], deployed.logits)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_a_prefill_writes_the_cache(name: str) -> None:
    model = FAMILIES[name].make()
    ids = sample_inputs(name, model)["input_ids"]
    program = lower(trace(model, phase="prefill", batch=2, tokens=7), IDEAL)
    made = interpret(program, IDEAL, tensors(model), {"input_ids": ids})
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        deployed = deploy(model, IDEAL, check=False)(input_ids=ids, past_key_values=cache, use_cache=True)
    assert torch.equal(made[0], deployed.logits)
    assert torch.equal(made[-1], cache.layers[-1].values)


def small() -> tuple[Program, dict[str, Tensor], dict[str, Tensor]]:
    model = FAMILIES["llama"].make()
    return lower(trace(model, batch=2, tokens=7), IDEAL), tensors(model), inputs_of("llama", model)


def test_a_program_from_a_file_means_the_same(tmp_path: Any) -> None:
    program, parameters, inputs = small()
    loaded = load_program(save_program(program, tmp_path / "x.json"))
    assert torch.equal(
        interpret(loaded, IDEAL, parameters, inputs)[0], interpret(program, IDEAL, parameters, inputs)[0]
    )


def test_another_program_means_something_else() -> None:
    """The interpreter follows the program: an eps, a scale or a function changed in it changes the result."""
    program, parameters, inputs = small()
    right = interpret(program, IDEAL, parameters, inputs)[0]
    changes = {
        "eps": lambda s: isinstance(s, FunctionCall) and s.operation == "rms norm rsqrt",
        "scales": lambda s: isinstance(s, Product) and dict(s.arguments).get("scales") == "column",
        "function": lambda s: isinstance(s, FunctionCall) and s.function == "silu",
    }
    for change, chosen in changes.items():
        place = next(at for at, subop in enumerate(program.subops) if chosen(subop))
        subop: Any = program.subops[place]
        if change == "eps":
            subop = replace(subop, arguments=(*subop.arguments[:2], ("eps", 0.1)))
        elif change == "scales":
            subop = replace(subop, arguments=(("scales", "inner"),))
        else:
            subop = replace(subop, function="tanh")
        other = replace(program, subops=(*program.subops[:place], subop, *program.subops[place + 1 :]))
        assert not torch.equal(interpret(other, IDEAL, parameters, inputs)[0], right)


def test_what_is_missing_or_of_another_shape_is_named() -> None:
    program, parameters, inputs = small()
    weight = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(UserError, match="needs the input 'input_ids'"):
        interpret(program, IDEAL, parameters, {})
    with pytest.raises(UserError, match="needs the parameter or buffer 'model.rotary_emb.inv_freq'"):
        interpret(program, IDEAL, {k: v for k, v in parameters.items() if "inv_freq" not in k}, inputs)
    with pytest.raises(UserError, match=rf"{weight} has shape \(3,\): the program takes \(48, 32\)"):
        interpret(program, IDEAL, {**parameters, weight: torch.zeros(3)}, inputs)
    with pytest.raises(UserError, match=r"input_ids has shape \(2, 3\): the program takes \(2, 7\)"):
        interpret(program, IDEAL, parameters, {"input_ids": inputs["input_ids"][:, :3]})


def test_what_cannot_be_interpreted_is_refused() -> None:
    program, parameters, inputs = small()
    bare = Program(name="bare", batch=1, tokens=1, subops=program.subops[-1:], stored_words=9)
    with pytest.raises(UserError, match="does not tell its values"):
        interpret(bare, IDEAL, {}, {})
    experts = lower(trace(FAMILIES["mixtral"].make_config(), tokens=3), IDEAL)
    with pytest.raises(UserError, match="rests on an assumption"):
        interpret(experts, IDEAL, {}, {})
    with pytest.raises(UserError, match="Outliers are 2"):
        interpret(program, override(IDEAL, {"precision.outliers": 2}), parameters, inputs)
    place = next(at for at, subop in enumerate(program.subops) if dict(subop.arguments).get("torch"))
    lost = replace(program.subops[place], arguments=(("torch", "no_such_function"),))
    other = replace(program, subops=(*program.subops[:place], lost, *program.subops[place + 1 :]))
    with pytest.raises(UserError, match="names 'no_such_function', which is no torch function"):
        interpret(other, IDEAL, parameters, inputs)
