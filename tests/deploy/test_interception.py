"""Nothing runs digitally in silence: on the chip, or a refusal that names operation and module."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ohmformer.deploy import deploy
from ohmformer.deploy.coverage import ACCUMULATOR, COMPUTE, DENSE, FUNCTION, HOST, Coverage
from ohmformer.deploy.names import CONTROL_NAMES, MOVEMENT_NAMES, is_operation
from ohmformer.deploy.operations import RULES
from ohmformer.errors import UserError

from .conftest import FAMILIES, output, relative, run_bare, sample_inputs, wide_chip

Formula = Callable[[Any, Tensor], Any]
X = torch.randn(8, 8, generator=torch.Generator().manual_seed(7))

REFUSED: dict[str, Formula] = {
    "einsum": lambda m, x: torch.einsum("ij,kj->ik", x, m.w),
    "cdist": lambda m, x: torch.cdist(x, m.w),
    "fft_fft": lambda m, x: torch.fft.fft(x).real,
    "cumsum": lambda m, x: x.cumsum(-1),
    "outer": lambda m, x: torch.outer(x[0], m.b),
    "addcmul": lambda m, x: torch.addcmul(x, x, x),
    "addmv": lambda m, x: torch.addmv(m.b, x, x[0]),
    "lerp": lambda m, x: torch.lerp(x, x + 1, 0.5),
    "pow with exponent 2.5": lambda m, x: x**2.5,
    "rpow": lambda m, x: 2**x,
    "pow with a tensor": lambda m, x: x**m.c,
    "rms_norm over more than one axis": lambda m, x: F.rms_norm(x, (8, 8)),
    "norm": lambda m, x: x.norm(),
    "linalg_norm": lambda m, x: torch.linalg.norm(x),
    "var": lambda m, x: x.var(-1),
    "std": lambda m, x: x.std(-1),
    "prod": lambda m, x: x.prod(-1),
    "logsumexp": lambda m, x: x.logsumexp(-1),
    "log_softmax": lambda m, x: x.log_softmax(-1),
    "log": lambda m, x: x.log(),
    "erf": lambda m, x: x.erf(),
    "sin": lambda m, x: x.sin(),
    "cos": lambda m, x: x.cos(),
    "round": lambda m, x: x.round(),
    "floordiv": lambda m, x: x // 2,
    "div with rounding": lambda m, x: torch.div(x, 2, rounding_mode="floor"),
    "normalize": lambda m, x: F.normalize(x),
    "group_norm": lambda m, x: F.group_norm(x, 2),
    "batch_norm": lambda m, x: F.batch_norm(x, torch.zeros(8), torch.ones(8)),
    "avg_pool1d": lambda m, x: F.avg_pool1d(x, 2),
    "interpolate": lambda m, x: F.interpolate(x[None], scale_factor=2),
    "layer_norm over more than one axis": lambda m, x: F.layer_norm(x, (8, 8)),
    "inner": lambda m, x: torch.inner(x, x),
    "tensordot": lambda m, x: torch.tensordot(x, x, 1),
    "kron": lambda m, x: torch.kron(x, x),
    "bilinear": lambda m, x: F.bilinear(x, x, m.c[None]),
    "mm.default": lambda m, x: torch.ops.aten.mm.default(x, x),
    "softplus": lambda m, x: F.softplus(x),
    "conv1d with a kernel": lambda m, x: F.conv1d(x[None], x.reshape(8, 8, 1)),
    "embedding with max_norm": lambda m, x: F.embedding(x.argmax(-1), m.w, max_norm=1.0) + x,
    # values that leave for Python or change on the way
    "item": lambda m, x: x * x[0, 0].item(),
    "float that makes a Python number": lambda m, x: x * float(x[0, 0]),
    "tolist": lambda m, x: torch.tensor(x.tolist()) @ x,
    "numpy": lambda m, x: torch.from_numpy(x.numpy() @ x.numpy()),
    "apply": lambda m, x: x.clone().apply_(lambda value: value * 2),
    "long": lambda m, x: (x * 10).long() @ (x * 10).long(),
    "to from torch.float32 to torch.int32": lambda m, x: (x * 10).to(torch.int32),
    "view from torch.float32 to torch.int32": lambda m, x: x.view(torch.int32),
    "bfloat16 from torch.float32": lambda m, x: x.bfloat16(),
    # movement that adds
    "scatter that accumulates": lambda m, x: x.scatter(0, torch.zeros(8, 8).long(), x, reduce="add"),
    "index_put that accumulates": lambda m, x: x.index_put((torch.tensor([0, 0]),), x[:2], accumulate=True),
    "add with out=": lambda m, x: torch.add(x, x, out=torch.empty(8, 8)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_operation_without_a_place_is_refused_by_name(what: str) -> None:
    with pytest.raises(UserError, match=f"^The operation {what}.*has no place on the chip"):
        run_bare(REFUSED[what], X)


def _in_place(change: Callable[[Tensor], Any]) -> Formula:
    def formula(m: Any, x: Tensor) -> Tensor:
        y = x + 0
        change(y)
        return y

    return formula


def _implicit_softmax(x: Tensor) -> Tensor:
    with warnings.catch_warnings():  # torch warns that it chooses the axis
        warnings.simplefilter("ignore")
        return F.softmax(x)


def _written_constant(m: Any, x: Tensor) -> Tensor:
    """Data added into a view of zeros; the product of the zeros' other view is a product of data."""
    made = torch.zeros(8, 8)
    rows = made[2:6]
    rows.add_(x[2:6])
    return made @ made.t()


