"""Errors of the closed forms of the wires against the exact network: prints the table of docs/machine.md.

Base-7 digits on two resistors, resident bits, tiles filled at random: each of LOADINGS settings of the
switches is solved exactly and carries ROWS rows of random digits. Errors are in codes of one unit current.

    loss       share of its sum that the last bitline loses, typical loading
    none       error if the wires are ignored (largest)
    typical    error of ``wire_attenuation`` (largest, standard deviation, share of other codes)
    bitline    the same of ``loaded_attenuation``
    cell       the same of ``loaded_conductance``
    all on     what the largest sum loses, every switch closed; errors of typical, bitline and cell there
"""

from __future__ import annotations

from dataclasses import replace

from ohmformer.devices import wire_attenuation
from ohmformer.specs import TileSpec, preset
from ohmformer.studies.wire_forms import FormError, form_errors
from ohmformer.studies.wires import with_resolving_converter

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


def tile_of(wordlines: int, bitlines: int, wire_ohm: float, unit_ohm: float) -> TileSpec:
    """The preset's tile in another size."""
    tile = preset("wang2024").tile
    resistor = replace(tile.resistor, wire_resistance_ohm=wire_ohm, unit_resistance_ohm=unit_ohm)
    return with_resolving_converter(
        replace(
            tile,
            wordlines=wordlines,
            bitlines=bitlines,
            active_wordlines=wordlines,
            resistor=resistor,
            adc=replace(tile.adc, bitlines_per_adc=1),
        )
    )


def row(tile: TileSpec) -> str:
    """One line of the table."""
    errors = {error.form: error for error in form_errors(tile, loadings=LOADINGS, rows=ROWS, seed=11)}

    def of(error: FormError) -> str:
        return f"{error.largest:.2g}, {error.sd:.2g}, {100 * error.wrong:.2g} %"

    none, typical, bitline, cell = (errors[form] for form in ("none", "typical", "bitline", "cell"))
    return (
        f"| {tile.wordlines} x {tile.bitlines} | {tile.resistor.wire_resistance_ohm:g} Ω "
        f"| {tile.resistor.unit_resistance_ohm / 1e6:g} MΩ | {100 * float(wire_attenuation(tile)[-1]):.2g} % "
        f"| {none.largest:.2g} | {of(typical)} | {of(bitline)} | {of(cell)} "
        f"| {none.all_closed:.2g}: {typical.all_closed:.2g}, {bitline.all_closed:.2g}, "
        f"{cell.all_closed:.2g} |"
    )


def main() -> None:
    """Print the table."""
    print("| tile | wire | unit | loss | none | typical | bitline | cell | all on |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(row(tile_of(*case)), flush=True)


if __name__ == "__main__":
    main()
