"""A model on several chips: layer after layer, each chip with its own dense banks, tiles and buffer."""

from __future__ import annotations

from dataclasses import dataclass

from ohmformer.compiler.place import dense_symbols
from ohmformer.compiler.steps import StepGraph
from ohmformer.compiler.steps_slicing import split_columns
from ohmformer.errors import UserError
from ohmformer.specs import ChipSpec

__all__ = ["Boundary", "ChipPlan", "plan_chips"]


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Before ``step`` the work goes on to the next chip.

    writers: steps whose values are read there or behind
    bits:    of these values
    """

    step: int
    writers: tuple[int, ...]
    bits: int


@dataclass(frozen=True, kw_only=True)
class ChipPlan:
    """Which chip does which steps.

    graph:      the steps; a matrix too large for one chip is cut by columns
    chips:      in all, those that hold nothing but tables (embeddings) among them
    boundaries: where the work goes on to the next chip
    cells:      dense cells in use on each chip
    """

    graph: StepGraph
    chips: int
    boundaries: tuple[Boundary, ...]
    cells: tuple[int, ...]


def plan_chips(graph: StepGraph, chip: ChipSpec, extra_cells: int = 0) -> ChipPlan:
    """Fill chips of ``dense_bank_count`` banks with the weights in the order of their steps.

    What no product reads (tables, vectors) fills the first chips, before anything else; ``extra_cells``
    (intermediates, keys and values) are kept free on every chip.
    Error: UserError if more chips are needed than ``package.max_chips`` allows.
    """
    dense, bits = chip.dense, chip.precision.weight_bits
    capacity = chip.dense_bank_count * dense.cells - extra_cells
    allowed = chip.package.max_chips
    if capacity < 1:
        raise UserError(
            f"{graph.name} keeps {extra_cells} dense cells of intermediates on every chip: "
            f"dense_bank_count = {chip.dense_bank_count} banks hold {chip.dense_bank_count * dense.cells}."
        )
    words = [entry.words for entry in graph.stored]
    large: dict[int, int] = {}
    for step, held in enumerate(graph.holds):
        product = graph.kinds[graph.kind_of[step]].product
        if held < 0 or product is None or dense_symbols(words[held], bits, dense) <= capacity:
            continue
        columns = capacity // dense_symbols(product.inner, bits, dense)
        if not columns:
            raise UserError(
                f"One column of {graph.modules[step]} does not fit the {chip.dense_bank_count} dense banks "
                f"of a chip."
            )
        large[step] = -(-product.columns // columns)
    origin = graph
    if large:
        graph = split_columns(graph, large)
    tables = dense_symbols(graph.unplaced_words, bits, dense)
    full, used = divmod(tables, capacity)
    filled = [capacity] * full
    held_here: set[tuple[int, int]] = set()
    starts: list[int] = []
    for step, kind in enumerate(graph.kind_of):
        held = graph.holds[step]
        product = graph.kinds[kind].product
        if held < 0 or product is None:
            continue
        need = dense_symbols(product.inner * product.columns, bits, dense)
        part = step if large and words[held] != product.inner * product.columns else -1
        if (held, part) in held_here:
            continue
        if used + need > capacity:
            filled.append(used)
            starts.append(step)
            used, held_here = 0, set()
        used += need
        held_here.add((held, part))
    filled.append(used)
    if len(filled) > allowed:
        raise UserError(
            f"{origin.name} needs {len(filled)} chips of {chip.dense_bank_count} dense banks: "
            f"package.max_chips allows {allowed}."
        )
    far = [
        step
        for step, form in enumerate(graph.order)
        if any(value.last >= 0 for value in graph.forms[form].writes)
    ]
    return ChipPlan(
        graph=graph,
        chips=len(filled),
        boundaries=tuple(_boundary(graph, step, far, chip) for step in starts),
        cells=tuple(filled),
    )


def _boundary(graph: StepGraph, at: int, far: list[int], chip: ChipSpec) -> Boundary:
    """What is written before the step ``at`` and read from there on."""
    bits, word = chip.precision.activation_bits, chip.buffer.word_bits
    writers, total = [], 0
    near = range(max(at - graph.reach, 0), at)
    for step in sorted({*near, *(step for step in far if step < at)}):
        sent = 0
        for value in graph.forms[graph.order[step]].writes:
            if (value.last if value.last >= 0 else step + value.uses[-1]) >= at:
                sent += value.elements * (bits if value.coded else word)
        if sent:
            writers.append(step)
            total += sent
    if not graph.flowing and at:
        product = graph.kinds[graph.kind_of[at - 1]].product
        writers = [at - 1]
        total = product.output_elements * word if product is not None else 0
    return Boundary(step=at, writers=tuple(writers), bits=total)
