"""The dense read controller: its decoder in all cases, words of noisy banks against the reference."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ohmformer.crossbars import DenseCrossbar
from ohmformer.devices import read
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_dense import WordLayout, corrector, dense_control
from ohmformer.emit.simulators.icarus import sweep
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.numerals import check_bits, secded
from ohmformer.specs import DenseSpec, preset

sys.path.insert(0, str(Path(__file__).parent))
from rtl_cocotb import simulate

DENSE = preset("wang2024").dense
CLOCK_Hz = 2e8  # 10 ns for a wordline are 2 clocks


def expected(words: list[int], data_bits: int) -> tuple[list[int], list[int]]:
    """Corrected data and status of words whose check bits stand above their data bits."""
    total = data_bits + check_bits(data_bits)
    bits = torch.tensor([[word >> bit & 1 for bit in range(total)] for word in words])
    data, status = secded.correct(bits[:, :data_bits], bits[:, data_bits:])
    return [sum(bit << place for place, bit in enumerate(row)) for row in data.tolist()], status.tolist()


def decode(module, words, data_bits):
    mask = (1 << data_bits) - 1
    seen = sweep(module, {"data": [w & mask for w in words], "check": [w >> data_bits for w in words]})
    return seen["corrected"], seen["status"]


@pytest.mark.parametrize("data_bits", [1, 4, 8, 11])
def test_every_word_is_decoded_as_the_reference_does(data_bits):
    words = list(range(2 ** (data_bits + check_bits(data_bits))))
    assert decode(corrector(data_bits), words, data_bits) == expected(words, data_bits)


def codeword(data: int, data_bits: int) -> int:
    check = secded.encode(torch.tensor([data >> bit & 1 for bit in range(data_bits)]))
    return data | sum(int(bit) << data_bits + place for place, bit in enumerate(check))


def test_64_bits_with_every_single_and_double_error_and_some_triple_ones():
    source = random.Random(64)
    right = [codeword(source.getrandbits(64), 64) for _ in range(4)]
    masks = [0, *(1 << k for k in range(72)), *(1 << k | 1 << j for k in range(72) for j in range(k))]
    masks += [sum(1 << k for k in source.sample(range(72), 3)) for _ in range(500)]
    words = [right[place % 4] ^ mask for place, mask in enumerate(masks)]
    data, status = decode(corrector(64), words, 64)
    assert (data, status) == expected(words, 64)
    assert status[: 1 + 72 + 72 * 71 // 2] == [0] + [1] * 72 + [2] * (72 * 71 // 2)
    assert all(data[k] == right[k % 4] & (2**64 - 1) for k in range(73))


def test_the_gates_of_the_decoder():
    words = list(range(2**13))
    assert decode(synthesise(corrector(8)).netlist, words, 8) == expected(words, 8)


def test_a_wrong_bit_of_the_syndrome_is_seen():
    module = corrector(8)
    faulty = replace(module, body=module.body.replace("syndrome[1] = check[1]", "syndrome[1] = check[0]"))
    assert faulty.body != module.body
    assert decode(faulty, list(range(2**13)), 8) != expected(list(range(2**13)), 8)


def bank(bits=2, data_bits=64, gray=False, code="offset_binary", bitlines=32, noise=1.0) -> DenseSpec:
    cell = replace(DENSE.cell, bits=bits)
    cell = replace(
        cell, noise=replace(cell.noise, programming_noise=0.08 * noise, stuck_low_rate=0.01 * noise)
    )
    return replace(
        DENSE,
        wordlines=16,
        bitlines=bitlines,
        bitlines_per_adc=bitlines,
        adc_bits=bits,
        cell=cell,
        gray=gray,
        weight_code=code,
        secded_data_bits=data_bits,
    )


def play(dense: DenseSpec, bits: int, module, folder, seed=3, shape=(4, 8)):
    """Values and status of all words from the simulated controller and from the reference, and the walk."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), shape, generator=generator)
    crossbar = DenseCrossbar.program(weights, dense, bits, generator)
    state = generator.get_state()
    values, status = crossbar.read_words(0, shape[0], generator)
    generator.set_state(state)
    levels = read(crossbar.conductance_S.flatten(0, 1), dense.cell, generator).flatten().tolist()
    check_base = len(levels)
    if dense.secded_data_bits:
        levels += read(crossbar.check_conductance_S, dense.cell, generator).flatten().tolist()
    layout, total = WordLayout(dense=dense, bits=bits), weights.numel()
    counts = [min(layout.numbers, total - start) for start in range(0, total, layout.numbers)]
    case = {"counts": counts, "check_base": check_base, "bitlines": dense.bitlines, "levels": levels}
    found = simulate(module, "rtl_bench_dense", case, folder)
    seen = [
        (word >> place * bits & ((1 << bits) - 1)) - ((word >> place * bits + bits - 1 & 1) << bits)
        for word, _ in found["words"]
        for place in range(layout.numbers)
    ]
    codes = [
        code >> 2 * place & 3
        for (_, code), count in zip(found["words"], counts, strict=True)
        for place in range(layout.words_of(count))
    ]
    assert not any(seen[total:])
    mine = torch.tensor(seen[:total]).view(weights.shape)
    return mine, codes, values.long(), status.tolist(), found


