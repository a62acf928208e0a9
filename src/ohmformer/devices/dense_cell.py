"""One memristor cell of the dense crossbar: programmed once, read many times through noise.

A cell's life, in order: ``program`` (level + programming noise, stuck cells) -> ``drift`` ->
``read_conductance`` (telegraph, environment and read noise, new at every read) -> ``sense`` (thresholds).
A *symbol* is the number of a level; numerals.to_symbols does the Gray numbering.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.gaussian import normal, uniform
from ohmformer.specs import DenseCellSpec

__all__ = [
    "draw_stuck",
    "drift",
    "drift_factor",
    "level_conductances",
    "program",
    "read",
    "read_conductance",
    "read_sd",
    "sense",
    "telegraph_amplitude",
    "thresholds",
]


def conductance_range(cell: DenseCellSpec) -> float:
    """g_max - g_min, S."""
    return cell.g_max_S - cell.g_min_S


def level_conductances(cell: DenseCellSpec) -> Tensor:
    """Nominal conductance of each level, equally spaced.

    g_v = g_min + v * (g_max - g_min) / (levels - 1)

    returns: [level], S, float64
    Error:   rounding of float64.
    """
    return torch.linspace(cell.g_min_S, cell.g_max_S, cell.levels, dtype=torch.float64, device="cpu")


def thresholds(cell: DenseCellSpec) -> Tensor:
    """Decision thresholds of the read-out, halfway between neighbouring nominal levels.

    returns: [level - 1], S, float64
    """
    levels = level_conductances(cell)
    return (levels[:-1] + levels[1:]) / 2


def draw_stuck(shape: tuple[int, ...], cell: DenseCellSpec, generator: torch.Generator | None) -> Tensor:
    """Which cells are stuck, a property of their location: it outlives every write.

    returns: ``shape``, int8: -1 stuck at g_min, +1 stuck at g_max, 0 sound
    """
    low, high = cell.noise.stuck_low_rate, cell.noise.stuck_high_rate
    stuck = torch.zeros(shape, dtype=torch.int8)
    if low == 0 and high == 0:
        return stuck
    # float64: a float32 deviate is a multiple of 2**-24, too coarse for rates of parts per billion
    draw = uniform(shape, generator, "stuck_low_rate or stuck_high_rate", torch.float64)
    stuck[draw < low] = -1
    stuck[(draw >= low) & (draw < low + high)] = 1
    return stuck


def program(
    symbols: Tensor,
    cell: DenseCellSpec,
    generator: torch.Generator | None,
    *,
    stuck: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Write levels; what is written stays until the next write.

    g = max(0, g_symbol + programming_noise * (g_max - g_min) * N(0, 1)),  g_min or g_max where stuck

    A draw below 0 becomes exactly 0 (the whole tail gathers there): with sd above g_min, as at the
    published values, that is a quarter of the cells of level 0. No other clipping: a cell may end
    above g_max. A stuck cell takes no programming noise.

    symbols: [...], integers 0 ... levels - 1
    stuck:   [...], int8 as from ``draw_stuck``; drawn here if None
    returns: [...], S
    """
    if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < cell.levels:
        raise DeviceError(f"symbols run outside 0 to {cell.levels - 1}, the levels of the cell.")
    noise = cell.noise
    conductance = level_conductances(cell).to(dtype)[symbols.to(torch.int64)]
    if noise.programming_noise > 0:
        deviate = normal(symbols.shape, generator, "programming_noise", dtype)
        conductance.add_(deviate, alpha=noise.programming_noise * conductance_range(cell)).clamp_(min=0)
    if stuck is None:
        stuck = draw_stuck(tuple(symbols.shape), cell, generator)
    conductance[stuck < 0] = cell.g_min_S
    conductance[stuck > 0] = cell.g_max_S
    return conductance


def drift_factor(cell: DenseCellSpec) -> float:
    """Factor on every conductance since programming, (t/t0)^-nu."""
    return float(cell.noise.drift_time_ratio**-cell.noise.drift_exponent)


