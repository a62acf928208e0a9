"""Named chips. Every field of every preset has a Source; variants state only what they change."""

from __future__ import annotations

import difflib

from ohmformer.specs.checks import SpecError
from ohmformer.specs.chip import BufferSpec, ChipSpec, FunctionUnitSpec, PrecisionSpec
from ohmformer.specs.dense import CellNoiseSpec, DenseCellSpec, DenseSpec
from ohmformer.specs.source import Source
from ohmformer.specs.tile import AdcSpec, NumeralSpec, ResistorSpec, TileSpec
from ohmformer.specs.tree import NOISE_OFF, Value, leaves, override
from ohmformer.units import GIGA, KILO, MEGA, MICRO, MILLI, NANO, PICO

PAPER = "arXiv 2410.15977 (Wang et al., IEEE TPAMI 2024)"
ISAAC = "ISAAC, Shafiee et al., ISCA 2016, Table I (CE configuration, 32 nm)"

_WANG2024 = ChipSpec(
    name="wang2024",
    node_nm=32.0,
    clock_Hz=1 * GIGA,
    temperature_K=300.0,
    tile_count=20480,
    function_unit_count=256,
    dense_bank_count=20,
    precision=PrecisionSpec(weight_bits=8, activation_bits=8, activation_scale="per_token", vector_bits=16),
    dense=DenseSpec(
        wordlines=1024,
        bitlines=65536,
        adc_bits=2,
        bitlines_per_adc=128,
        adc_rate_Hz=1.28 * GIGA,
        read_voltage_V=0.2,
        wordline_time_s=10 * NANO,
        weight_code="offset_binary",
        gray=False,
        vector_cell_bits=1,
        secded_data_bits=0,
        cell=DenseCellSpec(
            bits=2,
            g_min_S=1 * MICRO,
            g_max_S=0.1 * MILLI,
            area_F2=4.0,
            endurance_writes=1e9,
            write_energy_J=4.6 * PICO,
            write_time_s=50 * NANO,
            noise=CellNoiseSpec(
                programming_noise=0.0144,
                telegraph_at_g_max=0.028,
                telegraph_at_g_min=0.5,
                telegraph_limit=0.5,
                telegraph_occupancy=0.5,
                telegraph_scale=1.0,
                environment_noise=0.05 / 3,
                read_noise=0.0005,
                drift_exponent=0.005,
                drift_time_ratio=1.0,
                stuck_low_rate=0.0,
                stuck_high_rate=0.0,
            ),
        ),
    ),
    tile=TileSpec(
        wordlines=128,
        bitlines=128,
        active_wordlines=128,
        resident_code="bits",
        environment_noise=0.05,
        settling_time_s=0.0,
        numeral=NumeralSpec(radix=7, polarity="shared"),
        resistor=ResistorSpec(
            unit_resistance_ohm=1 * MEGA,
            switch_resistance_ohm=1 * KILO,
            mismatch=0.003,
            wire_resistance_ohm=0.0,
        ),
        adc=AdcSpec(
            bits=8,
            step=1,
            rounding="half_even",
            noise=0.05,
            nonlinearity=0.0,
            bitlines_per_adc=128,
            rate_Hz=1.28 * GIGA,
        ),
    ),
    function_unit=FunctionUnitSpec(segments=128, fraction_bits=16, clock_Hz=1 * GIGA, lanes=1),
    buffer=BufferSpec(capacity_bytes=4 * 1024 * 1024, word_bits=32, intermediates="sram"),
)

