"""The ideal chip is int8 integer arithmetic bit for bit, however its numerals and its engine are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertModel

from ohmformer import chips
from ohmformer.deploy import deploy
from ohmformer.engine import ReferenceEngine
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import ideal, override

from .conftest import ENCODER, FAMILIES, output, sample_inputs, wide_chip
from .int8 import Reference, codes_and_scale

IDEAL = ideal(chips.wang2024())


def _tiny_bert() -> BertModel:
    model = FAMILIES["bert"].make().bert
    assert model.pooler is None
    return model  # type: ignore[no-any-return]


def test_a_bert_is_the_plain_integer_reference() -> None:
    model = _tiny_bert()
    ids = sample_inputs("bert", model)["input_ids"]
    expected = Reference(IDEAL).bert(model, ids)
    assert torch.equal(output(deploy(model, IDEAL), {"input_ids": ids}), expected)
    assert expected.std() > 0.1


def test_a_llama_is_the_plain_integer_reference() -> None:
    model = FAMILIES["llama"].make()
    ids = sample_inputs("llama", model)["input_ids"]
    expected = Reference(IDEAL).llama(model, ids)
    assert torch.equal(output(deploy(model, IDEAL), {"input_ids": ids}), expected)
    assert expected.std() > 0.1


def test_the_reference_quantises_by_the_documented_rule() -> None:
    """The reference's own quantiser and the package's agree, zero rows included (so a fault in one shows)."""
    x = torch.randn(50, 33, generator=torch.Generator().manual_seed(5)) * 3
    x[7] = 0
    codes, scale = codes_and_scale(x, 127)
    assert codes.abs().amax(-1).tolist() == [127] * 7 + [0] + [127] * 42
    found = quantise_per_row(x, 8)
    assert torch.equal(found.codes.long(), codes)
    assert torch.equal(found.scale, scale)


@pytest.mark.parametrize("resident", ["bits", "digits"])
@pytest.mark.parametrize("radix", [3, 7, 9])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_digit_by_digit_on_tiles_equals_the_fast_engine(name: str, radix: int, resident: str) -> None:
    """Every conversion of every digit and plane, summed, is the same integer: outputs are bit-identical."""
    chip = override(
        chips.wang2024(),
        {
            "tile.numeral.radix": radix,
            "tile.resident_code": resident,
            "tile.wordlines": 64,
            "tile.active_wordlines": 24,
        },
    )
    chip = ideal(chip)
    model = FAMILIES[name].make()
    inputs = {key: value[:1, :4] for key, value in sample_inputs(name, model).items()}
    fast = output(deploy(model, chip, check=False), inputs)
    slow = output(deploy(model, chip, check=False, engine=ReferenceEngine(chip.tile)), inputs)
    assert torch.equal(fast, slow)
    assert torch.equal(fast, output(deploy(model, IDEAL, check=False), inputs))  # no numeral changes a sum


def test_a_lossy_converter_is_seen() -> None:
    """The test above could pass with an engine that ignores the tile: 2-bit conversions of full groups
    must change the output."""
    model = FAMILIES["bert"].make()
    inputs = {key: value[:1, :4] for key, value in sample_inputs("bert", model).items()}
    chip = chips.wang2024_2bit_lossy()
    assert not torch.equal(output(deploy(model, chip), inputs), output(deploy(model, IDEAL), inputs))


def test_a_convolution_is_the_product_of_its_patches() -> None:
    """Strides, padding and dilation of conv1d and conv2d, against F.conv on the quantised operands.

    Integer codes of the kernel's rows; every patch has its own scale, so the streamed side is compared at 16
    bits: a patch value is off by half a step, and the sum of n products by at most n·(step_x/2·|w|max +
    step_w/2·|x|max), taken over the largest row.
    """
    torch.manual_seed(0)
    x1, x2 = torch.randn(2, 3, 11), torch.randn(2, 3, 9, 7)
    layers: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.Conv1d(3, 5, 3, stride=2, padding=1), x1),
        (nn.Conv1d(3, 5, 4, dilation=2, padding="same"), x1),
        (nn.Conv1d(3, 5, 1, bias=False), x1[0]),
        (nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), x2),
        (nn.Conv2d(3, 5, 3, padding="same"), x2),
        (nn.Conv2d(3, 5, 4, stride=4, padding="valid"), x2[1]),
    ]
    for layer, x in layers:
        deployed = deploy(layer, wide_chip(16), check=False)
        y, exact = deployed(x), layer(x).detach()
        assert y.shape == exact.shape
        weight = layer.weight.detach()  # type: ignore[union-attr, operator]
        inner = weight[0].numel()
        step = 2 * inner * float(x.abs().max()) * float(weight.abs().max()) / 2 / 32767
        bias = float(exact.abs().max()) / 32767  # half a step of the bias is smaller still
        assert float((y - exact).abs().max()) < step + bias
        assert float(exact.abs().max()) > 1000 * step


def test_experts_use_their_own_rows() -> None:
    """Each expert of the stacked weights is one block of stored rows: 8-bit codes, read with the block."""
    model = FAMILIES["mixtral"].make()
    deployed = deploy(model, IDEAL)
    entries = {entry.name: entry for entry in deployed.on_chip.parameters}
    stacked = model.model.layers[0].mlp.experts.down_proj.detach()
    entry = entries["model.layers.0.mlp.experts.down_proj"]
    codes, scale = codes_and_scale(stacked.reshape(-1, stacked.shape[-1]), 127)
    assert (entry.role, entry.bits) == ("rows", 8)
    assert torch.equal(entry.codes.long(), codes)
    assert torch.equal(entry.scale, scale.squeeze(-1))
    assert torch.equal(entry.nominal(), (codes.float() * scale).reshape(stacked.shape))
    assert ENCODER["hidden_size"] * entry.shape[0] == len(codes)


class _TinyExperts(nn.Module):
    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.is_transposed = transposed
        self.up = nn.Parameter(torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(4)))

    def forward(self, x: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        one = self.up[index]
        product = x @ one if self.is_transposed else nn.functional.linear(x, one)
        return product, one * 1.0, self.up[:2].sum(0)


@pytest.mark.parametrize("transposed", [False, True])
def test_one_expert_in_any_use(transposed: bool) -> None:
    """As operand of a product, as values, as part of a slice; both layouts; bounds are those of torch.

    8-bit rows: the values are within half a step, max|row| / 254; the slice is summed on the chip, twice
    rounded more, each time by half a step of the sum's range.
    """
    layer = _TinyExperts(transposed)
    deployed = deploy(layer, IDEAL, check=False)
    entry = deployed.on_chip.parameters[0]
    assert entry.role == ("columns" if transposed else "rows")
    x = torch.randn(5, 4 if transposed else 6, generator=torch.Generator().manual_seed(5))
    for index in (0, 2, -1):
        product, values, part = deployed(x, index)
        stored = entry.nominal()
        matrix = stored[index].t() if transposed else stored[index]
        left, left_scale = codes_and_scale(x, 127)
        right, right_scale = codes_and_scale(matrix, 127)
        expected = (left @ right.t()).float() * left_scale * right_scale.t()
        assert torch.allclose(product, expected, rtol=2**-22, atol=0)  # a scale rounded once more
        assert torch.equal(values, stored[index])
        given = layer.up.detach()
        assert float((values - given[index]).abs().max()) <= float(given.abs().max()) / 254 * 1.001
        assert torch.allclose(part, stored[:2].sum(0), atol=2 * float(stored.abs().max()) / 127)
    with pytest.raises(IndexError):
        deployed(x, 3)
