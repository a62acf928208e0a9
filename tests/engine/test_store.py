"""Numbers in dense cells: what is kept and drawn follows the physics of every single cell."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from ohmformer.crossbars import DenseCrossbar
from ohmformer.devices import confusion_matrix, level_conductances, read_error_probabilities
from ohmformer.engine import MarginalCells, StoredTensor, store
from ohmformer.engine.store import (
    CEILINGS,
    FLOORS,
    NEGLIGIBLE,
    _class_edges,
    _distinct,
    _symbol_values,
)
from ohmformer.numerals import from_symbols, symbols_per_value
from ohmformer.specs import DenseSpec, preset

FOUR_SIGMA = 3.17e-5  # one-sided probability of 4 standard errors of a normal statistic


@pytest.fixture
def make_dense() -> Callable[..., DenseSpec]:
    """The dense crossbar of the default chip with other cells."""

    def make(bits: int = 2, *, code: str = "offset_binary", gray: bool = False, **noise: float) -> DenseSpec:
        dense = preset("wang2024").dense
        cell = replace(dense.cell, bits=bits, noise=replace(dense.cell.noise, **noise))
        return replace(dense, adc_bits=4, cell=cell, weight_code=code, gray=gray)  # type: ignore[arg-type]

    return make


confusion = functools.cache(confusion_matrix)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every_symbol(bits: int, count: int) -> Tensor:
    """``count`` numbers of each symbol of one cell, in offset binary: number = symbol - 2^(bits-1)."""
    return torch.arange(1 << bits).repeat_interleave(count).float() - (1 << (bits - 1))


def read_codes(stored: StoredTensor, generator: torch.Generator, rows: Tensor | None = None) -> Tensor:
    found = stored.read(generator, rows)
    codes = stored.codes.clone()
    if found is not None:
        codes.view(-1).index_put_((found.positions,), found.deltas, accumulate=True)
    return codes


def misread_chances(stored: StoredTensor) -> Tensor:
    """Probability of a wrong read of each kept cell, from its own conductance, float64."""
    kept = stored.marginal
    assert kept is not None
    chances = read_error_probabilities(kept.conductance_S.double(), stored._cell)
    return chances.scatter(-1, kept.symbols.long().unsqueeze(-1), 0.0).sum(-1)


def assert_binomial(count: int, n: int, chance: float, what: object) -> None:
    """Within 4 standard errors, by the exact binomial tails, which hold for rare events as well."""
    chance = min(1.0, max(0.0, chance))
    assert stats.binom.cdf(count, n, chance) > FOUR_SIGMA, (what, count, n * chance)
    assert stats.binom.sf(count - 1, n, chance) > FOUR_SIGMA, (what, count, n * chance)


CELLS = {
    "published": {},
    "5x": {"telegraph_scale": 5.0},
    "9x": {"telegraph_scale": 9.0},
    "20x": {"telegraph_scale": 20.0},  # whole levels in the last class
    "stuck": {"stuck_low_rate": 0.2, "stuck_high_rate": 0.3},
    "drifted": {"drift_exponent": 0.05, "drift_time_ratio": 1e6},
    "wide writes": {"programming_noise": 0.12},
    "exact writes": {"programming_noise": 0.0, "telegraph_scale": 9.0},
    "only writes": {
        "programming_noise": 0.1,
        "telegraph_scale": 0.0,
        "environment_noise": 0.0,
        "read_noise": 0.0,
    },
    "noisy reads": {"read_noise": 0.06, "environment_noise": 0.03},
    "trap seldom filled": {"telegraph_scale": 9.0, "telegraph_occupancy": 0.03},
}


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("name", CELLS)
def test_what_is_read_has_the_confusion_matrix_of_the_cell(make_dense, bits, name):
    """One read of every cell of two chips: independent cells, so each entry is a binomial count."""
    dense = make_dense(bits, **CELLS[name])
    count = 24_000 if bits < 4 else 8_000
    codes = every_symbol(bits, count)
    wanted = confusion(dense.cell)
    counts = torch.zeros_like(wanted)
    for seed in (1, 2):
        stored = StoredTensor(codes, bits, dense, seeded(seed))
        read = read_codes(stored, seeded(seed + 10)).long() + (1 << (bits - 1))
        pairs = torch.arange(1 << bits).repeat_interleave(count) * (1 << bits) + read
        counts += torch.bincount(pairs, minlength=4**bits).view_as(counts)
    for stored_symbol, symbol in itertools.product(range(1 << bits), repeat=2):
        assert_binomial(
            int(counts[stored_symbol, symbol]),
            2 * count,
            float(wanted[stored_symbol, symbol]),
            (stored_symbol, symbol),
        )


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("name", CELLS)
def test_kept_cells_carry_the_whole_misread_probability(make_dense, bits, name):
    """Σ over kept cells of their own chance against n·(1 − C[v, v]): rare errors need no luck to be seen.

    se² = n·Var(chance of a cell) <= Σ chance², estimated from the kept cells (those left out: 1e-10 each).
    Where fewer than ten cells are expected to matter the sum has no Gaussian law; then no more is asked
    than that it is not above 1 / (3e-5) times its mean (Markov).
    """
    dense = make_dense(bits, **CELLS[name])
    n = 80_000 if bits < 4 else 10_000
    wanted = 1 - confusion(dense.cell).diagonal()
    stored = StoredTensor(every_symbol(bits, n), bits, dense, seeded(3))
    chances, symbols = misread_chances(stored), stored.marginal.symbols
    for symbol in range(1 << bits):
        own = chances[symbols == symbol]
        total, mean = float(own.sum()), n * float(wanted[symbol])
        if float((own > own.max() / 10).sum() if len(own) else 0) >= 10:
            assert abs(total - mean) < 4 * math.sqrt(float(own.square().sum())) + n * NEGLIGIBLE + 1e-9 * mean
        else:
            assert total <= mean / FOUR_SIGMA + n * NEGLIGIBLE


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("name", CELLS)
def test_the_ceiling_of_a_class_bounds_its_cells(make_dense, bits, name):
    """A float32 conductance moves the argument x of Q by x·6e-8·t/sd < 1e-4: a chance by 1e-3 at most."""
    stored = StoredTensor(
        every_symbol(bits, 40_000 >> bits), bits, make_dense(bits, **CELLS[name]), seeded(4)
    )
    kept, chances = stored.marginal, misread_chances(stored)
    assert kept.bounds[0] == 0
    assert kept.bounds[-1] == len(kept) == len(chances)
    for index, ceiling in enumerate(CEILINGS):
        own = chances[kept.bounds[index] : kept.bounds[index + 1]]
        assert not len(own) or float(own.max()) <= ceiling * 1.001
    assert torch.equal(kept.cells.sort().values, kept.cells.unique())  # no cell is kept twice


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("name", CELLS)
def test_no_deviation_escapes_its_class(make_dense, bits, name):
    """Deviations between the points of the grid, too: below an edge the chance is below the class's floor."""
    cell = make_dense(bits, **CELLS[name]).cell
    edges = _class_edges(cell)
    assert bool((edges[..., 1:] >= edges[..., :-1]).all())
    sd = cell.noise.programming_noise * (cell.g_max_S - cell.g_min_S)
    deviation = torch.arange(0, 8.9, 0.00317, dtype=torch.float64)
    for symbol, nominal in enumerate(level_conductances(cell).tolist()):
        for side, sign in enumerate((-1.0, 1.0)):
            conductance = (nominal + sign * deviation * sd).clamp_min(0.0)
            chances = read_error_probabilities(conductance, cell)
            chances[:, symbol] = 0
            wrong = chances.sum(-1)
            for index, floor in enumerate(FLOORS):
                inside = wrong[deviation <= edges[symbol, side, index]]
                # at the very edge 0 the nominal cell belongs to both sides
                if len(inside) > 1:
                    assert float(inside.max()) <= floor * (1 + 1e-9)


