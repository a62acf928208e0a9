"""Lossless converters: the digit sums collapse into one integer product, plus conversion errors.

While wrong conversions are rare they are drawn one by one (``conversion_errors``; beside wires
``wire_errors``). Where every output has many, a Gaussian of their variance stands for them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.crossbars import drive, resident_planes, streamed_digits, wordline_groups
from ohmformer.engine.conversion_errors import (
    ErrorLaw,
    Operands,
    error_table,
    output_weights,
    worst_errors,
)
from ohmformer.engine.native import kernels, threads
from ohmformer.engine.randomness import Draw, deviates, random_words
from ohmformer.engine.reads import Misreads
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.whole import EXACT_FLOAT32, EXACT_FLOAT64, whole_matmul
from ohmformer.engine.wire_errors import product_law
from ohmformer.engine.wire_law import calibrated
from ohmformer.numerals import HOST, divide, on_host
from ohmformer.specs import TileSpec

DENSE_NOISE_ERRORS = 1.0  # worst-case conversion errors per output above which noise is drawn as a Gaussian
ROWS_AT_ONCE = 1 << 10
NOISY_ROWS = 192  # at a time for each thread: two blocks of rows of the kernels
LANES = 7  # bytes of a word in use: its sign bit stays 0
DENSE = 2  # purpose of the random numbers


def integer_product(streamed: Tensor, resident: Tensor, streamed_bits: int, resident_bits: int) -> Tensor:
    """The integer product of codes held in floating dtypes, bit-exact.

    A floating-point product of whole numbers is exact while no partial sum exceeds the mantissa. Any
    partial sum over a subset S of the inner axis is at most ‖x_S‖·‖w_S‖ <= ‖x‖·‖w‖ (Cauchy-Schwarz), so
    float32 serves while the largest row norm times the largest column norm is below 2^24; beyond it the
    product runs in float64 (exact below 2^53).

    streamed: [..., row, inner]; resident: [..., inner, column]; returns float32, or float64 where needed.
    """
    inner = streamed.shape[-1]
    worst = inner * (1 << (streamed_bits - 1)) * (1 << (resident_bits - 1))
    if worst > EXACT_FLOAT32 and streamed.numel() and resident.numel():
        rows = torch.linalg.vector_norm(streamed, dim=-1).amax()
        columns = torch.linalg.vector_norm(resident, dim=-2).amax()
        # float32 norms are off by less than inner * 2^-24 relative; 1 % covers every inner axis in use
        if float(rows) * float(columns) * 1.01 >= EXACT_FLOAT32:
            if worst >= EXACT_FLOAT64:
                raise OverflowError(f"a product over {inner} elements may exceed 2^53")
            return torch.matmul(streamed.double(), resident.double())
    return whole_matmul(streamed, resident)


@lru_cache(maxsize=64)
@on_host
def _power_table(tile: TileSpec, bits: int) -> Tensor:
    """[digit, 256] float64: Σ(w_r·s_r)² of each digit of code - 128, for codes of up to 8 bits."""
    reach = (1 << (bits - 1)) - 1
    codes = torch.arange(-128, 128).clamp(-reach, reach)
    return drive(streamed_digits(codes, tile, bits), tile).square().sum(-1).T.contiguous()


def row_variance(
    streamed: Tensor,
    closed: Tensor,
    columns: int,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
) -> Tensor:
    """[row] float64 variance of an output of each row, in product units squared.

    Var y = Σ_groups Σ_ij (radix^i·c_j)²·V(environment² + adc² + mismatch²·B)
    B = Σ_k power_ik·closed_kj / columns

    streamed: [row, inner], whole numbers
    closed:   [inner, plane] float64, sum over columns of the squared switch states (``closed_switches``)
    Error:    B is its mean over the columns; V is close to linear in B over the range of B met.
    """
    _, variance, width = error_table(tile)
    groups = wordline_groups(streamed.shape[-1], tile)
    device = streamed.device
    weights = output_weights(tile, streamed_bits, resident_bits)
    weights_squared = torch.tensor(weights, dtype=torch.float64, device=HOST).square()
    if tile.resistor.mismatch == 0:
        alike = float(weights_squared.sum() * variance[0]) * len(groups)
        return torch.full((len(streamed),), alike, dtype=torch.float64, device=device)
    native = kernels() if device.type == "cpu" else None
    if native is not None and streamed_bits <= 8:
        bounds = torch.tensor([(group.start, group.stop) for group in groups], device=HOST)
        power = _power_table(tile, streamed_bits)
        squares = weights_squared
        return native.row_variance(streamed, power, closed, bounds, squares, variance, columns * width)
    planes, variance = closed.shape[1], variance.to(device)
    total = torch.zeros(len(streamed), dtype=torch.float64, device=device)
    for start in range(0, len(streamed), ROWS_AT_ONCE):
        part = streamed[start : start + ROWS_AT_ONCE].long()
        power = drive(streamed_digits(part, tile, streamed_bits), tile).square().sum(-1).transpose(1, 2)
        for group in groups:
            here = slice(group.start, group.stop)
            branches = power[:, :, here] @ closed[here]  # [row, digit, plane], whole numbers: exact
            place = divide(branches, columns * width).round().long()
            found = variance[place].reshape(len(part), -1, planes).flatten(1)
            for which, weight in enumerate(
                weights_squared.tolist()
            ):  # one after the other: the same bits everywhere
                total[start : start + len(part)] += found[:, which] * weight
    return total


@lru_cache(maxsize=64)
@on_host
def _switch_table(tile: TileSpec, bits: int) -> Tensor:
    """[256, plane] int64: squared switch states (0 or 1) of each code + 128, for codes of up to 8 bits.

    Codes beyond those that the planes hold count as the nearest one.
    """
    low = -(1 << (bits - 1)) + (tile.resident_code == "digits")
    codes = torch.arange(-128, 128).clamp(low, (1 << (bits - 1)) - 1)
    return resident_planes(codes, bits, tile)[0].long().square().T.contiguous()


@lru_cache(maxsize=64)
@on_host
def _switch_lanes(tile: TileSpec, bits: int) -> Tensor:
    """[word, 256] int64: the states of ``_switch_table``, seven planes in seven bytes of each word."""
    table = _switch_table(tile, bits)
    shifts = 8 * torch.arange(LANES)
    return torch.stack([(part << shifts[: part.shape[1]]).sum(-1) for part in table.split(LANES, 1)])


def _added(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def closed_switches(resident: Tensor, tile: TileSpec, bits: int) -> Tensor:
    """[..., inner, plane] float64: sum over the columns of squared switch states.

    resident: [..., inner, column], whole numbers
    """
    if not resident.shape[-1]:
        raise ValueError("an operand without columns")
    if bits > 8:
        parts = [resident_planes(part.long(), bits, tile)[0] for part in resident.split(256, -1)]
        return _added([part.double().square().sum(-1) for part in parts]).movedim(0, -1).contiguous()
    words, planes = _switch_lanes(tile, bits).to(resident.device), _switch_table(tile, bits).shape[1]
    shifts = 8 * torch.arange(LANES, device=resident.device)
    totals = []
    for part in resident.split(255, -1):  # a byte counts up to 255 columns
        index = part.to(torch.int32) + 128
        counts = [(word[index].sum(-1).unsqueeze(-1) >> shifts) & 255 for word in words]
        totals.append(torch.cat(counts, -1)[..., :planes].double())
    return _added(totals)


def stored_switches(
    resident: ResidentCodes, tile: TileSpec, bits: int, changed: Misreads | None = None
) -> Tensor:
    """``closed_switches`` of stored codes, counted once and kept with them.

    changed: by how much the codes differ from what they were when they were stored, while they do: what is
             kept is corrected by these alone; whole numbers, so exact. Codes of up to 8 bits
    """
    place = ("closed switches", tile.resident_code, tile.numeral)
    known: Tensor | None = resident.cache.get(place)
    if changed is None:
        if known is None:
            known = resident.cache[place] = closed_switches(resident.floats(), tile, bits)
        return known
    found, table = changed.on(resident.device), _switch_table(tile, bits).to(resident.device).float()
    now = resident.at(found.position) + 128
    one = table.index_select(0, now) - table.index_select(0, now - found.delta)
    zeros = one.new_zeros(resident.shape[1], table.shape[1])
    change = zeros.index_add_(0, found.position % resident.shape[1], one).double()  # whole numbers: exact
    if known is None:
        known = resident.cache[place] = closed_switches(resident.floats(), tile, bits) - change
    return known + change


def dense_linear(
    streamed: Tensor,
    resident: ResidentCodes,
    tile: TileSpec,
    bits: tuple[int, int],
    draw: Draw,
    scales: tuple[Tensor, Tensor],
    bias: Tensor | None,
    changed: Misreads | None,
) -> Tensor:
    """[row, column] float32 of a product with Gaussian noise: (whole number + noise)·row scale·scale + bias.

    The numbers of ``collapsed_product``, scaled and shifted, some rows at a time.

    streamed: [row, inner], int8; resident: packed for the kernels
    bits:     of streamed and resident codes
    scales:   [row] and [column]
    changed:  see ``stored_switches``
    """
    native = resident.kernels
    if native is None:
        raise ValueError("the codes are not packed for kernels")
    columns, inner = resident.shape
    closed = streamed.new_zeros(0, 1, dtype=torch.float64)
    if tile.resistor.mismatch:
        closed = stored_switches(resident, tile, bits[1], changed)
    variance = row_variance(streamed, closed, columns, tile, *bits)
    may_be_large = inner << (bits[0] + bits[1] - 2) >= EXACT_FLOAT32
    y = torch.empty(len(streamed), columns, device=streamed.device)
    step = NOISY_ROWS * threads()
    for start in range(0, len(streamed), step):
        rows = slice(start, start + step)
        own = Draw(seed=draw.seed, stream=draw.stream, keys=draw.keys[rows])
        values, part = native.product(streamed[rows], resident.packed, columns), y[rows]
        scale = scales[0][rows]
        if may_be_large and values.numel() and int(values.abs().max()) >= EXACT_FLOAT32:
            part.copy_(_dense_noise(values.double(), variance[rows], own))
            part.mul_(scale[:, None]).mul_(scales[1])
            if bias is not None:
                part.add_(bias)
        else:
            sd = _noise_sd(variance[rows])
            native.noisy_outputs(own.sub(DENSE), values, sd, (scale, scales[1]), bias, part)
    return y


def _noise_sd(variance: Tensor) -> Tensor:
    return (variance - 1 / 12).clamp_min(0.0).sqrt().float()


def _dense_noise(values: Tensor, variance: Tensor, draw: Draw) -> Tensor:
    """Many wrong conversions in every output: a Gaussian of their variance, rounded to whole numbers.

    values: [row, column]; variance: [row]. Rounding adds 1/12 to the variance of a Gaussian (Sheppard), which
    is taken off beforehand.
    """
    sd = _noise_sd(variance)
    dense = draw.sub(DENSE)
    native = kernels() if values.device.type == "cpu" else None
    if native is not None and values.dtype == torch.float32 and values.is_contiguous():
        return native.add_deviates(dense, values, sd)
    dense = dense.on(values.device)
    blocks = -(-values.shape[1] // 4)
    step = max(1, (1 << 20) // (4 * blocks))
    for start in range(0, len(values), step):
        words = random_words(dense.seed, dense.stream, dense.keys[start : start + step], blocks)
        z = deviates(words[:, : values.shape[1]])
        values[start : start + step] += (z * sd[start : start + step, None]).round_().to(values.dtype)
    return values


def collapsed_product(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
) -> Tensor:
    """The product of a tile with lossless converters (see ``ProductEngine.product``).

    Error: that of ``conversion_errors``, or that of ``row_variance`` where the worst case leaves more than
    DENSE_NOISE_ERRORS of them in an output; beside wires that of ``wire_law``.
    """
    values = exact_product(streamed, resident, streamed_bits, resident_bits)
    columns, inner = values.shape[-1], streamed.shape[-1]
    worst = worst_errors(tile, streamed_bits, resident_bits, inner)
    wired = calibrated(tile)
    if (worst == 0 and not wired) or not values.numel():
        return values
    if worst <= DENSE_NOISE_ERRORS or wired:
        law = product_law(tile, streamed_bits, resident_bits, inner, columns)
        return add_wrong_outputs(values, streamed, resident, law, draw)
    flat, resident, rows = _operands(values, streamed, resident)
    variance = _variance(flat, resident, tile, streamed_bits, resident_bits, rows)
    values = values.contiguous()
    _dense_noise(values.view(-1, columns), variance, draw)
    return values


def _operands(
    values: Tensor, streamed: Tensor, resident: Tensor | ResidentCodes
) -> tuple[Tensor, Tensor | ResidentCodes, int]:
    """Streamed rows [row, inner], the resident operand, and rows for each entry of its batch."""
    batch, inner = values.shape[:-2], streamed.shape[-1]
    flat = streamed.expand(*batch, *streamed.shape[-2:]).reshape(-1, inner)
    if isinstance(resident, Tensor) and resident.ndim > 2:
        return flat, resident.expand(*batch, *resident.shape[-2:]), values.shape[-2]
    return flat, resident, len(flat)


def add_wrong_outputs(
    values: Tensor, streamed: Tensor, resident: Tensor | ResidentCodes, law: ErrorLaw, draw: Draw
) -> Tensor:
    """``values`` [..., row, column], changed in place where possible, with the wrong conversions of a law."""
    flat, resident, rows = _operands(values, streamed, resident)
    wrong = law.wrong_outputs(draw, Operands(streamed=flat, resident=resident, rows_per_entry=rows))
    if wrong is not None:
        values, wrong = values.contiguous(), wrong.to(values.device)
        place = wrong[:, 0] * values.shape[-1] + wrong[:, 1]
        values.view(-1).index_put_((place,), wrong[:, 2].to(values.dtype), accumulate=True)
    return values


def exact_product(
    streamed: Tensor, resident: Tensor | ResidentCodes, streamed_bits: int, resident_bits: int
) -> Tensor:
    """The integer product, a new tensor in float32 or, beyond 2^24, float64."""
    if isinstance(resident, Tensor):
        return integer_product(streamed, resident, streamed_bits, resident_bits)
    if resident.kernels is None or streamed_bits > 8:
        return integer_product(streamed, resident.floats(), streamed_bits, resident_bits)
    flat = streamed.reshape(-1, streamed.shape[-1])
    values = resident.kernels.product(flat, resident.packed, resident.shape[0])
    large = False
    if values.numel() and flat.shape[-1] << (streamed_bits + resident_bits - 2) >= EXACT_FLOAT32:
        lowest, highest = torch.aminmax(values)
        large = max(-int(lowest), int(highest)) >= EXACT_FLOAT32
    return values.to(torch.float64 if large else torch.float32).reshape(*streamed.shape[:-1], -1)


def _variance(
    flat: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    rows: int,
) -> Tensor:
    def law(part: Tensor, closed: Tensor) -> Tensor:
        return row_variance(part, closed, columns, tile, streamed_bits, resident_bits)

    columns = resident.shape[0] if isinstance(resident, ResidentCodes) else resident.shape[-1]
    if tile.resistor.mismatch == 0:
        return law(flat, torch.zeros(0, 1, device=flat.device))
    if isinstance(resident, ResidentCodes):
        return law(flat, stored_switches(resident, tile, resident_bits))
    if resident.ndim == 2:
        return law(flat, closed_switches(resident, tile, resident_bits))
    closed = closed_switches(resident.flatten(0, -3), tile, resident_bits)
    return torch.cat([law(part, own) for part, own in zip(flat.split(rows), closed, strict=True)])
