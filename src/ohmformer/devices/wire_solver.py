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

S_k v is two running sums along the wordline, which the kernel (kernels/walk.cpp) takes; where it was not
built, torch multiplies by the matrices, ten times as slowly.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.wire import nodal_conductance

try:
    _walk: Any = importlib.import_module("ohmformer.devices._walk")
except ImportError:  # built where there is a C++ compiler
    _walk = None

__all__ = ["effective_conductance"]

TILES_AT_ONCE = 16
GROWTH = 1e3  # of the voltages along the walk, above which it loses too many digits


def effective_conductance(conductance_S: Tensor, wire_resistance_ohm: float) -> Tensor:
    """Effective conductance of each wordline to each bitline, for one tile or many.

    The same network as ``nodal_conductance``: 1 V on wordline k, all others and all sense nodes at 0 V.

    conductance_S: [..., wordline, bitline] of the cells, S; 0 for an open one
    returns:       same shape, S, float64
    Error:         rounding, 2e-12 of the largest entry seen at 128 x 128 against the sparse solution; tiles
                   in which voltages grow a thousandfold along a line go to that one.
    Cost:          about 10 W B^2 + B^3 operations for a tile of W x B, on torch's number of threads; some
                   hundred tiles of 128 x 128 a second on each (scripts/wire_solver.py).
    """
    if conductance_S.ndim < 2 or not conductance_S.numel():
        raise DeviceError(f"conductance_S has shape {tuple(conductance_S.shape)}: matrices are needed.")
    if not 0 <= wire_resistance_ohm < float("inf"):
        raise DeviceError(f"wire_resistance_ohm is {wire_resistance_ohm}: it must be finite and at least 0.")
    cells = conductance_S.double()
    if not bool(torch.isfinite(cells).all()):
        raise DeviceError("conductance_S has a value that is not finite.")
    if wire_resistance_ohm == 0:
        return cells.clone()
    tiles = cells.flatten(0, -3) if cells.ndim > 2 else cells[None]
    # what starts the walk is as many as its bitlines: walk along the longer side
    turned = tiles.shape[2] > tiles.shape[1]
    if turned:
        tiles = _turn(tiles)
    scaled = tiles * wire_resistance_ohm
    found, growth = _native_walk(scaled) if _walk is not None else _torch_walk(scaled)
    result = found / wire_resistance_ohm
    for place in (~(growth < GROWTH)).nonzero().flatten().tolist():
        result[place] = nodal_conductance(tiles[place], wire_resistance_ohm)
    return (_turn(result) if turned else result).reshape(cells.shape)


def _turn(tiles: Tensor) -> Tensor:
    """The same network seen from its sense nodes: bitlines become wordlines, counted from the other end."""
    return tiles.transpose(-1, -2).flip(-1, -2)


def _native_walk(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """As ``_torch_walk``, by the kernel."""
    cells = scaled.contiguous()
    found = torch.empty_like(cells)
    growth = torch.empty(len(cells), dtype=torch.float64)
    count, wordlines, bitlines = cells.shape
    _walk.solve(
        cells.data_ptr(),
        found.data_ptr(),
        growth.data_ptr(),
        count,
        wordlines,
        bitlines,
        torch.get_num_threads(),
    )
    return found, growth


def _torch_walk(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Effective conductance in units of a segment, and how much the voltages grew on the way.

    scaled:  [tile, wordline, bitline], conductance times the resistance of a segment
    returns: [tile, wordline, bitline], [tile]
    """
    parts = [_walk_some(some) for some in scaled.split(TILES_AT_ONCE)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


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


def _walk_some(cells: Tensor) -> tuple[Tensor, Tensor]:
    tiles, wordlines, bitlines = cells.shape
    near, far = _line(cells)
    volts = torch.eye(bitlines, dtype=cells.dtype).expand(tiles, -1, -1).clone()  # [tile, bitline, start]
    rise = torch.zeros_like(volts)
    driven = torch.empty_like(cells)  # [tile, wordline, start]: currents into the drivers
    for place in range(wordlines):
        near_k, far_k = near[:, place, None], far[:, place, None]
        driven[:, place, None] = torch.bmm(far_k, volts)
        lower = torch.bmm(far_k.transpose(1, 2), near_k).tril_()
        matrix = lower + lower.tril(-1).transpose(1, 2)
        matrix.neg_().diagonal(dim1=1, dim2=2).add_(cells[:, place])
        rise += torch.bmm(matrix, volts)
        volts += rise
    growth = volts.abs().amax((1, 2))
    sound = torch.where((growth < GROWTH)[:, None, None], volts, torch.eye(bitlines, dtype=cells.dtype))
    return torch.linalg.solve(sound.transpose(1, 2), driven.transpose(1, 2)).transpose(1, 2), growth
