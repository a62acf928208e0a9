"""What a user may get wrong is one sentence; what is unusual but right works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.deploy import deploy, max_tokens, on_chip, shape_model, trace
from ohmformer.errors import UserError
from ohmformer.specs import ideal

from .conftest import FAMILIES, output, sample_inputs

IDEAL = ideal(chips.wang2024())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(value: float) -> None:
    model = FAMILIES["bert"].make()
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[5] = value
    with pytest.raises(UserError, match=r"layer\.1\.output\.dense\.bias holds NaN or infinity"):
        deploy(model, IDEAL)


def test_an_empty_weight_is_named() -> None:
    layer = nn.Linear(1, 3, bias=False)
    layer.weight = nn.Parameter(torch.zeros(3, 0))
    with pytest.raises(UserError, match="The weight weight is empty"):
        deploy(layer, IDEAL, check=False)


@pytest.mark.parametrize("model", [None, "bert", torch.ones(2), FAMILIES["bert"].make_config()])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(UserError, match=f"deploy needs a model, not a {type(model).__name__}"):
        deploy(model, IDEAL)


@pytest.mark.parametrize("chip", [None, "wang2024", chips.wang2024])
def test_what_is_no_chip_is_refused(chip: Any) -> None:
    with pytest.raises(UserError, match="deploy needs a chip"):
        deploy(FAMILIES["bert"].make(), chip)


@pytest.mark.parametrize("seed", [-1, 1 << 63, 1.0, "0", None, True])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(UserError, match="seed is"):
        deploy(FAMILIES["bert"].make(), IDEAL, seed=seed)
    deploy(nn.Linear(2, 2), IDEAL, seed=(1 << 63) - 1, check=False)(torch.ones(2))


def test_a_model_is_deployed_once() -> None:
    deployed = deploy(FAMILIES["bert"].make(), IDEAL)
    with pytest.raises(UserError, match="deployed already"):
        deploy(deployed, IDEAL)
    with pytest.raises(UserError, match="This BertForMaskedLM is not deployed"):
        on_chip(FAMILIES["bert"].make())


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_a_sequence_that_is_too_long_is_refused(name: str) -> None:
    model = FAMILIES[name].make()
    longest = max_tokens(model.config)
    assert longest == (38 if name == "roberta" else 40)  # RoBERTa keeps positions 0 and 1 for padding
    deployed = deploy(model, IDEAL)
    assert trace(deployed, batch=1, tokens=longest).tokens == longest
    with pytest.raises(UserError, match=f"of {longest + 1} tokens is too long: .* at most {longest}"):
        trace(deployed, batch=1, tokens=longest + 1)


def test_an_address_beyond_a_table_is_refused() -> None:
    deployed = deploy(FAMILIES["gpt2"].make(), IDEAL)
    for ids, table in (
        (torch.full((1, 41), 3), "wpe"),
        (torch.tensor([[1, 61]]), "wte"),
        (torch.tensor([[-1]]), "wte"),
    ):
        with pytest.raises(UserError, match=f"transformer.{table}.weight has .* rows"):
            deployed(ids)


@pytest.mark.parametrize(("batch", "tokens"), [(0, 3), (1, 0), (-1, 3), (1, 2.5), ("1", 3), (True, 3)])
def test_sizes_of_a_trace_are_whole_numbers(batch: Any, tokens: Any) -> None:
    deployed = deploy(FAMILIES["bert"].make(), IDEAL)
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        trace(deployed, batch=batch, tokens=tokens)


def test_a_trace_does_not_count_as_a_run() -> None:
    deployed = deploy(FAMILIES["bert"].make(), chips.wang2024())
    deployed.on_chip.restart(7)
    trace(deployed, batch=1, tokens=4)
    assert deployed.on_chip.runtime.samples == 7


def test_a_model_without_configuration_needs_inputs_of_its_own() -> None:
    with pytest.raises(UserError, match="Linear has no configuration: pass check=False"):
        deploy(nn.Linear(3, 2), IDEAL)
    assert deploy(nn.Linear(3, 2), IDEAL, check=False)(torch.ones(3)).shape == (2,)


def test_modules_without_parameters() -> None:
    deployed = deploy(nn.Softmax(dim=-1), IDEAL, check=False)
    assert deployed.on_chip.stored_words == 0
    assert torch.allclose(deployed(torch.zeros(2, 4)), torch.full((2, 4), 0.25), atol=2**-15)  # 16-bit tables
    with pytest.raises(UserError, match="has no configuration"):
        deploy(nn.Softmax(dim=-1), IDEAL)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_stored_as_the_numbers_they_are(dtype: torch.dtype) -> None:
    """A half-precision weight is exact in float32, so it is the float32 model of the same numbers."""
    half = FAMILIES["bert"].make().to(dtype)
    expected = deploy(FAMILIES["bert"].make().to(dtype).float(), IDEAL)
    deployed = deploy(half, IDEAL)
    inputs = sample_inputs("bert", half)
    assert output(deployed, inputs).dtype == torch.float32
    assert torch.equal(output(deployed, inputs), output(expected, inputs))
    assert next(half.parameters()).dtype == dtype


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_any_attention_implementation_deploys_alike(implementation: str) -> None:
    model = FAMILIES["llama"].make()
    model.set_attn_implementation(implementation)
    deployed = deploy(model, IDEAL)
    assert deployed.config._attn_implementation == "eager"
    inputs = sample_inputs("llama", model)
    assert torch.equal(output(deployed, inputs), output(deploy(FAMILIES["llama"].make(), IDEAL), inputs))


def test_flash_attention_of_the_configuration_is_replaced() -> None:
    model = FAMILIES["llama"].make()
    model.config._attn_implementation_internal = "flash_attention_2"
    deployed = deploy(model, IDEAL)
    assert deployed.config._attn_implementation == "eager"
    output(deployed, sample_inputs("llama", deployed))


def test_tied_weights_are_stored_once() -> None:
    """gpt2 shares its embedding [61, 32] with its head: one set of cells, 61 · 32 words fewer."""
    tied = deploy(FAMILIES["gpt2"].make(), IDEAL)
    config = FAMILIES["gpt2"].make_config()
    config.tie_word_embeddings = False
    loose = deploy(type(tied)(config).eval(), IDEAL)
    assert tied.lm_head.weight is tied.transformer.wte.weight
    assert loose.lm_head.weight is not loose.transformer.wte.weight
    assert loose.on_chip.stored_words - tied.on_chip.stored_words == 61 * 32
    assert len(loose.on_chip.parameters) == len(tied.on_chip.parameters) + 1


def test_stored_words_by_hand() -> None:
    """A layer [3 -> 5] with bias: 15 words of 8 bits; the bias is 5 numbers of 16 bits in 1-bit cells, that
    is 80 cells, and a word is 4 cells of 2 bits: 20 words."""
    assert deploy(nn.Linear(3, 5), chips.wang2024(), check=False).on_chip.stored_words == 15 + 20
    kernel = nn.Conv2d(3, 5, 2, bias=False)
    assert deploy(kernel, chips.wang2024(), check=False).on_chip.stored_words == 5 * 3 * 2 * 2


def test_a_model_of_shapes_alone() -> None:
    model = shape_model(FAMILIES["llama"].make_config())
    assert all(parameter.is_meta for parameter in model.parameters())
    deployed = deploy(model, chips.wang2024())
    assert trace(deployed, batch=3, tokens=5).batch == 3
    real = deploy(FAMILIES["llama"].make(), chips.wang2024())
    assert deployed.on_chip.stored_words == real.on_chip.stored_words
    assert deployed.on_chip.coverage != ()


def test_a_configuration_that_cannot_be_built() -> None:
    config = FAMILIES["bert"].make_config()
    config.num_attention_heads = 5
    with pytest.raises(UserError, match="A model of type 'bert' cannot be built: .*32.*5"):
        shape_model(config)


class _Pictures(nn.Module):
    main_input_name = "point_cloud"

    def __init__(self) -> None:
        super().__init__()
        self.config = FAMILIES["bert"].make_config()
        self.layer = nn.Linear(2, 2)

    def forward(self, point_cloud: Tensor) -> Any:
        return self.layer(point_cloud)


def test_inputs_of_an_unknown_kind() -> None:
    with pytest.raises(UserError, match="_Pictures takes point_cloud"):
        deploy(_Pictures(), IDEAL)
