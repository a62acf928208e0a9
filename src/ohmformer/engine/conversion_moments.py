"""What a converter does to a whole-number sum, in the mean and in the square, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ohmformer.devices import convert, converter_level, upper_tail, wire_attenuation
from ohmformer.numerals import ResistorCode, on_host
from ohmformer.specs import AdcSpec, TileSpec

REACH = 8.5  # deviations beyond which a code is not met: 2e-17
POINTS = 512  # of the noise ahead of a bent converter, at most
FINEST = 0.5  # spacing of equally spaced points: of the deviation of the converter, and of their own
BRANCH_LEVELS = 64  # noise levels of mismatch
LOSS_LEVELS = 32  # of the bitlines, where a table with a loss for each would be large
TABLE_ENTRIES = 1 << 20
MANTISSA = 23  # bits of a sum of table entries over all groups


def code_moments(level: Tensor, sd: Tensor, adc: AdcSpec) -> tuple[Tensor, Tensor]:
    """Mean and variance of the code of a noisy level.

    code = clip(rounding(level + sd·z), ±max_code),  P(code >= c) = Q((c - o - level)/sd)
    E[code - c0]     = Σ_{n>=1} P(code >= c0 + n) - Σ_{n>=1} P(code <= c0 - n)
    E[(code - c0)²]  = Σ_{n>=1} (2n - 1)·(P(code >= c0 + n) + P(code <= c0 - n))

    o = 1/2 (half_even, half_up) or 0 (floor), c0 the code without noise; thresholds beyond the code range do
    not exist. Where sd = 0 the code is c0.

    level, sd: [...], float64, in steps; returns two [...], float64
    Error:     terms beyond 8.5 deviations are left out (2e-17 each).
    """
    quiet = convert(level, replace(adc, step=1, noise=0.0, nonlinearity=0.0)).double()
    offset = 0.0 if adc.rounding == "floor" else 0.5
    mean, square = torch.zeros_like(level), torch.zeros_like(level)
    width = sd.clamp_min(1e-300)
    most = min(2 * adc.max_code, math.ceil(REACH * float(sd.max())) + 1) if sd.numel() else 0
    # a level beyond the range may be many steps from the outermost code: no threshold in between exists
    for n in range(most if bool((sd > 0).any()) else 0, 0, -1):
        up, down = quiet + n, quiet - n + 1  # thresholds of the codes c0 + n and c0 - n + 1
        above = upper_tail((up - offset - level) / width).where(up <= adc.max_code, 0.0)
        below = upper_tail((level - (down - offset)) / width).where(down > -adc.max_code, 0.0)
        mean += above - below
        square += (2 * n - 1) * (above + below)
    noisy = sd > 0
    return quiet + mean.where(noisy, 0.0), (square - mean * mean).clamp_min(0).where(noisy, 0.0)


def error_moments(sums: Tensor, current_sd: Tensor, adc: AdcSpec) -> tuple[Tensor, Tensor]:
    """Mean and variance of code·step for a bitline sum with Gaussian noise of its own, in unit currents.

    Noise of the current and noise of the converter are one Gaussian while the converter is straight. A bent
    one bends the noise of the current too: then the mean is taken over points of it (``_points``).

    sums, current_sd: [...], float64, unit currents
    Error: 1/POINTS of a code for a bent converter with little noise of its own; else as ``code_moments``.
    """
    step = adc.step
    own = torch.full_like(sums, adc.noise)
    if adc.nonlinearity == 0 or not bool((current_sd > 0).any()):
        mean, variance = code_moments(converter_level(sums, adc), torch.hypot(current_sd / step, own), adc)
        return mean * step, variance * step**2
    first, second = torch.zeros_like(sums), torch.zeros_like(sums)
    for z, weight in zip(*_points(_ratio(float(current_sd.max()) / step, adc.noise)), strict=True):
        mean, variance = code_moments(converter_level(sums + z * current_sd, adc), own, adc)
        first += weight * mean
        second += weight * (variance + mean * mean)
    return first * step, (second - first * first).clamp_min(0) * step**2


def _ratio(current: float, own: float) -> float:
    return current / own if own > 0 else math.inf


def _points(ratio: float) -> tuple[list[float], list[float]]:
    """Points of a standard normal and their weights, for what noise ``ratio`` times smaller makes smooth.

    Equally spaced, where they are few: what is left of a function with a deviation w of its own is
    exp(-(2πw/spacing)²/2), 3e-9 where the converter is bent so that its noise counts half. Else equally
    likely ones.

    ratio: deviation of the noise over that of the smooth function; inf: not smooth
    """
    spacing = FINEST * min(1.0, 1 / ratio)
    count = math.ceil(REACH / spacing) if spacing > 0 else POINTS
    if not 2 * count + 1 <= POINTS:
        z = torch.special.ndtri((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS)
        return z.tolist(), [1 / POINTS] * POINTS
    z = torch.arange(-count, count + 1, dtype=torch.float64) * spacing
    weight = torch.exp(-z * z / 2)
    return z.tolist(), (weight / weight.sum()).tolist()


@dataclass(frozen=True, kw_only=True, eq=False)
class ConversionTable:
    """Error code·step - s of the conversion of each whole-number sum s in each circumstance.

    mean, variance: [circumstance·sum], float32 multiples of a power of two so coarse that sums over all
                    groups are exact in float32, in any order
    branches:       switched-on branches Σ(w_r·s_r·e)² per noise level of mismatch; 0 without mismatch
    levels:         noise levels; a circumstance is loss·levels + level
    loss_level:     [plane of the tile], int64, which loss a bitline (a pair of bitlines, its mean) has
    sums:           entries of one circumstance; the sum s is at s + (sums - 1)/2
    """

    mean: Tensor
    variance: Tensor
    branches: float
    levels: int
    loss_level: Tensor
    sums: int

    def on(self, device: torch.device) -> ConversionTable:
        """The same table on a device."""
        if device == self.mean.device:
            return self
        tensors = ("mean", "variance", "loss_level")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def _on_grid(values: Tensor, groups: int) -> Tensor:
    """Float32 values of which ``groups`` can be added exactly."""
    largest = float(values.abs().max()) * groups
    if largest == 0:
        return values.float()
    unit = 2.0 ** (math.floor(math.log2(largest)) + 1 - MANTISSA)
    return (values / unit).round().mul_(unit).float()


@lru_cache(maxsize=128)
@on_host
def conversion_table(tile: TileSpec, groups: int) -> ConversionTable:
    """The errors of a tile's conversions, exact for every sum that a group can have.

    Error: a noise level of mismatch stands for branches within ±1/128 of the largest number; where the table
    would exceed TABLE_ENTRIES, a loss stands for bitlines within ±1/62 of the range of losses; a pair of
    bitlines loses its mean share; entries are rounded to 2^-23 of the largest times ``groups``.
    """
    largest = tile.max_sum
    sums = torch.arange(-largest, largest + 1, dtype=torch.float64)
    width, levels = 0.0, 1
    if tile.resistor.mismatch > 0:
        weights = ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights
        most = tile.group_elements * sum(weight * weight for weight in weights)
        levels = min(most, BRANCH_LEVELS) + 1
        width = most / (levels - 1)
    loss = wire_attenuation(tile)
    if tile.resident_code == "digits":
        loss = loss[: len(loss) // 2 * 2].view(-1, 2).mean(1)
    losses, level = loss[:1], torch.zeros(len(loss), dtype=torch.int64)
    spread = float(loss[-1] - loss[0])
    if spread > 0 and len(loss) * levels * len(sums) <= TABLE_ENTRIES:
        losses, level = loss, torch.arange(len(loss))
    elif spread > 0:
        losses = loss[0] + spread * torch.arange(LOSS_LEVELS, dtype=torch.float64) / (LOSS_LEVELS - 1)
        level = ((loss - loss[0]) / spread * (LOSS_LEVELS - 1)).round().long()
    branches = torch.arange(levels, dtype=torch.float64) * width
    sd = (tile.environment_noise**2 + tile.resistor.mismatch**2 * branches).sqrt()
    seen = (sums * (1 - losses[:, None]))[:, None].expand(-1, levels, -1)
    mean, variance = error_moments(
        seen.contiguous(), sd[None, :, None].expand_as(seen).contiguous(), tile.adc
    )
    return ConversionTable(
        mean=_on_grid((mean - sums).flatten(), groups),
        variance=_on_grid(variance.flatten(), groups),
        branches=width,
        levels=levels,
        loss_level=level,
        sums=len(sums),
    )
