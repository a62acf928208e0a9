"""What users do to modules before and after ``deploy``: never another number than operation by operation."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ohmformer.deploy import deploy, deploying, plain_code
from ohmformer.errors import UserError
from ohmformer.specs import override

from .conftest import FAMILIES
from .test_physical_chip import NOISY

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
SCALE = 2.0


class Layer(nn.Module):
    """A linear layer, and a vector that it does not use itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.gain = nn.Linear(8, 8), nn.Parameter(torch.full((8,), 0.5))
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.lin(x))  # type: ignore[no-any-return]

    def split(self, x: Tensor) -> Tensor:
        return x.erf()


class Owner(nn.Module):
    """A layer, and lists of functions and of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.layers = Layer(), nn.ModuleList([Layer()])
        self.functions = [F.relu, F.silu]


def scaled(module: Any, x: Tensor) -> Tensor:
    return x * module.gain


def doubled(x: Tensor) -> Tensor:
    return x + x


# functions whose names are those of torch's, but that are others
own = types.ModuleType("own")
own.gelu = lambda x: x * torch.sigmoid(1.702 * x)  # type: ignore[attr-defined]
own.gelu.__name__ = "gelu"  # type: ignore[attr-defined]
own.linear = lambda x: x + x  # type: ignore[attr-defined]
own.linear.__name__ = "linear"  # type: ignore[attr-defined]


class ByAnotherName(Owner):
    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        return self.layer(x) * layer.gain  # type: ignore[no-any-return]


class ByNumber(Owner):
    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x) * self.layers[0].gain  # type: ignore[no-any-return, operator]


class ByFunction(Owner):
    def forward(self, x: Tensor) -> Tensor:
        return scaled(self.layer, self.layer(x))


class OfItsOwn(Owner):
    def forward(self, x: Tensor) -> Any:
        return own.gelu(own.linear(self.layer(x)))  # type: ignore[attr-defined]


class OutOfAList(Owner):
    def forward(self, x: Tensor) -> Any:
        return self.functions[1](self.layer(x))


class Usual(Owner):
    def forward(self, x: Tensor) -> Any:
        return doubled(self.turned(self.layer(x))) * SCALE

    def turned(self, x: Tensor) -> Tensor:
        return x.relu()


class Outer(nn.Module):
    """So that the module is called by another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, **named: Any) -> Any:
        return self.inner(x, **named)


def put(kind: Callable[[], nn.Module]) -> Any:
    torch.manual_seed(1)
    return deploy(Outer(kind()).eval(), NOISY, seed=1, check=False)


def both(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any], model: Any) -> tuple[Any, Any]:
    """What ``run`` gives with shortcuts and without."""
    model.on_chip.restart()
    short = run()
    model.on_chip.restart()
    with monkeypatch.context() as patch:
        patch.setattr(deploying, "may_leave", lambda runtime: False)
        return short, run()


