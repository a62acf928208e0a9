"""Bits and symbols: exhaustive round trips, the meaning of Gray code, partly used top cells."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ohmformer.numerals import (
    NumeralError,
    SymbolCode,
    bit_weights,
    from_bits,
    from_symbols,
    symbols_per_value,
    to_bits,
    to_symbols,
)

CODES: tuple[SymbolCode, ...] = ("offset_binary", "twos_complement")


def all_values(bits: int) -> torch.Tensor:
    return torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_value_returns_from_its_bits(bits: int) -> None:
    values = all_values(bits)
    digits = to_bits(values, bits)
    assert digits.dtype == torch.int8
    assert digits.shape == (2**bits, bits)
    assert set(digits.flatten().tolist()) == {0, 1}
    assert torch.equal((digits.long() * torch.tensor(bit_weights(bits))).sum(-1), values)
    assert torch.equal(from_bits(digits, bits).long(), values)


def test_bit_weights_by_hand() -> None:
    assert bit_weights(4) == (1, 2, 4, -8)
    assert bit_weights(1) == (-1,)
    assert to_bits(torch.tensor([-3]), 4).tolist() == [[1, 0, 1, 1]]


@given(bits=st.integers(1, 32), data=st.data())
def test_wide_values_return_from_bits_and_symbols(bits: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    bits_per_cell = data.draw(st.integers(1, 8))
    code = data.draw(st.sampled_from(CODES))
    gray = data.draw(st.booleans())
    values = torch.tensor([[value]])
    assert from_bits(to_bits(values, bits), bits).tolist() == [[value]]
    symbols = to_symbols(values, bits, bits_per_cell, code, gray)
    assert from_symbols(symbols, bits, bits_per_cell, code, gray).tolist() == [[value]]


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("bits_per_cell", range(1, 9))
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8, 9, 12])
def test_every_value_returns_from_its_symbols(
    bits: int, bits_per_cell: int, code: SymbolCode, gray: bool
) -> None:
    values = all_values(bits)
    symbols = to_symbols(values, bits, bits_per_cell, code, gray)
    count = symbols_per_value(bits, bits_per_cell)
    assert (count - 1) * bits_per_cell < bits <= count * bits_per_cell
    assert symbols.dtype == torch.uint8
    assert symbols.shape == (2**bits, count)
    # The cells together hold `bits` bits: every combination of used levels occurs exactly once.
    assert len(torch.unique(symbols, dim=0)) == 2**bits
    for symbol_index in range(count - 1):
        assert int(symbols[:, symbol_index].max()) == 2**bits_per_cell - 1
    assert int(symbols[:, -1].max()) == 2 ** (bits - (count - 1) * bits_per_cell) - 1
    assert torch.equal(from_symbols(symbols, bits, bits_per_cell, code, gray).long(), values)


def test_symbols_by_hand() -> None:
    """-100 is 0b10011100 in two's complement and 28 = 0b00011100 in offset binary."""
    value = torch.tensor([-100], dtype=torch.int8)
    assert to_symbols(value, 8, 2, "twos_complement", False).tolist() == [[0, 3, 1, 2]]
    assert to_symbols(value, 8, 2, "offset_binary", False).tolist() == [[0, 3, 1, 0]]
    # Gray: the group 3 = 0b11 stands at level 2 (codes of levels 0 ... 3: 00, 01, 11, 10).
    assert to_symbols(value, 8, 2, "twos_complement", True).tolist() == [[0, 2, 1, 3]]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("bits", "bits_per_cell"), [(8, 2), (8, 3), (8, 4), (6, 6), (8, 8)])
def test_with_gray_code_a_level_off_by_one_flips_one_bit(
    bits: int, bits_per_cell: int, code: SymbolCode
) -> None:
    values = all_values(bits)
    symbols = to_symbols(values, bits, bits_per_cell, code, True).int()
    for symbol_index in range(symbols.shape[1]):
        moved = symbols.clone()
        moved[:, symbol_index] += 1
        inside = moved[:, symbol_index] <= symbols[:, symbol_index].max()
        read = from_symbols(moved[inside], bits, bits_per_cell, code, True)
        flipped = to_bits(read, bits) != to_bits(values[inside], bits)
        assert torch.equal(flipped.sum(-1), torch.ones(int(inside.sum()), dtype=torch.int64))


