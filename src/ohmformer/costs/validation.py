"""Our model beside published figures: what it gives, by how much it misses, and what was calibrated.

Every figure of ours is computed here from component values, counts and times; none is typed in.
"""

from __future__ import annotations

from functools import lru_cache

from ohmformer.costs.baselines import isaac_table
from ohmformer.costs.baselines.isaac import ISAAC, isaac
from ohmformer.costs.baselines.multi_bit_crossbar import multi_bit_crossbar
from ohmformer.costs.baselines.weight_stationary import LINES
from ohmformer.costs.converter import converter
from ohmformer.costs.library import LIBRARY
from ohmformer.costs.storage import storage_area_m2
from ohmformer.costs.validation_puma import puma_rows
from ohmformer.costs.validation_row import ValidationRow
from ohmformer.costs.validation_silicon import silicon_rows
from ohmformer.ir import Product, Program
from ohmformer.specs import Source, preset
from ohmformer.units import GIGA, MILLI, MM2

__all__ = ["ValidationRow", "validation_markdown", "validation_rows"]

MIB = 2**20
INTRODUCTION = Source("paper", "arXiv 2410.15977, introduction")
CE_SOURCE = Source("other work", "ISAAC, ISCA 2016 (from a summary)")


def _full_isaac_chip(rows: int = 1024) -> Program:
    """One matrix that fills every crossbar of a chip at 16 bits: 126 x 128 crossbars."""
    crossbars = isaac_table.TILES_PER_CHIP * isaac_table.CROSSBARS_PER_TILE
    inner = crossbars // LINES * LINES
    columns = LINES * LINES // ISAAC.cells_per_word(16)
    work = Product(
        module="m", operation="linear", batch=1, rows=rows, inner=inner, columns=columns, resident="weight"
    )
    return Program(name="full chip", batch=1, tokens=rows, subops=(work,), stored_words=inner * columns)


def _ima_of_library() -> tuple[float, float]:
    """Power (mW) and area (mm²) of an IMA with our library's components in ISAAC's numbers.

    8 crossbars of 128 x 128: a converter, 128 drivers, 128 holds and a shift-add each (ISAAC has one
    shift-add for two); 2 KB and 256 B of registers, of which a cycle of 100 ns reads 8 x 128 bits and writes
    as many; the crossbars themselves as in ISAAC's table.
    """
    lines, crossbars, cycle_s = LINES, isaac_table.CROSSBARS_PER_IMA, isaac_table.CYCLE_S
    adc, conversions = converter(ISAAC.converter_bits), crossbars * lines
    cells = next(block for block in isaac_table.IMA if block.name == "crossbars")
    each_J = adc.energy_J + LIBRARY.sample_and_hold.energy_J + LIBRARY.shift_add.energy_J
    energy_J = conversions * (each_J + LIBRARY.driver.energy_J + LIBRARY.register.energy_J * 2).typical
    area_m2 = (
        crossbars * (adc.area_m2 + LIBRARY.shift_add.area_m2).typical
        + conversions * (LIBRARY.sample_and_hold.area_m2 + LIBRARY.driver.area_m2).typical
        + (2048 + 256) * 8 * LIBRARY.register.area_m2.typical
    )
    return energy_J / cycle_s / MILLI + cells.power_mW, area_m2 / MM2 + cells.area_mm2


