"""Attention and rotary products in one call: recognised by behaviour, to the bits of their operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.bart import modeling_bart as bart
from transformers.models.gemma2 import modeling_gemma2 as gemma2
from transformers.models.gpt_neox import modeling_gpt_neox as gpt_neox
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss
from transformers.models.llama import modeling_llama as llama
from transformers.models.t5 import modeling_t5 as t5

from ohmformer import chips
from ohmformer.deploy import deploy, deploying, pieces
from ohmformer.deploy.cache_rows import PendingRows, numbers
from ohmformer.deploy.forms import AttentionForm, RotaryForm, attention_form, rotary_form
from ohmformer.specs import override

from .conftest import FAMILIES


def test_functions_are_recognised_by_what_they_compute() -> None:
    plain = AttentionForm(repeats=False, softcap=False, bias=False)
    assert attention_form(llama.eager_attention_forward) == AttentionForm(
        repeats=True, softcap=False, bias=False
    )
    assert attention_form(gemma2.eager_attention_forward) == AttentionForm(
        repeats=True, softcap=True, bias=False
    )
    assert attention_form(t5.eager_attention_forward) == AttentionForm(
        repeats=False, softcap=False, bias=True
    )
    assert attention_form(bart.eager_attention_forward) == plain
    assert attention_form(gpt_oss.eager_attention_forward) is None  # sinks
    assert rotary_form(llama.apply_rotary_pos_emb) == RotaryForm(pairs=False, partial=False)
    assert rotary_form(gpt_neox.apply_rotary_pos_emb) == RotaryForm(pairs=False, partial=True)


def mask_first(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The mask is scaled too."""
    scores = torch.matmul(query, key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = nn.functional.softmax(scores * scaling, dim=-1)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), scores


def by_size(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Another function for long sequences, which no short probe shows."""
    if key.shape[2] > 100:
        scaling = scaling / 2
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = nn.functional.softmax(scores, dim=-1)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), scores


def with_state(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """It looks at something that a probe does not have."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling * getattr(module, "temperature", 1.0)
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = nn.functional.softmax(scores, dim=-1)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), scores


def limited(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Its limit lies beyond the numbers of a probe."""
    scores = (torch.matmul(query, key.transpose(2, 3)) * scaling).clamp(-3e2, 3e2)
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = nn.functional.softmax(scores, dim=-1)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), scores


def nearest(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """It forgets what lies further back than a probe is long."""
    key, value = key[:, :, -128:], value[:, :, -128:]
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    scores = nn.functional.softmax(scores, dim=-1)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), scores


@pytest.mark.parametrize("function", [mask_first, by_size, with_state, limited, nearest])
def test_another_function_is_left_as_it_is(function: Any) -> None:
    assert attention_form(function) is None


@pytest.mark.parametrize(
    ("name", "noise", "tokens"),
    [("llama", 0.05, 90), ("llama", 0.11, 8), ("qwen3", 0.11, 8), ("gemma2", 0.11, 8)],
)
def test_one_call_gives_the_bits_of_the_operations_whether_conversions_go_wrong_or_not(
    name: str, noise: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 rows of two sequences and four heads are more than are finished in one call; with more noise of
    the adc some calls meet a wrong conversion and are done step by step, others are not.
    """
    settings = {**FAMILIES[name].settings, "max_position_embeddings": 128}
    model = FAMILIES[name].__class__(FAMILIES[name].model, FAMILIES[name].config, settings).make()
    deployed = deploy(model, override(chips.wang2024(), {"tile.adc.noise": noise}), seed=2)
    made: list[bool] = []
    before = pieces.attention

    def seen(*args: Any) -> Any:
        found = before(*args)
        made.append(found is not None)
        return found

    monkeypatch.setattr(pieces, "attention", seen)
    ids = torch.arange(2 * tokens).reshape(2, tokens) % 59 + 1
    mask = torch.ones_like(ids)
    mask[0, :3] = 0

    def run() -> Tensor:
        deployed.on_chip.restart()
        given = deployed(input_ids=ids, attention_mask=mask, use_cache=True)
        more = torch.cat((mask, torch.ones(2, 1, dtype=mask.dtype)), -1)
        logits = [given.logits[:, -1]]
        for _ in range(6):
            given = deployed(
                input_ids=logits[-1].argmax(-1, keepdim=True),
                attention_mask=more,
                past_key_values=given.past_key_values,
            )
            more = torch.cat((more, more[:, :1] | 1), -1)
            logits.append(given.logits[:, -1])
        return torch.stack(logits)

    short = run()
    assert any(made)
    if noise > 0.1:
        assert not all(made)
    count = len(made)
    monkeypatch.setattr(deploying, "may_leave", lambda runtime: False)
    assert torch.equal(short, run())
    assert len(made) == count


def test_weights_of_attention_are_given_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FAMILIES["llama"].make()
    deployed = deploy(model, chips.wang2024())
    ids = torch.arange(1, 9)[None]
    found = deployed(input_ids=ids, output_attentions=True)
    assert len(found.attentions) == 2
    assert found.attentions[0].shape == (1, 4, 8, 8)
    deployed.on_chip.restart()
    assert torch.equal(found.logits, deployed(input_ids=ids).logits)


def test_pending_rows_are_numbers_to_anything_else() -> None:
    codes = torch.arange(-12, 12, dtype=torch.int8).reshape(1, 2, 3, 4)
    scale = torch.rand(1, 2, 3, 1, generator=torch.Generator().manual_seed(1))
    rows = PendingRows.of(codes, scale)
    exact = codes * scale
    for made in (numbers(rows), rows + 0, rows.transpose(2, 3).transpose(2, 3), torch.cat((rows, rows))[:1]):
        assert type(made) is Tensor
        assert torch.equal(made, exact)
    assert rows.shape == exact.shape
    assert torch.equal(torch.matmul(exact, rows.transpose(2, 3)), torch.matmul(exact, exact.transpose(2, 3)))
