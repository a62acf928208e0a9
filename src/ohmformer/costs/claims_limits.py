"""What the paper leaves open: the largest model of a chip, updates of weights, widths of operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ohmformer.costs.baselines import digital_mac_dense
from ohmformer.costs.component import Level
from ohmformer.costs.estimate import banks_needed, estimate
from ohmformer.costs.inventory import area_terms
from ohmformer.costs.library import LIBRARY
from ohmformer.costs.report import sum_of
from ohmformer.errors import UserError
from ohmformer.ir import Program
from ohmformer.specs import ChipSpec, override
from ohmformer.units import MM2

__all__ = [
    "AREAS_MM2",
    "CELL_BITS",
    "DIES_PER_PACKAGE",
    "MODELS",
    "NODES",
    "OPERAND_BITS",
    "RANKS",
    "Capacity",
    "Update",
    "Width",
    "capacities",
    "updates",
    "widths",
]

NODES = (65.0, 45.0, 32.0, 22.0, 14.0, 7.0)
CELL_BITS = (1, 2, 4)
AREAS_MM2 = (100.0, 400.0, 800.0)
DIES_PER_PACKAGE = 8
OPERAND_BITS = tuple(range(2, 17))
RANKS = (4, 8, 16, 64)
RUNS_PER_STEP = 3.0  # a forward run, and twice that for the gradients
# parameters, as published
MODELS = (
    ("GPT-2", 124e6),
    ("BERT-Large", 335e6),
    ("Phi-1.5", 1.42e9),
    ("T5-11B", 11.3e9),
    ("Llama-2-70B", 69e9),
    ("GPT-3", 175e9),
    ("Llama-3.1-405B", 405e9),
)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Words that fit a die: all of it dense banks, and beside the chip's other blocks.

    rest_mm2:     what the chip has beside its dense banks, at this node
    words_alone:  were the die nothing but dense banks
    words:        beside ``rest_mm2``; 0 where that alone is larger than the die
    package_words: ``words`` on each of ``DIES_PER_PACKAGE`` dies
    fits, package_fits: the largest known model of so many words, "" if none
    """

    node_nm: float
    cell_bits: int
    die_mm2: float
    rest_mm2: float
    words_alone: int
    words: int
    package_words: int
    fits: str
    package_fits: str


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update of trained words in dense cells.

    words, cells:  written by one update
    energy_J, time_s: of writing each once; all banks at once, a write driver beside each converter
    updates:       until the cells that are written reach the endurance, each at every update
    updates_levelled: were the writes spread over all cells of the chip
    step_s:        of a training step: three forward runs, then the writes
    lifetime_s:    of steps back to back, not levelled
    energy_over_run: energy of an update over that of a forward run
    """

    what: str
    words: int
    cells: int
    energy_J: float
    time_s: float
    updates: float
    updates_levelled: float
    step_s: float
    lifetime_s: float
    energy_over_run: float


@dataclass(frozen=True, kw_only=True)
class Width:
    """What a model costs with operands of ``bits`` bits (weights and activations).

    digits:       cycles of a streamed value
    word_bits:    of the accumulators; raised where sums would not fit
    plain_area_delay_mm2_s: of plain multipliers of that width in the place of the tiles
    """

    bits: int
    digits: int
    word_bits: int
    banks: int
    conversions_per_mac: float
    area_m2: float
    energy_J: float
    latency_s: float
    area_delay_mm2_s: float
    plain_area_delay_mm2_s: float
    plain_energy_J: float


def _largest(words: int) -> str:
    return next((name for name, size in reversed(MODELS) if size <= words), "")


def capacities(
    chip: ChipSpec,
    *,
    nodes: Sequence[float] = NODES,
    cell_bits: Sequence[int] = CELL_BITS,
    areas_mm2: Sequence[float] = AREAS_MM2,
    level: Level = "typical",
) -> tuple[Capacity, ...]:
    """The largest model of a die by node, bits of a cell and area.

    banks = floor((die − rest) / area of a bank with decoders and converters), words = banks · cells · ⌊…⌋
    """
    found = []
    for node in nodes:
        for bits in cell_bits:
            changes = {
                "node_nm": node,
                "dense.cell.bits": bits,
                "dense.adc_bits": max(bits, chip.dense.adc_bits),
                "dense.vector_cell_bits": min(bits, chip.dense.vector_cell_bits),
            }
            own = override(chip, changes)
            one, two = (sum_of(area_terms(own, banks, LIBRARY, level)) for banks in (1, 2))
            bank, rest = two - one, 2 * one - two
            words_per_bank = own.dense.cells // -(-own.precision.weight_bits // bits)
            for die in areas_mm2:
                alone = int(die * MM2 / bank) * words_per_bank
                words = max(0, int((die * MM2 - rest) / bank)) * words_per_bank
                package = DIES_PER_PACKAGE * words
                found.append(
                    Capacity(
                        node_nm=node,
                        cell_bits=bits,
                        die_mm2=die,
                        rest_mm2=rest / MM2,
                        words_alone=alone,
                        words=words,
                        package_words=package,
                        fits=_largest(words),
                        package_fits=_largest(package),
                    )
                )
    return tuple(found)


def updates(program: Program, chip: ChipSpec, *, ranks: Sequence[int] = RANKS) -> tuple[Update, ...]:
    """What one update takes: of all stored words, and of adapters of each rank beside every weight matrix.

    energy = cells · write energy;  time = ⌈cells / (banks · converters of a bank)⌉ · write time
    Error:  every write hits at the first pulse: program-and-verify takes several, and wears as often.
    """
    report = estimate(program, chip)
    cell, dense = chip.dense.cell, chip.dense
    per_word = -(-chip.precision.weight_bits // cell.bits)
    banks = max(banks_needed(program, chip), chip.dense_bank_count)
    matrices = {(p.module, p.inner, p.columns) for p in program.products() if p.resident == "weight"}
    if not matrices:
        raise UserError(f"The program {program.name!r} has no weights to update.")
    cases = [("all stored words", program.stored_words)]
    cases += [
        (f"adapters of rank {rank}", sum(rank * (inner + columns) for _, inner, columns in matrices))
        for rank in ranks
    ]
    found = []
    for what, words in cases:
        cells = words * per_word
        seconds = -(-cells // (banks * dense.adc_count)) * cell.write_time_s
        step = RUNS_PER_STEP * report.latency_s + seconds
        energy = cells * cell.write_energy_J
        found.append(
            Update(
                what=what,
                words=words,
                cells=cells,
                energy_J=energy,
                time_s=seconds,
                updates=cell.endurance_writes,
                updates_levelled=cell.endurance_writes * banks * dense.cells / cells,
                step_s=step,
                lifetime_s=cell.endurance_writes * step,
                energy_over_run=energy / report.energy_J,
            )
        )
    return tuple(found)


def widths(program: Program, chip: ChipSpec, *, bits: Sequence[int] = OPERAND_BITS) -> tuple[Width, ...]:
    """What operands of each width cost; the tiles stay, the accumulators grow where sums need it."""
    inner = max((product.inner for product in program.products()), default=1)
    found = []
    for count in bits:
        needed = 2 * (count - 1) + (inner - 1).bit_length() + 1
        word_bits = max(chip.buffer.word_bits, -(-needed // 8) * 8)
        own = override(
            chip,
            {
                "precision.weight_bits": count,
                "precision.activation_bits": count,
                "buffer.word_bits": word_bits,
            },
        )
        report, plain = estimate(program, own), digital_mac_dense(program, own)
        found.append(
            Width(
                bits=count,
                digits=own.tile.numeral.digits_for(count),
                word_bits=word_bits,
                banks=report.banks,
                conversions_per_mac=report.conversions_per_mac,
                area_m2=report.area_m2,
                energy_J=report.energy_J,
                latency_s=report.latency_s,
                area_delay_mm2_s=report.area_delay_mm2_s,
                plain_area_delay_mm2_s=plain.area_delay_mm2_s,
                plain_energy_J=plain.energy_J,
            )
        )
    return tuple(found)