def test_classes_cover_all_chances():
    assert (NEGLIGIBLE, *CEILINGS[:-1]) == FLOORS
    assert CEILINGS[-1] == 1.0
    assert all(a < b for a, b in itertools.pairwise((NEGLIGIBLE, *CEILINGS)))


def by_hand(conductance: float, symbol: int, count: int, dense: DenseSpec, bits: int) -> StoredTensor:
    """``count`` one-cell numbers of one symbol, all programmed to the same conductance."""
    cell = dense.cell
    g = torch.full((count,), conductance)
    chances = read_error_probabilities(g[:1].double(), cell)
    chance = float(chances.sum() - chances[0, symbol])
    kind = next(index for index, ceiling in enumerate(CEILINGS) if chance <= ceiling)
    bounds = tuple(0 if index <= kind else count for index in range(len(CEILINGS) + 1))
    marginal = MarginalCells.of(
        torch.arange(count), torch.full((count,), symbol, dtype=torch.uint8), g, bounds, cell
    )
    codes = torch.full((count,), float(symbol - (1 << (bits - 1))))
    return StoredTensor(codes, bits, dense, None, marginal=marginal)


@pytest.mark.parametrize("target", [0.0156, 0.0100, 0.0019, 2e-4])
def test_rare_cells_are_drawn_with_their_exact_chance(make_dense, target):
    """Many reads of many like cells: 4 binomial standard errors.

    Drawing a binomial number of candidates and merging the double ones would be short by half the ceiling,
    0.8 % in the uppermost of these classes, which is 5 standard errors here.
    """
    dense, count, reads = make_dense(2), 100_000, 300
    cell = dense.cell
    low, high = float(level_conductances(cell)[2]), float(level_conductances(cell)[3])
    for _ in range(60):  # the chance grows towards the threshold
        middle = (low + high) / 2
        chances = read_error_probabilities(torch.tensor([middle], dtype=torch.float64), cell)[0]
        low, high = (middle, high) if float(1 - chances[2]) < target else (low, middle)
    stored = by_hand(low, 2, count, dense, 2)
    exact = read_error_probabilities(stored.marginal.conductance_S[:1].double(), cell)[0]
    assert stored.marginal.bounds[-2] == count  # none of them is in the last class
    generator = seeded(5)
    wrong, per_cell = 0, torch.zeros(count)
    for _ in range(reads):
        found = stored.read(generator)
        if found is not None:
            wrong += len(found.positions)
            per_cell[found.positions] += 1
    chance = float(1 - exact[2])
    assert_binomial(wrong, count * reads, chance, target)
    # cells are alike and independent: the counts have the variance of a binomial (se √(2/n) of it,
    # and the excess 1/mean of a small mean)
    variance = reads * chance * (1 - chance)
    assert abs(float(per_cell.var()) / variance - 1) < 4 * math.sqrt((2 + 1 / variance) / count)


