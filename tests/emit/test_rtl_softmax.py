"""Whole rows of softmax through exponential, encoder, tile and reciprocal in RTL, against the Python chip."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ohmformer.crossbars import compute, resident_planes, resistor_weights
from ohmformer.emit.rtl_play import play_softmax
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.functions import LinearSubOps, evaluate, softmax
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import FunctionUnitSpec, preset

sys.path.insert(0, str(Path(__file__).parent))
from rtl_cocotb import simulate

CHIP = preset("wang2024")
BITS = CHIP.precision.activation_bits


def chip_tile(**adc):
    quiet = replace(CHIP.tile.adc, **{"noise": 0.0, "bitlines_per_adc": 8, **adc})
    return replace(CHIP.tile, bitlines=8, environment_noise=0.0, adc=quiet)


ROW = SoftmaxRow(
    unit=CHIP.function_unit, layout=TileLayout(tile=chip_tile(), streamed_bits=BITS, resident_bits=BITS)
)


def row_sum(tile, bits=BITS):
    """x . 1 as the chip takes it: codes of a row streamed past resident ones, then the scale of the row."""

    def product(x):
        streamed = quantise_per_row(x, bits)
        ones = torch.ones(x.shape[-1], 1, dtype=torch.int64)
        sums = compute(streamed.codes, ones, tile, bits, bits).values
        return (sums * streamed.scale).squeeze(-1)

    return LinearSubOps(row_sum=product, row_dot=product)


def play(row, scores, module, folder):
    """Probabilities of rows of score words, float64, exact."""
    layout = row.layout
    elements, ones = layout.tile.elements, torch.ones(layout.tile.elements, 1, dtype=torch.int64)
    planes, _ = resident_planes(ones, layout.resident_bits, layout.tile)
    lines = planes.repeat_interleave(layout.tile.numeral.resistors_per_digit, 1)
    case = {
        "scores": scores,
        "resident": lines.transpose(1, 2).tolist(),
        "weights": resistor_weights(layout.tile),
        "seen": [layout.seen(converter) for converter in range(layout.converters)],
        "code_bits": layout.code_bits,
        "max_code": layout.tile.adc.max_code,
        "step": layout.tile.adc.step,
    }
    assert all(len(words) <= elements for words in scores)
    found = simulate(module, "rtl_bench_softmax", case, folder)["products"]
    place = 2 * row.unit.fraction_bits
    return [
        torch.tensor([product * 2.0 ** (power - place) for product, power in products], dtype=torch.float64)
        for products in found
    ]


def rows_of_scores():
    generator = torch.Generator().manual_seed(7)
    spread = [torch.randn(64, generator=generator) * width for width in (0.1, 1.0, 4.0)]
    words = [(row * 2**11).round().clamp(-(2**15), 2**15 - 1).long().tolist() for row in spread]
    return [*words, words[1][:37], [5] * 64, [-(2**15), 2**15 - 1, 0], [-300]]


@pytest.mark.parametrize(
    "adc",
    [{}, {"step": 2, "bits": 5}, {"bitlines_per_adc": 3}],
    ids=["lossless", "lossy converter that clips", "converters of three bitlines"],
)
def test_rows_equal_those_of_the_python_chip_bit_for_bit(adc, tmp_path):
    """Float32, as deployed models compute; it rounds the last product once more."""
    row = replace(ROW, layout=replace(ROW.layout, tile=chip_tile(**adc)))
    words = rows_of_scores()
    found = play(row, words, softmax_row(row, CHIP.clock_Hz), tmp_path)
    linear = row_sum(row.layout.tile)
    for scores, mine in zip(words, found, strict=True):
        argument = torch.tensor([scores], dtype=torch.float32) * 2.0**-11
        assert torch.equal(mine.float(), softmax(argument, row.unit, linear)[0])
        assert adc or abs(float(mine.sum()) - 1) < 0.02


UNIT = FunctionUnitSpec(segments=8, fraction_bits=6, clock_Hz=1e9, lanes=1)


def small_row():
    tile = replace(chip_tile(), wordlines=8, active_wordlines=4)
    layout = TileLayout(tile=tile, streamed_bits=4, resident_bits=4)
    return SoftmaxRow(unit=UNIT, layout=layout, score_bits=9, score_fraction_bits=5)


def test_the_gates_of_a_row(tmp_path):
    """The netlist in the same bench, and played without it."""
    row = small_row()
    gates = synthesise(softmax_row(row, CHIP.clock_Hz)).netlist
    words = [[3, -7, 90, 64], [5] * 4, [255, -256]]
    found = play(row, words, gates, tmp_path)
    for scores, mine in zip(words, found, strict=True):
        argument = torch.tensor([scores], dtype=torch.float32) * 2.0**-5
        assert torch.equal(mine.float(), softmax(argument, row.unit, row_sum(row.layout.tile, 4))[0])
    played = play_softmax(row, words[:2], CHIP.clock_Hz, module=gates).values
    assert torch.equal(played, torch.stack(found[:2]))


@pytest.mark.parametrize("bits", [3, 4, 8, 12])
def test_every_sum_has_the_reciprocal_of_the_simulator(bits):
    """All sums of the tile's codes, the product with 1/c rounded as float32 rounds it."""
    row = replace(ROW, layout=replace(ROW.layout, streamed_bits=bits))
    highest = min(row.largest_sum, 20_000)
    sums = torch.arange(1, highest + 1)
    mine = [word * 2.0 ** (power - 16) for word, power in map(row.share, sums.tolist())]
    argument = (sums.float() * (torch.tensor(1.0) / row.max_code)).clamp_min(1.0)
    assert torch.equal(torch.tensor(mine), evaluate("reciprocal", argument, row.unit))


def test_every_exponential_has_the_code_of_the_quantiser():
    words = range(2**16 + 1)
    values = torch.tensor(list(words), dtype=torch.float64)[None] * 2.0**-16
    assert quantise_per_row(values, BITS).codes[0].tolist() == [ROW.code(word) for word in words]


@pytest.mark.parametrize("gates", [False, True], ids=["RTL", "gates"])
def test_a_wrong_table_entry_in_the_assembled_unit_is_seen(gates):
    row = small_row()
    module, words = softmax_row(row, CHIP.clock_Hz), [[3, -7, 90, 64]]
    core = row.exponential
    places = [core.position(max(words[0]) - word) for word in words[0]]
    index = places[1] >> core.position_bits & 7
    entry = [*reversed(core.entries[1:])][index]  # the table is counted from its end
    before, after = (f"3'd{index}: table_row = {{8'd{value}," for value in (entry, entry ^ 16))
    assert module.source.count(before) == 1
    faulty = replace(module, whole=module.source.replace(before, after))
    faulty = synthesise(faulty).netlist if gates else faulty
    right, wrong = (play_softmax(row, words, CHIP.clock_Hz, module=each).values for each in (module, faulty))
    assert not torch.equal(right, wrong)
