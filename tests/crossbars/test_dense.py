"""Integers in dense cells: exact when quiet, the confusion matrix when not, and their place on banks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer import crossbars
from ohmformer.crossbars import CrossbarError, DenseCrossbar
from ohmformer.devices import confusion_matrix
from ohmformer.numerals import to_symbols
from ohmformer.specs import DenseSpec, preset, without_noise


def make_dense(bits: int = 2, *, quiet: bool = False, **fields: object) -> DenseSpec:
    chip = preset("wang2024")
    dense = (without_noise(chip) if quiet else chip).dense
    return replace(dense, adc_bits=4, cell=replace(dense.cell, bits=bits), **fields)


def with_noise(dense: DenseSpec, **noise: float) -> DenseSpec:
    return replace(dense, cell=replace(dense.cell, noise=replace(dense.cell.noise, **noise)))


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize("cell_bits", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_a_quiet_crossbar_returns_every_integer(integers, bits, cell_bits, code, gray):
    dense = make_dense(cell_bits, quiet=True, weight_code=code, gray=gray)
    weights = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)) if bits <= 8 else integers(3000, bits=16)
    weights = weights.reshape(2, -1)
    stored = DenseCrossbar.program(weights, dense, bits, None)
    assert torch.equal(stored.read(None).long(), weights)
    assert stored.symbols == math.ceil(bits / cell_bits)
    assert stored.cells == weights.numel() * stored.symbols
    assert stored.conductance_S.dtype == torch.float32


def test_misreads_follow_the_confusion_matrix(integers):
    """Every pair (stored, read) of symbols, exact binomial spread at 4 standard errors."""
    dense = with_noise(make_dense(2), telegraph_scale=12.0)
    weights = integers(300, 400)
    generator = torch.Generator().manual_seed(1)
    stored = DenseCrossbar.program(weights, dense, 8, generator)
    seen = stored.read(generator)
    arguments = (8, 2, "offset_binary", False)
    written, found = (to_symbols(w.long(), *arguments).flatten().long() for w in (weights, seen))
    counts = torch.bincount(written * 4 + found, minlength=16).view(4, 4).double()
    totals, matrix = counts.sum(1, keepdim=True), confusion_matrix(dense.cell)
    spread = (totals * matrix * (1 - matrix)).sqrt()
    assert ((counts - totals * matrix).abs() <= 4 * spread + 1e-6 * totals).all()
    assert 0.01 < 1 - counts.trace() / counts.sum() < 0.5  # there is something to see


def test_programming_is_kept_and_reading_is_drawn_anew(integers):
    dense = with_noise(make_dense(4), telegraph_scale=1.0)
    stored = DenseCrossbar.program(integers(50, 60), dense, 8, torch.Generator().manual_seed(1))
    before = stored.conductance_S.clone()
    reads = [stored.read(torch.Generator().manual_seed(seed)) for seed in (2, 2, 3)]
    assert torch.equal(reads[0], reads[1])
    assert not torch.equal(reads[0], reads[2])
    assert torch.equal(stored.conductance_S, before)


def test_rows_are_read_alone_and_in_blocks(integers, monkeypatch):
    weights = integers(70, 33)
    stored = DenseCrossbar.program(weights, make_dense(2, quiet=True), 8, None)
    assert torch.equal(stored.read_rows(10, 13, None).long(), weights[10:13])
    monkeypatch.setattr(crossbars.dense, "_CELLS_AT_ONCE", 500)  # three rows at once, one left over
    assert torch.equal(stored.read(None).long(), weights)


def test_stuck_cells_survive_a_rewrite(integers):
    dense = with_noise(make_dense(1, quiet=True), stuck_low_rate=0.05, stuck_high_rate=0.05)
    generator = torch.Generator().manual_seed(4)
    weights = integers(40, 50)
    first = DenseCrossbar.program(weights, dense, 8, generator)
    second = first.rewrite(-weights, generator)
    assert torch.equal(first.stuck, second.stuck)
    sound = (first.stuck == 0).all(-1)
    assert 0 < (~sound).sum() < sound.numel()
    for crossbar, meant in ((first, weights), (second, -weights)):
        seen = crossbar.read(None).long()
        assert torch.equal(seen[sound], meant[sound])
        # 1-bit cells, offset binary: bit j of the word reads 0 or 1 where stuck
        word = (seen[..., None] + 128) >> torch.arange(8) & 1
        assert (word[crossbar.stuck < 0] == 0).all()
        assert (word[crossbar.stuck > 0] == 1).all()


def test_placement_fills_bitlines_then_wordlines_then_banks(integers):
    dense = replace(make_dense(2, quiet=True), wordlines=3, bitlines=10, bitlines_per_adc=5)
    stored = DenseCrossbar.program(integers(4, 5), dense, 8, None)  # 80 cells, 30 a bank
    assert (stored.banks_used, stored.wordlines_used) == (3, 8)
    places = [
        stored.location(row, column, symbol) for row in range(4) for column in range(5) for symbol in range(4)
    ]
    assert places[:11] == [(0, 0, bitline) for bitline in range(10)] + [(0, 1, 0)]
    assert places[30] == (1, 0, 0)
    assert places[-1] == (2, 1, 9)
    assert len(set(places)) == 80
    for wrong in ((4, 0, 0), (0, -1, 0), (0, 0, 4)):
        with pytest.raises(CrossbarError, match="no cell"):
            stored.location(*wrong)


def test_nothing_is_stored_in_nothing():
    stored = DenseCrossbar.program(torch.empty(0, 3, dtype=torch.int64), make_dense(2), 8, torch.Generator())
    assert stored.read(torch.Generator()).shape == (0, 3)
    assert (stored.cells, stored.banks_used, stored.wordlines_used) == (0, 0, 0)


def test_what_does_not_fit_is_refused(integers):
    dense = make_dense(2, quiet=True)
    with pytest.raises(CrossbarError, match="a matrix"):
        DenseCrossbar.program(integers(4), dense, 8, None)
    with pytest.raises(CrossbarError, match="stuck has shape"):
        DenseCrossbar.program(integers(4, 4), dense, 8, None, stuck=torch.zeros(4, 4, dtype=torch.int8))
    with pytest.raises(ValueError, match="200"):
        DenseCrossbar.program(torch.tensor([[200]]), dense, 8, None)
