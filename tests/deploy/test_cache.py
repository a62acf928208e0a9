"""A deployed model keeps its keys and values on the chip, whoever makes the cache."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache, StaticCache

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.deploy.cache import StoredLayer, StoredSlidingLayer
from ohmformer.deploy.coverage import DENSE, MOVEMENT
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, ideal, override

from .conftest import FAMILIES, sample_inputs, wide_chip

IDEAL = ideal(chips.wang2024())
KINDS = ("gpt2", "llama", "phi", "mistral", "t5")


def kept_in(home: str, chip: ChipSpec = IDEAL) -> ChipSpec:
    return override(chip, {"buffer.intermediates": home})


def layers_of(cache: Any) -> list[Any]:
    if isinstance(cache, EncoderDecoderCache):
        return [*cache.self_attention_cache.layers, *cache.cross_attention_cache.layers]
    return list(cache.layers)


def continued(model: Any, ids: torch.Tensor, cache: Cache) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids, past_key_values=cache, use_cache=True).logits
    return logits


@pytest.mark.parametrize("name", KINDS)
def test_every_cache_lies_on_the_chip(name: str) -> None:
    """Whether the model makes it, ``generate`` does, or the user brings one with a configuration or without:
    after the run each of its layers holds int8 codes of as many tokens as were run."""
    model = FAMILIES[name].make()
    deployed = deploy(model, IDEAL)
    inputs = sample_inputs(name, model)
    mine = [DynamicCache(), DynamicCache(config=model.config)]
    if name == "t5":
        mine = [EncoderDecoderCache(cache, copy.deepcopy(cache)) for cache in mine]
    settings: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    made = [deployed(**inputs).past_key_values]
    made += [deployed(**inputs, past_key_values=cache, use_cache=True).past_key_values for cache in mine]
    made.append(
        deployed.generate(
            inputs["input_ids"], min_new_tokens=3, return_dict_in_generate=True, **settings
        ).past_key_values
    )
    assert [cache is own for cache, own in zip(made[1:], mine, strict=False)] == [True, True]
    for cache in made:
        for layer in layers_of(cache):
            kind = StoredSlidingLayer if name == "mistral" and cache is not mine[0] else StoredLayer
            assert type(layer) is kind
            assert layer.key_rows.codes.dtype == layer.value_rows.codes.dtype == torch.int8
        own = cache.self_attention_cache if name == "t5" else cache
        tokens = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
        tokens = tokens if cache is not made[-1] else 3 if name == "t5" else tokens + 2
        assert {layer.key_rows.tokens for layer in layers_of(own)} == {tokens}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        {"num_beams": 2, "num_return_sequences": 2, "length_penalty": 0.5},
        {"use_cache": False},
    ],
)
def test_beams_give_the_texts_of_the_original(name: str, settings: dict[str, Any]) -> None:
    """At 16 bits the rounding (relative 2^-10, as in the families' tests) changes no beam."""
    model = FAMILIES[name].make()
    deployed = deploy(model, wide_chip(16), check=False)
    ids = sample_inputs(name, model)["input_ids"]
    options: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, **settings}
    assert deployed.generate(ids, **options).tolist() == model.generate(ids, **options).tolist()


def test_guessed_tokens_are_taken_back() -> None:
    """Prompt lookup writes guesses and crops the cache: the tokens are those of plain greedy search."""
    deployed = deploy(FAMILIES["llama"].make(), wide_chip(16), check=False)
    ids = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    plain = deployed.generate(ids, **options)
    assert deployed.generate(ids, prompt_lookup_num_tokens=3, **options).tolist() == plain.tolist()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_cropped_cache_and_a_copied_one_continue_as_a_fresh_one(name: str) -> None:
    model = FAMILIES[name].make()
    deployed = deploy(model, IDEAL, check=False)
    ids = sample_inputs(name, model)["input_ids"]
    fresh, used = DynamicCache(), DynamicCache()
    continued(deployed, ids[:, :4], fresh)
    expected = continued(deployed, ids[:, 4:], fresh)
    continued(deployed, ids[:, :4], used)
    copied = copy.deepcopy(used)
    continued(deployed, ids[:, 1:6], used)
    used.crop(-5)
    assert torch.equal(continued(deployed, ids[:, 4:], used), expected)
    assert torch.equal(continued(deployed, ids[:, 4:], copied), expected)
    assert copied.layers[0].home is used.layers[0].home


