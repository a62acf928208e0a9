"""Plain 32 nm int8 multiply-accumulate units: alone, and with the memory they need.

Size: the number of units that fits the area of the chip's computation tiles. The area-delay product of
the units alone does not depend on it.
"""

from __future__ import annotations

from ohmformer.costs.baselines.baseline import Baseline
from ohmformer.costs.component import Level
from ohmformer.costs.counts import Counts
from ohmformer.costs.energy import energy_terms, leakage_term
from ohmformer.costs.estimate import estimate
from ohmformer.costs.library import LIBRARY, Library
from ohmformer.costs.memory import SRAM_SOURCE, sram
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.report import CostReport, Term, sum_of
from ohmformer.costs.timing import Step, step_time, steps
from ohmformer.ir import Product, Program
from ohmformer.specs import ChipSpec, PrecisionSpec, Source
from ohmformer.units import GIGA, PICO, UM2

__all__ = [
    "ARRAY",
    "DENSE_COMPONENTS",
    "MAC_SOURCE",
    "SHARED_COMPONENTS",
    "TILE_COMPONENTS",
    "digital_mac",
    "digital_mac_dense",
    "digital_mac_sram",
    "mac_area_m2",
    "mac_energy_J",
    "tile_area_m2",
    "traffic_of_arrays",
]

ARRAY = 128  # rows and columns of one array of units
MAC_CLOCK_HZ = 1 * GIGA
MAC_SOURCE = Source(
    "other work",
    "Horowitz, ISSCC 2014, 45 nm: 8-bit multiplier 282 µm², .2 pJ, 32-bit adder 137 µm², .1 pJ; scaled "
    "to 32 nm by .46 and .659 (Stillmaker and Baas): 193 µm², .198 pJ; multiplier by the widths",
)
REGISTER_SOURCE = Source(
    "other work",
    "per unit 40 flip-flop bits (operand 8, sum 32): NanGate 45 nm DFF_X1 4.522 µm² scaled by .46; 9 fJ "
    "a bit (Aladdin); and two weight words in latches at the chip's own price",
)
FLIP_FLOP_BITS = 40
TILE_COMPONENTS = (
    "tile converters",
    "polarity comparators",
    "sample and hold",
    "wordline drivers",
    "fixed resistors",
    "switch latches",
    "shift-add",
    "accumulators",
    "encoders",
    "tile registers",
)
SHARED_COMPONENTS = ("network", "function units", "function tables", "SRAM buffer")
DENSE_COMPONENTS = ("dense cells", "dense periphery", "dense converters")


def mac_area_m2(precision: PrecisionSpec, node_nm: float) -> float:
    """Area of one unit: multiplier (by the product of the widths) and 32-bit adder."""
    widths = precision.weight_bits * precision.activation_bits / 64
    return (282 * widths + 137) * 0.46 * UM2 * node_factors(node_nm).area


def mac_energy_J(precision: PrecisionSpec, node_nm: float) -> float:
    """Energy of one multiply-accumulate, operands at hand."""
    widths = precision.weight_bits * precision.activation_bits / 64
    return (0.2 * widths + 0.1) * 0.659 * PICO * node_factors(node_nm).energy


def tile_area_m2(report: CostReport) -> float:
    """Area of the computation tiles of a chip."""
    return sum(term.total for term in report.area if term.component in TILE_COMPONENTS)


def _mac_terms(count: int, macs: int, chip: ChipSpec) -> tuple[Term, Term]:
    fields = ("node_nm", "precision")
    return (
        Term(
            component="multiply-accumulate units",
            quantity="unit",
            count=count,
            unit_value=mac_area_m2(chip.precision, chip.node_nm),
            formula="as many as fit the area of the chip's computation tiles",
            fields=fields,
            source=MAC_SOURCE,
        ),
        Term(
            component="multiply-accumulate units",
            quantity="multiply-accumulate",
            count=macs,
            unit_value=mac_energy_J(chip.precision, chip.node_nm),
            formula="one each",
            fields=fields,
            source=MAC_SOURCE,
        ),
    )


def digital_mac(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    report: CostReport | None = None,
) -> Baseline:
    """The units alone: no memory, no registers, no functions, every unit busy every cycle.

    area-delay product = macs · 193 µm² · 1 ns at 8 bits and 32 nm, whatever the number of units
    report: the chip's own estimate, if at hand
    """
    report = report or estimate(program, chip, level=level, library=library)
    count = max(1, int(tile_area_m2(report) / mac_area_m2(chip.precision, chip.node_nm)))
    area, energy = _mac_terms(count, report.counts.macs, chip)
    return Baseline(
        name="digital_mac",
        title="plain int8 MACs, no memory",
        basis="model",
        area_m2=area.total,
        latency_s=report.counts.macs / (count * MAC_CLOCK_HZ),
        energy_J=energy.total,
        notes=(
            f"{count} units at 1 GHz in the area of the chip's computation tiles, each busy in every cycle.",
            "No memory, no registers, no functions, no leakage: a lower bound, not a machine.",
        ),
        sources=(MAC_SOURCE,),
        area=(area,),
        energy=(energy,),
    )


