"""Effective conductances of many tiles at once: the network of wires, solved wordline by wordline.

By reciprocity the current that 1 V on wordline k drives into the sense node of bitline b is the current
that 1 V on that sense node drives into the driver of wordline k, all other ends at 0 V. So nothing drives
inside the network, and it can be walked from the far end of the bitlines to their sense nodes. In units of a
segment's conductance, v_k the voltages of the bitlines at wordline k, d_k their rise to the next one:

    d_k = d_{k-1} + S_k v_k,    v_{k+1} = v_k + d_k,    d_{-1} = 0
    S_k = G - G M G,  G = diag(g_k),  M the inverse of the wordline's tridiagonal matrix

M is one of a line: M_bc = p_min q_max / w, p and q the voltages along the line that start from either end, w
their Wronskian. All increments of p, q and d are sums of terms of one sign, so that no digits cancel. Walking
all of v_0 = e_0, e_1, ... gives v at the sense nodes, Phi, and the currents into the drivers, u; what 1 V on
one sense node drives is u Phi^-1.

Several wordlines at once: over a stretch of n wordlines the voltages are taken as v + j d, and the part that
the stretch itself adds as its mean, c j (j + 1) / 2. What is left is of the order of g n^2: ``walk_error``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.wire import nodal_conductance

__all__ = ["STRETCHES", "effective_conductance", "stretch_for", "walk_error"]

STRETCHES = (32, 24, 16, 12, 8, 6, 4, 3, 2)
SINGLE = 1e-4  # tolerance above which single precision (3e-6 seen at 128 x 128) does
TILES_AT_ONCE = 16
GROWTH = 1e3  # of the voltages along the walk, above which it loses too many digits


def effective_conductance(
    conductance_S: Tensor, wire_resistance_ohm: float, *, tolerance: float = 0.0
) -> Tensor:
    """Effective conductance of each wordline to each bitline, for one tile or many.

    The same network as ``nodal_conductance``: 1 V on wordline k, all others and all sense nodes at 0 V.

    conductance_S: [..., wordline, bitline] of the cells, S; 0 for an open one
    tolerance:     share of a tile's largest entry, and of its largest bitline current when all wordlines are
                   driven alike, that the result may be off by; 0 asks for the exact solution
    returns:       same shape, S, float64
    Error:         exact: rounding, 2e-12 of the largest entry seen at 128 x 128; tiles in which voltages grow
                   a thousandfold along a line go to the sparse solver. With a tolerance: ``walk_error``.
    Cost:          2 W B^2 (exact) multiply-adds twice over, per tile of W x B; over stretches of n wordlines
                   about 2/n of it.
    """
    if conductance_S.ndim < 2 or not conductance_S.numel():
        raise DeviceError(f"conductance_S has shape {tuple(conductance_S.shape)}: matrices are needed.")
    if not 0 <= wire_resistance_ohm < float("inf"):
        raise DeviceError(f"wire_resistance_ohm is {wire_resistance_ohm}: it must be finite and at least 0.")
    if not 0 <= tolerance < 1:
        raise DeviceError(f"tolerance is {tolerance}: it must be at least 0 and below 1.")
    cells = conductance_S.double()
    if not bool(torch.isfinite(cells).all()):
        raise DeviceError("conductance_S has a value that is not finite.")
    if wire_resistance_ohm == 0:
        return cells.clone()
    tiles = cells.flatten(0, -3) if cells.ndim > 2 else cells[None]
    # the walk multiplies matrices of its bitlines: walk along the longer side
    turned = tiles.shape[2] > tiles.shape[1]
    if turned:
        tiles = _turn(tiles)
    scaled = tiles * wire_resistance_ohm
    stretches = stretch_for(scaled, tolerance)
    result = torch.empty_like(tiles)
    for stretch in stretches.unique().tolist():
        of_it = (stretches == stretch).nonzero().flatten()
        single = stretch > 1 and tolerance >= SINGLE
        for places in of_it.split(TILES_AT_ONCE):
            here = scaled[places]
            found, growth = _walk(here.float() if single else here, int(stretch))
            result[places] = found.double() / wire_resistance_ohm
            for lost in (~(growth < GROWTH)).nonzero().flatten().tolist():
                place = int(places[lost])
                result[place] = nodal_conductance(tiles[place], wire_resistance_ohm)
    return (_turn(result) if turned else result).reshape(cells.shape)


def _turn(tiles: Tensor) -> Tensor:
    """The same network seen from its sense nodes: bitlines become wordlines, counted from the other end."""
    return tiles.transpose(-1, -2).flip(-1, -2)


def walk_error(scaled: Tensor, stretch: Tensor | int) -> Tensor:
    """Estimate of what a walk over stretches of n wordlines is off by, share of the largest entry.

    (1 + z) x n (n + 4) / 8 + (z n / (2 W))^2,  x = max g,  z = max_b sum_k g_kb (W - k),  0 for n = 1

    The first part is the largest deviation of c j (j + 1) / 2 from the rise that closed cells at one end of
    the stretch cause, the second the curvature of the whole over a stretch.

    scaled:  [tile, wordline, bitline], conductance times the resistance of a segment
    stretch: n, of each tile or of all
    returns: [tile]
    Error:   an estimate, not a bound: 1 to 8 times what regular and random patterns of closed switches showed
             (scripts/wire_solver.py)
    """
    count = scaled.shape[1]
    n = torch.as_tensor(stretch, dtype=torch.float64)
    weight = torch.arange(count, 0, -1, dtype=torch.float64)
    size = scaled.abs()  # a cell may come out negative: see draw_mismatch
    load = (size * weight[:, None]).sum(1).amax(1)
    error = (1 + load) * size.amax((1, 2)) * n * (n + 4) / 8 + (load * n / (2 * count)) ** 2
    return torch.where(n > 1, error, 0.0)


def stretch_for(scaled: Tensor, tolerance: float) -> Tensor:
    """Longest stretch of each tile whose ``walk_error`` is within the tolerance; 1, the exact walk, if none.

    scaled:  [tile, wordline, bitline], as ``walk_error``
    returns: [tile], int64
    """
    chosen = torch.ones(len(scaled), dtype=torch.int64)
    if tolerance == 0:
        return chosen
    for stretch in sorted(STRETCHES):
        chosen[walk_error(scaled, stretch) <= tolerance] = stretch
    return chosen


def _line(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of G M as two factors: for c <= b, (G M G)_bc = far_b near_c.

    cells:   [tile, wordline, bitline], scaled
    returns: near g p, far g q / w, both [tile, wordline, bitline]
    """
    along = cells.permute(2, 0, 1).contiguous()  # [bitline, tile, wordline]: one place of all lines at a time
    near, far = torch.empty_like(along), torch.empty_like(along)
    here, slope = torch.ones_like(along[0]), torch.ones_like(along[0])
    for place in range(len(along)):
        near[place] = here
        slope = torch.addcmul(slope, along[place], here)
        here = here + slope
    wronskian = slope
    here, slope = torch.ones_like(along[0]), torch.zeros_like(along[0])
    for place in reversed(range(len(along))):
        far[place] = here
        slope = torch.addcmul(slope, along[place], here)
        here = here + slope
    near *= along
    far *= along
    far /= wronskian
    return near.permute(1, 2, 0).contiguous(), far.permute(1, 2, 0).contiguous()


