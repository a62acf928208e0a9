"""Reads of dense cells: the law of every single cell, and a read of its own for every sample."""

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
from ohmformer.engine import reads
from ohmformer.engine.cells import StoredCells
from ohmformer.engine.native import instruction_sets
from ohmformer.engine.programming import CEILINGS, NEGLIGIBLE, MarginalCells, wrong_reads
from ohmformer.engine.read_law import ACCURACY, read_law
from ohmformer.engine.reads import Misreads, plan_reads
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


def every_symbol(bits: int, count: int) -> Tensor:
    """``count`` numbers of each symbol of one cell, in offset binary: number = symbol - 2^(bits-1)."""
    return (torch.arange(1 << bits).repeat_interleave(count) - (1 << (bits - 1))).to(torch.int8)


def read_codes(
    stored: StoredCells, codes: Tensor, seed: int, samples: int = 1, rows: Tensor | None = None
) -> Tensor:
    """[sample, *shape], int64: what each sample reads."""
    found = plan_reads([stored], seed, torch.arange(samples)).misreads(0, rows)
    read = codes.long().reshape(-1).repeat(samples, 1)
    if found is not None:
        read[found.sample, found.position] += found.delta
    return read.view(samples, *codes.shape)


def misread_chances(stored: StoredCells) -> Tensor:
    """Probability of a wrong read of each kept cell, from its own conductance, float64."""
    kept = stored.marginal
    assert kept is not None
    chances = read_error_probabilities(kept.conductance_S.double(), stored.cell)
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


@pytest.mark.parametrize(
    ("name", "bits"), [*itertools.product(CELLS, (1, 2)), ("published", 4), ("5x", 4), ("stuck", 4)]
)
def test_what_is_read_has_the_confusion_matrix_of_the_cell(make_dense, name, bits):
    """One read of every cell of two chips: independent cells, so each entry is a binomial count."""
    dense = make_dense(bits, **CELLS[name])
    count = 24_000 if bits < 4 else 8_000
    codes = every_symbol(bits, count)
    wanted = confusion(dense.cell)
    counts = torch.zeros_like(wanted)
    for seed in (1, 2):
        stored = StoredCells(codes, bits, dense, seed, "w")
        read = read_codes(stored, codes, seed + 10)[0] + (1 << (bits - 1))
        pairs = torch.arange(1 << bits).repeat_interleave(count) * (1 << bits) + read
        counts += torch.bincount(pairs, minlength=4**bits).view_as(counts)
    for stored_symbol, symbol in itertools.product(range(1 << bits), repeat=2):
        assert_binomial(
            int(counts[stored_symbol, symbol]),
            2 * count,
            float(wanted[stored_symbol, symbol]),
            (stored_symbol, symbol),
        )


def by_hand(conductance: float, symbol: int, count: int, dense: DenseSpec) -> StoredCells:
    """``count`` one-cell numbers of one symbol, all programmed to the same conductance."""
    cell = dense.cell
    chances = read_error_probabilities(torch.tensor([conductance]).double(), cell)
    chance = float(chances.sum() - chances[0, symbol])
    kind = next(index for index, ceiling in enumerate(CEILINGS) if chance <= ceiling) + 1
    marginal = MarginalCells.by_class(
        torch.arange(count, dtype=torch.int32),
        torch.full((count,), symbol, dtype=torch.uint8),
        torch.full((count,), conductance),
        torch.full((count,), kind, dtype=torch.uint8),
        torch.zeros(cell.levels, 2, dtype=torch.float64),
    )
    shape = torch.empty(count, device="meta")
    return StoredCells(shape, cell.bits, dense, 0, "w", marginal=marginal)


