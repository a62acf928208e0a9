"""Steps, and how long each takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ohmformer.costs.counts import (
    Counts,
    dense_symbols,
    function_counts,
    product_counts,
    product_shape,
    total,
)
from ohmformer.costs.library import Library
from ohmformer.costs.memory import sram
from ohmformer.ir import FunctionCall, Product, SubOp
from ohmformer.specs import ChipSpec, DenseSpec

__all__ = [
    "RESOURCES",
    "Resource",
    "Step",
    "StepTime",
    "dense_read_time_s",
    "step_counts",
    "step_time",
    "steps",
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


@dataclass(frozen=True, kw_only=True)
class Step:
    """One sub-operation: at most one product, the functions that follow it, the dense reads before it.

    functions: (function, elements), in order
    operation: what the product (or the first function) is for; steps that differ in nothing else are
               still kept apart by it
    """

    operation: str
    product: Product | None
    functions: tuple[tuple[str, int], ...]
    dense_words: int


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Time of a step, in total and as far as each resource is busy.

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


def steps(subops: Iterable[SubOp]) -> Counter[Step]:
    """Group sub-operations into steps and count equal ones, in order of first appearance.

    A product opens a step; function calls join the open one; dense reads join the next one, being
    prefetched (or form a step of their own at the end).
    """
    found: Counter[Step] = Counter()
    product: Product | None = None
    operation, functions, words, waiting = "", [], 0, 0  # type: ignore[var-annotated]

    def close() -> None:
        nonlocal product, operation, functions, words
        if product is not None or functions or words:
            found[
                Step(operation=operation, product=product, functions=tuple(functions), dense_words=words)
            ] += 1
        product, operation, functions, words = None, "", [], 0

    for subop in subops:
        if isinstance(subop, Product):
            close()
            product = Product(
                module="",
                operation=subop.operation,
                batch=subop.batch,
                rows=subop.rows,
                inner=subop.inner,
                columns=subop.columns,
                resident=subop.resident,
            )
            operation, words, waiting = subop.operation, waiting, 0
        elif isinstance(subop, FunctionCall):
            operation = operation or subop.operation
            functions.append((subop.function, subop.elements))
        else:
            waiting += subop.words
    if waiting:
        close()
        operation, words = "dense read", waiting
    close()
    return found


def step_counts(step: Step, chip: ChipSpec, library: Library) -> Counts:
    """Count the actions of one step."""
    parts = [function_counts(_call(*function), chip) for function in step.functions]
    if step.product is not None:
        parts.append(product_counts(step.product, chip, library.tiles_per_cluster))
    if step.dense_words:
        parts.append(
            Counts(dense_symbols=dense_symbols(step.dense_words, chip.precision.weight_bits, chip.dense))
        )
    return total(parts)


def _call(function: str, elements: int) -> FunctionCall:
    return FunctionCall(module="", operation="", function=function, elements=elements)


def wordline_read_time_s(dense: DenseSpec) -> float:
    """Time to read one wordline: select and settle, then each converter its bitlines in turn."""
    return dense.wordline_time_s + dense.bitlines_per_adc / dense.adc_rate_Hz


def dense_read_time_s(symbols: int, chip: ChipSpec) -> float:
    """ceil(wordlines / banks read at once) x time of a wordline; symbols are striped over the banks."""
    wordlines = -(-symbols // chip.dense.bitlines)
    return -(-wordlines // chip.dense_bank_count) * wordline_read_time_s(chip.dense)


def _dense_write_time_s(cells: int, chip: ChipSpec) -> float:
    """Each bank writes as many cells at once as it has converters (a write driver beside each)."""
    at_once = chip.dense_bank_count * chip.dense.adc_count
    return -(-cells // at_once) * chip.dense.cell.write_time_s


def row_time_s(product: Product, chip: ChipSpec, library: Library) -> float:
    """Time of one row on one tile: digits x groups x the longer of settling and converting.

    Bitlines settle to the next digit while the held values are converted.
    """
    tile = chip.tile
    shape = product_shape(product, chip, library.tiles_per_cluster)
    outputs = min(product.columns, tile.bitlines // shape.lines_per_output)
    converters = -(-tile.bitlines // tile.adc.bitlines_per_adc)
    conversions = -(-outputs * shape.conversions_per_output // converters)
    return shape.digits * shape.groups_of_tile * max(tile.settling_time_s, conversions / tile.adc.rate_Hz)


def feed_time_s(product: Product, chip: ChipSpec, library: Library) -> float:
    """Time of the fullest cluster's bus, or of a tile's encoder if that is longer.

    bus = [tiles·rows_per_tile · (row in + partial sums out) + blocks·block bits] / (wires · clock); a block
    is sent once to all tiles of the cluster that hold it; the encoder takes one value a clock.
    """
    tile, precision = chip.tile, chip.precision
    shape = product_shape(product, chip, library.tiles_per_cluster)
    values = min(product.inner, tile.elements)
    outputs = min(product.columns, tile.bitlines // shape.lines_per_output)
    tiles = min(chip.tile_count, library.tiles_per_cluster)
    rows = tiles * shape.rows_per_tile
    blocks = min(shape.blocks, -(-rows // shape.rows_per_block) + 1)
    bits = (
        min(rows, shape.blocks * shape.rows_per_block)
        * (values * precision.activation_bits + outputs * chip.buffer.word_bits)
        + blocks * values * outputs * shape.operand_bits
    )
    bus = bits / (tiles * library.wires_per_tile * chip.clock_Hz)
    resident = values * outputs if tile.resident_code == "digits" and shape.operand_bits else 0
    copies = min(shape.blocks, -(-shape.rows_per_tile // shape.rows_per_block) + 1)
    encoder = (shape.rows_per_tile * values + copies * resident) / chip.clock_Hz
    return max(bus, encoder)


def step_time(step: Step, chip: ChipSpec, library: Library) -> StepTime:
    """Time of one step: the largest of what its resources need.

    Loads are double-buffered and dense reads prefetched, so feed, reads, writes, buffer and conversions run
    side by side. The function unit takes rows as they are finished: with q rows per tile one after the
    other, products and functions form a two-stage pipeline of q equal parts,
      max(conversions, functions) + min(conversions, functions) / q,
    which for q = 1 is their sum.
    """
    counts = step_counts(step, chip, library)
    unit = chip.function_unit
    results = chip.function_unit_count * unit.lanes
    function_s = -(-(counts.evaluations + counts.comparisons) // results) / unit.clock_Hz
    busy: dict[Resource, float] = {
        "conversions": 0.0,
        "functions": function_s,
        "operand feed": 0.0,
        "dense reads": dense_read_time_s(counts.dense_symbols, chip),
        "dense writes": _dense_write_time_s(counts.dense_writes, chip),
        "buffer": counts.buffer_bits / sram(chip.buffer.capacity_bytes).bits_per_s(chip.clock_Hz),
        "additions": -(-counts.additions // chip.tile_count) / chip.clock_Hz,
    }
    pipeline: tuple[tuple[Resource, float], ...] = (("functions", function_s),)
    if step.product is not None:
        rows = product_shape(step.product, chip, library.tiles_per_cluster).rows_per_tile
        conversion_s = rows * row_time_s(step.product, chip, library)
        busy["conversions"] = conversion_s
        busy["operand feed"] = feed_time_s(step.product, chip, library)
        if conversion_s >= function_s:
            pipeline = (("conversions", conversion_s), ("functions", function_s / rows))
        else:
            pipeline = (("functions", function_s), ("conversions", conversion_s / rows))
    longest = max(busy, key=lambda resource: busy[resource])
    if busy[longest] > sum(seconds for _, seconds in pipeline):
        return StepTime(busy_s=busy, parts=((longest, busy[longest]),))
    return StepTime(busy_s=busy, parts=pipeline)
