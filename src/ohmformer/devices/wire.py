"""Wires of a computation crossbar: the exact network, and the share of a sum that a bitline loses.

The network. Wordline k is driven at bitline 0's side, at +V, -V or, where its digit's state is 0, at 0 V.
Bitline b is sensed behind the last wordline by a virtual ground. One segment of wire, of resistance r, lies
between neighbouring cells, between driver and first cell, between last cell and sense node. A closed cell
joins its wordline and its bitline with the conductance of its branch (resistors.branch_conductance); an open
cell joins nothing. All of it is linear, so that the sensed currents are the voltages times a matrix.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.converter import converter_level
from ohmformer.devices.resistor import branch_conductance
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec

__all__ = ["nodal_conductance", "resistor_shares", "static_deviation", "wire_attenuation"]


def nodal_conductance(conductance_S: Tensor, wire_resistance_ohm: float) -> Tensor:
    """Effective conductance of each wordline to each bitline, by the exact solution of the network.

    For unit voltage on wordline k, all others at 0 V, Kirchhoff's current law at the two nodes of each cell
    (u on the wordline, v on the bitline, y = 1 / r, u_{k,-1} the driver, v_{last+1,b} = 0 the sense node):

        y (u_kb - u_{k,b-1}) + y (u_kb - u_{k,b+1}) + g_kb (u_kb - v_kb) = 0    (no third node at the end)
        y (v_kb - v_{k-1,b}) + y (v_kb - v_{k+1,b}) + g_kb (v_kb - u_kb) = 0    (none before the first)
        effective[k, b] = y v_{last,b}

    conductance_S: [wordline, bitline] of the cells, S; 0 for an open one
    returns:       [wordline, bitline], S, float64; the cells themselves without wire resistance
    Error:         rounding of a sparse direct solve: below 1e-12 of the largest entry for 128 x 128 at
                   r * g = 1e-10, seen against the first order, which itself is 3e-12 off there.
    Cost:          2 * wordlines * bitlines unknowns, wordlines right-hand sides: about 1 s for 128 x 128.
    """
    if conductance_S.ndim != 2 or not conductance_S.numel():
        raise DeviceError(f"conductance_S has shape {tuple(conductance_S.shape)}: a matrix is needed.")
    if wire_resistance_ohm < 0:
        raise DeviceError(f"wire_resistance_ohm is {wire_resistance_ohm}: it must be at least 0.")
    if wire_resistance_ohm == 0:
        return conductance_S.double()
    from scipy.sparse import coo_matrix  # few runs need them, all would wait for them
    from scipy.sparse.linalg import splu

    cells = conductance_S.double().numpy() * wire_resistance_ohm  # in units of a segment's conductance
    rows, columns = cells.shape
    wordline = np.arange(rows * columns).reshape(rows, columns)
    bitline = wordline + rows * columns
    pairs = [
        (wordline[:, :-1], wordline[:, 1:], np.ones((rows, columns - 1))),
        (bitline[:-1], bitline[1:], np.ones((rows - 1, columns))),
        (wordline, bitline, cells),
    ]
    first = np.concatenate([pair[0].ravel() for pair in pairs])
    second = np.concatenate([pair[1].ravel() for pair in pairs])
    between = np.concatenate([pair[2].ravel() for pair in pairs])
    to_ground = np.concatenate([wordline[:, 0], bitline[-1]])  # segments to the drivers, to the sense nodes
    diagonal = np.bincount(
        np.concatenate([first, second, to_ground]),
        np.concatenate([between, between, np.ones(len(to_ground))]),
        2 * rows * columns,
    )
    every = np.arange(2 * rows * columns)
    network = coo_matrix(
        (
            np.concatenate([diagonal, -between, -between]),
            (np.concatenate([every, first, second]), np.concatenate([every, second, first])),
        )
    ).tocsc()
    driven = np.zeros((2 * rows * columns, rows))
    driven[wordline[:, 0], np.arange(rows)] = 1.0
    sensed = splu(network, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(driven)
    return torch.from_numpy(sensed[bitline[-1]].T / wire_resistance_ohm)


def wire_attenuation(tile: TileSpec) -> Tensor:
    """Share of its sum that a bitline loses in the wires under typical loading: s becomes s (1 - a_b).

    To first order in x = r / (R_unit + R_switch) the voltage across cell (k, b) falls short by the drop on
    its wordline and by the rise on its bitline, both carrying the currents without wires:

        drop_kb / V_k = x w_k sum_c e_kc min(b + 1, c + 1)
        rise_kb       = x sum_m V_m w_m e_mb (W - max(k, m))

    w_k the units of wordline k, e the resident switches, W wordlines, B bitlines. What bitline b loses is
    x sum_k V_k w_k e_kb f_kb with, by exchanging k and m in the second sum,

        f_kb = w_k sum_c e_kc min(b + 1, c + 1) + sum_m w_m e_mb (W - max(k, m)).

    Typical loading: the switches of an element on a bitline are closed together with probability p,
    independently of all others; digits are uniform. Given that e_kb is closed, the mean of f_kb is
    w_k T_b + U_k:

        T_b = p (b + 1) (2B - b) / 2 + (1 - p) (b + 1)
        U_k = p sum_m w_m (W - max(k, m)) + (1 - p) sum_{m in the element of k} w_m (W - max(k, m))

    The loss is regressed on the sum s over random digits d. With c_r = E[w_r state_r d] / E[d^2], the part
    of resistor r in a digit (they add to 1), and U averaged over all elements of the tile,

        z_b = x sum_r c_r (w_r T_b + mean U_r),      a_b = z_b / (1 + z_b).

    The last step is z_b to first order and stays below 1: the loss lowers the currents that cause it.

    p is 1/2 for resident bits. For resident digits, on pairs of bitlines, it is half the share of resistors
    in use, and each bitline of a pair loses its own share.

    returns: [bitline], float64, ascending, 0 <= a_b < 1; all 0 without wire resistance
    Error:   measured against ``nodal_conductance`` by scripts/wire_error.py; see docs/machine.md. What the
             operands change in the loading is not in it.
    """
    bitlines = torch.arange(tile.bitlines, dtype=torch.float64)
    segment = tile.resistor.wire_resistance_ohm * branch_conductance(1, tile.resistor)
    share, closed = _shares(tile)
    weights = torch.tensor(ResistorCode(tile.numeral.radix, tile.numeral.polarity).weights).double()
    along = closed * (bitlines + 1) * (2 * tile.bitlines - bitlines) / 2 + (1 - closed) * (bitlines + 1)
    load = weights.repeat(tile.elements)  # w_k of the wordlines in use
    place = torch.arange(len(load), dtype=torch.float64)
    to_sense = tile.wordlines - place
    nearer = (load * to_sense).flip(0).cumsum(0).flip(0) - load * to_sense  # sum over m > k
    down = (load.cumsum(0) * to_sense + nearer).view(tile.elements, -1)
    ways = to_sense.view(tile.elements, -1)
    own = torch.minimum(ways[:, :, None], ways[:, None]) @ weights
    mean_down = (closed * down + (1 - closed) * own).mean(0)
    loss = segment * ((share * weights).sum() * along + (share * mean_down).sum())
    attenuation: Tensor = loss / (1 + loss)
    return attenuation


def _shares(tile: TileSpec) -> tuple[Tensor, float]:
    """c_r, the part of each resistor in a uniform digit, and p, the share of closed switches."""
    if tile.resident_code == "bits":
        return resistor_shares(tile), 0.5
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    states = code.switch_states(_all_digits(tile)).double()
    return resistor_shares(tile), float(states.abs().mean()) / 2


def _all_digits(tile: TileSpec) -> Tensor:
    return torch.arange(-tile.numeral.max_digit, tile.numeral.max_digit + 1)


def resistor_shares(tile: TileSpec, digits: Tensor | None = None) -> Tensor:
    """c_r = E[w_r state_r d] / E[d^2], the part of each resistor in a digit; they add to 1.

    digits:  digits whose statistics count, any shape; every digit once (uniform) without it, or if all are 0
    returns: [resistor], float64
    """
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    every = _all_digits(tile)
    times = torch.ones(len(every), dtype=torch.float64)
    if digits is not None and bool(digits.any()):
        most = tile.numeral.max_digit
        if not -most <= int(digits.min()) <= int(digits.max()) <= most:
            raise DeviceError(
                f"digits run outside -{most} to {most}, the digits of radix {tile.numeral.radix}."
            )
        times = torch.bincount(digits.flatten().long() + most, minlength=len(every)).double()
    current = code.switch_states(every).double() * torch.tensor(code.weights)
    weighted = times * every
    share: Tensor = (current * weighted[:, None]).sum(0) / (weighted * every).sum()
    return share


def static_deviation(tile: TileSpec) -> float:
    """Largest distance of a level from its sum that wires and nonlinearity cause, in steps.

    max over whole sums |s| <= max_sum and bitlines b of |level(s (1 - a_b)) - s / step|, a_b as in
    ``wire_attenuation``, level as in ``converter_level``

    A level rises with its sum, so that only the bitlines of least and of largest loss need be looked at.

    returns: steps; 0 without wires and nonlinearity. With step 1, rounding to nearest and no noise every
             code is exact while this is below 1/2 (and the code range suffices: ``tile.lossless``).
    """
    sums = torch.arange(tile.max_sum + 1, dtype=torch.float64)  # the characteristic is odd
    loss = wire_attenuation(tile)[[0, -1], None]
    return float((converter_level(sums * (1 - loss), tile.adc) - sums / tile.adc.step).abs().max())