def _array_time_s(product: Product, arrays: int) -> float:
    """Cycles of the fullest array: rows of all 128 x 128 blocks dealt out evenly."""
    blocks = -(-product.inner // ARRAY) * -(-product.columns // ARRAY) * product.batch
    return -(-blocks * product.rows // arrays) / MAC_CLOCK_HZ


def _step_time_s(step: Step, chip: ChipSpec, library: Library, arrays: int, dense: bool) -> float:
    busy = step_time(step, chip, library).busy_s
    work = _array_time_s(step.product, arrays) if step.product else 0.0
    reads = busy["dense reads"] if dense else 0.0
    return max(work, busy["functions"], busy["buffer"], reads)


def _with_memory(
    program: Program,
    chip: ChipSpec,
    level: Level,
    library: Library,
    report: CostReport | None,
    *,
    dense: bool,
) -> Baseline:
    report = report or estimate(program, chip, level=level, library=library)
    factors = node_factors(chip.node_nm)
    each = mac_area_m2(chip.precision, chip.node_nm)
    registers = FLIP_FLOP_BITS * 4.522 * 0.46 * UM2 * factors.area
    registers += 2 * chip.precision.weight_bits * library.latch.area_m2.at(level) * factors.area
    arrays = max(1, int(tile_area_m2(report) / (each + registers)) // ARRAY**2)
    count = arrays * ARRAY**2
    mac_area, mac_energy = _mac_terms(count, report.counts.macs, chip)

    def own(component: str, quantity: str, amount: float, unit: float, formula: str, source: Source) -> Term:
        return Term(
            component=component,
            quantity=quantity,
            count=amount,
            unit_value=unit,
            formula=formula,
            fields=("precision", "node_nm"),
            source=source,
        )

    kept = SHARED_COMPONENTS + (DENSE_COMPONENTS if dense else ())
    area = [
        mac_area,
        own("registers", "unit", count, registers, "operand, sum, two weights", REGISTER_SOURCE),
    ]
    area += [term for term in report.area if term.component in kept]
    flip_flops = FLIP_FLOP_BITS * 0.009 * PICO * factors.energy
    energy = [
        mac_energy,
        own(
            "registers",
            "multiply-accumulate",
            report.counts.macs,
            flip_flops,
            "40 bits each",
            REGISTER_SOURCE,
        ),
    ]
    counts = report.counts
    traffic = traffic_of_arrays(program, chip, counts, dense=dense)
    energy += [term for term in energy_terms(traffic, chip, library, level) if term.count]
    if not dense:
        weights = sram(max(1024, program.stored_words * chip.precision.weight_bits // 8))
        bits = counts.dense_symbols * chip.dense.cell.bits
        area.append(
            own(
                "SRAM for weights",
                "bank",
                weights.banks,
                weights.area_m2.at(level) / weights.banks * factors.area,
                "stored words, 32 KiB banks",
                SRAM_SOURCE,
            )
        )
        energy.append(
            own(
                "SRAM for weights",
                "bit read",
                bits,
                weights.energy_per_bit_J.at(level) * factors.energy,
                "every weight once per product",
                SRAM_SOURCE,
            )
        )
    latency = sum(
        times * _step_time_s(step, chip, library, arrays, dense) for step, times in steps(program).items()
    )
    energy.append(leakage_term(tuple(area), latency, library, level))
    where = "the same dense banks" if dense else "SRAM"
    return Baseline(
        name="digital_mac_dense" if dense else "digital_mac_sram",
        title=f"int8 MACs, weights in {'dense crossbars' if dense else 'SRAM'}",
        basis="model",
        area_m2=sum_of(tuple(area)),
        latency_s=latency,
        energy_J=sum_of(tuple(energy)),
        notes=(
            f"{arrays} arrays of 128 x 128 units in the area of the chip's computation tiles, weights in "
            f"{where}; buffer, network and function units as on the chip.",
            "A step takes the longest of multiplying, reading, buffering and functions.",
        ),
        sources=(MAC_SOURCE, REGISTER_SOURCE, SRAM_SOURCE),
        area=tuple(area),
        energy=tuple(energy),
    )


def traffic_of_arrays(program: Program, chip: ChipSpec, counts: Counts, *, dense: bool) -> Counts:
    """What 128 x 128 arrays of units move and leave to the rest of the chip, from the chip's own counts."""
    return Counts(
        network_bits=sum(_moved_bits(product, chip) for product in program.products()),
        buffer_bits=counts.buffer_bits,
        evaluations=counts.evaluations,
        comparisons=counts.comparisons,
        additions=sum(call.elements for call in program.functions() if call.function == "add"),
        dense_symbols=counts.dense_symbols if dense else 0,
    )


def _moved_bits(product: Product, chip: ChipSpec) -> int:
    """Bits on the network: values to each column block, words from each row block, weights once."""
    precision = chip.precision
    values = product.streamed_elements * -(-product.columns // ARRAY) * precision.activation_bits
    sums = product.output_elements * -(-product.inner // ARRAY) * chip.buffer.word_bits
    bits = precision.weight_bits if product.resident == "weight" else precision.activation_bits
    return values + sums + (0 if product.resident == "constant" else product.resident_elements * bits)


def digital_mac_dense(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    report: CostReport | None = None,
) -> Baseline:
    """The chip itself with its computation tiles replaced by arrays of int8 units of the same area."""
    return _with_memory(program, chip, level, library, report, dense=True)


def digital_mac_sram(
    program: Program,
    chip: ChipSpec,
    *,
    level: Level = "typical",
    library: Library = LIBRARY,
    report: CostReport | None = None,
) -> Baseline:
    """The same with all stored words in SRAM instead of dense crossbars."""
    return _with_memory(program, chip, level, library, report, dense=False)