_SOURCES: dict[str, Source] = {
    "name": Source("ours", "name of the preset"),
    "node_nm": Source("paper", f"{PAPER}: 32 nm"),
    "clock_Hz": Source(
        "ours", "digital blocks at 1 GHz, the rate at which a plain 32 nm int8 MAC is compared"
    ),
    "temperature_K": Source("ours", "room temperature"),
    "tile_count": Source(
        "derived",
        f"{PAPER} claims 0.03 mm²·s on BERT-Large; about 20 k crossbars is what that leaves at one 1.28 GS/s "
        "converter each, sequence 128 to 384; sweep it",
    ),
    "function_unit_count": Source(
        "ours",
        "BERT-Large at sequence 128 asks for about 40 M function values; 256 a clock keep that below the "
        "time of the products",
    ),
    "dense_bank_count": Source(
        "derived",
        "the 335 M weights of BERT-Large at 8 bits fill 19.98 banks of 1k x 64k 2-bit cells; its biases and "
        "norm weights, of 16 bits in two-level cells, spill 0.06 of a bank into one more",
    ),
    "precision.weight_bits": Source("paper", f"{PAPER}: 8-bit weights"),
    "precision.activation_bits": Source("paper", f"{PAPER}: 8-bit activations"),
    "precision.activation_scale": Source("ours", "the encoder sees a whole token before it streams it"),
    "precision.vector_bits": Source(
        "ours", "a bias or norm weight takes two 8-bit words: few numbers, each used by a whole channel"
    ),
    "precision.outliers": Source(
        "ours",
        "off: the published machine sends a row in one pass; a decoder with a few very large "
        "elements in a row wants 8 to 16",
    ),
    "dense.wordlines": Source("paper", f"{PAPER}: dense crossbar of 1k x 64k, the size of a DRAM bank"),
    "dense.bitlines": Source("paper", f"{PAPER}: dense crossbar of 1k x 64k, the size of a DRAM bank"),
    "dense.adc_bits": Source("paper", f"{PAPER}: 2-bit ADCs"),
    "dense.bitlines_per_adc": Source("paper", f"{PAPER}: one ADC is shared by 128 bitlines"),
    "dense.adc_rate_Hz": Source("other work", f"{ISAAC}: 1.28 GS/s"),
    "dense.read_voltage_V": Source("other work", "CiMLoop's isaac memory cell: 0.2 V read voltage"),
    "dense.wordline_time_s": Source("other work", "NeuroSim V1.5 default: 10 ns read pulse"),
    "dense.weight_code": Source(
        "ours",
        "offset binary puts the top symbol of a small weight on a middle level, which telegraph noise "
        "disturbs least; two's complement puts that of small negative weights on the top level",
    ),
    "dense.gray": Source("ours", "off; the paper does not mention it"),
    "dense.vector_cell_bits": Source(
        "ours",
        "two levels only, as flash memories do for what must not be lost: one wrong top symbol of a norm "
        "weight disturbs every token",
    ),
    "dense.secded_data_bits": Source(
        "ours", "none; the paper does not mention a code. 64 adds 8 check bits a word, as memory modules have"
    ),
    "dense.cell.bits": Source(
        "derived", f"{PAPER}: 2-bit ADCs tell exactly the 4 levels of a 2-bit cell apart"
    ),
    "dense.cell.g_min_S": Source("other work", "MNSIM 2.0 default RRAM: 1 MΩ highest resistance"),
    "dense.cell.g_max_S": Source("other work", "MNSIM 2.0 default RRAM: 10 kΩ lowest resistance"),
    "dense.cell.area_F2": Source("paper", f"{PAPER}, introduction: 4F² cells"),
    "dense.cell.endurance_writes": Source(
        "ours", "1e9 writes: multi-level HfOx is reported between 1e6 and 1e9; sweep it"
    ),
    "dense.cell.write_energy_J": Source(
        "other work", "3D-CIMlet, 40 nm RRAM: 2.3 pJ per bit written, 2 bits"
    ),
    "dense.cell.write_time_s": Source("other work", "CiMLoop's NeuroSim default memory cell: 50 ns write"),
    "dense.cell.noise.programming_noise": Source(
        "derived",
        "NeuRRAM (Wan et al., Nature 2022) accepts a write within ±1 µS on a 40 µS range: uniform in the "
        "window, sd 1/√3 µS, 1.44 % of the range; later relaxation is not in it; window cited from memory",
    ),
    "dense.cell.noise.telegraph_at_g_max": Source(
        "other work", "Feinberg et al., HPCA 2018, citing Ielmini: ΔR/R 2.8 % at the lowest resistance"
    ),
    "dense.cell.noise.telegraph_at_g_min": Source(
        "other work", "Feinberg et al., HPCA 2018, citing Ielmini: ΔR/R 50 % at the highest resistance"
    ),
    "dense.cell.noise.telegraph_limit": Source(
        "other work", "Ielmini et al., APL 2010: ΔR/R grows with R and saturates; 0.5 taken"
    ),
    "dense.cell.noise.telegraph_occupancy": Source("ours", "both states of the trap equally likely"),
    "dense.cell.noise.telegraph_scale": Source(
        "paper", f"{PAPER}: 1 is the published amplitude, 5 its stress test"
    ),
    "dense.cell.noise.environment_noise": Source(
        "derived",
        f"{PAPER}: environment below 5 % of the signal, read as three standard deviations of a cell's "
        "current",
    ),
    "dense.cell.noise.read_noise": Source(
        "derived",
        "Johnson noise √(4kTGΔf) of 100 µS at 300 K and 50 MHz is 9.1 nA, 0.046 % of the 19.8 µA range "
        "at 0.2 V; 0.05 % taken",
    ),
    "dense.cell.noise.drift_exponent": Source(
        "ours", "small for filamentary RRAM; acts only when drift_time_ratio is above 1; sweep it"
    ),
    "dense.cell.noise.drift_time_ratio": Source("ours", "freshly programmed"),
    "dense.cell.noise.stuck_low_rate": Source(
        "ours", "the paper states none; MNSIM 2.0 takes 0.1 %: sweep it"
    ),
    "dense.cell.noise.stuck_high_rate": Source(
        "ours", "the paper states none; MNSIM 2.0 takes 0.1 %: sweep it"
    ),
    "tile.wordlines": Source("paper", f"{PAPER}: computation crossbar of 128 x 128"),
    "tile.bitlines": Source("paper", f"{PAPER}: computation crossbar of 128 x 128"),
    "tile.active_wordlines": Source("ours", "all of them; see the 2-bit presets for the other readings"),
    "tile.resident_code": Source("ours", "one switch per bit of a resident operand, one bitline per bit"),
    "tile.environment_noise": Source(
        "derived",
        f"{PAPER}: environment below 5 % of the signal, read as the smallest signal a converter must tell "
        "apart, the current of one unit resistor",
    ),
    "tile.settling_time_s": Source(
        "derived",
        "none stated, neither here nor by the paper: resistors, wires and sense amplifier of the tile say it "
        "(devices.settling_time_s; 2.05 ns for 128 x 128, all wordlines active)",
    ),
    "tile.numeral.radix": Source(
        "paper", f"{PAPER}: base 7 of a balanced numeral system, 3 cycles for 8 bits"
    ),
    "tile.numeral.polarity": Source("ours", "one sign per digit, two resistors of weight 1 and 2"),
    "tile.resistor.unit_resistance_ohm": Source(
        "derived",
        "nodal solution of a 128 x 128 tile with random operands: 100 kΩ units lose several codes at 1 Ω of "
        "wire per segment, 1 MΩ units less than half a code at 0.5 Ω",
    ),
    "tile.resistor.switch_resistance_ohm": Source(
        "ours", "a minimum-size switch; every unit has its own, so the ratio of weights is kept"
    ),
    "tile.resistor.mismatch": Source("ours", "polysilicon resistors match to between 0.1 and 1 %; sweep it"),
    "tile.resistor.wire_resistance_ohm": Source(
        "ours",
        "wires are off by default, not absent: the paper states neither wires nor their compensation, and "
        "its exact products presume that they cost less than half a code; 0.5 Ω already takes 1.1 codes off "
        "the largest sum. Set ohms per segment to see them",
    ),
    "tile.adc.bits": Source("derived", "64 elements x 3 units = 192: 8 magnitude bits lose nothing"),
    "tile.adc.step": Source("derived", "one unit current, so that every integer is resolved"),
    "tile.adc.rounding": Source("ours", "half to even has no bias"),
    "tile.adc.noise": Source(
        "ours",
        "0.05 steps; converters of this rate and resolution in the published surveys are noisier, and the "
        "products then lose their exactness: sweep it",
    ),
    "tile.adc.nonlinearity": Source(
        "ours", "none: what matters beside noise is its worst code, which no source of this converter states"
    ),
    "tile.adc.bitlines_per_adc": Source("paper", f"{PAPER}: one ADC is shared by 128 bitlines"),
    "tile.adc.rate_Hz": Source("other work", f"{ISAAC}: 8 bits at 1.28 GS/s"),
    "function_unit.segments": Source(
        "ours",
        "largest error at 16 fraction bits: below 1e-4 for exp, sigmoid and, relative, reciprocal and "
        "reciprocal square root; below 2e-4 for GELU and tanh; below 5e-4 for every function; 64 segments "
        "make them 1.6 to 3.6 times larger",
    ),
    "function_unit.fraction_bits": Source(
        "ours",
        "an entry and a result are rounded by at most 2^-17 each: for exp that is more than the "
        "interpolation errs, for reciprocal as much, for all others less",
    ),
    "function_unit.clock_Hz": Source("ours", "the clock of the digital blocks"),
    "function_unit.lanes": Source("ours", "one value a clock"),
    "buffer.capacity_bytes": Source(
        "ours", "holds the residual stream and one layer's operands of BERT-Large"
    ),
    "buffer.word_bits": Source("ours", "the accumulator of an 8-bit product over any tested inner length"),
    "buffer.intermediates": Source(
        "ours", "SRAM; `dense` shows what writing intermediates does to the cells"
    ),
    "buffer.kv_cache": Source("ours", "SRAM as long as they fit beside what else is kept there"),
    "package.max_chips": Source(
        "ours", "no limit: the paper's areas are those of one chip that holds the whole model"
    ),
    "package.die_area_limit_m2": Source("ours", "no limit; a lithography field is about 858 mm²"),
    "package.link": Source("ours", "chips side by side in one package"),
    "package.links": Source("other work", f"{ISAAC}: four links a chip"),
}

