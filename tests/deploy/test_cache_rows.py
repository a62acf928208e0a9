"""Rows of keys and values: codes written once, and cells that err by the law of the devices."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ohmformer import chips
from ohmformer.deploy.cache import StoredLayer, StoredSlidingLayer
from ohmformer.deploy.cache_cells import NEGLIGIBLE, OFTEN, CodeCells, symbol_values
from ohmformer.deploy.cache_rows import KEYS, VALUES, CacheHome, StoredRows, coded
from ohmformer.devices import confusion_matrix, level_conductances, read_error_probabilities
from ohmformer.errors import UserError
from ohmformer.numerals import from_symbols, quantise_per_row, to_symbols
from ohmformer.specs import ChipSpec, override

NOISE = "dense.cell.noise"


def home_of(chip: ChipSpec, seed: int = 0, limit: int | None = None) -> CacheHome:
    """A home without a model: what it needs of a runtime is the chip, the seed and a table to note in."""
    runtime: Any = SimpleNamespace(chip=chip, seed=seed, coverage=None, note=lambda *_: None)
    mode: Any = SimpleNamespace(region=nullcontext, active=True, away=False, pending=False)
    return CacheHome(runtime, mode, limit)


def chip_with(telegraph: float, home: str = "dense", **settings: Any) -> ChipSpec:
    return override(
        chips.wang2024(),
        {"buffer.intermediates": home, f"{NOISE}.telegraph_scale": telegraph, **settings},
    )


def values_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("bits", "dtype"), [(4, torch.int8), (8, torch.int8), (9, torch.int16), (16, torch.int16)]
)
def test_rows_are_quantised_once_and_kept_as_codes(bits: int, dtype: torch.dtype) -> None:
    """The rule is quantise_per_row's; what is read is codes times scale to the last bit, and quantising that
    once more gives the very codes (the largest code of a row is ±max, so its scale comes back to 1 ulp)."""
    rows = StoredRows(home_of(chip_with(20.0, "sram", **{"precision.activation_bits": bits})), KEYS)
    values = values_of(2, 3, 5, 16)
    rows.append(values)
    expected = quantise_per_row(values, bits)
    assert rows.codes.dtype == dtype
    assert torch.equal(rows.codes, expected.codes)
    assert torch.equal(rows.scale, expected.scale)
    assert rows.scale.shape == (2, 3, 5, 1)
    given = rows.read()
    assert given.dtype == torch.float32
    assert torch.equal(given, expected.codes.float() * expected.scale)
    again = quantise_per_row(given, bits)
    assert torch.equal(again.codes, expected.codes)
    assert float((again.scale / expected.scale - 1).abs().max()) <= 2**-23
    assert rows.nbytes == 2 * 3 * 5 * (16 * dtype.itemsize + 4)


def test_codes_and_scales_come_with_the_values() -> None:
    """``coded`` finds them on the tensor itself and on no other; ``as_codes`` saves making the values."""
    home = home_of(chip_with(1.0, "sram"))
    rows = StoredRows(home, VALUES)
    rows.append(values_of(1, 2, 4, 8))
    values = rows.read()
    found = coded(values)
    assert found is not None
    assert torch.equal(found.codes * found.scale, values)
    assert coded(values.clone()) is None
    home.as_codes = True
    codes = rows.read(last=3)
    assert codes.dtype == torch.int8
    again = coded(codes)
    assert again is not None
    assert torch.equal(again.codes, codes)
    assert torch.equal(codes * again.scale, values[:, :, 1:])


def test_token_by_token_is_the_same_as_at_once() -> None:
    """Also in how much memory it takes, but for the spare room: a quarter more, or 64 tokens."""
    values = values_of(2, 2, 400, 8)
    home = home_of(chip_with(1.0, "sram"))
    once, grown = StoredRows(home, KEYS), StoredRows(home, KEYS)
    once.append(values)
    for token in values.split(1, dim=2):
        grown.append(token)
    assert torch.equal(once.codes, grown.codes)
    assert torch.equal(once.scale, grown.scale)
    assert once.nbytes == 2 * 2 * 400 * (8 + 4)
    assert grown.nbytes <= 1.25 * once.nbytes


def test_values_that_are_not_finite_stay_visible() -> None:
    """Codes cannot hold a NaN; its row must not come back as numbers."""
    values = values_of(1, 1, 3, 4)
    values[0, 0, 1, 2] = math.nan
    values[0, 0, 2, 0] = math.inf
    rows = StoredRows(home_of(chip_with(1.0, "sram")), KEYS)
    rows.append(values)
    given = rows.read()
    assert torch.isfinite(given[0, 0, 0]).all()
    assert given[0, 0, 1].isnan().all()
    assert not torch.isfinite(given[0, 0, 2]).any()


def exact_values(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that 8 bits hold exactly: codes with a 127 in every row, times a power of 2."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-127, 128, shape, generator=generator).float()
    codes[..., 0] = 127
    return codes * 2.0 ** torch.randint(-3, 4, (*shape[:-1], 1), generator=generator)


@pytest.mark.parametrize("home", ["sram", "dense"])
@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_layer_behaves_as_that_of_transformers(home: str, sliding: bool, record: bool, seed: int) -> None:
    """A random life (writes, beams, copies, choices, crops, a reset) gives the same keys and values, lengths
    and masks; the dense cells are without noise here."""
    window = 6
    place = home_of(chip_with(0.0, home, **{f"{NOISE}.programming_noise": 0.0}))
    ours: Any = StoredSlidingLayer(place, window) if sliding else StoredLayer(place)
    theirs: Any = DynamicSlidingWindowLayer(window) if sliding else DynamicLayer()
    if sliding and record:
        ours.activate_past_recording()
        theirs.activate_past_recording()
    generator = torch.Generator().manual_seed(seed)
    batch, croppable = 2, record or not sliding
    for step in range(60):
        kind = int(torch.randint(6, (), generator=generator))
        if kind == 1 and ours.get_seq_length():
            index = torch.randint(batch, (batch,), generator=generator)
            ours.reorder_cache(index)
            theirs.reorder_cache(index)
        elif kind == 2 and ours.get_seq_length() > 3 and croppable:
            removed = int(torch.randint(3, (), generator=generator))
            ours.crop(-removed)
            theirs.crop(-removed)
        elif kind == 3 and batch < 4:
            ours.batch_repeat_interleave(2)
            theirs.batch_repeat_interleave(2)
            batch = 2 * batch if ours.get_seq_length() else batch
        elif kind == 4 and batch > 2:
            chosen = torch.tensor([2, 0])
            ours.batch_select_indices(chosen)
            theirs.batch_select_indices(chosen)
            batch = 2 if ours.get_seq_length() else batch
        elif step == 40:
            ours.reset()
            theirs.reset()
            batch = 2
        else:
            new = int(torch.randint(1, 4, (), generator=generator))
            keys, values = (exact_values(batch, 3, new, 4, seed=100 * seed + step + part) for part in (0, 50))
            assert ours.get_mask_sizes(new) == theirs.get_mask_sizes(new)
            for mine, other in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
                assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()
        if theirs.keys is not None and theirs.keys.numel():
            assert torch.equal(ours.keys, theirs.keys)
            assert torch.equal(ours.values, theirs.values)
    assert ours.get_seq_length() > window


def test_what_a_layer_refuses() -> None:
    layer = StoredLayer(home_of(chip_with(1.0), limit=4))
    layer.update(values_of(1, 1, 4, 8), values_of(1, 1, 4, 8))
    with pytest.raises(UserError, match="A sequence of 5 tokens is too long: the model takes at most 4"):
        layer.update(values_of(1, 1, 1, 8), values_of(1, 1, 1, 8))
    with pytest.raises(ValueError, match="not 1"):
        layer.crop(1)
    window = StoredSlidingLayer(home_of(chip_with(1.0)), 3)
    window.update(values_of(1, 1, 4, 8), values_of(1, 1, 4, 8))
    with pytest.raises(RuntimeError, match="activate_past_recording"):
        window.crop(-1)


# --- dense cells ------------------------------------------------------------------------------------


def _symbols(codes: Tensor, cells: CodeCells) -> Tensor:
    dense = cells.dense
    return to_symbols(codes, cells.bits, dense.cell.bits, dense.weight_code, dense.gray).long()


def _read_codes(cells: CodeCells, codes: Tensor, number: int) -> Tensor:
    uncertain = cells.write(codes, 0, 0)
    assert uncertain is not None
    wrong, delta = uncertain.misread(number)
    read = codes.int().clone()
    read.index_put_((wrong.batch, wrong.head, wrong.token, wrong.element), delta.int(), accumulate=True)
    return read


@pytest.mark.parametrize(
    ("settings", "hits"),
    [
        ({f"{NOISE}.telegraph_scale": 5.0}, False),
        ({f"{NOISE}.telegraph_scale": 8.0, "dense.gray": False}, False),
        (
            {f"{NOISE}.telegraph_scale": 0.0, f"{NOISE}.read_noise": 0.05, f"{NOISE}.programming_noise": 0.0},
            False,
        ),
        ({f"{NOISE}.telegraph_scale": 0.0, f"{NOISE}.programming_noise": 0.05}, True),
        (
            {
                f"{NOISE}.telegraph_scale": 0.0,
                f"{NOISE}.stuck_low_rate": 0.02,
                f"{NOISE}.stuck_high_rate": 0.01,
            },
            True,
        ),
    ],
)
def test_reads_follow_the_confusion_matrix(settings: dict[str, Any], hits: bool) -> None:
    """The frequency of every (stored, read) pair over freshly written cells is the closed form's, which
    integrates programming, telegraph, environment and read noise and stuck cells on its own.

    Cells are independent: a frequency of n cells has standard error sqrt(p(1 - p)/n); 5 of them and one
    cell, for all 16 pairs at once.
    """
    dense = override(chips.wang2024(), settings).dense
    cells = CodeCells(8, dense, 3, KEYS)
    assert (0 < cells.largest <= OFTEN) == hits
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(-127, 128, (4, 3, 150, 64), generator=generator).to(torch.int8)
    stored = _symbols(codes.int(), cells)
    read = _symbols(_read_codes(cells, codes, 1), cells)
    expected = confusion_matrix(dense.cell)
    wrong = 0
    for symbol in range(dense.cell.levels):
        found = torch.bincount(read[stored == symbol], minlength=dense.cell.levels)
        count = int(found.sum())
        p = expected[symbol]
        assert ((found - count * p).abs() <= 5 * (count * p * (1 - p)).sqrt() + 1).all(), (symbol, found, p)
        wrong += count - int(found[symbol])
    assert wrong > 100


def test_a_cell_keeps_its_conductance_from_read_to_read() -> None:
    """Misread twice: E[p(g)²] over the programmed conductances, by quadrature here; independent reads would
    give E[p]². Standard error sqrt(q(1 - q)/n); 5 of them."""
    dense = override(chips.wang2024(), {f"{NOISE}.telegraph_scale": 5.0}).dense
    cells, top = CodeCells(8, dense, 5, KEYS), dense.cell.levels - 1
    code = int(
        from_symbols(torch.full((1, cells.symbols), top), 8, dense.cell.bits, dense.weight_code, dense.gray)
    )
    codes = torch.full((4, 3, 300, 64), code, dtype=torch.int8)
    both = (_read_codes(cells, codes, 1) != codes) & (_read_codes(cells, codes, 2) != codes)
    sd = dense.cell.noise.programming_noise * (dense.cell.g_max_S - dense.cell.g_min_S)
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    weight = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    g = (level_conductances(dense.cell)[top] + z * sd).clamp_min(0.0)
    p = 1 - read_error_probabilities(g, dense.cell)[:, top]
    once, twice = float((weight * p).sum()), float((weight * p * p).sum())
    # a number is misread if any of its cells is; both reads: by inclusion and exclusion over equal cells
    right, never = 1 - once, float((weight * (1 - p) ** 2).sum())
    expected = 1 - 2 * right**cells.symbols + never**cells.symbols
    count = codes.numel()
    assert abs(int(both.sum()) / count - expected) < 5 * math.sqrt(expected * (1 - expected) / count)
    independent = (1 - right**cells.symbols) ** 2
    assert expected - independent > 10 * math.sqrt(expected / count)
    assert twice > once**2


@pytest.mark.parametrize("telegraph", [1.0, 5.0])
def test_no_cell_beyond_those_kept_is_worth_keeping(telegraph: float) -> None:
    """The number of kept cells is that of cells outside their safe interval: Poisson-binomial, 5 sd; and
    none of them is misread less often than NEGLIGIBLE."""
    dense = override(chips.wang2024(), {f"{NOISE}.telegraph_scale": telegraph}).dense
    cells = CodeCells(8, dense, 0, VALUES)
    codes = torch.randint(-127, 128, (4, 2, 200, 64), generator=torch.Generator().manual_seed(2)).to(
        torch.int8
    )
    kept = cells.write(codes, 0, 0)
    assert kept is not None
    share = cells.share[_symbols(codes.int(), cells)]
    sd = float((share * (1 - share)).sum()) ** 0.5
    # the edges lie on a grid of 0.01 sd, on the safe side: a cell beyond them may be safe after all
    assert -5 * sd - 0.05 * float(share.sum()) < len(kept) - float(share.sum()) < 5 * sd
    assert float(kept.wrong[:, -1].min()) > NEGLIGIBLE


def test_nothing_depends_on_the_batch_or_on_the_split_into_tokens() -> None:
    """Rows in one write, one by one and in another order: the same codes are read, every time."""
    place = home_of(chip_with(6.0), seed=11)
    values = values_of(3, 2, 12, 16, seed=4)

    def reads(part: Tensor, *splits: int) -> list[Tensor]:
        rows = StoredRows(place, KEYS)
        for chunk in part.split(list(splits) or part.shape[2], dim=2):
            rows.append(chunk)
        return [rows.read() for _ in range(3)]

    whole = reads(values)
    assert any(not torch.equal(one, quantised(values)) for one in whole)
    assert not torch.equal(whole[0], whole[1])
    alone = [torch.cat(parts) for parts in zip(*(reads(values[b : b + 1]) for b in range(3)), strict=True)]
    turned = [part.flip(0) for part in reads(values.flip(0))]
    stepwise = reads(values, 5, 1, 1, 5)
    for other in (alone, turned, stepwise):
        assert all(torch.equal(one, two) for one, two in zip(whole, other, strict=True))
    assert not torch.equal(reads(values)[0], _other(values, place, kind=VALUES))
    assert not torch.equal(reads(values)[0], _other(values, home_of(chip_with(6.0), seed=12), kind=KEYS))


def quantised(values: Tensor) -> Tensor:
    found = quantise_per_row(values, 8)
    return found.codes * found.scale


def _other(values: Tensor, home: CacheHome, kind: int) -> Tensor:
    rows = StoredRows(home, kind)
    rows.append(values)
    return rows.read()


def test_rows_take_their_cells_with_them() -> None:
    """Beams that copy a row, and crops and windows that move it, leave its codes and its cells as they were:
    the read that follows is the read of the rows where they came from."""
    home = home_of(chip_with(6.0), seed=2)
    values = values_of(3, 2, 10, 16, seed=9)

    def written() -> StoredRows:
        rows = StoredRows(home, KEYS)
        rows.append(values)
        return rows

    plain = written().read()
    moved = written()
    moved.take(torch.tensor([2, 0, 0, 1]))
    assert torch.equal(moved.read(), plain[[2, 0, 0, 1]])
    cut = written()
    cut.keep(3, 8)
    assert torch.equal(cut.read(), plain[:, :, 3:8])
    assert torch.equal(written().read(last=4), plain[:, :, 6:])
    back = written()
    back.keep(0, 6)
    back.append(values[:, :, 6:])  # the same rows in the same places again
    assert torch.equal(back.read(), plain)


def test_sram_is_exact_whatever_the_cells_do() -> None:
    rows = StoredRows(home_of(chip_with(20.0, "sram")), KEYS)
    values = values_of(2, 2, 6, 16)
    rows.append(values)
    assert torch.equal(rows.read(), quantised(values))


@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize("gray", [False, True])
def test_a_symbol_adds_the_same_to_every_number(code: str, gray: bool) -> None:
    """from_symbols of every 6-bit number is the sum of what its symbols add to the number of all zeros."""
    dense = override(chips.wang2024(), {"dense.weight_code": code, "dense.gray": gray}).dense
    words = torch.cartesian_prod(*[torch.arange(4)] * 3).to(torch.uint8)
    values = from_symbols(words, 6, 2, code, gray).long()  # type: ignore[arg-type]
    added = symbol_values(6, dense).gather(1, words.long().T).sum(0)
    assert torch.equal(values, values[0] + added)