def test_a_weak_cell_is_wrong_again_and_again_with_its_own_chance(make_dense):
    """Counts of each cell over many reads: z = (k − Rp)/sd has Σz² near the number of cells.

    se of Σz² is √(2n) plus the excess of a binomial, Σ 1/(Rp(1−p)) at most.
    """
    dense, reads = make_dense(2, telegraph_scale=6.0), 1500
    stored = StoredTensor(every_symbol(2, 2000), 2, dense, seeded(6))
    chances, cells = misread_chances(stored), stored.marginal.cells
    counts = torch.zeros(len(stored.codes), dtype=torch.float64)
    generator = seeded(7)
    for _ in range(reads):
        found = stored.read(generator)
        if found is not None:
            counts[found.positions] += 1
    variance = reads * chances * (1 - chances)
    telling = variance > 5
    assert int(telling.sum()) > 200
    z = (counts[cells][telling] - reads * chances[telling]) / variance[telling].sqrt()
    excess = float((1 / variance[telling]).sum())
    assert abs(float(z.square().sum()) - len(z)) < 4 * math.sqrt(2 * len(z) + excess)
    assert float(z.abs().max()) < 5.5  # of some thousand cells: 4e-8 each
    # cells differ in themselves: a common chance would leave counts of binomial variance
    assert float(counts[cells][telling].var()) > 10 * float(variance[telling].mean())
    never = torch.ones(len(counts), dtype=torch.bool)
    never[cells] = False
    assert float(counts[never].sum()) == 0
    # another chip has other weak cells
    other = StoredTensor(stored.codes, 2, dense, seeded(8))
    assert not torch.equal(other.marginal.cells, cells)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize(("bits", "cell_bits"), [(8, 2), (8, 1), (8, 4), (8, 3), (5, 2), (4, 4), (7, 4)])