def test_a_cache_of_numbers_is_written_when_it_comes() -> None:
    """A prompt run by the original: its keys and values are quantised on their way in, nothing else is."""
    model = FAMILIES["llama"].make()
    deployed = deploy(model, wide_chip(16), check=False)
    ids = sample_inputs("llama", model)["input_ids"]
    theirs, whole = DynamicCache(), DynamicCache()
    with torch.no_grad():
        continued(model, ids[:, :5], theirs)
        keys = theirs.layers[1].keys.clone()
        exact = model(ids).logits[:, 5:]
    continued(deployed, ids, whole)
    given = continued(deployed, ids[:, 5:], theirs)
    assert float((given - exact).norm() / exact.norm()) < 2**-10
    stored: Any = theirs.layers[1]
    step = keys.abs().amax(-1, keepdim=True) / 32767
    assert (stored.keys[:, :, :5] - keys).abs().le(0.51 * step).all()
    assert stored.key_rows.codes.dtype == torch.int16


class _Counting(DynamicCache):
    def update(self, *args: Any, **kwargs: Any) -> Any:
        return super().update(*args, **kwargs)


def test_what_is_refused() -> None:
    model = FAMILIES["llama"].make()
    deployed, other = deploy(model, IDEAL, check=False), deploy(model, IDEAL, check=False)
    ids = sample_inputs("llama", model)["input_ids"]
    with pytest.raises(UserError, match="layers of type StaticLayer cannot be kept on the chip: use the def"):
        continued(deployed, ids, StaticCache(config=model.config, max_cache_len=20))
    with pytest.raises(UserError, match="A cache of type _Counting cannot be kept on the chip"):
        continued(deployed, ids, _Counting())
    cache = DynamicCache()
    continued(deployed, ids, cache)
    with pytest.raises(UserError, match="holds keys and values of another deployed model"):
        continued(other, ids, cache)
    assert model.config.max_position_embeddings == 40
    long = torch.randint(3, 60, (1, 41))
    for run in (lambda: deployed(long), lambda: continued(deployed, long[:, :34], cache)):
        with pytest.raises(
            UserError, match="A sequence of 41 tokens is too long: the model takes at most 40"
        ):
            run()
    assert deployed(long[:, :40]).logits.shape[1] == 40


def test_the_coverage_table_says_where_they_lie() -> None:
    for chip, where in ((kept_in("sram"), MOVEMENT), (kept_in("dense"), DENSE)):
        rows = deploy(FAMILIES["gpt2"].make(), chip).on_chip.coverage
        found = {row.operation: row.where for row in rows if "keys and values" in row.operation}
        assert found == {"write of keys and values": where, "read of keys and values": where}


def test_misread_keys_and_values_reach_the_output_and_come_again_with_the_seed() -> None:
    """The same model and seed with keys and values in SRAM and in cells: only their misreads can differ."""
    model = FAMILIES["llama"].make()
    ids = sample_inputs("llama", model)["input_ids"]
    noisy = override(IDEAL, {"dense.cell.noise.stuck_high_rate": 0.02})

    def logits(home: str, seed: int) -> torch.Tensor:
        deployed = deploy(model, kept_in(home, noisy), seed=seed, check=False)
        cache = DynamicCache()
        return torch.cat([continued(deployed, part, cache) for part in ids.split([5, 1, 1], dim=1)], dim=1)

    assert not torch.equal(logits("dense", 0), logits("sram", 0))
    assert torch.equal(logits("dense", 0), logits("dense", 0))
    assert not torch.equal(logits("dense", 0), logits("dense", 1))
