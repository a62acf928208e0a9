"""Resistors per digit: which unit resistors a balanced digit switches on, and with which sign."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ohmformer.numerals.balanced import require_balanced_radix
from ohmformer.numerals.checks import NumeralError, require_integers, require_range

__all__ = ["Polarity", "ResistorCode"]

Polarity = Literal["shared", "per_resistor"]

# A resistor is off or on (2 states), or off, + or - (3 states): its weights grow by that factor.
STATES_PER_RESISTOR: dict[Polarity, int] = {"shared": 2, "per_resistor": 3}


@dataclass(frozen=True)
class ResistorCode:
    """The resistors of one digit, as multiples of the unit conductance, and their switch states.

    digit = sum_r state_r * weight_r,  state_r in {-1, 0, +1}

    ``shared``: one polarity for all resistors of a digit. Weights 1, 2, 4, ...: base 3 needs one
    resistor, base 7 two, base 15 three.
    ``per_resistor``: a polarity each. Bachet's weights 1, 3, 9, ...: one resistor reaches base 3, two
    base 9, three base 27.

    The number of resistors is the smallest possible. The last weight is trimmed so that the weights sum
    to exactly the largest digit h = (radix-1)/2, which is the smallest sum that can represent h: base 5
    takes {1, 1}, base 9 (shared) {1, 2, 1}, base 11 (shared) {1, 2, 2}. Trimming keeps every digit
    reachable: without the last resistor the first ones reach H, all integers up to it included; the last
    weight w = h - H is at most H + 1 (shared) or 2H + 1 (per resistor), so a digit above H leaves a rest
    between 0 (or -H) and H.
    """

    radix: int
    polarity: Polarity = "shared"

    def __post_init__(self) -> None:
        require_balanced_radix(self.radix)
        if self.polarity not in STATES_PER_RESISTOR:
            raise NumeralError(f"polarity is {self.polarity!r}: allowed is 'shared' or 'per_resistor'.")

    @property
    def weights(self) -> tuple[int, ...]:
        """Weight of each resistor in unit conductances, the trimmed one last."""
        return _weights((self.radix - 1) // 2, STATES_PER_RESISTOR[self.polarity])

    @property
    def resistors_per_digit(self) -> int:
        """Number of resistors, hence of wordlines, that one digit occupies."""
        return len(self.weights)

    def switch_states(self, digits: Tensor) -> Tensor:
        """Switch state of each resistor for each digit.

        digits:  [...], any integer dtype, magnitude <= (radix-1)/2
        returns: [..., resistor], int8: +1 or -1 on with that polarity, 0 off
        Error:   none; a digit out of range is refused.
        """
        require_integers(digits, "digit")
        max_digit = (self.radix - 1) // 2
        require_range(digits, -max_digit, max_digit, "digit")
        table = torch.tensor(_state_table(self.weights), dtype=torch.int8, device=digits.device)
        row = (digits.to(torch.int64) + max_digit).flatten()
        return table.index_select(0, row).reshape(*digits.shape, len(self.weights))


@cache
def _weights(max_digit: int, states: int) -> tuple[int, ...]:
    """Powers of ``states`` while they are needed, the last trimmed to make the sum ``max_digit``."""
    weights: list[int] = []
    reach = 0
    while reach < max_digit:
        weight = min(states ** len(weights), max_digit - reach)
        weights.append(weight)
        reach += weight
    return tuple(weights)


@cache
def _state_table(weights: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Switch states of every digit from -sum(weights) to +sum(weights), heaviest resistor first tried.

    A resistor is switched on exactly when the lighter positions alone cannot reach what is left.
    """
    reach_below = [sum(weights[:index]) for index in range(len(weights))]
    table = []
    for digit in range(-sum(weights), sum(weights) + 1):
        states = [0] * len(weights)
        rest = digit
        for index in reversed(range(len(weights))):
            if abs(rest) > reach_below[index]:
                states[index] = 1 if rest > 0 else -1
                rest -= states[index] * weights[index]
        table.append(tuple(states))
    return tuple(table)
