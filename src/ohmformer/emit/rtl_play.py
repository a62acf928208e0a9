"""A tile's hardware played against whole-numbered crossbars, clock by clock, without a test framework."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars import resident_planes, resistor_weights
from ohmformer.devices import convert
from ohmformer.emit.checks import EmitError, SimulatorError
from ohmformer.emit.rtl_product import ProductLayout, product_control
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.rtl_tile import settle_cycles, tile_control
from ohmformer.emit.simulators.icarus import run

__all__ = ["Played", "play_matrix", "play_product", "play_softmax"]

Signals = dict[str, list[int | None]]
Clock = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Played:
    """What the hardware gave, and every signal of every clock.

    values:  [row, column], int64; of softmax float64
    signals: each port by clock, inputs and outputs; None where undefined
    """

    values: Tensor
    signals: Signals


def play_product(
    layout: TileLayout,
    streamed: Tensor,
    resident: Tensor,
    clock_Hz: float,
    *,
    module: RtlModule | None = None,
    vcd: str | os.PathLike[str] | None = None,
) -> Played:
    """Multiply on one tile in RTL: its control in the simulator, crossbar and converters as in the spec.

    streamed: [row, inner], resident: [inner, column]; both must fit the tile
    module:   to play instead of ``tile_control(layout)``: a netlist, or one with a fault
    vcd:      file for the simulator's own record of all signals
    """
    tile = layout.tile
    if streamed.shape[1] > tile.elements or resident.shape[1] > layout.lanes * layout.outputs:
        raise EmitError(
            f"Operands have shapes {tuple(streamed.shape)} and {tuple(resident.shape)}: the tile takes "
            f"{tile.elements} elements and {layout.lanes * layout.outputs} columns."
        )
    module = module or tile_control(layout, clock_Hz)
    clocks, reads = _tile_clocks(layout, streamed, min(layout.outputs, resident.shape[1]), clock_Hz)
    signals = _play(module, layout, [resident], clocks, vcd)
    values = torch.zeros(len(streamed), layout.lanes * layout.outputs, dtype=torch.int64)
    bits = layout.result_bits
    for row, output, clock in reads:
        word = signals["results"][clock]
        if word is None:
            raise SimulatorError(f"The results of row {row} are undefined.")
        for lane in range(layout.lanes):
            value = word >> lane * bits & ((1 << bits) - 1)
            values[row, lane * layout.outputs + output] = value - (value >> bits - 1 << bits)
    return Played(values=values[:, : resident.shape[1]], signals=signals)


def play_matrix(
    product: ProductLayout,
    streamed: Tensor,
    resident: Tensor,
    clock_Hz: float,
    *,
    module: RtlModule | None = None,
    vcd: str | os.PathLike[str] | None = None,
) -> Played:
    """Multiply on several tiles in RTL: ``product_control`` and one tile after the other.

    streamed: [row, inner], resident: [inner, column], of the shape of ``product``
    """
    layout, elements, width = product.layout, product.layout.tile.elements, product.block_columns
    shape = (product.inner, product.columns)
    if streamed.shape[1] != product.inner or tuple(resident.shape) != shape:
        raise EmitError(
            f"Operands have shapes {tuple(streamed.shape)} and {tuple(resident.shape)}: the sequencer takes "
            f"a matrix of {shape}."
        )
    tiles = [
        resident[k * elements : (k + 1) * elements, n * width : (n + 1) * width]
        for k in range(product.inner_blocks)
        for n in range(product.column_blocks)
    ]
    idle = {"reset": 0, "element_valid": 0, "element": 0, "codes_valid": 1}
    clocks: list[Clock] = [{**idle, "reset": 1}]
    groups = layout.groups * layout.digits
    each = elements + groups * (settle_cycles(layout, clock_Hz) + layout.visits)
    row_clocks = product.tiles * (each + layout.outputs + 4) + product.columns + 2
    for row in streamed.tolist():
        clocks += [{**idle, "element_valid": 1, "element": element} for element in row]
        clocks += [idle] * row_clocks
    signals = _play(module or product_control(product, clock_Hz), layout, tiles, clocks, vcd)
    values = _taken(signals, "value_valid", "value")
    return Played(values=_rows(values, len(streamed), product.columns), signals=signals)


def play_softmax(
    row: SoftmaxRow,
    scores: Sequence[Sequence[int]],
    clock_Hz: float,
    *,
    module: RtlModule | None = None,
    vcd: str | os.PathLike[str] | None = None,
) -> Played:
    """Rows of score words, all of one length, through ``softmax_row``, on a tile that holds ones."""
    layout, count = row.layout, len(scores[0])
    if not 1 <= count <= layout.tile.elements or any(len(words) != count for words in scores):
        raise EmitError(
            f"scores must be rows of one length of 1 to {layout.tile.elements}, the tile's elements."
        )
    idle = {"reset": 0, "score_valid": 0, "score": 0, "score_last": 0, "codes_valid": 1}
    clocks: list[Clock] = [{**idle, "reset": 1}]
    groups = layout.groups * layout.digits
    row_clocks = 2 * count + 8 + groups * (settle_cycles(layout, clock_Hz) + layout.visits_for(1))
    for words in scores:
        for place, word in enumerate(words):
            clocks.append({**idle, "score_valid": 1, "score": word, "score_last": int(place == count - 1)})
        clocks += [idle] * row_clocks
    ones = torch.ones(layout.tile.elements, 1, dtype=torch.int64)
    signals = _play(module or softmax_row(row, clock_Hz), layout, [ones], clocks, vcd)
    products = _taken(signals, "probability_valid", "product")
    powers = _taken(signals, "probability_valid", "power")
    scale = 2.0 ** (torch.tensor(powers, dtype=torch.float64) - 2 * row.unit.fraction_bits)
    values = torch.tensor(products, dtype=torch.float64) * scale
    return Played(values=_rows(values.tolist(), len(scores), count).double(), signals=signals)


def _taken(signals: Signals, valid: str, name: str) -> list[int]:
    """Values of a port at the clocks at which another says that they mean something."""
    found = [value for value, on in zip(signals[name], signals[valid], strict=True) if on == 1]
    if None in found:
        raise SimulatorError(f"{name} is undefined where {valid} is 1.")
    return [value for value in found if value is not None]


def _rows(values: Sequence[float], rows: int, columns: int) -> Tensor:
    if len(values) != rows * columns:
        raise SimulatorError(f"The hardware gave {len(values)} values: {rows} x {columns} were to come.")
    return torch.tensor(values).view(rows, columns)


def _tile_clocks(
    layout: TileLayout, streamed: Tensor, wanted: int, clock_Hz: float
) -> tuple[list[Clock], list[tuple[int, int, int]]]:
    """Inputs of a tile's control, and (row, output, clock) of the clocks at which results are read."""
    rows, inner = streamed.shape
    idle = {
        "reset": 0,
        "element_valid": 0,
        "element": 0,
        "element_last": 0,
        "last_output": wanted - 1,
        "codes_valid": 1,
        "read_index": 0,
    }
    groups = -(-inner // layout.tile.group_elements)
    each = settle_cycles(layout, clock_Hz) + layout.visits_for(wanted)
    clocks: list[Clock] = [{**idle, "reset": 1}]
    reads = []
    for row in range(rows):
        for place, element in enumerate(streamed[row].tolist()):
            last = int(place == inner - 1)
            clocks.append({**idle, "element_valid": 1, "element": element, "element_last": last})
        clocks += [idle] * (layout.digits * groups * each)
        for output in range(wanted):
            reads.append((row, output, len(clocks)))
            clocks.append({**idle, "read_index": output})
    return clocks, reads


def _play(
    module: RtlModule,
    layout: TileLayout,
    tiles: Sequence[Tensor],
    clocks: Sequence[Clock],
    vcd: str | os.PathLike[str] | None = None,
) -> Signals:
    """Every signal of every clock.

    The sequence does not depend on codes. So it runs twice: first with none, which shows what stands on the
    wordlines at each conversion; then with the codes that these give (``devices.convert`` of the whole
    sums; a spec with noise is refused).

    tiles: resident operands [element, column] by ``tile_select``
    """
    if layout.tile.adc.noise > 0 or layout.tile.environment_noise > 0:
        raise EmitError("The tile has noise: what hardware computes is compared on a tile without.")
    inputs = {name: [clock[name] for clock in clocks] for name in clocks[0]}
    inputs["codes"] = [0] * len(clocks)
    inputs["codes"] = _codes(layout, tiles, run(module, inputs))
    signals = run(module, inputs, vcd=vcd)
    signals.update({name: [*given] for name, given in inputs.items()})
    return signals


def _codes(layout: TileLayout, tiles: Sequence[Tensor], seen: Signals) -> list[int]:
    """Codes of all converters, one word a clock, from what stands on the wordlines; 0 without conversion."""
    tile, bits = layout.tile, layout.code_bits
    columns, resistors = tile.outputs(layout.resident_bits), tile.numeral.resistors_per_digit
    seen_at = [layout.seen(converter) for converter in range(layout.converters)]
    weights = torch.tensor(resistor_weights(tile), dtype=torch.float64).repeat(tile.elements)
    switched = []
    for resident in tiles:
        planes, _ = resident_planes(resident, layout.resident_bits, tile)
        whole = torch.zeros(len(layout.planes), tile.elements, columns, dtype=torch.float64)
        whole[:, : planes.shape[1], : planes.shape[2]] = planes
        switched.append(whole.repeat_interleave(resistors, 1) * weights[:, None])
    words: list[int] = []
    known: dict[tuple[int, int, int], list[list[int]]] = {}
    count = len(seen["convert"])
    lines = zip(
        seen["convert"],
        seen.get("tile_select", [0] * count),
        seen["plane_select"],
        seen["wordline_on"],
        seen["wordline_minus"],
        strict=True,
    )
    for converts, chosen, place, on, minus in lines:
        if not converts or chosen is None or place is None or on is None or minus is None:
            words.append(0)
            continue
        if chosen >= len(tiles) or place not in seen_at[0]:
            raise SimulatorError(f"tile_select is {chosen}, plane_select {place}: there is no such bitline.")
        if (chosen, on, minus) not in known:
            driven = [(on >> k & 1) * (1 - 2 * (minus >> k & 1)) for k in range(len(weights))]
            sums = torch.einsum("w,pwc->pc", torch.tensor(driven, dtype=torch.float64), switched[chosen])
            known[chosen, on, minus] = convert(sums, tile.adc).tolist()
        rows, word = known[chosen, on, minus], 0
        for converter, places in enumerate(seen_at):
            if place in places:  # the last converter may have fewer
                output, plane = places[place]
                word |= (int(rows[plane][output]) & ((1 << bits) - 1)) << converter * bits
        words.append(word)
    return words