BANKS = {
    "64 bits, 2-bit cells": (bank(), 8),
    "Gray code, two's complement": (bank(gray=True, code="twos_complement", data_bits=16), 8),
    "3-bit cells, partly used ones": (bank(bits=3, gray=True, data_bits=32), 8),
    "16-bit numbers, 4-bit cells": (bank(bits=4, data_bits=64), 16),
    "a bank of 20 bitlines": (bank(bitlines=20), 8),
    "one bit a cell": (bank(bits=1, data_bits=16), 8),
    "words that end inside numbers": (bank(data_bits=64), 6),
    "12-bit numbers in words of 32, Gray code": (bank(bits=4, gray=True, data_bits=32), 12),
    "words shorter than a number": (bank(bits=4, data_bits=4), 6),
    "a last word that is not full": (bank(data_bits=96), 5),
}


@pytest.mark.parametrize("name", BANKS)
def test_words_of_a_noisy_bank(name, tmp_path):
    dense, bits = BANKS[name]
    mine, codes, values, status, found = play(dense, bits, dense_control(dense, bits, CLOCK_Hz), tmp_path)
    assert torch.equal(mine, values)
    assert codes == status
    assert secded.CORRECTED in status
    # some words are put right, and some cells are beyond that: the noise is high enough to reach both
    assert len({*codes}) >= 2
    assert all(sorted(cells) == cells for cells in found["cells"])


def test_a_bank_without_protection(tmp_path):
    dense = bank(data_bits=0, noise=0.3)
    mine, codes, values, _, found = play(dense, 8, dense_control(dense, 8, CLOCK_Hz), tmp_path)
    assert torch.equal(mine, values)
    assert not any(codes)
    assert [cell for cells in found["cells"] for cell in cells] == list(range(128))


def test_the_gates_of_the_controller(tmp_path):
    dense = bank(data_bits=16)
    gates = synthesise(dense_control(dense, 8, CLOCK_Hz)).netlist
    mine, codes, values, status, _ = play(dense, 8, gates, tmp_path)
    assert torch.equal(mine, values)
    assert codes == status


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: dense_control(bank(), 17, CLOCK_Hz), "bits is 17"),
        (
            lambda: dense_control(bank(data_bits=1023), 16, CLOCK_Hz),
            "secded_data_bits is 1023.*allowed are 4096",
        ),
        (lambda: dense_control(replace(bank(), wordlines=1), 8, CLOCK_Hz), "one read takes 36 cells"),
        (lambda: dense_control(replace(bank(), wordline_time_s=1.0), 8, CLOCK_Hz), "wordline_time_s is 1.0"),
    ],
)
def test_banks_that_no_controller_reads(make, says):
    with pytest.raises(EmitError, match=says):
        make()
