"""PUMA's node from its components: area, power, energy and time of a matrix-vector unit, throughput.

Component values are its authors' own (the repository of their simulator, sweeps of the paper); 32 nm, 1 GHz.
"""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.costs.baselines import isaac_table
from ohmformer.costs.validation_row import ValidationRow
from ohmformer.specs import Source
from ohmformer.units import GIGA, MILLI, NANO, TERA

__all__ = ["PumaNode", "puma_rows"]

PUMA_SOURCE = Source(
    "other work",
    "PUMA, Ankit et al., ASPLOS 2019, arXiv 1901.10351 (figures from summaries); component values: "
    "puma-simulator, isca_results/puma_ce_sweep.py, puma_pe_sweep.py; 138 tiles, 7 mW memory bus and "
    "special-function unit recalled",
)
CALIBRATION = (
    "the plain count times the factor by which the same paper credits ISAAC (69.53 TOPS, recalled) with more "
    "than ISAAC's own table gives; set on ISAAC, not on PUMA"
)
# what PUMA's comparison credits ISAAC with (recalled), TOPS
ISAAC_AS_CREDITED = 69.53


@dataclass(frozen=True)
class Part:
    """A component: how many, milliwatts and square millimetres of one."""

    name: str
    count: float
    power_mW: float
    area_mm2: float


def _sums(parts: tuple[Part, ...]) -> tuple[float, float]:
    return (
        sum(p.count * p.power_mW for p in parts),
        sum(p.count * p.area_mm2 for p in parts),
    )


@dataclass(frozen=True, kw_only=True)
class PumaNode:
    """A node of PUMA: 138 tiles of 8 cores of 2 matrix-vector units (MVMU) of 8 crossbars."""

    lines: int = 128
    operand_bits: int = 16
    cell_bits: int = 2
    units_per_core: int = 2
    cores_per_tile: int = 8
    tiles: int = 138
    clock_Hz: float = 1 * GIGA
    pipeline_stages: int = 2  # sample and hold to converter, converter to shift-add

    @property
    def crossbars(self) -> int:
        """Crossbars of a unit: bits of a weight over bits of a cell."""
        return self.operand_bits // self.cell_bits

    @property
    def mvm_s(self) -> float:
        """Time of one matrix-vector product: (input bits + pipeline stages) · 128 conversions a clock."""
        return (self.operand_bits + self.pipeline_stages) * self.lines / self.clock_Hz

    def unit(self) -> tuple[float, float]:
        """Power (mW) and area (mm²) of one matrix-vector unit."""
        return _sums(
            (
                Part("crossbar", self.crossbars, 0.3, 2.5e-5),
                Part("1-bit DAC", self.lines, 0.0039, 1.67e-7),
                Part("8-bit converter", self.crossbars, 2.0, 0.0012),
                Part("sample and hold", self.crossbars * self.lines, 9.7e-6 * 1.1, 4e-5 / 1024),
                Part("shift-add", self.crossbars, 0.055, 6e-5),
                Part("input register", 1, 0.97, 0.00078),
                Part("output register", 1, 0.20, 0.00078),
            )
        )

    def core(self) -> tuple[float, float]:
        """Power and area of a core."""
        power, area = self.unit()
        return _sums(
            (
                Part("matrix-vector unit", self.units_per_core, power, area),
                Part("control pipeline", 1, 1.25 * 0.2, 0.00145 * 2.25),
                Part("instruction memory", 1, 0.538 * 8**0.5, 0.00108 * 8**0.5),
                Part("register file", 1, 0.477, 0.00192),
                Part("vector unit", 1, 2.67 * 32 / 45, 0.00567 * 32 / 45),
                Part("special-function unit", 1, 0.055, 0.0006),
            )
        )

    def tile(self) -> tuple[float, float]:
        """Power and area of a tile."""
        power, area = self.core()
        return _sums(
            (
                Part("core", self.cores_per_tile, power, area),
                Part("control unit", 1, 0.5, 0.00145),
                Part("instruction memory", 1, 0.677 * 8**0.5, 0.00192 * 8**0.5),
                Part("data memory, 64 KB eDRAM", 1, 17.66, 0.086),
                Part("memory bus", 1, 7.0, 0.090),
                Part("attribute memory", 1, 0.98 * 8**0.5, 0.0041 * 8**0.5),
                Part("receive buffer", 1, 4.57 * 4**0.5, 0.0022 * 4**0.5),
            )
        )

    def node(self) -> tuple[float, float]:
        """Power (mW) and area (mm²) of the node: tiles, a quarter of a router each, ISAAC's links."""
        power, area = self.tile()
        return _sums(
            (
                Part("tile", self.tiles, power, area),
                Part("router share", self.tiles, 16.54 / 4, 0.047 / 4),
                Part("links", 1, isaac_table.LINKS.power_mW, isaac_table.LINKS.area_mm2),
            )
        )

    @property
    def ops_per_s(self) -> float:
        """Two operations per multiply-accumulate, every unit always busy, one product after the other."""
        units = self.tiles * self.cores_per_tile * self.units_per_core
        return 2 * self.lines**2 * units / self.mvm_s


