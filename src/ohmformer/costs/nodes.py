"""Scaling of digital blocks from 32 nm to another process node."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.errors import UserError
from ohmformer.specs import Source

__all__ = ["NODES_NM", "NODE_SOURCE", "NodeFactors", "node_factors"]


@dataclass(frozen=True, kw_only=True)
class NodeFactors:
    """What 32 nm area, energy and delay are multiplied with."""

    area: float
    energy: float
    delay: float


NODE_SOURCE = Source(
    "other work",
    "Stillmaker and Baas, Integration 58 (2017), scaling factors at 0.8 V; applied to analog blocks too, "
    "which shrink less: optimistic below 32 nm",
)

_FROM_32_NM = {
    130.0: NodeFactors(area=1 / 0.072, energy=1 / 0.215, delay=1 / 0.246),
    65.0: NodeFactors(area=1 / 0.31, energy=1 / 0.531, delay=1 / 0.492),
    45.0: NodeFactors(area=1 / 0.46, energy=1 / 0.659, delay=1 / 0.711),
    32.0: NodeFactors(area=1.0, energy=1.0, delay=1.0),
    22.0: NodeFactors(area=0.55, energy=0.446, delay=0.687),
    14.0: NodeFactors(area=1 / 2.7, energy=1 / 4.75, delay=1 / 2.29),
    7.0: NodeFactors(area=0.13, energy=0.143, delay=0.219),
}
NODES_NM = tuple(sorted(_FROM_32_NM))


def node_factors(node_nm: float) -> NodeFactors:
    """Factors from 32 nm to ``node_nm``; a node without published factors is refused."""
    if node_nm not in _FROM_32_NM:
        known = ", ".join(f"{node:g}" for node in NODES_NM)
        raise UserError(f"There are no scaling factors for node_nm = {node_nm:g}: allowed are {known}.")
    return _FROM_32_NM[node_nm]
