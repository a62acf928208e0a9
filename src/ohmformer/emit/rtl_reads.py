"""A bank's read controller played against the levels of its cells, clock by clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_dense import WordLayout
from ohmformer.emit.rtl_text import RtlModule
from ohmformer.emit.simulators.icarus import run
from ohmformer.specs import DenseSpec

__all__ = ["play_reads"]


def play_reads(
    dense: DenseSpec,
    bits: int,
    clock_Hz: float,
    module: RtlModule,
    levels: Sequence[int],
    stored: int,
    check_base: int,
) -> tuple[list[int], list[int]]:
    """The numbers that a controller gives for a bank's cells, and the status of each protected word.

    Which cell is asked for does not depend on levels. So the reads run twice: first with all levels 0, which
    shows the walk; then with the levels of the cells on it.

    module:     ``rtl_dense.dense_control`` of the bank, or its gates
    levels:     of all cells that hold something, in order, data first
    stored:     numbers in the bank
    check_base: the first check cell
    Error:      EmitError if a read does not end.
    """
    layout = WordLayout(dense=dense, bits=bits)
    counts = [min(layout.numbers, stored - start) for start in range(0, stored, layout.numbers)]
    seek = dense.wordlines.bit_length() + dense.bitlines.bit_length()  # a division, a bit a clock
    settle = math.ceil(dense.wordline_time_s * clock_Hz) + 1
    # the cells of a read fill whole lines but for the first and the last of data and of check cells
    each = 8 + layout.cells * (seek + 8) + (layout.cells // dense.bitlines + 4) * settle
    idle = {"reset": 0, "start": 0, "read": 0, "count": 0, "check_base": check_base}
    clocks = [{**idle, "reset": 1}] * 2
    for number, count in enumerate(counts):
        asked = {**idle, "read": number, "count": count}
        clocks += [{**asked, "start": 1}, *[asked] * (each - 1)]
    inputs = {name: [clock[name] for clock in clocks] for name in idle}
    inputs["level_valid"], inputs["level"] = [1] * len(clocks), [0] * len(clocks)
    walk = run(module, inputs)
    for clock, (senses, line, column) in enumerate(
        zip(walk["sense"], walk["wordline"], walk["bitline"], strict=True)
    ):
        if senses and line is not None and column is not None:
            cell = line * dense.bitlines + column
            inputs["level"][clock] = levels[cell] if cell < len(levels) else 0
    seen = run(module, inputs)
    ends = [clock for clock, done in enumerate(seen["done"]) if done]
    if len(ends) != len(counts):
        raise EmitError(f"{module.name} ends {len(ends)} of {len(counts)} reads within {each} clocks each.")
    numbers, status = [], []
    for end, count in zip(ends, counts, strict=True):
        word, code = seen["values"][end] or 0, seen["status"][end] or 0 if "status" in seen else 0
        for place in range(count):
            value = word >> place * bits & ((1 << bits) - 1)
            numbers.append(value - ((value >> bits - 1) << bits))
        status += [code >> 2 * place & 3 for place in range(layout.words_of(count))]
    return numbers, status
