"""The area of a chip, component by component."""

from __future__ import annotations

from ohmformer.costs.component import Component, Level
from ohmformer.costs.converter import converter, polarity_comparator
from ohmformer.costs.counts import digit_bits
from ohmformer.costs.library import Library
from ohmformer.costs.memory import SRAM_SOURCE, sram
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term
from ohmformer.specs import ChipSpec
from ohmformer.units import NANO

__all__ = ["FUNCTION_TABLES", "PASSIVE", "area_terms", "encoder_scale"]

# exp, reciprocal, rsqrt, gelu, gelu_tanh, silu, tanh, sigmoid; relu and max need none
FUNCTION_TABLES = 8
PASSIVE = ("fixed resistors", "dense cells")
ENCODER_DIGIT_BITS = 3 * 8


def encoder_scale(chip: ChipSpec) -> float:
    """Size of an encoder relative to the synthesised one of 3 digits and 8 bits: digits x bits."""
    bits = chip.precision.activation_bits
    return chip.tile.numeral.digits_for(bits) * bits / ENCODER_DIGIT_BITS


def area_terms(chip: ChipSpec, banks: int, library: Library, level: Level) -> tuple[Term, ...]:
    """Area of ``chip`` with ``banks`` dense banks; digital and analog blocks scaled to its node."""
    scale = node_factors(chip.node_nm).area
    tile, dense, precision = chip.tile, chip.dense, chip.precision
    squared_F = (chip.node_nm * NANO) ** 2
    tiles = chip.tile_count
    converters = tiles * -(-tile.bitlines // tile.adc.bitlines_per_adc)
    outputs = tile.outputs(precision.weight_bits)
    digits = tile.numeral.digits_for(precision.activation_bits)
    row_bits = tile.elements * digits * digit_bits(chip)
    lanes = chip.function_unit_count * chip.function_unit.lanes
    table_bits = FUNCTION_TABLES * (chip.function_unit.segments + 1) * chip.function_unit.fraction_bits
    cells = banks * dense.cells
    cell_area = dense.cell.area_F2 * squared_F
    memory = sram(chip.buffer.capacity_bytes)

    def term(
        component: Component, count: float, formula: str, *paths: str, factor: float = 1.0, name: str = ""
    ) -> Term:
        return Term(
            component=name or component.name,
            quantity=component.unit,
            count=count,
            unit_value=component.area_m2.at(level) * scale * factor,
            formula=formula,
            fields=("node_nm", *paths),
            source=component.source,
        )

    per_tile, adc = "tile_count", "tile.adc"
    return (
        term(
            converter(tile.adc.bits, tile.adc.rate_Hz),
            converters,
            "tiles x ceil(bitlines / bitlines per converter)",
            per_tile,
            f"{adc}.bits",
            f"{adc}.rate_Hz",
            f"{adc}.bitlines_per_adc",
            "tile.bitlines",
            name="tile converters",
        ),
        term(
            polarity_comparator(tile.adc.bits, tile.adc.rate_Hz),
            converters,
            "one per tile converter",
            per_tile,
            f"{adc}.bits",
            name="polarity comparators",
        ),
        term(library.sample_and_hold, tiles * tile.bitlines, "tiles x bitlines", per_tile, "tile.bitlines"),
        term(library.driver, tiles * tile.wordlines, "tiles x wordlines", per_tile, "tile.wordlines"),
        Term(
            component="fixed resistors",
            quantity="crosspoint",
            count=tiles * tile.wordlines * tile.bitlines,
            unit_value=library.crosspoint_area_F2.at(level) * squared_F,
            formula="tiles x wordlines x bitlines, each resistor with its switch in F²",
            fields=("node_nm", per_tile, "tile.wordlines", "tile.bitlines"),
            source=library.crosspoint_source,
        ),
        term(
            library.latch,
            2 * tiles * tile.elements * tile.bitlines,
            "2 (double-buffered) x tiles x elements x bitlines; one latch for all resistors of an element",
            per_tile,
            "tile.wordlines",
            "tile.bitlines",
            "tile.numeral",
        ),
        term(library.shift_add, converters, "one per tile converter", per_tile, f"{adc}.bitlines_per_adc"),
        term(
            library.accumulator,
            tiles,
            "one adder of word_bits per tile",
            per_tile,
            "buffer.word_bits",
            factor=chip.buffer.word_bits / 32,
        ),
        term(
            library.encoder,
            tiles,
            "one per tile, in proportion to digits x bits",
            per_tile,
            "tile.numeral",
            "precision.activation_bits",
            factor=encoder_scale(chip),
        ),
        term(
            library.register,
            tiles * (2 * row_bits + outputs * chip.buffer.word_bits),
            "tiles x (2 rows of digits + the outputs in accumulator words)",
            per_tile,
            "tile.numeral",
            "precision",
            "buffer.word_bits",
        ),
        term(library.network, tiles, "share of bus and router per tile", per_tile),
        term(library.function_lane, lanes, "units x lanes", "function_unit_count", "function_unit.lanes"),
        term(
            library.table_bit,
            lanes * table_bits,
            "lanes x 8 functions x (segments + 1) x fraction bits",
            "function_unit_count",
            "function_unit.lanes",
            "function_unit.segments",
            "function_unit.fraction_bits",
        ),
        Term(
            component="SRAM buffer",
            quantity="bank",
            count=memory.banks,
            unit_value=memory.area_m2.at(level) / memory.banks * scale,
            formula="ceil(capacity / 32 KiB) banks",
            fields=("node_nm", "buffer.capacity_bytes"),
            source=SRAM_SOURCE,
        ),
        Term(
            component="dense cells",
            quantity="cell",
            count=cells,
            unit_value=cell_area,
            formula="banks x wordlines x bitlines x area in F²",
            fields=("node_nm", "dense_bank_count", "dense.wordlines", "dense.bitlines", "dense.cell.area_F2"),
            source=library.dense_bank_source,
        ),
        Term(
            component="dense periphery",
            quantity="cell",
            count=cells,
            unit_value=cell_area * (library.dense_bank_over_cells.at(level) - 1),
            formula="cells x (1 / array efficiency − 1)",
            fields=("node_nm", "dense_bank_count", "dense.wordlines", "dense.bitlines", "dense.cell.area_F2"),
            source=library.dense_bank_source,
        ),
        term(
            converter(dense.adc_bits, dense.adc_rate_Hz),
            banks * dense.adc_count,
            "banks x ceil(bitlines / bitlines per converter)",
            "dense_bank_count",
            "dense.adc_bits",
            "dense.adc_rate_Hz",
            "dense.bitlines_per_adc",
            name="dense converters",
        ),
    )
