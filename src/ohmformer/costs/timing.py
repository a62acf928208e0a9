"""How long each resource works on a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

from ohmformer.compiler.place import ProductShape, shape_of
from ohmformer.compiler.schedule_work import Work
from ohmformer.compiler.steps import Step, StepGraph, step_graph
from ohmformer.costs.component import Level
from ohmformer.costs.counts import (
    NOTHING,
    CountNumbers,
    Counts,
    CountTuple,
    count_numbers,
    counts_of,
    function_words,
    product_tuple,
)
from ohmformer.costs.library import Library
from ohmformer.costs.memory import sram
from ohmformer.costs.settling import settled_s
from ohmformer.ir import Product, Program, SubOp
from ohmformer.specs import ChipSpec, DenseSpec

__all__ = [
    "NO_EXTRA",
    "RESOURCES",
    "Extra",
    "Rates",
    "Resource",
    "Step",
    "StepNumbers",
    "StepTime",
    "dense_read_time_s",
    "rates_of",
    "step_counts",
    "step_numbers",
    "step_time",
    "steps",
    "sums_of",
]

Resource = Literal[
    "conversions", "functions", "operand feed", "dense reads", "dense writes", "buffer", "additions"
]
RESOURCES: tuple[Resource, ...] = (
    "conversions",
    "functions",
    "operand feed",
    "dense reads",
    "dense writes",
    "buffer",
    "additions",
)


class StepSums(NamedTuple):
    """What a step asks for on any chip.

    words:    accumulator words that functions and copies read and write
    adds, compares, values: additions, comparisons and values of its functions
    """

    product: Product | None
    words: int
    adds: int
    compares: int
    values: int
    dense_words: int
    appended: int
    cache_operands: int


_SUMS: WeakKeyDictionary[StepGraph, tuple[StepSums, ...]] = WeakKeyDictionary()


def _sums(step: Step) -> StepSums:
    found = [function_words(function, elements) for function, elements in step.functions]
    return StepSums(
        step.product,
        sum(one[0] for one in found) + 2 * step.copied,
        sum(one[1] for one in found),
        sum(one[2] for one in found),
        sum(one[3] for one in found),
        step.dense_words,
        step.appended,
        step.cache_operands,
    )


def sums_of(graph: StepGraph) -> tuple[StepSums, ...]:
    """What each kind of step of ``graph`` asks for; worked out once."""
    found = _SUMS.get(graph)
    if found is None:
        found = _SUMS[graph] = tuple(_sums(step) for step in graph.kinds)
    return found


class Extra(NamedTuple):
    """What goes to dense cells and comes from there because the buffer is full, of one step, in numbers.

    coded: kept in activation bits; words: in accumulator words
    """

    read_coded: int = 0
    read_words: int = 0
    written_coded: int = 0
    written_words: int = 0


NO_EXTRA = Extra()


class Rates(NamedTuple):
    """What of a chip decides how long a step takes.

    row_s:     digits x max(settling, conversions / rate) is worked out from these
    cache_in_dense: keys and values of earlier tokens are kept in dense cells
    """

    counts: CountNumbers
    tile_rows: int  # elements of a tile
    converters: int
    converter_Hz: float
    settling_s: float
    clock_Hz: float
    wires: int
    cluster: int
    results: int  # function units x lanes
    function_Hz: float
    buffer_bits_per_s: float
    bitlines: int
    banks: int
    wordline_s: float
    writers: int
    write_s: float
    cache_in_dense: bool


def rates_of(
    chip: ChipSpec, library: Library, level: Level = "typical", *, cache_in_dense: bool | None = None
) -> Rates:
    """The rates of ``chip``; ``level`` is that of the settling time of its tiles."""
    tile, dense, unit = chip.tile, chip.dense, chip.function_unit
    home = chip.buffer.kv_cache == "dense" if cache_in_dense is None else cache_in_dense
    return Rates(
        count_numbers(chip, library.tiles_per_cluster),
        tile.elements,
        -(-tile.bitlines // tile.adc.bitlines_per_adc),
        tile.adc.rate_Hz,
        settled_s(tile, library, level),
        chip.clock_Hz,
        library.wires_per_tile,
        library.tiles_per_cluster,
        chip.function_unit_count * unit.lanes,
        unit.clock_Hz,
        sram(chip.buffer.capacity_bytes).bits_per_s(chip.clock_Hz),
        dense.bitlines,
        chip.dense_bank_count,
        wordline_read_time_s(dense),
        chip.dense_bank_count * dense.adc_count,
        dense.cell.write_time_s,
        home,
    )


def wordline_read_time_s(dense: DenseSpec) -> float:
    """Time to read one wordline: select and settle, then each converter its bitlines in turn."""
    return dense.wordline_time_s + dense.bitlines_per_adc / dense.adc_rate_Hz


def dense_read_time_s(symbols: int, chip: ChipSpec) -> float:
    """ceil(wordlines / banks read at once) x time of a wordline; symbols are striped over the banks."""
    wordlines = -(-symbols // chip.dense.bitlines)
    return -(-wordlines // chip.dense_bank_count) * wordline_read_time_s(chip.dense)


def _read_s(symbols: int, rates: Rates) -> float:
    wordlines = -(-symbols // rates.bitlines)
    return -(-wordlines // rates.banks) * rates.wordline_s


class StepNumbers(NamedTuple):
    """Counts and times of one step on one chip.

    busy: seconds by ``RESOURCES``, all reads of dense banks in one
    rows: rows of one tile
    """

    counts: CountTuple
    work: Work
    busy: tuple[float, float, float, float, float, float, float]
    rows: int

    @property
    def alone_s(self) -> float:
        """Time of the step if it has the chip to itself: the longest of its resources, functions behind.

        Functions take rows as they are finished: with q rows a tile, products and functions are a two-stage
        pipeline of q equal parts, max + min / q.
        """
        conversion, function = self.busy[0], self.busy[1]
        pipeline = (
            max(conversion, function) + min(conversion, function) / self.rows if self.rows else function
        )
        return max(pipeline, *self.busy)


def _feed(product: Product, shape: ProductShape, rates: Rates) -> tuple[float, float]:
    """Seconds of the fullest cluster's bus, or of a tile's encoder if that is longer; share of the blocks.

    bus = [tiles·rows_per_tile · (row in + partial sums out) + blocks·block bits] / (wires · clock); a block
    is sent once to all tiles of the cluster that hold it; the encoder takes one value a clock.
    """
    counts = rates.counts
    tiles_all = counts.tiles
    values = min(product.inner, rates.tile_rows)
    outputs = min(product.columns, tiles_all.bitlines // shape.lines_per_output)
    tiles = min(tiles_all.tiles, rates.cluster)
    share = shape.rows_per_tile
    rows = tiles * share
    blocks = min(shape.blocks, -(-rows // shape.rows_per_block) + 1)
    streamed = min(rows, shape.blocks * shape.rows_per_block) * (
        values * counts.activation_bits + outputs * counts.word_bits
    )
    held = blocks * values * outputs * shape.operand_bits
    bus = (streamed + held) / (tiles * rates.wires * rates.clock_Hz)
    resident = values * outputs if counts.encoded and shape.operand_bits else 0
    copies = min(shape.blocks, -(-share // shape.rows_per_block) + 1)
    encoder = (share * values + copies * resident) / rates.clock_Hz
    if bus >= encoder:
        return bus, held / (streamed + held)
    return encoder, copies * resident / (share * values + copies * resident)


def step_numbers(sums: StepSums, rates: Rates, extra: Extra = NO_EXTRA) -> StepNumbers:
    """Counts and times of one step.

    What does not fit the buffer passes through it: an extra word written to dense cells is read from the
    buffer first, one read from them is written to it; the cache of keys and values likewise.
    """
    product, words, adds, compares, values, dense_words, appended, cache_operands = sums
    numbers = rates.counts
    bits, word = numbers.activation_bits, numbers.word_bits
    counts, load, feed, conversion_s, held_bits, operand_bits = NOTHING, 0.0, 0.0, 0.0, 0, 0
    rows, loads, fetched = 0, 1, 0
    if product is not None:
        shape = shape_of(product, numbers.tiles)
        counts = product_tuple(product, shape, numbers)
        rows, loads = shape.rows_per_tile, shape.loads_of_tile
        outputs = min(product.columns, numbers.tiles.bitlines // shape.lines_per_output)
        conversions = -(-outputs * shape.conversions_per_output // rates.converters)
        row_s = shape.digits * shape.groups_of_tile * max(rates.settling_s, conversions / rates.converter_Hz)
        conversion_s = rows * row_s
        feed, share = _feed(product, shape, rates)
        load = feed * share / loads
        streamed = product.batch * product.rows * product.inner
        held = product.batch * product.inner * product.columns if product.resident == "activation" else 0
        if numbers.dense_home:
            fetched = (streamed + held) * numbers.activation_cells
        else:
            held_bits, operand_bits = held * bits, streamed * bits
    (macs, converted, drives, crosspoints, encodings, registers, latches, network, additions, _, _, buffered,
     symbols, writes) = counts  # fmt: skip
    weights = symbols - fetched + dense_words * numbers.weight_cells
    buffered += words * word + appended * bits
    if rates.cache_in_dense or numbers.dense_home:
        writes += appended * numbers.activation_cells
        if rates.cache_in_dense:
            fetched += cache_operands * numbers.activation_cells
            buffered += cache_operands * bits
    if extra is not NO_EXTRA:
        fetched += extra.read_coded * numbers.activation_cells + extra.read_words * numbers.word_cells
        writes += extra.written_coded * numbers.activation_cells + extra.written_words * numbers.word_cells
        buffered += (extra.read_coded + extra.written_coded) * bits
        buffered += (extra.read_words + extra.written_words) * word
    additions += adds
    counts = (
        macs, converted, drives, crosspoints, encodings, registers, latches, network, additions,
        values, compares, buffered, weights + fetched, writes,
    )  # fmt: skip
    function_s = -(-(values + compares) // rates.results) / rates.function_Hz
    addition_s = -(-additions // numbers.tiles.tiles) / rates.clock_Hz
    write_s = -(-writes // rates.writers) * rates.write_s
    first_bits = held_bits / loads
    speed = rates.buffer_bits_per_s
    work = Work(
        _read_s(weights, rates),
        loads,
        first_bits / speed,
        load,
        _read_s(fetched, rates),
        (operand_bits + held_bits - first_bits) / speed,
        feed - load,
        conversion_s,
        rows or 1,
        addition_s,
        function_s,
        (buffered - operand_bits - held_bits) / speed,
        write_s,
    )
    busy = (
        conversion_s,
        function_s,
        feed,
        _read_s(weights + fetched, rates),
        write_s,
        buffered / speed,
        addition_s,
    )
    return StepNumbers(counts, work, busy, rows)


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Time of a step that has the chip to itself, in total and as far as each resource is busy.

    busy_s: seconds each resource works on the step
    parts:  (resource, seconds) that add up to the time: who bounds it
    """

    busy_s: dict[Resource, float]
    parts: tuple[tuple[Resource, float], ...]

    @property
    def time_s(self) -> float:
        """Sum of the parts."""
        return sum(seconds for _, seconds in self.parts)

    @property
    def bound_by(self) -> Resource:
        """The resource with the largest part."""
        return max(self.parts, key=lambda part: part[1])[0]