def _isaac_rows() -> list[ValidationRow]:
    chip = preset("wang2024")
    program = _full_isaac_chip()
    full = isaac(program, chip)
    rate = 2 * program.macs / full.latency_s
    sums = {
        "IMA": (isaac_table.ima_sum(), (24.08, 0.01312), "7 rows of components"),
        "tile": (isaac_table.tile_sum(), (329.8, 0.3723), "12 IMAs and 7 rows of components"),
    }
    rows: list[ValidationRow] = []
    for name, (ours, published, how) in sums.items():
        for value, given, quantity, unit in zip(
            ours, published, ("power", "area"), ("mW", "mm²"), strict=True
        ):
            rows.append(_isaac(f"{name} {quantity}", unit, given, value, 0.005, how))
    power, area = _ima_of_library()
    how = (
        "the same counts x our library's components, ISAAC's shift-add; its holds take 2.5 µm² each, not .039"
    )
    rows.append(_isaac("IMA power, our components", "mW", 24.08, power, None, how))
    rows.append(_isaac("IMA area, our components", "mm²", 0.01312, area, None, how))
    power, area = isaac_table.chip_sum()
    rows.append(_isaac("chip power", "W", 65.8, power / 1e3, 0.005, "168 tiles and the links"))
    rows.append(_isaac("chip area", "mm²", 85.4, area, 0.005, "168 tiles and the links"))
    rows.append(
        _isaac(
            "compute density",
            "GOPS/mm²",
            478.95,
            rate / GIGA / area,
            0.02,
            "a matrix that fills the chip on our baseline: 8 cells a weight, 16 cycles of 128 conversions at "
            "1.28 GS/s a row; over the summed area",
        )
    )
    cells = isaac_table.TILES_PER_CHIP * isaac_table.CROSSBARS_PER_TILE * LINES**2
    rows.append(
        _isaac(
            "storage",
            "MiB",
            63.00,
            cells * ISAAC.cell_bits / 8 / MIB,
            0.01,
            "168 · 96 crossbars of 128² cells of 2 bits",
        )
    )
    at_8_bits = multi_bit_crossbar(program, chip)
    conversions = next(t.count for t in at_8_bits.energy if t.component == "converters")
    rows.append(
        _isaac(
            "conversions per 8-bit multiply-accumulate",
            "",
            0.25,
            conversions / program.macs,
            0.0,
            "conversions of our baseline over multiply-accumulates: 4 cells, 8 input bits, 128 rows",
        )
    )
    return rows


def _isaac(
    quantity: str, unit: str, published: float, ours: float, bound: float | None, how: str
) -> ValidationRow:
    source = CE_SOURCE if quantity == "compute density" else isaac_table.ISAAC_SOURCE
    return ValidationRow(
        group="ISAAC",
        quantity=quantity,
        unit=unit,
        published=published,
        ours=ours,
        bound=bound,
        calibrated=False,
        how=how,
        source=source,
        digits=12,
    )


def _storage_rows() -> list[ValidationRow]:
    kinds = (
        ("4-bit cells of 4 F²", 4, 4.0, 274.0),
        ("DRAM of 6 F² a bit", 1, 6.0, 1646.0),
        ("SRAM of 100 F² a bit", 1, 100.0, 27440.0),
    )
    return [
        ValidationRow(
            group="arXiv 2410.15977",
            quantity=f"175e9 8-bit parameters in {name}, 14 nm",
            unit="mm²",
            published=published,
            ours=storage_area_m2(words=175 * 10**9, bits=8, cell_bits=bits, cell_area_F2=area, node_nm=14.0)
            / MM2,
            bound=0.0,
            calibrated=False,
            how="words · ⌈8 / cell bits⌉ · cell area · F²",
            source=INTRODUCTION,
            digits=0,
        )
        for name, bits, area, published in kinds
    ]


@lru_cache(maxsize=1)
def validation_rows() -> tuple[ValidationRow, ...]:
    """Every validation: ISAAC, PUMA, the areas of the paper's introduction, NeuRRAM's silicon."""
    return (*_isaac_rows(), *_storage_rows(), *puma_rows(), *silicon_rows())


def _cell(row: ValidationRow) -> str:
    bound = "none promised" if row.bound is None else "all digits" if row.bound == 0 else f"{row.bound:.1%}"
    verdict = "yes" if row.reproduced else "**no**"
    how = ("*calibrated*: " if row.calibrated else "") + row.how
    deviation = f"{row.deviation:+.2%}".replace("-", "−")
    return (
        f"| {row.group} | {row.quantity} | {row.published:.5g} {row.unit} | {row.ours:.5g} {row.unit} | "
        f"{deviation} | {bound} | {verdict} | {how} |"
    ).replace("  |", " |")


def validation_markdown() -> str:
    """The table of ``docs/validation.md``."""
    head = (
        "| source | quantity | published | ours | deviation | bound | within | how ours is computed |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_cell(row) for row in validation_rows())])
