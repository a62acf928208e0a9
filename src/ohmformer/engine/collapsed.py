"""Lossless converters: the digit sums collapse into one integer product, plus conversion errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.crossbars import (
    digit_weights,
    drive,
    plane_weights,
    resident_planes,
    streamed_digits,
    wordline_groups,
)
from ohmformer.devices import rounding_error_probability, rounding_error_variance
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec

EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53
DENSE_NOISE_ERRORS = 0.3  # conversion errors per output above which noise is drawn as a Gaussian
SAMPLED_ROWS = SAMPLED_COLUMNS = 16  # of one matrix; four of each where matrices are many
SAMPLED_MATRICES = 16
TABLE_ENTRIES = 1 << 16


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
    return torch.matmul(streamed, resident)


@dataclass(frozen=True, kw_only=True)
class ConversionNoise:
    """What the converters of one product do wrong.

    weights: radix^i·c_j of digit i and plane j, digits first
    errors:  expected wrong conversions in one output, by digit and plane, over all groups
    squares: sum over groups of the variance of a conversion's error, by digit and plane
    """

    weights: tuple[int, ...]
    errors: tuple[float, ...]
    squares: tuple[float, ...]

    @property
    def errors_per_output(self) -> float:
        """Expected wrong conversions in one output."""
        return sum(self.errors)

    @property
    def variance(self) -> float:
        """Variance of an output, in product units squared."""
        return sum(w * w * v for w, v in zip(self.weights, self.squares, strict=True))


@lru_cache(maxsize=1024)
def _weights(tile: TileSpec, streamed_bits: int, resident_bits: int) -> tuple[int, ...]:
    planes = plane_weights(tile, resident_bits)
    return tuple(power * plane for power in digit_weights(tile, streamed_bits) for plane in planes)


def _largest_branches(tile: TileSpec) -> int:
    """Largest Σ(w_r·s_r·e)² of a group, every branch switched on; 0 where branches have no mismatch."""
    if tile.resistor.mismatch == 0:
        return 0
    weights = ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights
    return tile.group_elements * sum(weight * weight for weight in weights)


@lru_cache(maxsize=64)
def _error_table(tile: TileSpec) -> tuple[Tensor, Tensor, int]:
    """Error probability and error variance of a conversion, by its switched branches B = Σ(w_r·s_r·e)².

    sd² = environment² + adc² + mismatch²·B, B a whole number
    returns: [B // width], [B // width], width; width is 1 up to TABLE_ENTRIES entries
    """
    largest = _largest_branches(tile)
    width = -(-(largest + 1) // TABLE_ENTRIES)
    branches = torch.arange(0, largest + width, width, dtype=torch.float64)
    additive = tile.environment_noise**2 + tile.adc.noise**2
    sd = (additive + tile.resistor.mismatch**2 * branches).sqrt()
    return (
        rounding_error_probability(sd, tile.adc.rounding),
        rounding_error_variance(sd, tile.adc.rounding),
        width,
    )


@lru_cache(maxsize=1024)
def worst_noise(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int) -> ConversionNoise:
    """Conversion errors if every digit were the largest and every resident switch closed."""
    weights = _weights(tile, streamed_bits, resident_bits)
    probability, variance, width = _error_table(tile)
    place = -(-_largest_branches(tile) // width)
    groups = len(wordline_groups(inner, tile))
    return ConversionNoise(
        weights=weights,
        errors=(groups * float(probability[place]),) * len(weights),
        squares=(groups * float(variance[place]),) * len(weights),
    )


def _evenly(count: int, wanted: int) -> Tensor:
    """At most ``wanted`` indices below ``count``, evenly spread."""
    return torch.arange(min(count, wanted)) * count // max(1, min(count, wanted))


def _sample(streamed: Tensor, resident: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns that stand for all: [matrix, row, inner] and [matrix, inner, column], integers."""
    if resident.ndim == 2:
        left, right = streamed.reshape(1, -1, streamed.shape[-1]), resident.unsqueeze(0)
        rows, columns = SAMPLED_ROWS, SAMPLED_COLUMNS
    else:
        batch = torch.broadcast_shapes(streamed.shape[:-2], resident.shape[:-2])
        places = torch.unravel_index(_evenly(batch.numel(), SAMPLED_MATRICES), batch)
        left = streamed.expand(*batch, *streamed.shape[-2:])[places]
        right = resident.expand(*batch, *resident.shape[-2:])[places]
        rows, columns = (SAMPLED_ROWS, SAMPLED_COLUMNS) if len(left) == 1 else (4, 4)
    left = left[:, _evenly(left.shape[1], rows)]
    right = right[:, :, _evenly(right.shape[2], columns)]
    return left.to(torch.int64), right.to(torch.int64)


def conversion_noise(
    streamed: Tensor, resident: Tensor, tile: TileSpec, streamed_bits: int, resident_bits: int
) -> ConversionNoise:
    """Expected conversion errors of one product, and their variance.

    A conversion sees s + η with sd² = environment² + adc² + mismatch²·Σ(w_r·s_r·e)². With mismatch both
    are means over conversions of sampled rows and columns (all of them, where there are few).
    """
    inner = streamed.shape[-1]
    if tile.resistor.mismatch == 0:
        return worst_noise(tile, streamed_bits, resident_bits, inner)
    left, right = _sample(streamed, resident)
    power = drive(streamed_digits(left, tile, streamed_bits), tile).square().sum(-1)
    power = power.movedim(-1, 1).flatten(1, 2).float()  # [matrix, digit * row, inner]
    planes, _ = resident_planes(right, resident_bits, tile)
    count = planes.shape[0]
    switched = planes.float().square().movedim(0, 2).flatten(2)  # [matrix, inner, plane * column]
    probability, variance, width = _error_table(tile)
    errors = torch.zeros(power.shape[1] // left.shape[1], count, dtype=torch.float64)
    squares = torch.zeros_like(errors)
    for group in wordline_groups(inner, tile):
        here = slice(group.start, group.stop)
        branches = torch.matmul(power[:, :, here], switched[:, here])  # whole numbers
        place = (branches / width).round().long().view(len(left), len(errors), left.shape[1], count, -1)
        errors += probability[place].mean((0, 2, 4))
        squares += variance[place].mean((0, 2, 4))
    return ConversionNoise(
        weights=_weights(tile, streamed_bits, resident_bits),
        errors=tuple(errors.flatten().tolist()),
        squares=tuple(squares.flatten().tolist()),
    )


def _add_gaussian(values: Tensor, noise: ConversionNoise, generator: torch.Generator) -> Tensor:
    """Many wrong conversions in every output: a Gaussian of their variance, rounded to whole numbers.

    Rounding adds 1/12 to the variance of a Gaussian (Sheppard), which is taken off beforehand.
    """
    draw = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    return values.add_(draw.mul_(max(0.0, noise.variance - 1 / 12) ** 0.5).round_())


def _add_single(values: Tensor, noise: ConversionNoise, count: int, generator: torch.Generator) -> Tensor:
    """``count`` wrong conversions: uniform place, digit and plane by their expected errors, ±1 code."""
    place = torch.randint(values.numel(), (count,), generator=generator)
    share = torch.tensor(noise.errors, dtype=torch.float64)
    which = torch.multinomial(share, count, replacement=True, generator=generator)
    sign = torch.randint(2, (count,), generator=generator) * 2 - 1
    size = torch.tensor(noise.weights)[which] * sign
    values.view(-1).index_put_((place,), size.to(values.dtype), accumulate=True)
    return values


def _poisson(expected: float, generator: torch.Generator) -> int:
    return int(torch.poisson(torch.tensor(expected, dtype=torch.float64), generator=generator))


def collapsed_product(
    streamed: Tensor,
    resident: Tensor,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    generator: torch.Generator,
) -> Tensor:
    """The product of a tile with lossless converters (see ``ProductEngine.product``).

    Wrong conversions are drawn one by one while rare: a Poisson count of the worst case first, of which
    the share is kept that the actual operands call for (thinning, exact); usually there is none and the
    operands need not be looked at.

    Error: errors fall on all outputs alike, with their mean rate over rows and columns; the fixed pattern of
    mismatch is drawn anew for every conversion; a sum at the end of the converter's range errs outwards
    here too, where the converter clips.
    """
    values = integer_product(streamed, resident, streamed_bits, resident_bits)
    worst = worst_noise(tile, streamed_bits, resident_bits, streamed.shape[-1])
    if worst.errors_per_output == 0 or not values.numel():
        return values
    if worst.errors_per_output > DENSE_NOISE_ERRORS:
        noise = conversion_noise(streamed, resident, tile, streamed_bits, resident_bits)
        values = values.contiguous()
        if noise.errors_per_output > DENSE_NOISE_ERRORS:
            return _add_gaussian(values, noise, generator)
        count = _poisson(noise.errors_per_output * values.numel(), generator)
        return _add_single(values, noise, count, generator) if count else values
    count = _poisson(worst.errors_per_output * values.numel(), generator)
    if not count:
        return values
    noise = conversion_noise(streamed, resident, tile, streamed_bits, resident_bits)
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    kept = int((chance * worst.errors_per_output < noise.errors_per_output).sum())
    return _add_single(values.contiguous(), noise, kept, generator) if kept else values
