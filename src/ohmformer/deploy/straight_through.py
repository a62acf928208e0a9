"""A model that trains as the chip computes: chip values forward, gradients of the float operations back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ohmformer.deploy.constants import floats_in
from ohmformer.deploy.fresh_reads import FreshReads
from ohmformer.deploy.names import COMPARATOR_NAMES, CONTROL_NAMES, MOVEMENT_NAMES, QUESTIONS, name_of
from ohmformer.deploy.norms import RmsNormForm, rms_norm_form
from ohmformer.engine import FastEngine
from ohmformer.engine.randomness import Draw
from ohmformer.errors import UserError
from ohmformer.functions import LinearSubOps, evaluate, layer_norm, rms_norm, softmax
from ohmformer.numerals import HOST, quantise_per_row, quantise_per_tensor
from ohmformer.specs import ChipSpec

__all__ = ["StraightThrough"]

Layout = Literal["rows", "columns", "vector"]
EXACT_NAMES = frozenset(("add", "sub", "rsub", "neg", "mul", "relu", "index_add", "scatter_add"))
TABLE_NAMES = frozenset(("exp", "reciprocal", "rsqrt", "silu", "sigmoid", "tanh"))


class StraightThrough:
    """Forward runs of ``model`` as ``chip`` would compute them, differentiable.

    Forward, each operation gives what the chip gives: operands quantised to the chip's bits, stored
    parameters read from freshly programmed dense cells (``FreshReads``; each use is another read of
    another chip), products with conversion noise by the engine, functions by the tables of the function unit.
    Backward, each gives the gradient of the float operation at the operands that the crossbar saw;
    rounding and misreads pass gradients unchanged (straight-through).

    model:  every parameter must take part in training (``requires_grad``): what does not depend on one is
            taken for a constant and stays as it is
    Error:  as the chip's own, except that cells are programmed anew at every use, and rotary tables
            are exact (the chip stores them with ``vector_bits``). UserError for an operation without a
            stand-in (convolutions, experts), naming it.
    Source: straight-through estimator, Bengio et al., arXiv 1308.3432.
    """

    def __init__(self, model: nn.Module, chip: ChipSpec) -> None:
        if chip.dense.secded_data_bits:
            raise UserError(
                f"dense.secded_data_bits is {chip.dense.secded_data_bits}: reads that check cells put right "
                "have no stand-in for training; set it to 0."
            )
        device = next((parameter.device for parameter in model.parameters()), HOST)
        if device.type not in ("cpu", "meta"):
            raise UserError(
                f"The model lies on {device}: training with the chip in the loop runs on the CPU, so move it "
                "with to('cpu')."
            )
        self.chip = chip
        self._engine = FastEngine(chip.tile)
        self._layouts: dict[int, Layout] = {}
        self._rms_norms: list[tuple[nn.Module, RmsNormForm]] = []
        for prefix, module in model.named_modules():
            form = rms_norm_form(module)
            if form is not None:
                self._rms_norms.append((module, form))
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    raise UserError(
                        f"The weight {prefix}.{name} is frozen: training with the chip needs all weights."
                    )
                self._layouts.setdefault(id(parameter), _layout(module, name, parameter))
        dense, precision = chip.dense, chip.precision
        self._operand_reads = FreshReads(precision.weight_bits, dense)
        self._vector_reads = FreshReads(precision.vector_bits, dense, dense.vector_bits_per_cell)
        self._linear = LinearSubOps(row_sum=self._row_sum, row_dot=self._row_dot)
        self._generator = torch.Generator()

    @contextmanager
    def drawing(self, generator: torch.Generator) -> Iterator[None]:
        """Every torch function in here goes through the chip's stand-ins; noise comes from ``generator``."""
        if not torch.is_grad_enabled():
            raise UserError("Training with the chip needs gradients: do not run it under no_grad.")
        self._generator = generator
        for module, form in self._rms_norms:
            module.forward = partial(self.rms_norm, module=module, form=form)
        try:
            with _StandIns(self):
                yield
        finally:
            for module, _ in self._rms_norms:
                del module.forward

    # --- operands ----------------------------------------------------------------------------------

    def is_stored(self, value: object) -> bool:
        """Whether ``value`` is a parameter of the model."""
        return id(value) in self._layouts

    def read(self, value: Any) -> Any:
        """A parameter as one read of freshly programmed cells gives it; anything else stays."""
        layout = self._layouts.get(id(value))
        if layout is None:
            return value
        if layout == "columns":
            return self._read_rows(value.t()).t()
        if layout == "rows":
            return self._read_rows(value)
        with torch.no_grad():
            quantised = quantise_per_tensor(value, self._vector_reads.bits, dtype=torch.float32)
            seen = self._vector_reads.read(quantised.codes, self._generator) * quantised.scale
        return _instead(value, seen)

    def _read_rows(self, rows: Tensor) -> Tensor:
        codes, scale = self._stored_codes(rows)
        return _instead(rows, codes * scale)

    def _stored_codes(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Codes as read and scales of rows of a weight, without gradient."""
        with torch.no_grad():
            quantised = quantise_per_row(rows.contiguous(), self._operand_reads.bits, dtype=torch.float32)
            return self._operand_reads.read(quantised.codes, self._generator), quantised.scale

    def _encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scale of an activation operand [..., row, inner]."""
        precision = self.chip.precision
        quantise = quantise_per_tensor if precision.activation_scale == "per_tensor" else quantise_per_row
        quantised = quantise(values, precision.activation_bits, dtype=torch.float32)
        return quantised.codes, quantised.scale

    # --- products ----------------------------------------------------------------------------------

    def _codes_product(self, streamed: Tensor, resident: Tensor, resident_bits: int | None = None) -> Tensor:
        """Whole numbers [..., row, inner] x [..., inner, column] with the errors of fresh conversions."""
        bits = self.chip.precision.activation_bits
        batch = torch.broadcast_shapes(streamed.shape[:-2], resident.shape[:-2])
        seed = int(torch.randint(1 << 62, (1,), generator=self._generator))
        keys = torch.arange(math.prod(batch) * streamed.shape[-2])
        product = self._engine.product(
            streamed,
            resident,
            streamed_bits=bits,
            resident_bits=resident_bits or bits,
            draw=Draw(seed=seed, stream=0, keys=keys),
        )
        return product.to(torch.float32)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [..., inner] times a stored weight [column, inner], plus a stored bias."""
        if self._layouts.get(id(weight)) == "rows":
            y = self._stored_product(self.read(x), weight)
        else:
            y = self.matmul(x, self.read(weight).transpose(-1, -2))
        return y if bias is None else y + self.read(bias)

    def addmm(
        self, bias: Tensor, *operands: Tensor, beta: float = 1, alpha: float = 1, **named: Tensor
    ) -> Tensor:
        """bias·beta + left @ right·alpha; ``right`` may be a stored weight [inner, column]."""
        left, right = [*operands, *named.values()]
        shift: Tensor = self.read(bias)
        return shift * beta + self.matmul(left, right) * alpha

    def _stored_product(self, x: Tensor, rows: Tensor) -> Tensor:
        """x [..., inner] times the rows of a stored weight, [column, inner]."""
        codes, row_scale = self._stored_codes(rows)
        with torch.no_grad():
            streamed, scale = self._encode(x)
            flat = streamed.reshape(-1, x.shape[-1])
            y = self._codes_product(flat, codes.t(), self.chip.precision.weight_bits)
            y = y.reshape(*x.shape[:-1], len(codes)).mul_(scale).mul_(row_scale.squeeze(-1))
        left, right = _instead(x, streamed * scale), _instead(rows, codes * row_scale)
        y = y.reshape(-1, len(codes))
        return _product(left.reshape(-1, x.shape[-1]), right.t(), y).reshape(*x.shape[:-1], len(codes))

    def matmul(self, left: Tensor, right: Tensor) -> Tensor:
        """left [..., row, inner] x right [..., inner, column]; ``right`` is encoded unless stored.

        An encoded operand has one scale for each vector as it lies in memory: for each column (keys), or for
        each inner element (values), which is then multiplied into the streamed rows.
        """
        left = self.read(left)
        if self._layouts.get(id(right)) == "columns":
            return self._stored_product(left, right.t())
        right = self.read(right)
        if left.ndim < 2 or right.ndim < 2:
            raise UserError("A product with a lone vector has no stand-in for training.")
        with torch.no_grad():
            if right.stride(-1) == 1 and right.stride(-2) != 1 and right.shape[-1] > 1:
                held = quantise_per_row(right, self.chip.precision.activation_bits, dtype=torch.float32)
                resident, factor = held.codes, held.scale.transpose(-1, -2)
                streamed, scale = self._encode(left * factor)
                y = self._codes_product(streamed, resident).mul_(scale)
                seen = streamed * scale / factor, resident * held.scale
            else:
                streamed, scale = self._encode(left)
                codes, column_scale = self._encode(right.transpose(-1, -2))
                column_scale = column_scale.transpose(-1, -2) if column_scale.ndim else column_scale
                resident = codes.transpose(-1, -2)
                y = self._codes_product(streamed, resident).mul_(scale).mul_(column_scale)
                seen = streamed * scale, resident * column_scale
        return _product(_instead(left, seen[0]), _instead(right, seen[1]), y)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """scaled_dot_product_attention, operation by operation."""
        if enable_gqa and key.shape[-3] != query.shape[-3]:
            repeat = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(repeat, -3), value.repeat_interleave(repeat, -3)
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = self.matmul(query, key.transpose(-1, -2)) * factor
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self.matmul(F.dropout(self.softmax(scores, -1), dropout_p), value)

    def _row_sum(self, x: Tensor) -> Tensor:
        codes, scale = self._encode(x)
        ones = torch.ones(x.shape[-1], 1)
        y = self._codes_product(codes.reshape(-1, x.shape[-1]), ones).reshape(x.shape[:-1])
        return y * (scale.squeeze(-1) if scale.ndim else scale)

    def _row_dot(self, x: Tensor) -> Tensor:
        codes, scale = self._encode(x)
        flat = codes.reshape(-1, 1, x.shape[-1])
        y = self._codes_product(flat, flat.transpose(-1, -2)).reshape(x.shape[:-1])
        return y * (scale.squeeze(-1) if scale.ndim else scale) ** 2

    # --- functions ---------------------------------------------------------------------------------

    def sum(self, x: Tensor, dim: Any = None, keepdim: bool = False, *, mean: bool = False) -> Tensor:
        """Sum or mean over axes, a product with ones."""
        dims = tuple(range(x.ndim)) if dim is None or dim == () else dim
        dims = tuple(axis % x.ndim for axis in ((dims,) if isinstance(dims, int) else dims))
        exact = x.mean(dims, keepdim) if mean else x.sum(dims, keepdim)
        kept = [axis for axis in range(x.ndim) if axis not in dims]
        with torch.no_grad():
            flat = x.permute(*kept, *sorted(dims)).reshape(*(x.shape[axis] for axis in kept), -1)
            seen = self._row_sum(flat) / (flat.shape[-1] if mean else 1)
        return _instead(exact, seen.reshape(exact.shape))

    def softmax(self, x: Tensor, dim: int | None = None, **_: Any) -> Tensor:
        """softmax over one axis."""
        axis = (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim
        with torch.no_grad():
            last = x.transpose(axis, -1)
            seen = softmax(last, self.chip.function_unit, self._linear).transpose(axis, -1)
        return _instead(torch.softmax(x, axis), seen)

    def layer_norm(
        self,
        x: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Layer norm over the last axis."""
        if len(tuple(normalized_shape)) != 1:
            raise UserError("A layer norm over more than one axis has no stand-in for training.")
        gain, shift = self.read(weight), self.read(bias)
        with torch.no_grad():
            seen = layer_norm(x, gain, shift, eps, self.chip.function_unit, self._linear)
        return _instead(F.layer_norm(x, normalized_shape, gain, shift, eps), seen)

    def rms_norm(self, x: Tensor, *, module: nn.Module, form: RmsNormForm) -> Tensor:
        """RMS norm over the last axis, in the place of ``module.forward``."""
        with torch._C.DisableTorchFunction():
            weight = module._parameters.get("weight")
            gain = None if weight is None else self.read(weight) + form.offset
            with torch.no_grad():
                seen = rms_norm(x, gain, form.eps, self.chip.function_unit, self._linear)
            return _instead(F.rms_norm(x, x.shape[-1:], gain, form.eps), seen)

    def table(
        self, name: str, function: Callable[..., Tensor], x: Tensor, *args: Any, **named: Any
    ) -> Tensor:
        """A function of the unit, in the place of torch's ``function``."""
        with torch.no_grad():
            seen = evaluate(name, x, self.chip.function_unit)
        return _instead(function(x, *args, **named), seen)

    def divide(self, numerator: Any, divisor: Any) -> Tensor:
        """numerator · F:reciprocal(divisor); by a number exact."""
        numerator, divisor = self.read(numerator), self.read(divisor)
        if not isinstance(divisor, Tensor) or not divisor.requires_grad:
            return torch.as_tensor(numerator / divisor)
        inverse: Tensor = self.table("reciprocal", torch.reciprocal, divisor)
        return torch.as_tensor(inverse * numerator)

    def embedding(self, ids: Tensor, weight: Tensor, *_: Any, **kwargs: Any) -> Tensor:
        """Rows of a stored table; each row is read once."""
        if kwargs.get("max_norm") is not None:
            raise UserError("An embedding with max_norm has no stand-in for training.")
        rows, place = torch.unique(ids, return_inverse=True)
        return self._read_rows(F.embedding(rows, weight))[place]


class _StandIns(TorchFunctionMode):
    """Sends each torch function to its stand-in, lets it through, or refuses it by name."""

    def __init__(self, through: StraightThrough) -> None:
        super().__init__()
        self._through = through
        stored = through
        self._rules: dict[str, Callable[..., Any]] = {
            "linear": stored.linear,
            "matmul": stored.matmul,
            "rmatmul": lambda right, left: stored.matmul(left, right),
            "addmm": stored.addmm,
            "baddbmm": stored.addmm,
            "scaled_dot_product_attention": stored.attention,
            "softmax": stored.softmax,
            "layer_norm": stored.layer_norm,
            "embedding": stored.embedding,
            "sum": stored.sum,
            "mean": partial(stored.sum, mean=True),
            "div": stored.divide,
            "rtruediv": lambda divisor, numerator: stored.divide(numerator, divisor),
            "rdiv": lambda divisor, numerator: stored.divide(numerator, divisor),
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = name_of(func)
        if name in QUESTIONS or not any(t.requires_grad for t in floats_in(kwargs, floats_in(args, []))):
            return func(*args, **kwargs)
        if name in self._rules:
            return self._rules[name](*args, **kwargs)
        args = tuple(self._through.read(value) for value in args)
        kwargs = {key: self._through.read(value) for key, value in kwargs.items()}
        if name in TABLE_NAMES:
            return self._through.table(name, func, *args, **kwargs)
        if name == "gelu":
            tanh = "tanh" in (*args[1:], kwargs.get("approximate"))
            return self._through.table("gelu_tanh" if tanh else "gelu", func, *args, **kwargs)
        power = name == "square" or (name == "pow" and args[1:2] in ((2,), (3,), (4,)))
        if power or name in EXACT_NAMES | COMPARATOR_NAMES | MOVEMENT_NAMES | CONTROL_NAMES:
            return func(*args, **kwargs)
        raise UserError(f"The operation {name} has no stand-in for training with the chip in the loop.")


def _layout(module: nn.Module, name: str, parameter: Tensor) -> Layout:
    """Matrices called ``weight`` are operands, one scale a row (``Conv1D``: a column); else a vector."""
    if name == "weight" and parameter.ndim == 2:
        return "columns" if type(module).__name__ == "Conv1D" else "rows"
    return "vector"


class _Instead(torch.autograd.Function):
    """The second value forward, the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, seen: Tensor) -> Tensor:
        return seen.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0], None


class _Product(torch.autograd.Function):
    """A product computed elsewhere forward, the gradients of left @ right backward."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, seen: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return seen.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors
        of_left = torch.matmul(gradients[0], right.transpose(-1, -2))
        of_right = torch.matmul(left.transpose(-1, -2), gradients[0])
        return of_left.sum_to_size(left.shape), of_right.sum_to_size(right.shape), None


def _instead(exact: Tensor, seen: Tensor) -> Tensor:
    result: Tensor = _Instead.apply(exact, seen)  # type: ignore[no-untyped-call]
    return result


def _product(left: Tensor, right: Tensor, seen: Tensor) -> Tensor:
    result: Tensor = _Product.apply(left, right, seen)  # type: ignore[no-untyped-call]
    return result
