"""Programmed cells: keyed by seed and name, kept by their law, saved, read at other times, SECDED words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ohmformer.devices import confusion_matrix, level_conductances, read_error_probabilities
from ohmformer.engine import programming
from ohmformer.engine.cells import StoredCells
from ohmformer.engine.programming import (
    CEILINGS,
    FLOORS,
    NEGLIGIBLE,
    CellLayout,
    SymbolsToStore,
    class_edges,
    draw_places,
    places_of,
)
from ohmformer.engine.reads import plan_reads
from ohmformer.errors import UserError
from ohmformer.numerals import from_symbols, to_bits
from ohmformer.numerals.secded import correct, encode
from ohmformer.specs import DenseSpec, preset


def dense_with(
    bits: int = 2, code: str = "offset_binary", gray: bool = False, secded: int = 0, **noise: float
) -> DenseSpec:
    dense = preset("wang2024").dense
    cell = replace(dense.cell, bits=bits, noise=replace(dense.cell.noise, **noise))
    return replace(
        dense,
        adc_bits=4,
        cell=cell,
        weight_code=code,
        gray=gray,
        secded_data_bits=secded,  # type: ignore[arg-type]
    )


def every_symbol(bits: int, count: int) -> Tensor:
    return (torch.arange(1 << bits).repeat_interleave(count) - (1 << (bits - 1))).to(torch.int8)


def chances_of(stored: StoredCells) -> Tensor:
    kept = stored.marginal
    chances = read_error_probabilities(kept.conductance_S.double(), stored.cell)
    return chances.scatter(-1, kept.symbols.long().unsqueeze(-1), 0.0).sum(-1)


STATES = {
    "published": {},
    "5x": {"telegraph_scale": 5.0},
    "20x": {"telegraph_scale": 20.0},
    "stuck": {"stuck_low_rate": 0.2, "stuck_high_rate": 0.3},
    "drifted": {"drift_exponent": 0.05, "drift_time_ratio": 1e6},
    "exact writes": {"programming_noise": 0.0, "telegraph_scale": 9.0},
    "wide writes": {"programming_noise": 0.12},
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("bits", [1, 2])
def test_kept_cells_carry_the_whole_misread_probability(name, bits):
    """Σ over kept cells of their own chance against n·(1 − C[v, v]): rare errors need no luck to be seen.

    se² = n·Var(chance of a cell) <= Σ chance², estimated from the kept cells. Where fewer than ten cells
    matter the sum has no Gaussian law; then it is not above 1 / (3e-5) times its mean (Markov).
    """
    dense, n = dense_with(bits, **STATES[name]), 80_000
    wanted = 1 - confusion_matrix(dense.cell).diagonal()
    stored = StoredCells(every_symbol(bits, n), bits, dense, 3, "w")
    chances, symbols, kept = chances_of(stored), stored.marginal.symbols, stored.marginal
    for symbol in range(1 << bits):
        own = chances[symbols == symbol]
        total, mean = float(own.sum()), n * float(wanted[symbol])
        if float((own > own.max() / 10).sum() if len(own) else 0) >= 10:
            assert abs(total - mean) < 4 * math.sqrt(float(own.square().sum())) + n * NEGLIGIBLE + 1e-9 * mean
        else:
            assert total <= mean / 3.17e-5 + n * NEGLIGIBLE
    # a float32 conductance moves a chance by 1e-3 at most; class 0 is never read
    for index, ceiling in enumerate((NEGLIGIBLE, *CEILINGS)):
        own = chances[kept.bounds[index] : kept.bounds[index + 1]]
        assert not len(own) or float(own.max()) <= ceiling * 1.001
        cells = kept.cells[kept.bounds[index] : kept.bounds[index + 1]]
        assert bool((cells[1:] > cells[:-1]).all())
    assert len(kept.cells.unique()) == len(kept)


@pytest.mark.parametrize("name", STATES)
def test_no_deviation_escapes_its_class(name):
    """Deviations between the points of the grid, too: below an edge the chance is below the class's floor."""
    cell = dense_with(2, **STATES[name]).cell
    edges = class_edges(cell)
    sd = cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)
    deviation = torch.arange(0, 8.9, 0.00317, dtype=torch.float64)
    for symbol, nominal in enumerate(level_conductances(cell).tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            chances = read_error_probabilities((nominal + sign * deviation * sd).clamp_min(0.0), cell)
            chances[:, symbol] = 0
            for index, floor in enumerate(FLOORS):
                inside = chances.sum(-1)[deviation <= edges[symbol, side, index]]
                if len(inside) > 1:  # at the very edge 0 the nominal cell belongs to both sides
                    assert float(inside.max()) <= floor * (1 + 1e-9)


def test_a_chip_is_its_seed_and_its_names(codes):
    """Neither what else is stored nor the type of the numbers matters; seed and name do."""
    dense, values = dense_with(telegraph_scale=4.0), codes(60, 50)
    one = StoredCells(values, 8, dense, 1, "a")
    StoredCells(values, 8, dense, 1, "between")
    same = StoredCells(values.to(torch.int8), 8, dense, 1, "a")
    assert torch.equal(one.marginal.cells, same.marginal.cells)
    assert torch.equal(one.marginal.conductance_S, same.marginal.conductance_S)
    for seed, name in ((2, "a"), (1, "b"), (-1, "a")):
        other = StoredCells(values, 8, dense, seed, name)
        assert not torch.equal(one.marginal.cells, other.marginal.cells)


@pytest.mark.parametrize("noise", [{}, {"programming_noise": 0.0}, {"stuck_low_rate": 0.01}])
@pytest.mark.parametrize("secded", [0, 64])
def test_a_saved_chip_is_the_same_chip(codes, noise, secded):
    dense = dense_with(telegraph_scale=7.0, secded=secded, **noise)
    stored = StoredCells(codes(50, 60), 8, dense, 2**63 + 5, "a")
    again = StoredCells.from_state({k: v.clone() for k, v in stored.state().items()}, dense, "a")
    assert (again.shape, again.bits, again.seed_signed) == ((50, 60), 8, stored.seed_signed)
    assert again.marginal.bounds == stored.marginal.bounds
    ours, theirs = (plan_reads([s], 4, torch.arange(5)).misreads(0) for s in (stored, again))
    assert len(ours) > 0
    assert torch.equal(ours.position, theirs.position)
    assert torch.equal(ours.delta, theirs.delta)


def test_states_that_do_not_fit_are_refused(codes):
    dense = dense_with(telegraph_scale=7.0)
    state = StoredCells(codes(50, 60), 8, dense, 1, "a").state()
    wrong = [
        ({k: v for k, v in state.items() if k != "safe"}, "lack safe"),
        (state | {"symbols": state["symbols"][1:]}, "do not fit"),
        (state | {"layout": torch.tensor([1, 8, 2, 5, 6])}, "do not fit"),
        (state | {"safe": state["safe"] + 5}, "weaker noises"),
    ]
    for broken, message in wrong:
        with pytest.raises(UserError, match=message):
            StoredCells.from_state(broken, dense, "a")
    meta = StoredCells(torch.empty(3, 4, device="meta"), 8, dense, 1, "a")
    assert meta.cells == 48
    assert plan_reads([meta], 1, torch.arange(2)).misreads(0) is None
    with pytest.raises(UserError, match="no state"):
        meta.state()


def test_the_same_chip_at_another_time():
    """Read after drift: the confusion matrix of a drifted cell, from the conductances written before."""
    n, codes = 40_000, every_symbol(2, 40_000)
    fresh = dense_with(telegraph_scale=2.0, drift_exponent=0.05)
    late = dense_with(telegraph_scale=2.0, drift_exponent=0.05, drift_time_ratio=1e4)
    stored = StoredCells(codes, 2, fresh, 1, "a", also=[late])
    aged = stored.at(late)
    assert stored.at(fresh) is stored
    assert torch.equal(aged.marginal.conductance_S.sort().values, stored.marginal.conductance_S.sort().values)
    back = aged.at(fresh)
    assert torch.equal(back.marginal.cells, stored.marginal.cells)
    assert back.marginal.bounds == stored.marginal.bounds
    for one, dense in ((stored, fresh), (aged, late)):
        wanted = 1 - confusion_matrix(dense.cell).diagonal()
        chances, symbols = chances_of(one), one.marginal.symbols
        for symbol in range(4):
            own = chances[symbols == symbol]
            # se as above; se of less than ten telling cells is no Gaussian one
            if float((own > own.max() / 10).sum() if len(own) else 0) >= 10:
                difference = float(own.sum()) - n * float(wanted[symbol])
                assert abs(difference) < 4 * math.sqrt(float(own.square().sum())) + 1e-4
    assert aged.often_count > stored.often_count
    with pytest.raises(UserError, match="weaker noises"):
        StoredCells(codes, 2, fresh, 1, "a").at(late)
    others = (
        replace(late, gray=True),
        dense_with(telegraph_scale=2.0, programming_noise=0.02),
        dense_with(telegraph_scale=2.0, bits=1),
        replace(late, cell=replace(late.cell, g_max_S=2e-4)),
    )
    for other in others:
        with pytest.raises(UserError, match="another write"):
            stored.at(other)
        with pytest.raises(UserError, match="another write"):
            StoredCells(codes, 2, fresh, 1, "a", also=[other])


def read_whole(stored: StoredCells, codes: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Symbols meant, [cell], and as each sample reads them, [sample, cell], ahead of the decoder."""
    plan = plan_reads([stored], 3, torch.arange(samples))
    layout = stored.layout
    meant = torch.cat(
        [part for _, part in SymbolsToStore(codes=codes.flatten(), layout=layout).blocks()]
    ).long()
    read = meant.repeat(samples, 1)
    for part in (plan._rare(stored, 0), plan._often(stored, 0, None)):
        if part is not None:
            read[part.sample, stored.marginal.cells[part.kept].long()] = part.read
    return meant, read


@pytest.mark.parametrize(
    ("bits", "cell_bits", "data_bits", "code", "gray"),
    [
        (8, 2, 64, "offset_binary", False),
        (8, 2, 16, "twos_complement", True),
        (8, 4, 11, "offset_binary", True),
        (7, 2, 64, "twos_complement", False),
        (8, 1, 26, "offset_binary", False),
    ],
)
@pytest.mark.parametrize("scale", [5.0, 8.0])
def test_protected_words_leave_what_the_decoder_leaves(codes, bits, cell_bits, data_bits, code, gray, scale):
    """Parity, number by number, with all bits decoded by ``numerals.secded.correct``, triple errors too."""
    dense = dense_with(cell_bits, code, gray, data_bits, telegraph_scale=scale, stuck_low_rate=0.02)
    values = codes(31, 33, bits=bits).long()
    stored, samples = StoredCells(values, bits, dense, 1, "w"), 4
    layout, n = stored.layout, values.numel()
    meant, read = read_whole(stored, values, samples)
    checks, count = layout.words.check_bits, layout.words.count(n * bits)

    def bits_of(symbols: Tensor) -> tuple[Tensor, Tensor]:
        """Data bits [word, bit] and check bits [word, bit] of all cells' symbols."""
        levels = symbols[: layout.data_cells].view(n, layout.symbols).to(torch.uint8)
        numbers = from_symbols(levels, bits, cell_bits, code, gray).long()  # type: ignore[arg-type]
        if code == "offset_binary":
            numbers = numbers + (1 << (bits - 1))
            data = (numbers.unsqueeze(-1) >> torch.arange(bits) & 1).flatten()
        else:
            data = to_bits(numbers, bits).long().flatten()
        filled = torch.zeros(count * data_bits, dtype=torch.int64)
        filled[: n * bits] = data
        check = symbols[layout.data_cells :].view(count, -1).to(torch.uint8)
        pattern = from_symbols(check, checks, cell_bits, "offset_binary", gray).long() + (1 << (checks - 1))
        return filled.view(count, data_bits), pattern.unsqueeze(-1) >> torch.arange(checks) & 1

    data, check = bits_of(meant)
    assert torch.equal(encode(data).long(), check)
    weights = 2 ** torch.arange(bits)
    if code == "twos_complement":
        weights[-1] = -weights[-1]
    offset = 1 << (bits - 1) if code == "offset_binary" else 0
    found = plan_reads([stored], 3, torch.arange(samples)).misreads(
        0, numbers=lambda position: values.flatten()[position]
    )
    mine = values.flatten().repeat(samples, 1)
    mine[found.sample, found.position] += found.delta
    statuses = []
    for sample in range(samples):
        repaired, status = correct(*bits_of(read[sample]))
        statuses += status.tolist()
        theirs = (repaired.long().flatten()[: n * bits].view(n, bits) * weights).sum(-1) - offset
        assert torch.equal(mine[sample], theirs)
    assert {1, 2} <= set(statuses)  # corrected words and detected ones are among them


def test_protection_repairs_most_wrong_numbers(codes):
    """At a rate of p wrong bits the wrong numbers fall from about 8p to about 8p·71p per number."""
    values = codes(300, 300)
    wrong = {}
    for data_bits in (0, 64):
        stored = StoredCells(values, 8, dense_with(telegraph_scale=4.0, secded=data_bits), 1, "w")
        assert stored.cells == 360_000 + (0 if data_bits == 0 else 300 * 300 // 8 * 4)
        found = plan_reads([stored], 1, torch.arange(32)).misreads(0)
        wrong[data_bits] = 0 if found is None else len(found)
    assert wrong[0] > 500
    assert wrong[64] < wrong[0] / 4


@pytest.mark.parametrize(("total", "chance"), [(6, 0.5), (7, 0.2), (5, 1.0), (6, 0.0301)])
def test_places_are_independent(total, chance):
    """Chi-square over all subsets of the places, each of probability p^k (1 − p)^(n − k)."""
    generator, draws = torch.Generator().manual_seed(1), 5_000
    seen = dict.fromkeys(itertools.product((0, 1), repeat=total), 0)
    for _ in range(draws):
        found = places_of(total, chance, generator)
        marks = torch.zeros(total, dtype=torch.int64)
        marks[found] += 1
        assert len(found.unique()) == len(found)
        seen[tuple(marks.tolist())] += 1
    chi_square, terms = 0.0, 0
    for marks, count in seen.items():
        expected = draws * chance ** sum(marks) * (1 - chance) ** (total - sum(marks))
        if expected > 20:
            chi_square += (count - expected) ** 2 / expected
            terms += 1
        elif expected == 0:
            assert count == 0
    # mean at most the number of terms, variance about twice that plus Σ 1/expected (< 1/20 each)
    assert chi_square < terms + 4 * math.sqrt(2.05 * terms)


def test_a_chance_beyond_all_cells_gives_none():
    assert len(places_of(1 << 30, 1e-19, torch.Generator().manual_seed(1))) == 0


@pytest.mark.parametrize(
    "shares", [(0.01, 0.3, 0.0, 0.001), (0.015, 0.004, 0.01, 0.0), (0.5, 0.9, 1.0, 0.02)]
)
def test_places_are_drawn_by_the_share_of_their_symbol(shares, monkeypatch):
    """Sparse draw, mask, and both at once, in several blocks: counts by symbol within 4 binomial errors."""
    monkeypatch.setattr(programming, "BLOCK", 7001)
    n, dense = 40_000, dense_with()
    layout = CellLayout(shape=(4 * n,), bits=2, cell_bits=2, dense=dense)
    source = SymbolsToStore(codes=every_symbol(2, n), layout=layout)
    share = torch.tensor(shares, dtype=torch.float64)
    places, symbols = draw_places(source, share, torch.Generator().manual_seed(2))
    assert bool((places[1:] > places[:-1]).all())
    assert torch.equal(symbols.long(), places // n)
    for symbol, own in enumerate(shares):
        assert abs(int((symbols == symbol).sum()) - n * own) <= 4 * math.sqrt(n * own * (1 - own))


def test_classes_cover_all_chances():
    assert (NEGLIGIBLE, *CEILINGS[:-1]) == FLOORS
    assert CEILINGS[-1] == 1.0
    assert all(a < b for a, b in itertools.pairwise((NEGLIGIBLE, *CEILINGS)))


def test_symbols_of_small_share_are_not_drawn_too_often(monkeypatch):
    """One level mostly marginal, the others rarely: the rare ones do not pass by a coarse deviate.

    A float32 deviate is 0 once in 2^24; compared with a share of 1e-9 that would keep sixty times too many.
    Here it always is 0.
    """
    layout = CellLayout(shape=(5000,), bits=8, cell_bits=2, dense=dense_with())
    source = SymbolsToStore(codes=torch.ones(5000), layout=layout)  # symbols 1, 0, 0, 2
    share = torch.tensor([1e-9, 0.5, 1e-9, 0.0], dtype=torch.float64)
    original = torch.rand

    def coarse(*shape: object, dtype: torch.dtype = torch.float32, **options: object) -> Tensor:
        drawn = original(*shape, dtype=dtype, **options)  # type: ignore[call-overload]
        return drawn * 0 if dtype == torch.float32 else drawn

    monkeypatch.setattr(torch, "rand", coarse)
    places, symbols = draw_places(source, share, torch.Generator().manual_seed(2))
    # 1e-9 of 20,000 cells: one in fifty thousand runs
    assert torch.equal(places, torch.arange(0, 20_000, 4))
    assert set(symbols.tolist()) == {1}