def steps(subops: Iterable[SubOp] | Program) -> Counter[Step]:
    """Group sub-operations into steps and count equal ones, in order of first appearance.

    Of a program, with its data flow (see ``compiler.steps``); of bare sub-operations, without.
    """
    program = subops
    if not isinstance(program, Program):
        program = Program(name="", batch=1, tokens=1, subops=tuple(program), stored_words=0)
    graph = step_graph(program)
    return Counter(dict(zip(graph.kinds, graph.times, strict=True)))


def step_counts(step: Step, chip: ChipSpec, library: Library) -> Counts:
    """Count the actions of one step."""
    return counts_of(step_numbers(_sums(step), rates_of(chip, library)).counts)


def step_time(step: Step, chip: ChipSpec, library: Library) -> StepTime:
    """Time of one step that has the chip to itself: the largest of what its resources need.

    Loads are double-buffered and dense reads prefetched, so feed, reads, writes, buffer and conversions run
    side by side; functions follow the rows of their product (see ``StepNumbers.alone_s``).
    """
    return time_of(step_numbers(_sums(step), rates_of(chip, library)))


def time_of(numbers: StepNumbers) -> StepTime:
    """The time of a step with these numbers, and who bounds it."""
    busy = dict(zip(RESOURCES, numbers.busy, strict=True))
    conversion_s, function_s = numbers.busy[:2]
    pipeline: tuple[tuple[Resource, float], ...] = (("functions", function_s),)
    if numbers.rows:
        if conversion_s >= function_s:
            pipeline = (("conversions", conversion_s), ("functions", function_s / numbers.rows))
        else:
            pipeline = (("functions", function_s), ("conversions", conversion_s / numbers.rows))
    longest = max(busy, key=lambda resource: busy[resource])
    if busy[longest] > sum(seconds for _, seconds in pipeline):
        return StepTime(busy_s=busy, parts=((longest, busy[longest]),))
    return StepTime(busy_s=busy, parts=pipeline)
