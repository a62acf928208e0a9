"""How long the bitlines of a tile take to settle after its wordlines are switched.

The chain of a bitline: the bodies of the unit resistors charge, the wires diffuse, the sense amplifier
follows. Its feedback resistor brings the largest sum to the range of its output,
R_f = V_range / (max_sum * I_unit), so that larger units make it larger; its feedback capacitor C_f damps it
critically while no switch is closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.periphery import PERIPHERY, Periphery
from ohmformer.devices.resistor import branch_conductance, unit_current_A
from ohmformer.specs import TileSpec

__all__ = ["Feedback", "feedback", "settling_time_s", "time_constants_s"]

_TIME_BITS = 24  # of a settling time below the sum of its time constants


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Feedback resistor and capacitor of a sense amplifier, ohm and F."""

    resistance_ohm: float
    capacitance_F: float


def feedback(tile: TileSpec, periphery: Periphery = PERIPHERY) -> Feedback:
    """Feedback of the sense amplifiers of a tile.

    C_f solves a_1^2 = 4 a_0 a_2 of ``time_constants_s`` without load; 0 where there is no positive solution.
    """
    resistance = periphery.sense_range_V / (
        tile.max_sum * unit_current_A(tile.resistor, periphery.read_voltage_V)
    )
    turn = 2 * math.pi * periphery.sense_bandwidth_Hz
    gain, source = periphery.sense_gain, _source_F(tile, periphery)
    # (first + slope C)^2 = 4 a_0 R (source + C) / turn
    first, slope = 1 / turn + resistance * source / gain, resistance * (1 + 1 / gain)
    right = 4 * (1 + 1 / gain) * resistance / turn
    half = (2 * first * slope - right) / 2
    root = half * half - slope * slope * (first * first - right * source)
    capacitance = (math.sqrt(root) - half) / (slope * slope) if root > 0 else 0.0
    return Feedback(resistance_ohm=resistance, capacitance_F=max(0.0, capacitance))


def time_constants_s(
    tile: TileSpec, *, closed: float = 1.0, periphery: Periphery = PERIPHERY
) -> tuple[float, float, float, float]:
    """What a bitline's step response is made of: (b_1, b_2, body, wires) of

        1 / ((1 + b_1 s + b_2 s^2) (1 + body s) (1 + wires s)),  b_1 = a_1 / a_0 (s), b_2 = a_2 / a_0 (s^2)

    Kirchhoff's law at the input of an amplifier A_0 / (1 + s A_0 / w) with feedback R, C_f, capacitance C and
    the conductance G of the closed cells:

        a_0 = 1 + (1 + R G) / A_0
        a_1 = (1 + R G) / w + R (C + C_f) / A_0 + R C_f
        a_2 = R (C + C_f) / w

    body:  C_body times the halves of R_unit in parallel, the lower one with the switch
    wires: r (c_wordline B^2 + c_bitline W^2) / 2, the delays of the two diffusing lines added
    closed: share of the cells on the bitline whose switch is closed
    """
    if not 0 <= closed <= 1:
        raise DeviceError(f"closed is {closed!r}: it must be between 0 and 1.")
    loop = feedback(tile, periphery)
    resistance, source = loop.resistance_ohm, _source_F(tile, periphery) + loop.capacitance_F
    turn, gain = 2 * math.pi * periphery.sense_bandwidth_Hz, periphery.sense_gain
    load = closed * tile.elements * tile.numeral.max_digit * branch_conductance(1, tile.resistor)
    seen = 1 + resistance * load
    a_0 = 1 + seen / gain
    a_1 = seen / turn + resistance * source / gain + resistance * loop.capacitance_F
    a_2 = resistance * source / turn
    upper = tile.resistor.unit_resistance_ohm / 2
    lower = upper + tile.resistor.switch_resistance_ohm
    body = periphery.body_capacitance_F * upper * lower / (upper + lower)
    wires = tile.resistor.wire_resistance_ohm * (
        periphery.wordline_capacitance_F * tile.bitlines**2
        + periphery.bitline_capacitance_F * tile.wordlines**2
    )
    return a_1 / a_0, a_2 / a_0, body, wires / 2


def settling_time_s(
    tile: TileSpec,
    *,
    error_codes: float = 0.25,
    closed: float = 1.0,
    periphery: Periphery = PERIPHERY,
) -> float:
    """Time from switching the wordlines until the largest sum stays within ``error_codes`` of its end.

    |1 - step(t)| max_sum <= error_codes * step, step(t) the response of ``time_constants_s``; all its poles
    are real, so the deviation falls for good.

    error_codes: 0.25 leaves half of the rounding's half code to everything else
    closed:      share of the switches of the bitline that are closed; all, the default, settles last
    returns:     s, from the step of the wordlines' drivers to the settled output of the sense amplifier
    Covers:      bodies and switches of the resistors, diffusion along both wires, the input capacitance, gain
                 and bandwidth of the amplifier with its feedback. Not: resistance and rise time of the
                 drivers, the amplifier's slew rate and noise, the converter's own time, the switching of the
                 resident operand.
    Error:       0 to 6 % too long against ngspice for 24 drawn tiles of base 7 and peripheries whose wires
                 take less than 1 % of the sum (up to 17 % at base 257, without wires); up to 22 % too long
                 with wires of 3 to 30 ohm on units of 10 to 50 kohm (scripts/circuit_evidence.py). Too short
                 by more than 0.2 % was not seen. Wires of 1 % of a unit or more make it longer by factors
                 (docs/checks/settling.md): what leaks from a wire through closed cells, which shortens its
                 delay, is not in it.
    """
    if not 0 < error_codes < float("inf"):
        raise DeviceError(f"error_codes is {error_codes!r}: it must be finite and above 0.")
    share = error_codes * tile.adc.step / tile.max_sum
    if share >= 1:
        return 0.0
    b_1, b_2, body, wires = time_constants_s(tile, closed=closed, periphery=periphery)
    unit = b_1 + body + wires
    system = torch.zeros(4, 4, dtype=torch.float64)
    # y = output of the pair of poles, its slope (in units of time), then body, then wires: the deviation
    # from the end obeys the homogeneous equation, starting from -1
    p_1, p_2 = b_1 / unit, b_2 / unit**2
    system[0, 1] = 1.0
    system[1, 0], system[1, 1] = -1 / p_2, -p_1 / p_2
    order, drives = 2, 0
    for constant in (body / unit, wires / unit):
        if constant > 1e-6:  # a faster pole adds less than a millionth of the whole
            system[order, order], system[order, drives] = -1 / constant, 1 / constant
            order, drives = order + 1, order
    system = system[:order, :order]
    start = torch.full((order,), -1.0, dtype=torch.float64)
    start[1] = 0.0

    # the time is found bit by bit: the steps before it are taken, each the square of the one half as long
    steps = [torch.matrix_exp(system * 2.0**-_TIME_BITS)]
    for _ in range(_TIME_BITS):
        steps.append(steps[-1] @ steps[-1])
    while float((steps[-1] @ start)[drives].abs()) > share:
        steps.append(steps[-1] @ steps[-1])
    state, taken = start, 0
    for power in range(len(steps) - 1, -1, -1):
        further = steps[power] @ state
        if float(further[drives].abs()) > share:
            state, taken = further, taken + (1 << power)
    return (taken + 1) * 2.0**-_TIME_BITS * unit


def _source_F(tile: TileSpec, periphery: Periphery) -> float:
    """Capacitance at the input of a sense amplifier, F."""
    return periphery.bitline_capacitance_F * tile.wordlines + periphery.input_capacitance_F