def _isaac_ops_per_s() -> float:
    """ISAAC by the same rule: 16 cycles of 100 ns for 128 x 16 multiply-accumulates of each crossbar."""
    crossbars = isaac_table.TILES_PER_CHIP * isaac_table.CROSSBARS_PER_TILE
    return 2 * crossbars * 128 * 128 / 8 / (16 * isaac_table.CYCLE_S)


def puma_rows() -> tuple[ValidationRow, ...]:
    """PUMA's published figures beside the sums of its components."""
    node = PumaNode()
    unit_W = node.unit()[0] * MILLI
    power_mW, area_mm2 = node.node()
    ops = node.ops_per_s
    factor = ISAAC_AS_CREDITED * TERA / _isaac_ops_per_s()

    def row(
        quantity: str,
        unit: str,
        published: float,
        ours: float,
        bound: float | None,
        how: str,
        free: bool = False,
    ) -> ValidationRow:
        return ValidationRow(
            group="PUMA",
            quantity=quantity,
            unit=unit,
            published=published,
            ours=ours,
            bound=bound,
            calibrated=free,
            how=how,
            source=PUMA_SOURCE,
        )

    plain = "two operations a multiply-accumulate; 138 · 8 · 2 units, one product every 2304 ns each"
    return (
        row(
            "MVMU, time of a product", "ns", 2304.0, node.mvm_s / NANO, 0.1,
            "(16 input bits + 2 pipeline stages) · 128 conversions at 1 GHz; the two stages are ours",
        ),
        row(
            "MVMU, energy of a product", "nJ", 43.97, unit_W * node.mvm_s / NANO, 0.1,
            "8 crossbars, 8 converters, 128 DACs, registers, shift-add: power x time",
        ),
        row("node power", "W", 62.5, power_mW * MILLI, 0.1, "components x counts, 138 tiles, network, links"),
        row("node area", "mm²", 90.6, area_mm2, 0.1, "components x counts, 138 tiles, network, links"),
        row("node throughput, plainly counted", "TOPS", 52.31, ops / TERA, None, plain),
        row(
            "node throughput over ISAAC's", "", 52.31 / ISAAC_AS_CREDITED, ops / _isaac_ops_per_s(), 0.1,
            "both by our rule, against the ratio of the two published by PUMA: no free parameter",
        ),
        row("node throughput", "TOPS", 52.31, factor * ops / TERA, 0.1, CALIBRATION, free=True),
        row(
            "node density", "GOPS/mm²", 577.0, factor * ops / GIGA / area_mm2, 0.1,
            "that throughput over our area", free=True,
        ),
        row(
            "node efficiency", "GOPS/W", 837.0, factor * ops / GIGA / (power_mW * MILLI), 0.1,
            "that throughput over our power", free=True,
        ),
    )  # fmt: skip
