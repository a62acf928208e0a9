"""The storage claims: areas of GPT-3's parameters, and how many ISAAC chips hold them."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.costs.baselines.isaac_table import CROSSBARS_PER_TILE, TILES_PER_CHIP
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.storage import storage_area_m2
from ohmformer.specs import Source
from ohmformer.units import MM2

__all__ = ["ISAAC_CHIP_BYTES", "STORAGE_CLAIMS", "StorageClaim", "isaac_chips", "stored_mm2"]

PARAMETERS = 175 * 10**9
NODE_NM = 14.0
# 168 tiles of 96 crossbars of 128 x 128 cells of 2 bits: 63.00 MiB
ISAAC_CHIP_BYTES = TILES_PER_CHIP * CROSSBARS_PER_TILE * 128 * 128 * 2 // 8


@dataclass(frozen=True, kw_only=True)
class StorageClaim:
    """Area of 175e9 8-bit parameters in cells of ``cell_bits`` bits and ``cell_area_F2`` at 14 nm.

    cell_bits, cell_area_F2: None for the claim about chips
    """

    name: str
    text: str
    value: float
    unit: str
    cell_bits: int | None = None
    cell_area_F2: float | None = None

    @property
    def source(self) -> Source:
        """Where it was read."""
        return Source("paper", f"arXiv 2410.15977, introduction: {self.text}")


STORAGE_CLAIMS = (
    StorageClaim(
        name="cells_rram",
        text="175e9 parameters in 4-bit 4F² cells at 14 nm",
        value=274.0,
        unit="mm²",
        cell_bits=4,
        cell_area_F2=4.0,
    ),
    StorageClaim(
        name="cells_dram",
        text="the same in 6F² DRAM cells",
        value=1646.0,
        unit="mm²",
        cell_bits=1,
        cell_area_F2=6.0,
    ),
    StorageClaim(
        name="cells_sram",
        text="the same in 100F² SRAM cells",
        value=27440.0,
        unit="mm²",
        cell_bits=1,
        cell_area_F2=100.0,
    ),
    StorageClaim(name="isaac_chips", text="ISAAC chips for GPT-3", value=2777.0, unit="chips"),
)


def stored_mm2(claim: StorageClaim) -> float:
    """Area of the cells alone, mm²."""
    assert claim.cell_bits is not None
    assert claim.cell_area_F2 is not None
    area = storage_area_m2(
        words=PARAMETERS,
        bits=8,
        cell_bits=claim.cell_bits,
        cell_area_F2=claim.cell_area_F2,
        node_nm=NODE_NM,
    )
    return area / MM2


def banks_mm2(claim: StorageClaim, library: Library = LIBRARY) -> tuple[float, float, float]:
    """The same with decoders, drivers and sense paths: least, typical, most, mm²."""
    over = library.dense_bank_over_cells
    cells = stored_mm2(claim)
    return cells * over.low, cells * over.typical, cells * over.high


def isaac_chips(bits: int = 8) -> float:
    """ISAAC chips that hold the parameters: 175e9 · bits / 8 / (63.00 MiB)."""
    return PARAMETERS * bits / 8 / ISAAC_CHIP_BYTES
