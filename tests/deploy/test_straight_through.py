"""The stand-in for training: forward what the deployed chip gives, backward the float operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.deploy.deploying import deploy
from ohmformer.deploy.fresh_reads import FreshReads
from ohmformer.deploy.straight_through import StraightThrough
from ohmformer.devices import confusion_matrix
from ohmformer.errors import UserError
from ohmformer.numerals import quantise_per_row, quantise_per_tensor, to_symbols
from ohmformer.specs import ChipSpec, ideal, override

from .conftest import DECODERS, FAMILIES, Family, output, relative, sample_inputs, wide_chip

SCALE = "dense.cell.noise.telegraph_scale"
Z = 5.0  # a normal deviate beyond it has probability 6e-7; a few thousand are tested here


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str) -> Any:
    model = FAMILIES[name].make()
    model.set_attn_implementation("eager")
    return model


def run(model: nn.Module, chip: ChipSpec, inputs: dict[str, Tensor], seed: int = 0) -> Tensor:
    with StraightThrough(model, chip).drawing(generator(seed)):
        result: Tensor = model(**inputs)[0]
    return result


def without_cache(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """A deployed decoder keeps keys and values as codes of its own cache; training has no cache."""
    return {**inputs, "use_cache": False} if name in DECODERS else inputs


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "albert", "gpt2", "opt", "t5"])
def test_without_noise_it_gives_what_the_deployed_model_gives(name: str) -> None:
    chip = ideal(chips.wang2024())
    model = made(name)
    inputs = without_cache(name, sample_inputs(name, model))
    # The same integers; the order in which scales are multiplied may move a float32 by some roundings.
    assert relative(run(model, chip, inputs).detach(), output(deploy(model, chip), inputs)) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "bloom"])
def test_roundings_between_operations_move_single_codes_at_most(name: str) -> None:
    """The deployed model rounds rotary tables to 16 bits, and its kernels may round a float32 otherwise.

    Either moves a code by one where a number lies that close to a rounding limit. A vector of 32 numbers has
    a norm of some 64 codes x sqrt(32): one code is 0.3 % of it, and few of them move.
    """
    chip = ideal(chips.wang2024())
    model = made(name)
    inputs = without_cache(name, sample_inputs(name, model))
    assert relative(run(model, chip, inputs).detach(), output(deploy(model, chip), inputs)) <= 0.01


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("wang2024", {"precision.activation_scale": "per_tensor"}),
        ("wang2024", {"precision.weight_bits": 6, "precision.activation_bits": 5, "dense.cell.bits": 4,
                      "dense.adc_bits": 4}),
        ("wang2024", {"tile.adc.bits": 3, "tile.adc.step": 2}),
    ],
    ids=["per tensor", "narrow", "lossy"],
)  # fmt: skip
def test_the_chip_decides(preset: str, settings: dict[str, Any]) -> None:
    """Another precision and lossy converters show in the stand-in as in the deployed model."""
    chip = override(ideal(getattr(chips, preset)()), settings)
    model = made("distilbert")
    inputs = {"input_ids": sample_inputs("distilbert", model)["input_ids"][:, :4]}
    seen = run(model, chip, inputs).detach()
    assert relative(seen, output(deploy(model, chip), inputs)) <= 1e-5
    assert relative(seen, run(model, ideal(chips.wang2024()), inputs).detach()) > 1e-3


# --- the law of the noise --------------------------------------------------------------------------


class Layer(nn.Module):
    """A linear layer with a bias of given numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 6)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(6, 24, generator=generator(1)))
            self.linear.bias.copy_(torch.randn(6, generator=generator(2)))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.linear(x),)