ON_CHIP: dict[str, tuple[Formula, str]] = {
    "linear by keyword": (lambda m, x: F.linear(input=x, weight=m.lin.weight, bias=m.b), COMPUTE),
    "linear with a bare parameter": (lambda m, x: F.linear(x, m.w, m.b), COMPUTE),
    "transpose of a weight": (lambda m, x: x @ m.w.T, COMPUTE),
    "t() of a layer's weight": (lambda m, x: x @ m.lin.weight.t(), COMPUTE),
    "weight itself": (lambda m, x: x @ m.lin.weight, COMPUTE),
    "bmm": (lambda m, x: torch.bmm(x[None], m.w[None]), COMPUTE),
    "addmm": (lambda m, x: torch.addmm(m.b, x, x, beta=0.5, alpha=2), COMPUTE),
    "baddbmm": (lambda m, x: torch.baddbmm(x[None], x[None], m.c[None]), COMPUTE),
    "mv": (lambda m, x: x.mv(vec=m.b), COMPUTE),
    "dot": (lambda m, x: torch.dot(x[0], x[1]) * x, COMPUTE),
    "rmatmul": (lambda m, x: x.__rmatmul__(m.c), COMPUTE),
    "matmul with a buffer": (lambda m, x: m.c @ x, COMPUTE),
    "mean": (lambda m, x: torch.mean(input=x, dim=1, keepdim=True), COMPUTE),
    "sum of all": (lambda m, x: x.sum(), COMPUTE),
    "attention": (
        lambda m, x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
        COMPUTE,
    ),
    "attention with few keys and a mask": (
        lambda m, x: F.scaled_dot_product_attention(
            x.view(1, 4, 4, 4),
            *(x[:4].view(1, 2, 4, 4),) * 2,
            attn_mask=m.c[:4, :4],
            enable_gqa=True,
            scale=0.3,
        ),
        COMPUTE,
    ),
    "attention with a boolean mask": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, torch.ones(8, 8, dtype=torch.bool).tril()),
        COMPUTE,
    ),
    "rms_norm": (lambda m, x: F.rms_norm(x, (8,), m.b), COMPUTE),
    "layer_norm": (lambda m, x: F.layer_norm(x, (8,), m.b, bias=m.b), COMPUTE),
    "addmm without its bias": (lambda m, x: torch.addmm(m.b, x, m.c, beta=0), COMPUTE),
    "row of a bare table": (lambda m, x: F.embedding(x.argmax(-1), m.w) + x, DENSE),
    "row of an activation": (lambda m, x: F.embedding(x.argmax(-1), x) @ x, COMPUTE),
    "inverse root by power": (lambda m, x: (x.abs() + 1) ** -0.5, FUNCTION),
    "inverse by power": (lambda m, x: (x.abs() + 1) ** -1, FUNCTION),
    "root by power": (lambda m, x: x.abs() ** 0.5, FUNCTION),
    "fourth power": (lambda m, x: torch.pow(input=x, exponent=4), FUNCTION),
    "square": (lambda m, x: x.square(), FUNCTION),
    "written constant": (_written_constant, COMPUTE),
    "softmax over rows": (lambda m, x: torch.softmax(x, 0), FUNCTION),
    "softmax without an axis": (lambda m, x: _implicit_softmax(x.reshape(2, 4, 8)), FUNCTION),
    "divided by its largest": (lambda m, x: x / x.max(), FUNCTION),
    "times its largest": (lambda m, x: x * x.max(), FUNCTION),
    "constant over tensor": (lambda m, x: 1 / (x.abs() + 1), FUNCTION),
    "cube": (lambda m, x: x**3, FUNCTION),
    "root": (lambda m, x: x.abs().sqrt(), FUNCTION),
    "gelu by tanh": (lambda m, x: F.gelu(x, approximate="tanh"), FUNCTION),
    "exp in place": (_in_place(lambda y: y.exp_()), FUNCTION),
    "relu in place": (_in_place(lambda y: F.relu(y, inplace=True)), FUNCTION),
    "relu in place by position": (_in_place(lambda y: F.relu(y, True)), FUNCTION),
    "square in place": (_in_place(lambda y: y.pow_(2)), FUNCTION),
    "division in place": (_in_place(lambda y: y.div_(y.abs() + 1)), FUNCTION),
    "addition in place": (lambda m, x: _in_place(lambda y: y.add_(m.b))(m, x), ACCUMULATOR),
    "one minus": (lambda m, x: 1 - x, ACCUMULATOR),
    "index_add": (lambda m, x: torch.zeros(8, 8).index_add_(0, torch.tensor([1, 1]), x[:2]), ACCUMULATOR),
    "a bias joined to rows": (lambda m, x: torch.cat([m.w[:2], x]), DENSE),
    "a parameter chosen by a mask": (lambda m, x: torch.where(x > 0, m.b, x), DENSE),
    "a parameter expanded": (lambda m, x: m.b.expand(8, 8) + x, DENSE),
    "a parameter's data": (lambda m, x: m.b.data + x, DENSE),
}


