"""How long the bitlines of a tile take to settle: what its description states, and what its circuit needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from ohmformer.costs.component import Level
from ohmformer.costs.library import Library
from ohmformer.devices import settling_time_s
from ohmformer.devices.periphery import Periphery
from ohmformer.specs import ChipSpec, TileSpec

__all__ = ["Cycle", "cycle_of", "settled_s"]

_NEEDED: dict[tuple[object, ...], float] = {}
_KEPT = 4096


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One digit on one group of wordlines of a full tile of weights.

    stated_s:     settling time of the chip description; 0: none
    circuit_s:    settling time that resistors, wires and sense amplifiers need
    conversion_s: of all bitlines in use, one after the other at each converter
    """

    stated_s: float
    circuit_s: float
    conversion_s: float

    @property
    def settling_s(self) -> float:
        """The longer of the two: a sequencer may wait longer than the circuit needs, not shorter."""
        return max(self.stated_s, self.circuit_s)

    @property
    def cycle_s(self) -> float:
        """The next digit settles while the held values of this one are converted."""
        return max(self.settling_s, self.conversion_s)

    @property
    def too_short(self) -> bool:
        """Whether a time is stated that the circuit exceeds."""
        return 0 < self.stated_s < self.circuit_s

    def to_dict(self) -> dict[str, float | bool]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "settling_s": self.settling_s,
            "cycle_s": self.cycle_s,
            "too_short": self.too_short,
        }


def _periphery(library: Library, level: Level) -> Periphery:
    factor = library.bitline_capacitance.at(level)
    periphery = library.periphery
    return replace(periphery, bitline_capacitance_F=factor * periphery.bitline_capacitance_F)


def circuit_s(tile: TileSpec, library: Library, level: Level) -> float:
    """``devices.settling_time_s`` of the tile; found once for tiles of the same circuit.

    Low and high: the capacitance of a bitline at its ends; the smallest step of the converter is resolved to
    a quarter, all switches closed.
    """
    factor = library.bitline_capacitance.at(level)
    key = (
        tile.wordlines, tile.bitlines, tile.active_wordlines, tile.numeral, tile.resistor, tile.adc.step,
        factor, library.periphery,
    )  # fmt: skip
    found = _NEEDED.get(key)
    if found is None:
        if len(_NEEDED) >= _KEPT:
            _NEEDED.clear()
        found = _NEEDED[key] = settling_time_s(tile, periphery=_periphery(library, level))
    return found


def settled_s(tile: TileSpec, library: Library, level: Level) -> float:
    """Time from switching the wordlines of a tile to converting: max(stated, what the circuit needs)."""
    return max(tile.settling_time_s, circuit_s(tile, library, level))


def cycle_of(chip: ChipSpec, library: Library, level: Level) -> Cycle:
    """The cycle of ``chip``, with both of its settling times."""
    tile, bits = chip.tile, chip.precision.weight_bits
    lines = tile.bitlines_per_output(bits)
    conversions = tile.outputs(bits) * (lines // 2 if tile.resident_code == "digits" else lines)
    converters = -(-tile.bitlines // tile.adc.bitlines_per_adc)
    return Cycle(
        stated_s=tile.settling_time_s,
        circuit_s=circuit_s(tile, library, level),
        conversion_s=-(-conversions // converters) / tile.adc.rate_Hz,
    )
