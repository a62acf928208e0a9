"""Stored words, shares of experts, and an account that refuses what does not add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmformer import chips
from ohmformer.compiler import ModelGraph, account, lower, trace
from ohmformer.compiler.experts import distinct_experts
from ohmformer.compiler.lower import lower_with_spans
from ohmformer.compiler.lower_experts import costed_experts
from ohmformer.compiler.lower_stored import for_chip
from ohmformer.costs import compare, estimate
from ohmformer.deploy import deploy
from ohmformer.errors import UserError
from ohmformer.ir import ProgramError
from ohmformer.specs import ChipSpec, override

from ..deploy.conftest import FAMILIES

CHIP = chips.wang2024()


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("gpt2", CHIP),
        ("mixtral", chips.wang2024_4bit_cells()),
        ("gpt_oss", override(CHIP, {"dense.secded_data_bits": 64})),
        ("vit", override(CHIP, {"precision.weight_bits": 5, "precision.vector_bits": 11})),
    ],
)
def test_stored_words_are_those_of_the_deployed_model(name: str, chip: ChipSpec) -> None:
    """Matrices, kernels and stacks of experts as operands, all else as vectors, check cells included."""
    program = lower(trace(FAMILIES[name].make_config(), tokens=4), chip)
    assert program.stored_words == deploy(FAMILIES[name].make(), chip, check=False).on_chip.stored_words


@given(experts=st.integers(1, 300), chosen=st.integers(1, 16), tokens=st.integers(1, 5000))
def test_rows_of_experts_add_up_and_are_even(experts: int, chosen: int, tokens: int) -> None:
    """Every row has one expert; shares differ by 1 at most; experts used are the average to the nearest."""
    chosen = min(chosen, experts)
    parts = costed_experts(tokens * chosen, experts, tokens)
    assert sum(parts) == tokens * chosen
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 1
    assert abs(len(parts) - distinct_experts(experts, chosen, tokens)) <= 0.5
    if tokens == 1:
        assert len(parts) == chosen


@pytest.fixture(scope="module")
def graph() -> ModelGraph:
    return trace(FAMILIES["llama"].make_config(), batch=2, tokens=4)


def test_a_program_of_another_graph_is_not_accounted_for(graph: ModelGraph) -> None:
    program = lower(graph, CHIP)
    with pytest.raises(ProgramError, match="is not what"):
        account(graph, replace(program, subops=program.subops[:-1]), CHIP)
    with pytest.raises(ProgramError, match="is not what"):
        account(graph, lower(trace(FAMILIES["llama"].make_config(), batch=2, tokens=5), CHIP), CHIP)


def test_a_multiply_accumulate_too_many_is_noticed(graph: ModelGraph) -> None:
    """The same graph whose tracer counted one more in a linear layer, in a norm, or before the data."""
    for function in ("linear", "rsqrt", "cos"):
        place = next(at for at, node in enumerate(graph.nodes) if node.function == function)
        node = graph.nodes[place]
        call = replace(node.aten[-1], macs=node.aten[-1].macs + 1)
        changed = replace(node, aten=(*node.aten[:-1], call))
        other = replace(graph, nodes=(*graph.nodes[:place], changed, *graph.nodes[place + 1 :]))
        if function == "cos":  # a table: counted, apart
            assert account(other, lower(other, CHIP), CHIP).before_the_data == 1
            continue
        with pytest.raises(ProgramError, match=f"The operation {function} in .* multiply-accumulates"):
            account(other, lower(other, CHIP), CHIP)


def test_an_unknown_operation_is_refused_with_its_module_and_line(graph: ModelGraph) -> None:
    place = next(at for at, node in enumerate(graph.nodes) if node.function == "silu")
    changed = replace(graph.nodes[place], function="mystery")
    other = replace(graph, nodes=(*graph.nodes[:place], changed, *graph.nodes[place + 1 :]))
    with pytest.raises(UserError) as caught:
        lower(other, CHIP)
    assert str(caught.value).startswith(
        "The operation mystery in model.layers.0.mlp.act_fn (SiLUActivation, activations.py:"
    )
    assert "has no lowering" in str(caught.value)


def test_every_node_has_its_sub_operations(graph: ModelGraph) -> None:
    """Spans follow one another without a gap; the nodes of an RMS norm share theirs."""

    program, spans = lower_with_spans(graph, CHIP)
    assert len(spans) == len(graph.nodes)
    ends = 0
    for at, (start, stop) in enumerate(spans):
        shared = at > 0 and spans[at - 1] == (start, stop)
        assert stop > start
        assert shared or start == ends
        assert not shared or "Norm" in graph.nodes[at].module_type
        ends = stop
    assert ends == len(program.subops)


@pytest.mark.parametrize("family", ["bert", "gpt2", "mixtral", "gemma"])
def test_words_of_another_chip_are_those_of_lowering_for_it(family: str) -> None:
    graph = trace(FAMILIES[family].make().config, tokens=9)
    here = CHIP
    program = lower(graph, here)
    for changes in (
        {"dense.cell.bits": 1},
        {"dense.cell.bits": 4, "dense.adc_bits": 4},
        {"precision.weight_bits": 5},
        {"precision.vector_bits": 12},
        {"dense.secded_data_bits": 64},
    ):
        there = override(here, changes)
        assert for_chip(program, there) == lower(graph, there)
        assert for_chip(program, there) is for_chip(program, there)
        assert for_chip(program, there) != program
    assert for_chip(program, override(here, {"tile_count": 7})) is program


def test_a_cost_is_that_of_the_program_lowered_for_the_chip() -> None:
    config = FAMILIES["bert"].make().config
    there = chips.wang2024_1bit_cells()
    asked, lowered = (lower(trace(config, tokens=9), chip) for chip in (CHIP, there))
    assert asked.stored_words != lowered.stored_words
    assert estimate(asked, there) == estimate(lowered, there)
    assert compare(asked, there) == compare(lowered, there)
