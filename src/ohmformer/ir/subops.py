"""The typed sub-operations: a linear operation on crossbars, then a function, and the reads they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resident = Literal["weight", "activation", "constant"]


class SubOpError(ValueError):
    """A sub-operation that no shape could give."""


def _require_counts(owner: object, *fields: str) -> None:
    for field in fields:
        value = getattr(owner, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SubOpError(
                f"{type(owner).__name__}.{field} is {value!r}: it must be a whole number above 0."
            )


@dataclass(frozen=True, kw_only=True)
class Product:
    """``batch`` independent products [rows, inner] x [inner, columns] on computation crossbars.

    module:    path of the module it belongs to
    operation: what it is for, e.g. ``linear``, ``matmul``, ``softmax sum``
    resident:  ``weight`` (read from the dense crossbar, the same for the whole batch),
               ``activation`` (encoded on the fly, one per batch entry) or ``constant`` (the ones of a sum)
    """

    module: str
    operation: str
    batch: int
    rows: int
    inner: int
    columns: int
    resident: Resident

    def __post_init__(self) -> None:
        _require_counts(self, "batch", "rows", "inner", "columns")

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.rows * self.inner * self.columns

    @property
    def streamed_elements(self) -> int:
        """Elements of the streamed operand."""
        return self.batch * self.rows * self.inner

    @property
    def resident_elements(self) -> int:
        """Elements of the resident operand over the batch (a weight counts once)."""
        return self.inner * self.columns * (self.batch if self.resident == "activation" else 1)

    @property
    def output_elements(self) -> int:
        """Elements of the result."""
        return self.batch * self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """``elements`` evaluations of ``function`` in the function units.

    function: ``exp``, ``reciprocal``, ``rsqrt``, ``gelu``, ``silu``, ``tanh``, ``sigmoid``, ``relu``,
              ``max`` (a comparison), ``multiply``, ``add`` (accumulator additions: bias, residual, mask)
    """

    module: str
    operation: str
    function: str
    elements: int

    def __post_init__(self) -> None:
        _require_counts(self, "elements")


@dataclass(frozen=True, kw_only=True)
class DenseRead:
    """``words`` stored numbers read from the dense crossbar, e.g. embedding rows, norm weights, biases."""

    module: str
    operation: str
    words: int

    def __post_init__(self) -> None:
        _require_counts(self, "words")


SubOp = Product | FunctionCall | DenseRead