def test_wrong_numbers_come_as_often_as_on_the_reference_crossbar(make_dense, bits, cell_bits, code, gray):
    """The dense reference programs and reads every cell; both are samples of the same law.

    Two binomial counts of n numbers: 4 standard errors of their difference. Deltas: their mean and mean
    square likewise, with standard errors from the sample.
    """
    dense = make_dense(cell_bits, code=code, gray=gray, telegraph_scale=12.0, stuck_high_rate=0.01)
    n = 40_000
    largest = 2 ** (bits - 1) - 1
    codes = torch.randint(-largest, largest + 1, (200, n // 200), generator=seeded(9)).float()
    stored = StoredTensor(codes, bits, dense, seeded(10))
    mine = read_codes(stored, seeded(11)) - codes
    crossbar = DenseCrossbar.program(codes.long(), dense, bits, seeded(12))
    theirs = crossbar.read(seeded(13)).float() - codes
    assert crossbar.cells == stored.cells
    for statistic in (lambda d: (d != 0).double(), lambda d: d.double(), lambda d: d.double().square()):
        a, b = statistic(mine).flatten(), statistic(theirs).flatten()
        assert float(a.var()) > 0
        assert abs(float(a.mean() - b.mean())) < 4 * math.sqrt(float(a.var() + b.var()) / n)
    assert float((mine + codes).abs().max()) <= 2 ** (bits - 1)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize("cell_bits", [1, 2, 3, 4])
def test_symbols_add_up_to_numbers(cell_bits, code, gray):
    """What a wrong symbol changes does not depend on the others, whatever is read."""
    for bits in (2, 3, 5, 8, 11, 16):
        count = symbols_per_value(bits, cell_bits)
        value = _symbol_values(bits, cell_bits, code, gray)
        before, after = (
            torch.randint(1 << cell_bits, (300, count), generator=seeded(seed), dtype=torch.uint8)
            for seed in (1, 2)
        )
        places = torch.arange(count).expand(300, -1)
        change = (value[places, after.long()] - value[places, before.long()]).sum(-1)
        numbers = [from_symbols(s, bits, cell_bits, code, gray).double() for s in (before, after)]
        assert torch.equal(change, numbers[1] - numbers[0])


QUIET = {"programming_noise": 0.0, "telegraph_scale": 0.0, "environment_noise": 0.0, "read_noise": 0.0}


def test_without_noise_nothing_is_kept_and_nothing_drawn(make_dense, codes):
    stored = StoredTensor(codes(30, 40), 8, make_dense(**QUIET), seeded(1))
    assert len(stored.marginal) == 0
    generator = seeded(2)
    before = generator.get_state()
    assert stored.read(generator) is None
    assert torch.equal(generator.get_state(), before)


def test_a_read_without_misread_is_none(make_dense):
    """A kept cell of chance 1e-9: about one wrong read in a thousand million."""
    dense = make_dense(2)
    stored = StoredTensor(every_symbol(2, 2000), 2, dense, seeded(1))
    assert len(stored.marginal) > 0
    assert float(misread_chances(stored).sum()) < 1e-4
    assert stored.read(seeded(2)) is None


def test_stuck_cells_alone(make_dense):
    """Without any other noise exactly the stuck cells away from their own level are wrong, at every read."""
    dense = make_dense(2, **QUIET, stuck_low_rate=0.3, stuck_high_rate=0.3)
    n = 20_000
    stored = StoredTensor(every_symbol(2, n), 2, dense, seeded(1))
    first, second = (read_codes(stored, seeded(seed)) + 2 for seed in (2, 3))
    assert torch.equal(first, second)
    for symbol, read in enumerate(first.view(4, n)):
        moved = {level: int((read == level).sum()) for level in range(4) if level != symbol}
        for level, rate in ((0, 0.3), (1, 0.0), (2, 0.0), (3, 0.3)):
            if level != symbol:
                assert_binomial(moved[level], n, rate, (symbol, level))


def test_vectors_lie_in_cells_of_their_own_width(make_dense, codes):
    """16-bit numbers in two-level cells of a 2-bit chip: the law is that of 1-bit cells."""
    dense = make_dense(2, telegraph_scale=15.0, telegraph_at_g_min=0.9, read_noise=0.12)
    values = codes(100, 60, bits=16)
    stored = StoredTensor(values, 16, dense, seeded(1), cell_bits=1)
    assert stored.symbols == 16
    assert stored.cells == 100 * 60 * 16
    reference = DenseCrossbar.program(
        values.long(), replace(dense, cell=replace(dense.cell, bits=1)), 16, seeded(2)
    )
    mine = float((read_codes(stored, seeded(3)) != values).double().mean())
    theirs = float((reference.read(seeded(4)) != values).double().mean())
    assert 0.01 < theirs < 0.99
    assert abs(mine - theirs) < 4 * math.sqrt((mine * (1 - mine) + theirs * (1 - theirs)) / 6000)


def test_reads_follow_the_generator_and_nothing_else(make_dense, codes):
    dense = make_dense(2, telegraph_scale=7.0)
    values = codes(50, 60)
    one, same = (StoredTensor(values.clone(), 8, dense, seeded(1)) for _ in range(2))
    assert torch.equal(read_codes(one, seeded(2)), read_codes(same, seeded(2)))
    assert not torch.equal(read_codes(one, seeded(2)), read_codes(one, seeded(3)))
    assert torch.equal(one.codes, values)


def test_a_restored_chip_reads_the_same(make_dense, codes):
    """The kept cells without their derived states are enough to go on with the very same chip."""
    dense = make_dense(
        2, telegraph_scale=7.0, drift_exponent=0.05, drift_time_ratio=100.0, stuck_low_rate=0.01
    )
    values = codes(50, 60)
    stored = StoredTensor(values, 8, dense, seeded(1))
    kept = stored.marginal
    again = MarginalCells.of(
        kept.cells.clone(), kept.symbols.clone(), kept.conductance_S.clone(), kept.bounds, dense.cell
    )
    restored = StoredTensor(values.clone(), 8, dense, None, marginal=again)
    ours, theirs = seeded(2), seeded(2)
    for _ in range(5):
        assert torch.equal(read_codes(stored, ours), read_codes(restored, theirs))
    with pytest.raises(ValueError, match="needs a generator"):
        StoredTensor(values, 8, dense, None)


def test_blocks_change_no_law(make_dense, monkeypatch):
    """Small blocks give other draws of the same confusion matrix."""
    monkeypatch.setattr(store, "BLOCK", 1000)
    dense = make_dense(2, telegraph_scale=9.0, stuck_low_rate=0.02)
    n = 8000
    stored = StoredTensor(every_symbol(2, n), 2, dense, seeded(1))
    read = (read_codes(stored, seeded(2)) + 2).view(4, n)
    wanted = confusion(dense.cell)
    for symbol, level in itertools.product(range(4), repeat=2):
        count = int((read[symbol] == level).sum())
        assert_binomial(count, n, float(wanted[symbol, level]), (symbol, level))


@pytest.mark.parametrize("scale", [3.0, 9.0])
def test_reading_some_rows_leaves_the_others(make_dense, codes, scale):
    """Rows asked for have the law of a whole read; the rest is never wrong."""
    dense = make_dense(2, telegraph_scale=scale, programming_noise=0.05)
    values = codes(400, 50)
    stored = StoredTensor(values, 8, dense, seeded(1))
    rows = torch.zeros(400, dtype=torch.bool)
    rows[::3] = True
    some, every = seeded(2), seeded(3)
    wrong_some = wrong_every = 0
    for _ in range(40):
        found = read_codes(stored, some, rows) != values
        assert not bool(found[~rows].any())
        wrong_some += int(found[rows].sum())
        wrong_every += int((read_codes(stored, every) != values)[rows].sum())
    assert wrong_every > 100
    # two Poisson-like counts over the same cells: variance at most their sum
    assert abs(wrong_some - wrong_every) < 4 * math.sqrt(wrong_some + wrong_every)


def test_symbols_of_small_share_are_not_drawn_too_often(make_dense, monkeypatch):
    """One level mostly marginal, the others rarely: the rare ones do not pass by a coarse deviate.

    A float32 deviate is 0 once in 2^24; compared with a share of 1e-9 that would keep sixty times too many.
    Here it always is 0.
    """
    stored = StoredTensor(torch.ones(5000), 8, make_dense(2), seeded(1))  # symbols 1, 0, 0, 2
    share = torch.tensor([1e-9, 0.5, 1e-9, 0.0], dtype=torch.float64)
    original = torch.rand

    def coarse(*shape: object, dtype: torch.dtype = torch.float32, **options: object) -> Tensor:
        drawn = original(*shape, dtype=dtype, **options)  # type: ignore[call-overload]
        return drawn * 0 if dtype == torch.float32 else drawn

    monkeypatch.setattr(torch, "rand", coarse)
    places, symbols = stored._draw_places(share, seeded(2))
    # 1e-9 of 20,000 cells: one in fifty thousand runs
    assert torch.equal(places, torch.arange(0, 20_000, 4))
    assert set(symbols.tolist()) == {1}


@pytest.mark.parametrize(
    "shares", [(0.01, 0.3, 0.0, 0.001), (0.015, 0.004, 0.01, 0.0), (0.5, 0.9, 1.0, 0.02)]
)
def test_places_are_drawn_by_the_share_of_their_symbol(make_dense, shares):
    """Sparse draw, mask, and both at once: binomial counts by symbol, and no place twice."""
    n = 40_000
    stored = StoredTensor(every_symbol(2, n), 2, make_dense(2), seeded(1))
    places, symbols = stored._draw_places(torch.tensor(shares, dtype=torch.float64), seeded(2))
    assert len(places.unique()) == len(places)
    assert torch.equal(symbols.long(), places // n)
    for symbol, share in enumerate(shares):
        assert_binomial(int((symbols == symbol).sum()), n, share, symbol)


@pytest.mark.parametrize(("total", "count"), [(8, 2), (6, 1), (6, 3), (5, 5), (4, 0), (9, 2)])
def test_distinct_places_are_every_set_alike(total, count):
    """Chi-square over all subsets: mean k − 1, variance 2(k − 1) (plus O(1/expected))."""
    sets = dict.fromkeys(itertools.combinations(range(total), count), 0)
    draws, generator = 100 * len(sets), seeded(1)
    for _ in range(draws):
        found = _distinct(total, count, generator).tolist()
        assert found == sorted(set(found))
        sets[tuple(found)] += 1
    freedom = len(sets) - 1
    chi_square = sum((seen - 100) ** 2 / 100 for seen in sets.values())
    assert abs(chi_square - freedom) <= 4 * math.sqrt(2 * freedom)


def test_distinct_places_of_many_are_distinct():
    for total, count in ((100_000, 24_999), (100_000, 25_001), (3, 3), (1, 1)):
        found = _distinct(total, count, seeded(1))
        assert len(found.unique()) == len(found) == count
        assert 0 <= int(found.min()) <= int(found.max()) < total
