"""The batched solver of the wires against dense and sparse solutions; the kernel against torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ohmformer.devices import DeviceError, nodal_conductance, wire_solver
from ohmformer.devices.wire_solver import _native_walk, _torch_walk, effective_conductance


def dense_solution(cells: Tensor, wire: float) -> Tensor:
    """Kirchhoff's current law at every node, written down segment by segment, solved as a dense matrix."""
    rows, columns = cells.shape
    size = 2 * rows * columns
    matrix, driven = torch.zeros(size, size).double(), torch.zeros(size, rows).double()
    y = 1 / wire

    def join(first: int, second: int | None, conductance: float) -> None:
        matrix[first, first] += conductance
        if second is not None:
            matrix[second, second] += conductance
            matrix[first, second] -= conductance
            matrix[second, first] -= conductance

    for k in range(rows):
        for b in range(columns):
            u, v = k * columns + b, rows * columns + k * columns + b
            join(u, u - 1 if b else None, y)  # the first one ends at the driver
            join(v, v + columns if k < rows - 1 else None, y)  # the last one at the sense node
            join(u, v, float(cells[k, b]))
        driven[k * columns, k] = y
    volts = torch.linalg.solve(matrix, driven)
    return y * volts[-columns:].T


def tiles(count: int, rows: int, columns: int, unit: float, seed: int, share: float = 0.5) -> Tensor:
    """Random switches, weights 1 and 2 in turn, conductances 10 % apart."""
    generator = torch.Generator().manual_seed(seed)
    closed = torch.rand(count, rows, columns, generator=generator) < share
    spread = 1 + 0.1 * torch.randn(count, rows, columns, generator=generator, dtype=torch.float64).clamp(
        -3, 3
    )
    return closed * spread * torch.tensor([1.0, 2.0]).repeat(rows)[:rows, None] / unit


def worst(found: Tensor, expected: Tensor) -> float:
    """Largest error of an entry over the largest entry, of any tile."""
    return float(((found - expected).abs().amax((-1, -2)) / expected.amax((-1, -2))).max())


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    wire=st.floats(1e-3, 1e4),
    share=st.sampled_from([0.2, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_exact_form_is_the_dense_solution(
    rows: int, columns: int, wire: float, share: float, seed: int
) -> None:
    """From almost no wire resistance to a tenth of a cell's; 1e-9 is promised, rounding leaves 1e-13."""
    cells = tiles(2, rows, columns, 1e5, seed, share)
    cells[:, 0, 0] = 1e-5
    expected = torch.stack([dense_solution(tile, wire) for tile in cells])
    assert worst(effective_conductance(cells, wire), expected) < 1e-11


@pytest.mark.parametrize(("rows", "columns"), [(96, 64), (64, 96)])
@pytest.mark.parametrize(("wire", "unit"), [(0.5, 1e6), (5.0, 1e5)])
def test_the_exact_form_is_the_sparse_solution_either_way_round(
    rows: int, columns: int, wire: float, unit: float
) -> None:
    cells = tiles(3, rows, columns, unit, 1)
    expected = torch.stack([nodal_conductance(tile, wire) for tile in cells])
    assert worst(effective_conductance(cells, wire), expected) < 1e-11


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (40, 17), (33, 32), (32, 8)])
@pytest.mark.parametrize("wire", [0.1, 50.0])
def test_the_kernel_and_torch_walk_alike(rows: int, columns: int, wire: float) -> None:
    """Bitlines that fill whole blocks of starting vectors, and that do not; both round, 1e-15 is seen."""
    scaled = tiles(3, rows, columns, 1e5, 11) * wire
    scaled[:, 0, 0] = 1e-5 * wire
    native, grown = _native_walk(scaled)
    by_torch, same = _torch_walk(scaled)
    assert worst(native, by_torch) < 1e-12
    torch.testing.assert_close(grown, same, rtol=1e-12, atol=0)


def test_without_the_kernel_torch_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More tiles than torch takes at once."""
    cells = tiles(19, 6, 4, 1e5, 12)
    expected = effective_conductance(cells, 10.0)
    monkeypatch.setattr(wire_solver, "_walk", None)
    found = effective_conductance(cells, 10.0)
    assert worst(found, expected) < 1e-12


def test_threads_share_the_tiles() -> None:
    cells = tiles(7, 20, 12, 1e5, 13)
    expected = effective_conductance(cells, 10.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert effective_conductance(cells, 10.0).equal(expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_worst_realistic_wires_at_full_size(share: float) -> None:
    """5 ohm, 100 kohm, 128 x 128, from few switches to every switch closed: a hundred times below 1e-9."""
    cells = tiles(1, 128, 128, 1e5, 14, share)[0]
    expected = nodal_conductance(cells, 5.0)
    largest = max(float(expected.max()), 1e-5)
    assert float((effective_conductance(cells, 5.0) - expected).abs().max()) < 1e-11 * largest


def test_a_batch_of_any_shape_is_its_tiles_one_by_one() -> None:
    cells = tiles(6, 12, 8, 1e5, 6).view(2, 3, 12, 8)
    found = effective_conductance(cells, 3.0)
    assert found.shape == cells.shape
    for place in range(6):
        alone = effective_conductance(cells.view(6, 12, 8)[place], 3.0)
        assert alone.shape == (12, 8)
        assert worst(found.view(6, 12, 8)[place], alone) < 1e-14


def test_wires_as_resistive_as_cells_go_to_the_sparse_solver() -> None:
    """Voltages grow by a factor of about 2.6 a wordline: 64 of them are 1e26."""
    cells = tiles(2, 64, 4, 1e3, 7)
    found = effective_conductance(cells, 1e3)
    expected = torch.stack([nodal_conductance(tile, 1e3) for tile in cells])
    assert found.equal(expected)


def test_a_negative_cell_of_a_large_mismatch_is_solved_as_any_other() -> None:
    cells = tiles(1, 8, 6, 1e5, 10)[0]
    cells[3, 2] = -2e-6
    assert worst(effective_conductance(cells, 20.0), dense_solution(cells, 20.0)) < 1e-11


def test_without_wires_the_cells_themselves() -> None:
    cells = tiles(1, 3, 4, 1e5, 8)
    found = effective_conductance(cells.float(), 0.0)
    assert found.dtype == torch.float64
    assert found.equal(cells.float().double())


def test_an_unconnected_line_carries_nothing() -> None:
    cells = tiles(1, 5, 4, 1e5, 9)[0]
    cells[2], cells[:, 1] = 0.0, 0.0
    found = effective_conductance(cells, 10.0)
    assert float(found[2].abs().max()) < 1e-18
    assert float(found[:, 1].abs().max()) < 1e-18
    assert float(found.max()) > 1e-6


@pytest.mark.parametrize(
    ("cells", "wire", "sentence"),
    [
        (torch.ones(3), 1.0, "matrices are needed"),
        (torch.ones(0, 3), 1.0, "matrices are needed"),
        (torch.ones(2, 2), -1.0, "wire_resistance_ohm is -1"),
        (torch.ones(2, 2), float("inf"), "wire_resistance_ohm is inf"),
        (torch.full((2, 2), float("nan")), 1.0, "not finite"),
    ],
)
def test_what_is_no_network_is_refused(cells: Tensor, wire: float, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence):
        effective_conductance(cells, wire)
