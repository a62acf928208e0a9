"""Decode steps for every context length between two, from a few traces.

Everything in the graph of a decode step that depends on the context length L is affine in it (sizes, strides,
addresses, multiply-accumulates), save where a sliding window fills up. So two traces give every graph
between them; a third, halfway, proves it, and where it does not, the range is halved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ohmformer.compiler.graph import AtenCall, GraphNode, GraphValue, ModelGraph, Ref
from ohmformer.compiler.inputs import shape_model, window_edges
from ohmformer.compiler.trace import trace_built
from ohmformer.errors import UserError

__all__ = ["DecodeFamily", "decode_family"]


class _NotAffine(Exception):
    """Two graphs differ in more than whole numbers, or one between them is not on the line."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Contexts ``first`` to ``last``, all on the line between the two graphs."""

    low: ModelGraph
    high: ModelGraph

    @property
    def first(self) -> int:
        """Shortest context."""
        return self.low.context

    @property
    def last(self) -> int:
        """Longest context."""
        return self.high.context

    def at(self, context: int) -> ModelGraph:
        """The graph at one context of the segment."""
        low, high = self.low, self.high
        if context == low.context:
            return low
        if context == high.context:
            return high
        if len(low.values) != len(high.values) or len(low.nodes) != len(high.nodes):
            raise _NotAffine
        line = _Line(low.context, high.context, context)
        return replace(
            low,
            context=context,
            values=tuple(map(line.value, low.values, high.values)),
            nodes=tuple(map(line.node, low.nodes, high.nodes)),
        )


@dataclass(frozen=True, kw_only=True)
class DecodeFamily:
    """The graph of one decode step at every context from ``first`` to ``last``: ``family(context)``.

    Ids and nodes are the same at every context of one segment; ``segments`` are in order, without gaps.
    """

    segments: tuple[Segment, ...]

    @property
    def first(self) -> int:
        """Shortest context."""
        return self.segments[0].first

    @property
    def last(self) -> int:
        """Longest context."""
        return self.segments[-1].last

    def __call__(self, context: int) -> ModelGraph:
        """The graph at one context.

        Error: UserError outside ``first`` … ``last``.
        """
        for segment in self.segments:
            if segment.first <= context <= segment.last:
                return segment.at(context)
        raise UserError(f"context is {context}: it must be {self.first} to {self.last}.")

    def macs(self, context: int) -> int:
        """Multiply-accumulates of the step at one context, without its graph.

        Error: UserError outside ``first`` … ``last``.
        """
        for segment in self.segments:
            if segment.first <= context <= segment.last:
                if segment.first == segment.last:
                    return segment.low.macs
                return _Line(segment.first, segment.last, context).number(segment.low.macs, segment.high.macs)
        raise UserError(f"context is {context}: it must be {self.first} to {self.last}.")


def decode_family(
    config_or_model: PreTrainedConfig | PreTrainedModel,
    *,
    batch: int = 1,
    first: int,
    last: int,
    tokens: int = 128,
    name: str = "",
) -> DecodeFamily:
    """Decode steps with ``first`` to ``last`` tokens in the cache, as generation runs through them.

    tokens: of the encoder's input, for encoder-decoder models
    Error: UserError as ``trace``, or for a range that is empty.
    """
    if not 1 <= first <= last:
        raise UserError(f"first and last are {first} and {last}: 1 ≤ first ≤ last must hold.")
    model = shape_model(config_or_model)
    traced: dict[int, ModelGraph] = {}

    def at(context: int) -> ModelGraph:
        if context not in traced:
            traced[context] = trace_built(
                model, phase="decode", batch=batch, tokens=tokens, context=context, name=name
            )
        return traced[context]

    at(last)  # the longest first, so that one too long is refused at once
    edges = [edge for edge in window_edges(model.config) if first <= edge < last]
    starts = [first, *(edge + 1 for edge in edges)]
    ends = [*edges, last]
    segments: list[Segment] = []
    for start, end in zip(starts, ends, strict=True):
        segments += _segments(at, start, end)
    return DecodeFamily(segments=tuple(segments))


def _segments(at: Callable[[int], ModelGraph], first: int, last: int) -> list[Segment]:
    if last - first < 2:
        return [Segment(low=at(context), high=at(context)) for context in range(first, last + 1)]
    segment, middle = Segment(low=at(first), high=at(last)), (first + last) // 2
    try:
        if segment.at(middle) == at(middle):
            return [segment]
    except _NotAffine:
        pass
    return _segments(at, first, middle) + _segments(at, middle + 1, last)


@dataclass(frozen=True)
class _Line:
    """Whole numbers at ``context`` on the line through those at ``low`` and ``high``."""

    low: int
    high: int
    context: int

    def number(self, low: int, high: int) -> int:
        """One number."""
        step, rest = divmod((high - low) * (self.context - self.low), self.high - self.low)
        if rest:
            raise _NotAffine
        return low + step

    def blend(self, low: Any, high: Any) -> Any:
        """Arguments: numbers on the line, everything else alike."""
        if low is high:
            return low
        kind = type(low)
        if kind is not type(high):
            raise _NotAffine
        if kind is int:
            return low if low == high else self.number(low, high)
        if kind is tuple:
            if len(low) != len(high):
                raise _NotAffine
            return low if low == high else tuple(map(self.blend, low, high))
        if kind is slice:
            parts = ((low.start, high.start), (low.stop, high.stop), (low.step, high.step))
            return slice(*(self.blend(a, b) for a, b in parts))
        if kind is Ref or low == high:
            if low != high:
                raise _NotAffine
            return low
        raise _NotAffine

    def value(self, low: GraphValue, high: GraphValue) -> GraphValue:
        """A tensor."""
        if low == high:
            return low
        if (low.dtype, low.kind, low.name) != (high.dtype, high.kind, high.name):
            raise _NotAffine
        shape, stride = self.blend(low.shape, high.shape), self.blend(low.stride, high.stride)
        return GraphValue(low.id, shape, low.dtype, stride, low.kind, low.name)

    def call(self, low: AtenCall, high: AtenCall) -> AtenCall:
        """An ATen operation."""
        if low.name != high.name:
            raise _NotAffine
        return AtenCall(low.name, self.number(low.macs, high.macs), self.blend(low.shapes, high.shapes))

    def node(self, low: GraphNode, high: GraphNode) -> GraphNode:
        """A function."""
        if low == high:
            return low
        same = (low.function, low.outputs, low.module, low.source, len(low.aten))
        if same != (high.function, high.outputs, high.module, high.source, len(high.aten)):
            raise _NotAffine
        return replace(
            low,
            args=self.blend(low.args, high.args),
            kwargs=self.blend(low.kwargs, high.kwargs),
            aten=tuple(map(self.call, low.aten, high.aten)),
        )
