"""A runtime whose streamed operands lose less: a pass for outliers, or calibrated scales."""

from __future__ import annotations

import torch
from torch import Tensor

from ohmformer.deploy.calibration import Calibration, Observation, OperandSites
from ohmformer.deploy.outliers import MAX_OUTLIERS, outlier_inner, split_outliers
from ohmformer.deploy.runtime import Runtime
from ohmformer.engine import Draw, FusedOperations, ProductEngine
from ohmformer.errors import UserError
from ohmformer.ir import Resident
from ohmformer.numerals import quantise_with_scale
from ohmformer.specs import ChipSpec

PASS = "outliers"  # what the operation of a second pass ends with


class PreciseRuntime(Runtime):
    """``Runtime`` with operands coded otherwise.

    outliers:    largest elements of each streamed row sent in a second pass (``split_outliers``), in products
                 with stored operands, among activations, and in the sum of a softmax; 0: none
    calibration: ranges found beforehand for every operand that is not stored (one scale for all its
                 rows); None: scales are found on the fly. Resident operands that carry one scale for each
                 inner element (cached values) keep it.
    observation: takes in the operands on their way, to become a calibration

    Error: UserError for outliers out of range or together with calibrated scales.
    """

    def __init__(
        self,
        chip: ChipSpec,
        engine: ProductEngine,
        seed: int,
        *,
        outliers: int = 0,
        calibration: Calibration | None = None,
        observation: Observation | None = None,
    ) -> None:
        super().__init__(chip, engine, seed)
        if isinstance(outliers, bool) or not isinstance(outliers, int) or not 0 <= outliers <= MAX_OUTLIERS:
            raise UserError(f"outliers is {outliers!r}: it must be a whole number from 0 to {MAX_OUTLIERS}.")
        if outliers and calibration is not None:
            raise UserError(
                "Outliers are split off rows with scales of their own: leave out the calibration."
            )
        if outliers and chip.precision.activation_scale != "per_token":
            raise UserError("Outliers are split off rows with scales of their own: use per_token scales.")
        self.outliers, self.calibration, self.observation = outliers, calibration, observation
        self._sites = OperandSites()
        self._stored_site: str | None = None
        self._split_sums = False
        if calibration is not None or observation is not None:
            self._fused = _StepByStep(chip, engine)
        elif outliers:
            self._fused = _SoftmaxByStep(chip, engine)

    def run_started(self) -> None:
        """The places of operands are counted from the start of a run."""
        self._sites.start_run()

    # --- calibrated scales -------------------------------------------------------------------------

    def _encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        site = self._stored_site or self._sites.next("operand")
        self._stored_site = None
        if values.is_meta:
            return super()._encode(values)
        if self.observation is not None:
            self.observation.see(site, values)
        if self.calibration is None:
            return super()._encode(values)
        bits = self.chip.precision.activation_bits
        scale = self.calibration.scale(site, bits)
        quantised = quantise_with_scale(values, scale, bits, dtype=torch.float32)
        return quantised.codes, quantised.scale

    # --- products ----------------------------------------------------------------------------------

    def _product(
        self, operation: str, batch: int, rows: int, inner: int, columns: int, resident: Resident
    ) -> None:
        if operation.endswith(PASS):
            inner = outlier_inner(inner, self.outliers, self.chip.tile.elements)
        super()._product(operation, batch, rows, inner, columns, resident)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, operation: str = "linear") -> Tensor:
        """See ``Runtime.linear``."""
        block = self.block_of(weight)
        if block is not None:
            self._stored_site = self._sites.of_stored(block.entry.name)
        if not self.outliers:
            return super().linear(x, weight, bias, operation)
        rest, outliers = self._split(self.value_of(x))
        y = super().linear(rest, weight, bias, operation)
        return y + super().linear(outliers, weight, None, f"{operation} {PASS}")

    def matmul(self, left: Tensor, right: Tensor, operation: str = "matmul") -> Tensor:
        """See ``Runtime.matmul``."""
        if not self.outliers or left.ndim == 1 or right.ndim == 1:
            return super().matmul(left, right, operation)
        rest, outliers = self._split(self.value_of(left))
        right = self.value_of(right)
        return super().matmul(rest, right, operation) + super().matmul(outliers, right, f"{operation} {PASS}")

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """See ``Runtime.softmax``."""
        before, self._split_sums = self._split_sums, self.outliers > 0
        try:
            return super().softmax(x, dim)
        finally:
            self._split_sums = before

    def _rows(self, x: Tensor, operation: str, resident: Resident, draw: Draw) -> Tensor:
        if not self._split_sums:
            return super()._rows(x, operation, resident, draw)
        rest, outliers = self._split(x)
        y = super()._rows(rest, operation, resident, draw)
        return y + super()._rows(outliers, f"{operation} {PASS}", resident, draw.sub(1))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.call("choice of outliers", "max", x.numel())
        values = x if x.is_meta else x.float()
        return split_outliers(values, self.outliers, self.chip.precision.activation_bits)


class _SoftmaxByStep(FusedOperations):
    """Native operations except the softmax, whose sum takes two passes."""

    def softmax(self, x: Tensor, draw: Draw) -> Tensor | None:
        return None


class _StepByStep(FusedOperations):
    """Functions alone: scales are not those that the native operations find."""

    @property
    def kernels(self) -> None:
        return None