@pytest.mark.parametrize(("target", "last"), [(0.05, True), (0.0156, False), (0.0150, False), (2e-4, False)])
def test_like_cells_are_misread_with_their_exact_chance(make_dense, target, last):
    """Many reads of many like cells, in the last class and in others: 4 binomial standard errors.

    Drawing a binomial number of candidates and merging the double ones would be short by half the ceiling,
    0.8 % in the uppermost of the rare classes, which is 5 standard errors here.
    """
    dense, count, samples = make_dense(2), 100_000, 300
    cell = dense.cell
    low, high = float(level_conductances(cell)[2]), float(level_conductances(cell)[3])
    for _ in range(60):  # the chance grows towards the threshold
        middle = (low + high) / 2
        chances = read_error_probabilities(torch.tensor([middle], dtype=torch.float64), cell)[0]
        low, high = (middle, high) if float(1 - chances[2]) < target else (low, middle)
    stored = by_hand(low, 2, count, dense)
    exact = read_error_probabilities(stored.marginal.conductance_S[:1].double(), cell)[0]
    assert stored.often_count == (count if last else 0)
    wrong, per_cell = 0, torch.zeros(count)
    for seed in range(samples // 20):
        found = plan_reads([stored], seed, torch.arange(20)).misreads(0)
        if found is not None:
            wrong += len(found)
            per_cell += torch.bincount(found.position, minlength=count)
            assert bool((found.delta.abs() == 1).all())  # a cell hit twice in one read is wrong once
            assert len(torch.unique(found.position * 20 + found.sample)) == len(found)
    chance = float(1 - exact[2])
    assert_binomial(wrong, count * samples, chance, target)
    # cells are alike and independent: the counts have the variance of a binomial (se √(2/n) of it,
    # and the excess 1/mean of a small mean)
    variance = samples * chance * (1 - chance)
    assert abs(float(per_cell.var()) / variance - 1) < 4 * math.sqrt((2 + 1 / variance) / count)


def test_a_wrong_read_gives_each_symbol_as_often_as_physics_says(make_dense):
    """Cells between two levels of a 4-bit cell, under noise that reaches several levels, in both ways."""
    dense = make_dense(4, read_noise=0.05)
    levels = level_conductances(dense.cell)
    count, samples = 4000, 20
    stored = by_hand(float(levels[7] * 0.6 + levels[8] * 0.4), 7, count, dense)
    exact = read_error_probabilities(stored.marginal.conductance_S[:1].double(), dense.cell)[0]
    assert stored.often_count == count
    codes = torch.full((count,), -1)
    read = read_codes(stored, codes, 3, samples) + 8
    counts = torch.bincount(read.flatten(), minlength=16)
    assert int((exact * count * samples > 5).sum()) > 4  # several wrong symbols are seen
    for symbol in range(16):
        assert_binomial(int(counts[symbol]), count * samples, float(exact[symbol]), symbol)


def test_a_weak_cell_is_wrong_again_and_again_with_its_own_chance(make_dense):
    """Counts of each cell over many reads: z = (k − Rp)/sd has Σz² near the number of cells.

    se of Σz² is √(2n) plus the excess of a binomial, Σ 1/(Rp(1−p)) at most.
    """
    dense, samples = make_dense(2, telegraph_scale=6.0), 1500
    codes = every_symbol(2, 2000)
    stored = StoredCells(codes, 2, dense, 6, "w")
    chances, cells = misread_chances(stored), stored.marginal.cells.long()
    counts = torch.zeros(len(codes), dtype=torch.float64)
    for seed in range(5):
        found = plan_reads([stored], seed, torch.arange(samples // 5)).misreads(0)
        counts += torch.bincount(found.position, minlength=len(codes))
    variance = samples * chances * (1 - chances)
    telling = variance > 5
    assert int(telling.sum()) > 200
    z = (counts[cells][telling] - samples * chances[telling]) / variance[telling].sqrt()
    excess = float((1 / variance[telling]).sum())
    assert abs(float(z.square().sum()) - len(z)) < 4 * math.sqrt(2 * len(z) + excess)
    assert float(z.abs().max()) < 5.5  # of some thousand cells: 4e-8 each
    # cells differ in themselves: a common chance would leave counts of binomial variance
    assert float(counts[cells][telling].var()) > 10 * float(variance[telling].mean())
    never = torch.ones(len(counts), dtype=torch.bool)
    never[cells] = False
    assert float(counts[never].sum()) == 0


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize(("bits", "cell_bits"), [(8, 2), (8, 1), (8, 4), (8, 3), (5, 2), (4, 4), (7, 4)])
def test_wrong_numbers_come_as_often_as_on_the_reference_crossbar(make_dense, bits, cell_bits, code, gray):
    """The dense reference programs and reads every cell; both are samples of the same law.

    Two binomial counts of n numbers: 4 standard errors of their difference. Deltas: their mean and mean
    square likewise, with standard errors from the sample.
    """
    dense = make_dense(cell_bits, code=code, gray=gray, telegraph_scale=12.0, stuck_high_rate=0.01)
    n, largest = 40_000, 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(9)
    codes = torch.randint(-largest, largest + 1, (200, n // 200), generator=generator)
    stored = StoredCells(codes.float(), bits, dense, 10, "w")
    mine = read_codes(stored, codes, 11)[0] - codes
    crossbar = DenseCrossbar.program(codes, replace(dense, secded_data_bits=0), bits, generator)
    theirs = crossbar.read(generator).long() - codes
    assert crossbar.cells == stored.cells
    for statistic in (lambda d: (d != 0).double(), lambda d: d.double(), lambda d: d.double().square()):
        a, b = statistic(mine).flatten(), statistic(theirs).flatten()
        assert float(a.var()) > 0
        assert abs(float(a.mean() - b.mean())) < 4 * math.sqrt(float(a.var() + b.var()) / n)
    assert float((mine + codes).abs().max()) <= 2 ** (bits - 1)


QUIET = {"programming_noise": 0.0, "telegraph_scale": 0.0, "environment_noise": 0.0, "read_noise": 0.0}


def test_without_noise_nothing_is_kept_and_nothing_read_wrong(make_dense):
    stored = StoredCells(every_symbol(2, 300), 2, make_dense(2, **QUIET), 1, "w")
    assert len(stored.marginal) == stored.bytes == 0
    assert plan_reads([stored], 2, torch.arange(50)).misreads(0) is None


def test_a_read_without_misread_is_none(make_dense):
    """Kept cells that are misread once in some ten thousand reads of all of them."""
    stored = StoredCells(every_symbol(2, 2000), 2, make_dense(2), 1, "w")
    assert len(stored.marginal) > 0
    assert float(misread_chances(stored).sum()) < 1e-4
    assert plan_reads([stored], 2, torch.arange(3)).misreads(0) is None


def test_stuck_cells_alone(make_dense):
    """Without any other noise exactly the stuck cells away from their own level are wrong, at every read."""
    n = 20_000
    codes = every_symbol(2, n)
    stored = StoredCells(codes, 2, make_dense(2, **QUIET, stuck_low_rate=0.3, stuck_high_rate=0.3), 1, "w")
    read = read_codes(stored, codes, 2, 3) + 2
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], read[2])
    for symbol, own in enumerate(read[0].view(4, n)):
        for level, rate in ((0, 0.3), (1, 0.0), (2, 0.0), (3, 0.3)):
            if level != symbol:
                assert_binomial(int((own == level).sum()), n, rate, (symbol, level))


def test_vectors_lie_in_cells_of_their_own_width(make_dense, codes):
    """16-bit numbers in two-level cells of a 2-bit chip: the law is that of 1-bit cells."""
    dense = make_dense(2, telegraph_scale=15.0, telegraph_at_g_min=0.9, read_noise=0.12)
    values = codes(100, 60, bits=16).long()
    stored = StoredCells(values.to(torch.int16), 16, dense, 1, "w", cell_bits=1)
    assert stored.cells == 100 * 60 * 16
    generator = torch.Generator().manual_seed(2)
    one_bit = replace(dense, cell=replace(dense.cell, bits=1))
    reference = DenseCrossbar.program(values, one_bit, 16, generator)
    mine = float((read_codes(stored, values, 3)[0] != values).double().mean())
    theirs = float((reference.read(generator) != values).double().mean())
    assert 0.01 < theirs < 0.99
    assert abs(mine - theirs) < 4 * math.sqrt((mine * (1 - mine) + theirs * (1 - theirs)) / 6000)


def entries(found: Misreads | None, sample: int) -> list[tuple[int, int]]:
    """(position, delta) of one sample."""
    if found is None:
        return []
    own = found.sample == sample
    return list(zip(found.position[own].tolist(), found.delta[own].tolist(), strict=True))


@pytest.mark.parametrize("scale", [4.0, 4.5, 7.0])
def test_a_sample_reads_the_same_in_whatever_company(make_dense, codes, scale):
    """Other samples, their order, other tensors and the order of asking change nothing; keys and seed do."""
    dense = make_dense(2, telegraph_scale=scale)
    stores = [StoredCells(codes(300, 90, seed=k), 8, dense, 1, f"w{k}") for k in range(3)]
    keys = torch.tensor([5, -7, 2**62, 11])
    plan = plan_reads(stores, 3, keys)
    whole = [plan.misreads(index) for index in range(3)]
    assert whole[1] is not None
    for sample, key in enumerate(keys.tolist()):
        for index in (2, 1, 0):
            alone = plan_reads([stores[index]], 3, torch.tensor([key])).misreads(0)
            assert entries(alone, 0) == entries(whole[index], sample)
    turned = plan_reads(stores[::-1], 3, keys.flip(0))
    for index in range(3):
        again = turned.misreads(2 - index)
        assert again is not None
        for sample in range(4):
            assert entries(again, 3 - sample) == entries(whole[index], sample)
    reads_seen = [entries(whole[1], sample) for sample in range(4)]
    assert all(a != b for a, b in itertools.combinations(reads_seen, 2))
    assert entries(plan_reads(stores, 4, keys).misreads(1), 0) != reads_seen[0]
    assert plan_reads(stores, 3, keys[:0]).misreads(0) is None
    asked_again = plan.misreads(1)
    assert torch.equal(asked_again.delta, whole[1].delta)


def test_misreads_come_by_position_and_each_number_once(make_dense, codes):
    dense = make_dense(2, telegraph_scale=15.0)
    values = codes(50, 60)
    found = plan_reads([StoredCells(values, 8, dense, 1, "w")], 3, torch.arange(7)).misreads(0)
    place = found.position * 7 + found.sample
    assert torch.equal(place, place.unique())
    assert not bool((found.delta == 0).any())
    assert found.delta.dtype == torch.int32
    # about half the cells are wrong at this amplitude: numbers with several wrong cells are among them
    assert len(set(found.delta.abs().tolist()) - {1, 2, 3, 4, 8, 12, 16, 32, 48, 64, 128, 192}) > 10


def assert_same(one: Misreads | None, other: Misreads | None) -> int:
    """Equal, entry by entry; how many there are."""
    if one is None or other is None:
        assert one is other
        return 0
    assert torch.equal(one.sample, other.sample)
    assert torch.equal(one.position, other.position)
    assert torch.equal(one.delta, other.delta)
    return len(one)


KINDS = {  # bits of a number, bits of a cell, what the noise is; the last ones have no table
    "seldom": (8, 2, {"telegraph_scale": 3.0}),
    "often": (8, 2, {"telegraph_scale": 7.0}),
    "most": (7, 2, {"telegraph_scale": 15.0}),
    "stuck": (8, 2, {"telegraph_scale": 5.0, "stuck_low_rate": 0.05}),
    "one-bit cells": (8, 1, {"telegraph_scale": 9.0, "read_noise": 0.1}),
    "odd": (5, 3, {"telegraph_scale": 4.0}),
    "steps": (8, 2, {"programming_noise": 0.1, "environment_noise": 0.0, "read_noise": 0.0}),
}


@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_and_plain_torch_read_the_same(make_dense, codes, monkeypatch, kind, code):
    """On every instruction set of this machine, in every form in which reads are asked for."""
    bits, cell_bits, noise = KINDS[kind]
    dense = make_dense(cell_bits, code=code, gray=code == "twos_complement", **noise)
    stored = StoredCells(codes(120, 91, bits=bits), bits, dense, 1, kind)
    some = torch.zeros(120, dtype=torch.bool)
    some[[0, 3, 77, 119]] = True
    each = torch.zeros(9, 120, dtype=torch.bool)
    each[torch.arange(9), torch.arange(9) * 13] = True

    def asked() -> list[Misreads | None]:
        plan = plan_reads([stored], 3, torch.arange(9) * 10**15 - 3)
        return [plan.misreads(0), plan.misreads(0, some), plan.misreads(0, each)]

    monkeypatch.setenv("OHMFORMER_KERNELS", "torch")
    plain = asked()
    count = 0
    for name in instruction_sets():
        monkeypatch.setenv("OHMFORMER_KERNELS", name)
        for one, other in zip(asked(), plain, strict=True):
            count += assert_same(one, other)
    assert count > 0 or not instruction_sets()


@pytest.mark.parametrize("name", [name for name in CELLS if name != "only writes"])
@pytest.mark.parametrize("bits", [1, 2])
def test_the_tabulated_law_is_the_closed_form(make_dense, name, bits):
    """At conductances between the points of the table, for every symbol meant and read.

    The bin in which the telegraph limit sets in has a bend: its cubic may be off by twice the bound.
    """
    cell = make_dense(bits, **CELLS[name]).cell
    law = read_law(cell)
    assert law.table is not None
    generator = torch.Generator().manual_seed(1)
    conductance = (torch.rand(20_000, generator=generator) * law.top_S).float()
    symbol = torch.randint(0, cell.levels, (20_000,), generator=generator)
    exact = wrong_reads(conductance.double(), symbol, cell).cumsum(-1)
    off = (law.cumulative(conductance, symbol) - exact).abs()
    assert float((off / exact.clamp_min(NEGLIGIBLE)).max()) < 2 * ACCURACY
    # beyond the table its end holds
    ends = torch.tensor([2 * law.top_S, 3 * law.top_S])
    meant = torch.full((2,), cell.levels - 1)
    assert torch.equal(law.cumulative(ends, meant)[0], law.cumulative(ends, meant)[1])


def test_a_law_with_steps_or_many_levels_is_evaluated(make_dense):
    for cell in (make_dense(2, **CELLS["only writes"]).cell, make_dense(4).cell):
        law = read_law(cell)
        assert law.table is None
        conductance, symbol = level_conductances(cell).float(), torch.zeros(cell.levels)
        exact = wrong_reads(conductance.double(), symbol, cell).cumsum(-1)
        assert torch.equal(law.cumulative(conductance, symbol), exact)


def test_steps_of_a_large_read_change_nothing(make_dense, codes, monkeypatch):
    stored = StoredCells(codes(300, 90), 8, make_dense(2, telegraph_scale=7.0), 1, "w")
    whole = plan_reads([stored], 3, torch.arange(4)).misreads(0)
    monkeypatch.setattr(reads, "BLOCK", 1000)
    parts = plan_reads([stored], 3, torch.arange(4)).misreads(0)
    assert torch.equal(whole.position, parts.position)
    assert torch.equal(whole.delta, parts.delta)


@pytest.mark.parametrize("scale", [5.0, 9.0])
def test_reading_some_rows_is_a_part_of_reading_all(make_dense, codes, scale):
    values = codes(400, 50)
    stored = StoredCells(values, 8, make_dense(2, telegraph_scale=scale), 1, "w")
    plan = plan_reads([stored], 2, torch.arange(6))
    whole = plan.misreads(0)
    rows = torch.zeros(6, 400, dtype=torch.bool)
    rows[:, ::7] = True
    rows[2] = False
    rows[3, 100:150] = True
    for wanted in (rows[3], rows):
        each = wanted.expand(6, 400) if wanted.ndim == 1 else wanted
        keep = each[whole.sample, whole.position // 50]
        some = plan.misreads(0, wanted)
        assert 0 < len(some) < len(whole)
        assert torch.equal(some.sample, whole.sample[keep])
        assert torch.equal(some.position, whole.position[keep])
        assert torch.equal(some.delta, whole.delta[keep])
    assert plan.misreads(0, torch.zeros(400, dtype=torch.bool)) is None


def test_counts_of_many_hits_are_sums_of_pieces(make_dense):
    """Hits of a read of all classes but the last have mean and variance of their Poisson rate.

    2000 samples of rate r: se of the mean √(r/n), of the variance r·√(2/n) (+ r/n, small).
    """
    codes = every_symbol(2, 40_000)
    stored = StoredCells(codes, 2, make_dense(2, telegraph_scale=5.0), 1, "w")
    rate, n = stored.rare_rate, 2000
    assert rate > 2 * reads.PIECE
    counts = plan_reads([stored], 1, torch.arange(n))._rare_counts(stored, 0).double()
    assert abs(float(counts.mean()) - rate) < 4 * math.sqrt(rate / n)
    assert abs(float(counts.var()) - rate) < 4 * rate * math.sqrt((2 + 1 / rate) / n)


def test_classes_are_hit_in_proportion(make_dense):
    """Places: every cell of a class alike, classes by their sums of rates (4 binomial standard errors)."""
    stored = StoredCells(every_symbol(2, 20_000), 2, make_dense(2, telegraph_scale=4.0), 1, "w")
    n = 200_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n  # evenly spread: counts are off by 1 at most
    place, kind = reads._places(stored, uniform)
    bounds = stored.marginal.bounds
    for index in range(len(CEILINGS) - 1):
        inside = place[kind == index]
        share = float(stored.rare_rates[index + 1] - stored.rare_rates[index]) / stored.rare_rate
        assert abs(len(inside) - share * n) <= 1
        if len(inside):
            assert bounds[index + 1] <= int(inside.min()) <= int(inside.max()) < bounds[index + 2]
            spread = torch.bincount(
                inside - bounds[index + 1], minlength=bounds[index + 2] - bounds[index + 1]
            )
            assert int(spread.max() - spread.min()) <= 1
    last, _ = reads._places(stored, torch.ones(1, dtype=torch.float64))  # the largest uniform rounds to 1
    assert bounds[1] <= int(last) < bounds[-2]
