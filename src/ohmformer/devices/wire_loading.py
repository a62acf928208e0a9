"""What the wires of a tile take from each cell, by its place and by the switches that are closed beside it.

Which switches are closed is known before a product starts. Their currents decide what a cell loses, so that
the loss of a loaded tile follows from a few running sums, far cheaper than the network's solution
(``effective_conductance``) and far nearer to it than typical loading (``wire_attenuation``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.resistor import branch_conductance
from ohmformer.devices.wire import resistor_shares
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec

__all__ = ["loaded_attenuation", "loaded_conductance", "loaded_keep"]

ROUNDS = 2  # after the first; a third one changes nothing that shows beside what the form leaves out


def loaded_keep(conductance_S: Tensor, wire_resistance_ohm: float, *, rounds: int = ROUNDS) -> Tensor:
    """Share of its current that each cell keeps: its conductance times this is the effective one.

    1 V on wordline k alone. The voltage that is left across cell (k, b) is what the drop along the wordline
    and, by reciprocity, the rise of the bitline under the same cell's current leave, both carried by currents
    that have lost their share already:

        keep_kb = 1 - r (sum_c h_kc min(b + 1, c + 1) + sum_m h_mb (W - max(k, m))),   h = g keep

    W wordlines. One round puts z = r (...) / keep into keep = 1 / (1 + z), which has the same fixed point
    and stays between 0 and 1; the first one takes h = g, which is the first order in r.

    conductance_S: [..., wordline, bitline] of the cells, S; 0 for an open one
    returns:       same shape, float64; of an open cell what it would keep. 1 without wire resistance.
    Error:         currents that reach a bitline over the wires of others are not in it, of second order in
                   the loss; measured by scripts/wire_error.py, see docs/machine.md.
    Cost:          eight running sums over the tile a round.
    """
    if conductance_S.ndim < 2 or not conductance_S.numel():
        raise DeviceError(f"conductance_S has shape {tuple(conductance_S.shape)}: matrices are needed.")
    if not 0 <= wire_resistance_ohm < float("inf"):
        raise DeviceError(f"wire_resistance_ohm is {wire_resistance_ohm}: it must be finite and at least 0.")
    scaled = conductance_S.double() * wire_resistance_ohm
    keep = 1 / (1 + _drop(scaled))
    for _ in range(rounds):
        keep = 1 / (1 + _drop(scaled * keep) / keep)
    return keep


def loaded_conductance(conductance_S: Tensor, wire_resistance_ohm: float) -> Tensor:
    """Effective conductance of each wordline to each bitline in closed form: the cells times ``loaded_keep``.

    The same shape and meaning as ``effective_conductance``, whose solution it approximates.
    """
    return conductance_S.double() * loaded_keep(conductance_S, wire_resistance_ohm)


def _drop(scaled: Tensor) -> Tensor:
    """sum_c h_kc min(b + 1, c + 1) + sum_m h_mb (W - max(k, m)), both as sums of running sums."""
    along = scaled.flip(-1).cumsum(-1).flip(-1).cumsum(-1)
    return along + scaled.cumsum(-2).flip(-2).cumsum(-2).flip(-2)


def loaded_attenuation(units: Tensor, tile: TileSpec, *, digits: Tensor | None = None) -> Tensor:
    """Share of its sum that each bitline loses while each group is driven, for the switches as they are.

    ``loaded_keep`` averaged over the closed elements of a group on the bitline, with the parts that the
    resistors have in a digit, c_r = E[w_r state_r d] / E[d^2]: the regression of the sum through the wires
    on the sum without them, for independent digits of mean 0.

        a_gb = 1 - sum_{n in g} e_nb sum_r c_r keep_(n,r)b / sum_{n in g} e_nb

    What is left varies from element to element of a bitline; ``loaded_conductance`` has that too.

    units:   [..., wordline, bitline], units that each closed switch connects, 0 where it is open
    digits:  digits whose statistics are taken for c_r, any shape; uniform ones without it
    returns: [..., group, bitline], float64; without a closed switch 0
    """
    if units.shape[-2:] != (tile.wordlines, tile.bitlines):
        raise DeviceError(
            f"units have shape {tuple(units.shape)}: the tile is {tile.wordlines} x {tile.bitlines}."
        )
    cells_S = units.double() * branch_conductance(1, tile.resistor)
    lost = 1 - loaded_keep(cells_S, tile.resistor.wire_resistance_ohm)
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    share = resistor_shares(tile, digits)
    used = slice(0, tile.elements * len(code.weights))
    by_element = (lost[..., used, :].unflatten(-2, (tile.elements, -1)) * share[:, None]).sum(-2)
    closed = (units[..., used, :].unflatten(-2, (tile.elements, -1)) != 0).any(-2).double()
    groups = -(-tile.elements // tile.group_elements)
    spare = groups * tile.group_elements - tile.elements
    part = torch.nn.functional.pad(by_element * closed, (0, 0, 0, spare))
    count = torch.nn.functional.pad(closed, (0, 0, 0, spare))
    of_group = part.unflatten(-2, (groups, -1)).sum(-2)
    mean: Tensor = of_group / count.unflatten(-2, (groups, -1)).sum(-2).clamp(min=1)
    return mean
