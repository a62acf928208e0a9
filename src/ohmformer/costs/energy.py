"""The energy of counted actions, component by component."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ohmformer.costs.component import Component, Level
from ohmformer.costs.converter import converter, polarity_comparator
from ohmformer.costs.counts import Counts, CountTuple, tuple_of
from ohmformer.costs.digital import digital_parts
from ohmformer.costs.inventory import PASSIVE
from ohmformer.costs.library import Library
from ohmformer.costs.memory import SRAM_SOURCE, sram
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term
from ohmformer.costs.settling import settled_s
from ohmformer.costs.timing import wordline_read_time_s
from ohmformer.specs import ChipSpec, Source

__all__ = [
    "crosspoint_energy_J",
    "dense_read_energy_J",
    "energy_terms",
    "energy_units",
    "leakage_J",
    "leakage_term",
    "leakage_unit",
    "priced",
]


def mean_digit(radix: int) -> float:
    """Mean magnitude of a uniform balanced digit: (b² − 1) / (4b)."""
    return (radix * radix - 1) / (4 * radix)


def crosspoint_energy_J(chip: ChipSpec, library: Library, level: Level) -> float:
    """Mean energy of one digit on one crosspoint group of an element: V²/R · mean |digit| · ½ · t_settle.

    Uniform digits, half of the switches on, current only until the value is held (``costs.settling``).
    """
    volts = chip.dense.read_voltage_V
    unit = volts * volts / chip.tile.resistor.unit_resistance_ohm
    return unit * mean_digit(chip.tile.numeral.radix) * 0.5 * settled_s(chip.tile, library, level)


def dense_read_energy_J(chip: ChipSpec) -> float:
    """Mean conduction of a cell while its wordline is read: V² · (g_min + g_max)/2 · t.

    All cells of the wordline conduct for the whole read (select, settle, every conversion in turn);
    levels equally frequent.
    """
    dense = chip.dense
    conductance = (dense.cell.g_min_S + dense.cell.g_max_S) / 2
    return dense.read_voltage_V**2 * conductance * wordline_read_time_s(dense)


class _Row(NamedTuple):
    """One line of the energy breakdown.

    component: name, or the field of the library that holds it
    place:     of the count among those of ``Counts``
    quantity, source: where the component itself does not say
    """

    component: str
    place: int
    formula: str
    fields: tuple[str, ...]
    quantity: str = ""
    source: Source | None = None


(_MACS, CONVERSIONS, DRIVES, CROSSPOINTS, ENCODINGS, REGISTERS, LATCHES, NETWORK, ADDITIONS, EVALUATIONS,
 COMPARISONS, BUFFER, SYMBOLS, WRITES) = range(14)  # fmt: skip
_CONVERSIONS = "batch·rows · digits · groups · columns · conversions per output"
_TILE = ("node_nm", "tile", "precision")
_ROWS = (
    _Row("tile converters", CONVERSIONS, _CONVERSIONS, _TILE),
    _Row("polarity comparators", CONVERSIONS, _CONVERSIONS, _TILE),
    _Row("sample_and_hold", CONVERSIONS, _CONVERSIONS, _TILE),
    _Row("shift_add", CONVERSIONS, _CONVERSIONS, _TILE),
    _Row("driver", DRIVES, "batch·rows · inner · column blocks · digits · resistors per digit", _TILE),
    _Row(
        "fixed resistors",
        CROSSPOINTS,
        "macs · digits · bitlines per output; V²/R · (b²−1)/(4b) · ½ · settling time (the longer of the "
        "stated one and that of the tile's circuit, devices.settling_time_s)",
        (
            "dense.read_voltage_V",
            "tile.resistor",
            "tile.numeral.radix",
            "tile.settling_time_s",
            "tile.wordlines",
            "tile.bitlines",
            "tile.active_wordlines",
            "tile.adc.step",
        ),
        "digit on a switched element",
        Source(
            "derived",
            "Joule heat of the unit resistors; V is the read voltage, the only driver level described",
        ),
    ),
    _Row("encoder", ENCODINGS, "batch·rows · inner · column blocks (+ resident digits)", _TILE),
    _Row(
        "register",
        REGISTERS,
        "2 · (digits in + accumulator words out)",
        ("node_nm", "tile", "buffer.word_bits"),
    ),
    _Row("latch", LATCHES, "resident bits · copies / blocks", ("node_nm", "tile", "tile_count")),
    _Row(
        "network",
        NETWORK,
        "values in + partial sums out + resident words once per cluster",
        ("node_nm", "tile", "precision", "buffer.word_bits"),
    ),
    _Row("accumulator", ADDITIONS, "outputs · row tiles + add calls", ("node_nm", "buffer.word_bits")),
    _Row("function_lane", EVALUATIONS, "function values and multiplications", ("node_nm", "function_unit")),
    _Row("comparator", COMPARISONS, "max calls", ("node_nm", "function_unit")),
    _Row(
        "SRAM buffer",
        BUFFER,
        "operands in activation bits; results, function inputs and outputs in accumulator words",
        ("node_nm", "buffer", "precision.activation_bits"),
        "bit read or written",
        SRAM_SOURCE,
    ),
    _Row(
        "dense cells",
        SYMBOLS,
        "words · ceil(bits / cell bits); V² · (g_min + g_max)/2 · time of a wordline read",
        (
            "dense.read_voltage_V",
            "dense.cell.g_min_S",
            "dense.cell.g_max_S",
            "dense.wordline_time_s",
            "dense.bitlines_per_adc",
            "dense.adc_rate_Hz",
        ),
        "cell read",
        Source("derived", "Joule heat of the cells of a read wordline, levels equally frequent"),
    ),
    _Row(
        "dense converters",
        SYMBOLS,
        "one conversion per cell read",
        ("node_nm", "dense.adc_bits", "dense.cell.bits"),
    ),
    _Row(
        "dense writes",
        WRITES,
        "numbers kept in the dense crossbar · ceil(bits / cell bits)",
        ("buffer.intermediates", "buffer.kv_cache", "buffer.capacity_bytes", "dense.cell.write_energy_J"),
        "cell written",
        Source("derived", "write energy of the chip description"),
    ),
)
_FROM_LIBRARY = (
    "sample_and_hold",
    "driver",
    "register",
    "latch",
    "network",
    "accumulator",
    "comparator",
)
_DIGITAL = ("shift_add", "encoder", "function_lane")

_polarity = lru_cache(maxsize=512)(polarity_comparator)
_BASES: dict[tuple[int, Level], tuple[Library, tuple[float, ...]]] = {}


def _bases(library: Library, level: Level) -> tuple[float, ...]:
    """Energies of the library's components at 32 nm, in the order of ``_FROM_LIBRARY``; kept by identity."""
    key = (id(library), level)
    kept = _BASES.get(key)
    if kept is None or kept[0] is not library:
        if len(_BASES) > 64:
            _BASES.clear()
        kept = _BASES[key] = (
            library,
            tuple(getattr(library, name).energy_J.at(level) for name in _FROM_LIBRARY),
        )
    return kept[1]