_VARIANTS: dict[str, tuple[str, dict[str, Value], dict[str, Source]]] = {
    "wang2024": (
        "2-bit dense cells and read-out; computation converters lose nothing",
        {},
        {},
    ),
    "wang2024_1bit_cells": (
        "wang2024 with 1-bit dense cells",
        {"dense.cell.bits": 1, "dense.cell.write_energy_J": 2.3 * PICO},
        {
            "dense.cell.bits": Source("paper", f"{PAPER}: the 1-bit variant that stands 18x the noise"),
            "dense.cell.write_energy_J": Source(
                "other work", "3D-CIMlet, 40 nm RRAM: 2.3 pJ per bit written"
            ),
        },
    ),
    "wang2024_4bit_cells": (
        "wang2024 with 4-bit dense cells and a 4-bit read-out",
        {"dense.cell.bits": 4, "dense.adc_bits": 4, "dense.cell.write_energy_J": 9.2 * PICO},
        {
            "dense.cell.bits": Source("paper", f"{PAPER}, introduction: 4-bit 4F² cells for GPT-3"),
            "dense.adc_bits": Source("derived", "16 levels need 4 bits"),
            "dense.cell.write_energy_J": Source(
                "other work", "3D-CIMlet, 40 nm RRAM: 2.3 pJ per bit, 4 bits"
            ),
        },
    ),
    "wang2024_2bit_serial": (
        "2-bit converters everywhere: one base-7 digit at a time, nothing lost, many conversions",
        {"tile.active_wordlines": 2, "tile.adc.bits": 2},
        {
            "tile.active_wordlines": Source("derived", "one base-7 digit: its magnitude 0 ... 3 fits 2 bits"),
            "tile.adc.bits": Source("paper", f"{PAPER}: 2-bit ADCs"),
        },
    ),
    "wang2024_2bit_lossy": (
        "2-bit converters everywhere with all wordlines active: information is lost",
        {"tile.adc.bits": 2, "tile.adc.step": 7},
        {
            "tile.adc.bits": Source("paper", f"{PAPER}: 2-bit ADCs"),
            "tile.adc.step": Source(
                "derived",
                "0.651 sd is the best step of a 7-level uniform quantiser of a Gaussian (Max, 1960); 64 "
                "random digits times random bits have sd √(64·4·½) = 11.3",
            ),
        },
    ),
}


