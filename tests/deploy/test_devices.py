"""A deployed model gives the same numbers wherever it lies: on the CPU, on a GPU, on the stand-in for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.deploy import deploy, on_chip, placing
from ohmformer.deploy.straight_through import StraightThrough
from ohmformer.engine import Mode, kernels
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec, override

from .. import standin
from .conftest import FAMILIES, output, sample_inputs

DEVICES = [str(standin.DEVICE), *(["cuda:0"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch, "tensor", standin.tensor)
    monkeypatch.setattr(placing, "SUPPORTED", (*placing.SUPPORTED, "standin"))
    return torch.device(request.param)


def noisy(**settings: Any) -> ChipSpec:
    """A chip whose reads and conversions all go wrong now and then."""
    return override(
        chips.wang2024(),
        {"dense.cell.noise.read_noise": 0.03, "dense.cell.noise.stuck_low_rate": 1e-3, **settings},
    )


# conversions that noise seldom changes are drawn one by one, which a slow stand-in can bear
SPARSE = {"tile.environment_noise": 0.13, "tile.adc.noise": 0.0, "tile.resistor.mismatch": 0.0}
CHIPS: dict[str, tuple[ChipSpec, Mode | None]] = {
    "collapsed": (noisy(**{"tile.environment_noise": 0.12}), None),
    "digit-serial": (noisy(**{"tile.adc.bits": 5, "tile.adc.step": 3, **SPARSE}), None),
    "statistical": (noisy(**{"tile.adc.bits": 5, "tile.adc.step": 3}), "statistical"),
}


def tiny(family: str) -> tuple[Any, dict[str, Tensor]]:
    """A model of one layer and three tokens of two samples: every operation once, on a slow stand-in."""
    known = FAMILIES[family]
    layers = {"n_layer": 1} if family == "gpt2" else {"num_hidden_layers": 1}
    model = replace(known, settings={**known.settings, **layers}).make()
    return model, {name: value[:, :3] for name, value in sample_inputs(family, model).items()}


def to(device: torch.device, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in inputs.items()}


@pytest.mark.parametrize(("family", "mode"), [*(("bert", mode) for mode in CHIPS), ("llama", "collapsed")])
def test_a_moved_model_computes_the_same(family: str, mode: str, device: torch.device) -> None:
    chip, asked = CHIPS[mode]
    model, inputs = tiny(family)
    deployed = deploy(model, chip, seed=3, mode=asked)
    assert on_chip(deployed).mode == mode
    here = output(deployed, inputs)
    assert not torch.equal(output(deploy(model, chip, seed=4, mode=asked, check=False), inputs), here)
    assert deployed.to(device) is deployed
    assert on_chip(deployed).device == device
    assert on_chip(deployed).computed_by == f"torch on {device}"
    on_chip(deployed).restart()
    there = output(deployed, to(device, inputs))
    assert there.device == device
    assert torch.equal(there.cpu(), here)
    deployed.to("cpu")
    on_chip(deployed).restart()
    assert torch.equal(output(deployed, inputs), here)


@pytest.mark.parametrize("home", ["sram", "dense"])
def test_generation_is_the_same(home: str, device: torch.device) -> None:
    chip = noisy(**{"tile.environment_noise": 0.12, "buffer.intermediates": home})
    model, inputs = tiny("llama")
    deployed = deploy(model, chip, seed=3)
    ids = inputs["input_ids"]
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    found = []
    for place in (torch.device("cpu"), device):
        deployed.to(place)
        on_chip(deployed).restart()
        given = ids.to(place)
        made = deployed.generate(
            given,
            attention_mask=torch.ones_like(given),
            output_logits=True,
            return_dict_in_generate=True,
            **settings,
        )
        found.append((made.sequences.cpu(), torch.stack(made.logits).cpu()))
    assert torch.equal(found[1][0], found[0][0])
    assert torch.equal(found[1][1], found[0][1])


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """``model.to(device)``, which cannot exchange the parameters of a model for those of the stand-in."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
    tie = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()
    return model


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_a_model_that_lies_on_a_device_is_deployed_there(family: str, device: torch.device) -> None:
    chip, _ = CHIPS["collapsed"]
    model, inputs = tiny(family)
    here = deploy(model, chip, seed=3)
    there = deploy(placed(tiny(family)[0], device), chip, seed=3)
    assert on_chip(there).device == device
    for one, other in zip(on_chip(there).parameters, on_chip(here).parameters, strict=True):
        assert one.scale.device == device
        assert one.blocks[0].device == device
        assert torch.equal(one.codes.cpu(), other.codes)
        assert torch.equal(one.scale.cpu(), other.scale)
        assert one.cells.marginal is not None
        assert other.cells.marginal is not None
        assert torch.equal(one.cells.marginal.cells, other.cells.marginal.cells)
        assert torch.equal(one.cells.marginal.conductance_S, other.cells.marginal.conductance_S)
    assert torch.equal(output(there, to(device, inputs)).cpu(), output(here, inputs))
    assert on_chip(there).coverage == on_chip(here).coverage


