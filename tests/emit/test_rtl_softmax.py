"""Whole rows of softmax through exponential, encoder, tile and reciprocal in RTL, against the Python chip."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ohmformer.crossbars import compute, resident_planes, resistor_weights
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_softmax import SoftmaxRow, softmax_row
from ohmformer.functions import LinearSubOps, evaluate, softmax
from ohmformer.numerals import quantise_per_row
from ohmformer.specs import preset

sys.path.insert(0, str(Path(__file__).parent))
from rtl_cocotb import simulate

CHIP = preset("wang2024")
BITS = CHIP.precision.activation_bits


def chip_tile(**adc):
    quiet = replace(CHIP.tile.adc, noise=0.0, bitlines_per_adc=8, **adc)
    return replace(CHIP.tile, bitlines=8, environment_noise=0.0, adc=quiet)


ROW = SoftmaxRow(
    unit=CHIP.function_unit, layout=TileLayout(tile=chip_tile(), streamed_bits=BITS, resident_bits=BITS)
)


def row_sum(tile):
    """x . 1 as the chip takes it: codes of a row streamed past resident ones, then the scale of the row."""

    def product(x):
        streamed = quantise_per_row(x, BITS)
        ones = torch.ones(x.shape[-1], 1, dtype=torch.int64)
        sums = compute(streamed.codes, ones, tile, BITS, BITS).values
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
        "planes": len(layout.planes),
        "outputs": layout.outputs,
        "converters": layout.converters,
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


@pytest.mark.parametrize("adc", [{}, {"step": 2, "bits": 5}], ids=["lossless", "lossy converter that clips"])
def test_rows_equal_those_of_the_python_chip_bit_for_bit(adc, tmp_path):
    row = replace(ROW, layout=replace(ROW.layout, tile=chip_tile(**adc)))
    words = rows_of_scores()
    found = play(row, words, softmax_row(row, CHIP.clock_Hz), tmp_path)
    linear = row_sum(row.layout.tile)
    for scores, mine in zip(words, found, strict=True):
        argument = torch.tensor([scores], dtype=torch.float64) * 2.0**-11
        assert torch.equal(mine, softmax(argument, row.unit, linear)[0])
        # deployed models compute in float32, which rounds the product once more
        assert torch.equal(mine.float(), softmax(argument.float(), row.unit, linear)[0])
        assert adc or abs(float(mine.sum()) - 1) < 0.02


def test_every_sum_has_the_reciprocal_of_the_simulator():
    """All sums of 64 codes: the same in float64; in float32, one near a tie is rounded to its neighbour."""
    sums = range(ROW.max_code, ROW.largest_sum + 1)
    mine = torch.tensor([word * 2.0 ** (power - 16) for word, power in map(ROW.share, sums)]).double()
    different = {}
    for dtype in (torch.float64, torch.float32):
        scale = torch.tensor(1.0, dtype=dtype) / ROW.max_code
        argument = (torch.tensor(list(sums)).to(dtype) * scale).clamp_min(1.0)
        found = evaluate("reciprocal", argument, ROW.unit).double()
        different[dtype] = [sums[place] for place in (mine != found).nonzero().flatten().tolist()]
    assert different == {torch.float64: [], torch.float32: [5139]}
    assert ROW.share(3) == ROW.share(ROW.max_code)


def test_every_exponential_has_the_code_of_the_quantiser():
    words = range(2**16 + 1)
    values = torch.tensor(list(words), dtype=torch.float64)[None] * 2.0**-16
    assert quantise_per_row(values, BITS).codes[0].tolist() == [ROW.code(word) for word in words]


def test_a_wrong_table_entry_in_the_assembled_unit_is_seen(tmp_path):
    module = softmax_row(ROW, CHIP.clock_Hz)
    words = rows_of_scores()[1:2]
    core = ROW.exponential
    used = {-core.position(max(words[0]) - word) >> core.position_bits & 127 for word in words[0]}
    index = max(used)
    entry = f"7'd{index}: table_row = {{18'd{core.entries[index]}"
    assert module.source.count(entry) == 1
    source = module.source.replace(entry, f"7'd{index}: table_row = {{18'd{core.entries[index] ^ 32}")
    argument = torch.tensor(words, dtype=torch.float64) * 2.0**-11
    found = play(ROW, words, replace(module, whole=source), tmp_path)
    assert not torch.equal(found[0], softmax(argument, ROW.unit, row_sum(ROW.layout.tile))[0])
