"""SI multipliers: the only place where a prefix becomes a factor.

Specs and results carry unprefixed SI values with the symbol in the name (``energy_J``); presets and
reports write ``50 * MICRO`` and divide back.
"""

TERA = 1e12
GIGA = 1e9
MEGA = 1e6
KILO = 1e3
MILLI = 1e-3
MICRO = 1e-6
NANO = 1e-9
PICO = 1e-12
FEMTO = 1e-15

MM2 = 1e-6  # square millimetre in square metres
UM2 = 1e-12  # square micrometre in square metres

BOLTZMANN_J_PER_K = 1.380649e-23  # exact, SI 2019
ROOM_TEMPERATURE_K = 300.0

__all__ = [
    "BOLTZMANN_J_PER_K",
    "FEMTO",
    "GIGA",
    "KILO",
    "MEGA",
    "MICRO",
    "MILLI",
    "MM2",
    "NANO",
    "PICO",
    "ROOM_TEMPERATURE_K",
    "TERA",
    "UM2",
]
