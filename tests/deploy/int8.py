"""A plainly written int8 reference: int64 products, its own quantisation, function unit from the room.

Rule: code = round-half-even(x / s) with s = max|x| / 127 (1 for a row of zeros); weights one s per output
channel, streamed rows one s per row; keys one s per token, values one s per token that is multiplied into the
streamed probabilities before they are quantised; vectors 16 bits, one s for all;
a product is (Σ codes in int64, as float32) · s_streamed · s_resident.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ohmformer.functions import evaluate
from ohmformer.specs import ChipSpec


def codes_and_scale(x: Tensor, levels: int, *, whole: bool = False) -> tuple[Tensor, Tensor]:
    largest = x.abs().max() if whole else x.abs().amax(-1, keepdim=True)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest / levels)
    return torch.round(x / scale).to(torch.int64), scale


def vector(x: Tensor) -> Tensor:
    """A stored vector as it is read: 16 bits."""
    codes, scale = codes_and_scale(x.detach(), 32767, whole=True)
    return codes.float() * scale


def table(weight: Tensor, ids: Tensor) -> Tensor:
    codes, scale = codes_and_scale(weight.detach(), 127)
    return codes[ids].float() * scale[ids]


def product(x: Tensor, resident_rows: Tensor) -> Tensor:
    """x [..., row, inner] times the transpose of resident_rows [..., column, inner]."""
    left, left_scale = codes_and_scale(x, 127)
    right, right_scale = codes_and_scale(resident_rows.detach(), 127)
    sums = (left.unsqueeze(-2) * right.unsqueeze(-3)).sum(-1)
    return sums.float() * left_scale * right_scale.transpose(-1, -2)


def linear(x: Tensor, layer: Any) -> Tensor:
    y = product(x, layer.weight)
    return y if layer.bias is None else y + vector(layer.bias)


def sum_of_row(x: Tensor) -> Tensor:
    codes, scale = codes_and_scale(x, 127)
    return codes.sum(-1).float() * scale[..., 0]


def square_of_row(x: Tensor) -> Tensor:
    codes, scale = codes_and_scale(x, 127)
    return (codes * codes).sum(-1).float() * scale[..., 0] * scale[..., 0]


class Reference:
    """The functions of one chip, and the two layers."""

    def __init__(self, chip: ChipSpec) -> None:
        self.unit = chip.function_unit

    def f(self, name: str, x: Tensor) -> Tensor:
        return evaluate(name, x, self.unit)

    def softmax(self, z: Tensor) -> Tensor:
        e = self.f("exp", z - z.amax(-1, keepdim=True))
        return e * self.f("reciprocal", sum_of_row(e)).unsqueeze(-1)

    def layer_norm(self, x: Tensor, norm: Any) -> Tensor:
        n = x.shape[-1]
        c = x - (sum_of_row(x) / n).unsqueeze(-1)
        y = c * self.f("rsqrt", square_of_row(c) / n + norm.eps).unsqueeze(-1)
        return y * vector(norm.weight) + vector(norm.bias)

    def rms_norm(self, x: Tensor, norm: Any) -> Tensor:
        y = x * self.f("rsqrt", square_of_row(x) / x.shape[-1] + norm.variance_epsilon).unsqueeze(-1)
        return y * vector(norm.weight)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, head, token, feature] each."""
        z = product(q, k) * (q.shape[-1] ** -0.5)
        z = z if mask is None else z + mask
        values, value_scale = codes_and_scale(v, 127)
        left, left_scale = codes_and_scale(self.softmax(z) * value_scale.transpose(-1, -2), 127)
        return (left @ values).float() * left_scale

    def bert(self, model: Any, ids: Tensor) -> Tensor:
        """A BertModel without pooler; the last hidden state."""
        tokens, heads = ids.shape[1], model.config.num_attention_heads
        e = model.embeddings
        kinds = torch.zeros_like(ids)
        x = table(e.word_embeddings.weight, ids) + table(e.token_type_embeddings.weight, kinds)
        x = x + table(e.position_embeddings.weight, torch.arange(tokens)[None])
        x = self.layer_norm(x, e.LayerNorm)
        for layer in model.encoder.layer:
            a = layer.attention
            q, k, v = (_heads(linear(x, w), heads) for w in (a.self.query, a.self.key, a.self.value))
            context = _joined(self.attention(q, k, v, None))
            x = self.layer_norm(linear(context, a.output.dense) + x, a.output.LayerNorm)
            inner = self.f("gelu", linear(x, layer.intermediate.dense))
            x = self.layer_norm(linear(inner, layer.output.dense) + x, layer.output.LayerNorm)
        return x

    def llama(self, model: Any, ids: Tensor) -> Tensor:
        """A LlamaForCausalLM; the logits."""
        config, tokens = model.config, ids.shape[1]
        width = config.hidden_size // config.num_attention_heads
        base = config.rope_parameters["rope_theta"]
        frequencies = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.int64).float() / width))
        angles = torch.arange(tokens).float()[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = (
            (table / (1 / 32767)).round() * (1 / 32767) for table in (angles.cos(), angles.sin())
        )  # <= 1
        lowest = torch.finfo(torch.float32).min
        mask = torch.full((tokens, tokens), lowest).triu(1)
        x = table(model.model.embed_tokens.weight, ids)
        for layer in model.model.layers:
            a, m = layer.self_attn, layer.mlp
            h = self.rms_norm(x, layer.input_layernorm)
            q = _heads(linear(h, a.q_proj), config.num_attention_heads)
            k = _heads(linear(h, a.k_proj), config.num_key_value_heads)
            v = _heads(linear(h, a.v_proj), config.num_key_value_heads)
            q, k = q * cos + _turned(q) * sin, k * cos + _turned(k) * sin
            group = config.num_attention_heads // config.num_key_value_heads
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            x = x + linear(_joined(self.attention(q, k, v, mask)), a.o_proj)
            h = self.rms_norm(x, layer.post_attention_layernorm)
            x = x + linear(self.f("silu", linear(h, m.gate_proj)) * linear(h, m.up_proj), m.down_proj)
        return product(self.rms_norm(x, model.model.norm), model.lm_head.weight)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _turned(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat([-x[..., half:], x[..., :half]], dim=-1)