@pytest.mark.parametrize("kind", [ByAnotherName, ByNumber, ByFunction, OfItsOwn, OutOfAList, Usual])
def test_what_a_module_reaches_in_unusual_ways_is_what_it_reaches(
    kind: type[Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored vectors of other modules, functions called like torch's, lists of functions."""
    model = put(kind)
    short, long = both(monkeypatch, lambda: model(X), model)
    assert bool(torch.isfinite(short).all())
    assert torch.equal(short, long)


class Store:
    def update(self, x: Tensor) -> Tensor:
        return x.erf()


class ByMethod(Owner):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer.split(self.layer(x))


class ByStore(Owner):
    def forward(self, x: Tensor, store: Any = None) -> Any:
        return store.update(self.layer(x))


class ByOwnStore(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()

    def forward(self, x: Tensor) -> Any:
        return self.store.update(self.layer(x))


class CalledOtherwise(Layer):
    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x).erf()  # type: ignore[no-any-return]


class ByCall(Owner):
    def __init__(self) -> None:
        super().__init__()
        self.layer = CalledOtherwise()

    def forward(self, x: Tensor) -> Any:
        return doubled(self.layer(x))


@pytest.mark.parametrize("kind", [ByMethod, ByStore, ByOwnStore, ByCall])
def test_no_operation_hides_behind_a_name(kind: type[Owner]) -> None:
    model = put(kind)
    named = {"store": Store()} if kind is ByStore else {}
    with pytest.raises(UserError, match="erf"):
        model(X, **named)


def exchanged(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model.inner.layer.forward = lambda x: x.erf()


def wrapped(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.inner.layer.lin.forward
    model.inner.layer.lin.forward = functools.wraps(before)(lambda x: before(x).erf())


def method(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model.inner.turned = lambda x: x.erf()


def function(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "doubled", lambda x: x.erf())


@pytest.mark.parametrize("change", [exchanged, wrapped, method, function])
def test_what_is_exchanged_after_deploy_runs_intercepted(
    change: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = put(Usual)
    assert bool(torch.isfinite(model(X)).all())
    change(model, monkeypatch)
    with pytest.raises(UserError, match="erf"):
        model(X)


def test_a_global_number_that_changes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = put(Usual)
    model.on_chip.restart()
    before = model(X)
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    model.on_chip.restart()
    assert torch.equal(model(X), before * 2)


def test_a_weight_put_in_later_is_no_stored_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = put(Usual)
    model(X)
    model.inner.layer.lin.weight = nn.Parameter(torch.ones(8, 8))
    short, long = both(monkeypatch, lambda: model(X), model)
    assert torch.equal(short, long)


def test_a_parameter_that_was_taken_out_stays_known() -> None:
    """Stored parameters are known by identity, which python gives to another object once one is gone."""
    model = put(Usual)
    stored = set(model.on_chip.runtime.parameters)
    model.inner.layer.lin.bias = None
    assert not stored & {id(torch.empty(8)) for _ in range(200)}
    made = [torch.empty(8) for _ in range(1000)]
    assert not stored & {id(tensor) for tensor in made}


def test_source_that_is_no_longer_what_runs_is_not_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was edited after it was imported."""

    def halved(x: Tensor) -> Tensor:
        return x * 0.5

    assert plain_code.plain_code(halved) is not None
    plain_code.plain_code.cache_clear()
    for text in ("return x * 0.25", "return x + 0.5", "return x"):
        source = f"def halved(x: Tensor) -> Tensor:\n    {text}\n"
        monkeypatch.setattr(plain_code.inspect, "getsource", lambda _, source=source: source)
        assert plain_code.plain_code(halved) is None
        plain_code.plain_code.cache_clear()


def test_threads_take_turns() -> None:
    """Four threads run one deployed model: as many results as runs, each that of one of the samples."""
    model = put(Usual)
    model.on_chip.restart()
    alone = [model(X[:1]) for _ in range(40)]
    model.on_chip.restart()
    found: list[Tensor] = []

    def work() -> None:
        for _ in range(10):
            found.append(model(X[:1]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(alone)
    assert sorted(map(Tensor.tolist, found)) == sorted(map(Tensor.tolist, alone))


def _generated(model: Any, ids: Tensor) -> list[int]:
    made = model.generate(ids, max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=0)
    return made[0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_texts_of_two_threads_do_not_mix(name: str) -> None:
    """Two threads generate with one deployed model, token by token in turn: each text is that of its sample.

    Which of the two is the first sample is the threads' affair, so either order is right.
    """
    model = deploy(FAMILIES[name].make(), NOISY, seed=1)
    prompts = [torch.arange(3, 9).reshape(1, 6), torch.arange(21, 30).reshape(1, 9)]
    orders = []
    for first in (0, 1):
        model.on_chip.restart()
        texts = {which: _generated(model, prompts[which]) for which in (first, 1 - first)}
        orders.append([texts[0], texts[1]])
    model.on_chip.restart()
    found: dict[int, list[int]] = {}
    turns = threading.Barrier(2)
    begun = threading.local()
    forward = model.forward

    def in_turn(*args: Any, **kwargs: Any) -> Any:
        if not getattr(begun, "waited", False):
            begun.waited = True
            turns.wait(timeout=60)
        return forward(*args, **kwargs)

    model.forward = in_turn
    threads = [
        threading.Thread(target=lambda which=which: found.update({which: _generated(model, prompts[which])}))
        for which in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[0], found[1]] in orders


def test_a_cache_goes_on_with_its_own_samples() -> None:
    """Two texts in turn in one thread: a step meets the noise of the sample whose tokens are in its cache."""
    model = deploy(FAMILIES["llama"].make(), NOISY, seed=1)
    prompts = [torch.arange(3, 9).reshape(1, 6), torch.arange(21, 27).reshape(1, 6)]
    step = torch.tensor([[5]])

    def begun(which: int) -> Any:
        return model(prompts[which], use_cache=True).past_key_values

    model.on_chip.restart()
    expected = [model(step, past_key_values=begun(which)).logits for which in (0, 1)]
    model.on_chip.restart()
    caches = [begun(0), begun(1)]
    found = [model(step, None, None, caches[0]).logits, model(step, past_key_values=caches[1]).logits]
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_first_cache_of_an_encoder_may_lie_in_cells() -> None:
    """Without the checking run, its cells are laid out in the middle of a run."""
    model = FAMILIES["t5"].make()
    chip = override(NOISY, {"buffer.intermediates": "dense"})
    ids = torch.arange(3, 9).reshape(1, 6)
    found = deploy(model, chip, check=False).generate(ids, max_new_tokens=2, min_new_tokens=2)
    assert found.shape[1] == 3
