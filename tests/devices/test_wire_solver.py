"""The batched solver of the wires: exact against dense and sparse solutions, fast within its own estimate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ohmformer.devices import DeviceError, nodal_conductance
from ohmformer.devices.wire_solver import effective_conductance, stretch_for, walk_error


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


def patterns(size: int) -> Tensor:
    """Closed switches that lie unluckily for stretches: at one end of each, in stripes, in one half."""
    k, b = torch.arange(size)[:, None], torch.arange(size)[None]
    one = torch.ones(1, size, dtype=torch.bool)
    shapes = [
        ((k % n < n // 2) if early else (k % n >= n // 2)) & one for n in (4, 8, 16, 32) for early in (0, 1)
    ]
    shapes += [((k // n + b // n) % 2 == 0) for n in (4, 8, 16)]
    shapes += [(k % n == n - 1) & one for n in (4, 8, 16)]
    shapes += [(k < size // 2) & one, (k >= size // 2) & one, one.expand(size, -1)]
    shapes += [b.expand(size, -1) % 16 < 8]
    return torch.stack(shapes).double() * torch.tensor([1.0, 2.0]).repeat(size // 2)[:, None]


@pytest.mark.parametrize("stretch_of", [1e-5, 1e-4, 3e-4, 1e-3])
@pytest.mark.parametrize(("wire", "unit"), [(0.5, 1e6), (5.0, 1e6), (1.0, 1e5), (5.0, 1e5)])
def test_the_fast_form_keeps_its_tolerance_and_its_own_estimate(
    wire: float, unit: float, stretch_of: float
) -> None:
    """Entries and the currents of bitlines, all wordlines driven alike, of random and of unlucky switches.

    2e-6 besides for single precision, used from 1e-4 on: 24 bits, 128 / n steps of rounding 6e-8 each.
    """
    cells = torch.cat([tiles(2, 64, 64, unit, 2), tiles(2, 64, 64, unit, 3, 0.1), patterns(64) / unit])
    expected = effective_conductance(cells, wire)
    found = effective_conductance(cells, wire, tolerance=stretch_of)
    scaled = cells * wire
    estimate = walk_error(scaled, stretch_for(scaled, stretch_of))
    single = 2e-6 if stretch_of >= 1e-4 else 1e-12
    assert float(estimate.max()) <= stretch_of
    error = (found - expected).abs().amax((1, 2)) / expected.amax((1, 2))
    assert bool((error <= estimate + single).all()), (error / estimate).max()
    sums, right = found.sum(1), expected.sum(1)
    of_bitline = (sums - right).abs().amax(1) / right.amax(1)
    assert bool((of_bitline <= stretch_of + single).all())
    if stretch_of == 1e-3:
        assert int(stretch_for(scaled, stretch_of).min()) > 1
        assert float(error.max()) > 1e-7  # it is not the exact form under another name


def test_a_tolerance_that_no_stretch_keeps_gives_the_exact_form() -> None:
    cells = torch.cat([tiles(1, 32, 16, 1e5, 4), tiles(1, 32, 16, 1e7, 4)])
    chosen = stretch_for(cells * 50.0, 1e-3)
    assert chosen[0] == 1 < chosen[1]
    found, exact = effective_conductance(cells, 50.0, tolerance=1e-3), effective_conductance(cells, 50.0)
    assert found[0].equal(exact[0])
    assert not found[1].equal(exact[1])


def test_longer_stretches_are_estimated_worse_and_one_wordline_is_exact() -> None:
    scaled = tiles(2, 32, 32, 1e5, 5)
    errors = torch.stack([walk_error(scaled, stretch) for stretch in (1, 2, 4, 8, 16, 32)])
    assert bool((errors.diff(dim=0) > 0).all())
    assert errors[0].tolist() == [0, 0]
    x, load = scaled[0].max(), (scaled[0] * torch.arange(32, 0, -1)[:, None]).sum(0).max()
    by_hand = (1 + load) * x * 4 * 8 / 8 + (load * 4 / 64) ** 2
    assert float(errors[2, 0]) == pytest.approx(float(by_hand), rel=1e-12)


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
    ("cells", "wire", "tolerance", "sentence"),
    [
        (torch.ones(3), 1.0, 0.0, "matrices are needed"),
        (torch.ones(0, 3), 1.0, 0.0, "matrices are needed"),
        (torch.ones(2, 2), -1.0, 0.0, "wire_resistance_ohm is -1"),
        (torch.ones(2, 2), float("inf"), 0.0, "wire_resistance_ohm is inf"),
        (torch.ones(2, 2), 1.0, 1.0, "tolerance is 1"),
        (torch.ones(2, 2), 1.0, -1e-3, "tolerance is -0.001"),
        (torch.full((2, 2), float("nan")), 1.0, 0.0, "not finite"),
    ],
)
def test_what_is_no_network_is_refused(cells: Tensor, wire: float, tolerance: float, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence):
        effective_conductance(cells, wire, tolerance=tolerance)