@pytest.mark.parametrize("what", ON_CHIP)
def test_an_operation_in_any_spelling_runs_on_the_chip(what: str) -> None:
    """The value is right to 16-bit rounding: two roundings of relative size 2^-16 of the largest operand
    over at most 8 terms, twice in a row at most, below 2^-10 of the norm; and the coverage says where."""
    formula, where = ON_CHIP[what]
    y, exact, rows = run_bare(formula, X)
    assert y.shape == exact.shape
    assert relative(y, exact) < 2**-10
    assert where in {row.where for row in rows}
    assert HOST not in {row.where for row in rows}


def test_a_number_found_from_the_data_is_no_constant() -> None:
    """It cannot be folded into a scale known before the run, as a number or a buffer can."""
    for formula, operation in (
        (lambda m, x: x / x.max(), "reciprocal"),
        (lambda m, x: x * x.max(), "element product"),
        (lambda m, x: x / 3, "constant factor"),
        (lambda m, x: x * m.c[0, 0], "constant factor"),
    ):
        _, _, rows = run_bare(formula, X)
        assert operation in {row.operation for row in rows}


def test_allow_lets_an_operation_through_and_says_so() -> None:
    y, exact, rows = run_bare(lambda m, x: torch.einsum("ij,kj->ik", x, m.w), X, allow=("einsum",))
    assert relative(y, exact) < 2**-12  # the weight alone is rounded, to 16 bits
    assert {(row.operation, row.where, row.why) for row in rows} == {
        ("read of stored vector", DENSE, ""),
        ("einsum", HOST, "allowed by the user"),
    }


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(8, 8)

    def forward(self, x: Tensor) -> Any:
        return self.cell(x)[0]


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x[None], x[None], x[None], need_weights=False)[0]


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x[None])


@pytest.mark.parametrize(
    ("module", "operation"),
    [
        (_Recurrent, "lstm"),
        (_Attention, "multi_head_attention_forward|_?native_multi_head_attention"),
        (_Encoder, "transformer_encoder_layer_fwd|multi_head_attention_forward"),
    ],
)
def test_fused_modules_are_refused(module: type[nn.Module], operation: str) -> None:
    deployed = deploy(module().eval(), wide_chip(16), check=False)
    with pytest.raises(UserError, match=f"^The operation ({operation}) "):
        deployed(X)
    allowed = deploy(
        module().eval(), wide_chip(16), check=False, allow=operation.replace("_?", "_").split("|")
    )
    coverage = allowed.on_chip.runtime.coverage = Coverage()
    allowed(X)
    assert HOST in {row.where for row in coverage.rows()}


