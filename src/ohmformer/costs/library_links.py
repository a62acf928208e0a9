"""Links between chips: energy of a bit, area and rate of one link, at any node: drivers do not scale."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.costs.component import Component, Interval
from ohmformer.specs import Source
from ohmformer.units import GIGA, MM2, NANO, PICO

__all__ = ["HYPERTRANSPORT", "PACKAGE_LINK", "Link"]


@dataclass(frozen=True, kw_only=True)
class Link(Component):
    """A link between two chips.

    bits_per_s: in one direction; both directions work at once
    latency_s:  of the first bit, from the logic of one chip to that of the other
    area_m2:    of one end
    energy_J:   of a bit moved
    """

    bits_per_s: float
    latency_s: Interval


HYPERTRANSPORT = Link(
    name="HyperTransport",
    unit="link",
    action="bit moved",
    area_m2=Interval.of(22.88 / 4 * MM2),
    # 10.4 W / (4 links · 6.4 GB/s): 50.8 pJ; half of it if both directions are busy
    energy_J=Interval(10.4 / (8 * 51.2 * GIGA), 10.4 / (4 * 51.2 * GIGA), 10.4 / (4 * 51.2 * GIGA)),
    bits_per_s=51.2 * GIGA,
    latency_s=Interval(20 * NANO, 50 * NANO, 100 * NANO),
    source=Source(
        "other work",
        "ISAAC, Shafiee et al., ISCA 2016, Table I: 4 HyperTransport links of 6.4 GB/s, 10.4 W, 22.88 mm²; "
        "low energy: both directions busy; latency ours (a board-level serial link)",
    ),
)

# one x16 module of a standard package at 16 GT/s: 32 GB/s each way, 64 GB/s over 88 (22 … 125) GB/s/mm²
PACKAGE_LINK = Link(
    name="package link",
    unit="link",
    action="bit moved",
    area_m2=Interval(64 / 125 * MM2, 64 / 88 * MM2, 64 / 22 * MM2),
    energy_J=Interval(0.25 * PICO, 0.5 * PICO, 1.75 * PICO),
    bits_per_s=256 * GIGA,
    latency_s=Interval(2 * NANO, 4 * NANO, 20 * NANO),
    source=Source(
        "other work",
        "UCIe 1.0 (Das Sharma et al., IEEE TCPMT 12, 2022): x16 module at 16 GT/s, .5 pJ a bit in a standard "
        "package, .25 in an advanced one (targets of the standard), about 2 ns each way, 22 to 125 GB/s/mm²; "
        "high energy and latency: measured ground-referenced links of Simba (MICRO 2019, recalled), .82 to "
        "1.75 pJ, 20 ns a hop",
    ),
)
