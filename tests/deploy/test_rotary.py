"""Rotary tables whose frequencies depend on the number of tokens: right on both sides of the switch point."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from transformers import DynamicCache

from ohmformer.deploy import deploy, shape_model, trace

from .conftest import DECODER, Family, relative, wide_chip

SWITCH = 6  # tokens up to which the first frequencies hold
LENGTHS = (3, SWITCH, SWITCH + 1, 12, 3)  # the last: back again
BASE: dict[str, Any] = {"rope_theta": 100.0, "original_max_position_embeddings": SWITCH}
ROPES: dict[str, dict[str, Any]] = {
    "longrope": {**BASE, "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]},
    "dynamic": {"rope_theta": 100.0, "factor": 4.0},
    "yarn": {**BASE, "factor": 4.0},
    "llama3": {**BASE, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "linear": {"rope_theta": 100.0, "factor": 4.0},
}
SWITCHING = ("longrope", "dynamic")


def _model(kind: str) -> Any:
    """Phi-3 for longrope, Llama for the others; ``dynamic`` switches at ``max_position_embeddings``."""
    settings = {**DECODER, "rope_parameters": {"rope_type": kind, **ROPES[kind]}}
    if kind == "dynamic":
        settings["max_position_embeddings"] = SWITCH
    if kind == "longrope":
        settings |= {"pad_token_id": 0, "original_max_position_embeddings": SWITCH}
        return Family("Phi3ForCausalLM", "Phi3Config", settings).make()
    return Family("LlamaForCausalLM", "LlamaConfig", settings).make()


def _ids(tokens: int) -> torch.Tensor:
    return torch.randint(3, 60, (2, tokens), generator=torch.Generator().manual_seed(4))


def _steps(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits with a cache: two tokens at once, then one at a time."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        parts = [
            model(input_ids=part, past_key_values=cache, use_cache=True).logits
            for part in (ids[:, :2], *ids[:, 2:].split(1, dim=1))
        ]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("before", [False, True], ids=["fresh", "has run"])
@pytest.mark.parametrize("kind", ROPES)
def test_frequencies_follow_the_number_of_tokens(kind: str, before: bool) -> None:
    """16 bits: the outputs are those of the original to 2^-10 relative (the bound of the other families), at
    every length, and in a cached decoding across the switch point; a model that has run beyond the switch
    point before (and kept the second frequencies) deploys as well."""
    model = _model(kind)
    if before:
        with torch.no_grad():
            model(input_ids=_ids(SWITCH + 2))
    deployed = deploy(model, wide_chip(16))
    for tokens in LENGTHS:
        with torch.no_grad():
            exact = model(input_ids=_ids(tokens)).logits
            found = deployed(input_ids=_ids(tokens)).logits
        assert relative(found, exact) < 2**-10, tokens
    ids = _ids(SWITCH + 4)
    assert relative(_steps(deployed, ids), _steps(model, ids)) < 2**-10


@pytest.mark.parametrize("kind", SWITCHING)
def test_the_switch_is_far_above_that_bound(kind: str) -> None:
    """What the test above could not see if the first frequencies stayed: more than 30 times that bound."""
    model, ids = _model(kind), _ids(12)
    with torch.no_grad():
        model(input_ids=ids[:, :3])
        exact = model(input_ids=ids).logits
        rotary = model.model.rotary_emb
        rotary.rope_type = "default"  # the frequencies are not chosen again
        rotary.inv_freq.copy_(rotary.original_inv_freq)
        kept = model(input_ids=ids).logits
    assert relative(kept, exact) > 30 * 2**-10


def test_the_second_frequencies_are_counted_from_shapes_alike() -> None:
    config = _model("longrope").config
    config.architectures = ["Phi3ForCausalLM"]
    chip = wide_chip(8)
    real = trace(deploy(hf.Phi3ForCausalLM(config).eval(), chip), batch=2, tokens=SWITCH + 2)
    assert trace(deploy(shape_model(config), chip), batch=2, tokens=SWITCH + 2) == real
