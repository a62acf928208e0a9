"""The assembled tile in cocotb: whole matrix products against the reference crossbar, bit for bit."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ohmformer.crossbars import compute, resident_planes, resistor_weights
from ohmformer.devices import settling_time_s
from ohmformer.emit.checks import EmitError
from ohmformer.emit.rtl_shift_add import TileLayout
from ohmformer.emit.rtl_tile import settle_cycles, tile_control
from ohmformer.emit.simulators.yosys import synthesise
from ohmformer.specs import NumeralSpec, TileSpec, preset

sys.path.insert(0, str(Path(__file__).parent))
from rtl_cocotb import simulate

CHIP = preset("wang2024")
CLOCK_Hz = 4e8  # 10 ns of settling are 4 clocks


def tile(radix=7, polarity="shared", code="bits", wordlines=16, bitlines=32, active=16, per_adc=32, **adc):
    quiet = replace(CHIP.tile.adc, noise=0.0, bitlines_per_adc=per_adc, **adc)
    return replace(
        CHIP.tile,
        numeral=NumeralSpec(radix=radix, polarity=polarity),
        resident_code=code,
        wordlines=wordlines,
        bitlines=bitlines,
        active_wordlines=active,
        environment_noise=0.0,
        settling_time_s=10e-9,
        adc=quiet,
    )


def play(layout, streamed, resident, module, folder):
    """Products of the simulated tile, and what it took."""
    spec: TileSpec = layout.tile
    planes, _ = resident_planes(resident, layout.resident_bits, spec)
    columns = layout.lanes * layout.outputs
    whole = torch.zeros(len(layout.planes), spec.elements, columns, dtype=torch.int64)
    whole[:, : planes.shape[1], : planes.shape[2]] = planes
    lines = whole.repeat_interleave(spec.numeral.resistors_per_digit, 1)
    wanted = min(layout.outputs, resident.shape[1])
    found = simulate(
        module,
        "rtl_bench_tile",
        {
            "rows": streamed.tolist(),
            "resident": lines.transpose(1, 2).tolist(),
            "weights": resistor_weights(spec),
            "seen": [layout.seen(converter) for converter in range(layout.converters)],
            "last_output": wanted - 1,
            "code_bits": layout.code_bits,
            "max_code": spec.adc.max_code,
            "step": spec.adc.step,
        },
        folder,
    )
    bits, values = layout.result_bits, torch.zeros(len(streamed), columns, dtype=torch.int64)
    for row, words in enumerate(found["results"]):
        for output, word in enumerate(words):
            for lane in range(layout.lanes):
                value = word >> lane * bits & ((1 << bits) - 1)
                values[row, lane * layout.outputs + output] = value - (value >> bits - 1 << bits)
    return values[:, : resident.shape[1]], found


def operands(layout, rows, inner, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    highest = [2 ** (bits - 1) - 1 for bits in (layout.streamed_bits, layout.resident_bits)]
    streamed = torch.randint(-highest[0], highest[0] + 1, (rows, inner), generator=generator)
    resident = torch.randint(-highest[1], highest[1] + 1, (inner, columns), generator=generator)
    streamed[0], resident[:, 0] = highest[0], -highest[1]  # the largest sums
    return streamed, resident


CASES = {
    "one group": (tile(), 8, 8, 8, 4),
    "three groups, the last one short": (tile(active=6), 8, 8, 8, 4),
    "fewer elements and outputs than fit": (tile(active=6), 8, 8, 5, 3),
    "four converters": (tile(per_adc=8), 8, 8, 8, 4),
    "lossy converter that clips": (tile(active=8, bits=3, step=2), 8, 8, 8, 4),
    "digits resident": (tile(code="digits", bitlines=36, per_adc=12), 8, 8, 8, 3),
    "base 9, a sign for each resistor": (
        tile(radix=9, polarity="per_resistor", code="digits", bitlines=36, per_adc=36, active=4),
        6,
        6,
        8,
        4,
    ),
    "base 3, four bits": (tile(radix=3, wordlines=12, active=5), 4, 4, 12, 8),
    "converters of 5 bitlines": (tile(per_adc=5, active=6), 8, 8, 8, 4),
    "converters of 12 bitlines, fewer outputs than fit": (tile(per_adc=12), 8, 8, 8, 1),
    "a converter for each bitline": (tile(per_adc=1, bitlines=20), 8, 5, 8, 4),
    "converters of 7 bitlines, digits resident, a sign for each resistor": (
        tile(radix=9, polarity="per_resistor", code="digits", bitlines=36, per_adc=7, bits=3, step=2),
        6,
        6,
        8,
        3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_matrix_product(name, tmp_path):
    spec, streamed_bits, resident_bits, inner, columns = CASES[name]
    layout = TileLayout(tile=spec, streamed_bits=streamed_bits, resident_bits=resident_bits)
    streamed, resident = operands(layout, 3, inner, columns)
    found, took = play(layout, streamed, resident, tile_control(layout, CLOCK_Hz), tmp_path)
    reference = compute(streamed, resident, spec, streamed_bits, resident_bits)
    assert torch.equal(found, reference.values)
    assert spec.lossless == torch.equal(reference.values, streamed @ resident)
    assert not any(took["out_of_range"])
    if spec.outputs(resident_bits) == columns:  # every plane converted is one that the chip counts
        assert took["conversions"] == reference.conversions


@pytest.mark.parametrize("per_adc", [8, 3])
def test_the_gates_of_a_tile_multiply_too(per_adc, tmp_path):
    spec = tile(wordlines=8, active=4, bitlines=8, per_adc=per_adc)
    layout = TileLayout(tile=spec, streamed_bits=4, resident_bits=4)
    streamed, resident = operands(layout, 2, 4, 2)
    gates = synthesise(tile_control(layout, CLOCK_Hz)).netlist
    found, _ = play(layout, streamed, resident, gates, tmp_path)
    assert torch.equal(found, streamed @ resident)
    assert layout.split == (per_adc == 3)


@pytest.mark.parametrize("fault", ["accumulator", "encoder", "sequencer"])
def test_a_fault_in_one_part_gives_wrong_products(fault, tmp_path):
    layout = TileLayout(tile=tile(), streamed_bits=8, resident_bits=8)
    streamed, resident = operands(layout, 3, 8, 4)
    module = tile_control(layout, CLOCK_Hz)
    before, after = {
        "accumulator": ("base + wide_planes;", "(base + wide_planes) | 24'd8;"),
        "encoder": ("3'd5: switches = {1'd0, 2'd2}", "3'd5: switches = {1'd0, 2'd3}"),
        "sequencer": ("new_digit <= 1'b1;", "new_digit <= 1'b0;"),
    }[fault]
    assert module.source.count(before) == 1
    faulty = replace(module, whole=module.source.replace(before, after))
    found, _ = play(layout, streamed, resident, faulty, tmp_path)
    assert not torch.equal(found, streamed @ resident)


def test_a_number_without_a_numeral_is_flagged(tmp_path):
    layout = TileLayout(
        tile=tile(wordlines=4, active=4, bitlines=8, per_adc=8), streamed_bits=3, resident_bits=8
    )
    rows, resident = torch.tensor([[3, -4], [-3, 2]]), torch.tensor([[5], [-7]])
    found, took = play(layout, rows, resident, tile_control(layout, CLOCK_Hz), tmp_path)
    assert took["out_of_range"] == [1, 0]
    assert found[1].tolist() == [-29]


def test_clocks_of_a_row(tmp_path):
    """digits x groups x (settling + conversions of a converter), each conversion one clock or two."""
    layout = TileLayout(tile=tile(active=6), streamed_bits=8, resident_bits=8)
    streamed, resident = operands(layout, 1, 8, 4)
    _, took = play(layout, streamed, resident, tile_control(layout, CLOCK_Hz), tmp_path)
    assert settle_cycles(layout, CLOCK_Hz) == 4
    least = 3 * 3 * (4 + 32)
    assert least <= took["clocks"][0] <= least + 3 * 3 * (32 // 5 + 2)


def test_settling_is_what_is_stated_or_what_the_circuit_needs():
    """Whole clocks at 1 GHz; nothing stated, or less than the circuit needs, are the circuit's."""
    needed = math.ceil(settling_time_s(tile()) * 1e9)
    assert needed > 1  # else the last line shows nothing
    for stated, clocks in ((needed * 1e-9 + 4e-9, needed + 4), (0.0, needed), (1e-12, needed)):
        layout = TileLayout(tile=replace(tile(), settling_time_s=stated), streamed_bits=8, resident_bits=8)
        assert settle_cycles(layout, 1e9) == clocks


def test_settling_that_no_counter_waits_for():
    layout = TileLayout(tile=replace(tile(), settling_time_s=1.0), streamed_bits=8, resident_bits=8)
    with pytest.raises(EmitError, match="settling_time_s is 1.0: that is 400000000 clocks"):
        tile_control(layout, CLOCK_Hz)
