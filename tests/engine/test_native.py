"""The kernels of every instruction set compute the numbers of plain torch, bit for bit, on any threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.engine import native
from ohmformer.engine.collapsed import integer_product
from ohmformer.engine.fused import KINDS
from ohmformer.engine.native import Kernels, kernels
from ohmformer.errors import UserError
from ohmformer.functions import LinearSubOps, evaluate, function_table, layer_norm, rms_norm, softmax
from ohmformer.numerals import quantise_per_row, quantise_with_scale
from ohmformer.specs import preset

from .conftest import INSTRUCTION_SETS

pytestmark = pytest.mark.parametrize("name", INSTRUCTION_SETS)

UNIT = preset("wang2024").function_unit
UNITS = {
    "preset": UNIT,
    "fine": replace(UNIT, segments=1024, fraction_bits=23),
    "coarse": replace(UNIT, segments=4, fraction_bits=4),
}
TINY = torch.finfo(torch.float32).tiny
LARGEST = torch.finfo(torch.float32).max


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def whole(*shape: int, seed: int = 0) -> Tensor:
    """Whole numbers of all 8 bits, -128 among them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)


def floats(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers whose rows have scales from 2^-20 to 2^20."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(-20, 21, (*shape[:-1], 1), generator=generator)
    return torch.randn(shape, generator=generator) * 2.0**rows


def same(found: Tensor, wanted: Tensor) -> bool:
    """Equal bit for bit, but NaN of any kind is NaN."""
    nan = found.isnan()
    return (
        found.dtype == wanted.dtype
        and torch.equal(nan, wanted.isnan())
        and torch.equal(found[~nan].view(torch.int32), wanted[~nan].view(torch.int32))
    )


# --- the integer product -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 12, 13, 40, 97])
def test_products_are_exact_at_every_shape(name, rows):
    """Rows around blocks of 4, 6, 12, 96, inner around steps of 2, 4 and 1024, columns around 16 and 32."""
    found = Kernels(name)
    for inner in (1, 2, 3, 4, 5, 63, 64, 65, 130, 1023, 1024, 1025, 2051):
        for columns in (1, 15, 16, 17, 31, 33, 70) if inner < 1000 else (3, 129):
            codes, weights = whole(rows, inner, seed=inner), whole(columns, inner, seed=columns + 100)
            y = found.product(codes, found.packed(weights), columns)
            assert y.dtype == torch.int32
            assert torch.equal(y.long(), codes.long() @ weights.long().T)


@pytest.mark.parametrize("left", [-128, 127])
@pytest.mark.parametrize("right", [-128, 127])
def test_products_of_extremes_are_exact(name, left, right):
    """The largest partial sums that 16 and 32 bits must hold: no saturation anywhere."""
    found = Kernels(name)
    for inner in (1, 7, 130, 1500, 40_001):
        codes = torch.full((3, inner), left, dtype=torch.int8)
        weights = torch.full((18, inner), right, dtype=torch.int8)
        y = found.product(codes, found.packed(weights), 18)
        assert y.unique().tolist() == [left * right * inner]


@pytest.mark.parametrize(("columns", "inner"), [(1, 1), (16, 4), (17, 5), (33, 130), (70, 1025)])
def test_packed_codes_come_back_and_can_be_changed(name, columns, inner):
    found, codes = Kernels(name), whole(columns, inner)
    packed = found.packed(codes)
    ids = torch.tensor([columns - 1, 0, columns // 2, 0])
    assert torch.equal(found.rows(packed, (columns, inner), ids), codes[ids])
    assert torch.equal(found.rows(packed, (columns, inner), torch.arange(columns)), codes)
    every = torch.arange(columns * inner).flip(0)
    assert torch.equal(found.codes_at(packed, inner, every), codes.view(-1)[every])
    if name == "portable":  # of a transposed view as of a copy
        assert torch.equal(found.packed(codes.t().contiguous().t()), packed)
    places = torch.tensor([0, columns * inner - 1, (columns * inner) // 2])
    deltas = torch.where(codes.view(-1)[places] > 0, -5, 7).to(torch.int32)
    found._calls.patch(packed.data_ptr(), columns, inner, places.data_ptr(), deltas.data_ptr(), 3)
    changed = codes.clone().view(-1).index_add_(0, places, deltas.to(torch.int8)).view(columns, inner)
    assert torch.equal(found.rows(packed, (columns, inner), torch.arange(columns)), changed)
    other = whole(5, inner, seed=3)  # the sums of the columns follow, which an offset needs
    assert torch.equal(found.product(other, packed, columns).long(), other.long() @ changed.long().T)


# --- quantisation --------------------------------------------------------------------------------------


def awkward_rows(inner: int) -> Tensor:
    """Zeros, a single number, subnormals, the smallest and the largest normal ones, halves, both signs."""
    rows = [torch.zeros(inner), torch.full((inner,), -0.0), torch.full((inner,), 2.0**-149)]
    rows += [torch.full((inner,), value) for value in (TINY, -TINY, LARGEST, -LARGEST, 126 * TINY, 1e-40)]
    mixed = torch.linspace(-127, 127, inner) if inner > 1 else torch.tensor([-63.5])
    rows += [mixed, mixed.round() + 0.5, mixed * TINY, mixed * 2.0**-140, mixed * 2.0**120]
    ends = torch.zeros(inner)
    ends[-1] = -LARGEST
    ends[0] = 1.0
    return torch.stack([*rows, ends, floats(1, inner)[0]])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("inner", [1, 3, 17, 300])
def test_quantised_rows_are_those_of_the_numerals(name, bits, inner):
    found = Kernels(name)
    for x in (awkward_rows(inner), floats(40, inner), floats(inner, 7).t()):
        wanted = quantise_per_row(x, bits)
        codes, scale = found.quantise(x, (1 << (bits - 1)) - 1)
        assert torch.equal(codes, wanted.codes)
        assert same(scale, wanted.scale.squeeze(-1))


# --- linear ----------------------------------------------------------------------------------------------


def linear_by_steps(
    x: Tensor,
    weights: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    wrong: list[tuple[int, ...]],
) -> Tensor:
    """Quantise, multiply exactly, put every error in by hand, scale by row then column, shift."""
    quantised = quantise_per_row(x, 8, dtype=torch.float32)
    y = quantised.codes.long() @ weights.long().T
    for row, column, size in wrong:
        y[row, column] += size
    y = y.float().mul_(quantised.scale).mul_(scale)
    return y if bias is None else y + bias


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(1, 1, 1), (3, 40, 17), (97, 65, 130), (200, 90, 300)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_linear_is_its_steps(name, rows, inner, columns, biased):
    """Blocks of 96 rows and 128 columns, quantised in one part or several; errors on both sides of edges."""
    found, weights = Kernels(name), whole(columns, inner)
    x, scale = floats(rows, inner, seed=1), floats(columns, 1, seed=2).squeeze(-1).abs() + 1e-6
    bias = floats(columns, seed=3) if biased else None
    spots = sorted({0, 1, 95, 96, 127, 128, columns - 1, columns // 2} & set(range(columns)))
    wrong = sorted(
        (row, column, sign * (1 << 14) + row)
        for row in {0, rows // 2, 95, 96, rows - 1} & set(range(rows))
        for column in spots
        for sign in (1, -1, -1)
    )
    packed = found.packed(weights)
    for others in ([], wrong):
        wanted = linear_by_steps(x, weights, scale, bias, others)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = found.linear(
                x,
                packed,
                scale,
                bias,
                127,
                torch.tensor(others, dtype=torch.int64) if others else None,
            )
            assert same(y, wanted)


def test_linear_with_a_calibrated_scale_clips(name):
    found, weights = Kernels(name), whole(20, 33)
    x, scale = floats(9, 33), torch.ones(20)
    quantised = quantise_with_scale(x, 0.25, 8, dtype=torch.float32)
    assert bool((quantised.codes.abs() == 127).any())
    wanted = (quantised.codes.long() @ weights.long().T).float() * 0.25 * scale
    y = found.linear(x, found.packed(weights), scale, None, 127, None, fixed_scale=0.25)
    assert same(y, wanted)


def test_linear_takes_no_rows(name):
    found = Kernels(name)
    y = found.linear(torch.zeros(0, 5), found.packed(whole(3, 5)), torch.ones(3), None, 127, None)
    assert y.shape == (0, 3)


# --- products of activations ------------------------------------------------------------------------------


def batch_by_steps(a: Tensor, b: Tensor, factor: Tensor | None, wrong: list[tuple[int, ...]]) -> Tensor:
    """[outer, head, row, column] from contiguous copies, matrix by matrix."""
    outer, heads, rows, _ = a.shape
    if factor is None:
        right = quantise_per_row(b, 8, dtype=torch.float32)
        codes, column_scale = right.codes, right.scale.transpose(-1, -2)
    else:
        a = a * factor.unsqueeze(-2)
        codes, column_scale = torch.div(b, factor.unsqueeze(-2)).round(), None
    left = quantise_per_row(a, 8, dtype=torch.float32)
    y = left.codes.long() @ codes.transpose(-1, -2).long()
    flat = y.view(outer * heads * rows, -1)
    for row, column, size in wrong:
        flat[row, column] += size
    y = y.float() * left.scale
    return y if column_scale is None else y * column_scale


VIEWS: dict[str, Callable[[int, int, int, int], Tensor]] = {
    "contiguous": lambda o, h, r, k: floats(o, h, r, k, seed=r),
    "heads inside": lambda o, h, r, k: floats(o, r, h, k, seed=r).transpose(1, 2),
    "one for all": lambda o, h, r, k: floats(1, h, r, k, seed=r).expand(o, h, r, k),
    "part of a row": lambda o, h, r, k: floats(o, h, r, 3 * k, seed=r)[..., k : 2 * k],
}
RIGHT_VIEWS = VIEWS | {"transposed": lambda o, h, r, k: floats(o, h, k, r, seed=r).transpose(-1, -2)}


@pytest.mark.parametrize("left", VIEWS)
@pytest.mark.parametrize("right", RIGHT_VIEWS)
@pytest.mark.parametrize("folded", [False, True])
def test_batches_of_views_are_their_steps(name, left, right, folded):
    found = Kernels(name)
    for outer, heads, rows, inner, columns in ((2, 3, 5, 17, 9), (1, 1, 1, 1, 1), (3, 2, 100, 7, 33)):
        a, b = VIEWS[left](outer, heads, rows, inner), RIGHT_VIEWS[right](outer, heads, columns, inner)
        if folded:  # the scale of each inner element, as for values: over the columns
            factor = (b.abs().amax(-2) / 127).contiguous()
            factor[factor == 0] = 1.0
        else:
            factor = None
        total = outer * heads * rows
        wrong = sorted(
            (row, row % columns, 5 - row) for row in {0, rows - 1, rows, total - 1} & set(range(total))
        )
        for some in ([], wrong):
            wanted = batch_by_steps(a.contiguous(), b.contiguous(), factor, some)
            for threads in (1, 3):
                torch.set_num_threads(threads)
                given = torch.tensor(some, dtype=torch.int64) if some else None
                assert same(found.batch(a, b, 127, factor, given), wanted)


def test_a_long_inner_axis_beyond_float32_is_rounded_once(name):
    """Sums above 2^24 are whole in the kernel and rounded to float32 at the end, as float64 is."""
    found = Kernels(name)
    a, b = torch.full((1, 1, 2, 1502), 1.0), torch.full((1, 1, 3, 1502), 1.0)
    a[..., 0] = 126 / 127
    wanted = integer_product((a[0, 0] * 127).round(), (b[0, 0] * 127).round().T, 8, 8)
    assert wanted.dtype == torch.float64
    assert int(wanted[0, 0]) % 2 == 1
    assert same(found.batch(a, b, 127, None, None), batch_by_steps(a, b, None, []))


# --- functions ---------------------------------------------------------------------------------------------


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    4.0,
    math.inf,
    -math.inf,
    math.nan,
    TINY,
    -TINY,
    1e-40,
    -1e-40,
    2.0**-149,
    LARGEST,
    -LARGEST,
    31.999,
    32.0,
    33.0,
    -104.0,
    88.0,
    100.0,
    1e5,
    -1e5,
]


def arguments() -> Tensor:
    """Special values, all scales, and the neighbourhood of the table's edges."""
    edges = torch.cat([torch.arange(-40, 41).float() / 2 + shift for shift in (-1e-6, 0.0, 1e-6)])
    return torch.cat([torch.tensor(SPECIAL), edges, floats(300, 5).flatten(), floats(1000, seed=4) * 2.0**-3])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("function", [f for f in KINDS if f not in ("reciprocal", "rsqrt")])
def test_functions_are_those_of_the_function_unit(name, unit, function):
    """Also at every length around the strips of 256 and the parts of 2^14."""
    table = function_table(function, UNITS[unit].segments, UNITS[unit].fraction_bits)
    found, x = Kernels(name), arguments()
    curve = found.curve(KINDS[function], table)
    assert same(found.function(x, curve), evaluate(function, x, UNITS[unit]))
    for count in (0, 1, 255, 256, 257, (1 << 14) + 3):
        part = floats(1, count, seed=count)[0] if count else torch.zeros(0)
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert same(found.function(part, curve), evaluate(function, part, UNITS[unit]))


def sums(quantiser: Callable[[Tensor], tuple[Tensor, Tensor]]) -> LinearSubOps:
    """Sums and squares of quantised rows, in whole numbers."""

    def row_sum(x: Tensor) -> Tensor:
        codes, scale = quantiser(x)
        return codes.long().sum(-1).float() * scale

    def row_dot(x: Tensor) -> Tensor:
        codes, scale = quantiser(x)
        return codes.long().square().sum(-1).float() * scale * scale

    return LinearSubOps(row_sum=row_sum, row_dot=row_dot)


def quantiser(x: Tensor) -> tuple[Tensor, Tensor]:
    found = quantise_per_row(x, 8)
    return found.codes, found.scale.squeeze(-1)


def score_rows(inner: int) -> Tensor:
    """Scores with masks of both kinds, one row all alike, one far apart, one all but one masked."""
    x = floats(30, inner, seed=inner) * 2.0**-4
    x[3, inner // 2 :] = -math.inf if inner > 1 else 0.0
    x[4, : inner // 2] = torch.finfo(torch.float32).min
    x[5] = 7.25
    x[6] = torch.linspace(-1e4, 1e4, inner)
    x[7, 1:] = -math.inf
    x[8] = LARGEST
    x[9] = torch.finfo(torch.float32).min  # a row wholly masked
    x[10] = 0.0
    return x


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("inner", [1, 2, 31, 256, 300])
def test_softmax_is_that_of_the_function_room(name, unit, inner):
    found, x = Kernels(name), score_rows(inner)
    exponential, reciprocal = (
        found.curve(KINDS[f], function_table(f, UNITS[unit].segments, UNITS[unit].fraction_bits))
        for f in ("exp", "reciprocal")
    )
    wanted = softmax(x, UNITS[unit], sums(quantiser))
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert same(found.softmax(x, exponential, reciprocal, 127), wanted)
        assert same(found.softmax(x.view(2, 15, inner), exponential, reciprocal, 127).view(30, inner), wanted)


def norm_rows(inner: int) -> Tensor:
    """Rows of all scales, zeros, alike numbers (nothing left after centring), extremes, an outlier."""
    x = torch.cat([floats(40, inner, seed=inner), awkward_rows(inner)])
    x[5] = 3.7
    x[6, -1] = 1e6
    return x


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("inner", [1, 2, 33, 700])
@pytest.mark.parametrize(("gain", "shift"), [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize("eps", [1e-5, 1e-12, 0.0])
def test_norms_are_those_of_the_function_room(name, unit, inner, gain, shift, eps):
    found, x = Kernels(name), norm_rows(inner)
    rsqrt = found.curve(
        KINDS["rsqrt"], function_table("rsqrt", UNITS[unit].segments, UNITS[unit].fraction_bits)
    )
    weight = floats(inner, seed=1) if gain else None
    bias = floats(inner, seed=2) if shift else None
    for threads in (1, 3):
        torch.set_num_threads(threads)
        wanted = layer_norm(x, weight, bias, eps, UNITS[unit], sums(quantiser))
        assert same(found.layer_norm(x, weight, bias, eps, rsqrt, 127), wanted)
        if not shift:
            wanted = rms_norm(x, weight, eps, UNITS[unit], sums(quantiser))
            assert same(found.rms_norm(x, weight, eps, rsqrt, 127), wanted)


# --- which kernels ----------------------------------------------------------------------------------------


def test_the_variable_chooses(name, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, name)
    chosen = kernels()
    assert chosen is not None
    assert chosen.name == name
    assert kernels() is chosen
    monkeypatch.setenv(native.VARIABLE, "torch")
    assert kernels() is None
    monkeypatch.setenv(native.VARIABLE, "avx9000")
    with pytest.raises(UserError, match=f"OHMFORMER_KERNELS is 'avx9000': this machine has .*{name}.*torch"):
        kernels()
    with pytest.raises(ValueError, match="unknown instruction set"):
        Kernels("avx9000")


def test_kernels_that_fail_their_check_are_not_taken(name, monkeypatch):
    """One wrong product, or one wrong random word, and plain torch computes."""
    assert native._trusted(name)
    original = Kernels.product
    monkeypatch.setattr(Kernels, "product", lambda *given: original(*given) + 1)
    assert not native._trusted(name)
    monkeypatch.setattr(Kernels, "product", original)
    monkeypatch.setattr(Kernels, "words", lambda *_: torch.zeros(1, 4, dtype=torch.int64))
    assert not native._trusted(name)
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native._chosen.cache_clear()
    try:
        assert kernels() is None
        monkeypatch.undo()
        monkeypatch.delenv(native.VARIABLE, raising=False)
        monkeypatch.setattr(native, "_native", None)
        native._chosen.cache_clear()
        assert kernels() is None  # installed without a compiler
        monkeypatch.undo()
        native._chosen.cache_clear()
        first = next((one for one in INSTRUCTION_SETS if one != "portable"), None)
        monkeypatch.delenv(native.VARIABLE, raising=False)
        assert (kernels() and kernels().name) == first
    finally:
        monkeypatch.undo()
        native._chosen.cache_clear()