def drift(conductance: Tensor, cell: DenseCellSpec) -> Tensor:
    """Conductance after drift, g * (t/t0)^-nu, stuck cells included.

    conductance: [...], S, as programmed
    returns:     [...], S
    """
    return conductance * drift_factor(cell)


def telegraph_amplitude(conductance: Tensor, cell: DenseCellSpec) -> Tensor:
    """Relative resistance step of the two-state telegraph noise.

    dR/R = scale * min(alpha * R^beta, limit),  R = 1/g,
    alpha and beta such that dR/R (before limit and scale) is telegraph_at_g_max at 1/g_max and
    telegraph_at_g_min at 1/g_min: beta = ln(ratio of the anchors) / ln(g_max/g_min)

    conductance: [...], S, >= 0; at 0 the resistance is infinite and the limit holds (if beta > 0)
    returns:     [...], dimensionless
    Source:      Feinberg et al., HPCA 2018, citing Ielmini et al., APL 2010.
    """
    noise = cell.noise
    if not telegraph_is_on(cell):
        return torch.zeros_like(conductance)
    amplitude = noise.telegraph_at_g_max * (cell.g_max_S / conductance) ** telegraph_exponent(cell)
    return amplitude.clamp_(max=noise.telegraph_limit).mul_(noise.telegraph_scale)


def telegraph_is_on(cell: DenseCellSpec) -> bool:
    """Whether telegraph noise can change a read at all."""
    noise = cell.noise
    return min(noise.telegraph_at_g_max, noise.telegraph_scale, noise.telegraph_occupancy) > 0


def telegraph_exponent(cell: DenseCellSpec) -> float:
    """beta of dR/R = alpha * R^beta."""
    anchors = cell.noise.telegraph_at_g_min / cell.noise.telegraph_at_g_max
    return math.log(anchors) / math.log(cell.g_max_S / cell.g_min_S)


def read_sd(conductance: Tensor, cell: DenseCellSpec) -> Tensor:
    """Standard deviation of one read of a cell whose trap state is known.

    sd^2 = (environment_noise * g)^2 + (read_noise * (g_max - g_min))^2

    conductance: [...], S, after telegraph noise: the environment scales with the current that flows
    returns:     [...], S
    """
    noise = cell.noise
    if noise.read_noise == 0:
        return conductance * noise.environment_noise
    sense_path = conductance.new_full((), noise.read_noise * conductance_range(cell))
    return torch.hypot(conductance * noise.environment_noise, sense_path)


def read_conductance(conductance: Tensor, cell: DenseCellSpec, generator: torch.Generator | None) -> Tensor:
    """One noisy read of each cell.

    R -> R * (1 + s * dR/R), s = 1 (trap filled) with probability telegraph_occupancy, else 0; then
    g -> g + read_sd(g) * N(0, 1). Every read draws anew.

    conductance: [...], S, present value (after ``drift``)
    returns:     [...], S; may be negative, as a noisy current may
    """
    noise = cell.noise
    seen = conductance
    if telegraph_is_on(cell):
        filled = uniform(seen.shape, generator, "telegraph_scale", torch.float64) < noise.telegraph_occupancy
        seen = torch.where(filled, seen / (1 + telegraph_amplitude(seen, cell)), seen)
    if max(noise.environment_noise, noise.read_noise) > 0:
        # one draw for the sum of the two independent normal contributions
        deviate = normal(seen.shape, generator, "environment_noise or read_noise", seen.dtype)
        seen = seen + read_sd(seen, cell) * deviate
    return seen


def sense(conductance: Tensor, cell: DenseCellSpec) -> Tensor:
    """Symbol recovered by the read-out: the number of thresholds at or below the conductance.

    conductance: [...], S
    returns:     [...], uint8, 0 ... levels - 1
    """
    limits = thresholds(cell).to(conductance.dtype)
    return torch.bucketize(conductance, limits, right=True, out_int32=True).to(torch.uint8)


def read(conductance: Tensor, cell: DenseCellSpec, generator: torch.Generator | None) -> Tensor:
    """Read programmed cells end to end: drift, noise, thresholds.

    conductance: [...], S, as programmed
    returns:     [...], uint8 symbols
    """
    return sense(read_conductance(drift(conductance, cell), cell, generator), cell)
