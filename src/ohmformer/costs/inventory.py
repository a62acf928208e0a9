"""The area of a chip, component by component."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ohmformer.costs.component import Component, Level
from ohmformer.costs.converter import converter, polarity_comparator
from ohmformer.costs.counts import digit_bits
from ohmformer.costs.digital import digital_parts
from ohmformer.costs.library import Library
from ohmformer.costs.memory import SRAM_SOURCE, sram
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term
from ohmformer.specs import ChipSpec, Source
from ohmformer.units import NANO

__all__ = ["PASSIVE", "area_pairs", "area_terms", "cmos_m2"]

PASSIVE = ("fixed resistors", "dense cells")


class _Row(NamedTuple):
    """One line of the area breakdown; ``component``: its name, or the field of the library that holds it."""

    component: str
    formula: str
    fields: tuple[str, ...]
    quantity: str = ""


_ADC = ("tile.adc.bits", "tile.adc.rate_Hz", "tile.adc.bitlines_per_adc", "tile.bitlines")
_CELLS = ("node_nm", "dense_bank_count", "dense.wordlines", "dense.bitlines", "dense.cell.area_F2")
_ROWS = (
    _Row(
        "tile converters",
        "tiles x ceil(bitlines / bitlines per converter)",
        ("node_nm", "tile_count", *_ADC),
    ),
    _Row("polarity comparators", "one per tile converter", ("node_nm", "tile_count", *_ADC)),
    _Row("sample_and_hold", "tiles x bitlines", ("node_nm", "tile_count", "tile.bitlines")),
    _Row("driver", "tiles x wordlines", ("node_nm", "tile_count", "tile.wordlines")),
    _Row(
        "fixed resistors",
        "tiles x wordlines x bitlines, each resistor with its switch in F²",
        ("node_nm", "tile_count", "tile.wordlines", "tile.bitlines"),
        "crosspoint",
    ),
    _Row(
        "latch",
        "2 (double-buffered) x tiles x elements x bitlines; one latch for all resistors of an element",
        ("node_nm", "tile_count", "tile.wordlines", "tile.bitlines", "tile.numeral"),
    ),
    _Row(
        "shift_add",
        "one per tile converter; gates of its widths and constants",
        (
            "node_nm",
            "tile_count",
            "tile.adc",
            "tile.numeral",
            "tile.resident_code",
            "tile.wordlines",
            "tile.active_wordlines",
            "precision.activation_bits",
            "precision.weight_bits",
        ),
    ),
    _Row("accumulator", "one adder of word_bits per tile", ("node_nm", "tile_count", "buffer.word_bits")),
    _Row(
        "encoder",
        "one per tile; gates at its radix, polarity and bits",
        ("node_nm", "tile_count", "tile.numeral", "precision.activation_bits"),
    ),
    _Row(
        "register",
        "tiles x (2 rows of digits + the outputs in accumulator words)",
        ("node_nm", "tile_count", "tile.numeral", "precision", "buffer.word_bits"),
    ),
    _Row("network", "share of bus and router per tile", ("node_nm", "tile_count")),
    _Row(
        "function_lane",
        "units x lanes; the gates of a lane for every function, side by side, tables as logic",
        (
            "node_nm",
            "function_unit_count",
            "function_unit.lanes",
            "function_unit.segments",
            "function_unit.fraction_bits",
        ),
    ),
    _Row(
        "table_bit",
        "lanes x 8 functions x (segments + 1) x fraction bits; none where the lanes hold them as logic",
        (
            "node_nm",
            "function_unit_count",
            "function_unit.lanes",
            "function_unit.segments",
            "function_unit.fraction_bits",
        ),
    ),
    _Row("SRAM buffer", "ceil(capacity / 32 KiB) banks", ("node_nm", "buffer.capacity_bytes"), "bank"),
    _Row("dense cells", "banks x wordlines x bitlines x area in F²", _CELLS, "cell"),
    _Row("dense periphery", "cells x (1 / array efficiency − 1)", _CELLS, "cell"),
    _Row(
        "dense converters",
        "banks x ceil(bitlines / bitlines per converter)",
        (
            "node_nm",
            "dense_bank_count",
            "dense.adc_bits",
            "dense.adc_rate_Hz",
            "dense.bitlines_per_adc",
        ),
    ),
)
_FROM_LIBRARY = (
    "sample_and_hold",
    "driver",
    "latch",
    "accumulator",
    "register",
    "network",
    "table_bit",
)
_DIGITAL = ("shift_add", "encoder", "function_lane")
_IS_PASSIVE = tuple(row.component in PASSIVE for row in _ROWS)
_polarity = lru_cache(maxsize=512)(polarity_comparator)
_BASES: dict[tuple[int, Level], tuple[Library, tuple[float, ...]]] = {}


def _bases(library: Library, level: Level) -> tuple[float, ...]:
    """Areas of the library's components at 32 nm, then of a crosspoint and a bank; kept by identity."""
    key = (id(library), level)
    kept = _BASES.get(key)
    if kept is None or kept[0] is not library:
        if len(_BASES) > 64:
            _BASES.clear()
        found = [getattr(library, name).area_m2.at(level) for name in _FROM_LIBRARY]
        found += [library.crosspoint_area_F2.at(level), library.dense_bank_over_cells.at(level)]
        kept = _BASES[key] = (library, tuple(found))
    return kept[1]


