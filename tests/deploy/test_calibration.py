"""Calibrated scales: how ranges are found, kept, named and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.deploy.calibration import Calibration, Observation, OperandSites
from ohmformer.deploy.precision_deploying import calibrate, deploy_precisely
from ohmformer.errors import UserError
from ohmformer.numerals import quantise_with_scale
from ohmformer.specs import ideal, override

from .conftest import FAMILIES, Bare, output, relative, sample_inputs, wide_chip
from .int8 import codes_and_scale

IDEAL = ideal(chips.wang2024())


def _linear() -> Bare:
    return Bare(lambda m, x: torch.nn.functional.linear(x, m.lin.weight)).eval()


def test_the_range_is_the_largest_over_the_batches_of_a_quantile() -> None:
    """Of 1 ... 200 the 95 % quantile is 190, of 1 ... 20 times ten it is 190 too, of 3 it is 3."""
    seen = Observation(0.95)
    seen.see("a", torch.arange(1.0, 201.0))
    seen.see("a", -torch.arange(1.0, 21.0))
    seen.see("b", torch.full((2, 3), -3.0))
    seen.see("zero", torch.zeros(4))
    seen.see("empty", torch.zeros(0))
    found = seen.calibration(2)
    assert dict(found.limits) == {"a": 190.0, "b": 3.0, "zero": 1.0}
    assert found.scale("a", 8) == 190 / 127
    assert Observation().quantile == 1.0
    with pytest.raises(UserError, match="no calibrated scale for c"):
        found.scale("c", 8)
    with pytest.raises(UserError, match="NaN or infinity"):
        seen.see("a", torch.tensor([float("nan")]))


def test_a_calibration_is_what_was_saved(tmp_path: Path) -> None:
    made = Calibration(limits={"b": 0.1, "a": 3.5}, quantile=0.999, batches=3)
    assert Calibration.load(made.save(tmp_path / "c.json")) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Cannot read"),
        ("[]", "schema None"),
        ('{"schema": "ohmformer.calibration/9"}', "calibration/9"),
        ('{"schema": "ohmformer.calibration/1"}', "no complete calibration"),
        (
            '{"schema": "ohmformer.calibration/1", "limits": {"a": -1}, "quantile": 1, "batches": 1}',
            "of a is -1",
        ),
        ('{"schema": "ohmformer.calibration/1", "limits": {"a": "x"}, "quantile": 1, "batches": 1}', "'x'"),
        ('{"schema": "ohmformer.calibration/1", "limits": {}, "quantile": 2, "batches": 1}', "quantile is 2"),
        ('{"schema": "ohmformer.calibration/1", "limits": {}, "quantile": 1, "batches": 0}', "batches is 0"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Calibration.load(path)
    with pytest.raises(UserError, match="Cannot read"):
        Calibration.load(tmp_path / "none.json")


def test_sites_are_named_by_the_stored_operand_before_them() -> None:
    sites = OperandSites()
    assert sites.next("sum") == "start + 1: sum"
    assert sites.of_stored("q") == "q"
    assert [sites.next("matmul"), sites.next("matmul")] == ["q + 1: matmul", "q + 2: matmul"]
    sites.start_run()
    assert sites.next("sum") == "start + 1: sum"


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_a_calibrated_product_is_that_of_codes_with_the_fixed_scale(bits: int) -> None:
    """Inside the range and beyond it, where values clip; nothing depends on the other rows."""
    chip = override(IDEAL, {"precision.activation_bits": bits})
    generator = torch.Generator().manual_seed(3)
    known, x = torch.randn(64, 8, generator=generator), 2 * torch.randn(6, 8, generator=generator)
    model = _linear()
    calibration = calibrate(model, chip, [{"x": known}])
    highest = 2 ** (bits - 1) - 1
    scale = float(known.abs().max()) / highest
    assert dict(calibration.limits) == {"lin.weight": float(known.abs().max())}
    codes = quantise_with_scale(x, scale, bits).codes.long()
    assert bool((codes.abs() == highest).any())
    assert bool((x.abs() > known.abs().max()).any())
    right, right_scale = codes_and_scale(model.lin.weight.detach(), 127)
    expected = (codes @ right.t()).float() * torch.tensor(scale) * right_scale.t()
    deployed = deploy_precisely(model, chip, calibration=calibration, check=False)
    assert torch.equal(deployed(x), expected)
    assert torch.equal(deployed(x[2:3]), expected[2:3])


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_calibrated_on_the_very_inputs_it_is_one_scale_for_each_tensor(name: str) -> None:
    """The largest magnitude met while calibrating is that of ``per_tensor`` at the first operand; later ones
    differ by the roundings between. Both are as near to fp32, within the draws of their roundings."""
    model = FAMILIES[name].make()
    inputs = sample_inputs(name, model)
    exact = output(model, inputs)
    dynamic = deploy(model, override(wide_chip(8), {"precision.activation_scale": "per_tensor"}))
    calibrated = deploy_precisely(
        model, wide_chip(8), calibration=calibrate(model, wide_chip(8), inputs), check=False
    )
    errors = [relative(output(each, inputs), exact) for each in (dynamic, calibrated)]
    assert errors[0] / 2 < errors[1] < errors[0] * 2


def test_the_check_runs_through_the_same_sites() -> None:
    """A calibration on whole inputs serves the checking run, a cached step and a shorter input."""
    model = FAMILIES["llama"].make()
    inputs = sample_inputs("llama", model)
    calibration = calibrate(model, wide_chip(8), [inputs, {"input_ids": inputs["input_ids"][:1, :3]}])
    assert calibration.batches == 2
    assert set(calibration.limits) == set(calibrate(model, wide_chip(8), inputs).limits)
    deployed = deploy_precisely(model, wide_chip(8), calibration=calibration)
    assert deployed.on_chip.coverage
    whole = output(deployed, inputs)
    cache: Any = DynamicCache(config=model.config)
    with torch.no_grad():
        deployed(input_ids=inputs["input_ids"][:, :-1], past_key_values=cache, use_cache=True)
        step = deployed(input_ids=inputs["input_ids"][:, -1:], past_key_values=cache, use_cache=True)[0]
    assert relative(step[:, 0], whole[:, -1]) < 0.1


def test_a_model_beyond_its_calibration_is_refused_by_the_name_of_the_operand() -> None:
    other = calibrate(_linear(), IDEAL, {"x": torch.ones(2, 8)})
    model = FAMILIES["llama"].make()
    deployed = deploy_precisely(model, IDEAL, calibration=other, check=False)
    with pytest.raises(UserError, match="no calibrated scale for start \\+ 1"):
        output(deployed, sample_inputs("llama", model))


def test_calibration_needs_inputs_and_a_sensible_quantile() -> None:
    with pytest.raises(UserError, match="at least one batch"):
        calibrate(_linear(), IDEAL, [])
    with pytest.raises(UserError, match="quantile is 0"):
        calibrate(_linear(), IDEAL, {"x": torch.ones(2, 8)}, quantile=0)
