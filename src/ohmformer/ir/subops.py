"""The typed sub-operations: a linear operation on crossbars, then a function, and what they read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Resident = Literal["weight", "activation", "constant"]
MoveKind = Literal["view", "copy", "cache", "fold", "control"]
MOVE_KINDS: tuple[MoveKind, ...] = get_args(MoveKind)
ValueKind = Literal["input", "stored", "constant", "activation", "cache"]
JSON: TypeAlias = "bool | int | float | str | tuple[JSON, ...] | None"
Arguments = tuple[tuple[str, JSON], ...]


class SubOpError(ValueError):
    """A sub-operation that no shape could give."""


def _require_counts(owner: object, *fields: str) -> None:
    for field in fields:
        value = getattr(owner, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SubOpError(
                f"{type(owner).__name__}.{field} is {value!r}: it must be a whole number above 0."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A tensor that sub-operations read or write.

    id:    its place among the values of its program
    shape: as the model sees it; () is one number
    kind:  ``input`` (given by the caller), ``stored`` (a parameter in the dense crossbar, or one expert of
           it), ``constant`` (known before the data: addresses, masks, tables), ``activation``, ``cache``
           (keys or values of the tokens so far)
    name:  path of a parameter, name of an input; empty for what is made on the way
    """

    id: int
    shape: tuple[int, ...]
    kind: ValueKind
    name: str = ""

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """``batch`` independent products [rows, inner] x [inner, columns] on computation crossbars.

    module:    path of the module it belongs to
    operation: what it is for, e.g. ``linear``, ``matmul``, ``softmax sum``
    resident:  ``weight`` (read from the dense crossbar, the same for the whole batch),
               ``activation`` (encoded on the fly, one per batch entry) or ``constant`` (the ones of a sum)
    inputs:    the streamed and the resident operand (ids of values; a sum has the first alone)
    outputs:   the result
    arguments: what an interpreter needs besides
    """

    module: str
    operation: str
    batch: int
    rows: int
    inner: int
    columns: int
    resident: Resident
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    arguments: Arguments = ()

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


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionCall:
    """``elements`` evaluations of ``function`` in the function units.

    function: ``exp``, ``reciprocal``, ``rsqrt``, ``gelu``, ``silu``, ``tanh``, ``sigmoid``, ``relu``,
              ``max`` (a comparison), ``multiply``, ``add`` (accumulator additions: bias, residual, mask)
    inputs, outputs, arguments: as of a product
    """

    module: str
    operation: str
    function: str
    elements: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    arguments: Arguments = ()

    def __post_init__(self) -> None:
        _require_counts(self, "elements")


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseRead:
    """``words`` stored numbers read from the dense crossbar, e.g. embedding rows, norm weights, biases.

    inputs:  the stored value (a table is made beforehand and is a constant), then addresses if there are any
    outputs: what was read
    """

    module: str
    operation: str
    words: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    arguments: Arguments = ()

    def __post_init__(self) -> None:
        _require_counts(self, "words")


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """Work that no crossbar and no function unit does; ``elements`` numbers go through it.

    kind:     ``view`` (another shape of the same numbers: no work), ``copy`` (numbers that are really moved:
              concatenation, repetition, gathering), ``cache`` (keys and values appended or read),
              ``fold`` (a constant factor or a sign, folded into a scale), ``control`` (addresses, masks and
              tables, known before the data)
    function: plain name of the torch function it comes from
    """

    module: str
    operation: str
    kind: MoveKind
    elements: int
    function: str = ""
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    arguments: Arguments = ()

    def __post_init__(self) -> None:
        if self.kind not in MOVE_KINDS:
            raise SubOpError(f"Move.kind is {self.kind!r}: allowed are {', '.join(MOVE_KINDS)}.")
        if isinstance(self.elements, bool) or not isinstance(self.elements, int) or self.elements < 0:
            raise SubOpError(f"Move.elements is {self.elements!r}: it must be a whole number of at least 0.")


SubOp = Product | FunctionCall | DenseRead | Move
