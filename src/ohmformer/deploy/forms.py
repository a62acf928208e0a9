"""Functions of models that are recognised as a whole: attention and rotary products, found by behaviour.

A function is accepted if its source branches on nothing but arguments that are None, reads nothing else, and
gives the bits of the formula on random input in every such case; anything else is left as it is.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.names import words
from ohmformer.numerals import HOST

ATTENTION = ("module", "query", "key", "value", "attention_mask")
SETTINGS = words("scaling dropout softcap position_bias")
OF_MODULE = words("num_key_value_groups training head_dim")
BRANCHING = (ast.For, ast.While, ast.With, ast.Try, ast.Lambda, ast.FunctionDef, ast.comprehension, ast.Yield)
SPACES = words("torch nn F")
# Nothing else is called or looked at: a limit, say, would not show with the random numbers of a test.
PARTS = words(
    """nn functional softmax dropout matmul tanh cat stack transpose contiguous to type type_as float float32
    dtype shape size unsqueeze expand reshape view flatten chunk split repeat_interleave squeeze"""
)


@dataclass(frozen=True, kw_only=True)
class AttentionForm:
    """softmax(q kᵀ · scaling, capped, + bias + mask) v.

    repeats: each head of keys and values serves ``module.num_key_value_groups`` heads
    softcap, bias: whether it takes them (``softcap``, ``position_bias``)
    """

    repeats: bool
    softcap: bool
    bias: bool


@dataclass(frozen=True, kw_only=True)
class RotaryForm:
    """x · cos + turned(x) · sin, of two tensors.

    pairs:   neighbours are turned together, else halves
    partial: elements beyond those of cos stay
    """

    pairs: bool
    partial: bool


def _tree(function: Any) -> ast.FunctionDef | None:
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    if function.__code__.co_freevars:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return tree if isinstance(tree, ast.FunctionDef) and tree.name == function.__name__ else None


def _decided(test: ast.expr) -> bool:
    """Whether a branch hangs on a name that is None, or on one that is 1 (repeats of heads)."""
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.left, ast.Name)):
        return False
    other = test.comparators[0]
    if not isinstance(other, ast.Constant):
        return False
    if isinstance(test.ops[0], (ast.Is, ast.IsNot)):
        return other.value is None
    return isinstance(test.ops[0], ast.Eq) and test.left.id == "n_rep" and other.value == 1


def _straight(function: Any, helpers: frozenset[str], depth: int = 1) -> ast.FunctionDef | None:
    """The source of a function whose every case is known; None for any other."""
    tree = _tree(function)
    if tree is None:
        return None
    own = tree.args.args[0].arg if tree.args.args else ""
    rest = tree.args.kwarg.arg if tree.args.kwarg is not None else ""
    for statement in tree.body:
        for node in ast.walk(statement):
            if isinstance(node, BRANCHING) or (
                isinstance(node, (ast.If, ast.IfExp)) and not _decided(node.test)
            ):
                return None
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, (int, float))
                and abs(node.value) > 4
            ):
                return None  # a length, perhaps, beyond those of a test
            if isinstance(node, ast.Attribute) and node.attr not in PARTS | OF_MODULE:
                return None
            if isinstance(node, ast.Name):
                known = function.__globals__.get(node.id)
                if node.id == rest:
                    return None
                if isinstance(known, FunctionType) and node.id not in function.__code__.co_varnames:
                    if node.id not in helpers or not depth or _straight(known, helpers, depth - 1) is None:
                        return None
                elif node.id not in {*SPACES, *function.__code__.co_varnames} and (
                    known is not None or node.id in dir(builtins)
                ):
                    return None
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == own == "module" and node.attr not in OF_MODULE:
                return None
    return tree


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, device=HOST)


@cache
def attention_form(function: Callable[..., Any]) -> AttentionForm | None:
    """Whether ``function`` is the attention of ``transformers`` operation by operation, in which form."""
    tree = _straight(function, words("repeat_kv"))
    if tree is None or tree.args.posonlyargs or tree.args.vararg is not None:
        return None
    names = [argument.arg for argument in (*tree.args.args, *tree.args.kwonlyargs)]
    if tuple(names[:5]) != ATTENTION or not set(names[5:]) <= SETTINGS or "scaling" not in names:
        return None
    repeats = any(isinstance(n, ast.Attribute) and n.attr == "num_key_value_groups" for n in ast.walk(tree))
    form = AttentionForm(repeats=repeats, softcap="softcap" in names, bias="position_bias" in names)
    try:
        with torch.no_grad():
            same = all(torch.equal(ours, theirs) for ours, theirs in _attention_cases(function, form))
    except Exception:  # a function that cannot take these arguments is another one
        return None
    return form if same else None


def _attention_cases(function: Callable[..., Any], form: AttentionForm) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator(HOST).manual_seed(1)
    cases = product((1, 2, 3) if form.repeats else (1,), (False, True), (None, 1.7), (False, True))
    for group, masked, softcap, biased in cases:
        if (softcap and not form.softcap) or (biased and not form.bias):
            continue
        query = _random(generator, 2, 2 * group, 3, 4) * 2
        key, value = _random(generator, 2, 2, 5, 4), _random(generator, 2, 2, 5, 6)
        mask = _random(generator, 2, 1, 3, 5) * 2 if masked else None
        bias = _random(generator, 1, 2 * group, 3, 5) * 2 if biased else None
        module = SimpleNamespace(num_key_value_groups=group, training=False, head_dim=4)
        named: dict[str, Any] = {"scaling": 0.37, "dropout": 0.0}
        named |= {"softcap": softcap} if form.softcap else {}
        named |= {"position_bias": bias} if form.bias else {}
        found, _ = function(module, query, key, value, mask, **named)
        scores = torch.matmul(query, _repeated(key, group).transpose(2, 3)) * 0.37
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores if bias is None else scores + bias
        scores = scores if mask is None else scores + mask
        context = torch.matmul(torch.softmax(scores, -1), _repeated(value, group))
        yield context.transpose(1, 2), found


def _repeated(rows: Tensor, group: int) -> Tensor:
    return rows if group == 1 else rows.repeat_interleave(group, 1)


@cache
def rotary_form(function: Callable[..., Any]) -> RotaryForm | None:
    """Whether ``function(q, k, cos, sin)`` turns both by rotary tables, in which form."""
    tree = _straight(function, words("rotate_half"))
    if tree is None or tree.args.posonlyargs or tree.args.vararg is not None or tree.args.kwonlyargs:
        return None
    if [argument.arg for argument in tree.args.args[:4]] != ["q", "k", "cos", "sin"]:
        return None
    forms = [form for pairs in (False, True) if (form := _rotary_of(function, pairs)) is not None]
    return forms[0] if len(forms) == 1 else None


def _rotary_of(function: Callable[..., Any], pairs: bool) -> RotaryForm | None:
    generator = torch.Generator(HOST).manual_seed(1)
    fitting = []
    for width in (8, 4):
        q, k = _random(generator, 2, 3, 5, 8), _random(generator, 2, 1, 5, 8)
        cosine, sine = _random(generator, 2, 5, width), _random(generator, 2, 5, width)
        try:
            with torch.no_grad():
                found = function(q, k, cosine, sine)
            ours = [_turned(x, cosine.unsqueeze(1), sine.unsqueeze(1), pairs) for x in (q, k)]
            fitting.append(all(torch.equal(a, b) for a, b in zip(ours, found, strict=True)))
        except Exception:  # it cannot take such tables
            fitting.append(False)
    return RotaryForm(pairs=pairs, partial=fitting[1]) if fitting[0] else None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor, pairs: bool) -> Tensor:
    width = cosine.shape[-1]
    part, rest = x[..., :width], x[..., width:]
    if pairs:
        turned = torch.stack((-part[..., 1::2], part[..., 0::2]), -1).flatten(-2)
    else:
        turned = torch.cat((-part[..., width // 2 :], part[..., : width // 2]), -1)
    return torch.cat((part * cosine + turned * sine, rest), -1)
