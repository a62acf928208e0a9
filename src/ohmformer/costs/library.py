"""Unit values of every component at 32 nm, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from ohmformer.costs.component import Component, Interval
from ohmformer.costs.library_links import HYPERTRANSPORT, PACKAGE_LINK, Link
from ohmformer.devices.periphery import PERIPHERY, Periphery
from ohmformer.specs import Source
from ohmformer.units import PICO, UM2

__all__ = ["LIBRARY", "Library"]

ISAAC = "ISAAC, Shafiee et al., ISCA 2016, Table I (32 nm)"
SYNTHESIS = "own synthesis (yosys, NanGate 45 nm)"
SCALED_45 = "scaled to 32 nm by .46 (area) and .659 (energy), Stillmaker and Baas"
ALADDIN = "Aladdin 40 nm table, not scaled"


def _component(
    name: str,
    unit: str,
    action: str,
    source: Source,
    area_um2: Interval | float = 0.0,
    energy_pJ: Interval | float = 0.0,
) -> Component:
    def interval(value: Interval | float) -> Interval:
        return value if isinstance(value, Interval) else Interval.of(value)

    return Component(
        name=name,
        unit=unit,
        action=action,
        area_m2=interval(area_um2) * UM2,
        energy_J=interval(energy_pJ) * PICO,
        source=source,
    )


@dataclass(frozen=True, kw_only=True)
class Library:
    """The components whose price is not in the chip description; ``dataclasses.replace`` changes one.

    digital:                 ``synthesised``: encoder, shift-add and function lanes have the gates of the
                             chip's own parameters (``costs.digital``), and the figures here are what they
                             replace; ``published``: they have these figures
    crosspoint_area_F2:      one fixed resistor with its switch, in F²
    dense_bank_over_cells:   area of a dense bank without its converters, over that of its cells:
                             1 / array efficiency
    wordline_time:           the chip's own time, times this: what is not known of it
    periphery:               sense amplifiers and capacitances behind the settling time of a tile
    bitline_capacitance:     its capacitance of a bitline, times this
    leakage_W_per_m2:        static power of all CMOS area (everything but resistors and memristors)
    wires_per_tile:          wires of the cluster bus for each of its tiles
    tiles_per_cluster:       tiles that share a bus and a router
    chip_link, board_link:   between the chips of a package, and between packages
    """

    sample_and_hold: Component
    driver: Component
    latch: Component
    shift_add: Component
    accumulator: Component
    encoder: Component
    register: Component
    network: Component
    function_lane: Component
    table_bit: Component
    comparator: Component
    digital: Literal["synthesised", "published"]
    crosspoint_area_F2: Interval
    crosspoint_source: Source
    dense_bank_over_cells: Interval
    dense_bank_source: Source
    wordline_time: Interval
    wordline_time_source: Source
    periphery: Periphery
    bitline_capacitance: Interval
    bitline_capacitance_source: Source
    leakage_W_per_m2: Interval
    leakage_source: Source
    wires_per_tile: int
    tiles_per_cluster: int
    cluster_source: Source
    chip_link: Link
    board_link: Link

    def components(self) -> tuple[Component, ...]:
        """All components, in order of declaration."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, Component))