def test_without_gray_code_a_level_off_by_one_moves_the_value_by_its_weight() -> None:
    symbols = torch.tensor([[1, 1, 1, 1]])
    moved = torch.tensor([[1, 2, 1, 1]])
    low, high = (from_symbols(x, 8, 2, "offset_binary", False).int() for x in (symbols, moved))
    assert int(high - low) == 4


@pytest.mark.parametrize("gray", [False, True])
def test_a_level_above_the_used_ones_of_the_top_cell_reads_as_the_highest_used(gray: bool) -> None:
    """8 bits in 3-bit cells: the top cell holds 2 bits, levels 0 ... 3."""
    highest = from_symbols(torch.tensor([[0, 0, 3]]), 8, 3, "offset_binary", gray)
    for level in range(4, 8):
        symbols = torch.tensor([[0, 0, level]])
        assert torch.equal(from_symbols(symbols, 8, 3, "offset_binary", gray), highest)


@pytest.mark.parametrize(
    ("bits", "dtype"), [(8, torch.int8), (9, torch.int16), (16, torch.int16), (17, torch.int64)]
)
def test_integers_come_back_in_the_smallest_dtype(bits: int, dtype: torch.dtype) -> None:
    lowest = torch.tensor([-(2 ** (bits - 1))])
    assert from_bits(to_bits(lowest, bits), bits).dtype == dtype
    symbols = to_symbols(lowest, bits, 4, "twos_complement", True)
    assert from_symbols(symbols, bits, 4, "twos_complement", True).dtype == dtype


def test_empty_tensors_pass() -> None:
    empty = torch.zeros(0, 3, dtype=torch.int8)
    assert from_bits(to_bits(empty, 8), 8).shape == (0, 3)
    assert from_symbols(
        to_symbols(empty, 8, 2, "offset_binary", True), 8, 2, "offset_binary", True
    ).shape == (0, 3)


def test_refusals() -> None:
    one = torch.tensor([1])
    with pytest.raises(NumeralError, match="bits is 0: allowed is 1 to 32"):
        to_bits(one, 0)
    with pytest.raises(NumeralError, match="bits is 33"):
        bit_weights(33)
    with pytest.raises(NumeralError, match="value is 128: allowed is -128 to 127"):
        to_bits(torch.tensor([128]), 8)
    with pytest.raises(NumeralError, match="torch.float32"):
        to_bits(torch.tensor([1.0]), 8)
    with pytest.raises(NumeralError, match="bit is 2: allowed is 0 to 1"):
        from_bits(torch.tensor([0, 2]), 2)
    with pytest.raises(NumeralError, match="last axis must hold 8 bits"):
        from_bits(one, 8)
    with pytest.raises(NumeralError, match="last axis must hold 4 symbols"):
        from_symbols(torch.tensor(1), 8, 2, "offset_binary", False)
    with pytest.raises(NumeralError, match="bits_per_cell is 0: allowed is 1 to 8"):
        to_symbols(one, 8, 0, "offset_binary", False)
    with pytest.raises(NumeralError, match="bits_per_cell is 9"):
        symbols_per_value(8, 9)
    with pytest.raises(NumeralError, match="symbol is 4: allowed is 0 to 3"):
        from_symbols(torch.tensor([0, 0, 0, 4]), 8, 2, "offset_binary", False)
    with pytest.raises(NumeralError, match="code is 'gray'"):
        to_symbols(one, 8, 2, "gray", False)  # type: ignore[arg-type]
    with pytest.raises(NumeralError, match="torch.float32"):
        from_symbols(torch.zeros(4), 8, 2, "offset_binary", False)
