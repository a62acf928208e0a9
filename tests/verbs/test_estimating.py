"""Sub-operations of models by hand, on shapes and on real weights, and the result's own sums."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from ohmformer.deploy import deploy, shape_model
from ohmformer.errors import UserError
from ohmformer.specs import leaves, preset
from ohmformer.verbs import document, estimate, program_of
from ohmformer.workloads import load_config, load_model


def test_multiply_accumulates_of_bert_large_by_hand():
    """Hidden 1024, feed-forward 4096, 24 layers of 16 heads of 64; 128 tokens."""
    tokens, hidden, wide, layers, heads, head = 128, 1024, 4096, 24, 16, 64
    linear = layers * (4 * tokens * hidden**2 + 2 * tokens * hidden * wide)
    pooler = hidden**2  # the first token alone
    attention = layers * 2 * heads * tokens * tokens * head  # Q·Kᵀ and scores·V
    norms = 2 * layers + 1  # two a layer, one after the embedding
    norm_dot = norms * tokens * hidden  # the centred row with itself
    norm_sum = norms * tokens * hidden  # the mean: a dot with ones
    softmax_sum = layers * heads * tokens * tokens
    assert linear + attention == 38_654_705_664 + 805_306_368  # 39.46 G, what is usually quoted
    found = estimate("bert-large", preset("wang2024"), batch=1, tokens=tokens)
    assert found.macs_by_resident == {
        "weight": linear + pooler,
        "activation": attention + norm_dot,
        "constant": norm_sum + softmax_sum,
    }
    assert found.macs == linear + pooler + attention + norm_dot + norm_sum + softmax_sum == 39_480_197_120
    assert round((linear + attention) / 1e9, 2) == 39.46


def test_function_values_of_bert_large_by_hand():
    tokens, hidden, wide, layers, heads = 128, 1024, 4096, 24, 16
    found = estimate("bert-large", preset("wang2024"), batch=1, tokens=tokens).evaluations
    scores = layers * heads * tokens * tokens
    assert found["exp"] == found["max"] == scores
    assert found["gelu"] == layers * tokens * wide
    assert found["tanh"] == hidden  # of the pooler
    assert found["reciprocal"] == layers * heads * tokens
    assert found["rsqrt"] == (2 * layers + 1) * tokens
    # scores times 1/sum and times the values' scales, rows times 1/sd, rows times the norm weight
    assert found["multiply"] == 2 * scores + (2 * layers + 1) * tokens * hidden * 2
    # what the preset's source says of the number of function units
    in_function_units = sum(count for name, count in found.items() if name not in ("add", "max"))
    assert round(in_function_units / 1e6, -1) == 40


def test_stored_words_of_bert_large_by_hand():
    """8-bit words; a number of a vector (16 bits in two-level cells, 16 cells) takes four of them."""
    hidden, wide, layers = 1024, 4096, 24
    vectors = layers * (4 * hidden + wide + hidden + 4 * hidden) + hidden + 2 * hidden
    matrices = (30522 + 512 + 2) * hidden + layers * (4 * hidden**2 + 2 * hidden * wide) + hidden**2
    found = estimate("bert-large", preset("wang2024"), batch=1, tokens=16)
    assert found.stored_words == matrices + 4 * vectors
    one_bit = estimate("bert-large", preset("wang2024_1bit_cells"), batch=1, tokens=16)
    assert one_bit.stored_words == matrices + 2 * vectors


@pytest.mark.parametrize("kind", ["bert", "llama", "classifier"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 9), (3, 12)])
def test_shapes_and_weights_give_the_same_program(make_folder, kind, batch, tokens):
    """Traced without weights, and on the deployed model with its weights: the same sub-operations."""
    folder = str(make_folder(kind))
    chip = preset("wang2024")
    on_shapes = program_of(folder, chip, batch=batch, tokens=tokens)
    task = {"bert": "encoder", "llama": "causal", "classifier": "classifier"}[kind]
    loaded = load_model(folder, task=task)  # type: ignore[arg-type]
    deployed = deploy(loaded.model, chip, seed=0)
    on_weights = program_of(deployed, chip, batch=batch, tokens=tokens)
    assert _bare(on_shapes.products()) == _bare(on_weights.products())
    assert on_shapes.macs > 0
    assert on_shapes.stored_words == on_weights.stored_words
    # tables known before the data may be read at any time
    assert Counter(_bare(on_shapes.dense_reads())) == Counter(_bare(on_weights.dense_reads()))
    assert _without_masks(on_shapes.evaluations()) == _without_masks(on_weights.evaluations())


def _bare(subops: Iterable[Any]) -> list[Any]:
    """Sub-operations without their data flow, which a recording has not."""
    return [replace(subop, inputs=(), outputs=(), arguments=()) for subop in subops]


def _without_masks(evaluations: dict[str, int]) -> dict[str, int]:
    """A mask given on shapes is added to the scores; a model that runs without padding may skip that."""
    return {name: count for name, count in evaluations.items() if name != "add"}


def test_work_grows_with_the_batch_and_the_tokens(make_folder):
    folder, chip = str(make_folder("bert")), preset("wang2024")
    one = program_of(folder, chip, batch=1, tokens=8)
    four = program_of(folder, chip, batch=4, tokens=8)
    assert four.macs == 4 * one.macs
    assert {name: 4 * count for name, count in one.evaluations().items()} == four.evaluations()
    assert four.stored_words == one.stored_words
    # products between activations grow with the square
    twice = program_of(folder, chip, batch=1, tokens=16)
    by_kind = one.macs_by_resident(), twice.macs_by_resident()
    pooler = 16 * 16
    assert by_kind[1]["weight"] - pooler == 2 * (by_kind[0]["weight"] - pooler)
    assert by_kind[1]["activation"] > 2 * by_kind[0]["activation"]


def test_an_estimate_carries_everything_that_it_was_made_of(make_folder):
    folder, chip = str(make_folder("bert")), preset("wang2024_2bit_serial")
    found = estimate(folder, chip, batch=2, tokens=8)
    assert (found.model, found.batch, found.tokens, found.chip_name) == (folder, 2, 8, chip.name)
    assert found.chip == leaves(chip)
    assert set(found.sources) == set(leaves(chip))
    assert found.macs == sum(found.macs_by_resident.values())
    assert found.comparison.chip["typical"].counts.macs == found.macs
    assert len(found.coverage) > 0
    content = json.loads(json.dumps(document("estimate", found, ["ohmformer"]), allow_nan=False))
    assert content["result"]["macs"] == found.macs


def test_estimating_draws_no_weights_and_leaves_a_deployed_model_as_it_was(make_folder):
    folder, chip = str(make_folder("bert")), preset("wang2024")
    assert all(p.is_meta for p in shape_model(load_config(folder)).parameters())
    deployed = deploy(load_model(folder, task="encoder").model, chip, seed=1)
    ids = torch.tensor([[5, 6, 7]])
    same = deploy(load_model(folder, task="encoder").model, chip, seed=1)
    estimate(deployed, chip, tokens=4)
    with torch.no_grad():
        assert torch.equal(deployed(input_ids=ids).last_hidden_state, same(input_ids=ids).last_hidden_state)


def test_what_cannot_be_estimated_is_one_sentence(make_folder):
    folder, chip = str(make_folder("bert")), preset("wang2024")
    with pytest.raises(UserError, match="at most 32"):
        estimate(folder, chip, tokens=33)
    with pytest.raises(UserError, match="at least 1"):
        estimate(folder, chip, tokens=0)
    with pytest.raises(UserError, match="deploy"):
        estimate(load_model(folder, task="encoder").model, chip)
    with pytest.raises(UserError):
        estimate("no-such-model-anywhere", chip)
