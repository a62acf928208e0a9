"""Each rule of lowering against the deployed model that runs the same formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ohmformer import chips
from ohmformer.compiler import ModelGraph, account, interpret, lower
from ohmformer.compiler.trace import _modules_named
from ohmformer.compiler.trace_recording import AtenWatch, Recording
from ohmformer.deploy import deploy
from ohmformer.errors import UserError
from ohmformer.ir import Program, Recorder, verify
from ohmformer.specs import ideal

from ..deploy.conftest import Bare
from ..deploy.test_interception import MOVES, ON_CHIP, REFUSED
from .test_lower_families import works

CHIP = ideal(chips.wang2024())
X = torch.randn(8, 8, generator=torch.Generator().manual_seed(5))
Formula = Callable[[Any, Tensor], Any]


def graph_of(recording: Recording, out: int) -> ModelGraph:
    return ModelGraph(
        name="bare",
        phase="encode",
        batch=1,
        tokens=8,
        context=0,
        values=tuple(recording.values),
        nodes=tuple(recording.nodes),
        outputs=(out,),
        output_names=("y",),
    )


def recorded(model: nn.Module, x: Tensor) -> tuple[ModelGraph, dict[str, Tensor]]:
    """The graph of one run of a module, and the tensors it keeps."""
    recording = Recording()
    recording.name_value(x, "input", "x")
    recording.name_values(model.named_parameters(), "parameter")
    recording.name_values(model.named_buffers(), "buffer")
    with torch.no_grad(), AtenWatch(recording), recording:
        made = model(x)
    out = recording.value_of(made)
    kept = {recording.values[at].name: tensor for at, tensor in recording.data.items()}
    return graph_of(recording, out), kept


def lowered(formula: Formula, x: Tensor = X) -> Program:
    graph, _ = recorded(Bare(formula).eval(), x.clone())
    program = lower(graph, CHIP)
    verify(program)
    account(graph, program, CHIP)
    return program


# Traced are neither fused attention kernels nor two views of memory that is written.
UNTRACED = ("attention with few keys and a mask", "written constant")


@pytest.mark.parametrize("what", [*(name for name in ON_CHIP if name not in UNTRACED), *MOVES])
def test_a_formula_is_what_the_deployed_model_runs(what: str) -> None:
    """The same products, calls and reads, and the same numbers bit for bit."""
    formula: Formula = ON_CHIP[what][0] if what in ON_CHIP else lambda m, x: MOVES[what](x)
    model = Bare(formula).eval()
    deployed = deploy(model, CHIP, check=False)
    runtime = deployed.on_chip.runtime
    runtime.recorder = Recorder()
    y = deployed(X.clone())
    noted = runtime.recorder.program(name="", batch=1, tokens=8, stored_words=deployed.on_chip.stored_words)
    graph, kept = recorded(model, X.clone())
    program = lower(graph, CHIP)
    verify(program)
    account(graph, program, CHIP)
    assert works(program) == works(noted)
    assert program.stored_words == noted.stored_words
    made = interpret(program, CHIP, kept, {"x": X})[0]
    if what == "fourth power":  # the deployed model takes torch's pow, right to 2^-24; x²·x² rounds thrice
        assert torch.allclose(made, y, rtol=4 * 2.0**-24, atol=0)
    else:
        assert torch.equal(made, y)


# What leaves for Python is refused where shapes alone are traced: its value is asked for.
ASKED = ("item", "float that makes a Python number", "tolist", "numpy", "apply")


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter")
@pytest.mark.parametrize("what", [what for what in REFUSED if what not in ASKED])
def test_an_operation_without_a_lowering_is_refused_with_its_name_and_line(what: str) -> None:
    """The sentence names the operation, the module and the source line."""
    with pytest.raises(
        UserError, match=r"(test_interception|functional|_tensor|normalization).*\.py:\d+"
    ) as caught:
        lowered(REFUSED[what])
    sentence = str(caught.value)
    assert sentence.startswith("The operation ")
    assert what.split(".")[0].split()[0].split("_")[0] in sentence or what == "bilinear"  # aten._trilinear
    assert sentence.count(".") <= sentence.count(".py") + sentence.count("aten.") + 2


def kinds(program: Program) -> Counter[tuple[str, str]]:
    return Counter((move.kind, move.operation) for move in program.moves())


def test_views_copies_and_repetition_by_address() -> None:
    def formula(m: Any, x: Tensor) -> Tensor:
        heads = x.view(8, 2, 4).transpose(0, 1)  # two views
        kept = heads.contiguous()  # a copy
        repeated = kept[:, None].expand(2, 3, 8, 4).reshape(6, 8, 4)  # rows repeated by address: three views
        return torch.cat([repeated, repeated])  # a copy

    found = kinds(lowered(formula))
    assert found == Counter(
        {
            ("view", "view"): 1,
            ("view", "transpose"): 1,
            ("copy", "contiguous"): 1,
            ("view", "getitem"): 1,
            ("view", "expand"): 1,
            ("view", "reshape"): 1,
            ("copy", "cat"): 1,
        }
    )


def test_what_is_known_before_the_data_is_control_and_what_routes_data_is_not() -> None:
    def formula(m: Any, x: Tensor) -> Tensor:
        mask = torch.full((8, 8), -1e9).triu(1)
        first = x.argmax(-1)  # depends on the data
        return x[first + 0] + mask * 2

    program = lowered(formula)
    found = kinds(program)
    assert {name for kind, name in found if kind == "control"} == {"full", "triu", "mul"}
    assert found["copy", "selection"] == 1
    assert found["copy", "routing"] == 1
    made = {value for move in program.moves("control") for value in move.outputs}
    assert all(program.values[value].kind == "constant" for value in made)


def test_a_kernel_meets_patches() -> None:
    """16 x 16 pictures of 3 channels in patches of 4: 16 places of 48 numbers, times 5 kernels, each."""
    model = nn.Conv2d(3, 5, 4, stride=4)
    pixels = torch.randn(2, 3, 16, 16)
    graph, kept = recorded(model, pixels)
    program = lower(graph, CHIP)
    verify(program, macs=2 * 16 * 48 * 5)
    account(graph, program, CHIP)
    (patches,) = program.moves("copy")
    assert (patches.operation, patches.elements) == ("patches", 2 * 16 * 48)
    (product,) = program.products()
    assert (product.rows, product.inner, product.columns) == (32, 48, 5)
    y = deploy(model, CHIP, check=False)(pixels)
    assert torch.equal(interpret(program, CHIP, kept, {"x": pixels})[0], y)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"stride": 2, "padding": 1}, (2, 3, 11)),
        ({"dilation": 2, "padding": "same"}, (2, 3, 11)),
        ({"bias": False}, (3, 11)),
    ],
)
def test_convolutions_of_one_axis(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    model, sound = nn.Conv1d(3, 4, 3, **settings), torch.randn(shape)
    graph, kept = recorded(model, sound)
    program = lower(graph, CHIP)
    verify(program)
    account(graph, program, CHIP)
    made = interpret(program, CHIP, kept, {"x": sound})[0]
    assert torch.equal(made, deploy(model, CHIP, check=False)(sound))


class _Norm(nn.Module):
    """Called a norm, computes ``formula``."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.weight, self.formula = nn.Parameter(torch.linspace(0.5, 2, 8)), formula

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