def test_outliers_and_words_with_check_cells_are_the_same(device: torch.device) -> None:
    chip = noisy(**{"dense.secded_data_bits": 64, "precision.outliers": 3})
    model, inputs = tiny("bert")
    deployed = deploy(model, chip, seed=3)
    here = output(deployed, inputs)
    deployed.to(device)
    on_chip(deployed).restart()
    assert torch.equal(output(deployed, to(device, inputs)).cpu(), here)


def test_the_parameters_left_behind_take_no_memory_anywhere(device: torch.device) -> None:
    deployed = deploy(FAMILIES["bert"].make(), CHIPS["collapsed"][0]).to(device)
    for parameter in deployed.parameters():
        assert parameter.device == device
        assert not any(parameter.stride())
    words = deployed.get_input_embeddings().weight
    assert deployed.get_output_embeddings().weight is words
    assert id(words) in on_chip(deployed).runtime.parameters


# --- what is refused ---------------------------------------------------------------------------------


def test_a_device_without_a_place_for_a_chip_is_refused() -> None:
    model = placed(FAMILIES["bert"].make(), standin.DEVICE)
    with pytest.raises(UserError, match=r"lies on standin:0, where a chip cannot be simulated: move it with"):
        deploy(model, CHIPS["collapsed"][0])


def test_a_deployed_model_is_not_moved_to_such_a_device() -> None:
    deployed = deploy(FAMILIES["bert"].make(), CHIPS["collapsed"][0])
    with pytest.raises(UserError, match="standin:0, where a chip cannot be simulated"):
        deployed.to(standin.DEVICE)
    assert on_chip(deployed).device.type == "cpu"


def test_a_model_spread_over_devices_is_refused() -> None:
    model = FAMILIES["bert"].make()
    model.cls.to("meta")
    with pytest.raises(UserError, match="The model is spread over cpu, meta: it must lie on one device"):
        deploy(model, CHIPS["collapsed"][0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_deployed_model_stays_in_float32(dtype: torch.dtype) -> None:
    deployed = deploy(FAMILIES["bert"].make(), CHIPS["collapsed"][0])
    with pytest.raises(UserError, match=f"it cannot be converted to {dtype}"):
        deployed.to(dtype)
    assert deployed.float() is deployed


def test_a_part_of_a_deployed_model_is_not_moved_alone() -> None:
    deployed = deploy(FAMILIES["bert"].make(), CHIPS["collapsed"][0])
    with pytest.raises(UserError, match="A part of a deployed BertForMaskedLM cannot be moved"):
        deployed.bert.encoder.to("cpu")


def test_inputs_elsewhere_are_refused(device: torch.device) -> None:
    model, inputs = tiny("bert")
    deployed = deploy(model, CHIPS["collapsed"][0])
    with pytest.raises(UserError, match=f"An input lies on {device}, the deployed model on cpu"):
        deployed(**to(device, inputs))
    deployed.to(device)
    with pytest.raises(UserError, match=f"An input lies on cpu, the deployed model on {device}"):
        deployed(**inputs)


def test_what_computes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = deploy(FAMILIES["bert"].make(), CHIPS["collapsed"][0], check=False)
    native = kernels()
    expected = "torch on cpu" if native is None else f"C++ kernels ({native.name}) on cpu"
    assert on_chip(deployed).computed_by == expected
    monkeypatch.setenv("OHMFORMER_KERNELS", "torch")
    assert on_chip(deployed).computed_by == "torch on cpu"


# --- nothing is made on the default device by mistake ------------------------------------------------


def test_training_with_the_chip_elsewhere_is_refused(device: torch.device) -> None:
    model = placed(FAMILIES["bert"].make(), device)
    with pytest.raises(UserError, match=f"The model lies on {device}: training with the chip in the loop"):
        StraightThrough(model, CHIPS["collapsed"][0])


@pytest.mark.parametrize("native", ["", "torch"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_run_makes_nothing_on_the_default_device(
    family: str, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another default device a deployed model runs as before, programming and a cache included."""
    monkeypatch.setenv("OHMFORMER_KERNELS", native)
    chip = noisy(**{"tile.environment_noise": 0.12, "buffer.intermediates": "dense"})
    model, inputs = tiny(family)
    expected = output(deploy(model, chip, seed=3), inputs)
    with torch.device("meta"):
        deployed = deploy(model, chip, seed=3, check=False)
        on_chip(deployed).restart()
        for parameter in on_chip(deployed).parameters:
            assert parameter.scale.device.type == "cpu"
        # what the model itself makes (positions, masks) follows its inputs
        found = output(deployed, inputs)
    assert found.device.type == "cpu"
    assert torch.equal(found, expected)