@pytest.mark.parametrize("name", ["nonsense", "", "Erf"])
def test_only_operations_of_torch_are_allowed(name: str) -> None:
    with pytest.raises(UserError, match=f"^allow names {name!r}, which is no operation of torch"):
        deploy(_Recurrent().eval(), wide_chip(16), check=False, allow=("erf", name))


@pytest.mark.parametrize("name", [*sorted(RULES), "erf", "rpow", "linalg_norm", "permute"])
def test_every_name_that_a_refusal_may_give_is_one_of_an_operation(name: str) -> None:
    """Also those under which several functions of torch go together."""
    assert is_operation(name)


def test_the_refusal_names_the_module() -> None:
    model = FAMILIES["bert"].make()
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = _Erf()
    with pytest.raises(
        UserError, match=r"operation erf in bert\.encoder\.layer\.1\.intermediate\.intermediate_act_fn has no"
    ):
        deploy(model, wide_chip(8))


class _Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class _Hidden(nn.Module):
    """Calls torch's kernels without passing the functions that are intercepted, as compiled code does."""

    def forward(self, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return x * 2


def test_code_that_hides_from_the_interception_is_caught_by_the_audit() -> None:
    model = FAMILIES["bert"].make()
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = _Hidden()
    with pytest.raises(UserError, match=r"operation mul in bert\.encoder\.layer\.1\..* has no place"):
        deploy(model, wide_chip(8))


@pytest.mark.parametrize("path", ["bert", "bert.encoder.layer.0.attention.self.query", "cls"])
def test_a_part_called_by_itself_runs_on_the_chip(path: str) -> None:
    """Every module is under interception, not the model's own forward alone: reads and products are there."""
    model = FAMILIES["bert"].make()
    deployed = deploy(model, wide_chip(16))
    argument = sample_inputs("bert", model)["input_ids"] if path == "bert" else torch.randn(2, 5, 32)
    coverage = deployed.on_chip.runtime.coverage = Coverage()
    part = deployed.get_submodule(path)
    y = part(argument)
    y = y[0] if isinstance(y, tuple) or hasattr(y, "to_tuple") else y
    exact = model.get_submodule(path)(argument)
    exact = exact[0] if hasattr(exact, "to_tuple") else exact
    assert relative(y, exact.detach()) < 2**-10
    assert {DENSE, COMPUTE} <= {row.where for row in coverage.rows()}


def test_training_is_refused() -> None:
    deployed = deploy(FAMILIES["bert"].make(), wide_chip(8))
    ids = torch.tensor([[1, 2, 3]])
    deployed.train()
    with pytest.raises(UserError, match=r"for inference: call eval\(\)"):
        deployed(ids)
    deployed.eval()
    deployed.bert.embeddings.dropout.train()
    with pytest.raises(UserError, match=r"Dropout is on: .* call eval\(\) first"):
        deployed(ids)


@pytest.mark.parametrize(
    "drop",
    [
        lambda x: F.dropout(x, 0.1),
        lambda x: torch.dropout(x, 0.1, True),
        lambda x: torch.dropout(x, p=0.1, train=True),
        lambda x: F.alpha_dropout(x, 0.1, training=True),
        lambda x: F.dropout1d(x, 0.1),
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.1),
    ],
)
def test_dropout_that_is_on_is_refused_in_any_spelling(drop: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UserError, match=r"ropout is on"):
        run_bare(lambda m, x: drop(x), X)


def test_dropout_that_is_off_is_the_identity() -> None:
    for drop in (
        lambda x: F.dropout(x, 0.1, False),
        lambda x: torch.dropout(x, p=0.1, train=False),
        lambda x: F.alpha_dropout(x, 0.1),
    ):
        y, _, _ = run_bare(lambda m, x, drop=drop: drop(x), X)  # type: ignore[misc]
        assert torch.equal(y, X)


def test_writing_into_a_stored_weight_is_refused() -> None:
    with pytest.raises(UserError, match="writes into a stored weight"):
        run_bare(lambda m, x: m.w.add_(x), X)


