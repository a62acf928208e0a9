"""How a run is watched: writes in place, views, repeated calls, operators beneath, questions, counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ohmformer.compiler import GraphNode, Ref
from ohmformer.compiler.names import function_name
from ohmformer.compiler.trace_macs import UNCOUNTED, aten_macs
from ohmformer.compiler.trace_recording import AtenWatch, Recording
from ohmformer.errors import UserError


def shape(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(sizes, dtype=dtype, device="meta")


def record(work: Callable[..., Any], *given: Tensor) -> tuple[Recording, Any]:
    """``work`` of inputs 0, 1, … watched, and what it gave."""
    recording = Recording()
    recording.name_values(((f"x{n}", tensor) for n, tensor in enumerate(given)), "input")
    with torch.no_grad(), AtenWatch(recording), recording:
        result = work(*given)
    return recording, result


def calls(recording: Recording) -> list[tuple[str, tuple[Any, ...], tuple[int, ...]]]:
    return [(node.function, node.args, node.outputs) for node in recording.nodes]


def test_a_write_in_place_is_a_new_value_of_the_same_tensor() -> None:
    def work(x: Tensor) -> Tensor:
        y = x * 2
        y += 1
        return y.neg()

    recording, result = record(work, shape(3))
    assert calls(recording) == [
        ("mul", (Ref(0), 2), (1,)),
        ("add", (Ref(1), 1), (2,)),
        ("neg", (Ref(2),), (3,)),
    ]
    assert recording.value_of(result) == 3


def test_writing_into_a_part_is_a_new_value_of_the_whole() -> None:
    def work(x: Tensor, y: Tensor) -> Tensor:
        made = torch.zeros(4, 3, device="meta")
        made[1:, 0] = y
        return made + x

    recording, _ = record(work, shape(4, 3), shape(3))
    zeros, written, added = calls(recording)
    assert zeros[2] == (2,)
    assert written == ("setitem", (Ref(2), (slice(1, None, None), 0), Ref(1)), (3,))
    assert added[1] == (Ref(3), Ref(0))


@pytest.mark.parametrize("again", [False, True])
def test_reading_a_view_made_before_its_memory_was_written_is_refused(again: bool) -> None:
    """Also where the calls were all seen before, so that none is run a second time."""

    def once(x: Tensor, stale: bool) -> Tensor:
        y = x * 2
        first = y[0]
        y.add_(1)
        return first + 1 if stale else y[0] + 1

    def work(x: Tensor) -> None:
        if again:
            once(x, stale=False)
        once(x, stale=True)

    with pytest.raises(UserError, match="A view of a tensor is read after its memory was written"):
        record(work, shape(2, 3))


def test_writing_through_a_view_makes_the_whole_unreadable_too() -> None:
    def work(x: Tensor) -> Tensor:
        y = x * 2
        y[0].add_(1)
        return y + 1

    with pytest.raises(UserError, match="read after its memory was written"):
        record(work, shape(2, 3))


def test_copying_into_an_indexed_part_writes_the_whole() -> None:
    """x[index].copy_(y) is x[index] = y, the second time as the first."""

    def work(x: Tensor) -> Tensor:
        made = x.new_empty(4, 3)
        made[:2].copy_(x)
        made[2:].copy_(x)
        return made + 1

    recording, _ = record(work, shape(2, 3))
    writes = [call for call in calls(recording) if call[0] == "setitem"]
    assert writes == [
        ("setitem", (Ref(1), (slice(None, 2, None)), Ref(0)), (3,)),
        ("setitem", (Ref(3), (slice(2, None, None)), Ref(0)), (5,)),
    ]
    assert calls(recording)[-1] == ("add", (Ref(5), 1), (6,))


def test_a_view_of_the_written_tensor_reads_the_new_value() -> None:
    recording, _ = record(lambda x: (x * 2).add_(1)[0], shape(2, 3))
    assert calls(recording)[-1] == ("getitem", (Ref(2), 0), (3,))


def test_functions_that_give_back_what_they_got_are_no_nodes() -> None:
    def work(x: Tensor) -> Tensor:
        y = functional.dropout(x.to(torch.float32).contiguous(), 0.5, training=False)
        assert y.shape[0] == y.size(0) == 2
        return y.float()

    recording, result = record(work, shape(2, 3))
    assert recording.nodes == []
    assert recording.value_of(result) == 0


def test_several_results_are_several_values() -> None:
    def work(x: Tensor) -> Tensor:
        (top, at), parts = x.topk(2), x.split(1)
        return top + parts[1].sum() + at

    recording, _ = record(work, shape(3, 5))
    assert [node.function for node in recording.nodes] == ["topk", "split", "sum", "add", "add"]
    assert [node.outputs for node in recording.nodes] == [(1, 2), (3, 4, 5), (6,), (7,), (8,)]
    assert recording.values[2].dtype == "int64"
    assert recording.nodes[2].args == (Ref(4),)
    assert recording.nodes[4].args == (Ref(7), Ref(2))


def test_a_call_seen_before_gives_the_same_without_being_run() -> None:
    """Named results, views, strides and writes of the second round are those of the first."""

    def once(x: Tensor) -> list[Tensor]:
        made = x.transpose(0, 1)
        best = made.max(0)
        assert type(best).__name__ == "max"
        return [made, *best, best.values.clone().mul_(3), torch.cat([x, x], dim=1)]

    recording, (first, second) = record(lambda x: (once(x), once(x)), shape(4, 6))
    half = len(recording.nodes) // 2
    for one, two in zip(first, second, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (two.shape, two.stride(), two.dtype)
    for one, two in zip(recording.nodes[:half], recording.nodes[half:], strict=True):
        assert (one.function, one.kwargs, one.aten) == (two.function, two.kwargs, two.aten)
        assert two.aten is one.aten  # from memory


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x.sum(1),
        lambda x: x.sum(0, keepdim=True),
        lambda x: x.float().sum(dim=0).sum(),
        lambda x: x.clamp(0).sum(),
        lambda x: x.sum(-1),
        lambda x: x.sum(0, dtype=torch.float64),
        lambda x: x.t().sum(0),
        lambda x: x.double().sum(0),
        lambda x: x[:, 1:].sum(0),
    ],
)
def test_calls_that_differ_at_all_are_not_taken_for_each_other(other: Callable[[Tensor], Tensor]) -> None:
    x = torch.zeros(4, 6)
    _, (_, second) = record(lambda x: (x.sum(0), other(x)), shape(4, 6))
    expected = other(x)
    assert (second.shape, second.dtype, second.stride()) == (
        expected.shape,
        expected.dtype,
        expected.stride(),
    )


def test_keywords_of_other_names_are_other_calls() -> None:
    _, (whole, rows) = record(
        lambda x: (torch.linalg.vector_norm(x, ord=1), torch.linalg.vector_norm(x, dim=1)), shape(4, 6)
    )
    assert (tuple(whole.shape), tuple(rows.shape)) == ((), (4,))


def test_operations_beneath_no_function_are_nodes_of_their_own() -> None:
    """vmap hands its function wrapped tensors: what is seen is what it does beneath."""
    recording, result = record(lambda x: torch.vmap(lambda row: row * 2 + 1)(x), shape(4, 3))
    assert [node.function for node in recording.nodes] == ["aten.mul", "aten.add"]
    assert recording.nodes[1].args[0] == Ref(recording.nodes[0].outputs[0])
    assert recording.nodes[0].args == (Ref(0), 2)
    assert recording.values[recording.nodes[1].outputs[0]].shape == (4, 3)
    assert result.shape == (4, 3)


def test_operators_called_by_name_keep_their_name() -> None:
    recording, _ = record(lambda x: torch.ops.aten.mul.Tensor(x, x), shape(3))
    assert recording.nodes[0].function == "aten.mul"


def test_questions_about_what_is_known_before_the_data_are_answered() -> None:
    def work(x: Tensor) -> list[Any]:
        places = torch.arange(6, device=x.device)
        late = places > 3
        marks = torch.zeros(6, dtype=torch.long, device=x.device)
        marks[2] = 5
        marks += 1
        found = late.nonzero()
        return [bool(late.any()), int(places.sum()), marks.tolist(), found.shape[0], (found + 1).max().item()]

    _, answers = record(work, shape(3))
    assert answers == [True, 15, [1, 1, 6, 1, 1, 1], 2, 6]


def test_a_question_answered_once_is_asked_again() -> None:
    def work(x: Tensor) -> list[bool]:
        return [bool(torch.arange(n, device=x.device).sum() > 2) for n in (1, 2, 3, 4)]

    assert record(work, shape(1))[1] == [False, False, True, True]


def test_shapes_that_depend_on_known_values_are_found_anew() -> None:
    def work(x: Tensor) -> list[int]:
        places = torch.arange(6, device=x.device)
        return [(places > n).nonzero().shape[0] for n in (1, 2, 3)]

    assert record(work, shape(1))[1] == [4, 3, 2]


@pytest.mark.parametrize("ask", [bool, int, float, Tensor.tolist, torch.nonzero, lambda x: x[x > 0]])
def test_questions_about_the_data_are_refused(ask: Callable[[Tensor], Any]) -> None:
    with pytest.raises(UserError, match=r"in the model \(test_trace_recording.py:\d+\) depends on the data"):
        record(lambda x: ask(x.sum()) if ask in (bool, int, float) else ask(x), shape(3))


def test_shapes_that_do_not_fit_are_said_with_their_place() -> None:
    with pytest.raises(UserError, match=r"The operation matmul in the model \(test_trace_recording"):
        record(torch.matmul, shape(2, 3), shape(4, 5))


def test_out_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="The operation add in the model .* is given out="):
        record(lambda x: torch.add(x, 1, out=torch.empty_like(x)), shape(3))


def test_tensors_the_model_keeps_unregistered_are_buffers() -> None:
    kept = torch.tensor([1.0, 2.0, 3.0])
    recording, _ = record(lambda x: x + kept, torch.zeros(3))
    assert [(value.kind, value.name) for value in recording.values[:2]] == [
        ("input", "x0"),
        ("buffer", "constant.1"),
    ]


def test_a_product_without_a_count_is_refused() -> None:
    whole = shape(32, 32, dtype=torch.int8)
    with pytest.raises(
        UserError, match=r"aten\._int_mm multiplies matrices and has no exact count, in the model"
    ):
        record(torch._int_mm, whole, whole)


CONVOLUTIONS = [
    lambda x, w, v: functional.conv1d(x, w, stride=2, padding=1),
    lambda x, w, v: functional.conv1d(x, w[:, :2], groups=2, dilation=2),
    lambda x, w, v: functional.conv_transpose1d(x, v, stride=3, padding=1),
]
PRODUCTS = [
    lambda x, y, z: x @ y,
    lambda x, y, z: functional.linear(x, y.t(), z),
    lambda x, y, z: torch.addmm(z, x, y),
    lambda x, y, z: torch.einsum("ij,jk->k", x, y),
    lambda x, y, z: x[0] @ y[:, 0],
    lambda x, y, z: x @ y[:, 0],
    lambda x, y, z: torch.baddbmm(z.expand(2, 3, 4), torch.stack([x, x]), torch.stack([y, y])),
    lambda x, y, z: torch.stack([x, x, x]) @ y,
]


@pytest.mark.parametrize("work", PRODUCTS)
def test_products_are_counted_as_torch_counts_them(work: Any) -> None:
    """Two operations to a multiply-accumulate; products with vectors torch does not count: by hand, 5 and
    3·5."""
    given = (3, 5), (5, 4), (4,)
    recording, result = record(work, *(shape(*sizes) for sizes in given))
    with FlopCounterMode(display=False) as counter:
        work(*(torch.zeros(*sizes) for sizes in given))
    by_hand = {(): 5, (3,): 15}
    expected = by_hand.get(tuple(result.shape)) or counter.get_total_flops() / 2
    assert sum(node.macs for node in recording.nodes) == expected > 0


@pytest.mark.parametrize("work", CONVOLUTIONS)
def test_convolutions_are_counted_as_torch_counts_them(work: Any) -> None:
    given = (2, 4, 9), (6, 4, 3), (4, 6, 3)
    recording, _ = record(work, *(shape(*sizes) for sizes in given))
    with FlopCounterMode(display=False) as counter:
        work(*(torch.zeros(*sizes) for sizes in given))
    assert sum(node.macs for node in recording.nodes) == counter.get_total_flops() / 2 > 0


def test_whatever_torch_counts_is_counted_or_refused() -> None:
    """So no operation that multiplies matrices slips through as free."""
    for operator in flop_registry:
        name = str(operator).split(".")[-1] if "." in str(operator) else str(operator)
        if name in UNCOUNTED or name.endswith("backward"):
            continue
        shapes = (
            [(2, 3, 4), (2, 4, 5), (2, 5, 6)] if name in ("bmm", "_grouped_mm") else [(3, 4), (4, 5), (5, 6)]
        )
        assert aten_macs(name, shapes, [], [(3, 5)]) > 0, name


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.bmm, "matmul"),
        (Tensor.__matmul__, "matmul"),
        (Tensor.add_, "add"),
        (Tensor.__iadd__, "add"),
        (Tensor.__radd__, "add"),
        (Tensor.__rsub__, "rsub"),
        (Tensor.__rtruediv__, "rtruediv"),
        (Tensor.__truediv__, "div"),
        (Tensor.masked_fill_, "masked_fill"),
        (Tensor.__setitem__, "setitem"),
        (Tensor.mT.__get__, "mT"),
        (functional.layer_norm, "layer_norm"),
        (torch.ops.aten.mul, "aten.mul"),
        (torch.ops.aten.mul.Scalar, "aten.mul"),
    ],
)
def test_one_thing_has_one_name(function: Any, name: str) -> None:
    assert function_name(function) == name


def test_nodes_count_their_own_products() -> None:
    recording, _ = record(lambda x: (x @ x).neg(), shape(3, 3))
    assert [node.macs for node in recording.nodes] == [27, 0]
    assert all(isinstance(node, GraphNode) for node in recording.nodes)
