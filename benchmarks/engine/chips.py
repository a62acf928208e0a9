"""The chips that the works run on, each by override of a preset."""

from __future__ import annotations

from typing import get_args

import ohmformer
from ohmformer.specs import ChipSpec, leaves, override
from ohmformer.specs.tile import ResidentCode

WIRE = "tile.resistor.wire_resistance_ohm"
WIRE_OHM = (
    1.0  # per segment: a few times what a 32 nm metal line has, so that the drop is not lost in rounding
)


def collapsed(telegraph_scale: float = 1.0, converter_noise: float | None = None) -> ChipSpec:
    """``wang2024``, every noise of the preset on; converters resolve every sum.

    converter_noise: in steps; 0.3 makes about one conversion in ten wrong, so that every output has noise
    """
    changes: dict[str, float] = {"dense.cell.noise.telegraph_scale": telegraph_scale}
    if converter_noise is not None:
        changes["tile.adc.noise"] = converter_noise
    return override(ohmformer.chips.wang2024(), changes)


def digit_serial(resident: str, adc_bits: int, mismatch: float = 0.0, noise: float = 0.05) -> ChipSpec:
    """All 128 wordlines active before a converter of ``adc_bits`` bits with its polarity, step 1.

    The largest sum is 192: 6, 7 and 8 bits give codes up to 31, 63 and 127 and clip what is beyond.
    Environment and converter noise on each conversion are those of the preset (0.05 each, which seldom
    changes a code), or ``noise`` each.
    """
    return override(
        ohmformer.chips.wang2024(),
        {
            "tile.resident_code": resident,
            "tile.adc.bits": adc_bits - 1,
            "tile.resistor.mismatch": mismatch,
            "tile.environment_noise": noise,
            "tile.adc.noise": noise,
        },
    )


def resident_codes() -> tuple[str, ...]:
    """Every way the package can hold a resident operand."""
    return tuple(get_args(ResidentCode))


def with_wires(chip: ChipSpec) -> ChipSpec:
    """The same chip with wire resistance."""
    return override(chip, {WIRE: WIRE_OHM})


def knows_wires() -> bool:
    """Whether the package has a field for wire resistance yet."""
    return WIRE in leaves(ohmformer.chips.wang2024())
