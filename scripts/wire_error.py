"""Error of the closed form of the wires against the exact network: prints the table of docs/machine.md.

Base-7 digits on two resistors, resident bits, tiles filled at random: each of LOADINGS settings of the
switches is solved exactly and carries ROWS rows of random digits. Errors are in codes of one unit current.

    loss      share of its sum that the last bitline loses, closed form
    none      error if the wires are ignored (largest)
    form      error of the closed form (largest, standard deviation)
    codes     share of conversions whose code differs between closed form and exact network
    all on    loss of the largest sum, every switch closed: exact network, closed form
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ohmformer.devices import branch_conductance, nodal_conductance, static_deviation, wire_attenuation
from ohmformer.numerals import ResistorCode
from ohmformer.specs import TileSpec, preset

CASES = (  # wordlines, bitlines, wire ohm, unit ohm
    (32, 32, 1.0, 1e6),
    (64, 64, 1.0, 1e6),
    (64, 64, 1.0, 1e5),
    (128, 128, 0.1, 1e6),
    (128, 128, 0.5, 1e6),
    (128, 128, 1.0, 1e6),
    (128, 128, 5.0, 1e6),
    (128, 128, 1.0, 1e5),
    (256, 128, 0.5, 1e6),
)
LOADINGS, ROWS = 4, 2000


def _tile(wordlines: int, bitlines: int, wire_ohm: float, unit_ohm: float) -> TileSpec:
    tile = preset("wang2024").tile
    resistor = replace(tile.resistor, wire_resistance_ohm=wire_ohm, unit_resistance_ohm=unit_ohm)
    return replace(
        tile,
        wordlines=wordlines,
        bitlines=bitlines,
        active_wordlines=wordlines,
        resistor=resistor,
        adc=replace(tile.adc, bitlines_per_adc=1),
    )


def _row(tile: TileSpec, generator: torch.Generator) -> str:
    code = ResistorCode(tile.numeral.radix, tile.numeral.polarity)
    weights = torch.tensor(code.weights, dtype=torch.float64).repeat(tile.elements)
    unit_S, wire_ohm = branch_conductance(1, tile.resistor), tile.resistor.wire_resistance_ohm
    loss = wire_attenuation(tile)
    ignored, left, differ = [], [], []
    for _ in range(LOADINGS):
        bits = torch.randint(0, 2, (tile.elements, tile.bitlines), generator=generator).double()
        cells = weights[:, None] * bits.repeat_interleave(len(code.weights), 0)
        digits = torch.randint(-3, 4, (ROWS, tile.elements), generator=generator)
        voltages = code.switch_states(digits).double().flatten(1)
        sums, exact = voltages @ cells, voltages @ nodal_conductance(cells * unit_S, wire_ohm) / unit_S
        form = sums * (1 - loss)
        ignored.append(exact - sums)
        left.append(exact - form)
        differ.append((exact.round() != form.round()).double())
    closed = weights[:, None].expand(-1, tile.bitlines)
    largest = torch.full((tile.wordlines,), 1.0, dtype=torch.float64)
    worst = tile.max_sum - (largest @ nodal_conductance(closed * unit_S, wire_ohm) / unit_S).min()
    none, form_error, codes = (torch.stack(part) for part in (ignored, left, differ))
    unit_Mohm = tile.resistor.unit_resistance_ohm / 1e6
    return (
        f"| {tile.wordlines} x {tile.bitlines} | {wire_ohm:g} Ω | {unit_Mohm:g} MΩ "
        f"| {100 * float(loss[-1]):.2g} % | {float(none.abs().max()):.2g} "
        f"| {float(form_error.abs().max()):.2g}, {float(form_error.std()):.2g} "
        f"| {100 * float(codes.mean()):.2g} % | {float(worst):.2g}, {static_deviation(tile):.2g} |"
    )


def main() -> None:
    """Print the table."""
    print("| tile | wire | unit | loss | none | form | codes | all on |")
    print("|---|---|---|---|---|---|---|---|")
    generator = torch.Generator().manual_seed(11)
    for case in CASES:
        print(_row(_tile(*case), generator), flush=True)


if __name__ == "__main__":
    main()
