"""What surrounds the resistors of a tile and no spec field states: voltage, capacitances, sense amplifier."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ohmformer.devices.checks import DeviceError
from ohmformer.specs import Source

__all__ = ["PERIPHERY", "PERIPHERY_SOURCES", "Periphery"]


@dataclass(frozen=True, kw_only=True)
class Periphery:
    """Drivers, capacitances and sense amplifiers of a tile; sources in ``PERIPHERY_SOURCES``.

    read_voltage_V:         voltage of a driven wordline, of either sign
    wordline_capacitance_F: to ground, of one segment of a wordline
    bitline_capacitance_F:  to ground, of one segment of a bitline with the switch junction on it
    body_capacitance_F:     to ground, of the body of one unit resistor, taken in its middle
    input_capacitance_F:    to ground, at the input of a sense amplifier
    sense_range_V:          output of a sense amplifier at the largest sum; sets its feedback resistor
    sense_gain:             its gain at low frequency
    sense_bandwidth_Hz:     frequency at which its gain has fallen to 1
    """

    read_voltage_V: float
    wordline_capacitance_F: float
    bitline_capacitance_F: float
    body_capacitance_F: float
    input_capacitance_F: float
    sense_range_V: float
    sense_gain: float
    sense_bandwidth_Hz: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise DeviceError(f"{field.name} is {value!r}: it must be finite and above 0.")


PERIPHERY = Periphery(
    read_voltage_V=0.2,
    wordline_capacitance_F=0.1e-15,
    bitline_capacitance_F=1e-15,
    body_capacitance_F=0.2e-15,
    input_capacitance_F=10e-15,
    sense_range_V=0.2,
    sense_gain=1e4,
    sense_bandwidth_Hz=5e9,
)

PERIPHERY_SOURCES = {
    "read_voltage_V": Source("other work", "CiMLoop's isaac memory cell: 0.2 V read voltage"),
    "wordline_capacitance_F": Source(
        "other work", "NeuroSim's 0.2 fF per µm of wire, over a cell of 0.5 µm (the cell is ours)"
    ),
    "bitline_capacitance_F": Source(
        "ours", "0.1 fF of wire, 0.9 fF of switch junction: the 1 fF behind the preset's settling time"
    ),
    "body_capacitance_F": Source("ours", "a polysilicon strip of 2 µm² over thick oxide, 0.1 fF per µm²"),
    "input_capacitance_F": Source("ours", "a differential pair of a few µm of gate width, about 1 fF per µm"),
    "sense_range_V": Source("ours", "as large as the read voltage, so that one supply serves both"),
    "sense_gain": Source("ours", "two stages of gain 100"),
    "sense_bandwidth_Hz": Source("ours", "assumed; settling goes with its inverse root, so sweep it"),
}
