"""Lowering of functions, sums and element-by-element work."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ohmformer.compiler.graph import Ref
from ohmformer.compiler.lower_work import Lowering, given_by_name, two_operands
from ohmformer.ir import Arguments
from ohmformer.ir.shapes import SCATTERED

__all__ = ["FUNCTION_RULES", "rms_norm", "softmax"]

FLOAT32_EPS = 2.0**-23
COMPARATORS = [
    "maximum",
    "minimum",
    "max",
    "min",
    "amax",
    "amin",
    "clamp",
    "clip",
    "clamp_min",
    "clamp_max",
    "abs",
    "sign",
]
TABLES = ("exp", "reciprocal", "rsqrt", "silu", "sigmoid", "tanh", "relu")


def _size(work: Lowering) -> int:
    return prod(work.graph.values[work.node.outputs[0]].shape)


def lower_multiply(work: Lowering) -> None:
    """Element product, or a constant factor."""
    first, second = two_operands(work)
    inputs, arguments = work.torch_call()
    if work.is_number(first) or work.is_number(second):
        work.move("fold", "constant factor", inputs, (work.out(),), _size(work), arguments)
    else:
        work.call("element product", "multiply", _size(work), inputs, work.out(), arguments)


def lower_negate(work: Lowering) -> None:
    """A sign."""
    inputs, arguments = work.torch_call()
    work.move("fold", "constant factor", inputs, (work.out(),), _size(work), arguments)


def lower_add(work: Lowering) -> None:
    """Addition and subtraction in the accumulator."""
    inputs, arguments = work.torch_call()
    work.call("addition", "add", _size(work), inputs, work.out(), arguments)


def lower_gather_add(work: Lowering) -> None:
    """index_add and scatter_add: rows added in the accumulator at given addresses."""
    given = given_by_name(work.node, ("input", "dim", "index", "source"))
    source: Any = given.get("source", given.get("src"))
    inputs, arguments = work.torch_call()
    # the addends come last among what is read
    last = work.id_of(source)
    order = [value for value in inputs if value != last] + [last]
    places = {inputs.index(value): place for place, value in enumerate(order)}
    moved = tuple([(key, _renumbered(value, places)) for key, value in arguments])
    elements = prod(work.shape(source))
    if elements:
        work.call("addition", "add", elements, tuple(order), work.out(), (*moved, SCATTERED))
    else:
        work.move("copy", "addition", tuple(order), (work.out(),), 0, moved)


def _renumbered(value: Any, places: dict[int, int]) -> Any:
    if isinstance(value, tuple):
        if len(value) == 2 and value[0] == "%":
            return ("%", places[value[1]])
        return tuple([_renumbered(item, places) for item in value])
    return value


def lower_divide(work: Lowering) -> None:
    """Division by a constant, or F:reciprocal and an element product."""
    first, second = two_operands(work)
    if len(work.node.args) > 2 or dict(work.node.kwargs).get("rounding_mode") is not None:
        raise work.refusal("divides with rounding, which has no lowering")
    if work.is_number(second):
        inputs, arguments = work.torch_call()
        return work.move("fold", "constant factor", inputs, (work.out(),), _size(work), arguments)
    _times_reciprocal(work, first, second)


def lower_reflected_divide(work: Lowering) -> None:
    """constant / tensor."""
    divisor, numerator = two_operands(work)
    _times_reciprocal(work, numerator, divisor)


def _times_reciprocal(work: Lowering, numerator: Any, divisor: Ref) -> None:
    """numerator · F:reciprocal(divisor)."""
    x = work.read(divisor)
    shape = work.shape(divisor)
    if not isinstance(numerator, Ref) and numerator == 1:
        return work.call("reciprocal", "reciprocal", prod(shape), (x,), work.out())
    share = work.value(shape)
    work.call("reciprocal", "reciprocal", prod(shape), (x,), share)
    if isinstance(numerator, Ref):
        return work.call(
            "element product", "multiply", _size(work), (share, work.read(numerator)), work.out()
        )
    times: Arguments = (("torch", "mul"), ("args", (("%", 0), numerator)))
    work.move("fold", "constant factor", (share,), (work.out(),), prod(shape), times)


def lower_power(work: Lowering) -> None:
    """Small whole powers as element products, x^-½ and x^½ by F:rsqrt."""
    x, exponent = two_operands(work)
    if not isinstance(x, Ref) or not isinstance(exponent, (int, float)):
        raise work.refusal("has a tensor as exponent, which has no lowering")
    _power(work, x, exponent)


def lower_square(work: Lowering) -> None:
    """x²."""
    _power(work, work.node.args[0], 2)


def _power(work: Lowering, given: Ref, exponent: float) -> None:
    x = work.read(given)
    shape = work.shape(given)
    if exponent in (2, 3, 4):
        power: Arguments = (("torch", "pow"), ("args", (("%", 0), exponent)))
        if exponent == 2:
            return work.call("element product", "multiply", prod(shape), (x, x), work.out(), power)
        square = work.value(shape)
        work.call(
            "element product",
            "multiply",
            prod(shape),
            (x, x),
            square,
            (("torch", "pow"), ("args", (("%", 0), 2))),
        )
        pair = (x, square) if exponent == 3 else (square, square)
        how = power if exponent == 3 else (("torch", "pow"), ("args", (("%", 0), 2)))
        return work.call("element product", "multiply", prod(shape), pair, work.out(), how)
    if exponent == -0.5:
        return work.call("rsqrt", "rsqrt", prod(shape), (x,), work.out())
    if exponent == 0.5:
        return _sqrt(work, x)
    if exponent == -1:
        return work.call("reciprocal", "reciprocal", prod(shape), (x,), work.out())
    raise work.refusal(f"has the exponent {exponent}, which has no lowering")


def lower_sqrt(work: Lowering) -> None:
    """√x = x·x^-½, and 0 at 0."""
    _sqrt(work, work.read(work.node.args[0]))


def _sqrt(work: Lowering, x: int) -> None:
    shape = work.values[x].shape
    root = work.value(shape)
    work.call("rsqrt", "rsqrt", prod(shape), (x,), root, (("form", "above zero"),))
    work.call("element product", "multiply", prod(shape), (root, x), work.out())


def lower_sum(mean: bool) -> Callable[[Lowering], None]:
    """sum or mean over axes: a product with ones."""

    def lower(work: Lowering) -> None:
        given = given_by_name(work.node, ("input", "dim", "keepdim"))
        x = work.read(given["input"])
        shape = work.values[x].shape
        dims = given.get("dim")
        if dims is None or dims == ():
            dims = tuple(range(len(shape)))
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        dims = tuple(sorted(d % len(shape) for d in dims))
        kept = [d for d in range(len(shape)) if d not in dims]
        count, rows = prod(shape[d] for d in dims), prod(shape[d] for d in kept)
        if (*kept, *dims) != tuple(range(len(shape))):
            x = work.reshaped(x, tuple(shape[d] for d in (*kept, *dims)), "permute", *kept, *dims)
        out = work.out()
        made = work.value(work.values[out].shape) if mean else out
        work.product("sum", (1, rows, count, 1), "constant", (x,), made, (("shape", work.values[out].shape),))
        if mean:
            divide: Arguments = (("torch", "div"), ("args", (("%", 0), count)))
            work.move("fold", "constant factor", (made,), (out,), rows, divide)

    return lower


def lower_softmax(work: Lowering) -> None:
    """softmax over one axis."""
    given = given_by_name(work.node, ("input", "dim"))
    x = work.read(given["input"])
    shape = work.values[x].shape
    dim = given.get("dim")
    if dim is None:  # the axis torch takes then
        dim = 0 if len(shape) in (0, 1, 3) else 1
    if dim % len(shape) == len(shape) - 1:
        return softmax(work, x, work.out())
    turned = list(shape)
    turned[dim], turned[-1] = shape[-1], shape[dim]
    shares = work.value(tuple(turned))
    softmax(work, work.reshaped(x, tuple(turned), "transpose", dim, -1), shares)
    back: Arguments = (("torch", "transpose"), ("args", (("%", 0), dim, -1)))
    work.move("view", "transpose", (shares,), (work.out(),), prod(shape), back)


def softmax(work: Lowering, x: int, out: int) -> None:
    """Over the last axis: largest, F:exp of the rest, product with ones, F:reciprocal, scale."""
    shape = work.values[x].shape
    lead, numbers, rows = (*shape[:-1], 1), prod(shape), prod(shape[:-1])
    largest, shifted, exponentials = work.value(lead), work.value(shape), work.value(shape)
    sums, shares = work.value(lead), work.value(lead)
    work.call("softmax max", "max", numbers, (x,), largest, (("form", "largest of a row"),))
    work.call("softmax shift", "add", numbers, (x, largest), shifted, (("form", "difference"),))
    work.call("softmax exp", "exp", numbers, (shifted,), exponentials)
    work.product("sum", (1, rows, shape[-1], 1), "constant", (exponentials,), sums, (("shape", lead),))
    work.call("softmax reciprocal", "reciprocal", rows, (sums,), shares, (("form", "at least 1"),))
    work.call("softmax scale", "multiply", numbers, (exponentials, shares), out)


def lower_layer_norm(work: Lowering) -> None:
    """layer_norm over the last axis."""
    given = given_by_name(work.node, ("input", "normalized_shape", "weight", "bias", "eps"))
    if len(given["normalized_shape"]) != 1:
        raise work.refusal("normalises more than one axis, which has no lowering")
    x = work.read(given["input"])
    weight, bias = given.get("weight"), given.get("bias")
    shape = work.values[x].shape
    lead, rows, numbers, inner = (*shape[:-1], 1), prod(shape[:-1]), prod(shape), shape[-1]
    sums, centred, squares, scale = (work.value(s) for s in (lead, shape, lead, lead))
    work.product("sum", (1, rows, inner, 1), "constant", (x,), sums, (("shape", lead),))
    mean: Arguments = (("form", "difference from the mean"), ("count", inner))
    work.call("layer norm centre", "add", numbers, (x, sums), centred, mean)
    _dot_with_itself(work, centred, squares)
    root: Arguments = (("form", "mean and eps"), ("count", inner), ("eps", given.get("eps", 1e-5)))
    work.call("layer norm rsqrt", "rsqrt", rows, (squares,), scale, root)
    parts: list[tuple[str, str, Any]] = [
        ("layer norm scale", "multiply", weight),
        ("layer norm shift", "add", bias),
    ]
    steps = [part for part in parts if part[2] is not None]
    made = work.value(shape) if steps else work.out()
    work.call("layer norm normalise", "multiply", numbers, (centred, scale), made)
    for place, (operation, function, parameter) in enumerate(steps):
        read = work.read(parameter)
        result = work.out() if place == len(steps) - 1 else work.value(shape)
        work.call(operation, function, numbers, (made, read), result)
        made = result


def _dot_with_itself(work: Lowering, x: int, out: int) -> None:
    shape = work.values[x].shape
    rows = prod(shape[:-1])
    arguments: Arguments = (("scales", "row"), ("shape", work.values[out].shape))
    work.product("dot with itself", (rows, 1, shape[-1], 1), "activation", (x, x), out, arguments)


def rms_norm(work: Lowering, x: int, weight: Any, eps: float, offset: float, out: int) -> None:
    """Over the last axis; the gain is offset + weight."""
    shape = work.values[x].shape
    lead, rows, numbers = (*shape[:-1], 1), prod(shape[:-1]), prod(shape)
    squares, scale = work.value(lead), work.value(lead)
    _dot_with_itself(work, x, squares)
    root: Arguments = (("form", "mean and eps"), ("count", shape[-1]), ("eps", eps))
    work.call("rms norm rsqrt", "rsqrt", rows, (squares,), scale, root)
    normal = out if weight is None else work.value(shape)
    work.call("rms norm normalise", "multiply", numbers, (x, scale), normal)
    if weight is not None:
        gain: Arguments = (("form", "gain"), ("offset", offset)) if offset else ()
        work.call("rms norm scale", "multiply", numbers, (normal, work.read(weight)), out, gain)


def lower_rms_norm(work: Lowering) -> None:
    """rms_norm over the last axis."""
    given = given_by_name(work.node, ("input", "normalized_shape", "weight", "eps"))
    if len(given["normalized_shape"]) != 1:
        raise work.refusal("normalises more than one axis, which has no lowering")
    eps = given.get("eps")
    eps = FLOAT32_EPS if eps is None else eps
    rms_norm(work, work.read(given["input"]), given.get("weight"), eps, 0.0, work.out())


def lower_embedding(work: Lowering) -> None:
    """Rows of a stored table."""
    given = given_by_name(work.node, ("input", "weight", "padding_idx", "max_norm"))
    ids, weight = given["input"], given["weight"]
    if given.get("max_norm") is not None:
        raise work.refusal("limits the norm of embeddings, which has no lowering")
    stored = work.stored_of(weight)
    if stored is None:
        inputs, arguments = work.torch_call()
        return work.move("copy", "lookup", inputs, (work.out(),), _size(work), arguments)
    read = stored.read(prod(work.shape(ids)), stored.shape[0])
    work.dense_read("embedding", (work.of[weight.value], work.id_of(ids)), work.out(), read)


def lower_table(name: str) -> Callable[[Lowering], None]:
    """One table function."""

    def lower(work: Lowering) -> None:
        x = work.read(two_operands(work)[0])
        work.call(name, name, prod(work.values[x].shape), (x,), work.out())

    return lower


def lower_gelu(work: Lowering) -> None:
    """GELU, exact or by tanh."""
    given = given_by_name(work.node, ("input", "approximate"))
    x = work.read(given["input"])
    tanh = given.get("approximate", "none") == "tanh"
    name = "gelu_tanh" if tanh else "gelu"
    work.call(name, "gelu", prod(work.values[x].shape), (x,), work.out(), (("table", name),) if tanh else ())


def lower_comparator(work: Lowering) -> None:
    """Largest, smallest, clamped: comparators."""
    inputs, arguments = work.torch_call()
    first = work.node.args[0]
    outputs = tuple([work.out(place) for place in range(len(work.node.outputs))])
    elements = prod(work.shape(first)) if isinstance(first, Ref) else 0
    work.call("comparison", "max", elements, inputs, outputs[0], arguments, outputs[1:])


FUNCTION_RULES: dict[str, Callable[[Lowering], None]] = {
    "mul": lower_multiply,
    "add": lower_add,
    "sub": lower_add,
    "rsub": lower_add,
    "neg": lower_negate,
    "div": lower_divide,
    "rtruediv": lower_reflected_divide,
    "rdiv": lower_reflected_divide,
    "pow": lower_power,
    "square": lower_square,
    "sqrt": lower_sqrt,
    "index_add": lower_gather_add,
    "scatter_add": lower_gather_add,
    "sum": lower_sum(False),
    "mean": lower_sum(True),
    "softmax": lower_softmax,
    "layer_norm": lower_layer_norm,
    "rms_norm": lower_rms_norm,
    "embedding": lower_embedding,
    "gelu": lower_gelu,
    **{name: lower_table(name) for name in TABLES},
    **dict.fromkeys(COMPARATORS, lower_comparator),
}
