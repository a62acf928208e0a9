"""The energy of counted actions, component by component."""

from __future__ import annotations

from ohmformer.costs.component import Component, Level
from ohmformer.costs.converter import converter, polarity_comparator
from ohmformer.costs.counts import Counts
from ohmformer.costs.inventory import PASSIVE, encoder_scale
from ohmformer.costs.library import Library
from ohmformer.costs.memory import SRAM_SOURCE, sram
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import Term
from ohmformer.costs.timing import wordline_read_time_s
from ohmformer.specs import ChipSpec, Source

__all__ = ["crosspoint_energy_J", "dense_read_energy_J", "energy_terms", "leakage_term"]


def mean_digit(radix: int) -> float:
    """Mean magnitude of a uniform balanced digit: (b² − 1) / (4b)."""
    return (radix * radix - 1) / (4 * radix)


def crosspoint_energy_J(chip: ChipSpec) -> float:
    """Mean energy of one digit on one crosspoint group of an element: V²/R · mean |digit| · ½ · t_settle.

    Uniform digits, half of the switches on, current only until the value is held.
    """
    volts = chip.dense.read_voltage_V
    unit = volts * volts / chip.tile.resistor.unit_resistance_ohm
    return unit * mean_digit(chip.tile.numeral.radix) * 0.5 * chip.tile.settling_time_s


def dense_read_energy_J(chip: ChipSpec) -> float:
    """Mean conduction of a cell while its wordline is read: V² · (g_min + g_max)/2 · t.

    All cells of the wordline conduct for the whole read (select, settle, every conversion in turn);
    levels equally frequent.
    """
    dense = chip.dense
    conductance = (dense.cell.g_min_S + dense.cell.g_max_S) / 2
    return dense.read_voltage_V**2 * conductance * wordline_read_time_s(dense)


def energy_terms(counts: Counts, chip: ChipSpec, library: Library, level: Level) -> tuple[Term, ...]:
    """Dynamic energy of ``counts``; logic, converters and memory scaled to the chip's node."""
    scale = node_factors(chip.node_nm).energy
    tile, dense = chip.tile, chip.dense

    def term(
        component: Component, count: int, formula: str, *paths: str, factor: float = 1.0, name: str = ""
    ) -> Term:
        return Term(
            component=name or component.name,
            quantity=component.action,
            count=count,
            unit_value=component.energy_J.at(level) * scale * factor,
            formula=formula,
            fields=("node_nm", *paths),
            source=component.source,
        )

    def own(
        name: str, quantity: str, count: int, unit_value: float, formula: str, text: str, *paths: str
    ) -> Term:
        return Term(
            component=name,
            quantity=quantity,
            count=count,
            unit_value=unit_value,
            formula=formula,
            fields=paths,
            source=Source("derived", text),
        )

    conversions = "batch·rows · digits · groups · columns · conversions per output"
    memory = sram(chip.buffer.capacity_bytes)
    return (
        term(
            converter(tile.adc.bits, tile.adc.rate_Hz),
            counts.conversions,
            conversions,
            "tile",
            "precision",
            name="tile converters",
        ),
        term(
            polarity_comparator(tile.adc.bits, tile.adc.rate_Hz),
            counts.conversions,
            conversions,
            "tile",
            "precision",
            name="polarity comparators",
        ),
        term(library.sample_and_hold, counts.conversions, conversions, "tile", "precision"),
        term(library.shift_add, counts.conversions, conversions, "tile", "precision"),
        term(
            library.driver,
            counts.wordline_drives,
            "batch·rows · inner · column blocks · digits · resistors per digit",
            "tile",
            "precision",
        ),
        own(
            "fixed resistors",
            "digit on a switched element",
            counts.crosspoint_digits,
            crosspoint_energy_J(chip),
            "macs · digits · bitlines per output; V²/R · (b²−1)/(4b) · ½ · settling time",
            "Joule heat of the unit resistors; V is the read voltage, the only driver level described",
            "dense.read_voltage_V",
            "tile.resistor.unit_resistance_ohm",
            "tile.numeral.radix",
            "tile.settling_time_s",
        ),
        term(
            library.encoder,
            counts.encodings,
            "batch·rows · inner · column blocks (+ resident digits)",
            "tile",
            "precision",
            factor=encoder_scale(chip),
        ),
        term(
            library.register,
            counts.register_bits,
            "2 · (digits in + accumulator words out)",
            "tile",
            "buffer.word_bits",
        ),
        term(library.latch, counts.latch_bits, "resident bits · copies / blocks", "tile", "tile_count"),
        term(
            library.network,
            counts.network_bits,
            "values in + partial sums out + resident words once per cluster",
            "tile",
            "precision",
            "buffer.word_bits",
        ),
        term(
            library.accumulator,
            counts.additions,
            "outputs · row tiles + add calls",
            "buffer.word_bits",
            factor=chip.buffer.word_bits / 32,
        ),
        term(
            library.function_lane, counts.evaluations, "function values and multiplications", "function_unit"
        ),
        term(library.comparator, counts.comparisons, "max calls", "function_unit"),
        Term(
            component="SRAM buffer",
            quantity="bit read or written",
            count=counts.buffer_bits,
            unit_value=memory.energy_per_bit_J.at(level) * scale,
            formula="operands in activation bits; results, function inputs and outputs in accumulator words",
            fields=("node_nm", "buffer", "precision.activation_bits"),
            source=SRAM_SOURCE,
        ),
        own(
            "dense cells",
            "cell read",
            counts.dense_symbols,
            dense_read_energy_J(chip),
            "words · ceil(bits / cell bits); V² · (g_min + g_max)/2 · time of a wordline read",
            "Joule heat of the cells of a read wordline, levels equally frequent",
            "dense.read_voltage_V",
            "dense.cell.g_min_S",
            "dense.cell.g_max_S",
            "dense.wordline_time_s",
            "dense.bitlines_per_adc",
            "dense.adc_rate_Hz",
        ),
        term(
            converter(dense.adc_bits, dense.adc_rate_Hz),
            counts.dense_symbols,
            "one conversion per cell read",
            "dense.adc_bits",
            "dense.cell.bits",
            name="dense converters",
        ),
        own(
            "dense writes",
            "cell written",
            counts.dense_writes,
            dense.cell.write_energy_J,
            "results kept in the dense crossbar · ceil(activation bits / cell bits)",
            "write energy of the chip description",
            "buffer.intermediates",
            "dense.cell.write_energy_J",
        ),
    )


def leakage_term(area: tuple[Term, ...], latency_s: float, library: Library, level: Level) -> Term:
    """Leakage of all CMOS area over the whole run: W/m² · (area − resistors − memristors) · time."""
    cmos = sum(term.total for term in area if term.component not in PASSIVE)
    return Term(
        component="leakage",
        quantity="second",
        count=latency_s,
        unit_value=library.leakage_W_per_m2.at(level) * cmos,
        formula="W/m² · area of everything but resistors and memristor cells · latency",
        fields=("tile_count", "function_unit_count", "buffer.capacity_bytes"),
        source=library.leakage_source,
    )
