"""The fixed resistors of a computation crossbar and their switches."""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.gaussian import normal
from ohmformer.specs import ResistorSpec

__all__ = ["branch_conductance", "draw_mismatch", "unit_current_A"]


def branch_conductance(weight: int, resistor: ResistorSpec) -> float:
    """Conductance of a switched-on branch of ``weight`` units, S.

    G = weight / (R_unit + R_switch): the branch has ``weight`` units in parallel, each with its own
    switch, so that the ratio of two branches is exactly the ratio of their weights, whatever the switch.

    Error: wire resistance is not in it.
    """
    if weight < 1:
        raise DeviceError(f"weight is {weight}: a branch has at least 1 unit.")
    return weight / (resistor.unit_resistance_ohm + resistor.switch_resistance_ohm)


def unit_current_A(resistor: ResistorSpec, voltage_V: float) -> float:
    """Current of one switched-on unit, A: what 1 means in a bitline sum."""
    return voltage_V * branch_conductance(1, resistor)


def draw_mismatch(
    wordlines: int, bitlines: int, resistor: ResistorSpec, generator: torch.Generator | None
) -> Tensor:
    """Relative deviation of each branch from its nominal conductance, fixed by location.

    G_actual = G * (1 + mismatch * N(0, 1))

    returns: [wordline, bitline], float64; all 0 without mismatch
    Error:   normal without truncation; at the largest allowed mismatch, 0.5, 2 % of the branches come out
             with a negative conductance.
    """
    if resistor.mismatch == 0:
        return torch.zeros(wordlines, bitlines, dtype=torch.float64)
    return resistor.mismatch * normal((wordlines, bitlines), generator, "mismatch", torch.float64)
