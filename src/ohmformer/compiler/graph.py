"""A model as the graph of torch functions that one run of it calls, on shapes alone.

What holds in every graph, for those who read one:

- ``values[i].id == i``; every value is written once, before it is read.
- ``function`` is torch's name without the underscores of operators and in-place forms, one name for one
  thing: ``add`` (also ``__add__``, ``__radd__``, ``add_``, ``__iadd__``), ``mul``, ``sub``, ``div``,
  ``matmul`` (also ``mm``, ``bmm``, ``@``), ``linear``, ``softmax``, ``getitem``, ``setitem``, ``to``, ...;
  reflected operators that do not commute keep their own name and order of arguments: ``rsub(x, c)`` is
  c − x, ``rtruediv(x, c)`` is c / x, ``rpow(x, c)`` is c^x. A tensor's attribute is a function of its
  name (``T``, ``mT``). An ATen operation reached outside any torch function is ``aten.<name>``.
- An in-place function reads its first argument as it was and its output is that tensor as it is from then
  on: ``setitem(x, index, y)`` gives x with y written into it, ``copy(x, y)`` gives y in the shape and type
  of x.
- A function that gave back the very tensor it got (``to`` of its own type, dropout of an evaluated model)
  did nothing and is no node; neither are questions (shape, dtype).
- Arguments are plain: ``Ref`` for a tensor, numbers, strings, None, Ellipsis, slices, tuples (lists too
  become tuples); a dtype is ``"float32"``, a device or a layout its name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["PHASES", "AtenCall", "GraphNode", "GraphValue", "ModelGraph", "Phase", "Ref", "ValueKind"]

Phase = Literal["encode", "prefill", "decode"]
PHASES: tuple[Phase, ...] = ("encode", "prefill", "decode")
ValueKind = Literal["input", "parameter", "buffer", "activation"]


@dataclass(frozen=True, slots=True)
class GraphValue:
    """One tensor.

    shape, stride: in elements; dtype: torch's name without ``torch.``
    kind: "input" (given to the run, the cache included), "parameter", "buffer" (also a tensor the model
          keeps without registering it), "activation" (what a node writes)
    name: path of the parameter or buffer, name of the input ("input_ids", "past_keys.3"); "" of activations
    """

    id: int
    shape: tuple[int, ...]
    dtype: str
    stride: tuple[int, ...]
    kind: ValueKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the tensor ``values[value]`` inside arguments."""

    value: int


@dataclass(frozen=True, slots=True)
class AtenCall:
    """One ATen operation: its name, its exact multiply-accumulates, the shapes of its tensor arguments."""

    name: str
    macs: int
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One call of a torch function.

    args, kwargs: as given, tensors as ``Ref``; outputs: ids of the values written
    module, module_type: path and class of the module that runs ("" is the model itself)
    source: file and line outside torch that called it, such as "modeling_bert.py:123"
    aten: the ATen operations it came to
    """

    function: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    outputs: tuple[int, ...]
    module: str
    module_type: str
    source: str
    aten: tuple[AtenCall, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of this call."""
        return sum(call.macs for call in self.aten)


@dataclass(frozen=True, kw_only=True)
class ModelGraph:
    """One run of a model.

    phase:    "encode" (no cache), "prefill" (gives a cache back), "decode" (one token on a full cache)
    batch:    sequences at once; tokens: new tokens of each; context: tokens of each already in the cache
    values:   by id; nodes: in the order they ran
    outputs:  ids of the tensors the run gives back, ``output_names`` beside them ("logits", "past_keys.3")
    assumptions: what was assumed where the work depends on the data, a sentence each
    """

    name: str
    phase: Phase
    batch: int
    tokens: int
    context: int
    values: tuple[GraphValue, ...]
    nodes: tuple[GraphNode, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...] = field(default=())
    assumptions: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Exact multiply-accumulates of the run: the sum over its ATen matrix products and convolutions."""
        return sum(call.macs for node in self.nodes for call in node.aten)

    def aten_counts(self) -> dict[str, int]:
        """How often each ATen operation was called."""
        return dict(Counter(call.name for node in self.nodes for call in node.aten))

    def of_kind(self, kind: ValueKind) -> tuple[GraphValue, ...]:
        """The values of one kind, in the order they were first met."""
        return tuple(value for value in self.values if value.kind == kind)
