"""Johnson noise."""

from __future__ import annotations

import math

from ohmformer.devices.checks import DeviceError
from ohmformer.units import BOLTZMANN_J_PER_K

__all__ = ["johnson_current_A"]


def johnson_current_A(conductance_S: float, temperature_K: float, bandwidth_Hz: float) -> float:
    """Standard deviation of the thermal noise current of a conductance.

    sd = sqrt(4 * k * T * G * bandwidth)

    returns: A
    Error:   white spectrum, valid far below kT/h (6 THz at 300 K).
    """
    if min(conductance_S, temperature_K, bandwidth_Hz) < 0:
        raise DeviceError("conductance_S, temperature_K and bandwidth_Hz must all be at least 0.")
    return math.sqrt(4 * BOLTZMANN_J_PER_K * temperature_K * conductance_S * bandwidth_Hz)