LIBRARY = Library(
    sample_and_hold=_component(
        "sample and hold",
        "bitline",
        "conversion",
        Source(
            "ours",
            f"5 fF in 2 fF/µm²; low: .039 µm² of {ISAAC}, below 1 fF and hardly physical; energy: its 10 µW "
            "for 1024 at 10 MHz",
        ),
        Interval(0.039, 2.5, 5.0),
        0.00098,
    ),
    driver=_component(
        "wordline drivers",
        "wordline",
        "digit driven",
        Source(
            "derived",
            f"{ISAAC}: 1-bit DAC .166 µm², 3.9 µW at 10 MHz; two of them for the levels −V, 0, +V",
        ),
        0.332,
        0.39,
    ),
    latch=_component(
        "switch latches",
        "bit",
        "bit written",
        Source(
            "ours",
            "a 6T cell of .171 µm² (Intel 32 nm SRAM); low: 100 F² as arXiv 2410.15977 takes for SRAM; high: "
            f"a register bit, {ALADDIN}; energy: that register bit",
        ),
        Interval(0.1024, 0.171, 5.98),
        0.009,
    ),
    shift_add=_component(
        "shift-add",
        "converter",
        "conversion",
        Source("other work", f"{ISAAC}: 60 µm², .021 pJ (hwcomponents-library)"),
        60.0,
        0.021,
    ),
    accumulator=_component(
        "accumulators",
        "32-bit adder",
        "addition",
        Source("other work", f"Horowitz, ISSCC 2014, 45 nm 32-bit adder 137 µm², .1 pJ, {SCALED_45}"),
        137 * 0.46,
        0.1 * 0.659,
    ),
    encoder=_component(
        "encoders",
        "encoder",
        "element encoded",
        Source(
            "derived",
            f"{SYNTHESIS}: int8 to base 7, 177 cells, 200 µm², {SCALED_45}; energy: that of the synthesised "
            "exponential unit (.8 mW at 500 MHz, 796 µm²) by area; other widths by digits x bits",
        ),
        200 * 0.46,
        Interval(0.05, 200 / 796 * 1.6 * 0.659, 0.5),
    ),
    register=_component(
        "tile registers",
        "bit",
        "bit read or written",
        Source(
            "other work",
            f"area: {ISAAC}, input register 2 KB .0021 mm²; high: output register 256 B .00077 mm²; energy: "
            f"{ALADDIN}; high: ISAAC's 1.24 mW for 1024 bits per 100 ns",
        ),
        Interval(0.1282, 0.1282, 0.376),
        Interval(0.009, 0.009, 0.121),
    ),
    network=_component(
        "network",
        "tile",
        "bit moved",
        Source(
            "other work",
            f"{ISAAC}: bus .090 mm², 7 mW, 384 wires at 1.2 GHz and a quarter of a router .151 mm², 20.74 pJ "
            "per 256 bits, for 96 crossbars; low: the bus alone",
        ),
        Interval(90000 / 96, (90000 + 151000 / 4) / 96, (90000 + 151000 / 4) / 96),
        Interval(0.0152, 0.0152 + 20.74 / 256, 0.0152 + 20.74 / 256),
    ),
    function_lane=_component(
        "function units",
        "lane",
        "evaluation",
        Source(
            "ours",
            f"{SYNTHESIS}: exponential unit, 17-entry table, 796 µm², .8 mW at 500 MHz, {SCALED_45}; "
            "high: PUMA's ALU, .00403 mm², 1.71 mW at 1 GHz; tables are counted apart",
        ),
        Interval(796 * 0.46, 796 * 0.46, 4030.0),
        Interval(1.6 * 0.659, 1.6 * 0.659, 1.71),
    ),
    table_bit=_component(
        "function tables",
        "bit",
        "none",
        Source("ours", "table bits at the density of a 6T cell of .171 µm²; low: 20 F² of ROM"),
        Interval(0.02, 0.171, 0.171),
    ),
    comparator=_component(
        "maximum",
        "none",
        "comparison",
        Source("other work", f"32-bit comparator, {ALADDIN}; it sits in the function lane"),
        0.0,
        0.0295,
    ),
    digital="synthesised",
    crosspoint_area_F2=Interval(4.0, 12.0, 100.0),
    crosspoint_source=Source(
        "ours",
        "a minimum-size transistor under a thin-film resistor, as in 1T1R; low: the resistor alone, 4 F²; "
        "high: a polysilicon strip of 100 squares",
    ),
    dense_bank_over_cells=Interval(1 / 0.7, 2.0, 1 / 0.3),
    dense_bank_source=Source(
        "ours",
        "array efficiency 50 % as in a DRAM bank (the rest decodes, drives, multiplexes); range 70 to 30 %",
    ),
    wordline_time=Interval(0.316, 1.0, 2.931),
    wordline_time_source=Source(
        "other work",
        "read pulses of RRAM: 3.16 ns (MNSIM's default device), 10 ns (NeuroSim V1.5), 29.31 ns (NVSim, as "
        "PipeLayer takes it), over NeuroSim's",
    ),
    periphery=PERIPHERY,
    bitline_capacitance=Interval(0.5, 1.0, 2.0),
    bitline_capacitance_source=Source(
        "ours", "0.5 to 2 fF a crosspoint on a bitline, where the circuit takes 1 fF; settling grows with it"
    ),
    leakage_W_per_m2=Interval(1e3, 21.8e3, 65e3),
    leakage_source=Source(
        "derived",
        "NanGate 45 nm NAND2_X1: 17.4 nW on .798 µm², kept per area at every node; low: low leakage, "
        "high: three times as much (hot)",
    ),
    wires_per_tile=4,
    tiles_per_cluster=96,
    cluster_source=Source("other work", f"{ISAAC}: a bus of 384 wires for 96 crossbars"),
    chip_link=PACKAGE_LINK,
    board_link=HYPERTRANSPORT,
)
