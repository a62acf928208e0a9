"""NeuRRAM's measured macro (130 nm) from our components: energy of an operation by precision.

A column of 256 cells is driven bit after bit of the input (its sign needs no phase), then converted:

    E = conversion(output bits) + phases · rows · (driver / columns + V² · mean conductance · t)
    phases = max(1, input bits − 1)

Converter and driver are those of our library, scaled to 130 nm. The time t for which cells conduct in a
phase is not published: it is set on one of the four measured points, and the other three are predicted.
"""

from __future__ import annotations

from ohmformer.costs.component import Level
from ohmformer.costs.converter import SURVEY_MIN_BITS, converter
from ohmformer.costs.library import LIBRARY
from ohmformer.costs.nodes import node_factors
from ohmformer.costs.validation_row import ValidationRow
from ohmformer.specs import Source
from ohmformer.units import MICRO, NANO, TERA

__all__ = ["MEASURED", "operations_per_J", "settling_s", "silicon_rows"]

ROWS, COLUMNS = 256, 256
NODE_NM = 130.0
READ_V = 0.5
CONDUCTANCE_S = (4 * MICRO + 1 * MICRO) / 2  # 250 kΩ and 1 MΩ, equally frequent
# (output bits, input bits): measured TOPS/W
MEASURED = {(4, 2): 40.3, (3, 1): 43.1, (6, 4): 15.95, (8, 6): 9.12}
CALIBRATED_ON = (4, 2)
SILICON_SOURCE = Source(
    "other work",
    "NeuRRAM, Wan et al., Nature 608 (2022), 130 nm, 256 x 256 arrays, 250 kΩ to 1 MΩ, .5 V; TOPS/W by "
    "precision as tabled in the tests of CiMLoop (wan_nature_2022)",
)


def _fixed_energy_J(output_bits: int, level: Level = "typical") -> float:
    """Energy of the conversion that ends a column."""
    scale = node_factors(NODE_NM).energy
    return (converter(output_bits).energy_J.at(level) + LIBRARY.sample_and_hold.energy_J.typical) * scale


def _driver_energy_J() -> float:
    """A column's share of driving all wordlines once."""
    return ROWS * LIBRARY.driver.energy_J.typical * node_factors(NODE_NM).energy / COLUMNS


def _phases(input_bits: int) -> int:
    return max(1, input_bits - 1)


def settling_s() -> float:
    """The time a cell conducts in a phase, set on the point of 4 output and 2 input bits."""
    output_bits, input_bits = CALIBRATED_ON
    column_J = 2 * ROWS / (MEASURED[CALIBRATED_ON] * TERA)
    conduction = (column_J - _fixed_energy_J(output_bits)) / _phases(input_bits) - _driver_energy_J()
    return conduction / (ROWS * READ_V**2 * CONDUCTANCE_S)


def operations_per_J(output_bits: int, input_bits: int, level: Level = "typical") -> float:
    """Two operations per cell and product, over the energy of a column; ``level`` of the converter."""
    phase = _driver_energy_J() + ROWS * READ_V**2 * CONDUCTANCE_S * settling_s()
    return 2 * ROWS / (_fixed_energy_J(output_bits, level) + _phases(input_bits) * phase)


def silicon_rows() -> tuple[ValidationRow, ...]:
    """The three points that were not used to set the time.

    No bound holds for 3 output bits: below 4 bits our converter is a wide interval, not a figure.
    """
    how = (
        "256 x 256 cells, bit-serial input, our converters scaled to 130 nm; one free parameter, the "
        f"{settling_s() / NANO:.0f} ns for which cells conduct in a phase, set on 4 output and 2 input bits "
        "(40.3 TOPS/W)"
    )

    def row(output_bits: int, input_bits: int, published: float) -> ValidationRow:
        high = operations_per_J(output_bits, input_bits, "high") / TERA
        low = operations_per_J(output_bits, input_bits, "low") / TERA
        small = output_bits < SURVEY_MIN_BITS
        return ValidationRow(
            group="NeuRRAM silicon",
            quantity=f"{output_bits} output and {input_bits} input bits",
            unit="TOPS/W",
            published=published,
            ours=operations_per_J(output_bits, input_bits) / TERA,
            bound=None if small else 0.3,
            calibrated=True,
            how=how + (f"; {high:.1f} to {low:.1f} over the converter's interval" if small else ""),
            source=SILICON_SOURCE,
        )

    return tuple(row(*bits, measured) for bits, measured in MEASURED.items() if bits != CALIBRATED_ON)
