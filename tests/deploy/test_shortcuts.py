"""Modules that run without interception give the bits of the same modules operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ohmformer import chips
from ohmformer.deploy import deploy, deploying
from ohmformer.deploy.interception import ChipMode
from ohmformer.deploy.plain_code import plain_code
from ohmformer.errors import UserError

from .conftest import DECODERS, FAMILIES, output, sample_inputs


@pytest.fixture
def intercepted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the functions that are intercepted, in order."""
    names: list[str] = []
    before = ChipMode.__torch_function__

    def seen(self: ChipMode, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.away:  # else sent by plain code
            names.append(func.__name__)
        return before(self, func, types, args, kwargs)

    monkeypatch.setattr(ChipMode, "__torch_function__", seen)
    return names


def by_operation(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> Any:
    """What ``run`` gives where no shortcut is taken."""
    with monkeypatch.context() as patch:
        patch.setattr(deploying, "may_leave", lambda runtime: False)
        return run()


@pytest.mark.parametrize("name", FAMILIES)
def test_shortcuts_give_the_bits_of_the_operations(
    name: str, monkeypatch: pytest.MonkeyPatch, intercepted: list[str]
) -> None:
    """Noise on, every family: bit for bit, with fewer functions intercepted."""
    model = FAMILIES[name].make()
    inputs = sample_inputs(name, model)
    deployed = deploy(model, chips.wang2024(), seed=3)
    runs = []
    for run in (
        lambda: output(deployed, inputs),
        lambda: by_operation(monkeypatch, lambda: output(deployed, inputs)),
    ):
        deployed.on_chip.restart()
        intercepted.clear()
        runs.append((run(), len(intercepted)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] < runs[1][1]


@pytest.mark.parametrize("name", DECODERS)
def test_the_same_tokens_and_scores_are_generated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches with padding on the left, token by token with a cache."""
    model = FAMILIES[name].make()
    deployed = deploy(model, chips.wang2024(), seed=3)
    ids = torch.arange(3, 15).reshape(2, 6)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0

    def run() -> Any:
        deployed.on_chip.restart()
        return deployed.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )

    short, long = run(), by_operation(monkeypatch, run)
    assert torch.equal(short.sequences, long.sequences)
    for one, other in zip(short.scores, long.scores, strict=True):
        assert torch.equal(one, other)


class Plain(nn.Module):
    """Two layers and what plain code may do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(8, 8), nn.Linear(8, 8), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first(x)) * self.second(x)
        return x + F.softmax(y, dim=-1)


class Outer(nn.Module):
    """So that ``Plain`` is called by a module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


X = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))


def deployed_plain() -> Any:
    torch.manual_seed(1)
    return deploy(Outer().eval(), chips.wang2024(), check=False)


def test_plain_code_is_not_intercepted_and_its_functions_reach_the_chip(
    monkeypatch: pytest.MonkeyPatch, intercepted: list[str]
) -> None:
    model = deployed_plain()
    y = model(X)
    assert intercepted == []
    model.on_chip.restart()
    assert torch.equal(y, by_operation(monkeypatch, lambda: model(X)))
    assert "softmax" in intercepted
    assert "linear" in intercepted


def test_a_module_put_in_later_runs_intercepted(intercepted: list[str]) -> None:
    """It is not known to the chip, so its operation is looked at: here refused."""

    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(-1)

    model = deployed_plain()
    model.inner.act = Late()
    with pytest.raises(UserError, match="cumsum"):
        model(X)


def test_a_hook_runs_intercepted() -> None:
    model = deployed_plain()
    model.inner.second.register_forward_hook(lambda module, args, y: y.erf())
    with pytest.raises(UserError, match="erf"):
        model(X)


def test_a_hook_for_all_modules_runs_intercepted() -> None:
    model = deployed_plain()
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, y: y.erf())
    try:
        with pytest.raises(UserError, match="erf"):
            model(X)
    finally:
        handle.remove()


def test_dropout_that_is_on_is_refused_where_its_owner_is_plain() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop = nn.Linear(8, 8), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.first(x))  # type: ignore[no-any-return]

    model = deploy(Dropping().eval(), chips.wang2024(), check=False)
    assert model(X).shape == X.shape
    model.drop.train()
    with pytest.raises(UserError, match=r"Dropout is on"):
        model(X)


def unknown_function(self: Any, x: Tensor) -> Tensor:
    return torch.erf(x)


def divides(self: Any, x: Tensor) -> Tensor:
    return x / x


def writes(self: Any, x: Tensor) -> Tensor:
    x[0] = 1
    return x


def adds_in_place(self: Any, x: Tensor) -> Tensor:
    x += 1
    return x


def raises_to_a_power(self: Any, x: Tensor) -> Tensor:
    return x**2


def computes_by_a_method(self: Any, x: Tensor) -> Tensor:
    return x.erf()


def multiplies_matrices(self: Any, x: Tensor) -> Tensor:
    return x @ x


def loops(self: Any, x: Tensor) -> Tensor:
    for _ in range(2):
        x = x + x
    return x


def calls_what_it_was_given(self: Any, x: Tensor, what: Any) -> Any:
    return what(x)


def converts(self: Any, x: Tensor) -> Tensor:
    return x.to(torch.float16)


def keeps_a_method(self: Any, x: Tensor) -> Any:
    computed = x.erf
    return computed()


@pytest.mark.parametrize(
    "function",
    [
        divides,
        writes,
        adds_in_place,
        raises_to_a_power,
        computes_by_a_method,
        multiplies_matrices,
        loops,
        calls_what_it_was_given,
        converts,
        keeps_a_method,
        len,
        lambda self, x: x.erf(),
    ],
)
def test_source_that_computes_is_not_plain(function: Any) -> None:
    assert plain_code(function) is None


def test_plain_source_says_what_it_reaches() -> None:
    found = plain_code(Plain.forward)
    assert found is not None
    assert found.methods == {"act", "first", "second"}
    assert found.spaces == {"F"}
    assert found.functions == frozenset()
    named = plain_code(unknown_function)
    assert named is not None
    assert named.spaces == {"torch"}


def test_a_function_without_a_place_is_refused_in_plain_code() -> None:
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8)

        forward = unknown_function

    with pytest.raises(UserError, match="erf"):
        deploy(Unknown().eval(), chips.wang2024(), check=False)(X)


def test_code_with_a_parameter_of_its_own_is_intercepted(
    monkeypatch: pytest.MonkeyPatch, intercepted: list[str]
) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.first = nn.Parameter(torch.full((8,), 0.5)), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) * self.gain

    model = deploy(Scaled().eval(), chips.wang2024(), check=False)
    assert bool(torch.isfinite(model(X)).all())
    assert "mul" in intercepted or "__mul__" in intercepted