def area_pairs(chip: ChipSpec, banks: int, library: Library, level: Level) -> tuple[tuple[float, float], ...]:
    """(count, area of one), line by line of the breakdown; blocks scaled to the chip's node."""
    scale = node_factors(chip.node_nm).area
    tile, dense, precision, adc = chip.tile, chip.dense, chip.precision, chip.tile.adc
    squared_F = (chip.node_nm * NANO) ** 2
    tiles = chip.tile_count
    converters = tiles * -(-tile.bitlines // adc.bitlines_per_adc)
    outputs = tile.outputs(precision.weight_bits)
    digits = tile.numeral.digits_for(precision.activation_bits)
    elements = tile.elements
    row_bits = elements * digits * digit_bits(chip)
    lanes = chip.function_unit_count * chip.function_unit.lanes
    digital = digital_parts(chip, library)
    cells = banks * dense.cells
    cell_area = dense.cell.area_F2 * squared_F
    memory = sram(chip.buffer.capacity_bytes)
    sample, driver, latch, accumulator, register, network, table, crosspoint, bank = _bases(library, level)
    return (
        (converters, converter(adc.bits, adc.rate_Hz).area_m2.at(level) * scale),
        (converters, _polarity(adc.bits, adc.rate_Hz).area_m2.at(level) * scale),
        (tiles * tile.bitlines, sample * scale),
        (tiles * tile.wordlines, driver * scale),
        (tiles * tile.wordlines * tile.bitlines, crosspoint * squared_F),
        (2 * tiles * elements * tile.bitlines, latch * scale),
        (converters, digital.shift_add.area_m2.at(level) * scale),
        (tiles, accumulator * scale * (chip.buffer.word_bits / 32)),
        (tiles, digital.encoder.area_m2.at(level) * scale),
        (tiles * (2 * row_bits + outputs * chip.buffer.word_bits), register * scale),
        (tiles, network * scale),
        (lanes, digital.function_lane.area_m2.at(level) * scale),
        (lanes * digital.tables, table * scale),
        (memory.banks, memory.area_m2.at(level) / memory.banks * scale),
        (cells, cell_area),
        (cells, cell_area * (bank - 1)),
        (banks * dense.adc_count, converter(dense.adc_bits, dense.adc_rate_Hz).area_m2.at(level) * scale),
    )


def cmos_m2(totals: list[float]) -> float:
    """Of the areas line by line: all but resistors and memristor cells."""
    return sum(area for area, passive in zip(totals, _IS_PASSIVE, strict=True) if not passive)


def _described(row: _Row, chip: ChipSpec, library: Library) -> tuple[str, str, Source]:
    """Name, quantity and source of a line."""
    name, adc, dense = row.component, chip.tile.adc, chip.dense
    if name == "fixed resistors":
        return name, row.quantity, library.crosspoint_source
    if name == "SRAM buffer":
        return name, row.quantity, SRAM_SOURCE
    if name in ("dense cells", "dense periphery"):
        return name, row.quantity, library.dense_bank_source
    component: Component
    if name == "tile converters":
        component = converter(adc.bits, adc.rate_Hz)
    elif name == "polarity comparators":
        component = _polarity(adc.bits, adc.rate_Hz)
    elif name == "dense converters":
        component = converter(dense.adc_bits, dense.adc_rate_Hz)
    else:
        component = getattr(digital_parts(chip, library) if name in _DIGITAL else library, name)
        name = component.name
    return name, component.unit, component.source


def area_terms(chip: ChipSpec, banks: int, library: Library, level: Level) -> tuple[Term, ...]:
    """Area of ``chip`` with ``banks`` dense banks; digital and analog blocks scaled to its node."""
    terms = []
    for row, (count, unit) in zip(_ROWS, area_pairs(chip, banks, library, level), strict=True):
        name, quantity, source = _described(row, chip, library)
        terms.append(
            Term(
                component=name,
                quantity=quantity,
                count=count,
                unit_value=unit,
                formula=row.formula,
                fields=row.fields,
                source=source,
            )
        )
    return tuple(terms)
