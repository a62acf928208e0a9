"""Scaling of digital blocks from 32 nm to another process node.

Area is a table; energy E(V) is a polynomial fitted to circuit simulations at each node, for high-performance
(HP) and low-power (LP) transistors from 45 nm on. Both ends of a ratio are taken from one family: mixing
them, as some tools do, joins a low-power 32 nm with a high-performance 7 nm. Time does not scale: clocks and
rates are given by the chip description. Cells in F² scale by the square of the node, links not at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ohmformer.costs.component import Interval
from ohmformer.errors import UserError
from ohmformer.specs import Source

__all__ = ["NODES_NM", "NODE_SOURCE", "SUPPLY_V", "NodeFactors", "node_factors"]

SUPPLY_V = 0.8
REFERENCE_NM = 32.0


@dataclass(frozen=True, kw_only=True)
class NodeFactors:
    """What 32 nm area and energy are multiplied with.

    energy:       geometric mean of the two transistor families
    energy_range: the two families
    """

    area: float
    energy: float
    energy_range: Interval


NODE_SOURCE = Source(
    "other work",
    "Stillmaker and Baas, Integration 58 (2017) 74-81: area table, energy polynomials at .8 V; 22 nm "
    "interpolated between 20 and 32; applied to analog blocks too, which shrink less: optimistic below 32 nm",
)

# area of a 32 nm block at the node: the published row, or 1 / the published factor to 32 nm above it
_AREA = {
    130.0: 1 / 0.072,
    90.0: 1 / 0.16,
    65.0: 1 / 0.31,
    45.0: 1 / 0.46,
    32.0: 1.0,
    20.0: 0.46,
    16.0: 0.41,
    14.0: 0.38,
    10.0: 0.22,
    7.0: 0.13,
}
# E(V) = a V² + b V + c; above 45 nm one set for both families
_ENERGY_HP = {
    130.0: (7.171, -6.709, 2.904),
    90.0: (4.762, -4.781, 2.092),
    65.0: (3.755, -4.398, 1.975),
    45.0: (1.018, -0.3107, 0.1539),
    32.0: (0.8367, -0.4341, 0.1701),
    20.0: (0.373, -0.1582, 0.04104),
    16.0: (0.2958, -0.1241, 0.03024),
    14.0: (0.2363, -0.09675, 0.02239),
    10.0: (0.2068, -0.09311, 0.02375),
    7.0: (0.1776, -0.09097, 0.02447),
}
_ENERGY_LP = {
    **_ENERGY_HP,
    45.0: (1.103, -0.362, 0.2767),
    32.0: (0.9559, -0.7823, 0.471),
    20.0: (0.2632, -0.14, 0.06841),
    16.0: (0.2139, -0.1187, 0.05639),
    14.0: (0.1556, -0.06472, 0.03066),
    10.0: (0.1261, -0.0518, 0.02769),
    7.0: (0.09365, -0.03409, 0.02043),
}


def _polynomial(coefficients: tuple[float, ...]) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * SUPPLY_V + coefficient
    return value


def _ratio(table: Mapping[float, tuple[float, ...]], node_nm: float) -> float:
    return _polynomial(table[node_nm]) / _polynomial(table[REFERENCE_NM])


def _factors(node_nm: float) -> NodeFactors:
    families = _ratio(_ENERGY_HP, node_nm), _ratio(_ENERGY_LP, node_nm)
    middle = math.sqrt(families[0] * families[1])
    return NodeFactors(
        area=_AREA[node_nm],
        energy=middle,
        energy_range=Interval(min(families), middle, max(families)),
    )


def _between(small: NodeFactors, large: NodeFactors, share: float) -> NodeFactors:
    """Straight in log-log, ``share`` of the way from ``small`` to ``large``."""

    def mean(a: float, b: float) -> float:
        return math.exp((1 - share) * math.log(a) + share * math.log(b))

    a, b = small.energy_range, large.energy_range
    return NodeFactors(
        area=mean(small.area, large.area),
        energy=mean(small.energy, large.energy),
        energy_range=Interval(mean(a.low, b.low), mean(a.typical, b.typical), mean(a.high, b.high)),
    )


_FROM_32_NM = {node: _factors(node) for node in _AREA}
_FROM_32_NM[22.0] = _between(_FROM_32_NM[20.0], _FROM_32_NM[32.0], math.log(22 / 20) / math.log(32 / 20))
NODES_NM = tuple(sorted(_FROM_32_NM))


def node_factors(node_nm: float) -> NodeFactors:
    """Factors from 32 nm to ``node_nm``; a node without published factors is refused."""
    if node_nm not in _FROM_32_NM:
        known = ", ".join(f"{node:g}" for node in NODES_NM)
        raise UserError(f"There are no scaling factors for node_nm = {node_nm:g}: allowed are {known}.")
    return _FROM_32_NM[node_nm]
