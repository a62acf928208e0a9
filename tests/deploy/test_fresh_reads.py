"""Reads of freshly programmed cells: the law of the cell's confusion matrix, symbol by symbol."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ohmformer import chips
from ohmformer.deploy.fresh_reads import FreshReads
from ohmformer.devices import confusion_matrix
from ohmformer.numerals import from_symbols, to_symbols
from ohmformer.specs import ChipSpec, DenseSpec, ideal, override

SCALE = "dense.cell.noise.telegraph_scale"
# z of a two-sided normal test whose false alarms stay below 1e-4 over the few hundred cells tested here
Z = 5.0


def noisy(scale: float = 7.0, **settings: Any) -> ChipSpec:
    return override(chips.wang2024(), {SCALE: scale, **settings})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symbols_of(codes: Tensor, bits: int, dense: DenseSpec) -> Tensor:
    return to_symbols(codes.int(), bits, dense.cell.bits, dense.weight_code, dense.gray).long()


def counted(read: Tensor, stored: Tensor, levels: int) -> Tensor:
    """[stored, read] counts of symbols."""
    return torch.bincount((stored * levels + read).reshape(-1), minlength=levels**2).view(levels, levels)


@pytest.mark.parametrize(
    ("cell_bits", "code", "gray"),
    [(2, "offset_binary", False), (2, "twos_complement", True), (4, "offset_binary", True)],
)
def test_each_symbol_follows_the_confusion_matrix(cell_bits: int, code: str, gray: bool) -> None:
    settings = {"dense.cell.bits": cell_bits, "dense.weight_code": code, "dense.gray": gray}
    if cell_bits > 2:
        settings["dense.adc_bits"] = cell_bits
    dense = noisy(**settings).dense
    codes = torch.arange(-128.0, 128.0).repeat(800)
    read = FreshReads(8, dense).read(codes, generator())
    stored, seen = symbols_of(codes, 8, dense), symbols_of(read, 8, dense)
    expected = confusion_matrix(dense.cell)
    for index in range(stored.shape[1]):
        found = counted(seen[:, index], stored[:, index], dense.cell.levels).double()
        n = found.sum(-1, keepdim=True)
        # a binomial count; where fewer than 10 are expected the normal bound does not hold and the Poisson
        # bound m + Z sqrt(m) + Z^2 covers both tails
        bound = Z * (n * expected * (1 - expected)).sqrt() + Z**2 * (n * expected < 10)
        assert ((found - n * expected).abs() <= bound + 1e-6 * n).all()


def test_symbols_of_one_number_err_independently() -> None:
    dense = noisy().dense
    codes = torch.full((200_000,), 127.0)  # every symbol is the top one
    seen = symbols_of(FreshReads(8, dense).read(codes, generator(1)), 8, dense)
    wrong = (seen != symbols_of(codes, 8, dense)).double()
    p = 1 - float(confusion_matrix(dense.cell)[-1, -1])
    for first in range(4):
        for second in range(first):
            both = float((wrong[:, first] * wrong[:, second]).mean())
            assert abs(both - p * p) <= Z * math.sqrt(p * p * (1 - p * p) / len(codes))


def test_wide_numbers_on_narrow_cells_read_every_symbol() -> None:
    """16 bits in 16 cells (two groups), as vectors are stored."""
    dense = noisy(34.0).dense
    one_bit = replace(dense, cell=replace(dense.cell, bits=1))
    codes = torch.arange(-32768.0, 32767.0, 3.0).repeat(10)
    read = FreshReads(16, dense, cell_bits=1).read(codes, generator(2))
    stored, seen = symbols_of(codes, 16, one_bit), symbols_of(read, 16, one_bit)
    expected = confusion_matrix(one_bit.cell)
    assert float(expected[1, 0]) > 1e-3  # the test means nothing where no cell is misread
    for index in range(16):
        found = counted(seen[:, index], stored[:, index], 2).double()
        n = found.sum(-1, keepdim=True)
        bound = Z * (n * expected * (1 - expected)).sqrt() + Z**2 * (n * expected < 10)
        assert ((found - n * expected).abs() <= bound).all()


def test_a_seldom_misread_is_as_seldom_as_it_should_be() -> None:
    """Probabilities of few units of 2^-24, the fineness of a float32 deviate."""
    dense = noisy(2.5).dense
    p = 4 * float(confusion_matrix(dense.cell)[-1, :-1].sum())  # of code 127, four top symbols
    assert 8 < p * 2**24 < 32
    reads, codes, rounds = FreshReads(8, dense), torch.full((4_000_000,), 127.0), 8
    hits = sum(int((reads.read(codes, generator(seed)) != 127.0).sum()) for seed in range(rounds))
    expected = codes.numel() * rounds * p
    assert abs(hits - expected) <= Z * math.sqrt(expected)

    # At the published amplitude a number is misread about 4e-12 times: of 48 million reads none is wrong
    # (expected 2e-4). Unthinned, one unit of 2^-24 would give 3 wrong ones, and did with these seeds.
    rare = FreshReads(8, noisy(1.0).dense)
    assert all(rare.read(codes, generator(seed)) is codes for seed in range(12))


def test_without_noise_the_codes_come_back_untouched() -> None:
    dense = ideal(chips.wang2024()).dense
    codes = torch.arange(-127.0, 128.0)
    assert FreshReads(8, dense).read(codes, generator()) is codes


def test_a_read_is_a_number_of_the_code_and_leaves_what_is_stored() -> None:
    dense = noisy(9.0).dense
    codes = torch.randint(-127, 128, (64, 33), generator=generator()).float()
    kept = codes.clone()
    reads = FreshReads(8, dense)
    read = reads.read(codes, generator(3))
    assert torch.equal(codes, kept)
    assert read.shape == codes.shape
    assert not torch.equal(read, codes)
    assert torch.equal(read, read.round())
    assert -128 <= float(read.min()) <= float(read.max()) <= 127
    assert torch.equal(read, reads.read(codes, generator(3)))
    assert not torch.equal(read, reads.read(codes, generator(4)))
    again = from_symbols(symbols_of(read, 8, dense).to(torch.uint8), 8, 2, dense.weight_code, dense.gray)
    assert torch.equal(again.float(), read)