def _stretch(near: Tensor, far: Tensor, cells: Tensor) -> Tensor:
    """Sum of S_k over wordlines: diag(sum g) - sum of G M G, [tile, bitline, bitline]."""
    lower = torch.bmm(far.transpose(1, 2), near).tril_()
    matrix = lower + lower.tril(-1).transpose(1, 2)
    matrix.neg_().diagonal(dim1=1, dim2=2).add_(cells.sum(1))
    return matrix


def _walk(cells: Tensor, stretch: int) -> tuple[Tensor, Tensor]:
    """Effective conductance in units of a segment, and how much the voltages grew on the way.

    cells:   [tile, wordline, bitline], scaled
    returns: [tile, wordline, bitline], [tile]
    """
    tiles, wordlines, bitlines = cells.shape
    near, far = _line(cells)
    volts = torch.eye(bitlines, dtype=cells.dtype).expand(tiles, -1, -1).clone()  # [tile, bitline, start]
    rise = torch.zeros_like(volts)
    driven = torch.empty_like(cells)  # [tile, wordline, start]: currents into the drivers
    for first in range(0, wordlines, stretch):
        last = min(first + stretch, wordlines)
        count = last - first
        near_k, far_k, cells_k = near[:, first:last], far[:, first:last], cells[:, first:last]
        into = torch.bmm(far_k, volts)
        whole = _stretch(near_k, far_k, cells_k)
        if count == 1:
            rise += torch.bmm(whole, volts)
            volts += rise
        else:
            place = torch.arange(count, dtype=cells.dtype)[:, None]
            moment = _stretch(near_k, far_k * place, cells_k * place)
            middle = torch.add(volts, rise, alpha=(count - 1) / 2)
            added, turned = torch.bmm(whole, middle), torch.bmm(moment, middle)
            into += place * torch.bmm(far_k, rise)
            into += place * (place + 1) / (2 * count) * torch.bmm(far_k, added)
            volts += count * (rise + added) - turned
            rise += added
        driven[:, first:last] = into
    growth = volts.abs().amax((1, 2))
    sound = torch.where((growth < GROWTH)[:, None, None], volts, torch.eye(bitlines, dtype=cells.dtype))
    return torch.linalg.solve(sound.transpose(1, 2), driven.transpose(1, 2)).transpose(1, 2), growth