def energy_units(chip: ChipSpec, library: Library, level: Level) -> tuple[float, ...]:
    """Energy of one action, line by line of the breakdown; logic, converters, memory at the chip's node."""
    scale = node_factors(chip.node_nm).energy_range.at(level)
    tile, dense = chip.tile, chip.dense
    sample, driver, register, latch, network, accumulator, comparator = _bases(library, level)
    digital = digital_parts(chip, library)
    adc = tile.adc
    return (
        converter(adc.bits, adc.rate_Hz).energy_J.at(level) * scale,
        _polarity(adc.bits, adc.rate_Hz).energy_J.at(level) * scale,
        sample * scale,
        digital.shift_add.energy_J.at(level) * scale,
        driver * scale,
        crosspoint_energy_J(chip, library, level),
        digital.encoder.energy_J.at(level) * scale,
        register * scale,
        latch * scale,
        network * scale,
        accumulator * scale * (chip.buffer.word_bits / 32),
        digital.function_lane.energy_J.at(level) * scale,
        comparator * scale,
        sram(chip.buffer.capacity_bytes).energy_per_bit_J.at(level) * scale,
        dense_read_energy_J(chip),
        converter(dense.adc_bits, dense.adc_rate_Hz).energy_J.at(level) * scale,
        dense.cell.write_energy_J,
    )


_PLACES = tuple(row.place for row in _ROWS)


def priced(counts: CountTuple, units: tuple[float, ...]) -> list[float]:
    """The energy of ``counts``, line by line."""
    return [counts[place] * unit for place, unit in zip(_PLACES, units, strict=True)]


def _component(row: _Row, chip: ChipSpec, library: Library) -> Component | None:
    adc, dense = chip.tile.adc, chip.dense
    if row.component == "tile converters":
        return converter(adc.bits, adc.rate_Hz)
    if row.component == "polarity comparators":
        return _polarity(adc.bits, adc.rate_Hz)
    if row.component == "dense converters":
        return converter(dense.adc_bits, dense.adc_rate_Hz)
    home = digital_parts(chip, library) if row.component in _DIGITAL else library
    found: Component | None = getattr(home, row.component, None)
    return found


def energy_terms(
    counts: Counts | CountTuple, chip: ChipSpec, library: Library, level: Level
) -> tuple[Term, ...]:
    """Dynamic energy of ``counts``; logic, converters and memory scaled to the chip's node."""
    numbers = tuple_of(counts) if isinstance(counts, Counts) else counts
    terms = []
    for row, unit in zip(_ROWS, energy_units(chip, library, level), strict=True):
        component = _component(row, chip, library)
        source = row.source if component is None else component.source
        assert source is not None
        own = row.component if component is None or " " in row.component else component.name
        terms.append(
            Term(
                component=own,
                quantity=row.quantity or (component.action if component is not None else ""),
                count=numbers[row.place],
                unit_value=unit,
                formula=row.formula,
                fields=row.fields,
                source=source,
            )
        )
    return tuple(terms)


def leakage_unit(area: tuple[Term, ...], library: Library, level: Level) -> float:
    """Leakage power of all CMOS area: W/m² · (area − resistors − memristors)."""
    cmos = sum(term.total for term in area if term.component not in PASSIVE)
    return library.leakage_W_per_m2.at(level) * cmos


def leakage_J(cmos_m2: float, latency_s: float, library: Library, level: Level) -> float:
    """Leakage of ``cmos_m2`` over ``latency_s``."""
    return latency_s * (library.leakage_W_per_m2.at(level) * cmos_m2)


def leakage_term(area: tuple[Term, ...], latency_s: float, library: Library, level: Level) -> Term:
    """Leakage of all CMOS area over the whole run: W/m² · (area − resistors − memristors) · time."""
    return Term(
        component="leakage",
        quantity="second",
        count=latency_s,
        unit_value=leakage_unit(area, library, level),
        formula="W/m² · area of everything but resistors and memristor cells · latency",
        fields=("tile_count", "function_unit_count", "buffer.capacity_bytes"),
        source=library.leakage_source,
    )
