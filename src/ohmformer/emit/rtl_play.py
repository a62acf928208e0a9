"""A tile's hardware played against a whole-numbered crossbar, clock by clock, without a test framework."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ohmformer.crossbars import resident_planes, resistor_weights
from ohmformer.devices import convert
from ohmformer.emit.checks import EmitError, SimulatorError
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.rtl_tile import settle_cycles, tile_control
from ohmformer.emit.simulators.icarus import run

__all__ = ["Played", "play_product"]

Signals = dict[str, list[int | None]]


@dataclass(frozen=True, kw_only=True)
class Played:
    """A product as the hardware gave it, and every signal of every clock.

    values:  [row, column], int64
    signals: each port of the tile's control by clock, inputs and outputs; None where undefined
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
) -> Played:
    """Multiply on one tile in RTL: its control in the simulator, crossbar and converters as in the spec.

    The sequence of a row does not depend on codes. So it runs twice: first with none, which shows what stands
    on the wordlines at each conversion; then with the codes that these give (``devices.convert`` of the whole
    sums; a spec with noise is refused).

    streamed: [row, inner], resident: [inner, column]; both must fit the tile
    module:   to play instead of ``tile_control(layout)``: a netlist, or one with a fault
    """
    tile = layout.tile
    if streamed.shape[1] > tile.elements or resident.shape[1] > layout.converters * layout.outputs:
        raise EmitError(
            f"Operands have shapes {tuple(streamed.shape)} and {tuple(resident.shape)}: the tile takes "
            f"{tile.elements} elements and {layout.converters * layout.outputs} columns."
        )
    if tile.adc.noise > 0 or tile.environment_noise > 0:
        raise EmitError("The tile has noise: what hardware computes is compared on a tile without.")
    module = module or tile_control(layout, clock_Hz)
    inputs, reads = _inputs(layout, streamed, min(layout.outputs, resident.shape[1]), clock_Hz)
    codes = _codes(layout, resident, run(module, inputs))
    inputs["codes"] = codes
    signals = run(module, inputs)
    values = torch.zeros(len(streamed), layout.converters * layout.outputs, dtype=torch.int64)
    bits = layout.result_bits
    for row, output, clock in reads:
        word = signals["results"][clock]
        if word is None:
            raise SimulatorError(f"The results of row {row} are undefined.")
        for converter in range(layout.converters):
            value = word >> converter * bits & ((1 << bits) - 1)
            values[row, converter * layout.outputs + output] = value - (value >> bits - 1 << bits)
    signals.update({name: [*given] for name, given in inputs.items()})
    return Played(values=values[:, : resident.shape[1]], signals=signals)


def _inputs(
    layout: TileLayout, streamed: Tensor, wanted: int, clock_Hz: float
) -> tuple[dict[str, list[int]], list[tuple[int, int, int]]]:
    """Inputs of all clocks, and (row, output, clock) of the clocks at which results are read."""
    rows, inner = streamed.shape
    idle = {
        "reset": 0,
        "element_valid": 0,
        "element": 0,
        "element_last": 0,
        "last_output": wanted - 1,
        "codes": 0,
        "codes_valid": 1,
        "read_index": 0,
    }
    groups = -(-inner // layout.tile.group_elements)
    each = settle_cycles(layout, clock_Hz) + wanted * len(layout.planes)
    clocks, reads = [{**idle, "reset": 1}], []
    for row in range(rows):
        for place, element in enumerate(streamed[row].tolist()):
            last = int(place == inner - 1)
            clocks.append({**idle, "element_valid": 1, "element": element, "element_last": last})
        clocks += [idle] * (layout.digits * groups * each)
        for output in range(wanted):
            reads.append((row, output, len(clocks)))
            clocks.append({**idle, "read_index": output})
    return {name: [clock[name] for clock in clocks] for name in idle}, reads


def _codes(layout: TileLayout, resident: Tensor, seen: Signals) -> list[int]:
    """Codes of all converters, one word a clock, from what stands on the wordlines; 0 without conversion."""
    tile, bits = layout.tile, layout.code_bits
    planes, _ = resident_planes(resident, layout.resident_bits, tile)
    columns = layout.converters * layout.outputs
    whole = torch.zeros(len(layout.planes), tile.elements, columns, dtype=torch.float64)
    whole[:, : planes.shape[1], : planes.shape[2]] = planes
    weights = torch.tensor(resistor_weights(tile), dtype=torch.float64).repeat(tile.elements)
    switched = whole.repeat_interleave(len(weights) // tile.elements, 1) * weights[:, None]
    words, known = [], {}
    lines = zip(
        seen["convert"], seen["plane_select"], seen["wordline_on"], seen["wordline_minus"], strict=True
    )
    for converts, place, on, minus in lines:
        if not converts or place is None or on is None or minus is None:
            words.append(0)
            continue
        if (on, minus) not in known:
            driven = [(on >> k & 1) * (1 - 2 * (minus >> k & 1)) for k in range(len(weights))]
            sums = torch.einsum("w,pwc->pc", torch.tensor(driven, dtype=torch.float64), switched)
            known[on, minus] = convert(sums, tile.adc).tolist()
        output, plane = divmod(place, len(layout.planes))
        if plane >= len(layout.planes) or output >= layout.outputs:
            raise SimulatorError(f"plane_select is {place}: no converter has such a bitline.")
        row = known[on, minus][plane]
        word = 0
        for converter in range(layout.converters):
            word |= (row[converter * layout.outputs + output] & ((1 << bits) - 1)) << converter * bits
        words.append(word)
    return words