class _Model(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Any:
        return self.norm(x + 1)


def normal(x: Tensor, eps: float = 1e-6) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


RECOGNISED: dict[str, tuple[Formula, float]] = {
    "weight first": (lambda m, x: m.weight * normal(x), 0.0),
    "weight last": (lambda m, x: normal(x) * m.weight, 0.0),
    "one plus weight": (lambda m, x: normal(x) * (1.0 + m.weight), 1.0),
    "no weight": (lambda m, x: normal(x), 0.0),
    "mul with itself": (lambda m, x: x * ((x * x).mean(-1, True) + 1e-6).rsqrt() * m.weight, 0.0),
    "square and power": (
        lambda m, x: m.weight * (x * torch.pow(x.square().mean((-1,), True) + 1e-6, -0.5)),
        0.0,
    ),
}
OTHERS: dict[str, Formula] = {
    "over rows": lambda m, x: m.weight * (x * torch.rsqrt(x.pow(2).mean(0, keepdim=True) + 1e-6)),
    "cube": lambda m, x: m.weight * (x * torch.rsqrt(x.pow(3).mean(-1, keepdim=True) + 1e-6)),
    "another is scaled": lambda m, x: (
        m.weight * ((x + 1) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
    ),
    "two plus weight": lambda m, x: normal(x) * (2.0 + m.weight),
    "weight twice": lambda m, x: m.weight * (m.weight * normal(x)),
    "square used again": lambda m, x: normal(x) * m.weight + x.pow(2),
    "no eps": lambda m, x: m.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))),
}


def lowered_norm(formula: Formula) -> Program:
    model = _Model(_Norm(formula))
    recording = Recording()
    recording.name_value(X, "input", "x")
    recording.name_values(model.named_parameters(), "parameter")
    with torch.no_grad(), _modules_named(model, recording), AtenWatch(recording), recording:  # type: ignore[arg-type]
        out = recording.value_of(model(X))
    graph = graph_of(recording, out)
    program = lower(graph, CHIP)
    verify(program)
    account(graph, program, CHIP)
    return program


@pytest.mark.parametrize("what", RECOGNISED)
def test_an_rms_norm_is_recognised_in_any_spelling(what: str) -> None:
    formula, offset = RECOGNISED[what]
    program = lowered_norm(formula)
    names = [call.operation for call in program.functions()]
    scaled = ["rms norm scale"] if what != "no weight" else []
    assert names == ["addition", "rms norm rsqrt", "rms norm normalise", *scaled]
    assert [p.operation for p in program.products()] == ["dot with itself"]
    last = program.subops[-1]
    assert dict(last.arguments).get("offset", 0.0) == offset
    root = next(call for call in program.functions() if call.function == "rsqrt")
    assert dict(root.arguments)["eps"] == 1e-6


@pytest.mark.parametrize("what", OTHERS)
def test_a_norm_of_another_formula_runs_operation_by_operation(what: str) -> None:
    names = [call.operation for call in lowered_norm(OTHERS[what]).functions()]
    assert "rms norm rsqrt" not in names
    assert "rsqrt" in names
