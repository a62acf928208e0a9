"""Protected words in dense cells: what is stored, what is put right, what is only noticed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ohmformer import crossbars
from ohmformer.crossbars import CrossbarError, DenseCrossbar, check_cells, data_words, word_count
from ohmformer.devices import confusion_matrix, level_conductances
from ohmformer.numerals.secded import CLEAN, CORRECTED, DETECTED, encode
from ohmformer.specs import DenseSpec, preset, without_noise


def make_dense(cell_bits: int = 2, data_bits: int = 64, *, quiet: bool = True, **fields: object) -> DenseSpec:
    chip = preset("wang2024")
    dense = (without_noise(chip) if quiet else chip).dense
    cell = replace(dense.cell, bits=cell_bits)
    return replace(dense, adc_bits=4, cell=cell, secded_data_bits=data_bits, **fields)


@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
def test_a_word_is_the_next_bits_as_stored_filled_up_with_zeros(code):
    dense = make_dense(data_bits=6, weight_code=code)
    words = data_words(torch.tensor([[1, -3], [-8, 7]]), 4, dense)
    stored = {
        "twos_complement": [[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0]],
        "offset_binary": [[1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]],
    }[code]
    assert words.tolist() == stored


def test_numbers_of_words_and_cells_by_hand():
    dense = make_dense(2, 64)
    # 20 numbers of 8 bits: 160 bits, three words of 64 + 8, four 2-bit cells each
    assert word_count(20, 8, dense) == 3
    assert check_cells(20, 8, dense) == 3 * 4
    assert check_cells(20, 8, dense, cell_bits=1) == 3 * 8
    assert check_cells(20, 8, make_dense(3, 64)) == 3 * 3
    assert (word_count(20, 8, make_dense(2, 0)), check_cells(20, 8, make_dense(2, 0))) == (0, 0)
    stored = DenseCrossbar.program(torch.zeros(5, 20, dtype=torch.int64), dense, 8, None)
    assert stored.check_conductance_S.shape == (13, 4)  # 800 bits
    assert stored.cells == 5 * 20 * 4 + 13 * 4


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", ["offset_binary", "twos_complement"])
@pytest.mark.parametrize(("cell_bits", "data_bits"), [(1, 64), (2, 64), (3, 11), (4, 1), (2, 1024)])
@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_a_quiet_crossbar_returns_every_integer(integers, bits, cell_bits, data_bits, code, gray):
    dense = make_dense(cell_bits, data_bits, weight_code=code, gray=gray)
    weights = integers(4, 37, bits=bits)
    weights[1] = -(2 ** (bits - 1))
    stored = DenseCrossbar.program(weights, dense, bits, None)
    values, status = stored.read_words(0, 4, None)
    assert torch.equal(values.long(), weights)
    assert (status == CLEAN).all()
    assert status.shape == (word_count(4 * 37, bits, dense),)
    assert stored.cells == 4 * 37 * stored.symbols + check_cells(4 * 37, bits, dense)


@pytest.mark.parametrize("cell_bits", [1, 2, 4])
def test_a_cell_read_one_level_off_is_put_right_in_gray_code(integers, cell_bits):
    """One level off is one bit in Gray code: in data or check cells, at any place of a word."""
    dense = make_dense(cell_bits, 64, gray=True)
    weights = integers(64 // cell_bits, 8)  # a word is a row
    stored = DenseCrossbar.program(weights, dense, 8, None)
    step = float(level_conductances(dense.cell).diff()[0])
    middle = (dense.cell.g_min_S + dense.cell.g_max_S) / 2
    data, check = stored.conductance_S.flatten(1), stored.check_conductance_S
    rows = torch.arange(len(weights))
    for cells, place in ((data, rows), (check, rows % check.shape[1])):
        before = cells.clone()
        g = cells[rows, place]
        cells[rows, place] = torch.where(g > middle, g - step, g + step)
        values, status = stored.read_words(0, len(weights), None)
        assert torch.equal(values.long(), weights)
        assert (status == CORRECTED).all()
        cells[:, 0:2] = torch.where(before[:, 0:2] > middle, before[:, 0:2] - step, before[:, 0:2] + step)
        cells[:, 2:] = before[:, 2:]
        values, status = stored.read_words(0, len(weights), None)
        assert (status == DETECTED).all()
        assert torch.equal(values.long(), weights) == (cells is check)
        cells[:] = before


def test_without_gray_code_a_level_may_be_two_bits(integers):
    """Levels 1 and 2 are 01 and 10: noticed, not put right."""
    weights = torch.ones(1, 8, dtype=torch.int64)
    stored = DenseCrossbar.program(weights, make_dense(2, 64, gray=False), 8, None)
    levels = level_conductances(stored.dense.cell)
    assert torch.equal(stored.conductance_S[0, 0, 0], levels[1].float())
    stored.conductance_S[0, 0, 0] = levels[2]
    values, status = stored.read_words(0, 1, None)
    assert int(status) == DETECTED
    assert values[0].tolist() == [2, 1, 1, 1, 1, 1, 1, 1]


def test_words_go_wrong_as_often_as_their_cells_say(integers):
    """1-bit cells: 72 independent bits a word, wrong with the probability of the confusion matrix.

    CLEAN: (1 - p)^72 and what four and more errors imitate; CORRECTED: 72 p (1 - p)^71 and three and more.
    P(3 or more) bounds both surpluses; counts at 4 standard errors.
    """
    dense = make_dense(1, 64, quiet=False)
    noise = replace(dense.cell.noise, telegraph_scale=0.0, programming_noise=0.0, read_noise=0.19)
    dense = replace(dense, cell=replace(dense.cell, noise=noise))
    confusion = confusion_matrix(dense.cell)
    generator = torch.Generator().manual_seed(5)
    weights = integers(6000, 8)
    stored = DenseCrossbar.program(weights, dense, 8, generator)
    values, status = stored.read_words(0, 6000, generator)
    words = data_words(weights, 8, dense)
    ones = words.sum(-1) + encode(words).sum(-1)
    low, high = float(confusion[0, 1]), float(confusion[1, 0])
    assert 0.001 < low < 0.01
    right = (1 - low) ** (72 - ones) * (1 - high) ** ones
    single = right * ((72 - ones) * low / (1 - low) + ones * high / (1 - high))
    double = right * (72 * max(low, high) / (1 - max(low, high))) ** 2 / 2
    more = (1 - right - single - double).clamp(min=0) + (72 * max(low, high)) ** 3 / 6
    for kind, chance in ((CLEAN, right), (CORRECTED, single)):
        found = float((status == kind).sum())
        spread = 4 * math.sqrt(float((chance * (1 - chance)).sum()))
        assert float(chance.sum()) - spread < found < float((chance + more).sum()) + spread
    assert (status == DETECTED).any()
    wrong = (values.long() != weights).any(1)
    assert not wrong[status == CLEAN].any()
    plain = DenseCrossbar.program(weights, replace(dense, secded_data_bits=0), 8, generator)
    assert 5 * wrong.sum() < (plain.read(generator).long() != weights).any(1).sum()


def test_data_cells_are_the_same_with_and_without_check_cells(integers):
    """The code draws its own noise after that of the data."""
    weights = integers(20, 30)
    with_code, without = (
        DenseCrossbar.program(weights, make_dense(2, bits, quiet=False), 8, torch.Generator().manual_seed(1))
        for bits in (64, 0)
    )
    assert torch.equal(with_code.conductance_S, without.conductance_S)
    assert without.check_conductance_S.numel() == 0
    assert without.read_words(0, 20, torch.Generator().manual_seed(2))[1].shape == (0,)


@pytest.mark.parametrize(("bits", "data_bits"), [(8, 64), (8, 5), (5, 64), (16, 8)])
def test_rows_are_read_alone_and_in_blocks_with_the_words_they_touch(integers, monkeypatch, bits, data_bits):
    """A wrong cell in each row: those of the rows that are read are put right, in words of any place."""
    weights = integers(70, 33, bits=bits)
    stored = DenseCrossbar.program(weights, make_dense(1, data_bits), bits, None)
    ends = torch.tensor([stored.dense.cell.g_min_S, stored.dense.cell.g_max_S])
    wrong = stored.conductance_S[:, 20, 3]
    wrong[:] = torch.where(wrong > ends.mean(), ends[0], ends[1])
    for _ in range(2):
        for start, stop in ((10, 13), (0, 1), (69, 70), (0, 70), (68, 99)):
            values, status = stored.read_words(start, stop, None)
            assert torch.equal(values.long(), weights[start:stop])
            first, last = start * 33 * bits, min(stop, 70) * 33 * bits
            touched = range(first // data_bits, -(-last // data_bits))
            hit = {((row * 33 + 20) * bits + 3) // data_bits for row in range(70)}
            assert status.tolist() == [CORRECTED if word in hit else CLEAN for word in touched]
        monkeypatch.setattr(crossbars.dense, "_CELLS_AT_ONCE", 3000)
    assert stored.read_rows(5, 5, None).shape == (0, 33)


def test_stuck_check_cells_survive_a_rewrite(integers):
    dense = make_dense(2, 16)
    noise = replace(dense.cell.noise, stuck_low_rate=0.1)
    dense = replace(dense, cell=replace(dense.cell, noise=noise))
    generator = torch.Generator().manual_seed(2)
    first = DenseCrossbar.program(integers(30, 4), dense, 8, generator)
    second = first.rewrite(integers(30, 4, seed=1), generator)
    assert first.check_stuck.any()
    assert torch.equal(first.check_stuck, second.check_stuck)
    held = second.check_conductance_S[second.check_stuck < 0]
    assert torch.equal(held, torch.full_like(held, dense.cell.g_min_S))
    with pytest.raises(CrossbarError, match="check_stuck has shape"):
        DenseCrossbar.program(integers(4, 4), dense, 8, generator, check_stuck=first.check_stuck)
