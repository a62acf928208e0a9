"""Lossless converters: the digit sums collapse into one integer product, plus conversion errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.crossbars import drive, plane_weights, streamed_digits, wordline_groups
from ohmformer.devices import rounding_error_probability, rounding_error_variance
from ohmformer.numerals import ResistorCode, digits_for_bits
from ohmformer.specs import TileSpec

EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53
DENSE_NOISE_ERRORS = 0.3  # conversion errors per output above which noise is drawn as a Gaussian
SAMPLED_ROWS = 64


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

    errors_per_output: expected wrong conversions in one output
    variance:          of an output, in product units squared
    digit_weights:     radix^i of the streamed digits
    plane_weights:     c_j of the resident planes
    probabilities:     error probability of a conversion, by digit index
    """

    errors_per_output: float
    variance: float
    digit_weights: tuple[int, ...]
    plane_weights: tuple[int, ...]
    probabilities: tuple[float, ...]


@lru_cache(maxsize=1024)
def group_count(tile: TileSpec, inner: int) -> int:
    """Groups of simultaneously active elements that an inner axis of ``inner`` needs."""
    return len(wordline_groups(inner, tile))


def _branch_power(streamed: Tensor, tile: TileSpec, bits: int) -> list[float]:
    """Mean over elements of Σ_r (w_r·s_r)², by digit index, from a sample of rows."""
    flat = streamed.reshape(-1, streamed.shape[-1])
    step = max(1, flat.shape[0] // SAMPLED_ROWS)
    digits = streamed_digits(flat[::step].to(torch.int64), tile, bits)
    power = drive(digits, tile).square().sum(-1)
    return [float(value) for value in power.mean(dim=tuple(range(power.ndim - 1)))]


def _noise_at(power: tuple[float, ...], tile: TileSpec, inner: int, resident_bits: int) -> ConversionNoise:
    """Conversion errors where Σ_r (w_r·s_r)² of an element has the given mean, by digit index."""
    groups = group_count(tile, inner)
    planes = plane_weights(tile, resident_bits)
    additive = tile.environment_noise**2 + tile.adc.noise**2
    mismatch = tile.resistor.mismatch**2
    deviations = [math.sqrt(additive + mismatch * value * inner / groups) for value in power]
    probabilities = tuple(float(rounding_error_probability(sd)) for sd in deviations)
    variances = [float(rounding_error_variance(sd)) for sd in deviations]
    weights = tuple(tile.numeral.radix**index for index in range(len(power)))
    power_of_planes = sum(c * c for c in planes)
    variance = groups * power_of_planes * sum(w * w * v for w, v in zip(weights, variances, strict=True))
    return ConversionNoise(
        errors_per_output=groups * len(planes) * sum(probabilities),
        variance=variance,
        digit_weights=weights,
        plane_weights=planes,
        probabilities=probabilities,
    )


@lru_cache(maxsize=1024)
def worst_noise(tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int) -> ConversionNoise:
    """Conversion errors if every digit were the largest and every resident switch closed."""
    weights = ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights
    largest = float(sum(weight * weight for weight in weights))
    width = digits_for_bits(tile.numeral.radix, streamed_bits)
    # a group cannot be fuller than its elements, whatever the mean over the groups says
    full = largest * tile.group_elements * group_count(tile, inner) / inner
    return _noise_at((full,) * width, tile, inner, resident_bits)


def conversion_noise(
    streamed: Tensor, tile: TileSpec, streamed_bits: int, resident_bits: int, inner: int
) -> ConversionNoise:
    """Probability and variance of conversion errors in one product.

    A conversion sees s + η with sd² = environment² + adc² + mismatch²·Σ(w_r·s_r·e)². The mismatch term is
    taken at its mean over a sample of rows, with half of the resident switches closed; the fixed pattern
    of mismatch is treated as independent from conversion to conversion.
    """
    if tile.resistor.mismatch == 0:
        return worst_noise(tile, streamed_bits, resident_bits, inner)
    power = tuple(0.5 * value for value in _branch_power(streamed, tile, streamed_bits))
    return _noise_at(power, tile, inner, resident_bits)


def _add_gaussian(values: Tensor, noise: ConversionNoise, generator: torch.Generator) -> Tensor:
    """Many wrong conversions in every output: a Gaussian of their variance, rounded to whole numbers."""
    draw = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    return values.add_(draw.mul_(math.sqrt(noise.variance)).round_())


def _add_single(values: Tensor, noise: ConversionNoise, count: int, generator: torch.Generator) -> Tensor:
    """``count`` wrong conversions: uniform place, digit index by probability, any plane, ±1 code."""
    place = torch.randint(values.numel(), (count,), generator=generator)
    share = torch.tensor(noise.probabilities, dtype=torch.float64)
    digit = torch.multinomial(share, count, replacement=True, generator=generator)
    plane = torch.randint(len(noise.plane_weights), (count,), generator=generator)
    sign = torch.randint(2, (count,), generator=generator) * 2 - 1
    size = torch.tensor(noise.digit_weights)[digit] * torch.tensor(noise.plane_weights)[plane] * sign
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
    """
    values = integer_product(streamed, resident, streamed_bits, resident_bits)
    inner = streamed.shape[-1]
    worst = worst_noise(tile, streamed_bits, resident_bits, inner)
    if worst.errors_per_output == 0 or not values.numel():
        return values
    if worst.errors_per_output > DENSE_NOISE_ERRORS:
        noise = conversion_noise(streamed, tile, streamed_bits, resident_bits, inner)
        values = values.contiguous()
        if noise.errors_per_output > DENSE_NOISE_ERRORS:
            return _add_gaussian(values, noise, generator)
        count = _poisson(noise.errors_per_output * values.numel(), generator)
        return _add_single(values, noise, count, generator) if count else values
    count = _poisson(worst.errors_per_output * values.numel(), generator)
    if not count:
        return values
    noise = conversion_noise(streamed, tile, streamed_bits, resident_bits, inner)
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    kept = int((chance * worst.errors_per_output < noise.errors_per_output).sum())
    return _add_single(values.contiguous(), noise, kept, generator) if kept else values