def moments(codes: Tensor, bits: int, chip: ChipSpec, cell_bits: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of a number read from fresh cells, from the confusion matrix and place values."""
    cell = override(chip, {"dense.cell.bits": cell_bits}).dense.cell
    confusion = confusion_matrix(cell)
    levels = torch.arange(cell.levels, dtype=torch.float64)
    mean = confusion @ levels
    variance = confusion @ levels.square() - mean.square()
    symbols = to_symbols(codes.int(), bits, cell_bits, "offset_binary", False).long()
    places = torch.tensor([float(cell.levels**index) for index in range(symbols.shape[-1])]).double()
    shift = ((mean[symbols] - symbols) * places).sum(-1)
    return codes.double() + shift, (variance[symbols] * places.square()).sum(-1)


def expected_moments(layer: Layer, x: Tensor, chip: ChipSpec) -> tuple[Tensor, Tensor]:
    """Mean and variance of the layer's output, bits and cells as in the spec."""
    streamed = quantise_per_row(x, 8, dtype=torch.float32)
    seen = (streamed.codes * streamed.scale).double()
    weight, bias = quantise_per_row(layer.linear.weight, 8), quantise_per_tensor(layer.linear.bias, 16)
    mean, variance = moments(weight.codes, 8, chip, 2)
    bias_mean, bias_variance = moments(bias.codes, 16, chip, 1)
    scale, bias_scale = weight.scale.double(), bias.scale.double()
    return (
        seen @ (mean * scale).t() + bias_mean * bias_scale,
        seen.square() @ (variance * scale.square()).t() + bias_variance * bias_scale**2,
    )


def assert_moments(draws: Tensor, mean: Tensor, variance: Tensor) -> None:
    """draws: [draw, ...]; standard errors from the draws' own second and fourth moments."""
    n = len(draws)
    centred = draws.double() - mean
    assert (centred.mean(0).abs() <= Z * (variance / n).sqrt()).all()
    spread = ((centred**4).mean(0) - variance.square()).clamp_min(0.0)
    assert ((centred.square().mean(0) - variance).abs() <= Z * (spread / n).sqrt()).all()


def test_reads_of_weights_and_biases_have_the_closed_form_of_fresh_cells() -> None:
    # 34 times the amplitude: cells of two levels, where the bias lies, are misread too
    layer, x = Layer(), torch.randn(3, 24, generator=generator(3))
    for scale, draws in ((7.0, 250), (34.0, 250)):
        chip = override(chips.wang2024(), {SCALE: scale})
        mean, variance = expected_moments(layer, x, chip)
        through, source = StraightThrough(layer, chip), generator(4)
        seen = []
        for _ in range(draws):
            with through.drawing(source):
                seen.append(layer(x)[0].detach())
        assert_moments(torch.stack(seen), mean.detach(), variance.detach())


def test_the_deployed_layer_has_the_same_law() -> None:
    layer, x = Layer(), torch.randn(3, 24, generator=generator(3))
    chip = override(chips.wang2024(), {SCALE: 7.0})
    mean, variance = expected_moments(layer, x, chip)
    seen = [output(deploy(layer, chip, seed=seed, check=False), {"x": x}) for seed in range(150)]
    assert_moments(torch.stack(seen), mean.detach(), variance.detach())


def test_a_noisy_model_spreads_as_fresh_chips_do() -> None:
    """Two samples of outputs, of deployed chips and of draws, agree in mean and in spread."""
    chip = override(chips.wang2024(), {SCALE: 7.0})
    settings = {"vocab_size": 61, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    model = Family("DistilBertModel", "DistilBertConfig", settings).make()
    model.set_attn_implementation("eager")
    inputs = {"input_ids": torch.tensor([[5, 9, 40]])}
    runs = 16
    through, source, seen = StraightThrough(model, chip), generator(5), []
    for _ in range(runs):
        with through.drawing(source):
            seen.append(model(**inputs)[0].detach())
    drawn = torch.stack(seen).double()
    deployed = torch.stack(
        [output(deploy(model, chip, seed=seed, check=False), inputs) for seed in range(runs)]
    ).double()
    a, b = drawn.var(0), deployed.var(0)
    z = (drawn.mean(0) - deployed.mean(0)) / ((a + b) / runs).sqrt()
    assert float(z.abs().max()) <= Z
    # The mean over outputs of log(a/b): 0 if the spreads are equal. Its standard error is at most that of one
    # output, sqrt(4 / (runs - 1)) for normal outputs, taken twice for their tails.
    assert abs(float((a / b).log().mean())) <= 2 * (4 / (runs - 1)) ** 0.5
    assert float((drawn - drawn.mean(0)).norm() / drawn.norm()) > 0.05  # there is noise to compare


def test_the_same_draws_give_the_same_run() -> None:
    chip = override(chips.wang2024(), {SCALE: 7.0})
    model = made("bert")
    inputs = sample_inputs("bert", model)
    assert torch.equal(run(model, chip, inputs, 1), run(model, chip, inputs, 1))
    assert not torch.equal(run(model, chip, inputs, 1), run(model, chip, inputs, 2))


# --- gradients -------------------------------------------------------------------------------------


def test_gradients_of_a_product_are_those_at_the_operands_seen() -> None:
    chip = override(chips.wang2024(), {SCALE: 7.0})
    layer, x = Layer(), torch.randn(3, 24, generator=generator(6)).requires_grad_()
    upstream = torch.randn(3, 6, generator=generator(7))
    run(layer, chip, {"x": x}, seed=8).backward(upstream)
    weight = quantise_per_row(layer.linear.weight.detach(), 8, dtype=torch.float32)
    read = FreshReads(8, chip.dense).read(weight.codes, generator(8)) * weight.scale  # the run's first draw
    assert not torch.equal(read, weight.codes * weight.scale)
    streamed = quantise_per_row(x.detach(), 8, dtype=torch.float32)
    torch.testing.assert_close(x.grad, upstream @ read)
    torch.testing.assert_close(layer.linear.weight.grad, upstream.t() @ (streamed.codes * streamed.scale))
    torch.testing.assert_close(layer.linear.bias.grad, upstream.sum(0))


def gradients(model: nn.Module, run_it: Callable[[], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    made = run_it()
    (made * torch.randn(made.shape, generator=generator(9))).sum().backward()
    return {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_gradients_tend_to_those_of_the_float_model(name: str) -> None:
    """At 16 bits, without noise, with fine tables: 2^-15 of each operand is left, some layers deep."""
    model = made(name)
    inputs = sample_inputs(name, model)
    exact = gradients(model, lambda: model(**inputs)[0])
    seen = gradients(model, lambda: run(model, wide_chip(16), inputs))
    assert seen.keys() == exact.keys()
    largest = max(float(gradient.norm()) for gradient in exact.values())
    for parameter, gradient in exact.items():
        # a key's bias moves no softmax: its gradient is rounding alone, hence the second term
        assert float((seen[parameter] - gradient).norm()) <= 0.01 * float(gradient.norm()) + 1e-4 * largest


def test_training_on_fresh_reads_helps_on_chips_never_seen() -> None:
    """A layer learns to give its own noiseless output through misreads that pull all weights down.

    Nearly all misreads lower a code, so the error of the untrained layer has a large mean part, which
    training can take away: closed form below.
    """
    chip = override(chips.wang2024(), {SCALE: 7.0})
    layer, x = Layer(), torch.rand(64, 24, generator=generator(10)) + 0.5
    target = layer(x)[0].detach()

    def error(seeds: range) -> float:
        made = [output(deploy(layer, chip, seed=seed, check=False), {"x": x}) for seed in seeds]
        return float((torch.stack(made) - target).square().mean())

    mean, variance = (part.detach() for part in expected_moments(layer, x, chip))
    pull, spread = float((mean - target).square().mean()), float(variance.mean())
    before = error(range(40))
    assert pull > spread  # so that more than half of the error can go
    through, source = StraightThrough(layer, chip), generator(11)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(150):
        with through.drawing(source):
            loss = (layer(x)[0] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Left is the spread, below half of it, and what 150 steps and 40 chips leave to chance (it was 0.53)
    assert error(range(100, 140)) < 0.7 * before


# --- what it leaves alone, and refuses -------------------------------------------------------------


def test_a_model_is_its_own_again_afterwards() -> None:
    model = made("llama")
    inputs = sample_inputs("llama", model)
    before = output(model, inputs)
    through = StraightThrough(model, override(chips.wang2024(), {SCALE: 7.0}))
    for failing in (False, True):
        try:
            with through.drawing(generator()):
                assert not torch.equal(model(**inputs)[0].detach(), before)
                if failing:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert torch.equal(output(model, inputs), before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_what_cannot_be_trained_is_refused_by_name() -> None:
    chip = chips.wang2024()
    model = made("vit")
    with pytest.raises(UserError, match="The operation conv2d has no stand-in for training"):
        run(model, chip, sample_inputs("vit", model))
    with pytest.raises(UserError, match="secded_data_bits is 64"):
        StraightThrough(Layer(), override(chip, {"dense.secded_data_bits": 64}))
    frozen = Layer()
    frozen.linear.bias.requires_grad_(False)
    with pytest.raises(UserError, match=r"The weight linear\.bias is frozen"):
        StraightThrough(frozen, chip)
    with (
        torch.no_grad(),
        pytest.raises(UserError, match="needs gradients"),
        StraightThrough(Layer(), chip).drawing(generator()),
    ):
        pass
    with pytest.raises(UserError, match="lone vector"), StraightThrough(Layer(), chip).drawing(generator()):
        torch.ones(3, requires_grad=True) @ torch.ones(3, 2)
    with (
        pytest.raises(UserError, match="The operation sin has"),
        StraightThrough(Layer(), chip).drawing(generator()),
    ):
        torch.ones(3, requires_grad=True).sin()
