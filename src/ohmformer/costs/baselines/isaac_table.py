"""ISAAC's published table of components (CE configuration, 32 nm), and its sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ohmformer.specs import Source

__all__ = [
    "CROSSBARS_PER_IMA",
    "CROSSBARS_PER_TILE",
    "CYCLE_S",
    "IMA",
    "IMAS_PER_TILE",
    "ISAAC_SOURCE",
    "LINKS",
    "TILE",
    "TILES_PER_CHIP",
    "Block",
    "chip_sum",
    "ima_sum",
    "tile_sum",
]

ISAAC_SOURCE = Source("other work", "ISAAC, Shafiee et al., ISCA 2016, Table I, CE configuration, 32 nm")

CROSSBARS_PER_IMA = 8
IMAS_PER_TILE = 12
CROSSBARS_PER_TILE = CROSSBARS_PER_IMA * IMAS_PER_TILE
TILES_PER_CHIP = 168
CYCLE_S = 100e-9  # 128 conversions at 1.28 GS/s


@dataclass(frozen=True)
class Block:
    """One row of the table: all instances together."""

    name: str
    power_mW: float
    area_mm2: float


IMA = (
    Block("converters", 16.0, 0.0096),
    Block("drivers", 4.0, 0.00017),
    Block("sample and hold", 0.01, 0.00004),
    Block("crossbars", 2.4, 0.0002),
    Block("shift-add", 0.2, 0.00024),
    Block("input registers", 1.24, 0.0021),
    Block("output registers", 0.23, 0.00077),
)
TILE = (
    Block("eDRAM buffer", 20.7, 0.083),
    Block("bus", 7.0, 0.090),
    Block("router share", 42.0 / 4, 0.151 / 4),
    Block("sigmoid", 0.52, 0.0006),
    Block("tile shift-add", 0.05, 0.00006),
    Block("max-pool", 0.4, 0.00024),
    Block("tile output register", 1.68, 0.0032),
)
LINKS = Block("HyperTransport", 10400.0, 22.88)


def _sum(blocks: tuple[Block, ...]) -> tuple[float, float]:
    return math.fsum(b.power_mW for b in blocks), math.fsum(b.area_mm2 for b in blocks)


def ima_sum() -> tuple[float, float]:
    """Power (mW) and area (mm²) of one in-situ multiply-accumulate unit of 8 crossbars."""
    return _sum(IMA)


def tile_sum() -> tuple[float, float]:
    """Power (mW) and area (mm²) of one tile of 12 such units."""
    power, area = _sum(TILE)
    return power + IMAS_PER_TILE * ima_sum()[0], area + IMAS_PER_TILE * ima_sum()[1]


def chip_sum() -> tuple[float, float]:
    """Power (mW) and area (mm²) of a chip of 168 tiles and its links."""
    power, area = tile_sum()
    return TILES_PER_CHIP * power + LINKS.power_mW, TILES_PER_CHIP * area + LINKS.area_mm2
