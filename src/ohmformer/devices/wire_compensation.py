"""What drivers and sense amplifiers can do against the wires: fixed factors by position.

A factor is set once for a tile, for typical loading (see ``wire_attenuation``). What the operands change in
the loading stays.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.resistor import branch_conductance
from ohmformer.devices.wire import _shares
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec

__all__ = ["COMPENSATIONS", "Compensation", "compensation_factors", "typical_loss"]

Compensation = Literal["none", "driver", "gain", "both"]
COMPENSATIONS: tuple[Compensation, ...] = get_args(Compensation)


def typical_loss(tile: TileSpec) -> Tensor:
    """Mean loss z of a closed cell's current to first order: the current is i / (1 + z).

    z_kb = x (w_k T_b + U_k), x, w, T and U as in ``wire_attenuation``

    returns: [wordline, bitline], float64; of wordlines beyond the last element as if they had one more
    """
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    closed = _shares(tile)[1]
    segment = tile.resistor.wire_resistance_ohm * branch_conductance(1, tile.resistor)
    weights = torch.tensor(code.weights, dtype=torch.float64)
    elements = -(-tile.wordlines // len(weights))
    load = weights.repeat(elements)[: tile.wordlines]
    load_used = load * (torch.arange(tile.wordlines) < tile.elements * len(weights))
    place = torch.arange(tile.wordlines, dtype=torch.float64)
    ways = tile.wordlines - torch.maximum(place[:, None], place)
    same = (place // len(weights))[:, None] == place // len(weights)
    down = (ways * torch.where(same, torch.tensor(1.0, dtype=torch.float64), closed)) @ load_used
    bitlines = torch.arange(tile.bitlines, dtype=torch.float64)
    along = closed * (bitlines + 1) * (2 * tile.bitlines - bitlines) / 2 + (1 - closed) * (bitlines + 1)
    return segment * (load[:, None] * along + down[:, None])


def compensation_factors(tile: TileSpec, compensation: Compensation) -> tuple[Tensor, Tensor]:
    """Factors on the voltage of each wordline and on the sum of each bitline.

    log(1 + z_kb) is fitted, by least squares with the weights w_k^2 with which errors add up, by

        driver: a_k          gain: b_b          both: a_k + b_b

    and the factors are exp(a), exp(b).

    returns: drive [wordline], gain [bitline], float64; all 1 for ``none``
    """
    if compensation not in COMPENSATIONS:
        raise DeviceError(f"compensation is {compensation!r}: allowed are {', '.join(COMPENSATIONS)}.")
    loss = typical_loss(tile).log1p()
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    elements = -(-tile.wordlines // len(code.weights))
    weight = torch.tensor(code.weights, dtype=torch.float64).repeat(elements)[: tile.wordlines] ** 2
    of_wordline = loss.mean(1)
    of_bitline = (weight[:, None] * loss).sum(0) / weight.sum()
    whole = (weight * of_wordline).sum() / weight.sum()
    drive, gain = torch.zeros_like(of_wordline), torch.zeros_like(of_bitline)
    if compensation in ("driver", "both"):
        drive = of_wordline
    if compensation in ("gain", "both"):
        gain = of_bitline - whole if compensation == "both" else of_bitline
    return drive.exp(), gain.exp()
