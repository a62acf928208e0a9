"""How often a stored symbol is read as another one, in closed form."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ohmformer.devices.dense_cell import (
    conductance_range,
    drift,
    level_conductances,
    read_sd,
    telegraph_amplitude,
    telegraph_is_on,
    thresholds,
)
from ohmformer.devices.gaussian import upper_tail
from ohmformer.specs import DenseCellSpec

__all__ = ["QUADRATURE_ERROR", "confusion_matrix", "read_error_probabilities"]

QUADRATURE_ERROR = 1e-12
_REACH = 10.0  # standard deviations of programming noise integrated over; 1.5e-23 lie beyond
_PANELS = 80
_NODES = 14
_PANEL_TOLERANCE = 1e-15


def read_error_probabilities(conductance: Tensor, cell: DenseCellSpec) -> Tensor:
    """Probability that one read of a given physical cell returns each symbol.

    P(r) = (1 - p) * P0(r) + p * P1(r), p the telegraph occupancy, and in trap state s
    Ps(r) = Phi((t_{r+1} - m_s)/sd_s) - Phi((t_r - m_s)/sd_s),  m_s = g / (1 + s * dR/R(g)),
    g the drifted conductance, sd_s = read_sd(m_s), t_0 = -inf, t_levels = +inf

    conductance: [...], S, >= 0, as programmed (drift is applied here); float32 or float64
    returns:     [..., level], of the same dtype; sums to 1
    Error:       float64: rounding. float32: an argument x of Phi carries about 4e-8 * t/sd, which the
                 tail turns into a relative error of about x times that (below 1e-3 down to 1e-9).
    Memory:      the result and about ten temporaries of the shape of ``conductance``.
    """
    out = conductance.new_zeros(*conductance.shape, cell.levels)
    present = drift(conductance, cell)
    if not telegraph_is_on(cell):
        _add_read(out, present, cell, 1.0)
        return out
    occupancy = cell.noise.telegraph_occupancy
    if occupancy < 1:
        _add_read(out, present, cell, 1 - occupancy)
    _add_read(out, present / (1 + telegraph_amplitude(present, cell)), cell, occupancy)
    return out


def _add_read(out: Tensor, mean: Tensor, cell: DenseCellSpec, probability: float) -> None:
    """Add probability * P(symbol | mean) to ``out``; each difference is taken on its small side."""
    noiseless = cell.noise.environment_noise == 0 and cell.noise.read_noise == 0
    sd = read_sd(mean, cell)
    below, above, argument = torch.zeros_like(mean), torch.ones_like(mean), torch.full_like(mean, -math.inf)
    for symbol, threshold in enumerate([*thresholds(cell).tolist(), math.inf]):
        if noiseless:  # the value at a threshold is read as the upper symbol
            step = torch.full_like(mean, math.inf)
            next_argument = torch.where(mean < threshold, step, -step)
        else:
            next_argument = (threshold - mean) / sd
        next_below, next_above = upper_tail(-next_argument), upper_tail(next_argument)
        in_upper_tail = argument > 0
        share = torch.where(in_upper_tail, above - next_above, next_below - below)
        out[..., symbol].add_(share.clamp_(min=0), alpha=probability)
        below, above, argument = next_below, next_above, next_argument


def confusion_matrix(cell: DenseCellSpec) -> Tensor:
    """Probability that a stored symbol is read as each symbol, over writes, cells and reads.

    C[v, r] = (1 - q_low - q_high) * E_g[P(r | g)] + q_low * P(r | g_min) + q_high * P(r | g_max),
    g = max(0, g_v + sd * N(0, 1)), sd = programming_noise * (g_max - g_min),
    P(r | g) as in ``read_error_probabilities`` (drift, telegraph, environment and read noise)

    The mean over g is not Gaussian, since the telegraph amplitude depends on g: the mass at g = 0 is
    added exactly, the rest is integrated by panels of Gauss-Lobatto nodes (ends included, so that a jump
    anywhere in a panel is seen) that are halved until a panel and its halves agree.

    returns: [stored, read], float64; rows sum to 1 within 1e-12
    Error:   below QUADRATURE_ERROR = 1e-12 in each element.
    """
    noise = cell.noise
    matrix = torch.stack([_mean_over_writes(float(level), cell) for level in level_conductances(cell)])
    ends = torch.tensor([cell.g_min_S, cell.g_max_S], dtype=torch.float64)
    stuck = torch.tensor([noise.stuck_low_rate, noise.stuck_high_rate], dtype=torch.float64)
    mixed = matrix * (1 - stuck.sum()) + stuck @ read_error_probabilities(ends, cell)
    return mixed.clamp_(max=1)  # a certain symbol may come out one rounding above 1


def _mean_over_writes(level: float, cell: DenseCellSpec) -> Tensor:
    """E_g[P(r | g)] for one nominal conductance, [read]."""
    sd = cell.noise.programming_noise * conductance_range(cell)
    if sd == 0:
        return read_error_probabilities(torch.tensor(level, dtype=torch.float64), cell)
    lowest = max(-level / sd, -_REACH)  # z at which the conductance reaches 0
    edges = torch.linspace(lowest, _REACH, _PANELS + 1, dtype=torch.float64)
    left, right = edges[:-1], edges[1:]
    coarse = _panel_integrals(left, right, level, sd, cell)
    at_zero = read_error_probabilities(torch.zeros((), dtype=torch.float64), cell)
    total = upper_tail(torch.tensor(level / sd, dtype=torch.float64)) * at_zero
    while len(left):
        middle = (left + right) / 2
        first = _panel_integrals(left, middle, level, sd, cell)
        second = _panel_integrals(middle, right, level, sd, cell)
        fine = first + second
        # a jump is followed down to a panel of 2^-50 standard deviations
        refine = ((fine - coarse).abs().amax(-1) > _PANEL_TOLERANCE) & (right - left > 2.0**-50)
        total = total + fine[~refine].sum(0)
        left, middle, right = left[refine], middle[refine], right[refine]
        left, right = torch.cat([left, middle]), torch.cat([middle, right])
        coarse = torch.cat([first[refine], second[refine]])
    return total


def _panel_integrals(left: Tensor, right: Tensor, level: float, sd: float, cell: DenseCellSpec) -> Tensor:
    """Integral of phi(z) * P(r | level + sd * z) over each panel, [panel, read]."""
    nodes, weights = _gauss_lobatto(_NODES)
    half = (right - left)[:, None] / 2
    z = (left + right)[:, None] / 2 + half * nodes
    density = torch.exp(-z * z / 2) * (half * weights / math.sqrt(2 * math.pi))
    probabilities = read_error_probabilities((level + sd * z).clamp_(min=0), cell)
    return torch.matmul(density[:, None, :], probabilities)[:, 0]


@cache
def _gauss_lobatto(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1], float64: the ends and the roots of P'_{count-1}."""
    legendre = np.polynomial.legendre.Legendre.basis(count - 1)
    nodes = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    weights = 2 / (count * (count - 1) * legendre(nodes) ** 2)
    return torch.from_numpy(nodes), torch.from_numpy(weights)