def test_autocast_does_not_reach_the_integers() -> None:
    """Inside autocast torch would multiply the integer codes in bfloat16, which holds 8 bits."""
    deployed = deploy(FAMILIES["bert"].make(), wide_chip(16))
    inputs = sample_inputs("bert", deployed)
    expected = output(deployed, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(output(deployed, inputs), expected)
    with torch.inference_mode():
        assert torch.equal(deployed(**inputs)[0], expected)


def test_rotary_embedding_of_data_is_no_table() -> None:
    """A module called *RotaryEmbedding that turns its input is arithmetic on data, not a table."""

    class RotaryEmbedding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 + 1

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rotary = RotaryEmbedding()

        def forward(self, x: Tensor) -> Tensor:
            y = self.rotary(x)
            return y @ y.T

    deployed = deploy(Model(), wide_chip(16), check=False)
    coverage = deployed.on_chip.runtime.coverage = Coverage()
    deployed(X)
    places = {(row.operation, row.where) for row in coverage.rows()}
    assert ("matmul", COMPUTE) in places
    assert ("addition", ACCUMULATOR) in places
    assert "rotary table" not in {operation for operation, _ in places}


def test_no_name_is_in_two_places() -> None:
    assert not MOVEMENT_NAMES & CONTROL_NAMES
    assert not (MOVEMENT_NAMES | CONTROL_NAMES) & set(RULES)


# Arguments that let a function of the movement list run on an 8 x 8 matrix, where it needs any.
INDEX = torch.tensor([1, 0])
MOVES: dict[str, Callable[[Tensor], Any]] = {
    "repeat_interleave": lambda x: x.repeat_interleave(2),
    "tile": lambda x: x.tile(2, 1),
    "roll": lambda x: x.roll(1),
    "flip": lambda x: x.flip(0),
    "pad": lambda x: F.pad(x, (1, 1)),
    "unfold": lambda x: x.unfold(0, 2, 1),
    "tril": lambda x: x.tril(),
    "triu": lambda x: x.triu(),
    "diagonal": lambda x: x.diagonal(),
    "diag_embed": lambda x: x.diag_embed(),
    "gather": lambda x: x.gather(0, torch.zeros(8, 8).long()),
    "take_along_dim": lambda x: x.take_along_dim(torch.zeros(8, 8).long(), 0),
    "index_select": lambda x: x.index_select(0, INDEX),
    "index_copy": lambda x: x.index_copy(0, INDEX, x[:2]),
    "index_fill": lambda x: x.index_fill(0, INDEX, 0.0),
    "index_put": lambda x: x.index_put((INDEX,), x[:2]),
    "scatter": lambda x: x.scatter(0, torch.zeros(8, 8).long(), x),
    "slice_scatter": lambda x: x.slice_scatter(x[:2], 0, 0, 2),
    "select_scatter": lambda x: x.select_scatter(x[0], 0, 3),
    "as_strided": lambda x: x.as_strided((4, 4), (2, 1)),
    "tensor_split": lambda x: x.tensor_split(2)[0],
    "nan_to_num": lambda x: x.nan_to_num(),
    "topk": lambda x: x.topk(2).values,
    "sort": lambda x: x.sort().values,
    "where": lambda x: torch.where(x > 0, x, x.T),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
}


@pytest.mark.parametrize("name", MOVES)
def test_movement_makes_no_new_value(name: str) -> None:
    """Every number of the result is a number of the argument, or the zero that fills."""
    assert name in MOVEMENT_NAMES | CONTROL_NAMES
    y, exact, _ = run_bare(lambda m, x: MOVES[name](x), X)
    assert torch.equal(y, exact)
    assert set(y.reshape(-1).tolist()) <= {*X.reshape(-1).tolist(), 0.0}


def test_a_deployed_model_is_not_copied() -> None:
    """A copy would run on the chip of the original: two models, one physical chip, refused."""
    deployed = deploy(FAMILIES["bert"].make(), wide_chip(16))
    with pytest.raises(UserError, match="cannot be copied or pickled: .*save_deployed"):
        copy.deepcopy(deployed)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = FAMILIES["bert"].make()
    model.stray = (number for number in range(3))
    with pytest.raises(UserError, match="BertForMaskedLM cannot be copied"):
        deploy(model, wide_chip(8))


def test_compiled_modules_are_refused() -> None:
    model = FAMILIES["bert"].make()
    with warnings.catch_warnings():  # torch calls its own compiler deprecated
        warnings.simplefilter("ignore")
        compiled = torch.jit.trace(nn.Tanh(), torch.ones(1, 2))
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = compiled
    with pytest.raises(UserError, match=r"layer\.1\.intermediate\.intermediate_act_fn is compiled"):
        deploy(model, wide_chip(8))
