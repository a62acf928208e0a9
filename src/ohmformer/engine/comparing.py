"""Two engines side by side: how far the errors of one are from those of the other, product by product."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ohmformer.engine.collapsed import exact_product
from ohmformer.engine.products import ProductEngine
from ohmformer.engine.randomness import Draw
from ohmformer.engine.resident import ResidentCodes
from ohmformer.numerals import HOST

OTHER = 21  # purpose of the second engine's random numbers


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Errors y - y_exact of two engines at one place, in product units.

    layer, operation:     where; the operation is ``linear`` (a stored operand), ``matmul``, ``row sum``
    rows, outputs:        of all calls
    signal_sd:            root mean square of y_exact
    mean_*, sd_*:         of the errors, over all outputs
    mean_difference_se:   standard error of mean_other - mean_reference
    variance_difference_se: of variance_other - variance_reference, over the variance of the reference

    The standard errors take rows as independent: se² = Var(d)/rows with d the difference of a row's means
    (of its mean squares about the reference's mean).
    """

    layer: str
    operation: str
    rows: int
    outputs: int
    signal_sd: float
    mean_reference: float
    mean_other: float
    sd_reference: float
    sd_other: float
    mean_difference_se: float
    variance_difference_se: float

    @property
    def mean_z(self) -> float:
        """Difference of the means, in standard errors; 0 where both are the same and nothing varies."""
        return _ratio(self.mean_other - self.mean_reference, self.mean_difference_se)

    @property
    def variance_z(self) -> float:
        """Difference of the variances, in standard errors."""
        if self.sd_reference == 0:
            return 0.0 if self.sd_other == 0 else math.inf
        return _ratio((self.sd_other / self.sd_reference) ** 2 - 1, self.variance_difference_se)


def _ratio(difference: float, error: float) -> float:
    if error > 0:
        return difference / error
    return 0.0 if difference == 0 else math.copysign(math.inf, difference)


@dataclass(kw_only=True)
class _Sums:
    """Sums over rows; of a row its mean error e and mean square q, of the reference and of the other."""

    rows: int = 0
    outputs: int = 0
    signal: float = 0.0
    first: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64, device=HOST))
    second: Tensor = field(default_factory=lambda: torch.zeros(4, 4, dtype=torch.float64, device=HOST))
    weighted: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64, device=HOST))

    def add(self, exact: Tensor, reference: Tensor, other: Tensor) -> None:
        columns = exact.shape[-1]
        exact = exact.reshape(-1, columns).double()
        row = []
        for made in (reference, other):
            error = made.reshape(-1, columns).double() - exact
            row += [error.mean(1), error.square().mean(1)]
        each = torch.stack(row, 1).cpu()  # [row, 4]
        self.rows += len(each)
        self.outputs += exact.numel()
        self.signal += float(exact.square().sum())
        self.first += each.sum(0)
        self.second += each.T @ each
        self.weighted += each.sum(0) * columns

    def deviation(self, layer: str, operation: str) -> Deviation:
        mean_a, square_a, mean_b, square_b = (self.weighted / max(1, self.outputs)).tolist()
        variance_a, variance_b = max(0.0, square_a - mean_a**2), max(0.0, square_b - mean_b**2)
        by_mean = torch.tensor([-1.0, 0.0, 1.0, 0.0], dtype=torch.float64, device=HOST)
        square = [2 * mean_a, -1.0, -2 * mean_a, 1.0]
        by_square = torch.tensor(square, dtype=torch.float64, device=HOST)
        return Deviation(
            layer=layer,
            operation=operation,
            rows=self.rows,
            outputs=self.outputs,
            signal_sd=math.sqrt(self.signal / max(1, self.outputs)),
            mean_reference=mean_a,
            mean_other=mean_b,
            sd_reference=math.sqrt(variance_a),
            sd_other=math.sqrt(variance_b),
            mean_difference_se=self._error(by_mean),
            variance_difference_se=self._error(by_square) / variance_a if variance_a > 0 else 0.0,
        )

    def _error(self, direction: Tensor) -> float:
        """Standard error of the mean over rows of a combination of a row's four numbers."""
        if self.rows < 2:
            return 0.0
        mean = float(direction @ self.first) / self.rows
        square = float(direction @ self.second @ direction) / self.rows
        return math.sqrt(max(0.0, square - mean * mean) / (self.rows - 1))


class ComparingEngine:
    """Every product by two engines; the reference's result goes on, both errors are recorded.

    A ``ProductEngine``. Both see the same operands in every layer, because what goes on is the reference's.

    label: says where the product is (a module's path); called once a product
    """

    def __init__(
        self, reference: ProductEngine, other: ProductEngine, label: Callable[[], str] = lambda: ""
    ) -> None:
        self.reference, self.other, self.label = reference, other, label
        self._sums: dict[tuple[str, str], _Sums] = {}

    def product(
        self,
        streamed: Tensor,
        resident: Tensor | ResidentCodes,
        *,
        streamed_bits: int,
        resident_bits: int,
        draw: Draw,
    ) -> Tensor:
        """See ``ProductEngine.product``."""
        bits = {"streamed_bits": streamed_bits, "resident_bits": resident_bits}
        found = self.reference.product(streamed, resident, **bits, draw=draw)
        if found.is_meta or not found.numel():
            return found
        other = self.other.product(streamed, resident, **bits, draw=draw.sub(OTHER))
        exact = exact_product(streamed, resident, streamed_bits, resident_bits)
        operation = "linear" if isinstance(resident, ResidentCodes) else "matmul"
        place = (self.label(), "row sum" if found.shape[-1] == 1 else operation)
        self._sums.setdefault(place, _Sums()).add(exact, found, other)
        return found

    def forget(self) -> None:
        """Start recording anew."""
        self._sums.clear()

    def deviations(self) -> list[Deviation]:
        """What was recorded, in the order in which the places were first met."""
        return [sums.deviation(*place) for place, sums in self._sums.items()]
