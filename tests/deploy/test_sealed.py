"""What a deployed model refuses in a sentence: copies, plain weights, compilers. Torch's defaults."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ohmformer.deploy import deploy, load_deployed, save_deployed
from ohmformer.errors import UserError

from .conftest import FAMILIES, output, sample_inputs, wide_chip
from .test_physical_chip import NOISY


@pytest.fixture(scope="module")
def deployed() -> Any:
    return deploy(FAMILIES["llama"].make(), wide_chip(8))


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "torch.save": lambda made: torch.save(made, io.BytesIO()),
}


@pytest.mark.parametrize("part", ["whole", "layer", "linear"])
@pytest.mark.parametrize("how", COPIES)
def test_neither_a_model_nor_a_part_of_it_is_copied(deployed: Any, how: str, part: str) -> None:
    layer = deployed.model.layers[0]
    made = {"whole": deployed, "layer": layer, "linear": layer.mlp.up_proj}[part]
    with pytest.raises(UserError, match="cannot be copied or pickled: .*save_deployed and load_deployed"):
        COPIES[how](made)


def test_weights_are_neither_written_nor_replaced(deployed: Any, tmp_path: Path) -> None:
    """What stays of a parameter is NaN: written as a checkpoint, it would be one."""
    other = FAMILIES["llama"].make(seed=1)
    for part in (deployed, deployed.model):
        with pytest.raises(UserError, match="keep it with save_deployed, not with save_pretrained"):
            part.save_pretrained(tmp_path / "weights")
        with pytest.raises(UserError, match="use load_state_dict on the original and deploy that"):
            part.load_state_dict(other.state_dict())
        with pytest.raises(UserError, match="use resize_token_embeddings on the original"):
            part.resize_token_embeddings(70)
    assert not (tmp_path / "weights").exists()
    assert bool(torch.isfinite(output(deployed, sample_inputs("llama", deployed))).all())


@pytest.mark.filterwarnings("ignore")  # the compiler's own, about what it cannot follow
def test_compilers_are_refused(deployed: Any) -> None:
    inputs = sample_inputs("llama", deployed)
    before = output(deployed, inputs)
    for how in (
        lambda: torch.compile(deployed, backend="eager")(**inputs),
        lambda: _traced(deployed, inputs),
    ):
        with pytest.raises(UserError, match="cannot be compiled or traced"):
            how()
    assert torch.equal(output(deployed, inputs), before)


def _traced(model: Any, inputs: Any) -> Any:
    return torch.jit.trace(model, (inputs["input_ids"],))  # type: ignore[no-untyped-call]


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "vit"])
def test_the_default_number_format_changes_nothing(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The very bits, noise on: of a model deployed, run, saved and restored where new numbers are float64."""
    model = FAMILIES[name].make()
    inputs = sample_inputs(name, model)
    expected = output(deploy(model, NOISY, seed=1), inputs)
    request.getfixturevalue("double")
    made = deploy(model, NOISY, seed=1)
    assert torch.equal(output(made, inputs), expected)
    made.on_chip.restart()
    restored = load_deployed(save_deployed(made, tmp_path / "chip"))
    assert torch.equal(output(restored, inputs), expected)
    assert expected.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float64
