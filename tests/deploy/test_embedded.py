"""The real models that Python packages carry, on the chip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.deploy.coverage import COMPUTE, DENSE, FUNCTION, HOST, CoverageRow
from ohmformer.workloads import load_model

from .conftest import output, relative, wide_chip

TEXTS = {
    "minilm": ("encoder", "The cat sat on the warm mat."),
    "rxnmapper": ("encoder", "CC(=O)Cl.Nc1ccccc1>>CC(=O)Nc1ccccc1"),
    "smollm2": ("causal", "The capital of France is"),
}
PRODUCTS_IN_SERIES = 6  # of a layer: projection, scores, context, output, up, down


@dataclass(frozen=True)
class Case:
    """A model, a text for it, and the model on the noisy chip."""

    model: Any
    tokenizer: Any
    inputs: dict[str, Any]
    deployed: Any


@pytest.fixture(scope="module", params=list(TEXTS))
def case(request: pytest.FixtureRequest) -> Case:
    task, text = TEXTS[request.param]
    loaded = load_model(request.param, task=task)  # type: ignore[arg-type]
    inputs = dict(loaded.tokenizer(text, return_tensors="pt"))
    return Case(loaded.model, loaded.tokenizer, inputs, deploy(loaded.model, chips.wang2024()))


def _expected_error(model: Any, inputs: dict[str, Tensor]) -> float:
    """Upper estimate of the relative error of an int8 model.

    A row of crest factor c = max|x| / rms(x) rounded to max/127 is off by c/(127·√12) of its rms; a product
    has two such operands, and the products in series add their errors as independent ones:
        error <= c · √2 / (127 · √12) · √(6 · layers)
    The residual stream dilutes each product's error and the weights' crest is below that of the hidden
    states, so this is an upper estimate; c is the mean over all hidden states but the embedding.
    """
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[1:]
    rows = torch.cat([state.reshape(-1, state.shape[-1]) for state in hidden])
    crest = float((rows.abs().amax(-1) / rows.square().mean(-1).sqrt()).mean())
    return crest * math.sqrt(2) / (127 * math.sqrt(12)) * math.sqrt(PRODUCTS_IN_SERIES * len(hidden))


def _places(rows: tuple[CoverageRow, ...], operation: str) -> set[str]:
    return {row.where for row in rows if row.operation == operation}


def test_the_output_is_that_of_fp32_within_the_rounding(case: Case) -> None:
    """8 bits at the published noise: below the upper estimate of the rounding alone, which such a chip meets
    (wrong conversions and misreads are rare). 16 bits without noise: 258 times less, within a factor of 4,
    as outliers saturate functions at 8 bits."""
    exact = output(case.model, case.inputs)
    eight = relative(output(case.deployed, case.inputs), exact)
    sixteen = relative(output(deploy(case.model, wide_chip(16), check=False), case.inputs), exact)
    assert 0.01 < eight < _expected_error(case.model, case.inputs)
    assert eight / (4 * 258) < sixteen < eight / (258 / 4)


def test_every_operation_has_a_place(case: Case) -> None:
    """Each linear layer is a product, each layer has two attention products and a softmax, each norm its
    squares, each embedding a read: counted in the coverage table."""
    rows = case.deployed.on_chip.coverage
    config = case.model.config
    layers = config.num_hidden_layers
    runs = 3 if case.model.can_generate() else 1  # decoders are checked on two cached steps as well
    assert HOST not in {row.where for row in rows}

    def calls(operation: str) -> int:
        return sum(row.calls for row in rows if row.operation == operation)

    linear = [module for module in case.model.modules() if isinstance(module, torch.nn.Linear)]
    norms = [module for module in case.model.modules() if "Norm" in type(module).__name__]
    if config.model_type != "albert":  # which runs the same modules in every layer
        assert calls("linear") == runs * len(linear)
        assert calls("dot with itself") == runs * len(norms)
    assert _places(rows, "linear") == {COMPUTE}
    assert calls("matmul") == runs * 2 * layers
    assert calls("softmax exp") == runs * layers
    assert _places(rows, "softmax exp") == {FUNCTION}
    tables = [module for module in case.model.modules() if isinstance(module, torch.nn.Embedding)]
    assert calls("embedding") == runs * len(tables)
    assert _places(rows, "embedding") == {DENSE}


@pytest.mark.parametrize("case", ["smollm2"], indirect=True)
def test_smollm2_writes_on_the_chip_what_it_writes_in_fp32(case: Case) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}
    expected = case.model.generate(**case.inputs, **settings)
    assert "Paris" in case.tokenizer.decode(expected[0])
    assert case.deployed.generate(**case.inputs, **settings).tolist() == expected.tolist()