def names() -> list[str]:
    """Names of all presets."""
    return list(_VARIANTS)


def describe(name: str) -> str:
    """One line on what the preset ``name`` is."""
    _known(name)
    return _VARIANTS[name][0]


def preset(name: str) -> ChipSpec:
    """The chip called ``name``; an unknown name is refused with the nearest one."""
    _known(name)
    return override(_WANG2024, {"name": name, **_VARIANTS[name][1]})


def sources(name: str) -> dict[str, Source]:
    """The Source of every field of the preset ``name``, by dotted path."""
    _known(name)
    return {**_SOURCES, **_VARIANTS[name][2]}


def sources_of(chip: ChipSpec) -> dict[str, Source]:
    """The Source of every field of any chip: the preset's for a value of the preset, else the user's."""
    if chip.name not in _VARIANTS:
        return {path: Source("ours", "given by the user's chip file") for path in leaves(chip)}
    origin, found = leaves(preset(chip.name)), sources(chip.name)
    changed = Source("ours", "set by the user for this run")
    off = Source("ours", "switched off: the ideal or noiseless copy of the chip")
    return {
        path: found[path] if value == origin[path] else off if NOISE_OFF.get(path) == value else changed
        for path, value in leaves(chip).items()
    }


def _known(name: str) -> None:
    if name not in _VARIANTS:
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)
        raise SpecError(f"There is no chip {name!r}: did you mean {close[0]!r}? Known: {', '.join(names())}.")


def wang2024() -> ChipSpec:
    """The default reading: 2-bit dense cells, lossless computation converters."""
    return preset("wang2024")


def wang2024_1bit_cells() -> ChipSpec:
    """``wang2024`` with 1-bit dense cells."""
    return preset("wang2024_1bit_cells")


def wang2024_4bit_cells() -> ChipSpec:
    """``wang2024`` with 4-bit dense cells."""
    return preset("wang2024_4bit_cells")


def wang2024_2bit_serial() -> ChipSpec:
    """2-bit converters everywhere, one digit active at a time, lossless."""
    return preset("wang2024_2bit_serial")


def wang2024_2bit_lossy() -> ChipSpec:
    """2-bit converters everywhere, all wordlines active, lossy."""
    return preset("wang2024_2bit_lossy")
